//! Log lines: to standard error, as text or JSON.
//!
//! Owns the one subscriber of the process. Other crates' lines are shown from `warn` up only, whatever the level:
//! below that, HTTP libraries may print heads, and heads hold tokens.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::config::{Log, LogFormat, LogLevel};

/// Starts logging. A second start changes nothing.
pub fn start(log: &Log) {
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match log.format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // The error says that a subscriber is there already.
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter(log.level))).try_init();
}

fn filter(level: LogLevel) -> Targets {
    let ours = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_default(ours.min(LevelFilter::WARN)).with_target("holdfast", ours)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn only_our_own_lines_go_below_warn() {
        let cases = [
            (LogLevel::Trace, "holdfast::net", Level::TRACE, true),
            (LogLevel::Trace, "hyper::proto", Level::DEBUG, false),
            (LogLevel::Trace, "hyper::proto", Level::WARN, true),
            (LogLevel::Error, "hyper::proto", Level::WARN, false),
            (LogLevel::Error, "holdfast::net", Level::WARN, false),
            (LogLevel::Info, "holdfast", Level::INFO, true),
            (LogLevel::Info, "holdfast", Level::DEBUG, false),
        ];
        for (set, target, line, shown) in cases {
            assert_eq!(filter(set).would_enable(target, &line), shown, "{set:?} {target} {line}");
        }
    }
}
