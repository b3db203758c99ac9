//! Calls that wait for their outcome.
//!
//! Owns every waiter of this node: opened before the call is posted to a loop, ended exactly once, by a reply, by
//! the loop's word that it was not written, by the end of its connection, by its deadline, or by its caller.
//! It never waits and never touches a connection.
//!
//! The table is cut into shards by connection, and a call's id names its shard in its low bits: each step takes one
//! lock, never two. A call is ended by taking its waiter out under that lock, so exactly one of all who race for it wins;
//! the completion runs after the lock is given back.

mod deadlines;
#[cfg(holdfast_loom)]
mod loom_tests;
mod shard;
#[cfg(all(test, not(holdfast_loom)))]
mod tests;

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;

use self::shard::{Ended, Shard};
use crate::kit::delivery::Delivery;
use crate::kit::ids::{CallId, CallIds, ConnId};
use crate::kit::quota::Hold;
use crate::kit::tick::Now;
use crate::wire::envelope::Encoding;

/// What an agent answered with, copied out of its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The bytes.
    pub bytes: Bytes,
    /// Whether they are one JSON value, checked.
    pub json: bool,
}

/// How a call ended. Exactly one for each call.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The agent answered.
    Ok(Body),
    /// The agent answered with an error.
    AgentError {
        /// The agent's error code.
        code: i64,
        /// The agent's words.
        message: String,
        /// What it added.
        data: Option<Body>,
    },
    /// Not connected anywhere.
    Offline,
    /// The connection ended, or the deadline passed, before the call was written: safe to repeat.
    NotDelivered,
    /// Written; the deadline passed without a sign of life.
    NoReceipt,
    /// The agent has it; the deadline passed.
    NoReply,
    /// Written, then the connection ended: it may have run.
    Lost,
    /// Too many calls in flight for this agent or tenant, or the queue to the agent or to its loop is full.
    Busy,
    /// The caller went away.
    Cancelled,
    /// This node is stopping.
    Draining,
}

impl Outcome {
    /// Whether the call was refused at once and nothing was sent: its time says nothing of agents.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Offline | Self::Busy | Self::Draining)
    }

    /// The word in the API and the metric label.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Ok(_) => "ok",
            Self::AgentError { .. } => "agent_error",
            Self::Offline => "offline",
            Self::NotDelivered => "not_delivered",
            Self::NoReceipt => "no_receipt",
            Self::NoReply => "no_reply",
            Self::Lost => "lost",
            Self::Busy => "busy",
            Self::Cancelled => "cancelled",
            Self::Draining => "draining",
        }
    }
}

/// The end of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// Its id; `None` when it ended before it got one. Whoever opens a call may learn of its end before it learns the id.
    pub call: Option<CallId>,
    /// How it ended.
    pub outcome: Outcome,
    /// When, by the clock of whoever ended it.
    pub at: Now,
}

impl End {
    /// Of a call that was never opened.
    #[must_use]
    pub fn unopened(outcome: Outcome, at: Now) -> Self {
        Self { call: None, outcome, at }
    }
}

/// Runs once, on the thread that ended the call; must not block.
pub type OnEnd = Box<dyn FnOnce(End) + Send>;

/// A call to open.
pub struct NewCall {
    /// The connection that it goes to.
    pub conn: ConnId,
    /// How the connection's envelopes are written, for who must be told that nobody waits any more.
    pub encoding: Encoding,
    /// The tenant's count of calls in flight.
    pub tenant: Hold,
    /// When waiting ends.
    pub deadline: Now,
    /// The mark that the event loop shares.
    pub delivery: Delivery,
    /// Who waits.
    pub on_end: OnEnd,
}

/// A call that was ended by its deadline, by its caller or by the stop of the node, and whose agent should be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abandoned {
    /// The call.
    pub call: CallId,
    /// Where it was sent.
    pub conn: ConnId,
    /// How that connection's envelopes are written.
    pub encoding: Encoding,
}

/// Bits of a call's id that name its shard; a model has few, because it tries every order of the looks at them.
const SHARD_BITS: u32 = if cfg!(holdfast_loom) { 1 } else { 4 };
/// Parts with a lock each. Its maps grow under the lock, a sixteenth of all calls at a time; and it keeps some kilobytes when
/// its calls have ended, so there are no more of them.
const SHARDS: usize = 1 << SHARD_BITS;

/// All waiters of this node.
pub struct Calls {
    shards: Box<[Shard]>,
    ids: CallIds,
    per_agent_max: AtomicU32,
}

impl Calls {
    /// An empty table that allows `per_agent_max` calls in flight on one connection; `first` seeds the ids (random).
    #[must_use]
    pub fn new(first: u64, per_agent_max: u32) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            ids: CallIds::starting_at(first),
            per_agent_max: AtomicU32::new(per_agent_max),
        }
    }

    /// Changes the limit for one agent; calls in flight stay.
    pub fn set_per_agent_max(&self, max: u32) {
        self.per_agent_max.store(max, Ordering::Relaxed);
    }

    /// Opens a waiter.
    ///
    /// # Errors
    /// Hands `on_end` back, not run, when the agent has too many calls in flight.
    pub fn open(&self, call: NewCall) -> Result<CallId, OnEnd> {
        let shard = shard_index(call.conn);
        // The counter stays unique when the top bits are shifted out: it would take 2^58 calls to come round.
        let id = CallId(self.ids.next().0 << SHARD_BITS | shard as u64);
        let per_agent_max = self.per_agent_max.load(Ordering::Relaxed);
        self.shards[shard].change(|waiting| waiting.open(id, call, per_agent_max)).map(|()| id)
    }

    /// A reply came in on `conn`. False, and nothing happens, when no call with this id waits on this connection.
    pub fn reply(&self, conn: ConnId, call: CallId, outcome: Outcome, now: Now) -> bool {
        let ended = self.shard_of(call).change(|waiting| waiting.take_from(conn, call));
        ended.map(|ended| ended.end(outcome, now)).is_some()
    }

    /// A receipt or a progress came in on `conn`. False when no call with this id waits on this connection.
    pub fn receipt(&self, conn: ConnId, call: CallId) -> bool {
        self.shard_of(call).change(|waiting| waiting.receipt(conn, call))
    }

    /// The loop says that the call was not, and will not be, written whole: [`Outcome::NotDelivered`].
    pub fn not_written(&self, call: CallId, now: Now) {
        if let Some(ended) = self.take(call) {
            ended.end(Outcome::NotDelivered, now);
        }
    }

    /// The way into the loop was full: [`Outcome::Busy`].
    pub fn refused(&self, call: CallId, now: Now) {
        if let Some(ended) = self.take(call) {
            ended.end(Outcome::Busy, now);
        }
    }

    /// The connection ended. Calls that were written whole are [`Outcome::Lost`]; for each other one the loop says
    /// [`Calls::not_written`], before or after.
    pub fn conn_ended(&self, conn: ConnId, now: Now) {
        let shard = &self.shards[shard_index(conn)];
        for ended in shard.change(|waiting| waiting.take_written(conn)) {
            ended.end(Outcome::Lost, now);
        }
    }

    /// The caller went away: [`Outcome::Cancelled`]. `Some` when the agent should be told.
    pub fn cancel(&self, call: CallId, now: Now) -> Option<Abandoned> {
        let ended = self.take(call)?;
        let abandoned =
            (!ended.delivery.withdraw()).then_some(Abandoned { call, conn: ended.conn, encoding: ended.encoding });
        ended.end(Outcome::Cancelled, now);
        abandoned
    }

    /// Ends every call whose deadline is at or before `now`: [`Outcome::NoReply`] after a receipt; else
    /// [`Outcome::NotDelivered`] when it could be withdrawn in time; else [`Outcome::NoReceipt`]. Pushes those whose
    /// agents should be told (not the withdrawn ones).
    pub fn expire(&self, now: Now, abandoned: &mut Vec<Abandoned>) {
        for shard in &self.shards {
            if shard.earliest().is_none_or(|earliest| earliest > now) {
                continue;
            }
            for ended in shard.change(|waiting| waiting.take_due(now)) {
                let outcome = match ended.receipt {
                    true => Outcome::NoReply,
                    false if ended.delivery.withdraw() => Outcome::NotDelivered,
                    false => Outcome::NoReceipt,
                };
                if outcome != Outcome::NotDelivered {
                    abandoned.push(Abandoned { call: ended.call, conn: ended.conn, encoding: ended.encoding });
                }
                ended.end(outcome, now);
            }
        }
    }

    /// The earliest deadline, or an earlier moment; `None` when no call waits. Takes no lock.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Now> {
        self.shards.iter().filter_map(Shard::earliest).min()
    }

    /// The process ends: every call ends as [`Outcome::NotDelivered`] when it can be withdrawn, else [`Outcome::Lost`].
    pub fn end_all(&self, now: Now) {
        for shard in &self.shards {
            for ended in shard.change(|waiting| waiting.take_all()) {
                let outcome = if ended.delivery.withdraw() { Outcome::NotDelivered } else { Outcome::Lost };
                ended.end(outcome, now);
            }
        }
    }

    /// Calls in flight on one connection.
    #[must_use]
    pub fn in_flight(&self, conn: ConnId) -> u32 {
        self.shards[shard_index(conn)].in_flight(conn)
    }

    /// Calls in flight on this node. Takes no lock.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(Shard::len).sum()
    }

    /// Whether none is in flight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the waiters, without their completions. Takes each lock once.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(Shard::bytes).sum()
    }

    /// The shard that a call's id names. Any id names one, so one that came from outside is safe here.
    fn shard_of(&self, call: CallId) -> &Shard {
        &self.shards[call.0 as usize % SHARDS]
    }

    /// Takes a call out of its shard: whoever gets it ends it.
    fn take(&self, call: CallId) -> Option<Ended> {
        self.shard_of(call).change(|waiting| waiting.take(call))
    }
}

/// The shard of a connection. Multiplying by an odd number spreads neighbouring slots and generations (Knuth's
/// multiplicative hash); nobody gains by filling one shard, whose size changes no result.
fn shard_index(conn: ConnId) -> usize {
    (conn.bits().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - SHARD_BITS)) as usize
}
