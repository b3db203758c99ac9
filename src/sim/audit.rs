//! The audit log against what callers were told: each call that came in over HTTP has one line, with its outcome.
//!
//! Links are left out: of a link that is cut off, nobody knows which of its last calls the gateway has read.

use std::collections::BTreeMap;

use crate::audit::{CallLines, Strictness, Terms};

use super::world::World;

/// More than a run has calls.
const QUEUE: usize = 1 << 20;

/// A log of all calls.
pub(super) const TERMS: Terms =
    Terms { calls: CallLines::All, acts: Strictness::Count, queue: QUEUE, refusals_a_second: 100 };

impl World {
    /// When every call has ended: the lines are the outcomes.
    pub(super) fn check_audit(&self) {
        let mut told = BTreeMap::<&str, usize>::new();
        for record in self.ledger.records.values().filter(|record| record.link.is_none()) {
            let outcome = record.outcome.as_ref().expect("it has ended");
            *told.entry(outcome.label()).or_default() += 1;
        }
        let mut written = BTreeMap::<&str, usize>::new();
        for (_, outcome) in self.auditor.calls().into_iter().filter(|(over, _)| *over == "http") {
            *written.entry(outcome).or_default() += 1;
        }
        assert_eq!(written, told, "lines of the audit log, and what callers were told");
    }
}
