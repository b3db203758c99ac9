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

/// What a run wrote.
fn told(arguments: &str, output: &Output) -> RunResult {
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    RunResult::from_json(&text).unwrap_or_else(|error| panic!("{arguments}: {error}: {text} {said}"))
}

/// Runs a scenario that must be flawless, with at least so many right answers and these figures.
fn right(arguments: &str, answers: u64, figures: &[&str]) -> RunResult {
    let output = harness(arguments).output().expect("it runs");
    let result = judged(arguments, &output, answers);
    for name in figures {
        let figure = result.figure(name).unwrap_or_else(|| panic!("{arguments}: no {name}"));
        assert!(figure.value > 0.0, "{arguments}: {figure:?}");
    }
    result
}

/// The result of a run that was flawless, with at least so many right answers.
fn judged(arguments: &str, output: &Output, answers: u64) -> RunResult {
    let result = told(arguments, output);
    assert!(output.status.success(), "{arguments}: {result:#?}");
    assert!(result.is_right(), "{arguments}: {:?}", result.failures);
    assert!(result.verdict.right >= answers, "{arguments}: {:?}", result.verdict);
    assert!(arguments.starts_with(&result.scenario), "{arguments}");
    let pid = result.server.as_ref().expect("a gateway of its own").pid;
    assert!(!is_running(pid), "{arguments}: the gateway outlives its run");
    result
}

/// Whether it runs: one that has ended and that nobody has waited for does not.
fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which is in brackets and may hold anything.
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
}

#[test]
fn connect_tells_rate_processor_time_and_memory() {
    let figures =
        ["connections in a second", "server CPU for a handshake", "harness CPU for a handshake", "time to connect all"];
    let result = right("connect --agents 500 --settle 500ms", 0, &figures);
    assert!(result.series.iter().any(|series| series.plot.contains("against connections")));
}

#[test]
fn idle_tells_memory_before_and_after_a_burst() {
    let figures = ["server's process, fresh", "descriptors in the server's fullest table"];
    let result = right("idle --agents 200 --hold 500ms --settle-secs 1", 400, &figures);
    // So few agents may take no memory and no time that can be measured.
    for name in [
        "process bytes for each agent at rest",
        "process bytes for each agent after a burst",
        "of it directory, at rest",
    ] {
        assert!(result.figure(name).is_some(), "{name}");
    }
    // Each has a heartbeat moment of its own, so some are pinged in any second; how many says nothing of a bound.
    assert_eq!(result.figure("server CPU at rest, heartbeats included").expect("it is told").must, None);
    assert_eq!(result.parameters["heartbeat"], "default");
}

#[test]
fn idle_between_heartbeats_has_a_bound_at_a_gateway_of_its_own() {
    let result = right("idle --agents 50 --hold 300ms --settle-secs 1 --burst-rounds 0 --heartbeat 7days", 0, &[]);
    let rest = result.figure("server CPU at rest, between heartbeats").expect("the gateway is the run's own");
    assert_eq!(rest.must, Some(0.02));
    assert_eq!(result.parameters["heartbeat"], "7days");
    assert!(result.figure("server CPU at rest, heartbeats included").is_none());
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
fn many_agents_under_a_low_limit_of_descriptors_all_answer() {
    let arguments = "million --agents 3000 --few 500 --calls 500 --hold 1s --settle 1s --heartbeat 1h";
    let limited = harness(arguments);
    // Hard and soft limit, for the harness and the gateway that it starts. So both need several tables.
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 1200 && exec \"$0\" \"$@\""])
        .arg(limited.get_program())
        .args(limited.get_args())
        .stdin(Stdio::null())
        .output()
        .expect("a shell");
    let result = judged(arguments, &output, 3000 + 6 * 500 * 2);
    let value = |name: &str| result.figure(name).unwrap_or_else(|| panic!("no {name}: {result:#?}")).value;
    assert_eq!(value("agents that answered"), 3000.0);
    assert_eq!(result.parameters["heartbeat"], "1h");
    assert!(value("server CPU at rest, a heartbeat every 1h") >= 0.0);
    assert!(value("connections in a second") > 0.0 && value("p99 of a call, all agents against few") > 0.0);
    let fullest = value("descriptors in the server's fullest table");
    assert!((100.0..=1200.0).contains(&fullest), "3000 agents are on several loops: {fullest}");
    // What a gateway tells of itself. Not its directory, which has room for so few from the start.
    assert!(value("of it slots, at rest") > 0.0);
    // 90 s are for a million.
    assert_eq!(result.figure("time to connect all").expect("it is told").must, None);
    let (few, all) = ("server CPU, call with 500 agents", "server CPU, call with 3000 agents");
    assert!(value(few) > 0.0 && value(all) > 0.0);
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
fn a_soak_with_tls_meets_every_kind_of_fault_and_stays_right() {
    let arguments =
        "soak --tls --agents 100 --for 20s --calls-per-second 100 --leave-per-second 5 --faults --fault-every 1s";
    let result = right(arguments, 500, &["faults in all"]);
    for name in [
        "resets",
        "cut records and frames",
        "garbage",
        "slow readers",
        "half-open handshakes",
        "bad tokens",
        "newcomers",
        "new certificate",
        "key updates",
    ] {
        assert!(result.figure(&format!("faults, {name}")).is_some(), "{name}: {:?}", result.figures);
    }
    assert!(result.figure("slope of the server's descriptors").is_some());
}

#[test]
fn newcomers_are_welcomed_while_all_agents_are_served() {
    let arguments = "newcomers --tls --agents 100 --rate 100 --calls-per-second 200 --for 2s";
    let figures =
        ["newcomers welcomed in a second", "p99 of a call in the storm, against quiet", "server CPU for a newcomer"];
    let result = right(arguments, 600, &figures);
    for part in ["quiet, before", "storm", "quiet, after"] {
        let fewest = result.figure(&format!("fewest answers of an agent, {part}")).expect("it is told").value;
        assert!(fewest >= 1.0, "{part}: {fewest}");
    }
    assert_eq!(result.figure("newcomers that resumed").expect("it is told").value, 0.0);
    assert_eq!(result.figure("p99 of a call in the storm, against quiet").expect("it is told").must, None);
}

#[test]
fn what_tls_costs_is_told_beside_rustls_alone_and_plaintext() {
    let arguments = "bench-tls --runs 1 --seconds 0.5 --connections 50 --agents 20 --in-flight 8";
    let figures = [
        "full handshake, the gateway against rustls alone",
        "resumed handshake, the gateway against rustls alone",
        "echo, TLS against plaintext",
        "call, TLS against plaintext",
        "call over a link, TLS against plaintext",
        "call over a link, JSON, TLS against plaintext",
    ];
    let result = right(arguments, 500, &figures);
    assert_eq!(result.figure(figures[0]).and_then(|figure| figure.must), Some(1.2));
    assert_eq!(result.figure(figures[3]).and_then(|figure| figure.must), Some(1.25));
}

#[test]
fn links_speak_tls_too() {
    let result = right("fanout --tls --link-tls --agents 100 --rounds 2", 200, &[]);
    assert_eq!(result.parameters["over"], "link");
}

#[test]
fn a_run_that_is_too_long_fails_and_leaves_its_result() {
    let arguments = "churn --agents 20 --for 20s --limit 2s --calls-per-second 20";
    let output = harness(arguments).output().expect("it runs");
    let result = told(arguments, &output);
    assert!(!output.status.success() && !result.is_right());
    assert!(result.failures.iter().any(|failure| failure.contains("--limit")), "{:?}", result.failures);
}

/// A harness that works for a minute, and its gateway.
fn soaking() -> (Child, u32) {
    let mut harness =
        harness("soak --agents 20 --for 60s").stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
    let gateway = wait_for(&mut harness, |harness| child_of(harness.id()));
    (harness, gateway)
}

fn send(harness: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(harness.id()).expect("a process id")), signal).expect("it runs");
}

#[test]
fn a_signal_ends_the_run_and_its_gateway() {
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        if signal == Signal::SIGHUP && hangups_are_ignored() {
            continue;
        }
        let (mut harness, gateway) = soaking();
        send(&harness, signal);
        let status = wait_for(&mut harness, |harness| harness.try_wait().expect("it is ours"));
        assert!(status.code().is_some_and(|code| code != 0), "{signal}: it ends in order, and not well: {status}");
        assert!(!is_running(gateway), "{signal}: the gateway outlives its run");
    }
}

#[test]
fn a_gateway_does_not_outlive_a_harness_that_is_killed() {
    // The second SIGINT comes where the first one is still being obeyed, and kills.
    for signals in [&[Signal::SIGKILL][..], &[Signal::SIGINT, Signal::SIGINT]] {
        let (mut harness, gateway) = soaking();
        for signal in signals {
            send(&harness, *signal);
        }
        wait_for(&mut harness, |harness| harness.try_wait().expect("it is ours"));
        wait_for(&mut harness, |_| (!is_running(gateway)).then_some(()));
    }
}

/// Whether this test, and so the harness that inherits it, runs under `nohup`: bit 0 of the mask is signal 1.
fn hangups_are_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("a process");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a mask");
    u64::from_str_radix(mask.trim(), 16).expect("a number") & 1 == 1
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
