//! `compare`: two results side by side, what differs between the runs first, then each figure with its ratio.
//!
//! Owns the judgement of better and worse. It must never hide that two runs were not alike.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::human;
use crate::report;
use crate::result::{Better, RunResult};
use crate::table;

/// Options of `compare`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The result to compare with.
    #[arg(value_name = "A.json")]
    before: PathBuf,
    /// The result in question.
    #[arg(value_name = "B.json")]
    after: PathBuf,
    /// A figure that is so many times better or worse is marked.
    #[arg(long, default_value_t = 1.10, value_parser = ratio)]
    threshold: f64,
    /// A figure that is so many times worse, or a run that failed, ends this with status 1.
    #[arg(long, value_parser = ratio)]
    fail_above: Option<f64>,
}

/// How a figure has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// By less than the threshold, or it cannot be said.
    Same,
    /// By at least the threshold to the better.
    Better,
    /// By at least the threshold to the worse.
    Worse,
}

/// One figure of both results.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// In the first result, if it is there.
    pub before: Option<f64>,
    /// In the second result, if it is there.
    pub after: Option<f64>,
    /// `after` over `before`; none where one is missing, or not above zero.
    pub ratio: Option<f64>,
    /// How many times worse it is: below one is better; none where that cannot be said.
    pub worse_by: Option<f64>,
    /// Beyond the threshold.
    pub change: Change,
}

/// Two results side by side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// What was not alike: scenario, parameters, host, server.
    pub differences: Vec<String>,
    /// Why one of the runs has failed.
    pub failures: Vec<String>,
    /// The figures.
    pub rows: Vec<Row>,
}

/// Prints the comparison.
///
/// # Errors
/// A file that is no result; a figure that is worse by more than `fail_above` allows.
pub fn run(options: &Options) -> Result<(Comparison, Result<(), String>), String> {
    let (before, after) = (report::read(&options.before)?, report::read(&options.after)?);
    let comparison = Comparison::of(&before, &after, options.threshold);
    let judged = options.fail_above.map_or(Ok(()), |limit| comparison.judge(limit));
    Ok((comparison, judged))
}

impl Comparison {
    /// Compares; figures that are `threshold` times better or worse are marked.
    pub fn of(before: &RunResult, after: &RunResult, threshold: f64) -> Self {
        let failures = |which: &str, result: &RunResult| {
            result.failures.iter().map(|failure| format!("{which} failed: {failure}")).collect::<Vec<_>>()
        };
        Self {
            differences: differences(before, after),
            failures: [failures("A", before), failures("B", after)].concat(),
            rows: rows(before, after, threshold),
        }
    }

    /// Whether nothing is more than `limit` times worse, nothing is missing, and no run has failed.
    ///
    /// # Errors
    /// What is, in words.
    pub fn judge(&self, limit: f64) -> Result<(), String> {
        let worse = self.rows.iter().filter(|row| row.worse_by.is_some_and(|times| times > limit));
        let mut bad: Vec<String> = worse.map(|row| format!("{} is more than {limit} times worse", row.name)).collect();
        let gone = self.rows.iter().filter(|row| row.after.is_none() && row.before.is_some());
        bad.extend(gone.map(|row| format!("{} is missing", row.name)));
        bad.extend(self.failures.iter().cloned());
        if bad.is_empty() { Ok(()) } else { Err(bad.join("; ")) }
    }

    /// Prints what differs, then the table.
    pub fn print(&self) {
        for line in self.differences.iter().chain(&self.failures) {
            println!("! {line}");
        }
        if !(self.differences.is_empty() && self.failures.is_empty()) {
            println!();
        }
        let rows: Vec<Vec<String>> = self.rows.iter().map(Row::cells).collect();
        table::print(&["figure", "A", "B", "B/A", ""], &rows);
    }
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let tell = |value: Option<f64>| value.map_or("–".to_owned(), |value| human::value(value, &self.unit));
        let ratio = self.ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
        let mark = match self.change {
            Change::Same => "",
            Change::Better => "better",
            Change::Worse => "WORSE",
        };
        vec![self.name.clone(), tell(self.before), tell(self.after), ratio, mark.to_owned()]
    }
}

/// A ratio of the command line: at least one, since below it "worse" would be "better".
fn ratio(text: &str) -> Result<f64, String> {
    let ratio: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if ratio >= 1.0 { Ok(ratio) } else { Err("at least 1".to_owned()) }
}

/// What was not alike in two runs.
fn differences(before: &RunResult, after: &RunResult) -> Vec<String> {
    let mut told = Vec::new();
    let mut hold = |name: &str, a: String, b: String| {
        if a != b {
            told.push(format!("{name} differs: {a} | {b}"));
        }
    };
    hold("scenario", before.scenario.clone(), after.scenario.clone());
    let names: std::collections::BTreeSet<&String> = before.parameters.keys().chain(after.parameters.keys()).collect();
    for name in names {
        let tell = |result: &RunResult| result.parameters.get(name).map_or("not set".to_owned(), ToString::to_string);
        hold(&format!("parameter {name}"), tell(before), tell(after));
    }
    let (a, b) = (&before.host, &after.host);
    hold("kernel", a.kernel.clone(), b.kernel.clone());
    hold("number of cores", a.cores.to_string(), b.cores.to_string());
    let memory = |bytes: u64| human::value(bytes as f64, "B");
    hold("memory", memory(a.memory_bytes), memory(b.memory_bytes));
    hold("hard limit of descriptors", a.descriptors_hard.to_string(), b.descriptors_hard.to_string());
    hold("harness", a.harness.clone(), b.harness.clone());
    let command =
        |result: &RunResult| result.server.as_ref().map_or("none".to_owned(), |server| server.command.clone());
    hold("server", command(before), command(after));
    let threads = |result: &RunResult| result.server.as_ref().map_or(0, |server| server.threads).to_string();
    hold("number of the server's threads", threads(before), threads(after));
    told
}

/// Name, unit, value and direction of all that can be compared: figures, then percentiles.
fn values(result: &RunResult) -> Vec<(String, String, f64, Better)> {
    let figures = result.figures.iter().map(|one| (one.name.clone(), one.unit.clone(), one.value, one.better));
    let latencies = result.latencies.iter().flat_map(|one| {
        let percentiles = [
            ("p50", one.p50_us),
            ("p90", one.p90_us),
            ("p99", one.p99_us),
            ("p99.9", one.p999_us),
            ("max", one.max_us),
        ];
        percentiles.map(|(name, micros)| (format!("{} {name}", one.name), "µs".to_owned(), micros, Better::Lower))
    });
    figures.chain(latencies).collect()
}

fn rows(before: &RunResult, after: &RunResult, threshold: f64) -> Vec<Row> {
    let (earlier, later) = (values(before), values(after));
    let mut rows: Vec<Row> = earlier
        .iter()
        .map(|(name, unit, value, better)| {
            // The same name with another unit is another figure.
            let match_ = later.iter().find(|(other, its_unit, ..)| (other, its_unit) == (name, unit));
            row((name, unit, *better), (Some(*value), match_.map(|found| found.2)), threshold)
        })
        .collect();
    let fresh = later
        .iter()
        .filter(|(name, unit, ..)| !earlier.iter().any(|(other, its_unit, ..)| (other, its_unit) == (name, unit)));
    rows.extend(fresh.map(|(name, unit, value, better)| row((name, unit, *better), (None, Some(*value)), threshold)));
    rows
}

fn row((name, unit, better): (&str, &str, Better), (before, after): (Option<f64>, Option<f64>), threshold: f64) -> Row {
    let both = before.zip(after);
    let ratio = both.filter(|(a, b)| *a > 0.0 && *b > 0.0).map(|(a, b)| b / a);
    let worse_by = both.and_then(|(a, b)| worse_by(a, b, better));
    let change = match worse_by {
        Some(times) if times >= threshold => Change::Worse,
        Some(times) if times <= 1.0 / threshold => Change::Better,
        _ => Change::Same,
    };
    Row { name: name.to_owned(), unit: unit.to_owned(), before, after, ratio, worse_by, change }
}

/// How many times worse `b` is than `a`. From nothing to something is infinitely often; below zero there are no times.
fn worse_by(a: f64, b: f64, better: Better) -> Option<f64> {
    let (good, bad) = match better {
        Better::Lower => (a, b),
        Better::Higher => (b, a),
        Better::None => return None,
    };
    match (good, bad) {
        (good, bad) if good < 0.0 || bad < 0.0 => None,
        (0.0, 0.0) => Some(1.0),
        (0.0, _) => Some(f64::INFINITY),
        (good, bad) => Some(bad / good),
    }
}

#[cfg(test)]
mod tests;
