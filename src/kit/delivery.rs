//! How far a call has got on its way to the peer: one atomic that the caller's side and the event loop share.
//!
//! It exists so that a call's outcome is true. The loop claims the call just before its bytes go to the kernel; who
//! waits may withdraw it until then. Exactly one of the two wins, so "not delivered" is a fact and not a guess.
//!
//! ```text
//!            withdraw()                      claim()           unclaim(): the kernel took none of it
//!  Withdrawn <───────── Waiting ────────────────────────> Claimed
//!  (never written)         ^ ───────────────────────────────┘ │ written(): the kernel took its last byte
//!                                                             v
//!                                                          Written
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const WAITING: u8 = 0;
const CLAIMED: u8 = 1;
const WRITTEN: u8 = 2;
const WITHDRAWN: u8 = 3;

/// A shared mark of one call's way to the kernel. Clones are the same mark.
#[derive(Clone, Debug)]
pub struct Delivery(Arc<AtomicU8>);

/// Where a [`Delivery`] stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not a byte was given to the kernel.
    Waiting,
    /// Some of it may have been given to the kernel.
    Claimed,
    /// All of it was given to the kernel.
    Written,
    /// It was taken back in time and will never be written.
    Withdrawn,
}

impl Delivery {
    /// A call that nobody has touched.
    #[must_use]
    pub fn waiting() -> Self {
        Self(Arc::new(AtomicU8::new(WAITING)))
    }

    /// The loop is about to write it; false when it was withdrawn and must be skipped. True again when it was claimed before.
    #[must_use]
    pub fn claim(&self) -> bool {
        match self
            .0
            .compare_exchange(WAITING, CLAIMED, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => true,
            Err(stage) => stage == CLAIMED,
        }
    }

    /// The kernel took not a byte of it: back to waiting. Only the loop that claimed it may say so.
    pub fn unclaim(&self) {
        let was = self.0.swap(WAITING, Ordering::AcqRel);
        debug_assert_eq!(was, CLAIMED);
    }

    /// The kernel took its last byte. Only the loop that claimed it may say so.
    pub fn written(&self) {
        let was = self.0.swap(WRITTEN, Ordering::AcqRel);
        debug_assert_eq!(was, CLAIMED);
    }

    /// Takes it back; true when it will never be written.
    #[must_use]
    pub fn withdraw(&self) -> bool {
        match self
            .0
            .compare_exchange(WAITING, WITHDRAWN, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => true,
            Err(stage) => stage == WITHDRAWN,
        }
    }

    /// Where it stands now.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self.0.load(Ordering::Acquire) {
            WAITING => Stage::Waiting,
            CLAIMED => Stage::Claimed,
            WRITTEN => Stage::Written,
            _ => Stage::Withdrawn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_the_two_wins() {
        let call = Delivery::waiting();
        assert!(call.withdraw());
        assert!(call.withdraw(), "withdrawing twice is no contradiction");
        assert!(!call.claim());
        assert_eq!(call.stage(), Stage::Withdrawn);

        let call = Delivery::waiting();
        assert!(call.claim() && call.claim());
        assert!(!call.withdraw());
        call.unclaim();
        assert!(call.claim());
        call.written();
        assert!(!call.withdraw());
        assert_eq!(call.stage(), Stage::Written);
    }
}
