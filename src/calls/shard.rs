//! The waiters of one shard, and the lock around them.
//!
//! Owns which calls wait, on which connection, and until when. Taking a waiter out is the one step that decides who
//! ends a call: whoever got it out holds the only [`Ended`]. It never runs a completion itself.

use std::collections::HashMap;
#[cfg(not(holdfast_loom))]
use std::sync::Mutex;
#[cfg(not(holdfast_loom))]
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

#[cfg(holdfast_loom)]
use loom::sync::Mutex;
#[cfg(holdfast_loom)]
use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::deadlines::Deadlines;
use super::{End, NewCall, OnEnd, Outcome};
use crate::kit::delivery::{Delivery, Stage};
use crate::kit::ids::{CallId, ConnId};
#[cfg(not(holdfast_loom))]
use crate::kit::lock::lock;
#[cfg(holdfast_loom)]
use crate::kit::lock::lock_modelled as lock;
use crate::kit::quota::Hold;
use crate::kit::tick::Now;
use crate::wire::envelope::Encoding;

/// Idle capacity of a map that is not worth giving back.
const SLACK: usize = 16;
/// [`Shard::earliest`] when no call waits.
const NEVER: u64 = u64::MAX;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// One shard: its table behind a lock, and beside it what is read without the lock.
#[derive(Default)]
pub(super) struct Shard {
    waiting: Mutex<Waiting>,
    len: AtomicUsize,
    earliest: Earliest,
}

/// A deadline that is read without the lock.
struct Earliest(AtomicU64);

impl Default for Earliest {
    fn default() -> Self {
        Self(AtomicU64::new(NEVER))
    }
}

impl Shard {
    /// Changes the table under the lock, and brings what is read without the lock up to date.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut Waiting) -> R) -> R {
        let mut waiting = lock(&self.waiting);
        let result = change(&mut waiting);
        waiting.give_back();
        let earliest = waiting.deadlines.earliest();
        // A deadline at the end of time still is one.
        let earliest = earliest.map_or(NEVER, |deadline| deadline.0.min(NEVER - 1));
        // Relaxed is enough: the lock orders the stores, and a reader acts on the table only under the lock.
        self.earliest.0.store(earliest, Ordering::Relaxed);
        self.len.store(waiting.calls.len(), Ordering::Relaxed);
        result
    }

    /// The earliest deadline.
    pub(super) fn earliest(&self) -> Option<Now> {
        let earliest = self.earliest.0.load(Ordering::Relaxed);
        (earliest != NEVER).then_some(Now(earliest))
    }

    /// Calls that wait.
    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Bytes of its tables.
    pub(super) fn bytes(&self) -> usize {
        lock(&self.waiting).bytes()
    }

    /// Calls that wait on one connection.
    pub(super) fn in_flight(&self, conn: ConnId) -> u32 {
        lock(&self.waiting).conns.get(&conn).map_or(0, |chain| chain.len)
    }
}

/// The table of a shard.
#[derive(Default)]
pub(super) struct Waiting {
    calls: Map<CallId, Waiter>,
    /// Connections with calls in flight, and only those.
    conns: Map<ConnId, Chain>,
    deadlines: Deadlines,
}

/// One call that waits, linked with the others of its connection.
struct Waiter {
    conn: ConnId,
    delivery: Delivery,
    receipt: bool,
    encoding: Encoding,
    tenant: Hold,
    on_end: OnEnd,
    previous: Option<CallId>,
    next: Option<CallId>,
}

/// The calls of one connection: a list through the waiters, so that it costs no memory of its own.
struct Chain {
    first: CallId,
    len: u32,
}

/// A call that nobody else can end any more.
pub(super) struct Ended {
    /// The call.
    pub(super) call: CallId,
    /// Where it was sent.
    pub(super) conn: ConnId,
    /// How far it got.
    pub(super) delivery: Delivery,
    /// Whether the agent gave a sign of life.
    pub(super) receipt: bool,
    /// How its connection's envelopes are written.
    pub(super) encoding: Encoding,
    tenant: Hold,
    on_end: OnEnd,
}

impl Ended {
    /// Gives the tenant's place back, then tells who waited. No lock may be held.
    pub(super) fn end(self, outcome: Outcome, at: Now) {
        drop(self.tenant);
        (self.on_end)(End { call: Some(self.call), outcome, at });
    }
}

impl Waiting {
    /// Puts a call in; hands its completion back when its connection has `per_agent_max` already.
    pub(super) fn open(&mut self, call: CallId, new: NewCall, per_agent_max: u32) -> Result<(), OnEnd> {
        let first = match self.conns.get_mut(&new.conn) {
            Some(chain) if chain.len >= per_agent_max => return Err(new.on_end),
            Some(chain) => {
                chain.len += 1;
                Some(std::mem::replace(&mut chain.first, call))
            }
            None if per_agent_max == 0 => return Err(new.on_end),
            None => {
                self.conns.insert(new.conn, Chain { first: call, len: 1 });
                None
            }
        };
        if let Some(second) = first.and_then(|first| self.calls.get_mut(&first)) {
            second.previous = Some(call);
        }
        self.deadlines.push(new.deadline, call);
        let waiter = Waiter {
            conn: new.conn,
            delivery: new.delivery,
            receipt: false,
            encoding: new.encoding,
            tenant: new.tenant,
            on_end: new.on_end,
            previous: None,
            next: first,
        };
        let clash = self.calls.insert(call, waiter);
        debug_assert!(clash.is_none(), "call ids are unique");
        Ok(())
    }

    /// Takes a call out, whoever it belongs to.
    pub(super) fn take(&mut self, call: CallId) -> Option<Ended> {
        let waiter = self.calls.remove(&call)?;
        self.unlink(&waiter);
        Some(Ended {
            call,
            conn: waiter.conn,
            delivery: waiter.delivery,
            receipt: waiter.receipt,
            encoding: waiter.encoding,
            tenant: waiter.tenant,
            on_end: waiter.on_end,
        })
    }

    /// Takes a call out, if it waits on this connection.
    pub(super) fn take_from(&mut self, conn: ConnId, call: CallId) -> Option<Ended> {
        if self.calls.get(&call)?.conn != conn {
            return None;
        }
        self.take(call)
    }

    /// Notes a sign of life; false when the call does not wait on this connection.
    pub(super) fn receipt(&mut self, conn: ConnId, call: CallId) -> bool {
        match self.calls.get_mut(&call) {
            Some(waiter) if waiter.conn == conn => {
                waiter.receipt = true;
                true
            }
            _ => false,
        }
    }

    /// Takes out the calls of a connection that were written whole.
    pub(super) fn take_written(&mut self, conn: ConnId) -> Vec<Ended> {
        let mut written = Vec::new();
        let mut at = self.conns.get(&conn).map(|chain| chain.first);
        while let Some(call) = at {
            let Some(waiter) = self.calls.get(&call) else {
                break;
            };
            at = waiter.next;
            if waiter.delivery.stage() == Stage::Written {
                written.extend(self.take(call));
            }
        }
        written
    }

    /// Takes out the calls whose deadline is at or before `now`.
    pub(super) fn take_due(&mut self, now: Now) -> Vec<Ended> {
        let mut due = Vec::new();
        while let Some(call) = self.deadlines.pop_due(now) {
            due.extend(self.take(call));
        }
        due
    }

    /// Takes every call out.
    pub(super) fn take_all(&mut self) -> Vec<Ended> {
        let all: Vec<_> = self.calls.keys().copied().collect();
        all.into_iter().filter_map(|call| self.take(call)).collect()
    }

    /// Takes a waiter, which has left the table, out of the list of its connection.
    fn unlink(&mut self, waiter: &Waiter) {
        if let Some(next) = waiter.next.and_then(|next| self.calls.get_mut(&next)) {
            next.previous = waiter.previous;
        }
        let Some(chain) = self.conns.get_mut(&waiter.conn) else {
            return;
        };
        chain.len -= 1;
        match (waiter.previous, waiter.next) {
            (Some(previous), next) => {
                if let Some(previous) = self.calls.get_mut(&previous) {
                    previous.next = next;
                }
            }
            (None, Some(next)) => chain.first = next,
            (None, None) => {
                self.conns.remove(&waiter.conn);
            }
        }
    }

    /// Gives memory back after a burst, and forgets the deadlines of calls that have ended.
    fn give_back(&mut self) {
        let calls = &self.calls;
        self.deadlines.clean(calls.len(), |call| calls.contains_key(&call));
        if self.calls.capacity() > self.calls.len() * 8 + SLACK {
            self.calls.shrink_to(self.calls.len() * 2);
        }
        if self.conns.capacity() > self.conns.len() * 8 + SLACK {
            self.conns.shrink_to(self.conns.len() * 2);
        }
    }

    /// Bytes of its tables. A map keeps a byte of hash beside each place.
    fn bytes(&self) -> usize {
        let calls = self.calls.capacity() * (size_of::<(CallId, Waiter)>() + 1);
        let conns = self.conns.capacity() * (size_of::<(ConnId, Chain)>() + 1);
        calls + conns + self.deadlines.bytes()
    }

    /// Entries that there is memory for, in the largest of the tables.
    #[cfg(test)]
    fn capacity(&self) -> usize {
        self.calls.capacity().max(self.conns.capacity()).max(self.deadlines.capacity())
    }
}

#[cfg(test)]
impl Shard {
    /// Entries that there is memory for, in the largest of the tables.
    pub(super) fn capacity(&self) -> usize {
        lock(&self.waiting).capacity()
    }

    /// Deadlines that are kept, those of ended calls too.
    pub(super) fn deadlines(&self) -> usize {
        lock(&self.waiting).deadlines.len()
    }
}
