//! What answers calls: the trait that an embedding program implements, and the handle by which it answers.
//!
//! Owns the values that cross between the agent and its handler. It knows no socket and no envelope.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use crossbeam_channel::Sender;

use super::waker::Waker;
use crate::kit::ids::CallId;
use crate::kit::tick::Now;

/// Error codes that the agent itself answers with (JSON-RPC 2.0 section 5.1 leaves −32000 to −32099 to servers).
pub mod fault {
    /// The result is over a limit.
    pub const TOO_LARGE: i32 = -32002;
    /// The program could not be started.
    pub const NOT_STARTED: i32 = -32003;
    /// Too many calls are open on this agent.
    pub const BUSY: i32 = -32004;
    /// The agent is stopping and takes no more calls.
    pub const STOPPING: i32 = -32005;
    /// The result is neither JSON nor UTF-8 text, and the connection speaks JSON.
    pub const NOT_TEXT: i32 = -32006;
    /// No such method.
    pub const METHOD: i32 = -32601;
    /// The handler dropped the call without an answer.
    pub const NO_ANSWER: i32 = -32603;
}

/// Bytes of parameters, results and progress.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// The bytes; empty where a call has no parameters.
    pub bytes: Vec<u8>,
    /// Whether they are one JSON value.
    pub json: bool,
}

impl Body {
    /// Bytes that the caller knows to be one JSON value.
    #[must_use]
    pub fn json(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), json: true }
    }

    /// Bytes as they are: a binary connection passes them on, a JSON connection makes a string of them if they are UTF-8.
    #[must_use]
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), json: false }
    }
}

/// A command from the gateway.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its id.
    pub id: CallId,
    /// What to do.
    pub method: String,
    /// With what.
    pub params: Body,
    /// When its caller stops waiting, on this agent's clock.
    pub deadline: Now,
}

impl Call {
    /// Time left at `now`.
    #[must_use]
    pub fn time_left(&self, now: Now) -> Duration {
        self.deadline.since(now)
    }
}

/// What a handler says about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done. Ends the call.
    Result(Body),
    /// It failed. Ends the call.
    Error {
        /// The handler's own code, or one of [`fault`].
        code: i32,
        /// What happened, for people.
        message: String,
        /// Details.
        data: Option<Body>,
    },
    /// It is being worked on.
    Progress(Body),
}

/// Which call on which connection of this agent: an answer to a call of an earlier connection is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    /// Counts the agent's connections.
    pub link: u64,
    /// The call.
    pub call: CallId,
}

/// Answers one call, once, from any thread. Dropped without an answer it answers [`fault::NO_ANSWER`].
#[derive(Debug)]
pub struct Responder {
    ticket: Ticket,
    answers: Sender<(Ticket, Answer)>,
    waker: Waker,
    answered: bool,
}

impl Responder {
    pub(super) fn new(ticket: Ticket, answers: Sender<(Ticket, Answer)>, waker: Waker) -> Self {
        Self { ticket, answers, waker, answered: false }
    }

    /// The call succeeded.
    pub fn result(self, body: Body) {
        self.finish(Answer::Result(body));
    }

    /// The call failed.
    pub fn error(self, code: i32, message: impl Into<String>) {
        self.finish(Answer::Error { code, message: message.into(), data: None });
    }

    /// The call ends with this answer; a progress would leave it open for ever and counts as no answer.
    pub fn finish(mut self, answer: Answer) {
        if !matches!(answer, Answer::Progress(_)) {
            self.answered = true;
        }
        self.send(answer);
    }

    /// Tells the caller's side how far it is.
    pub fn progress(&self, body: Body) {
        self.send(Answer::Progress(body));
    }

    fn send(&self, answer: Answer) {
        // The receiver is gone when the agent is: then nobody is left to tell.
        if self.answers.send((self.ticket, answer)).is_ok() {
            self.waker.wake();
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if !self.answered {
            self.send(Answer::Error {
                code: fault::NO_ANSWER,
                message: "the handler gave no answer".to_owned(),
                data: None,
            });
        }
    }
}

/// What to wait for on a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something to read, or the end.
    Read,
    /// Room to write.
    Write,
    /// Either.
    ReadWrite,
}

/// A descriptor that a handler waits for.
#[derive(Clone, Copy, Debug)]
pub struct Watched<'a> {
    /// The descriptor; it should be in non-blocking mode.
    pub fd: BorrowedFd<'a>,
    /// What for.
    pub interest: Interest,
}

/// Runs calls. All methods are called on the agent's one thread and must not block: a handler that has slow work
/// either hands its [`Responder`] to a thread of its own, or works in [`Handler::turn`] on what it watches.
///
/// Any `FnMut(Call, Responder)` is a handler.
pub trait Handler {
    /// A call has come, and its receipt is sent.
    fn call(&mut self, call: Call, responder: Responder);

    /// Nobody waits for this call any more (cancelled, past its deadline, or its connection is gone): stop it.
    /// What its responder still says is dropped.
    fn abandon(&mut self, call: CallId, now: Now) {
        let _ = (call, now);
    }

    /// Adds the descriptors that the next wait should also wait for.
    fn watch<'a>(&'a self, watched: &mut Vec<Watched<'a>>) {
        let _ = watched;
    }

    /// When the next wait should end at the latest.
    fn wake_at(&self) -> Option<Now> {
        None
    }

    /// Called after each wait, whatever ended it.
    fn turn(&mut self, now: Now) {
        let _ = now;
    }

    /// Whether there is work that must not be left behind when the agent stops (programs that are being killed).
    fn is_idle(&self) -> bool {
        true
    }
}

impl<F: FnMut(Call, Responder)> Handler for F {
    fn call(&mut self, call: Call, responder: Responder) {
        self(call, responder);
    }
}
