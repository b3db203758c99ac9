//! Problems: what the API says when it does not say 200 (RFC 9457).
//!
//! Owns the one table from outcomes and from the API's own refusals to status, title and words. It never decides that something is wrong.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::header::{self, HeaderName, HeaderValue};
use serde::Serialize;

use super::answer::{Answer, Media};
use crate::calls::Outcome;
use crate::kit::ids::CallId;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The agent is not connected.
    Offline,
    /// The call was never written.
    NotDelivered,
    /// Written, no sign of life.
    NoReceipt,
    /// The agent has it, no answer in time.
    NoReply,
    /// Written, then the connection ended.
    Lost,
    /// Too many calls in flight, or a full queue on the way to the agent.
    Busy,
    /// The caller went away.
    Cancelled,
    /// This node is stopping.
    Draining,
    /// The body is not JSON.
    Malformed,
    /// JSON, a path or a query that says something wrong.
    Invalid,
    /// No key, or a wrong one.
    Unauthorized,
    /// In development: a web page of another site.
    ForeignOrigin,
    /// The key may not do this.
    Forbidden,
    /// Too many logins from this network have failed.
    FailedLogins,
    /// What must be written down before it is done cannot be.
    NotAudited,
    /// No such path.
    NotFound,
    /// The path of agents, on the wrong port.
    WrongPort,
    /// The path has other methods.
    MethodNotAllowed,
    /// The body is over the limit.
    BodyTooLarge,
    /// The body did not arrive in time.
    SlowBody,
    /// The idempotency key belongs to another body.
    KeyReused,
    /// No room to remember another idempotency key.
    KeysFull,
    /// The call with this idempotency key has ended, its answer is not kept any more.
    AnswerDropped,
    /// The agent's event loop has no room for another order.
    Overloaded,
    /// Too many calls a second with this API key.
    RateLimited,
    /// This node should get no traffic.
    NotReady,
    /// This node keeps no revocations.
    RevocationsOff,
    /// There is no room for another revocation.
    RevocationsFull,
    /// Too many changes of revocations wait for the disk.
    RevocationsBusy,
    /// The tenant has no revocation of this number.
    NoSuchRevocation,
    /// It could not be written down.
    NotStored,
    /// Our fault.
    Internal,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Last segment of the problem's `type`; for outcomes also the word of the outcome.
    pub slug: &'static str,
    /// HTTP status.
    pub status: u16,
    /// Short, the same each time.
    pub title: &'static str,
    /// What it means and what to do, where there is nothing more special to say.
    pub detail: &'static str,
}

const fn row(slug: &'static str, status: u16, title: &'static str, detail: &'static str) -> Row {
    Row { slug, status, title, detail }
}

impl Kind {
    /// Every kind; the outcomes come first, in the order of [`Outcome`].
    #[cfg(test)]
    pub const ALL: [Kind; 32] = [
        Self::Offline,
        Self::NotDelivered,
        Self::NoReceipt,
        Self::NoReply,
        Self::Lost,
        Self::Busy,
        Self::Cancelled,
        Self::Draining,
        Self::Malformed,
        Self::Invalid,
        Self::Unauthorized,
        Self::ForeignOrigin,
        Self::Forbidden,
        Self::FailedLogins,
        Self::NotAudited,
        Self::NotFound,
        Self::WrongPort,
        Self::MethodNotAllowed,
        Self::BodyTooLarge,
        Self::SlowBody,
        Self::KeyReused,
        Self::KeysFull,
        Self::AnswerDropped,
        Self::Overloaded,
        Self::RateLimited,
        Self::NotReady,
        Self::RevocationsOff,
        Self::RevocationsFull,
        Self::RevocationsBusy,
        Self::NoSuchRevocation,
        Self::NotStored,
        Self::Internal,
    ];

    /// The kind of an outcome; `None` where the agent answered, which is no problem of ours.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Option<Self> {
        match outcome {
            Outcome::Ok(_) | Outcome::AgentError { .. } => None,
            Outcome::Offline => Some(Self::Offline),
            Outcome::NotDelivered => Some(Self::NotDelivered),
            Outcome::NoReceipt => Some(Self::NoReceipt),
            Outcome::NoReply => Some(Self::NoReply),
            Outcome::Lost => Some(Self::Lost),
            Outcome::Busy => Some(Self::Busy),
            Outcome::Cancelled => Some(Self::Cancelled),
            Outcome::Draining => Some(Self::Draining),
        }
    }

    /// Whether the kind is an outcome of a call.
    #[must_use]
    pub fn is_outcome(self) -> bool {
        self as u8 <= Self::Draining as u8
    }

    /// Whether it passes by itself: the same request may succeed a little later, and the answer has a `Retry-After`.
    #[must_use]
    pub fn passes(self) -> bool {
        matches!(
            self,
            Self::Busy
                | Self::Draining
                | Self::Overloaded
                | Self::NotReady
                | Self::KeysFull
                | Self::RateLimited
                | Self::FailedLogins
                | Self::NotAudited
                | Self::RevocationsBusy
        )
    }

    /// The row of the table.
    #[must_use]
    #[rustfmt::skip]
    pub fn row(self) -> Row {
        match self {
            Self::Offline => row("offline", 404, "Agent is offline", "The agent is not connected. Nothing was sent."),
            Self::NotDelivered => row("not_delivered", 410, "Call was not delivered", "The call was never written to the agent. It is safe to repeat."),
            Self::NoReceipt => row("no_receipt", 504, "No sign of life", "The call was written, and the agent gave no sign of life before the deadline. It may have run."),
            Self::NoReply => row("no_reply", 504, "No reply in time", "The agent has the call, and did not answer before the deadline."),
            Self::Lost => row("lost", 502, "Connection lost", "The call was written, then the agent's connection ended. It may have run."),
            Self::Busy => row("busy", 429, "Agent is busy", "This agent or tenant has too many calls in flight, or the queue to the agent or to its event loop is full. Nothing was sent; repeat later."),
            Self::Cancelled => row("cancelled", 499, "Call was cancelled", "Nobody waited for the call any more, and the agent was told. It may have run."),
            Self::Draining => row("draining", 503, "Node is stopping", "This node is stopping. Nothing was sent; repeat on another node or later."),
            Self::Malformed => row("malformed", 400, "Body is not JSON", "The body must be one JSON object."),
            Self::Invalid => row("invalid", 400, "Request is not valid", "The request says something that it may not say."),
            Self::Unauthorized => row("unauthorized", 401, "API key required", "Send `Authorization: Bearer <API key>` with a valid key."),
            Self::ForeignOrigin => row("foreign_origin", 403, "Foreign origin", "Under `serve --dev` requests must come from this machine: `Origin`, where there is one, and `Host` must be loopback."),
            Self::Forbidden => row("forbidden", 403, "Not permitted", "This API key may not do this."),
            Self::FailedLogins => row("failed_logins", 429, "Too many failed logins", "Too many requests from this network came with no key or a wrong one. Nothing was done; repeat after the time in `Retry-After`."),
            Self::NotAudited => row("not_audited", 503, "Audit log cannot be written", "This must be in the audit log before it is done, and the log cannot be written. Nothing was done; tell the operator, or repeat later."),
            Self::NotFound => row("not_found", 404, "No such path", "There is nothing here. `/openapi.json` lists what there is."),
            Self::WrongPort => row("wrong_port", 404, "Agents use another port", "This port serves backends and operators."),
            Self::MethodNotAllowed => row("method_not_allowed", 405, "Method not allowed", "The path exists, with other methods."),
            Self::BodyTooLarge => row("body_too_large", 413, "Body is too large", "The body is over the limit."),
            Self::SlowBody => row("slow_body", 408, "Body is late", "The body did not arrive in time."),
            Self::KeyReused => row("idempotency_key_reused", 422, "Idempotency key belongs to another call", "The same key came before with another body. Use a new key for a new call."),
            Self::KeysFull => row("idempotency_full", 503, "No room for idempotency keys", "This node remembers as many idempotency keys as it may. Nothing was sent; repeat later, or without a key."),
            Self::AnswerDropped => row("idempotency_answer_dropped", 409, "Answer is not kept any more", "The call with this key has ended, but its answer had to make room for newer ones. It was not sent again."),
            Self::Overloaded => row("overloaded", 503, "Node is overloaded", "The event loop of this agent has too many orders waiting. Nothing was done; repeat later."),
            Self::RateLimited => row("rate_limited", 429, "Too many calls", "This API key has made too many calls in a short time. Nothing was sent; repeat after the time in `Retry-After`."),
            Self::NotReady => row("not_ready", 503, "Node is not ready", "This node should get no traffic now."),
            Self::RevocationsOff => row("revocations_off", 503, "No revocations here", "This node keeps no revocations: `revocations.file` names no file. Nothing was revoked."),
            Self::RevocationsFull => row("revocations_full", 507, "No room for revocations", "This node keeps as many revocations as it may (`revocations.max`). Nothing was revoked; take others back first."),
            Self::RevocationsBusy => row("revocations_busy", 503, "Too many revocations at once", "Too many changes wait for the disk. Nothing was changed; repeat later."),
            Self::NoSuchRevocation => row("no_such_revocation", 404, "No such revocation", "This tenant has no revocation of this number."),
            Self::NotStored => row("not_stored", 507, "Not written down", "It could not be written down, so nothing was changed."),
            Self::Internal => row("internal", 500, "Internal error", "The gateway failed. It may have run."),
        }
    }
}

/// One place in the request that is wrong (RFC 9457, section 3, `errors`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// What is wrong.
    pub detail: String,
    /// Where in the body: a JSON pointer as URI fragment (RFC 6901, section 6).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Which query parameter, path segment or header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// Line in the body, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Column in the line, in bytes, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
}

impl Fault {
    /// A fault in a query parameter, path segment or header.
    #[must_use]
    pub fn parameter(name: &str, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), parameter: Some(name.to_owned()), ..Self::default() }
    }

    /// A fault in the body.
    #[must_use]
    pub fn pointer(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), pointer: Some(pointer.into()), ..Self::default() }
    }
}

/// When and why an agent's last connection ended, as the API writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Closed {
    /// The word of the reason.
    pub reason: &'static str,
    /// RFC 3339, UTC.
    pub at: String,
}

/// A problem on its way to the caller. Boxed: it is the rare side of every `Result` here.
#[derive(Debug)]
pub struct Problem(Box<Parts>);

#[derive(Debug)]
struct Parts {
    kind: Kind,
    detail: Cow<'static, str>,
    agent: Option<String>,
    call: Option<CallId>,
    last_close: Option<Closed>,
    errors: Vec<Fault>,
    allow: Option<String>,
    wait: Duration,
}

/// What goes over the wire, in this order.
#[derive(Serialize)]
struct Written<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_close: Option<&'a Closed>,
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    errors: &'a [Fault],
}

impl Problem {
    /// A problem with the words of the table.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self(Box::new(Parts {
            kind,
            detail: Cow::Borrowed(kind.row().detail),
            agent: None,
            call: None,
            last_close: None,
            errors: Vec::new(),
            allow: None,
            // As short as the header can say, and most of what it waits for ends sooner.
            wait: Duration::ZERO,
        }))
    }

    /// With words of its own.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = detail.into();
        self
    }

    /// About this agent.
    #[must_use]
    pub fn agent(mut self, agent: &str) -> Self {
        self.0.agent = Some(agent.to_owned());
        self
    }

    /// About this call.
    #[must_use]
    pub fn call(mut self, call: Option<CallId>) -> Self {
        self.0.call = call;
        self
    }

    /// With the end of the agent's last connection, where it is remembered.
    #[must_use]
    pub fn last_close(mut self, closed: Option<Closed>) -> Self {
        self.0.last_close = closed;
        self
    }

    /// With the places that are wrong.
    #[must_use]
    pub fn errors(mut self, errors: Vec<Fault>) -> Self {
        self.0.errors = errors;
        self
    }

    /// With the methods that the path has.
    #[must_use]
    pub fn allow(mut self, methods: String) -> Self {
        self.0.allow = Some(methods);
        self
    }

    /// To be repeated after this time, where the kind says when at all.
    #[must_use]
    pub fn again_in(mut self, wait: Duration) -> Self {
        self.0.wait = wait;
        self
    }

    /// As an answer.
    #[must_use]
    pub fn into_answer(self) -> Answer {
        let row = self.0.kind.row();
        let written = Written {
            r#type: format!("/problems/{}", row.slug),
            title: row.title,
            status: row.status,
            detail: &self.0.detail,
            outcome: self.0.kind.is_outcome().then_some(row.slug),
            call: self.0.call.map(|call| call.to_string()),
            agent: self.0.agent.as_deref(),
            last_close: self.0.last_close.as_ref(),
            errors: &self.0.errors,
        };
        let header = self.header();
        let again_in = self.0.kind.passes().then_some(self.0.wait);
        Answer::json(row.status, Media::Problem, &written).with(header).again_in(again_in)
    }

    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self.0.kind {
            Kind::Unauthorized => {
                Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"holdfast\"")))
            }
            Kind::MethodNotAllowed => {
                let allow = HeaderValue::try_from(self.0.allow.as_deref()?).ok()?;
                Some((header::ALLOW, allow))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::calls::Body;

    fn written(problem: Problem) -> (Answer, Value) {
        let answer = problem.into_answer();
        let body = serde_json::from_slice(&answer.body).unwrap();
        (answer, body)
    }

    /// The table of the design, word by word.
    #[test]
    fn outcomes_have_the_statuses_of_the_contract() {
        for (outcome, status) in [
            (Outcome::Offline, 404),
            (Outcome::NotDelivered, 410),
            (Outcome::NoReceipt, 504),
            (Outcome::NoReply, 504),
            (Outcome::Lost, 502),
            (Outcome::Busy, 429),
            (Outcome::Cancelled, 499),
            (Outcome::Draining, 503),
        ] {
            let kind = Kind::of(&outcome).unwrap();
            assert!(kind.is_outcome());
            assert_eq!(kind.row().slug, outcome.label());
            assert_eq!(kind.row().status, status);
        }
        let body = Body { bytes: bytes::Bytes::new(), json: false };
        assert_eq!(Kind::of(&Outcome::Ok(body)), None);
    }

    #[test]
    fn slugs_are_unique_and_only_outcomes_are_outcomes() {
        let mut slugs: Vec<_> = Kind::ALL.iter().map(|kind| kind.row().slug).collect();
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), Kind::ALL.len());
        let outcomes = Kind::ALL.iter().filter(|kind| kind.is_outcome()).count();
        assert_eq!(outcomes, 8);
        for kind in Kind::ALL {
            assert!((400..=599).contains(&kind.row().status), "{kind:?}");
        }
    }

    #[test]
    fn a_problem_is_written_whole() {
        let (answer, body) = written(Problem::new(Kind::Lost).agent("web-1").call(Some(CallId(0xabc))));
        assert_eq!(answer.status, 502);
        assert_eq!(answer.media, Media::Problem);
        assert_eq!(
            body,
            json!({
                "type": "/problems/lost", "title": "Connection lost", "status": 502,
                "detail": Kind::Lost.row().detail,
                "outcome": "lost", "call": "0000000000000abc", "agent": "web-1",
            })
        );
    }

    #[test]
    fn faults_say_where() {
        let fault = Fault::pointer("#/timeout", "too long");
        let (answer, body) = written(Problem::new(Kind::Invalid).errors(vec![fault]));
        assert_eq!(answer.status, 400);
        assert_eq!(body["errors"], json!([{"detail": "too long", "pointer": "#/timeout"}]));
        assert!(body.get("outcome").is_none() && body.get("call").is_none());
    }

    #[test]
    fn headers_that_the_status_asks_for() {
        for (problem, name, value) in [
            (Problem::new(Kind::Unauthorized), header::WWW_AUTHENTICATE, "Bearer realm=\"holdfast\""),
            (Problem::new(Kind::MethodNotAllowed).allow("GET, HEAD".into()), header::ALLOW, "GET, HEAD"),
        ] {
            let (answer, _) = written(problem);
            let (found, text) = answer.header.unwrap();
            assert_eq!((found, text.to_str().unwrap()), (name, value));
        }
    }

    #[test]
    fn what_passes_by_itself_says_when() {
        for kind in Kind::ALL {
            let answer = Problem::new(kind).again_in(Duration::from_secs(7)).into_answer();
            assert_eq!(answer.again_in, kind.passes().then_some(Duration::from_secs(7)), "{kind:?}");
            // Only the operator changes that a node keeps no revocations.
            let may_pass = matches!(kind.row().status, 429 | 503) && kind != Kind::RevocationsOff;
            assert_eq!(kind.passes(), may_pass, "{kind:?}");
        }
    }
}
