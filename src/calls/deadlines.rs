//! When each waiter of a shard gives up.
//!
//! Owns a heap that may name calls that have ended already: taking one out of the middle of a heap is slow, so it is
//! dropped when it comes to the top, or when the dead outnumber the living. It never decides an outcome.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::kit::ids::CallId;
use crate::kit::tick::Now;

/// Dead entries and idle capacity that are not worth a clean-up.
const SLACK: usize = 64;

/// Deadlines, the earliest on top.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    heap: BinaryHeap<Reverse<(Now, CallId)>>,
}

impl Deadlines {
    /// Adds a call.
    pub(super) fn push(&mut self, deadline: Now, call: CallId) {
        self.heap.push(Reverse((deadline, call)));
    }

    /// The earliest deadline; exact after [`Deadlines::clean`].
    pub(super) fn earliest(&self) -> Option<Now> {
        self.heap.peek().map(|Reverse((deadline, _))| *deadline)
    }

    /// Takes the earliest call out, if its deadline is at or before `now`. It may have ended.
    pub(super) fn pop_due(&mut self, now: Now) -> Option<CallId> {
        if self.earliest()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, call))| call)
    }

    /// Drops what has ended from the top, and from everywhere when that is the larger part. `living` is how many calls
    /// wait, `waits` whether one does.
    pub(super) fn clean(&mut self, living: usize, waits: impl Fn(CallId) -> bool) {
        while let Some(Reverse((_, call))) = self.heap.peek() {
            if waits(*call) {
                break;
            }
            self.heap.pop();
        }
        if self.heap.len() > living * 2 + SLACK {
            self.heap.retain(|Reverse((_, call))| waits(*call));
        }
        if self.heap.capacity() > self.heap.len() * 8 + SLACK {
            self.heap.shrink_to(self.heap.len() * 2);
        }
    }

    /// Bytes of the heap.
    pub(super) fn bytes(&self) -> usize {
        self.heap.capacity() * size_of::<Reverse<(Now, CallId)>>()
    }

    /// Entries, dead ones too.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Entries that there is memory for.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.heap.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dead_never_outnumber_the_living_by_much() {
        let mut deadlines = Deadlines::default();
        // One call that outlives all others, so that the dead are never on top.
        deadlines.push(Now(0), CallId(0));
        for n in 1..10_000 {
            deadlines.push(Now(n), CallId(n));
            deadlines.clean(2, |call| call.0 == 0 || call.0 == n);
            assert!(deadlines.len() <= 2 * 2 + SLACK, "{}", deadlines.len());
        }
        assert_eq!(deadlines.earliest(), Some(Now(0)));
    }

    #[test]
    fn memory_falls_back() {
        let mut deadlines = Deadlines::default();
        for n in 0..10_000 {
            deadlines.push(Now(n), CallId(n));
        }
        deadlines.clean(0, |_| false);
        assert_eq!(deadlines.earliest(), None);
        assert!(deadlines.capacity() <= SLACK);
    }

    #[test]
    fn only_what_is_due_comes_out() {
        let mut deadlines = Deadlines::default();
        for n in [5, 3, 9] {
            deadlines.push(Now(n), CallId(n));
        }
        assert_eq!(deadlines.pop_due(Now(2)), None);
        assert_eq!(deadlines.pop_due(Now(5)), Some(CallId(3)));
        assert_eq!(deadlines.pop_due(Now(5)), Some(CallId(5)));
        assert_eq!(deadlines.pop_due(Now(5)), None);
    }
}
