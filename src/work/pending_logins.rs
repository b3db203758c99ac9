//! Tokens that were shown while their issuer's keys were still to be fetched: whoever showed one was told to come again, and is not
//! counted as a failed login. Once there are keys they are judged, so that a forged token counts whether or not somebody comes again.
//!
//! Owns a few of them, each with where it came from. It judges none itself.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::kit::lock::lock;
use crate::kit::secret::Secret;

/// Most that wait: half a mebibyte of the longest tokens. Of those that come when there are so many nothing is kept: whoever sent these
/// is counted for them.
const WAITING_MAX: usize = 64;

/// A token that is to be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// It.
    pub token: Secret,
    /// Where it came from.
    pub peer: Option<SocketAddr>,
    /// The address that is held to account for it.
    pub held_to: IpAddr,
}

/// Those that wait.
#[derive(Debug, Default)]
pub struct PendingLogins {
    /// Whether there are any: looked at with each login.
    any: AtomicBool,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    tokens: VecDeque<Pending>,
    /// How often keys had been fetched before any of them was looked at.
    fetches: u64,
}

impl PendingLogins {
    /// Keeps one, unless it is there already or there are too many. `fetches` is how often keys had been fetched before it was looked at.
    pub fn keep(&self, pending: Pending, fetches: u64) {
        let mut waiting = lock(&self.waiting);
        let is_new = |one: &Pending| one.token != pending.token || one.held_to != pending.held_to;
        if waiting.tokens.len() < WAITING_MAX && waiting.tokens.iter().all(is_new) {
            // Of several workers one may have looked before a fetch, and another behind it: all are judged then.
            waiting.fetches = if waiting.tokens.is_empty() { fetches } else { waiting.fetches.min(fetches) };
            waiting.tokens.push_back(pending);
            self.any.store(true, Ordering::Relaxed);
        }
    }

    /// Takes them all out, where keys have been fetched since they were looked at last.
    pub fn take(&self, fetches: impl FnOnce() -> u64) -> Vec<Pending> {
        if !self.any.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut waiting = lock(&self.waiting);
        if waiting.fetches == fetches() {
            return Vec::new();
        }
        self.any.store(false, Ordering::Relaxed);
        std::mem::take(&mut waiting.tokens).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(token: usize, address: u8) -> Pending {
        Pending { token: format!("token-{token}").into(), peer: None, held_to: IpAddr::from([192, 0, 2, address]) }
    }

    #[test]
    fn they_wait_for_keys_and_are_few() {
        let logins = PendingLogins::default();
        assert!(logins.take(|| panic!("nobody looks while there are none")).is_empty());
        for n in 0..2 * WAITING_MAX {
            // Each comes back before there are keys.
            logins.keep(pending(n, 1), 3);
            logins.keep(pending(n, 1), 3);
        }
        assert!(logins.take(|| 3).is_empty(), "no keys yet");
        let taken = logins.take(|| 4);
        assert_eq!((taken.len(), &taken[0], &taken[63]), (WAITING_MAX, &pending(0, 1), &pending(63, 1)));
        assert!(logins.take(|| 5).is_empty());
        // Keys came while one of two was looked at.
        logins.keep(pending(0, 1), 6);
        logins.keep(pending(1, 1), 5);
        assert_eq!(logins.take(|| 6).len(), 2);
        // The same token from elsewhere is held against another network.
        logins.keep(pending(0, 1), 6);
        logins.keep(pending(0, 2), 6);
        assert_eq!(logins.take(|| 7).len(), 2);
    }
}
