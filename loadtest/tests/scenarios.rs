//! Every scenario at small numbers, as a user runs it: the built programs, no flag that is needed, a gateway of their own.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use holdfast_loadtest::result::RunResult;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Longest wait for something that takes a moment.
const SOON: Duration = Duration::from_secs(20);

fn harness(arguments: &str) -> Command {
    let program = env!("CARGO_BIN_EXE_holdfast-loadtest");
    let gateway = Path::new(program).with_file_name("holdfast");
    assert!(gateway.exists(), "{} is missing: run scripts/test, or cargo build --workspace", gateway.display());
    let mut command = Command::new(program);
    command.args(arguments.split_whitespace()).args(["--json", "-"]).stdin(Stdio::null());
    command
}

fn output(arguments: &str) -> (Output, RunResult) {
    let output = harness(arguments).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    let result = RunResult::from_json(&text).unwrap_or_else(|error| panic!("{arguments}: {error}: {text} {said}"));
    (output, result)
}

/// Runs a scenario that must be flawless, with at least so many right answers and these figures.
fn right(arguments: &str, answers: u64, figures: &[&str]) -> RunResult {
    let (output, result) = output(arguments);
    assert!(output.status.success(), "{arguments}: {result:#?}");
    assert!(result.is_right(), "{arguments}: {:?}", result.failures);
    assert!(result.verdict.right >= answers, "{arguments}: {:?}", result.verdict);
    for name in figures {
        let figure = result.figure(name).unwrap_or_else(|| panic!("{arguments}: no {name}"));
        assert!(figure.value > 0.0, "{arguments}: {figure:?}");
    }
    assert!(arguments.starts_with(&result.scenario), "{arguments}");
    let pid = result.server.as_ref().expect("a gateway of its own").pid;
    assert!(!is_running(pid), "{arguments}: the gateway outlives its run");
    result
}

fn is_running(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

#[test]
fn connect_tells_rate_processor_time_and_memory() {
    let figures =
        ["connections in a second", "server CPU for a handshake", "harness CPU for a handshake", "time to connect all"];
    let result = right("connect --agents 500 --settle 500ms", 0, &figures);
    assert!(result.series.iter().any(|series| series.plot == "Memory against connections"));
}

#[test]
fn idle_tells_memory_before_and_after_a_burst() {
    let figures = ["server's process, fresh", "descriptors in the server's fullest table"];
    let result = right("idle --agents 200 --hold 500ms --settle-secs 1", 400, &figures);
    // So few agents may take no memory and no time that can be measured.
    for name in
        ["process bytes for each agent at rest", "process bytes for each agent after a burst", "server CPU at rest"]
    {
        assert!(result.figure(name).is_some(), "{name}");
    }
}

#[test]
fn call_tells_processor_time_and_latency() {
    let result = right("call --agents 50 --calls 2000", 2000, &["server CPU for a call", "calls in a second"]);
    assert_eq!(result.latencies[0].count, 2000);
}

#[test]
fn echo_compares_what_comes_back() {
    right("echo --connections 100 --for 1s", 100, &["server CPU for an echo", "echoes in a second"]);
}

#[test]
fn fanout_reaches_every_agent_once_a_round() {
    let result = right("fanout --agents 300 --rounds 2", 600, &["answers in a second, fastest round"]);
    assert_eq!(result.verdict.right, 600);
}

#[test]
fn a_storm_ends_with_all_agents_back_and_true_outcomes() {
    let figures = ["time until half came back", "time until all came back"];
    let result = right("storm --agents 300 --back-off 300ms --settle 500ms", 300, &figures);
    assert!(result.verdict.outcomes.keys().all(|outcome| outcome != "ok"), "{:?}", result.verdict);
}

#[test]
fn churn_has_true_outcomes() {
    let figures = ["connections that came again in a second"];
    right("churn --agents 200 --percent 20 --for 3s --calls-per-second 500", 100, &figures);
}

#[test]
fn slow_agents_are_let_go_and_the_others_answer() {
    let result =
        right("slow --agents 100 --for 4s --calls-per-second 300", 500, &["agents that never read and were let go"]);
    assert!(result.figure("p99 of a call with others that never read, against without").is_some());
}

#[test]
fn a_soak_tells_slopes() {
    let result = right("soak --agents 100 --for 5s --calls-per-second 200 --leave-per-second 10", 200, &[]);
    assert!(result.figure("slope of the server's memory").is_some());
    assert!(result.figure("slope of the server's descriptors").is_some());
}

#[test]
fn a_run_that_is_too_long_fails_and_leaves_its_result() {
    let (output, result) = output("churn --agents 20 --for 20s --limit 2s --calls-per-second 20");
    assert!(!output.status.success() && !result.is_right());
    assert!(result.failures.iter().any(|failure| failure.contains("--limit")), "{:?}", result.failures);
}

#[test]
fn a_signal_ends_the_run_and_its_gateway() {
    let mut harness =
        harness("soak --agents 20 --for 60s").stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
    let gateway = wait_for(&mut harness, |harness| child_of(harness.id()));
    kill(Pid::from_raw(i32::try_from(harness.id()).expect("a process id")), Signal::SIGTERM).expect("it runs");
    let status = wait_for(&mut harness, |harness| harness.try_wait().expect("it is ours"));
    assert!(!status.success(), "{status}");
    assert!(!is_running(gateway), "the gateway outlives its run");
}

/// The gateway that a harness has started and that serves by now.
fn child_of(harness: u32) -> Option<u32> {
    let path = format!("/proc/{harness}/task/{harness}/children");
    let gateway = fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()?;
    let threads = fs::read_dir(format!("/proc/{gateway}/task")).ok()?.count();
    (threads > 3).then_some(gateway)
}

fn wait_for<T>(harness: &mut Child, mut look: impl FnMut(&mut Child) -> Option<T>) -> T {
    let end = Instant::now() + SOON;
    loop {
        if let Some(found) = look(harness) {
            return found;
        }
        assert!(Instant::now() < end, "not within {SOON:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
