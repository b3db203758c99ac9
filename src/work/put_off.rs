//! Newer tokens that agents have shown and that wait to be checked.
//!
//! Owns the queue of one worker. A signature takes as long to check as fifty replies, and an agent may send as many as it likes: they
//! wait behind what agents say, as those do who knock.

use std::collections::VecDeque;

use crate::kit::ids::ConnId;
use crate::kit::secret::Secret;
use crate::wire::envelope::Encoding;

/// Most that wait with one worker. Who comes when they are so many is told to try again.
const WAITING_MAX: usize = 256;

/// A newer token on a live connection.
#[derive(Debug)]
pub struct Shown {
    /// The connection.
    pub conn: ConnId,
    /// How its envelopes are written.
    pub encoding: Encoding,
    /// The id of its request.
    pub id: Vec<u8>,
    /// The token.
    pub token: Secret,
}

/// Those that wait, in the order in which they came.
#[derive(Debug, Default)]
pub struct PutOff(VecDeque<Shown>);

impl PutOff {
    /// Puts one behind the others; false when there is no room.
    pub fn push(&mut self, shown: Shown) -> bool {
        let has_room = self.0.len() < WAITING_MAX;
        if has_room {
            self.0.push_back(shown);
        }
        has_room
    }

    /// Takes the first few out.
    pub fn take(&mut self, most: usize) -> Vec<Shown> {
        self.0.drain(..self.0.len().min(most)).collect()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives the room back that nobody needs.
    pub fn rest(&mut self) {
        self.0.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_wait_in_order_and_are_no_more_than_there_is_room_for() {
        let mut waiting = PutOff::default();
        let shown = |n: usize| Shown {
            conn: ConnId::new(0, n as u32, 1),
            encoding: Encoding::Json,
            id: Vec::new(),
            token: Secret::default(),
        };
        let taken = (0..WAITING_MAX + 9).filter(|n| waiting.push(shown(*n))).count();
        assert_eq!(taken, WAITING_MAX);
        let first: Vec<u32> = waiting.take(3).iter().map(|shown| shown.conn.slot()).collect();
        assert_eq!(first, [0, 1, 2]);
        assert!(waiting.push(shown(0)) && !waiting.is_empty());
        assert_eq!(waiting.take(usize::MAX).len(), WAITING_MAX - 2);
        assert!(waiting.is_empty() && waiting.take(1).is_empty());
    }
}
