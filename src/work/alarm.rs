//! The thread that ends calls at their deadlines.
//!
//! It sleeps until the earliest deadline that it knows of. A new call wakes it only when it is due before that, which
//! calls with equal time-outs never are, but for the first.

#[cfg(not(holdfast_loom))]
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

#[cfg(holdfast_loom)]
use loom::sync::atomic::{AtomicU64, Ordering, fence};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::kit::planted;
use crate::kit::tick::{Clock, Now};

/// What an alarm rings for.
pub trait Due {
    /// The alarm that is set for it.
    fn alarm(&self) -> &Alarm;

    /// Ends what is due.
    fn end_due(&self, now: Now);

    /// When something is due next.
    fn next_due(&self) -> Option<Now>;
}

/// Lets calls move the alarm forward.
pub struct Alarm {
    /// When the thread wakes by itself, in milliseconds; `u64::MAX` for never.
    planned: AtomicU64,
    bell: Sender<()>,
}

/// The thread's end of an alarm.
pub struct Sleeper(Receiver<()>);

impl Alarm {
    /// An alarm that is not set.
    #[must_use]
    pub fn new() -> (Self, Sleeper) {
        let (bell, sleeper) = bounded(1);
        (Self { planned: AtomicU64::new(u64::MAX), bell }, Sleeper(sleeper))
    }

    /// Something is due at `deadline`: wakes the thread when it would sleep longer. Call it after the call was opened.
    pub fn set(&self, deadline: Now) {
        if self.plan_is_after(deadline) {
            // Full means that it is being woken already.
            let _ = self.bell.try_send(());
        }
    }

    /// The caller's half: the fence comes between its store of the deadline and its look at the plan.
    fn plan_is_after(&self, deadline: Now) -> bool {
        fence(Ordering::SeqCst);
        deadline.0 < self.planned.load(Ordering::Relaxed)
    }

    /// The thread's half: the fence comes between its store of the plan and its last look at the deadlines. With one on
    /// each side, one of the two sees the other; a sequentially consistent store alone would not order the look after it.
    fn plan(&self, next: Option<Now>) {
        self.planned.store(next.map_or(u64::MAX, |at| at.0), Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }
}

#[cfg(test)]
impl Sleeper {
    /// Whether the bell rang since this was asked last.
    pub(crate) fn was_woken(&self) -> bool {
        self.0.try_recv().is_ok()
    }
}

/// Runs until every [`Alarm`] handle is gone: ends what is due, sleeps until something is.
pub fn run<D: Due>(due: &std::sync::Weak<D>, sleeper: &Sleeper, clock: Clock) {
    loop {
        let Some(next) = due.upgrade().map(|due| ring(&*due, clock.now())) else {
            return;
        };
        let wait = next.map_or(Duration::MAX, |at| at.since(clock.now()).max(Duration::from_millis(1)));
        let woken = if wait == Duration::MAX {
            sleeper.0.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            sleeper.0.recv_timeout(wait)
        };
        if woken == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        planted::here(planted::Place::Alarm);
    }
}

/// Ends what is due and plans the next sleep: until the moment that it returns.
pub(crate) fn ring(due: &impl Due, now: Now) -> Option<Now> {
    due.end_due(now);
    let mut next = due.next_due();
    loop {
        // The plan is made known before the last look: a call that is opened in between either sees the plan that the
        // thread sleeps by, or is seen.
        due.alarm().plan(next);
        let seen = due.next_due();
        if seen == next {
            return next;
        }
        next = seen;
    }
}

/// Run with `RUSTFLAGS="--cfg holdfast_loom" cargo test --lib --release alarm`.
#[cfg(all(test, holdfast_loom))]
mod loom_tests {
    use loom::sync::Arc;

    use super::*;

    /// A table with one deadline, read without a lock as that of the calls is.
    struct Table {
        alarm: Alarm,
        earliest: AtomicU64,
    }

    impl Due for Table {
        fn alarm(&self) -> &Alarm {
            &self.alarm
        }

        fn end_due(&self, _now: Now) {}

        fn next_due(&self) -> Option<Now> {
            Some(Now(self.earliest.load(Ordering::Relaxed))).filter(|at| at.0 != u64::MAX)
        }
    }

    #[test]
    fn no_call_is_slept_through() {
        loom::model(|| {
            let (alarm, sleeper) = Alarm::new();
            // The thread wakes from the sleep that it planned until 5; a call that is due at 7 is opened meanwhile.
            alarm.plan(Some(Now(5)));
            let table = Arc::new(Table { alarm, earliest: AtomicU64::new(u64::MAX) });
            let caller = {
                let table = Arc::clone(&table);
                loom::thread::spawn(move || {
                    table.earliest.store(7, Ordering::Relaxed);
                    table.alarm.set(Now(7));
                })
            };
            let planned = ring(&*table, Now(5));
            caller.join().unwrap();
            assert!(planned == Some(Now(7)) || sleeper.was_woken(), "the call outlives its deadline");
        });
    }
}
