//! Whether what callers were told is true, by what the kernel and the agents know.

use crate::calls::{Body, Outcome};
use crate::kit::overload::Level;
use crate::kit::tick::Now;
use crate::session::phase::Phase;

use super::agent::answer;
use super::backend::Record;
use super::world::{SimLoop, Worker, World};

impl World {
    /// Judges the calls that have just ended, and those that should have.
    pub(super) fn check_calls(&mut self) {
        if self.dispatch.budget().level() >= Level::Shed {
            self.shed_at = Some(self.now());
        }
        for (nonce, outcome) in self.ledger.take_ended() {
            self.kernel.borrow_mut().note(format_args!("call {nonce} ends: {outcome:?}"));
            self.ledger.close(nonce, outcome.clone());
            let record = &self.ledger.records[&nonce];
            self.judge(nonce, record, &outcome);
            if outcome == Outcome::NotDelivered && self.was_kept_from(record) {
                let secured = record.socket.is_some_and(|id| self.kernel.borrow().sockets[id].tls.is_some());
                self.shed[usize::from(secured)] += 1;
            }
        }
        self.forget_links_that_ended();
        let now = self.now();
        let settled = self.is_settled();
        let kernel = self.kernel.borrow();
        if settled {
            let agents = self.loops.iter().flat_map(|sleeping| sleeping.body.seen());
            let agents = agents.filter(|seen| matches!(seen.phase, Phase::Agent(_)));
            let (open, known) = (agents.count(), self.dispatch.node(Now(now)).agents);
            assert!(open <= known, "{open} agents are connected, the directory knows {known}");
        }
        let rings = self.alarm_at.is_some_and(|at| at <= now + 1);
        // What comes over a link is on its way for as long as its backend likes.
        for (nonce, record) in self.ledger.open_calls().filter(|(_, record)| record.link.is_none()) {
            let gone = record.socket.is_some_and(|id| kernel.sockets[id].dropped);
            assert!(!(gone && settled), "call {nonce} waits for nothing, its connection is gone: {record:?}");
            assert!(now <= record.deadline + 1 || rings, "call {nonce} outlives its deadline: {record:?}");
        }
    }

    /// Whether nothing is under way between the gateway's own parts.
    fn is_settled(&self) -> bool {
        let idle = |worker: &Worker| worker.batch.is_empty() && worker.tray.is_empty();
        let resting = |sleeping: &SimLoop| !sleeping.body.is_held_up() && !sleeping.body.has_letters();
        self.workers.iter().all(idle) && self.loops.iter().all(resting) && !self.loops.is_empty()
    }

    fn judge(&self, nonce: u64, record: &Record, outcome: &Outcome) {
        let kernel = self.kernel.borrow();
        let socket = record.socket.map(|id| &kernel.sockets[id]);
        let due = kernel.now >= record.deadline;
        let taken = socket.is_some_and(|socket| socket.taken.contains(&nonce));
        let claimed = taken || socket.is_some_and(|socket| socket.may_have_begun(nonce));
        let told = |ok: bool, why: &str| assert!(ok, "call {nonce} ends as {}, but {why}: {record:?}", outcome.label());
        match outcome {
            Outcome::Ok(Body { bytes, .. }) | Outcome::AgentError { data: Some(Body { bytes, .. }), .. } => {
                let id = record.socket.expect("it was sent");
                assert_eq!(bytes, answer(nonce, id).as_bytes(), "call {nonce} has somebody else's answer");
                let answered = record.answers.iter().any(|(on, _)| *on == id);
                told(answered, "nobody answered it");
            }
            Outcome::AgentError { data: None, .. } => told(false, "the agent's words are gone"),
            Outcome::Offline => told(record.socket.is_none(), "the directory knew its agent"),
            Outcome::NotDelivered => {
                told(!taken, "the kernel took all of it");
                // Overload that was over before it was made is no excuse.
                let may = !self.was_kept_from(record) || self.shed_at.is_some_and(|at| at >= record.opened);
                told(
                    may,
                    "its connection is open, its deadline has not passed, and no queue was cut since it was made",
                );
            }
            Outcome::NoReceipt => {
                told(due, "its deadline has not passed");
                told(claimed, "the kernel has nothing of it");
                // A backend on a link hears of it later, when the connection may be gone.
                let whole = taken || record.link.is_some() || socket.is_some_and(|socket| !socket.dropped);
                told(whole, "its connection is gone and a part of it is nothing");
            }
            Outcome::NoReply => {
                told(due, "its deadline has not passed");
                told(record.receipts.iter().any(|on| Some(*on) == record.socket), "no receipt was sent");
            }
            Outcome::Lost => {
                told(taken, "the kernel does not have all of it");
                told(!self.is_open(record), "its connection is open");
                told(!self.was_answered(record), "its answer was read before the connection's end");
            }
            Outcome::Busy => told(!taken, "the kernel took all of it"),
            Outcome::Cancelled => told(record.cancelled, "its caller was there"),
            Outcome::Draining => told(self.dispatch.is_draining(), "nothing drains"),
        }
    }

    /// What was promised not to have happened has not happened since.
    pub(super) fn check_promises(&self) {
        let kernel = self.kernel.borrow();
        for (nonce, record) in &self.ledger.records {
            let never = matches!(
                record.outcome,
                Some(Outcome::NotDelivered | Outcome::Busy | Outcome::Offline | Outcome::Draining)
            );
            let taken = record.socket.is_some_and(|id| kernel.sockets[id].taken.contains(nonce));
            assert!(!(never && taken), "call {nonce} was written after its outcome: {record:?}");
        }
    }

    /// Whether nothing but the gateway keeps a call from its agent now: there is time, and a connection.
    fn was_kept_from(&self, record: &Record) -> bool {
        self.kernel.borrow().now < record.deadline && self.is_open(record)
    }

    /// Whether the connection of a call is open, as its loop sees it.
    fn is_open(&self, record: &Record) -> bool {
        let kernel = self.kernel.borrow();
        record.socket.is_some_and(|id| {
            let socket = &kernel.sockets[id];
            let seen = self.loops.get(socket.door).map(|sleeping| sleeping.body.seen()).unwrap_or_default();
            seen.iter().any(|seen| Some(seen.token) == socket.token && seen.phase.is_open())
        })
    }

    /// Whether the answer had been read while the connection was open, and it then ended by an orderly end of the
    /// agent's side alone.
    fn was_answered(&self, record: &Record) -> bool {
        let kernel = self.kernel.borrow();
        let Some(id) = record.socket else {
            return false;
        };
        let (was_open, read) = self.last_seen.get(&id).copied().unwrap_or_default();
        let orderly = self.clients.iter().any(|client| {
            client.socket == id && client.ended.half_closed && !client.ended.illegal && !kernel.sockets[id].is_broken()
        });
        was_open && orderly && record.answers.iter().any(|(on, end)| *on == id && *end <= read)
    }
}
