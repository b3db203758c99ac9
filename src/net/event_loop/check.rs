//! What must be true of a loop between two turns, for tests: assertions, and a view of each connection.

use std::collections::BTreeMap;

use crate::kit::buffer_pool::Purpose;
use crate::net::conn::mark;
use crate::net::io::{Io, Token};
use crate::session::message_purpose;
use crate::session::phase::Phase;
use crate::session::rules::Door;

use super::EventLoop;

/// A sweep comes round once a second; a turn in which time jumped sweeps first.
const SWEEP_SLACK_MS: u32 = 1_001;

/// One connection between two turns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Its name.
    pub(crate) token: Token,
    /// Where it is in its life.
    pub(crate) phase: Phase,
    /// Whether the loop comes back to it next turn.
    pub(crate) again: bool,
    /// Whether it asked to be told when the kernel takes bytes.
    pub(crate) armed: bool,
    /// Whether bytes that were read wait in its session.
    pub(crate) keeps_bytes: bool,
    /// Whether it is not read because of what is queued for it, or because it has used up its rate.
    pub(crate) held_back: bool,
}

impl<I: Io> EventLoop<I> {
    /// Every connection, by slot.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.conns
            .iter()
            .map(|(slot, conn)| Seen {
                token: conn.token(slot),
                phase: conn.session.phase(),
                again: self.again.contains(&conn.token(slot)) || conn.session.owner_marks & mark::IN_LINE != 0,
                armed: conn.outbox.as_ref().is_some_and(|outbox| outbox.armed),
                keeps_bytes: conn.session.keeps_bytes(),
                held_back: conn.session.phase().is_open()
                    && (conn.queued_bytes() > self.limits.queue_soft(conn.door()) || self.throttle.rests(slot)),
            })
            .collect()
    }

    /// Whether it owns nothing of any connection.
    pub(crate) fn is_idle(&self) -> bool {
        let beside = self.sources.held() + self.throttle.held();
        let idle = self.conns.is_empty() && self.pool.lent() == 0 && self.early.is_empty() && beside == 0;
        idle && self.secured.is_empty()
    }

    /// Whether it rests only because others do not go on: full workers, or an admission on its way.
    pub(crate) fn is_held_up(&self) -> bool {
        self.backed_up || !self.early.is_empty()
    }

    /// Whether orders wait for it.
    pub(crate) fn has_letters(&self) -> bool {
        !self.letters.is_empty()
    }

    /// Asserts its invariants between two turns.
    pub(crate) fn check(&self) {
        assert!(self.dirty.is_empty(), "nothing dirty is slept on");
        assert!(self.dead.is_empty(), "the dead are freed at the end of the turn");
        assert!(self.effects.is_empty(), "every effect is carried out");
        let mut again = BTreeMap::new();
        for token in &self.again {
            *again.entry((token.slot, token.generation)).or_insert(0) += 1;
        }
        let (mut half_open, mut links, mut leases) = (0, 0, 0);
        for (slot, conn) in self.conns.iter() {
            let (token, phase) = (conn.token(slot), conn.session.phase());
            half_open += u32::from(phase.is_half_open() && conn.door() == Door::Agents);
            links += u32::from(conn.door() == Door::Links && conn.session.owner_marks & mark::TURNED_AWAY == 0);
            leases += conn.session.leases();
            let heard = phase == Phase::Verifying || phase.is_open();
            let awaits_header = conn.session.owner_marks & mark::AWAITS_HEADER != 0;
            assert!(!(heard && awaits_header), "{token:?} was heard before its balancer");
            assert!(phase != Phase::Dead, "{token:?} is dead and still there");
            let marked = conn.session.owner_marks & mark::IN_AGAIN;
            let listed = again.get(&(token.slot, token.generation)).copied().unwrap_or(0);
            assert_eq!(i32::from(marked), listed, "{token:?} is marked as often as it is listed");
            self.check_outbox(token, phase);
            self.check_time(token);
        }
        assert_eq!(self.half_open, half_open, "half-open connections are counted");
        assert_eq!(self.links, links, "connections at the door of links are counted");
        leases += self.secured.parts();
        assert_eq!(self.pool.lent(), leases, "leases lent are those that connections hold");
        assert!(self.pool.lent_bytes(Purpose::Kept) <= self.rules.kept_bytes_max, "what turns leave over has a bound");
        for purpose in Door::ALL.map(message_purpose) {
            assert!(self.pool.lent_bytes(purpose) <= self.limits.lease_bytes, "cut messages have a bound");
        }
    }

    fn check_outbox(&self, token: Token, phase: Phase) {
        let Some(conn) = self.conns.get(token.slot) else {
            return;
        };
        let Some(outbox) = &conn.outbox else {
            assert!(
                !matches!(phase, Phase::Finishing | Phase::Lingering),
                "{token:?} has said its last word and is still {phase:?}"
            );
            return;
        };
        assert!(!outbox.is_empty(), "{token:?} keeps an outbox for nothing");
        assert!(outbox.armed, "{token:?} has bytes queued and nobody will write them");
        if phase.is_open() {
            outbox.check(self.limits.queue_soft(conn.door()));
            let bytes_max = self.limits.queue_hard.max(self.queue_hard(phase, conn.door()));
            assert!(outbox.backlog_bytes() <= bytes_max, "{token:?} is above the hard mark");
        }
    }

    fn check_time(&self, token: Token) {
        let Some(conn) = self.conns.get(token.slot) else {
            return;
        };
        let (session, rules) = (&conn.session, &self.rules);
        let silent_ms = self.now.tick().since(session.heard());
        let above_since = conn.outbox.as_ref().and_then(|outbox| outbox.above_since());
        let deadline_ms = match (session.phase(), above_since) {
            (phase, Some(since)) if phase.is_open() => {
                let above_ms = self.now.tick().since(since);
                assert!(
                    above_ms <= self.limits.write_deadline_ms + SWEEP_SLACK_MS,
                    "{token:?} is slow for {above_ms} ms"
                );
                return;
            }
            // A connection that time jumped over gets its ping first, and then the time to answer it.
            (phase, None) if phase.is_open() => return,
            (phase, _) if phase.is_half_open() => rules.handshake_ms,
            _ => rules.close_ms,
        };
        assert!(
            silent_ms <= deadline_ms + SWEEP_SLACK_MS,
            "{token:?} outlives its deadline: {:?} for {silent_ms} ms",
            session.phase()
        );
    }
}
