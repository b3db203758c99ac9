//! Many results of `peer` as one table: for each server the median of its rounds, and how many times the first server's it is.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::Report;
use crate::median::median;
use crate::table::print;

/// Columns: name of the figure, its heading, digits behind the point.
const COLUMNS: [(&str, &str, usize); 7] = [
    ("idle_pss_bytes", "idle B", 0),
    ("after_burst_pss_bytes", "after burst B", 0),
    ("connect_server_cpu_us", "connect µs", 1),
    ("echo_server_cpu_us", "echo µs", 2),
    ("ping_server_cpu_us", "ping µs", 2),
    ("request_server_cpu_us", "request µs", 1),
    ("request_link_server_cpu_us", "request, link µs", 1),
];

/// Options of `peer-table`.
#[derive(Args, Clone, Debug)]
pub struct TableOptions {
    /// Results of `peer`. The server of the first one is what the others are compared with.
    #[arg(required = true)]
    results: Vec<PathBuf>,
    /// Print the table as Markdown.
    #[arg(long)]
    markdown: bool,
}

/// One server over all its rounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// What the server is called.
    peer: String,
    /// Its version.
    release: String,
    /// Connections at rest.
    connections: u32,
    /// Rounds that were measured.
    rounds: usize,
    /// Figures by name.
    figures: BTreeMap<String, Figure>,
    /// What was not measured, and why.
    absent: BTreeMap<String, String>,
}

/// One figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// The middle of the rounds.
    median: f64,
    /// The lowest of them.
    lowest: f64,
    /// The highest of them.
    highest: f64,
    /// How many times the first server's median this median is; absent for what that one has not, or has as nothing.
    ratio: Option<f64>,
}

/// Reads results and prints their table.
///
/// # Errors
/// A result cannot be read, or it is of another number of connections than the first.
pub fn table(options: &TableOptions) -> Result<Vec<Summary>, String> {
    let mut reports = Vec::new();
    for path in &options.results {
        let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let report: Report = serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        reports.push(report);
    }
    let summaries = summarize(&reports)?;
    let head: Vec<&str> = ["server", "version"].into_iter().chain(COLUMNS.map(|column| column.1)).collect();
    let rows: Vec<Vec<String>> = summaries.iter().map(cells).collect();
    if options.markdown {
        println!("{}", markdown(&head, &rows));
    } else {
        print(&head, &rows);
    }
    Ok(summaries)
}

fn summarize(reports: &[Report]) -> Result<Vec<Summary>, String> {
    let mut summaries: Vec<Summary> = Vec::new();
    for report in reports {
        if report.connections != reports[0].connections || report.in_flight != reports[0].in_flight {
            return Err("results of different numbers of connections cannot be compared".to_owned());
        }
        if summaries.iter().any(|summary| summary.peer == report.peer) {
            continue;
        }
        let rounds: Vec<&Report> = reports.iter().filter(|other| other.peer == report.peer).collect();
        let names = rounds.iter().flat_map(|round| round.figures.keys());
        let figures = names.map(|name| {
            let values: Vec<f64> = rounds.iter().filter_map(|round| round.figures.get(name).copied()).collect();
            let base = summaries.first().and_then(|first| first.figures.get(name));
            (name.clone(), figure(&values, base))
        });
        let figures: BTreeMap<String, Figure> = figures.collect();
        summaries.push(Summary {
            peer: report.peer.clone(),
            release: report.release.clone(),
            connections: report.connections,
            rounds: rounds.len(),
            figures,
            absent: rounds.iter().flat_map(|round| round.absent.clone()).collect(),
        });
    }
    Ok(summaries)
}

/// The figure of some rounds, at least one; `base` is the first server's, `None` for itself.
fn figure(values: &[f64], base: Option<&Figure>) -> Figure {
    let median = median(values.iter().copied());
    let ratio = base.filter(|base| base.median > 0.0).map(|base| median / base.median);
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    Figure { median, lowest, highest: values.iter().copied().fold(f64::NEG_INFINITY, f64::max), ratio }
}

fn cells(summary: &Summary) -> Vec<String> {
    let figures = COLUMNS.map(|(name, _, digits)| match summary.figures.get(name) {
        None => "–".to_owned(),
        Some(Figure { median, ratio: None, .. }) => format!("{median:.digits$}"),
        Some(Figure { median, ratio: Some(ratio), .. }) => format!("{median:.digits$} ({ratio:.1}×)"),
    });
    [summary.peer.clone(), summary.release.clone()].into_iter().chain(figures).collect()
}

/// The table as Markdown: two columns of words, then figures.
fn markdown(head: &[&str], rows: &[Vec<String>]) -> String {
    let rule: Vec<&str> = (0..head.len()).map(|column| if column < 2 { "---" } else { "---:" }).collect();
    let line = |cells: &[&str]| format!("| {} |", cells.join(" | "));
    let rows = rows.iter().map(|row| line(&row.iter().map(String::as_str).collect::<Vec<_>>()));
    [line(head), line(&rule)].into_iter().chain(rows).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(peer: &str, figures: &[(&str, f64)]) -> Report {
        Report {
            peer: peer.to_owned(),
            release: "1".to_owned(),
            connections: 10,
            in_flight: 64,
            figures: figures.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            absent: BTreeMap::new(),
        }
    }

    #[test]
    fn medians_are_of_the_rounds_and_ratios_to_the_first_server() {
        let reports = [
            report("a", &[("idle_pss_bytes", 100.0), ("echo_server_cpu_us", 4.0), ("request_link_server_cpu_us", 9.5)]),
            report("b", &[("idle_pss_bytes", 900.0), ("other", 1.0)]),
            report("a", &[("idle_pss_bytes", 300.0)]),
            report("b", &[("idle_pss_bytes", 500.0)]),
            report("b", &[("idle_pss_bytes", 600.0)]),
        ];
        let [a, b] = &summarize(&reports).expect("alike")[..] else {
            panic!("two servers");
        };
        assert_eq!((a.rounds, b.rounds), (2, 3));
        let idle = Figure { median: 200.0, lowest: 100.0, highest: 300.0, ratio: None };
        assert_eq!(a.figures["idle_pss_bytes"], idle);
        let idle = Figure { median: 600.0, lowest: 500.0, highest: 900.0, ratio: Some(3.0) };
        assert_eq!(b.figures["idle_pss_bytes"], idle);
        assert_eq!(b.figures["other"].ratio, None);
        assert_eq!(cells(a), ["a", "1", "200", "–", "–", "4.00", "–", "–", "9.5"]);
        assert_eq!(cells(b)[2], "600 (3.0×)");
    }

    #[test]
    fn markdown_has_a_rule_below_its_head() {
        let rows = vec![vec!["a".to_owned(), "1".to_owned(), "2.0".to_owned()]];
        let expected = "| x | y | z |\n| --- | --- | ---: |\n| a | 1 | 2.0 |";
        assert_eq!(markdown(&["x", "y", "z"], &rows), expected);
    }

    #[test]
    fn unlike_results_are_not_compared() {
        let other = Report { connections: 11, ..report("b", &[]) };
        assert!(summarize(&[report("a", &[]), other]).is_err());
    }
}
