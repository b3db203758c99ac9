//! What a resting connection costs the server in memory, before and after a burst of traffic.
//!
//! Owns what is compared with what. When memory has settled is `settle`'s to say.

use std::thread;
use std::time::Duration;

use serde::Serialize;

use super::crowd::Crowd;
use crate::memory::{Resident, resident};
use crate::settle::settle;

/// Memory of the server at five moments.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Resting {
    /// Before anybody came.
    pub fresh: Resident,
    /// After a few have come and gone.
    pub empty: Resident,
    /// With all connections.
    pub before_burst: Resident,
    /// With all connections, after a few have had their part of the burst.
    pub warmed: Resident,
    /// With all connections, after each has had its part of the burst.
    pub after_burst: Resident,
}

impl Resting {
    /// Bytes of PSS for each of `connections`, before and after the burst: what the server has more than when it was empty,
    /// without what the first traffic alone has added.
    pub fn per_connection(&self, connections: u32) -> (f64, f64) {
        let grown = |from: Resident, to: Resident| (to.pss as f64 - from.pss as f64) / f64::from(connections.max(1));
        let before = grown(self.empty, self.before_burst);
        (before, before + grown(self.warmed, self.after_burst))
    }
}

/// The server's memory once it has stopped to fall, or after `limit`. Connections are looked after meanwhile.
///
/// # Errors
/// The server cannot be read, or a connection ended.
pub fn settled(server_pid: u32, mut crowd: Option<&mut Crowd>, limit: Duration) -> Result<Resident, String> {
    settle(server_pid, limit, &mut |time| match &mut crowd {
        Some(crowd) => crowd.rest(time),
        None => {
            thread::sleep(time);
            Ok(())
        }
    })?;
    // The last word is what it is now, not the best it ever was.
    resident(server_pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_touched_once_is_nobodys() {
        let of = |pss| Resident { rss: 0, pss, anonymous: 0 };
        let (fresh, empty, before_burst, warmed, after_burst) = (of(500), of(1000), of(2000), of(9000), of(9300));
        let resting = Resting { fresh, empty, before_burst, warmed, after_burst };
        assert_eq!(resting.per_connection(10), (100.0, 130.0));
    }
}
