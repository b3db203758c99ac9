//! A bounded queue that loom can see through, in place of crossbeam's, with the few doors that a mailbox uses.
//!
//! Its length is read without the lock and relaxed: whatever orders a post before the look of a loop that lies down must come from
//! the wake flag, and never from the queue.

use std::collections::VecDeque;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};

use crate::kit::lock::lock_modelled;

struct Queue<T> {
    items: Mutex<VecDeque<T>>,
    len: AtomicUsize,
    room: Condvar,
    capacity: usize,
}

/// The posting end.
pub struct Sender<T>(Arc<Queue<T>>);

/// The end that takes.
pub struct Receiver<T>(Arc<Queue<T>>);

/// Why nothing was put in.
pub enum TrySendError<T> {
    /// There is no room.
    Full(T),
    /// Nobody will take it. It never is so here: no model drops its loop.
    Disconnected(T),
}

/// A queue for so many.
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let queue = Queue { items: Mutex::new(VecDeque::new()), len: AtomicUsize::new(0), room: Condvar::new(), capacity };
    let queue = Arc::new(queue);
    (Sender(Arc::clone(&queue)), Receiver(queue))
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Sender<T> {
    /// Puts one in without waiting.
    pub fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        let mut items = lock_modelled(&self.0.items);
        if items.len() == self.0.capacity {
            return Err(TrySendError::Full(item));
        }
        items.push_back(item);
        self.0.len.store(items.len(), Ordering::Relaxed);
        Ok(())
    }

    /// Puts one in, and waits for room.
    pub fn send(&self, item: T) -> Result<(), T> {
        let mut items = lock_modelled(&self.0.items);
        while items.len() == self.0.capacity {
            items = self.0.room.wait(items).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        items.push_back(item);
        self.0.len.store(items.len(), Ordering::Relaxed);
        Ok(())
    }

    /// Whether none is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many are in it.
    pub fn len(&self) -> usize {
        self.0.len.load(Ordering::Relaxed)
    }

    /// How many it takes.
    pub fn capacity(&self) -> Option<usize> {
        Some(self.0.capacity)
    }
}

impl<T> Receiver<T> {
    /// Takes the first one out.
    pub fn try_recv(&self) -> Result<T, ()> {
        let mut items = lock_modelled(&self.0.items);
        let item = items.pop_front().ok_or(())?;
        self.0.len.store(items.len(), Ordering::Relaxed);
        self.0.room.notify_one();
        Ok(item)
    }

    /// Whether none is in it.
    pub fn is_empty(&self) -> bool {
        self.0.len.load(Ordering::Relaxed) == 0
    }
}
