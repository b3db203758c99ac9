//! The line of the audit log that says who called which agent, and how it ended.
//!
//! Owns which facts of a call are told: never its parameters nor its answer, only how many bytes they had. It costs one look at a
//! flag where calls are not audited.

use crate::audit::{self, Audit};
use crate::calls::{End, OnEnd, Outcome};
use crate::kit::tick::{Now, millis};

use super::call_request::CallRequest;
use super::reached::Reached;

/// What the log calls a call that was answered `offline` because its agent was hidden from the caller.
const HIDDEN: &str = "hidden";

/// Has the line written when `on_end` runs.
pub(super) fn audited(audit: &Audit, now: Now, request: &CallRequest<'_>, reached: &Reached, on_end: OnEnd) -> OnEnd {
    if !audit.wants_calls() {
        return on_end;
    }
    let (audit, mut line, hidden) = (audit.clone(), begun(request), *reached == Reached::Hidden);
    Box::new(move |end: End| {
        line.call = end.call;
        line.took_ms = u32::try_from(millis(end.at.since(now))).unwrap_or(u32::MAX);
        line.result_bytes = u32::try_from(result_bytes(&end.outcome)).unwrap_or(u32::MAX);
        line.outcome = match &end.outcome {
            Outcome::Offline if hidden => HIDDEN,
            outcome => outcome.label(),
        };
        audit.call(end.at, line);
        on_end(end);
    })
}

/// A call ended before it was opened, with this outcome.
pub(super) fn refused(audit: &Audit, now: Now, request: &CallRequest<'_>, outcome: &Outcome) {
    if audit.wants_calls() {
        audit.call(now, audit::Call { outcome: outcome.label(), ..begun(request) });
    }
}

fn begun(request: &CallRequest<'_>) -> audit::Call {
    audit::Call {
        who: request.by.who(),
        agent: request.agent.into(),
        method: request.method.into(),
        call: None,
        outcome: "",
        took_ms: 0,
        params_bytes: u32::try_from(request.params.bytes.len()).unwrap_or(u32::MAX),
        result_bytes: 0,
    }
}

fn result_bytes(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Ok(body) => body.bytes.len(),
        Outcome::AgentError { message, data, .. } => message.len() + data.as_ref().map_or(0, |body| body.bytes.len()),
        _ => 0,
    }
}
