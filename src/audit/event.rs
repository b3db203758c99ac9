//! What the audit log can say.
//!
//! Owns the facts, small enough to be handed over on the way of a call. No field can hold a payload, a token or a key.

use std::net::SocketAddr;
use std::sync::Arc;

use compact_str::CompactString;

use crate::kit::ids::{AgentId, CallId};
use crate::kit::tick::Now;

/// Runs once, on the writer's thread: whether the line is in the file. Must not block.
pub type OnWritten = Box<dyn FnOnce(bool) + Send>;

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The way that it came: "http" or "link".
    pub over: &'static str,
    /// The name of its API key, where it needed one.
    pub key: Option<Arc<str>>,
    /// Its tenant.
    pub tenant: Arc<str>,
    /// Where from.
    pub remote: Option<SocketAddr>,
}

/// A call that ended.
#[derive(Debug)]
pub struct Call {
    /// Who called.
    pub who: Who,
    /// Which agent.
    pub agent: AgentId,
    /// Which method.
    pub method: CompactString,
    /// Its id, where it got one.
    pub call: Option<CallId>,
    /// How it ended.
    pub outcome: &'static str,
    /// How long it took, in milliseconds.
    pub took_ms: u32,
    /// Bytes of its parameters.
    pub params_bytes: u32,
    /// Bytes of the agent's answer.
    pub result_bytes: u32,
}

/// A login that was refused.
#[derive(Debug, PartialEq, Eq)]
pub struct Login {
    /// Which port: "agents", "links" or "control".
    pub door: &'static str,
    /// Why, in the words of the metric.
    pub cause: &'static str,
    /// Where from.
    pub remote: Option<SocketAddr>,
    /// Which agent, where somebody proved to be it, as `tenant/agent` or the agent alone.
    pub agent: Option<String>,
}

impl Login {
    /// Of somebody unknown.
    #[must_use]
    pub fn of_a_stranger(door: &'static str, cause: &'static str, remote: Option<SocketAddr>) -> Self {
        Self { door, cause, remote, agent: None }
    }
}

/// A good key that was used for what it may not do, or for a call that the agent's token does not allow.
#[derive(Debug)]
pub struct Trespass {
    /// Whose key.
    pub who: Who,
    /// The right that it takes.
    pub right: &'static str,
    /// What was lacking, in the words of the metric.
    pub what: &'static str,
    /// Which agent, where one was named.
    pub agent: Option<AgentId>,
    /// Which method, where it was that.
    pub method: Option<CompactString>,
}

/// An administrative act.
#[derive(Debug)]
pub struct Act {
    /// What was done: one word.
    pub what: &'static str,
    /// Who did it; `None` for whoever may send the process a signal.
    pub who: Option<Who>,
    /// To which agent, where it was one.
    pub agent: Option<AgentId>,
    /// What came of it: one word.
    pub outcome: &'static str,
    /// What there is to say beside.
    pub detail: Option<String>,
}

/// Any of them.
#[derive(Debug)]
pub(super) enum Event {
    Call(Call),
    Login(Box<Login>),
    Trespass(Box<Trespass>),
    Act(Box<Act>),
}

/// What is counted apart where it is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Call = 0,
    Login = 1,
    Trespass = 2,
    Act = 3,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Call, Self::Login, Self::Trespass, Self::Act];

    /// The metric's label, and in the log.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Call => "calls",
            Self::Login => "logins",
            Self::Trespass => "forbidden",
            Self::Act => "acts",
        }
    }
}

impl Event {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Call(_) => Kind::Call,
            Self::Login(_) => Kind::Login,
            Self::Trespass(_) => Kind::Trespass,
            Self::Act(_) => Kind::Act,
        }
    }
}

/// An event that waits to be written.
pub(super) struct Entry {
    pub(super) at: Now,
    pub(super) event: Event,
    pub(super) on_written: Option<OnWritten>,
}

// A queue of calls is as many of these: what a call costs in memory while it waits.
const _: () = assert!(size_of::<Entry>() <= 208);

/// Events that have no line in the file, by [`Kind`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally(pub(super) [u64; Kind::ALL.len()]);

impl Tally {
    pub(super) fn count(&mut self, kind: Kind) {
        self.0[kind as usize] += 1;
    }

    pub(super) fn add(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, more)| *sum += more);
    }

    pub(super) fn any(&self) -> bool {
        self.0.iter().any(|count| *count > 0)
    }
}
