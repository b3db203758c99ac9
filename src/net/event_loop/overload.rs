//! What a loop does when there is too much: its own lag, and the memory of the node.
//!
//! Owns the measure of lag, and what each level means in a loop. By lag newcomers are left in the backlog, because an answer would cost as much
//! as letting them in; by memory they get a 503 (`accept`). Then the largest queues are cut, and then peers above the soft mark are not waited for
//! (`expire`). Nothing here looks at more connections than the sweep looks at anyway.

use std::time::Duration;

use crate::kit::largest::Largest;
use crate::kit::memory;
use crate::kit::overload::{Change, Ladder, Level, Overload};
use crate::kit::tick::{Now, Took};
use crate::net::intake::Event;
use crate::net::io::{Io, Token};
use crate::session::reason::Reason;
use crate::session::rules::Door;

use super::EventLoop;
use super::carry_out::live;

/// Lag is that of so long: one pause of a loop is no overload.
const WINDOW: Duration = Duration::from_secs(1);
/// The memory is looked at no more often than this, in milliseconds.
const LOOK_MS: u64 = 5;
/// How long newcomers are left in the backlog before the level is asked again.
const HELD_BACK: Duration = Duration::from_millis(250);
/// Queues that are cut in one sweep over the table: a million connections are no reason for one long turn.
const SHED_A_SWEEP: usize = 64;
/// A sweep over the table takes no longer while queues are to be cut, in milliseconds.
const SWEEP_MS: u32 = 250;

/// How strained a loop is.
pub(super) struct Strain {
    lag: Overload,
    /// When the window of the lag began.
    since: Now,
    /// The squares of the lengths of the turns in it, in microseconds.
    squares: u64,
    /// When the memory was looked at last.
    looked: Now,
    /// The largest queues that this sweep has seen, by slot and generation.
    largest: Largest<(u32, u32)>,
}

impl Default for Strain {
    fn default() -> Self {
        Self {
            lag: Overload::default(),
            since: Now::default(),
            squares: 0,
            looked: Now::default(),
            largest: Largest::new(SHED_A_SWEEP),
        }
    }
}

impl Strain {
    /// A turn has ended.
    pub(super) fn took(&mut self, took: Took) {
        let micros = u64::try_from(took.wall.as_micros()).unwrap_or(u64::MAX);
        self.squares = self.squares.saturating_add(micros.saturating_mul(micros));
    }

    /// The level by lag.
    pub(super) fn level(&self) -> Level {
        self.lag.level()
    }

    /// When the level is to be asked again though nothing happens.
    pub(super) fn next(&self) -> Now {
        self.since.after(WINDOW)
    }

    /// Ends the window where it is over; the lag of it in milliseconds, and what that changed.
    ///
    /// The sum of the squares over the time is the mean length of the turn that a moment chosen at random falls into, no turn counting as
    /// none: what something that becomes ready waits for, at most.
    fn weigh(&mut self, now: Now, ladder: &Ladder) -> Option<(u32, Option<Change>)> {
        let span = now.since(self.since);
        if span < WINDOW {
            return None;
        }
        let span_micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX).max(1);
        let lag_ms = std::mem::take(&mut self.squares) / span_micros / 1000;
        let since = std::mem::replace(&mut self.since, now);
        let change = self.lag.note(lag_ms, since, now, ladder);
        Some((u32::try_from(lag_ms).unwrap_or(u32::MAX), change))
    }
}

impl<I: Io> EventLoop<I> {
    /// The level that this loop acts by: its own or the node's, whichever is higher.
    pub(super) fn level(&self) -> Level {
        self.strain.level().max(self.budget.level())
    }

    /// Looks at lag and memory, and tells of what has changed.
    pub(super) fn weigh(&mut self) {
        if let Some((lag_ms, change)) = self.strain.weigh(self.now, &self.limits.overload.lag) {
            self.status.lag.tell(self.strain.level(), lag_ms);
            if let Some(Change { from, to }) = change {
                let (from, to, index) = (from.word(), to.word(), self.index);
                tracing::warn!(by = "lag", index, from, to, lag_ms, "overload level changed");
            }
        }
        if self.now.0 < self.strain.looked.0 + LOOK_MS {
            return;
        }
        self.strain.looked = self.now;
        let bytes = memory::process_bytes();
        if let Some(Change { from, to }) = self.budget.look(bytes, self.now) {
            let (from, to, used) = (from.word(), to.word(), self.budget.used(bytes));
            tracing::warn!(by = "memory", from, to, used, "overload level changed");
        }
    }

    /// When a turn is due because a level may fall; `None` while there is none to fall.
    pub(super) fn next_weighing(&self) -> Option<Now> {
        (self.level() > Level::Calm).then(|| self.strain.next())
    }

    /// Until when newcomers at a door wait in its backlog.
    pub(super) fn held_back_until(&self, door: Door) -> Option<Now> {
        (door == Door::Agents && self.strain.level() >= Level::Refuse).then(|| self.now.after(HELD_BACK))
    }

    /// How long a peer may stay above the soft mark now, in milliseconds.
    pub(super) fn patience_ms(&self) -> u32 {
        let usual = self.limits.write_deadline_ms;
        if self.level() >= Level::Close { usual.min(self.limits.overload.patience_ms) } else { usual }
    }

    /// How long a sweep may take at most, in milliseconds.
    pub(super) fn sweep_ms_max(&self) -> u32 {
        if self.level() >= Level::Shed { SWEEP_MS } else { u32::MAX }
    }

    /// Notes queues of the slots from one to before another, where some are to be cut.
    pub(super) fn note_queues(&mut self, from: u32, to: u32) {
        if self.level() < Level::Shed {
            return;
        }
        let shed_from = self.limits.overload.shed_from;
        for (slot, conn) in self.conns.range(from, to) {
            // What is sealed goes out or is lost with its connection: there is nothing to gain from it, and it has a bound of its own.
            let backlog = conn.outbox.as_ref().map_or(0, |outbox| outbox.loose_bytes());
            // What waits for a link are answers, which are not dropped: below its mark there is nothing to gain from it.
            let door = conn.door();
            if door == Door::Links && backlog <= self.limits.queue_soft(door) {
                continue;
            }
            if backlog >= shed_from && conn.session.phase().is_open() {
                self.strain.largest.offer(backlog, (slot, conn.generation));
            }
        }
    }

    /// The sweep has seen all queues: the largest are cut, one by one, until there is no more need to.
    pub(super) fn shed_largest(&mut self) {
        for (_, (slot, generation)) in self.strain.largest.take() {
            let by_lag = self.strain.level() >= Level::Shed;
            if by_lag || self.budget.keeps(Level::Shed, memory::process_bytes()) {
                self.shed_queue(Token { slot, generation });
            }
        }
    }

    /// Drops the calls that wait behind the first frame of a queue: none of them was written, and their callers are told so. What is left and
    /// still too much cannot be dropped without a lie, so the connection is closed. Nobody is closed for what TLS has sealed already, which is
    /// never more than a batch.
    fn shed_queue(&mut self, token: Token) {
        let id = self.conn_id(token);
        let Some(conn) = live(&mut self.conns, token).filter(|conn| conn.session.phase().is_open()) else {
            return;
        };
        let queue_soft = self.limits.queue_soft(conn.door());
        let Some(outbox) = &mut conn.outbox else {
            return;
        };
        let before = outbox.queued_bytes();
        outbox.shed(|call| self.intake.push(id, Event::NotWritten { call }));
        outbox.measure(queue_soft, self.now.tick());
        let is_too_much = outbox.loose_bytes() > queue_soft;
        if outbox.queued_bytes() < before || is_too_much {
            self.meter.sheds.increment(1);
        }
        if is_too_much {
            outbox.cut(|call| self.intake.push(id, Event::NotWritten { call }));
            self.with_session(token, |session, _, lent| session.fail(Reason::Overloaded, lent));
        } else if before > queue_soft && outbox.queued_bytes() <= queue_soft {
            self.read_again(token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::overload::Mark;

    const LADDER: Ladder = Ladder {
        marks: [Mark { enter: 100, leave: 50 }, Mark { enter: 200, leave: 100 }, Mark { enter: 1000, leave: 500 }],
        rise: Duration::from_secs(2),
        fall: Duration::from_secs(2),
    };

    /// Lag and level after each second, of turns of so many milliseconds each.
    fn seconds(turns: &[&[u64]]) -> Vec<(u32, Level)> {
        let mut strain = Strain::default();
        let second = |(number, turns): (usize, &&[u64])| {
            for ms in *turns {
                strain.took(Took { wall: Duration::from_millis(*ms), cpu: Duration::ZERO });
            }
            let now = Now(1000 * (number as u64 + 1));
            assert_eq!(strain.weigh(Now(now.0 - 1), &LADDER), None, "the window is not over");
            let (lag_ms, _) = strain.weigh(now, &LADDER).expect("the window is over");
            (lag_ms, strain.level())
        };
        turns.iter().enumerate().map(second).collect()
    }

    #[test]
    fn lag_is_the_mean_turn_that_a_moment_falls_into() {
        use Level::{Calm, Refuse, Shed};
        assert_eq!(seconds(&[&[], &[1; 1000], &[10; 100], &[10; 50]]), [(0, Calm), (1, Calm), (10, Calm), (5, Calm)]);
        // A single pause is none; one of every second is.
        assert_eq!(seconds(&[&[400], &[]]), [(160, Calm), (0, Calm)]);
        assert_eq!(seconds(&[&[400], &[400], &[400]]), [(160, Calm), (160, Refuse), (160, Refuse)]);
        let busy: &[u64] = &[250; 4];
        assert_eq!(
            seconds(&[busy, busy, &[5; 200], &[5; 200], &[5; 200], &[]]),
            [(250, Calm), (250, Shed), (5, Shed), (5, Refuse), (5, Refuse), (0, Calm)]
        );
    }

    #[test]
    fn a_long_sleep_is_calm_all_the_time() {
        let mut strain = Strain::default();
        for second in 1..=2 {
            strain.took(Took { wall: WINDOW, cpu: WINDOW });
            strain.weigh(Now(second * 1000), &LADDER);
        }
        assert_eq!(strain.level(), Level::Close);
        strain.weigh(Now(60_000), &LADDER);
        assert_eq!(strain.level(), Level::Calm);
    }
}
