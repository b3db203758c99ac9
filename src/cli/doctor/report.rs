//! How the findings are told: a sentence, a table, or JSON.
//!
//! Owns the wording and the shape of the JSON, which scripts read. It judges nothing but whether all fits.

use std::fmt::Write;

use serde::Serialize;

use super::finding::{Bearing, Finding, Verdict, bites_first, grouped};
use super::plan::Plan;

/// All that is told.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Agents that were asked for, or that the first limit lets in.
    pub connections: u64,
    /// Whether they fit.
    pub fits: bool,
    /// How many agents fit at most; null where no limit is known.
    pub agents_max: Option<u64>,
    /// The limit that is met first.
    pub bites_first: Option<&'static str>,
    loops: u64,
    workers: u64,
    findings: Vec<Finding>,
}

impl Report {
    /// What follows from the findings for so many agents.
    #[must_use]
    pub fn new(connections: u64, plan: Plan, findings: Vec<Finding>) -> Self {
        let first = bites_first(&findings);
        Self {
            connections,
            // A host that lets nobody in does not fit, whoever asks.
            fits: connections > 0 && findings.iter().all(|finding| finding.verdict != Verdict::Short),
            agents_max: first.and_then(|finding| finding.agents),
            bites_first: first.map(|finding| finding.limit),
            loops: plan.loops,
            workers: plan.workers,
            findings,
        }
    }

    /// One JSON object and a line's end.
    #[must_use]
    pub fn json(&self) -> String {
        // Strings, numbers and lists of them: there is nothing in it that JSON cannot hold.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Sentences, then the table.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = self.sentences();
        out.push('\n');
        let rows: Vec<[String; 6]> = self.findings.iter().map(row).collect();
        let head = ["limit", "", "have", "need", "agents", "to lift it"].map(str::to_owned);
        let mut widths = [0; 6];
        for row in rows.iter().chain([&head]) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in [&head].into_iter().chain(&rows) {
            let [limit, verdict, have, need, agents, lift] = row;
            let [limit_wide, verdict_wide, have_wide, need_wide, agents_wide, _] = widths;
            let line = format!(
                "{limit:<limit_wide$}  {verdict:<verdict_wide$}  {have:>have_wide$}  {need:>need_wide$}  {agents:>agents_wide$}  {lift}"
            );
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{}", line.trim_end());
        }
        out
    }

    fn sentences(&self) -> String {
        let mut out = String::new();
        let threads = format!("{} loops, {} workers", self.loops, self.workers);
        let _ = match bites_first(&self.findings) {
            Some(first) => writeln!(
                out,
                "At most {} agents ({threads}): {} ({}) bites first.",
                grouped(first.agents.unwrap_or(0)),
                first.limit,
                first.about
            ),
            None => writeln!(out, "No limit can be seen from here ({threads})."),
        };
        let _ = writeln!(
            out,
            "{} agents {}.{}",
            grouped(self.connections),
            if self.fits { "fit" } else { "do not fit" },
            self.worst_of(Verdict::Short, " Short: ")
        );
        let slow = self.worst_of(Verdict::Slow, "Slow in bursts (a storm, a message to all at once): ");
        let unknown = self.worst_of(Verdict::Unknown, "Not to be seen from here, ask on the host: ");
        for line in [slow, unknown].into_iter().filter(|line| !line.is_empty()) {
            let _ = writeln!(out, "{line}");
        }
        out
    }

    /// The limits with this verdict, behind a beginning; empty where there are none.
    fn worst_of(&self, verdict: Verdict, beginning: &str) -> String {
        let of_it = self.findings.iter().filter(|finding| finding.verdict == verdict);
        let names: Vec<&str> = of_it.map(|finding| finding.limit).collect();
        if names.is_empty() { String::new() } else { format!("{beginning}{}.", names.join(", ")) }
    }
}

fn row(finding: &Finding) -> [String; 6] {
    let agents = match (finding.agents, finding.bearing) {
        (Some(agents), Bearing::Bursts) => format!("{} at once", grouped(agents)),
        (Some(agents), _) => grouped(agents),
        (None, _) => String::new(),
    };
    [
        finding.limit.to_owned(),
        finding.verdict.word().to_owned(),
        finding.have.to_string(),
        finding.need.to_string(),
        agents,
        finding.lift.clone(),
    ]
}
