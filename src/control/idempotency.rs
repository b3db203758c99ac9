//! Idempotency keys: a call that is repeated with its key runs once.
//!
//! Owns what is in flight under a key and what it was answered with. It never sends a call, never wakes anybody and reads no
//! clock: who waits is a value `W` that it keeps and hands back.
//!
//! ```text
//!   nothing ──begin──> in flight ──finish, to keep──> ended, answer kept ──room needed──> ended, answer dropped
//!      ^                  │ finish, safe to repeat        │ window over                      │ window over
//!      └──────────────────┴───────────────────────────────┴──────────────────────────────────┘
//! ```
//!
//! A key is never forgotten early: when the table is full, a new key is refused. Answers may be, since without its answer
//! a key still keeps a call from running twice.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::answer::Answer;
use crate::auth::api_key;
use crate::kit::ids::{CallId, TenantId};
use crate::kit::tick::Now;

/// What the store may grow to.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How long a key is remembered after its call has ended.
    pub window: Duration,
    /// Most keys, of calls in flight too.
    pub keys_max: usize,
    /// Most bytes of kept answers.
    pub bytes_max: usize,
}

/// Whose key, for which agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The tenant.
    pub tenant: TenantId,
    /// The API key, where there is one: what one key was answered is never told to another, which may be allowed less.
    pub owner: Option<api_key::Fingerprint>,
    /// The agent.
    pub agent: String,
    /// The header's value.
    pub key: Vec<u8>,
}

/// SHA-256 of a body: the same key with another body is a mistake of the caller.
pub type BodyDigest = [u8; 32];

/// A place among those who wait for one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    key: Arc<Key>,
    flight: u64,
    seat: u32,
}

/// What a call with a key leads to.
#[derive(Debug, PartialEq)]
pub enum Begun {
    /// It is new: send it, and say [`Idempotency::sent`] and [`Idempotency::finish`].
    First(Seat),
    /// It is in flight: wait for it.
    Joined(Seat),
    /// It has ended with this answer.
    Answered(Answer),
    /// It has ended, its answer had to make room.
    AnswerDropped,
    /// The key came with another body.
    OtherBody,
    /// There is no room for another key.
    Full,
}

/// Whether an ended call may run again under its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// It was not delivered: a repeat is a new call.
    Safe,
    /// It may have run: a repeat gets this answer.
    Answered,
}

enum State<W> {
    InFlight { call: Option<CallId>, waiters: Vec<(u32, W)>, seats: u32 },
    Ended { expires: Now, answer: Option<Answer> },
}

struct Entry<W> {
    flight: u64,
    body: BodyDigest,
    state: State<W>,
}

/// All keys of this node.
pub struct Idempotency<W> {
    entries: HashMap<Arc<Key>, Entry<W>>,
    /// Ended calls, oldest first: which to forget next. Stale where the flight has changed since.
    ended: VecDeque<(Arc<Key>, u64)>,
    /// Kept answers, oldest first: which to drop next. Stale in the same way.
    answers: VecDeque<(Arc<Key>, u64)>,
    answer_bytes: usize,
    next_flight: u64,
}

impl<W> Idempotency<W> {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self {
            entries: HashMap::new(),
            ended: VecDeque::new(),
            answers: VecDeque::new(),
            answer_bytes: 0,
            next_flight: 0,
        }
    }

    /// A call with a key has come in. `waiter` is kept for [`Begun::First`] and [`Begun::Joined`], else dropped.
    pub fn begin(&mut self, now: Now, bounds: Bounds, key: Key, body: BodyDigest, waiter: W) -> Begun {
        self.forget_expired(now);
        if let Some((key, entry)) = self
            .entries
            .get_key_value(&key)
            .map(|(key, _)| Arc::clone(key))
            .and_then(|key| Some((Arc::clone(&key), self.entries.get_mut(&key)?)))
        {
            return entry.join(key, body, waiter);
        }
        if self.entries.len() >= bounds.keys_max {
            return Begun::Full;
        }
        let key = Arc::new(key);
        let flight = self.next_flight;
        self.next_flight += 1;
        let state = State::InFlight { call: None, waiters: vec![(0, waiter)], seats: 1 };
        let entry = Entry { flight, body, state };
        self.entries.insert(Arc::clone(&key), entry);
        Begun::First(Seat { key, flight, seat: 0 })
    }

    /// As [`Idempotency::begin`], for a call that must not be sent: what became of the one that was sent under this key, which no change
    /// since makes undone. `None` where there was none; the waiter is dropped then.
    pub fn repeat(&mut self, now: Now, key: &Key, body: BodyDigest, waiter: W) -> Option<Begun> {
        self.forget_expired(now);
        let key = self.entries.get_key_value(key).map(|(key, _)| Arc::clone(key))?;
        let entry = self.entries.get_mut(&key)?;
        Some(entry.join(key, body, waiter))
    }

    /// The call was sent under this id. Nothing happens when it has ended already.
    pub fn sent(&mut self, seat: &Seat, id: CallId) {
        if let Some(State::InFlight { call, .. }) = self.state_of(seat) {
            *call = Some(id);
        }
    }

    /// The call has ended: hands back who waited, to be told. What is kept counts from `now`.
    pub fn finish(&mut self, now: Now, bounds: Bounds, seat: &Seat, answer: &Answer, again: Again) -> Vec<W> {
        let Some(state) = self.state_of(seat) else {
            return Vec::new();
        };
        let ended = State::Ended { expires: now.after(bounds.window), answer: None };
        let before = std::mem::replace(state, ended);
        let State::InFlight { waiters, .. } = before else {
            // It ended before: nothing changes, nobody waits.
            *state = before;
            return Vec::new();
        };
        match again {
            Again::Safe => {
                self.entries.remove(&seat.key);
            }
            Again::Answered => {
                self.ended.push_back((Arc::clone(&seat.key), seat.flight));
                self.keep(bounds, seat, answer);
            }
        }
        waiters.into_iter().map(|(_, waiter)| waiter).collect()
    }

    /// Somebody who waited went away. `Some` when it was the last, and the call is to be cancelled.
    pub fn leave(&mut self, seat: &Seat) -> Option<CallId> {
        let Some(State::InFlight { call, waiters, .. }) = self.state_of(seat) else {
            return None;
        };
        waiters.retain(|(number, _)| *number != seat.seat);
        if waiters.is_empty() { *call } else { None }
    }

    /// Bytes of the answers, and of the tables with room for what they hold; without the texts of the keys. Looks at nothing
    /// but counts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let entries = self.entries.capacity() * (size_of::<(Arc<Key>, Entry<W>)>() + 1);
        let keys = self.entries.len() * (size_of::<Key>() + 2 * size_of::<usize>());
        let queues = self.ended.capacity() + self.answers.capacity();
        entries + keys + queues * size_of::<(Arc<Key>, u64)>() + self.answer_bytes
    }

    /// How many keys there are.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn state_of(&mut self, seat: &Seat) -> Option<&mut State<W>> {
        let entry = self.entries.get_mut(&seat.key)?;
        (entry.flight == seat.flight).then_some(&mut entry.state)
    }

    /// Keeps an answer; older ones make room for it.
    fn keep(&mut self, bounds: Bounds, seat: &Seat, kept: &Answer) {
        if kept.body.len() > bounds.bytes_max {
            return;
        }
        while self.answer_bytes + kept.body.len() > bounds.bytes_max {
            let Some((key, flight)) = self.answers.pop_front() else {
                break;
            };
            let seat = Seat { key, flight, seat: 0 };
            if let Some(State::Ended { answer, .. }) = self.state_of(&seat) {
                let bytes = answer.take().map_or(0, |answer| answer.body.len());
                self.answer_bytes -= bytes;
            }
        }
        if let Some(State::Ended { answer, .. }) = self.state_of(seat) {
            *answer = Some(kept.clone());
            self.answer_bytes += kept.body.len();
            self.answers.push_back((Arc::clone(&seat.key), seat.flight));
        }
    }

    fn forget_expired(&mut self, now: Now) {
        while let Some((key, flight)) = self.ended.front() {
            let current = self.entries.get(key).filter(|e| e.flight == *flight);
            match current.map(|entry| &entry.state) {
                Some(State::Ended { expires, .. }) if *expires > now => return,
                Some(State::Ended { answer, .. }) => {
                    self.answer_bytes -= answer.as_ref().map_or(0, |answer| answer.body.len());
                    self.entries.remove(key);
                }
                _ => {}
            }
            self.ended.pop_front();
            self.forget_dropped_answers();
        }
    }

    /// Keeps the queue of answers as short as the table: answers of forgotten keys leave its front.
    fn forget_dropped_answers(&mut self) {
        while let Some((key, flight)) = self.answers.front() {
            let live = self.entries.get(key).is_some_and(|e| e.flight == *flight);
            if live {
                return;
            }
            self.answers.pop_front();
        }
    }
}

impl<W> Entry<W> {
    fn join(&mut self, key: Arc<Key>, body: BodyDigest, waiter: W) -> Begun {
        if self.body != body {
            return Begun::OtherBody;
        }
        match &mut self.state {
            State::InFlight { waiters, seats, .. } => {
                let seat = *seats;
                *seats = seats.wrapping_add(1);
                waiters.push((seat, waiter));
                Begun::Joined(Seat { key, flight: self.flight, seat })
            }
            State::Ended { answer, .. } => match answer {
                Some(answer) => Begun::Answered(answer.clone()),
                None => Begun::AnswerDropped,
            },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
