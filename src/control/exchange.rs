//! What the control thread and the others tell each other, handed over once before it sleeps and not one by one.
//!
//! Owns the outcomes that have come and were not fetched yet, and the rule of who wakes whom. It decides no outcome.
//! A wake is a system call, and on a shared core it is a switch of threads too: without this each call would take two.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use crate::calls::Outcome;
use crate::kit::lock::lock;
use crate::net::io::Wake;
use crate::net::wake::WakeFlag;
use crate::work::dispatch::Dispatch;

/// Polls of connections after which is handed over even though the thread has not slept: it may never, when requests
/// come as fast as it answers them.
const POLLS_MAX: u32 = 64;

/// An outcome and how long it took.
pub type Ended = (Outcome, Duration);

/// One for the control thread.
pub struct Exchange {
    dispatch: Arc<Dispatch>,
    back: Arc<Back>,
    polls: AtomicU32,
}

/// The way of outcomes to the thread; other threads hold it too.
struct Back {
    ended: Mutex<Vec<(oneshot::Sender<Ended>, Ended)>>,
    flag: WakeFlag,
    bell: Notify,
}

/// Where one call's outcome goes to.
pub struct Return {
    back: Arc<Back>,
    to: oneshot::Sender<Ended>,
}

impl Exchange {
    /// One that is woken when calls of `dispatch` have ended.
    #[must_use]
    pub fn new(dispatch: &Arc<Dispatch>) -> Self {
        let back = Arc::new(Back { ended: Mutex::new(Vec::new()), flag: WakeFlag::raised(), bell: Notify::new() });
        dispatch.wake_when_settled(Arc::<Back>::clone(&back));
        Self { dispatch: Arc::clone(dispatch), back, polls: AtomicU32::new(0) }
    }

    /// A way for the outcome of one call, and where it is waited for.
    #[must_use]
    pub fn wait_for_one(&self) -> (Return, oneshot::Receiver<Ended>) {
        let (to, ended) = oneshot::channel();
        (Return { back: Arc::clone(&self.back), to }, ended)
    }

    /// A connection is about to be polled.
    pub fn polled(&self) {
        if self.polls.fetch_add(1, Ordering::Relaxed) >= POLLS_MAX {
            self.hand_over();
        }
    }

    /// The thread is about to sleep: from here on others wake it.
    pub fn lie_down(&self) {
        if !self.back.flag.lower_and_look(|| lock(&self.back.ended).is_empty()) {
            self.back.deliver();
        }
        self.polls.store(0, Ordering::Relaxed);
        self.dispatch.rouse_loops();
    }

    /// The thread is awake again: others need not wake it.
    pub fn awake(&self) {
        self.back.flag.keep_raised();
    }

    /// Delivers whenever another thread has woken this one. Never ends.
    pub async fn run(&self) {
        loop {
            self.back.bell.notified().await;
            self.back.deliver();
        }
    }

    fn hand_over(&self) {
        self.polls.store(0, Ordering::Relaxed);
        self.back.deliver();
        self.dispatch.rouse_loops();
    }
}

impl Return {
    /// Puts the outcome down. Whoever ended the call says so once, at the end of what it does.
    pub fn put(self, ended: Ended) {
        lock(&self.back.ended).push((self.to, ended));
    }
}

impl Back {
    /// On the control thread alone: waking a task from there takes no system call.
    fn deliver(&self) {
        let ended = std::mem::take(&mut *lock(&self.ended));
        for (to, ended) in ended {
            // Who waited may be gone: then nobody is to be told.
            let _ = to.send(ended);
        }
    }
}

impl Wake for Back {
    fn wake(&self) {
        // Most batches of a worker end no call, and whoever sleeps through them sleeps well.
        if !lock(&self.ended).is_empty() && self.flag.raise() {
            self.bell.notify_one();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::future::Future as _;

    use super::*;

    fn back() -> Arc<Back> {
        Arc::new(Back { ended: Mutex::new(Vec::new()), flag: WakeFlag::raised(), bell: Notify::new() })
    }

    fn put(back: &Arc<Back>) -> oneshot::Receiver<Ended> {
        let (to, ended) = oneshot::channel();
        Return { back: Arc::clone(back), to }.put((Outcome::Busy, Duration::ZERO));
        ended
    }

    #[test]
    fn outcomes_are_delivered_together() {
        let back = back();
        let mut waiting = [put(&back), put(&back)];
        assert!(waiting.iter_mut().all(|ended| ended.try_recv().is_err()), "nobody has fetched them");
        back.deliver();
        assert!(waiting.iter_mut().all(|ended| ended.try_recv().is_ok()));
    }

    #[test]
    fn only_a_thread_that_sleeps_is_woken_and_only_once() {
        let back = back();
        let rang = || {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            std::pin::pin!(back.bell.notified()).poll(&mut context).is_ready()
        };
        assert!(back.flag.lower_and_look(|| lock(&back.ended).is_empty()));
        back.wake();
        assert!(!rang(), "there is nothing to fetch");
        back.flag.keep_raised();
        let _first = put(&back);
        back.wake();
        assert!(!rang(), "it is awake, and looks before it sleeps");
        assert!(!back.flag.lower_and_look(|| lock(&back.ended).is_empty()), "it looked");
        back.wake();
        back.wake();
        assert!(rang(), "it sleeps");
        assert!(!rang(), "once is enough");
    }
}
