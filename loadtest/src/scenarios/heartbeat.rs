//! The heartbeat interval that a scenario gives to the gateway that it starts.
//!
//! Owns the option and how a result tells it. What an interval means for a figure is the scenario's.

use std::time::Duration;

use clap::Args;

use super::run::Common;
use crate::place;

/// The key of the gateway's setting.
const SETTING: &str = "heartbeat.interval";

/// The option.
#[derive(Args, Clone, Debug)]
pub struct Heartbeat {
    /// Heartbeat interval of the gateway that is started, instead of its default; a gateway that runs already has its own. What
    /// processor time at rest is called in the result goes by it.
    #[arg(long, value_name = "INTERVAL", value_parser = humantime::parse_duration, conflicts_with_all = place::OF_RUNNING)]
    heartbeat: Option<Duration>,
}

impl Heartbeat {
    /// The interval, where one was given.
    pub fn given(&self) -> Option<Duration> {
        self.heartbeat
    }

    /// The setting of the gateway that is started: its key and its value, where one was given.
    pub fn setting(&self) -> Option<(&'static str, String)> {
        self.heartbeat.map(|interval| (SETTING, format!("{}ms", interval.as_millis())))
    }

    /// What a result tells: the interval, or that the gateway has its default, or that it runs already and nobody knows.
    pub fn told(&self, common: &Common) -> String {
        match self.heartbeat {
            Some(interval) => humantime::format_duration(interval).to_string(),
            None if common.place.is_ours() => "default".to_owned(),
            None => "not known".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use clap::error::ErrorKind;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        heartbeat: Heartbeat,
    }

    #[test]
    fn a_result_tells_the_interval() {
        for (line, told, setting) in [
            (&["x"][..], "default", None),
            (&["x", "--heartbeat", "30m"], "30m", Some("1800000ms")),
            (&["x", "--heartbeat", "1500ms", "--loops", "2", "--tenant", "acme"], "1s 500ms", Some("1500ms")),
            (&["x", "--listen", "127.0.0.1:1", "--dev"], "not known", None),
        ] {
            let line = Line::try_parse_from(line).expect("it parses");
            assert_eq!(line.heartbeat.told(&line.common), told);
            assert_eq!(line.heartbeat.setting(), setting.map(|value| (SETTING, value.to_owned())));
        }
    }

    #[test]
    fn a_gateway_that_runs_has_an_interval_of_its_own() {
        for (option, value) in [
            ("--listen", Some("127.0.0.1:1")),
            ("--control", Some("127.0.0.1:1")),
            ("--link", Some("127.0.0.1:1")),
            ("--server-pid", Some("1")),
            ("--dev", None),
            ("--secret", Some("s")),
            ("--api-key", Some("k")),
        ] {
            let line = ["x", "--heartbeat", "30m", option].into_iter().chain(value);
            let error = Line::try_parse_from(line).expect_err("it is not for a gateway that runs");
            assert_eq!(error.kind(), ErrorKind::ArgumentConflict, "{option}");
            let text = error.to_string();
            assert!(text.contains("--heartbeat") && text.contains(option), "{text}");
        }
    }
}
