//! Calls that wait for their outcome.
//!
//! Owns every waiter of this node: opened before the call is posted to a loop, ended exactly once, by a reply, by
//! the loop's word that it was not written, by the end of its connection, by its deadline, or by its caller.
//! Completions run outside of the lock. It never waits and never touches a connection.

use std::sync::Arc;

use bytes::Bytes;

use crate::kit::delivery::Delivery;
use crate::kit::ids::{CallId, ConnId};
use crate::kit::quota::{Hold, Quota};
use crate::kit::tick::Now;

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
    /// Too many calls in flight for this agent or tenant, or the way into the loop is full.
    Busy,
    /// The caller went away.
    Cancelled,
    /// This node is stopping.
    Draining,
}

impl Outcome {
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

/// Runs once, on the thread that ended the call; must not block.
pub type OnEnd = Box<dyn FnOnce(Outcome) + Send>;

/// A call to open.
pub struct NewCall {
    /// The connection that it goes to.
    pub conn: ConnId,
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
}

/// All waiters of this node.
pub struct Calls {}

impl Calls {
    /// An empty table that allows `per_agent_max` calls in flight on one connection; `first` seeds the ids (random).
    #[must_use]
    pub fn new(first: u64, per_agent_max: u32) -> Self {
        let _ = (first, per_agent_max);
        todo!()
    }

    /// Changes the limit for one agent.
    pub fn set_per_agent_max(&self, max: u32) {
        let _ = max;
        todo!()
    }

    /// Opens a waiter.
    ///
    /// # Errors
    /// Hands `on_end` back, not run, when the agent has too many calls in flight.
    pub fn open(&self, call: NewCall) -> Result<CallId, OnEnd> {
        let _ = call;
        todo!()
    }

    /// A reply came in on `conn`. False, and nothing happens, when no call with this id waits on this connection.
    pub fn reply(&self, conn: ConnId, call: CallId, outcome: Outcome) -> bool {
        let _ = (conn, call, outcome);
        todo!()
    }

    /// A receipt or a progress came in on `conn`. False when no call with this id waits on this connection.
    pub fn receipt(&self, conn: ConnId, call: CallId) -> bool {
        let _ = (conn, call);
        todo!()
    }

    /// The loop says that the call was not, and will not be, written whole: [`Outcome::NotDelivered`].
    pub fn not_written(&self, call: CallId) {
        let _ = call;
        todo!()
    }

    /// The way into the loop was full: [`Outcome::Busy`].
    pub fn refused(&self, call: CallId) {
        let _ = call;
        todo!()
    }

    /// The connection ended. Calls that were written whole are [`Outcome::Lost`]; for each other one the loop says
    /// [`Calls::not_written`], before or after.
    pub fn conn_ended(&self, conn: ConnId) {
        let _ = conn;
        todo!()
    }

    /// The caller went away: [`Outcome::Cancelled`]. `Some` when the agent should be told.
    pub fn cancel(&self, call: CallId) -> Option<Abandoned> {
        let _ = call;
        todo!()
    }

    /// Ends every call whose deadline is at or before `now`: [`Outcome::NoReply`] after a receipt; else
    /// [`Outcome::NotDelivered`] when it could be withdrawn in time; else [`Outcome::NoReceipt`]. Pushes those whose
    /// agents should be told (not the withdrawn ones).
    pub fn expire(&self, now: Now, abandoned: &mut Vec<Abandoned>) {
        let _ = (now, abandoned);
        todo!()
    }

    /// The earliest deadline, or an earlier moment; `None` when no call waits.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Now> {
        todo!()
    }

    /// The process ends: every call ends as [`Outcome::NotDelivered`] when it can be withdrawn, else [`Outcome::Lost`].
    pub fn end_all(&self) {
        todo!()
    }

    /// Calls in flight on one connection.
    #[must_use]
    pub fn in_flight(&self, conn: ConnId) -> u32 {
        let _ = conn;
        todo!()
    }

    /// Calls in flight on this node.
    #[must_use]
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether none is in flight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The calls of one tenant in flight.
pub type TenantCalls = Arc<Quota>;
