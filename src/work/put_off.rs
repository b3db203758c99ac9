//! Newer tokens that agents have shown and that wait to be checked.
//!
//! Owns the queue of one worker. A signature takes as long to check as fifty replies, and an agent may send as many as it likes: they
//! wait behind what agents say, as those do who knock; and of each connection one at most is being checked, wherever it waits.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use crate::kit::ids::ConnId;
use crate::kit::lock::lock;
use crate::kit::secret::Secret;
use crate::wire::envelope::Encoding;

/// Most that wait with one worker. Who comes when they are so many is told to try again.
const WAITING_MAX: usize = 256;
/// Room in the list of connections that is not worth giving back.
const SLACK: usize = 64;

/// The connections whose newer token is being checked: with a worker, or with the webhook. Shared by all of them.
#[derive(Clone, Debug, Default)]
pub struct Checking(Arc<Mutex<HashSet<ConnId>>>);

impl Checking {
    /// A token of this connection is to be checked; `None` while another one is. It is over when the place is dropped.
    #[must_use]
    pub fn begin(&self, conn: ConnId) -> Option<Place> {
        lock(&self.0).insert(conn).then(|| Place { checking: self.clone(), conn })
    }
}

/// A connection's place among those whose token is being checked.
#[derive(Debug)]
pub struct Place {
    checking: Checking,
    conn: ConnId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut conns = lock(&self.checking.0);
        conns.remove(&self.conn);
        if conns.is_empty() && conns.capacity() > SLACK {
            conns.shrink_to_fit();
        }
    }
}

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
    /// Held until the agent is told: of a token that was taken its loop holds it, so that no other one overtakes it on the way.
    pub place: Option<Place>,
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

    fn conn(n: usize) -> ConnId {
        ConnId::new(0, n as u32, 1)
    }

    #[test]
    fn they_wait_in_order_and_are_no_more_than_there_is_room_for() {
        let checking = Checking::default();
        let mut waiting = PutOff::default();
        let shown = |n: usize| Shown {
            conn: conn(n),
            encoding: Encoding::Json,
            id: Vec::new(),
            token: Secret::default(),
            place: checking.begin(conn(n)),
        };
        let taken = (0..WAITING_MAX + 9).filter(|n| waiting.push(shown(*n))).count();
        assert_eq!(taken, WAITING_MAX);
        let first: Vec<u32> = waiting.take(3).iter().map(|shown| shown.conn.slot()).collect();
        assert_eq!(first, [0, 1, 2]);
        assert!(waiting.push(shown(0)) && !waiting.is_empty());
        assert_eq!(waiting.take(usize::MAX).len(), WAITING_MAX - 2);
        assert!(waiting.is_empty() && waiting.take(1).is_empty());
    }

    #[test]
    fn of_each_connection_one_is_checked_until_it_is_done_with() {
        let checking = Checking::default();
        let held = || lock(&checking.0).len();
        let first = checking.begin(conn(1));
        assert!(first.is_some() && checking.begin(conn(1)).is_none());
        let other = checking.begin(conn(2));
        assert!(other.is_some());
        // A second one that was refused has taken nothing, and gives nothing back.
        assert_eq!(held(), 2);
        drop(first);
        assert_eq!(held(), 1);
        assert!(checking.begin(conn(1)).is_some());
        drop(other);
        let many: Vec<_> = (0..1000).filter_map(|n| checking.begin(conn(n))).collect();
        assert_eq!((many.len(), held()), (1000, 1000));
        drop(many);
        assert!(held() == 0 && lock(&checking.0).capacity() <= SLACK);
    }
}
