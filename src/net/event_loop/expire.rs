//! The verb `expire`: what time demands of each connection, by a sweep.
//!
//! The whole table is looked at about once a second, a slice at a time, so that a long table makes no long pause.
//! A loop without connections is not woken at all.

use crate::kit::memory;
use crate::kit::slots::Slots;
use crate::kit::tick::{Now, Tick};
use crate::net::conn::Conn;
use crate::net::io::{Io, Token};
use crate::session::heartbeat::{Moment, Moments};
use crate::session::message_purpose;
use crate::session::reason::Reason;
use crate::session::rules::Door;

use super::EventLoop;
use super::carry_out::live;

/// A sweep over the whole table takes a quarter of the shortest deadline, within these bounds in milliseconds. Less than a second, since
/// whose token has run out is to be gone within one.
const WHOLE_MS: (u32, u32) = (10, 900);
/// Slots in a slice, at least and at most. Looking at 16,384 takes about 0.1 ms; each slice wakes the loop, which costs more than that.
const SLICE: (u32, u32) = (128, 16_384);
/// How many of a slice should be due: their pings leave together, and calls wait behind them. Slices are as large as that
/// allows. Beside a million agents, whose sockets no cache holds, a ping takes 20 µs and more with the peer's wake.
const DUE_AT_ONCE: usize = 6;
/// A loop that is never quiet gives memory back once in so many sweeps.
const SWEEPS_BUSY_MAX: u32 = 10;
/// A quiet loop gives memory back once more after so many sweeps: others free late what they had from it. The control thread drains
/// samples every few seconds.
const SWEEPS_TO_LATE_FREES: u32 = 10;

/// Where the sweep stands.
#[derive(Debug)]
pub(super) struct Sweep {
    cursor: u32,
    /// Slots of the next slice.
    slice: u32,
    /// When the next slice is due; `None` before the first one, which is due at once.
    due_at: Option<Now>,
    /// Something but heartbeats happened since the whole table was last looked at. A fleet has some each second, and what they
    /// take is used again.
    pub(super) busy: bool,
    /// Sweeps with something else beside them since memory was last given back.
    sweeps_busy: u32,
    /// Sweeps until memory is given back once more; zero when that has been done.
    sweeps_to_late_frees: u32,
    /// Bytes of outboxes that this sweep has seen, and those that the last one saw: a sweep looks at every connection anyway.
    outbox_bytes_seen: usize,
    pub(super) outbox_bytes: usize,
}

impl Default for Sweep {
    fn default() -> Self {
        Self {
            cursor: 0,
            slice: SLICE.1,
            due_at: None,
            busy: false,
            sweeps_busy: 0,
            sweeps_to_late_frees: 0,
            outbox_bytes_seen: 0,
            outbox_bytes: 0,
        }
    }
}

impl Sweep {
    /// When the next slice is due; `None` while there is nobody to look at and no memory to give back.
    pub(super) fn next<S>(&self, conns: &Slots<Conn<S>>) -> Option<Now> {
        let nothing_to_give_back = !self.busy && self.sweeps_busy == 0 && self.sweeps_to_late_frees == 0;
        (!conns.is_empty() || !nothing_to_give_back).then(|| self.due_at.unwrap_or_default())
    }

    /// What to give back now that the whole table was looked at: all after a burst, in the first sweep without one or after
    /// [`SWEEPS_BUSY_MAX`], and what came late [`SWEEPS_TO_LATE_FREES`] after that.
    fn due_back(&mut self) -> DueBack {
        let busy = std::mem::take(&mut self.busy);
        self.sweeps_busy += u32::from(busy);
        if self.sweeps_busy == SWEEPS_BUSY_MAX || (self.sweeps_busy > 0 && !busy) {
            self.sweeps_busy = 0;
            self.sweeps_to_late_frees = SWEEPS_TO_LATE_FREES;
            return DueBack::Everything;
        }
        match self.sweeps_to_late_frees {
            0 => DueBack::Nothing,
            left => {
                self.sweeps_to_late_frees = left - 1;
                if left == 1 { DueBack::LateFrees } else { DueBack::Nothing }
            }
        }
    }
}

/// What a loop gives back after a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DueBack {
    Nothing,
    /// What the allocator has of this thread; the loop has spares no more.
    LateFrees,
    /// Spares, and what the allocator has.
    Everything,
}

impl<I: Io> EventLoop<I> {
    pub(super) fn expire(&mut self) {
        if self.sweep.next(&self.conns).is_none_or(|due_at| self.now < due_at) {
            return;
        }
        let (from, span) = (self.sweep.cursor, self.conns.span());
        let slice = self.sweep.slice;
        let to = from.saturating_add(slice);
        self.sweep.cursor = if to >= span { 0 } else { to };
        let step_ms = (u64::from(self.whole_ms()) * u64::from(slice) / u64::from(span.max(slice))).max(1);
        // Where loops outnumber the cores their slices should not come at the same moment: each loop's second one waits a while of its own.
        let phase_ms = match self.sweep.due_at {
            None => step_ms * u64::from(self.index.reverse_bits()) / 256,
            Some(_) => 0,
        };
        self.sweep.due_at = Some(Now(self.now.0 + step_ms + phase_ms));

        self.unix_secs = self.io.unix_secs(self.now);
        let (now, unix_secs, rules, patience_ms) = (self.now, self.unix_secs, self.rules, self.patience_ms());
        // When half of the bytes for messages that are being received are taken, who keeps one open for long makes room.
        let half = self.limits.lease_bytes / 2;
        let scarce = Door::ALL.map(|door| self.pool.lent_bytes(message_purpose(door)) > half);
        let secured = &self.secured;
        let holds_up =
            |slot: u32, conn: &Conn<I::Stream>| is_open_too_long(conn, secured.part_since(slot), now, patience_ms);
        let moments = Moments::around(now, &rules);
        let is_due = |slot: u32, conn: &Conn<I::Stream>| {
            conn.session.is_due(now, unix_secs, moments.of(slot), &rules)
                || is_too_slow(conn, now, patience_ms)
                || scarce[conn.door() as usize] && holds_up(slot, conn)
        };
        let mut due = Vec::new();
        for (slot, conn) in self.conns.range(from, to) {
            if let Some(outbox) = &conn.outbox {
                self.sweep.outbox_bytes_seen += outbox.bytes();
            }
            if is_due(slot, conn) {
                due.push(conn.token(slot));
            }
        }
        self.note_queues(from, to);
        // Slices come a millisecond apart at least, so a long table has larger ones.
        self.sweep.slice = next_slice(slice, due.len()).max(span.div_ceil(self.whole_ms()));
        for token in due {
            self.overdue(token, half, moments.of(token.slot));
        }
        if self.sweep.cursor == 0 {
            self.sweep.outbox_bytes = std::mem::take(&mut self.sweep.outbox_bytes_seen);
            self.shed_largest();
            self.throttle.sweep(now);
            self.secured.clear_ciphers();
            self.thin_line();
            self.rest_after_burst();
            self.tell_memory();
        }
    }

    /// Does what time demands of one connection, when messages may take `half` of their bytes without making room.
    fn overdue(&mut self, token: Token, half: usize, last: Moment) {
        let (now, patience_ms) = (self.now, self.patience_ms());
        let (awaits_header, is_shaking) = (self.awaits_header(token), self.is_shaking(token));
        let part_since = self.secured.part_since(token.slot);
        let Some(conn) = live(&mut self.conns, token) else {
            return;
        };
        if is_too_slow(conn, now, patience_ms) {
            self.slow_consumer(token);
        } else if awaits_header {
            // Whoever speaks to a balancer has not spoken yet, and would be shown what is not for it.
            self.lose(token, Reason::HandshakeTimeout);
        } else if is_shaking {
            // It could not read an answer.
            self.time_handshake_out(token);
        } else if is_open_too_long(conn, part_since, now, patience_ms)
            && self.pool.lent_bytes(message_purpose(conn.door())) > half
        {
            self.with_session(token, |session, _, lent| session.fail(Reason::NoBuffer, lent));
        } else {
            self.with_session(token, |session, _, lent| session.sweep(last, lent));
        }
    }

    fn whole_ms(&self) -> u32 {
        let rules = &self.rules;
        let shortest = [rules.handshake_ms, rules.close_ms, rules.heartbeat_ms, rules.heartbeat_timeout_ms]
            .into_iter()
            .fold(self.patience_ms(), u32::min);
        (shortest / 4).min(self.sweep_ms_max()).clamp(WHOLE_MS.0, WHOLE_MS.1)
    }

    /// What a burst left behind goes back to the system.
    fn rest_after_burst(&mut self) {
        match self.sweep.due_back() {
            DueBack::Nothing => return,
            DueBack::LateFrees => return memory::quiet(),
            DueBack::Everything => {}
        }
        self.pool.trim();
        self.inflater.rest();
        self.deflater.rest();
        self.spare_outboxes = Vec::new();
        for list in [&mut self.dirty, &mut self.dead] {
            list.shrink_to_fit();
        }
        self.again.shrink_to_fit();
        self.line.trim();
        self.secured.trim();
        self.sealing = Vec::new();
        self.ready.shrink_to_fit();
        memory::quiet();
    }
}

/// Slots of the slice after one of `slice` slots that had so many due. It shrinks at once and grows by doubling.
fn next_slice(slice: u32, due: usize) -> u32 {
    let fitting = slice as usize * DUE_AT_ONCE / due.max(1);
    let most = SLICE.1.min(slice.saturating_mul(2)).max(SLICE.0);
    u32::try_from(fitting).unwrap_or(most).clamp(SLICE.0, most)
}

/// Whether a message, or a record that has been coming in since `part_since`, has taken longer than a peer may be slow.
fn is_open_too_long<S>(conn: &Conn<S>, part_since: Option<Tick>, now: Now, patience_ms: u32) -> bool {
    let begun = [conn.session.message_open_since(), part_since];
    begun.into_iter().flatten().any(|since| now.tick().since(since) > patience_ms)
}

/// Whether the peer has had its time to come back under the soft mark.
fn is_too_slow<S>(conn: &Conn<S>, now: Now, patience_ms: u32) -> bool {
    let since = conn.outbox.as_ref().and_then(|outbox| outbox.above_since());
    conn.session.phase().is_open() && since.is_some_and(|since| now.tick().since(since) > patience_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_as_large_as_what_is_due_allows() {
        for (slice, due, next) in [
            (16_384, 0, 16_384),
            (16_384, DUE_AT_ONCE, 16_384),
            (16_384, 364, 270),
            (270, DUE_AT_ONCE, 270),
            (270, DUE_AT_ONCE / 2, 540),
            (270, 0, 540),
            (2160, usize::MAX / (1 << 14), 128),
            (128, 5000, 128),
        ] {
            assert_eq!(next_slice(slice, due), next, "{slice} {due}");
        }
    }

    /// What is given back after each of so many sweeps, of which `busy` ones had a burst: sweeps and what, where it is something.
    fn given_back(busy: impl Fn(u32) -> bool, sweeps: u32) -> Vec<(u32, DueBack)> {
        let mut sweep = Sweep::default();
        let given = (0..sweeps).map(|at| {
            sweep.busy = busy(at);
            (at, sweep.due_back())
        });
        given.filter(|(_, due)| *due != DueBack::Nothing).collect()
    }

    #[test]
    fn memory_goes_back_after_a_burst_and_once_more_when_others_have_freed_what_they_had() {
        use DueBack::{Everything, LateFrees};
        assert_eq!(given_back(|_| false, 50), []);
        assert_eq!(given_back(|at| at < 3, 50), [(3, Everything), (13, LateFrees)]);
        // Another burst before that puts it off.
        assert_eq!(given_back(|at| at == 0 || at == 5, 50), [(1, Everything), (6, Everything), (16, LateFrees)]);
        assert_eq!(given_back(|_| true, 25), [(9, Everything), (19, Everything)]);
    }
}
