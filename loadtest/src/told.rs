//! A result as plain text for whoever ran it: figures, latencies, what was answered, what failed.

use std::fmt::Write as _;

use crate::human;
use crate::result::{Figure, RunResult};
use crate::table;

/// The whole text.
pub fn text(result: &RunResult) -> String {
    let mut out = table::text(&["figure", "value", ""], &result.figures.iter().map(row).collect::<Vec<_>>());
    if !result.latencies.is_empty() {
        let rows = result.latencies.iter().map(|times| {
            let figures = [times.p50_us, times.p90_us, times.p99_us, times.p999_us, times.max_us];
            let cells = figures.map(|figure| format!("{figure:.0}"));
            [times.name.clone(), times.count.to_string()].into_iter().chain(cells).collect()
        });
        let head = ["latency, µs", "count", "p50", "p90", "p99", "p99.9", "max"];
        out += "\n";
        out += &table::text(&head, &rows.collect::<Vec<Vec<String>>>());
    }
    let verdict = &result.verdict;
    // Writing to a text cannot fail.
    let _ = write!(out, "\n{} right answers", verdict.right);
    for (outcome, count) in &verdict.outcomes {
        let _ = write!(out, ", {count} {outcome}");
    }
    out += "\n";
    for quoted in &verdict.quoted {
        let _ = writeln!(out, "  {quoted}");
    }
    for failure in &result.failures {
        let _ = writeln!(out, "FAILED: {failure}");
    }
    out
}

fn row(figure: &Figure) -> Vec<String> {
    let told = |value| human::value(value, &figure.unit);
    let must = match (figure.must, figure.is_kept()) {
        (Some(must), Some(true)) => format!("must {}: kept", told(must)),
        (Some(must), _) => format!("must {}: MISSED", told(must)),
        (None, _) => String::new(),
    };
    vec![figure.name.clone(), told(figure.value), must]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::{Draft, Verdict};

    #[test]
    fn a_reader_sees_what_was_missed_and_what_failed() {
        let mut draft = Draft::begin("idle");
        draft.figure("bytes", "B", 130.25).lower().must(128.0);
        draft.figure("agents", "", 15_000.0);
        draft.verdict(&Verdict { right: 3, wrong: 1, quoted: vec!["not this".to_owned()], ..Verdict::default() });
        let text = text(&draft.finish());
        for line in ["130", "must 128 B: MISSED", "15,000", "3 right answers", "  not this", "FAILED: 1 wrong answer"] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
