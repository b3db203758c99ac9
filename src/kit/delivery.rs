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
//!
//! A connection that ends gives up what it has not written whole: from Waiting or Claimed to Withdrawn.
//!
//! A loom model tries every interleaving of the two sides: `RUSTFLAGS="--cfg holdfast_loom" cargo test --lib delivery`.
//! The flag has a name of its own since plain `loom` would also reach tokio, which then leaves out its sockets.

#[cfg(not(holdfast_loom))]
use std::sync::Arc;
#[cfg(not(holdfast_loom))]
use std::sync::atomic::{AtomicU8, Ordering};

#[cfg(holdfast_loom)]
use loom::sync::Arc;
#[cfg(holdfast_loom)]
use loom::sync::atomic::{AtomicU8, Ordering};

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
        match self.0.compare_exchange(WAITING, CLAIMED, Ordering::AcqRel, Ordering::Acquire) {
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

    /// The loop gives it up before its last byte: it will never be whole. Only the loop that owns its queue may say so.
    pub fn give_up(&self) {
        let was = self.0.swap(WITHDRAWN, Ordering::AcqRel);
        debug_assert_ne!(was, WRITTEN);
    }

    /// Takes it back; true when it will never be written.
    #[must_use]
    pub fn withdraw(&self) -> bool {
        match self.0.compare_exchange(WAITING, WITHDRAWN, Ordering::AcqRel, Ordering::Acquire) {
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

#[cfg(all(test, not(holdfast_loom)))]
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

        let call = Delivery::waiting();
        assert!(call.claim());
        call.give_up();
        assert!(call.withdraw(), "a part of it is nothing");
    }
}

#[cfg(all(test, holdfast_loom))]
mod loom_tests {
    use loom::thread;

    use super::*;

    /// What each side saw.
    #[derive(Debug, PartialEq, Eq)]
    enum Seen {
        Written,
        Skipped,
    }

    /// The loop's side: claims, may be refused once by the kernel, then writes. `wire` is the socket.
    fn write_out(call: &Delivery, refusals: u32, wire: &AtomicU8) -> Seen {
        for _ in 0..refusals {
            if !call.claim() {
                return Seen::Skipped;
            }
            call.unclaim();
        }
        if !call.claim() {
            return Seen::Skipped;
        }
        wire.fetch_add(1, Ordering::Relaxed);
        call.written();
        Seen::Written
    }

    #[test]
    fn withdrawn_means_never_on_the_wire() {
        for refusals in 0..2 {
            loom::model(move || {
                let call = Delivery::waiting();
                let wire = Arc::new(AtomicU8::new(0));
                let writer = {
                    let (call, wire) = (call.clone(), Arc::clone(&wire));
                    thread::spawn(move || write_out(&call, refusals, &wire))
                };
                let withdrawn = call.withdraw();
                let seen = writer.join().unwrap();
                assert_eq!(withdrawn, seen == Seen::Skipped);
                let stage = if withdrawn { Stage::Withdrawn } else { Stage::Written };
                assert_eq!(call.stage(), stage);
                assert_eq!(wire.load(Ordering::Relaxed), u8::from(!withdrawn));
            });
        }
    }

    #[test]
    fn two_who_withdraw_agree_with_the_loop() {
        loom::model(|| {
            let call = Delivery::waiting();
            let wire = Arc::new(AtomicU8::new(0));
            let writer = {
                let (call, wire) = (call.clone(), Arc::clone(&wire));
                thread::spawn(move || write_out(&call, 0, &wire))
            };
            let other = {
                let call = call.clone();
                thread::spawn(move || call.withdraw())
            };
            let mine = call.withdraw();
            let theirs = other.join().unwrap();
            let seen = writer.join().unwrap();
            assert_eq!(mine, theirs);
            assert_eq!(mine, seen == Seen::Skipped);
        });
    }

    #[test]
    fn who_sees_it_written_sees_what_the_loop_did_before() {
        loom::model(|| {
            let call = Delivery::waiting();
            let wire = Arc::new(AtomicU8::new(0));
            let writer = {
                let (call, wire) = (call.clone(), Arc::clone(&wire));
                thread::spawn(move || write_out(&call, 0, &wire))
            };
            if call.stage() == Stage::Written {
                assert_eq!(wire.load(Ordering::Relaxed), 1);
            }
            assert_eq!(writer.join().unwrap(), Seen::Written);
        });
    }
}
