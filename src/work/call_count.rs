//! Counts calls that ended, by outcome and by the way that they came in.
//!
//! Owns the metric handles, looked up once: install the recorder before. It decides no outcome.

use std::time::Duration;

use metrics::{Counter, Histogram, counter, histogram};

use crate::calls::Outcome;
use crate::kit::metric;

/// Every outcome's label; their places are those of [`place`].
const OUTCOMES: [&str; 10] = [
    "ok",
    "agent_error",
    "offline",
    "not_delivered",
    "no_receipt",
    "no_reply",
    "lost",
    "busy",
    "cancelled",
    "draining",
];

/// The way that a call came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A request to the control port.
    Http,
    /// A control link.
    Link,
}

impl Way {
    /// Its word: a metric's label, and in the audit log.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Link => "link",
        }
    }
}

/// Handles for the calls of one way.
pub struct CallCount {
    outcomes: [Counter; OUTCOMES.len()],
    call_seconds: Histogram,
}

impl CallCount {
    /// Looks the handles up in the recorder that is installed.
    #[must_use]
    pub fn new(way: Way) -> Self {
        Self {
            outcomes: OUTCOMES.map(|outcome| counter!(metric::CALLS, "outcome" => outcome, "over" => way.label())),
            call_seconds: histogram!(metric::CALL_SECONDS),
        }
    }

    /// A call ended. The time of one that was refused at once is not observed: many of them would hide how long agents take.
    pub fn call(&self, outcome: &Outcome, took: Duration) {
        self.outcomes[place(outcome)].increment(1);
        if !outcome.is_refusal() {
            self.call_seconds.record(took.as_secs_f64());
        }
    }
}

/// The place of an outcome in [`OUTCOMES`].
fn place(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Ok(_) => 0,
        Outcome::AgentError { .. } => 1,
        Outcome::Offline => 2,
        Outcome::NotDelivered => 3,
        Outcome::NoReceipt => 4,
        Outcome::NoReply => 5,
        Outcome::Lost => 6,
        Outcome::Busy => 7,
        Outcome::Cancelled => 8,
        Outcome::Draining => 9,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::calls::Body;

    fn outcomes() -> [Outcome; 10] {
        let body = Body { bytes: bytes::Bytes::new(), json: false };
        let error = Outcome::AgentError { code: 1, message: String::new(), data: None };
        [
            Outcome::Ok(body),
            error,
            Outcome::Offline,
            Outcome::NotDelivered,
            Outcome::NoReceipt,
            Outcome::NoReply,
            Outcome::Lost,
            Outcome::Busy,
            Outcome::Cancelled,
            Outcome::Draining,
        ]
    }

    #[test]
    fn every_outcome_is_counted_under_its_word() {
        for outcome in outcomes() {
            assert_eq!(OUTCOMES[place(&outcome)], outcome.label());
        }
    }

    #[test]
    fn only_calls_that_were_sent_have_a_time() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            for way in [Way::Http, Way::Link] {
                let count = CallCount::new(way);
                for outcome in outcomes() {
                    count.call(&outcome, Duration::from_millis(5));
                }
            }
        });
        let text = handle.render();
        // Twice ten outcomes less `offline`, `busy` and `draining`.
        assert!(text.contains("holdfast_call_seconds_count 14"), "{text}");
        for (outcome, way) in OUTCOMES.into_iter().flat_map(|outcome| [(outcome, "http"), (outcome, "link")]) {
            let line = format!("holdfast_calls_total{{outcome=\"{outcome}\",over=\"{way}\"}} 1");
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
    }
}
