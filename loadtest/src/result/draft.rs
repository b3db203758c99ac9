//! A result while its run goes on.
//!
//! Owns the clock of the run. What a scenario notes here is told as it is; the only thing added at the end is what the verdict fails for.

use std::time::{Instant, SystemTime};

use serde_json::Value;

use super::{Better, Figure, Latencies, RunResult, Series, Server, VERSION, Verdict};
use crate::latency::Latency;
use crate::sample::host;

/// A result that is not finished.
#[derive(Clone, Debug)]
pub struct Draft {
    began: Instant,
    result: RunResult,
}

impl Draft {
    /// Begins a run of a scenario now, on this host.
    pub fn begin(scenario: &str) -> Self {
        let result = RunResult {
            version: VERSION,
            scenario: scenario.to_owned(),
            began: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            duration_secs: 0.0,
            parameters: Default::default(),
            host: host::own(),
            server: None,
            figures: Vec::new(),
            latencies: Vec::new(),
            series: Vec::new(),
            verdict: Verdict::default(),
            failures: Vec::new(),
        };
        Self { began: Instant::now(), result }
    }

    /// When the run began; zero of the series over seconds.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Notes what was asked for. Never a secret.
    pub fn parameter(&mut self, name: &str, value: impl Into<Value>) -> &mut Self {
        self.result.parameters.insert(name.to_owned(), value.into());
        self
    }

    /// Notes which process is measured.
    pub fn server(&mut self, server: Server) -> &mut Self {
        self.result.server = Some(server);
        self
    }

    /// Notes a figure, a mere fact unless what is returned is told otherwise: `draft.figure("connect", "s", 38.2).lower().must(90.0)`.
    /// A value that is no number (a rate over no time) is a failure, since nothing was measured.
    pub fn figure(&mut self, name: &str, unit: &str, value: f64) -> &mut Figure {
        if !value.is_finite() {
            self.fail(format!("{name}: not measured"));
        }
        let value = if value.is_finite() { value } else { 0.0 };
        let figure = Figure { name: name.to_owned(), unit: unit.to_owned(), value, better: Better::None, must: None };
        self.result.figures.push(figure);
        let last = self.result.figures.len() - 1;
        &mut self.result.figures[last]
    }

    /// Gives a figure that was noted before the limit that it must keep; nothing where there is none of that name.
    pub fn bound(&mut self, name: &str, limit: f64) {
        if let Some(figure) = self.result.figures.iter_mut().find(|figure| figure.name == name) {
            figure.must(limit);
        }
    }

    /// The value of a figure that was noted before.
    pub fn noted(&self, name: &str) -> Option<f64> {
        self.result.figure(name).map(|figure| figure.value)
    }

    /// Notes times of operations of that name; nothing when there were none.
    pub fn latency(&mut self, name: &str, latency: &Latency) -> &mut Self {
        if !latency.is_empty() {
            self.result.latencies.push(latency.told(name));
        }
        self
    }

    /// The same, already counted elsewhere.
    pub fn latencies(&mut self, latencies: Latencies) -> &mut Self {
        self.result.latencies.push(latencies);
        self
    }

    /// Notes a line to draw; nothing when it has no points.
    pub fn series(&mut self, series: Series) -> &mut Self {
        if !series.points.is_empty() {
            self.result.series.push(series);
        }
        self
    }

    /// Adds to the count of answers.
    pub fn verdict(&mut self, verdict: &Verdict) -> &mut Self {
        self.result.verdict.add(verdict);
        self
    }

    /// Fails the run.
    pub fn fail(&mut self, why: impl Into<String>) -> &mut Self {
        self.result.failures.push(why.into());
        self
    }

    /// Ends the run now. Wrong, lost, stray and doubled answers fail it.
    pub fn finish(mut self) -> RunResult {
        self.result.duration_secs = self.began.elapsed().as_secs_f64();
        let faults = self.result.verdict.faults();
        self.result.failures.extend(faults);
        self.result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_right_fails_the_run() {
        let right = Verdict { right: 2, ..Verdict::default() };
        let lost = Verdict { right: 1, lost: 3, ..Verdict::default() };
        for (verdicts, failures) in [(vec![&right, &right], vec![]), (vec![&right, &lost], vec!["3 lost answers"])] {
            let mut draft = Draft::begin("call");
            verdicts.into_iter().for_each(|verdict| {
                draft.verdict(verdict);
            });
            let result = draft.finish();
            assert_eq!(result.is_right(), failures.is_empty());
            assert_eq!(result.failures, failures);
        }
    }

    #[test]
    fn figures_keep_their_order_and_limits() {
        let mut draft = Draft::begin("idle");
        draft.figure("agents", "", 10.0);
        draft.figure("bytes", "B", 200.0).lower().must(128.0);
        draft.figure("rate", "/s", f64::NAN).higher();
        draft.bound("agents", 10.0);
        draft.bound("nobody's", 1.0);
        let result = draft.finish();
        let names: Vec<&str> = result.figures.iter().map(|figure| figure.name.as_str()).collect();
        assert_eq!(names, ["agents", "bytes", "rate"]);
        assert_eq!(result.figure("agents").and_then(|figure| figure.must), Some(10.0));
        assert_eq!(result.missed().map(|figure| figure.value).collect::<Vec<_>>(), [200.0]);
        assert_eq!(result.failures, ["rate: not measured"]);
    }

    #[test]
    fn what_was_not_measured_is_left_out() {
        let mut draft = Draft::begin("idle");
        draft.latency("call", &Latency::default()).series(Series::over_seconds("p", "n", "B"));
        let result = draft.finish();
        assert_eq!((result.latencies.len(), result.series.len()), (0, 0));
        assert!(result.duration_secs >= 0.0 && result.began.ends_with('Z'));
    }
}
