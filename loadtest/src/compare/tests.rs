//! Tables of figures before and after, and runs that were not alike.

use super::*;
use crate::latency::Latency;
use crate::result::{Draft, Server};

fn run_with(figures: &[(&str, f64, Better)]) -> RunResult {
    let mut draft = Draft::begin("call");
    for (name, value, better) in figures {
        draft.figure(name, "µs", *value).better = *better;
    }
    draft.finish()
}

#[test]
fn worse_is_more_of_what_should_be_less_and_less_of_what_should_be_more() {
    use Better::{Higher, Lower, None as Neither};
    for (a, b, better, worse, change) in [
        (10.0, 12.0, Lower, Some(1.2), Change::Worse),
        (10.0, 11.0, Lower, Some(1.1), Change::Worse),
        (10.0, 10.9, Lower, Some(1.09), Change::Same),
        (10.0, 8.0, Lower, Some(0.8), Change::Better),
        (10.0, 8.0, Higher, Some(1.25), Change::Worse),
        (10.0, 20.0, Higher, Some(0.5), Change::Better),
        (10.0, 99.0, Neither, None, Change::Same),
        (0.0, 0.0, Lower, Some(1.0), Change::Same),
        (0.0, 3.0, Lower, Some(f64::INFINITY), Change::Worse),
        (3.0, 0.0, Lower, Some(0.0), Change::Better),
        (3.0, 0.0, Higher, Some(f64::INFINITY), Change::Worse),
        (-5.0, 3.0, Lower, None, Change::Same),
        (5.0, -3.0, Lower, None, Change::Same),
    ] {
        let comparison = Comparison::of(&run_with(&[("f", a, better)]), &run_with(&[("f", b, better)]), 1.1);
        let row = &comparison.rows[0];
        let close = match (row.worse_by, worse) {
            (Some(is), Some(should)) => is == should || (is - should).abs() < 1e-9,
            (is, should) => is == should,
        };
        assert!(close && row.change == change, "{a} {b} {better:?}: {row:?}");
    }
}

#[test]
fn only_what_is_beyond_the_limit_fails() {
    let before = run_with(&[("cpu", 10.0, Better::Lower), ("rate", 100.0, Better::Higher)]);
    let after = run_with(&[("cpu", 12.0, Better::Lower), ("rate", 60.0, Better::Higher)]);
    let comparison = Comparison::of(&before, &after, 1.1);
    assert_eq!(comparison.judge(2.0), Ok(()));
    assert_eq!(comparison.judge(1.5), Err("rate is more than 1.5 times worse".to_owned()));
    assert_eq!(comparison.judge(1.1).map_err(|error| error.matches("worse").count()), Err(2));
}

#[test]
fn a_figure_that_is_gone_and_a_run_that_failed_fail_too() {
    let before = run_with(&[("cpu", 10.0, Better::Lower), ("old", 1.0, Better::None)]);
    let mut after = run_with(&[("cpu", 10.0, Better::Lower), ("new", 1.0, Better::None)]);
    let comparison = Comparison::of(&before, &after, 1.1);
    let told: Vec<(&str, bool, bool)> =
        comparison.rows.iter().map(|row| (row.name.as_str(), row.before.is_some(), row.after.is_some())).collect();
    assert_eq!(told, [("cpu", true, true), ("old", true, false), ("new", false, true)]);
    assert_eq!(comparison.judge(9.0), Err("old is missing".to_owned()));
    after = before.clone();
    after.failures.push("3 lost answers".to_owned());
    assert_eq!(Comparison::of(&before, &after, 1.1).judge(9.0), Err("B failed: 3 lost answers".to_owned()));
}

#[test]
fn percentiles_are_compared_like_figures() {
    let latency = |micros: u64| {
        let mut latency = Latency::default();
        latency.note(std::time::Duration::from_micros(micros));
        let mut draft = Draft::begin("call");
        draft.latency("call", &latency);
        draft.finish()
    };
    let comparison = Comparison::of(&latency(100), &latency(200), 1.1);
    let names: Vec<&str> = comparison.rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["call p50", "call p90", "call p99", "call p99.9", "call max"]);
    assert!(comparison.rows.iter().all(|row| row.change == Change::Worse && row.ratio == Some(2.0)));
}

#[test]
fn what_was_not_alike_is_told() {
    let mut draft = Draft::begin("call");
    draft.parameter("agents", 100).parameter("in_flight", 64);
    draft.server(Server { pid: 1, command: "holdfast".to_owned(), threads: 4 });
    let before = draft.finish();
    assert_eq!(Comparison::of(&before, &before, 1.1).differences, Vec::<String>::new());
    let mut after = before.clone();
    after.scenario = "echo".to_owned();
    after.parameters.insert("agents".to_owned(), 200.into());
    after.parameters.remove("in_flight");
    after.host.cores += 1;
    after.host.kernel = "0.1".to_owned();
    after.server = Some(Server { pid: 2, command: "nats-server".to_owned(), threads: 4 });
    let told = Comparison::of(&before, &after, 1.1).differences;
    for (place, text) in [
        "scenario differs: call | echo",
        "parameter agents differs: 100 | 200",
        "parameter in_flight differs: 64 | not set",
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(told[place], text);
    }
    assert!(told.iter().any(|line| line.starts_with("kernel differs")));
    assert!(told.iter().any(|line| line.starts_with("number of cores differs")));
    assert!(told.contains(&"server differs: holdfast | nats-server".to_owned()));
    assert_eq!(told.len(), 6);
}

#[test]
fn ratios_of_the_command_line_are_at_least_one() {
    assert_eq!(ratio("1.25"), Ok(1.25));
    for text in ["0.9", "x", "NaN", "-2"] {
        assert!(ratio(text).is_err(), "{text}");
    }
}
