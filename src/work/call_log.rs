//! The line of the log that says how a call ended, at debug level.
//!
//! Owns its words: agent, call and outcome, never what was asked or answered. It costs one look at the level where
//! nobody wants to read it.

use std::sync::{Arc, OnceLock};

use tracing::Level;

use crate::calls::OnEnd;
use crate::kit::ids::CallId;

/// Where the id of a call goes when it gets one: its completion is made before, and may run on another thread.
pub(super) struct CallLog(Option<Arc<OnceLock<CallId>>>);

impl CallLog {
    /// Has the line written when `on_end` runs.
    pub(super) fn begin(agent: &str, on_end: OnEnd) -> (Self, OnEnd) {
        if !tracing::enabled!(Level::DEBUG) {
            return (Self(None), on_end);
        }
        let (id, agent) = (Arc::new(OnceLock::new()), agent.to_owned());
        let known = Arc::clone(&id);
        let logged: OnEnd = Box::new(move |outcome| {
            let outcome_label = outcome.label();
            match known.get() {
                Some(call) => {
                    tracing::debug!(%agent, %call, outcome = outcome_label, "call ended");
                }
                None => tracing::debug!(%agent, outcome = outcome_label, "call ended"),
            }
            on_end(outcome);
        });
        (Self(Some(id)), logged)
    }

    /// The call has an id.
    pub(super) fn opened(&self, call: CallId) {
        if let Some(id) = &self.0 {
            // It is opened once.
            let _ = id.set(call);
        }
    }
}
