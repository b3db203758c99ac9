//! What one run of one scenario found: the value that is written as JSON, drawn by `report` and set side by side by `compare`.
//!
//! Owns the format and its version. It must never hold a measurement's state (that is the scenario's), and no secret: parameters are chosen
//! one by one by the scenario, never taken from its options as a whole.

mod draft;
mod latencies;
mod series;
mod verdict;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::draft::Draft;
pub use self::latencies::{Bucket, Latencies};
pub use self::series::{Series, XUnit};
pub use self::verdict::Verdict;

/// Version of the format. It rises when a reader of the old format would misread the new one; a new optional field does not raise it.
pub const VERSION: u32 = 1;

/// All that a run has found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// [`VERSION`] of the harness that wrote it.
    pub version: u32,
    /// Subcommand: `idle`, `call`, `storm` …
    pub scenario: String,
    /// Begin of the run in UTC, RFC 3339.
    pub began: String,
    /// Wall time of the run.
    pub duration_secs: f64,
    /// What was asked for, by name; no secrets.
    #[serde(default)]
    pub parameters: BTreeMap<String, serde_json::Value>,
    /// Where it ran.
    pub host: RunHost,
    /// The server that was measured; none when it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Server>,
    /// Single figures, in the order in which they are told.
    #[serde(default)]
    pub figures: Vec<Figure>,
    /// Times of many operations.
    #[serde(default)]
    pub latencies: Vec<Latencies>,
    /// What is drawn as lines.
    #[serde(default)]
    pub series: Vec<Series>,
    /// How many answers were right, and what the others were.
    #[serde(default)]
    pub verdict: Verdict,
    /// Why the run failed; empty when it did not.
    #[serde(default)]
    pub failures: Vec<String>,
}

/// The machine that ran harness and, on loopback, server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunHost {
    /// Kernel release, such as `6.12.9-cloud-amd64`.
    pub kernel: String,
    /// Processors that the harness may use.
    pub cores: usize,
    /// Memory of the machine (`MemTotal`).
    pub memory_bytes: u64,
    /// Hard limit of descriptors for each table (RLIMIT_NOFILE); `u64::MAX` is no limit.
    pub descriptors_hard: u64,
    /// Version of the harness: package version and, where it was built in a repository, what `git describe` says.
    pub harness: String,
}

/// The process that was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Process id.
    pub pid: u32,
    /// Name of the command (`/proc/PID/comm`).
    pub command: String,
    /// Threads at the begin of the run.
    pub threads: u32,
}

/// Which way a figure should go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// A lower value is better: bytes, microseconds.
    Lower,
    /// A higher value is better: operations in a second.
    Higher,
    /// Neither: a fact.
    #[default]
    None,
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What it is, in words; figures of two runs are the same when their names are.
    pub name: String,
    /// Unit: `B`, `µs`, `s`, `/s`, `%`, or empty for a count.
    pub unit: String,
    /// The value.
    pub value: f64,
    /// Which way it should go.
    #[serde(default)]
    pub better: Better,
    /// The value that it must at least, or at most, have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub must: Option<f64>,
}

impl Figure {
    /// A lower value is better.
    pub fn lower(&mut self) -> &mut Self {
        self.better = Better::Lower;
        self
    }

    /// A higher value is better.
    pub fn higher(&mut self) -> &mut Self {
        self.better = Better::Higher;
        self
    }

    /// The limit that it must keep: an upper one unless higher is better.
    pub fn must(&mut self, limit: f64) -> &mut Self {
        self.must = Some(limit);
        self
    }

    /// Whether it keeps its limit; none when it has none.
    pub fn is_kept(&self) -> Option<bool> {
        let must = self.must?;
        Some(match self.better {
            Better::Higher => self.value >= must,
            Better::Lower | Better::None => self.value <= must,
        })
    }
}

impl RunResult {
    /// Reads a result from JSON.
    ///
    /// # Errors
    /// It is no result, or one of a later format than this harness knows.
    pub fn from_json(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } =
            serde_json::from_str(text).map_err(|error| format!("not a result of holdfast-loadtest: {error}"))?;
        if version > VERSION {
            return Err(format!("format {version}; this harness knows formats up to {VERSION}"));
        }
        serde_json::from_str(text).map_err(|error| format!("not a result of format {version}: {error}"))
    }

    /// Whether nothing has failed. A figure that misses its limit does not fail a run: it is told by [`RunResult::missed`].
    pub fn is_right(&self) -> bool {
        self.failures.is_empty()
    }

    /// Figures that do not keep their limits.
    pub fn missed(&self) -> impl Iterator<Item = &Figure> {
        self.figures.iter().filter(|figure| figure.is_kept() == Some(false))
    }

    /// The figure of that name.
    pub fn figure(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_an_upper_one_unless_higher_is_better() {
        for (better, value, must, kept) in [
            (Better::Lower, 127.0, Some(128.0), Some(true)),
            (Better::Lower, 128.0, Some(128.0), Some(true)),
            (Better::Lower, 128.1, Some(128.0), Some(false)),
            (Better::Higher, 99.0, Some(100.0), Some(false)),
            (Better::Higher, 100.0, Some(100.0), Some(true)),
            (Better::None, 3.0, Some(2.0), Some(false)),
            (Better::Lower, 1.0, None, None),
        ] {
            let figure = Figure { name: String::new(), unit: String::new(), value, better, must };
            assert_eq!(figure.is_kept(), kept, "{better:?} {value} {must:?}");
        }
    }

    #[test]
    fn a_result_comes_back_from_json_as_it_was() {
        let mut draft = Draft::begin("idle");
        draft.parameter("agents", 15_000).parameter("encoding", "json");
        draft.figure("process bytes for each agent", "B", 106.5).lower().must(128.0);
        draft.series(Series::over_seconds("Connected", "agents", "").with([(0.0, 0.0), (1.5, 15_000.0)]));
        draft.verdict(&Verdict { right: 7, ..Verdict::default() });
        draft.server(Server { pid: 7, command: "holdfast".to_owned(), threads: 4 });
        let result = draft.finish();
        let text = serde_json::to_string(&result).expect("plain values");
        assert_eq!(RunResult::from_json(&text), Ok(result));
    }

    #[test]
    fn later_formats_and_other_files_are_refused() {
        for (text, says) in [
            ("", "not a result"),
            ("{}", "not a result"),
            (r#"{"version":99}"#, "format 99"),
            (r#"{"version":1}"#, "not a result of format 1"),
        ] {
            let error = RunResult::from_json(text).expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
