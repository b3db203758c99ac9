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
        self.put(false);
        fence(Ordering::SeqCst);
        is_empty()
    }

    /// The loop is awake again, for whatever cause.
    pub fn keep_raised(&self) {
        self.put(true);
    }

    /// The loop's stores. In a model they are swaps, since loom lets a swap overtake a store that came after it (the last of the
    /// models below shows that), and then reports posts that are slept over where no processor could have it so.
    fn put(&self, raised: bool) {
        #[cfg(not(holdfast_loom))]
        self.0.store(raised, Ordering::Release);
        #[cfg(holdfast_loom)]
        let _ = self.0.swap(raised, Ordering::Release);
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

/// Run with `scripts/loom wake`.
#[cfg(all(test, holdfast_loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicU8;

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

    /// What [`WakeFlag::put`] works around. Nothing comes between a swap and what it read, so 1 comes after 2 where the swap has
    /// read 0, and who knows of the 1 cannot read the 2 any more. Loom orders neither before the other and lets the 2 be read. When it
    /// does so no more this test fails, and the loop's stores can be stores in the models too.
    #[test]
    #[should_panic(expected = "loom lets a swap overtake a later store")]
    fn loom_forgets_that_nothing_comes_between_a_swap_and_what_it_read() {
        loom::model(|| {
            let (value, stored) = (Arc::new(AtomicU8::new(0)), Arc::new(AtomicBool::new(false)));
            let swapper = {
                let (value, stored) = (Arc::clone(&value), Arc::clone(&stored));
                loom::thread::spawn(move || {
                    let read = value.swap(2, Ordering::AcqRel);
                    if stored.load(Ordering::Acquire) && read == 0 {
                        assert_eq!(value.load(Ordering::Relaxed), 1, "loom lets a swap overtake a later store");
                    }
                })
            };
            value.store(1, Ordering::Release);
            stored.store(true, Ordering::Release);
            swapper.join().unwrap();
        });
    }
}
