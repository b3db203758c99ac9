//! How fast each agent may send: who has used up its share is not read for a while, and TCP slows it down.
//!
//! Owns the buckets of the agents of one loop that sent something of late, beside the slots and by their numbers, and the list of those
//! that rest. An agent that is quiet has no byte here. It reads nothing itself, and shares nothing with other loops.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use foldhash::fast::RandomState;

use crate::kit::tick::Now;
use crate::kit::token_bucket::{Rate, TokenBucket};

use super::io::Token;

/// Whoever is out of bytes rests until there is room for so many, or for what a second brings: a read for a few bytes costs as much
/// as one for thousands.
const READ_BYTES_MIN: u64 = 4096;

/// While messages have a rate, no more than this is read at once: what is read and may not be heard yet is kept, and would take
/// memory of whoever floods.
const READ_BYTES_MAX: usize = 4096;

/// How fast an agent may send; `None` for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentRates {
    /// Messages.
    pub messages: Option<Rate>,
    /// Bytes.
    pub bytes: Option<Rate>,
}

impl AgentRates {
    /// Whether there is any limit.
    #[must_use]
    pub fn any(&self) -> bool {
        self.messages.is_some() || self.bytes.is_some()
    }
}

/// What an agent may send now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Messages, one at least.
    pub messages: u32,
    /// Bytes to be read at once.
    pub bytes: usize,
}

impl Room {
    /// As much as anything else allows.
    pub const ENDLESS: Self = Self { messages: u32::MAX, bytes: usize::MAX };
}

/// Why an agent is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It has just used up its share.
    Begins,
    /// It has done so before.
    GoesOn,
}

#[derive(Clone, Copy, Debug, Default)]
struct Busy {
    messages: TokenBucket,
    bytes: TokenBucket,
    /// It stands in the list of those that rest.
    rests: bool,
}

const _: () = assert!(size_of::<(u32, Busy)>() == 32, "docs/footprint.md tells what an agent with a rate costs");

/// The agents of a loop that sent something of late.
#[derive(Debug, Default)]
pub struct Throttle {
    busy: HashMap<u32, Busy, RandomState>,
    /// When whoever rests is read again: milliseconds, slot, generation.
    resting: BinaryHeap<Reverse<(u64, u32, u32)>>,
}

impl Throttle {
    /// What the agent may send now.
    ///
    /// # Errors
    /// It has to rest, and does from then on.
    pub fn room(&mut self, rates: &AgentRates, token: Token, now: Now) -> Result<Room, Rest> {
        let Some(busy) = self.busy.get_mut(&token.slot) else {
            return Ok(room(rates, &Busy::default(), now));
        };
        if busy.rests {
            return Err(Rest::GoesOn);
        }
        let wait = |rate: &Option<Rate>, bucket: TokenBucket, units: fn(&Rate) -> u64| {
            let rate = rate.as_ref()?;
            // Whoever has anything goes on with it; who has nothing waits until it is worth while.
            let empty = bucket.wait(now, rate, 1).is_some();
            empty.then(|| bucket.wait(now, rate, units(rate).min(rate.depth()).max(1))).flatten()
        };
        let messages = wait(&rates.messages, busy.messages, |_| 1);
        let bytes = wait(&rates.bytes, busy.bytes, |rate| READ_BYTES_MIN.min(rate.a_second()));
        let Some(wait) = messages.max(bytes) else {
            return Ok(room(rates, busy, now));
        };
        busy.rests = true;
        // Rounded up: a millisecond too early would be a turn for nothing.
        let until = now.after(wait).0 + 1;
        self.resting.push(Reverse((until, token.slot, token.generation)));
        Err(Rest::Begins)
    }

    /// The agent sent so much.
    pub fn sent(&mut self, rates: &AgentRates, slot: u32, now: Now, messages: u64, bytes: u64) {
        let busy = self.busy.entry(slot).or_default();
        for (rate, bucket, units) in
            [(&rates.messages, &mut busy.messages, messages), (&rates.bytes, &mut busy.bytes, bytes)]
        {
            if let Some(rate) = rate {
                bucket.spend(now, rate, units);
            }
        }
    }

    /// The next one that has rested long enough. It may have gone meanwhile.
    pub fn rested(&mut self, now: Now) -> Option<Token> {
        let &Reverse((until, slot, generation)) = self.resting.peek()?;
        if until > now.0 {
            return None;
        }
        self.resting.pop();
        Some(Token { slot, generation })
    }

    /// It is read again.
    pub fn wake(&mut self, slot: u32) {
        if let Some(busy) = self.busy.get_mut(&slot) {
            busy.rests = false;
        }
    }

    /// Whether an agent rests, and will be read again.
    #[cfg(test)]
    pub(crate) fn rests(&self, slot: u32) -> bool {
        let listed = self.resting.iter().any(|Reverse((_, resting, _))| *resting == slot);
        listed && self.busy.get(&slot).is_some_and(|busy| busy.rests)
    }

    /// How many agents it knows.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.busy.len()
    }

    /// When the first has rested long enough.
    #[must_use]
    pub fn next(&self) -> Option<Now> {
        self.resting.peek().map(|Reverse((until, ..))| Now(*until))
    }

    /// The connection has ended.
    pub fn forget(&mut self, slot: u32) {
        self.busy.remove(&slot);
    }

    /// Forgets those who have been quiet for long enough to have their whole share again.
    pub fn sweep(&mut self, now: Now) {
        self.busy.retain(|_, busy| busy.rests || !busy.messages.is_full(now) || !busy.bytes.is_full(now));
        if self.busy.capacity() > 8 * self.busy.len() {
            self.busy.shrink_to(2 * self.busy.len());
        }
        if self.resting.capacity() > 8 * self.resting.len() {
            self.resting.shrink_to(2 * self.resting.len());
        }
    }

    /// Bytes of all of it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        // Beside each place of the table there is its tag.
        self.busy.capacity() * (size_of::<(u32, Busy)>() + 1)
            + self.resting.capacity() * size_of::<Reverse<(u64, u32, u32)>>()
    }
}

fn room(rates: &AgentRates, busy: &Busy, now: Now) -> Room {
    let messages = rates.messages.as_ref().map(|rate| busy.messages.available(now, rate));
    let bytes = rates.bytes.as_ref().map(|rate| busy.bytes.available(now, rate));
    let at_once = if rates.messages.is_some() { READ_BYTES_MAX } else { usize::MAX };
    Room {
        messages: messages.map_or(u32::MAX, |units| u32::try_from(units).unwrap_or(u32::MAX).max(1)),
        bytes: bytes.map_or(usize::MAX, |units| usize::try_from(units).unwrap_or(usize::MAX)).clamp(1, at_once),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rates(messages: u64, bytes: u64) -> AgentRates {
        AgentRates { messages: Rate::new(messages, SECOND, SECOND), bytes: Rate::new(bytes, SECOND, SECOND) }
    }

    fn token(slot: u32) -> Token {
        Token { slot, generation: 7 }
    }

    #[test]
    fn who_sent_its_share_rests_until_there_is_room() {
        let (mut throttle, rates) = (Throttle::default(), rates(10, 0));
        assert_eq!(throttle.room(&rates, token(1), Now(0)).map(|room| room.messages), Ok(10));
        assert_eq!(throttle.bytes(), 0, "asking makes nothing");
        throttle.sent(&rates, 1, Now(0), 4, 0);
        assert_eq!(throttle.room(&rates, token(1), Now(0)).map(|room| room.messages), Ok(6));
        throttle.sent(&rates, 1, Now(0), 6, 0);
        assert_eq!(throttle.room(&rates, token(1), Now(0)), Err(Rest::Begins));
        assert_eq!(throttle.room(&rates, token(1), Now(50)), Err(Rest::GoesOn), "once in the list is enough");
        assert!(throttle.room(&rates, token(2), Now(0)).is_ok());
        assert_eq!((throttle.next(), throttle.rested(Now(100))), (Some(Now(101)), None));
        assert_eq!((throttle.rested(Now(101)), throttle.rested(Now(101))), (Some(token(1)), None));
        throttle.wake(1);
        assert_eq!(throttle.room(&rates, token(1), Now(101)).map(|room| room.messages), Ok(1));
    }

    #[test]
    fn a_read_for_a_few_bytes_is_not_worth_while() {
        let (mut throttle, rates) = (Throttle::default(), rates(0, 100_000));
        throttle.sent(&rates, 1, Now(0), 0, 100_000);
        assert_eq!(throttle.room(&rates, token(1), Now(0)), Err(Rest::Begins));
        assert_eq!(throttle.next(), Some(Now(41)), "room for 4,096 bytes, rounded up");
        throttle.wake(1);
        let room = throttle.room(&rates, token(1), Now(20));
        assert_eq!(room, Ok(Room { bytes: 2000, ..Room::ENDLESS }), "what is there may be read");
        // Of a slow rate what a second brings is enough.
        let slow = AgentRates { bytes: Rate::new(10, SECOND, SECOND), ..AgentRates::default() };
        throttle.sent(&slow, 2, Now(0), 0, 10);
        assert_eq!(throttle.room(&slow, token(2), Now(0)), Err(Rest::Begins));
        assert_eq!(throttle.rested(Now(1001)).map(|token| token.slot), Some(1));
        assert_eq!(throttle.rested(Now(1001)).map(|token| token.slot), Some(2));
    }

    #[test]
    fn the_scarcer_of_the_two_decides() {
        let (mut throttle, rates) = (Throttle::default(), rates(1, 1000));
        throttle.sent(&rates, 1, Now(0), 1, 1000);
        assert_eq!(throttle.room(&rates, token(1), Now(0)), Err(Rest::Begins));
        assert_eq!(throttle.next(), Some(Now(1001)));
    }

    #[test]
    fn who_is_quiet_is_forgotten() {
        let (mut throttle, rates) = (Throttle::default(), rates(10, 1000));
        for slot in 0..100 {
            throttle.sent(&rates, slot, Now(0), 10, 10);
            assert_eq!(throttle.room(&rates, token(slot), Now(0)), Err(Rest::Begins));
        }
        throttle.sweep(Now(5000));
        assert_eq!(throttle.busy.len(), 100, "they rest");
        while let Some(token) = throttle.rested(Now(5000)) {
            throttle.wake(token.slot);
        }
        throttle.sent(&rates, 5, Now(5000), 1, 1);
        throttle.sweep(Now(5000));
        assert_eq!(throttle.busy.len(), 1);
        throttle.forget(5);
        throttle.sweep(Now(5000));
        assert_eq!((throttle.bytes(), throttle.next()), (0, None));
    }
}
