//! The line of the log that says how a call ended, at debug level.
//!
//! Owns its words: agent, call and outcome, never what was asked or answered. It costs one look at the level where
//! nobody wants to read it.

use tracing::Level;

use crate::calls::{End, OnEnd};

/// Has the line written when `on_end` runs.
pub(super) fn logged(agent: &str, on_end: OnEnd) -> OnEnd {
    if !tracing::enabled!(Level::DEBUG) {
        return on_end;
    }
    let agent = agent.to_owned();
    Box::new(move |end: End| {
        let outcome = end.outcome.label();
        match end.call {
            Some(call) => tracing::debug!(%agent, %call, outcome, "call ended"),
            None => tracing::debug!(%agent, outcome, "call ended"),
        }
        on_end(end);
    })
}
