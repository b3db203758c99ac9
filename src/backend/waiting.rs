//! Who waits for which answer, and who waits for room in the window.
//!
//! Owns the table of calls in flight on one link. It knows no socket.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{Answer, CallError};
use crate::kit::lock::lock;

/// What came of a call.
pub(super) type Ended = Result<Answer, CallError>;

/// The calls in flight.
pub(super) struct Waiting {
    table: Mutex<Table>,
    room: Condvar,
    window: usize,
}

#[derive(Default)]
struct Table {
    calls: HashMap<u64, Sender<Ended>>,
    next_id: u64,
    broken: Option<String>,
}

impl Waiting {
    pub fn new(window: u32) -> Self {
        Self { table: Mutex::default(), room: Condvar::new(), window: window.max(1) as usize }
    }

    /// Takes a place in the window, and waits for one where there is none: the call's id, and where its end comes.
    ///
    /// # Errors
    /// The link is broken.
    pub fn begin(&self) -> Result<(u64, Receiver<Ended>), CallError> {
        let mut table = lock(&self.table);
        while table.broken.is_none() && table.calls.len() >= self.window {
            table = self.room.wait(table).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(why) = &table.broken {
            return Err(CallError::NotSent(why.clone()));
        }
        // Zero stands for no id in binary.
        table.next_id = table.next_id.checked_add(1).unwrap_or(1);
        let (tell, told) = bounded(1);
        let id = table.next_id;
        table.calls.insert(id, tell);
        Ok((id, told))
    }

    /// A call has ended. Nothing happens when nobody waits for it.
    pub fn end(&self, id: u64, ended: Ended) {
        let waiter = lock(&self.table).calls.remove(&id);
        if let Some(waiter) = waiter {
            self.room.notify_one();
            // There is room for one, and nothing else is ever sent.
            let _ = waiter.try_send(ended);
        }
    }

    /// The link is broken: the end of every call in flight is unknown, and no further one begins.
    pub fn break_all(&self, why: &str) {
        let calls = {
            let mut table = lock(&self.table);
            table.broken.get_or_insert_with(|| why.to_owned());
            std::mem::take(&mut table.calls)
        };
        self.room.notify_all();
        for waiter in calls.into_values() {
            let _ = waiter.try_send(Err(CallError::Unknown(why.to_owned())));
        }
    }

    /// Why the link is broken, where it is.
    pub fn broken(&self) -> Option<String> {
        lock(&self.table).broken.clone()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::backend::Failure;

    #[test]
    fn each_call_has_one_end_and_a_broken_link_has_no_more() {
        let waiting = Waiting::new(2);
        let (first, first_end) = waiting.begin().unwrap();
        let (second, second_end) = waiting.begin().unwrap();
        assert_ne!(first, second);
        waiting.end(first, Ok(Answer::Failed(Failure::Lost)));
        waiting.end(first, Ok(Answer::Failed(Failure::Busy)));
        waiting.end(77, Ok(Answer::Failed(Failure::Busy)));
        assert_eq!(first_end.try_recv().unwrap(), Ok(Answer::Failed(Failure::Lost)));
        waiting.break_all("cut");
        waiting.break_all("again");
        assert_eq!(second_end.try_recv().unwrap(), Err(CallError::Unknown("cut".to_owned())));
        assert_eq!(waiting.begin().err(), Some(CallError::NotSent("cut".to_owned())));
        assert_eq!(waiting.broken().as_deref(), Some("cut"));
    }

    #[test]
    fn the_window_is_waited_for() {
        let waiting = Waiting::new(1);
        let (first, _first_end) = waiting.begin().unwrap();
        std::thread::scope(|scope| {
            let other = scope.spawn(|| waiting.begin().map(|(id, _)| id));
            waiting.end(first, Ok(Answer::Failed(Failure::Busy)));
            assert!(other.join().unwrap().unwrap() > first);
            let last = scope.spawn(|| waiting.begin().map(|(id, _)| id));
            waiting.break_all("over");
            assert_eq!(last.join().unwrap(), Err(CallError::NotSent("over".to_owned())));
        });
    }
}
