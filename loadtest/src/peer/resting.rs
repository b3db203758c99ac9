//! What a resting connection costs the server in memory, before and after a burst of traffic.
//!
//! Owns the waiting for memory to settle: an allocator or a garbage collector gives pages back with a delay.

use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::crowd::Crowd;
use crate::memory::{Resident, resident};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// Looks without a fall after which memory counts as settled.
const STEADY: u32 = 10;

/// A fall of less than one in so many is no fall: a resting process moves by a page or two.
const FALL: u64 = 500;

/// Memory of the server at four moments.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Resting {
    /// Before anybody came.
    pub fresh: Resident,
    /// After a few have come, made as much traffic as the burst, and gone.
    pub empty: Resident,
    /// With all connections.
    pub before_burst: Resident,
    /// With all connections, after each has had its part of the burst.
    pub after_burst: Resident,
}

impl Resting {
    /// Bytes of PSS over the empty server, for each of `connections`: before and after the burst.
    pub fn per_connection(&self, connections: u32) -> (f64, f64) {
        let share = |now: Resident| (now.pss as f64 - self.empty.pss as f64) / f64::from(connections.max(1));
        (share(self.before_burst), share(self.after_burst))
    }
}

/// The server's memory once it has stopped to fall, or after `limit`. Connections are looked after meanwhile.
///
/// # Errors
/// The server cannot be read, or a connection ended.
pub fn settled(server_pid: u32, mut crowd: Option<&mut Crowd>, limit: Duration) -> Result<Resident, String> {
    let end = Instant::now() + limit;
    let mut lowest = resident(server_pid)?.pss;
    let mut steady = 0;
    while steady < STEADY && Instant::now() < end {
        match &mut crowd {
            Some(crowd) => crowd.rest(LOOK)?,
            None => thread::sleep(LOOK),
        }
        let now = resident(server_pid)?.pss;
        steady = if now < lowest - lowest / FALL { 0 } else { steady + 1 };
        lowest = lowest.min(now);
    }
    // The last word is what it is now, not the best it ever was.
    resident(server_pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_over_the_empty_server() {
        let of = |pss| Resident { rss: 0, pss, anonymous: 0 };
        let resting = Resting { fresh: of(500), empty: of(1000), before_burst: of(2000), after_burst: of(900) };
        assert_eq!(resting.per_connection(10), (100.0, -10.0));
    }
}
