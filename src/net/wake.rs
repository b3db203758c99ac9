//! The flag that keeps posters from waking a loop that is awake.
//!
//! A loop lowers the flag *before* it looks at its mailbox for the last time, and a poster raises it *after* it has
//! posted. Whichever comes first, one of the two sees the other: either the loop finds the order, or the poster wakes it.

#[cfg(holdfast_loom)]
use loom::sync::atomic::{AtomicBool, Ordering, fence};
#[cfg(not(holdfast_loom))]
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// Whether the loop is awake, or was already woken.
#[derive(Debug)]
pub struct WakeFlag(AtomicBool);

impl WakeFlag {
    /// A loop that has not gone to sleep.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "a default would hide that it starts raised")]
    pub fn raised() -> Self {
        Self(AtomicBool::new(true))
    }

    /// The poster's half, after posting: true when it must wake the loop.
    #[must_use]
    pub fn raise(&self) -> bool {
        fence(Ordering::SeqCst);
        // The common case is a loop that is awake: a plain load does not take the cache line from it.
        !self.0.load(Ordering::Relaxed) && !self.0.swap(true, Ordering::AcqRel)
    }

    /// The loop's half: lowers the flag, and only then takes its last look at the mailbox. What `is_empty` answers.
    #[must_use]
    pub fn lower_and_look(&self, is_empty: impl FnOnce() -> bool) -> bool {
        self.0.store(false, Ordering::Release);
        fence(Ordering::SeqCst);
        is_empty()
    }

    /// The loop is awake again, for whatever cause.
    pub fn keep_raised(&self) {
        self.0.store(true, Ordering::Release);
    }
}

#[cfg(all(test, not(holdfast_loom)))]
mod tests {
    use super::*;

    #[test]
    fn one_wake_for_many_posts() {
        let flag = WakeFlag::raised();
        assert!(!flag.raise(), "awake");
        assert!(flag.lower_and_look(|| true));
        assert!(flag.raise());
        assert!(!flag.raise(), "already woken");
    }

    #[test]
    fn a_post_right_after_the_last_look_wakes() {
        let flag = WakeFlag::raised();
        let mut woken = false;
        let may_sleep = flag.lower_and_look(|| {
            woken = flag.raise();
            true
        });
        assert!(may_sleep && woken, "the post would be slept through");
    }
}

/// Run with `RUSTFLAGS="--cfg holdfast_loom" cargo test --lib --release wake`.
#[cfg(all(test, holdfast_loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;

    #[test]
    fn no_post_is_slept_through() {
        loom::model(|| {
            let flag = Arc::new(WakeFlag::raised());
            let posted = Arc::new(AtomicBool::new(false));
            let poster = {
                let (flag, posted) = (Arc::clone(&flag), Arc::clone(&posted));
                loom::thread::spawn(move || {
                    posted.store(true, Ordering::Release);
                    flag.raise()
                })
            };
            let may_sleep = flag.lower_and_look(|| !posted.load(Ordering::Acquire));
            let woken = poster.join().unwrap();
            assert!(!may_sleep || woken);
        });
    }
}
