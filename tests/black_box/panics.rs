//! A panic in any thread ends the process: its last line says where, and nobody is told an outcome that nobody knows.

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::agent::{Agent, Encoding};
use crate::backend::{Backend, to_do};
use crate::gateway::{ANY_PORTS, Gateway, SOON};

const PROGRAM: &str = env!("CARGO_BIN_EXE_holdfast");

/// A parameter that must not get into the log.
const SECRET: &str = "not-for-the-log";

#[test]
fn a_panic_in_any_thread_ends_the_process_with_a_last_line() {
    for (place, thread, file) in [
        ("loop", "loop-0", "src/net/event_loop/obey.rs"),
        ("worker", "worker-0", "src/work/handlers/message.rs"),
        ("alarm", "alarm", "src/work/alarm.rs"),
        ("control", "control", "src/control/call.rs"),
    ] {
        let mut command = Command::new(PROGRAM);
        command.env("PLANTED_PANIC", place);
        let settings = Gateway::config("[server]\nloops = 1\nworkers = 1\n[log]\nformat = \"json\"\n");
        let flags: Vec<&str> = ["--dev"].into_iter().chain(ANY_PORTS).collect();
        let mut gateway = Gateway::launch_by(command, &settings, &flags);
        let mut agent = Agent::connect(&gateway, "there", Encoding::Json);
        let body = json!({"method": "m", "params": SECRET, "timeout": "20s"});
        let mut caller = Backend::of(&gateway).begin_raw("there", &body);
        if place == "worker" {
            let order = agent.call();
            agent.answer(order.call, &json!(SECRET));
        }
        let status = gateway.wait_end();
        assert_eq!(status.signal(), Some(Signal::SIGABRT as i32), "{place}: {status}");

        let mut told = Vec::new();
        caller.set_read_timeout(Some(SOON)).expect("a time-out");
        let end = caller.read_to_end(&mut told).map_err(|error| error.kind());
        assert!(told.is_empty() && matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset)), "{place}: {told:?} {end:?}");

        let log = gateway.log();
        let last = log.lines().last().unwrap_or_default();
        assert!(last.contains("\"level\":\"ERROR\"") && last.contains("panic"), "{place}: {log}");
        assert!(last.contains(&format!("\"thread\":\"{thread}\"")) && last.contains(file), "{place}: {log}");
        assert!(!log.contains(SECRET), "{place}: {log}");
    }
}

/// A full disk, or a collector of logs that went away: lines are lost, and nothing else.
#[test]
fn a_log_that_cannot_be_written_costs_no_gateway() {
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" 2>/dev/full", PROGRAM]);
    let flags: Vec<&str> = ["--dev"].into_iter().chain(ANY_PORTS).collect();
    let gateway = Gateway::launch_by(command, &Gateway::config("[log]\nlevel = \"debug\"\n"), &flags);
    let mut agent = Agent::connect(&gateway, "there", Encoding::Json);
    let call = Backend::of(&gateway).begin("there", to_do("m", "20s"));
    let order = agent.call();
    agent.answer(order.call, &json!(7));
    call.end().expect_result("there", &json!(7), order.call);
    assert_eq!(fs::read_to_string(gateway.file("log")).ok().as_deref(), Some(""), "the lines went elsewhere");
}

/// Who has a planted panic in a shell's environment must not find it in a release: there the variable is a name like any other.
#[test]
fn nothing_is_planted_without_debug_assertions() {
    let source = include_str!("../../src/gateway/panics.rs");
    let (before, _) = source.split_once("std::env::var(PLANTED)").expect("it is read there");
    assert!(before.trim_end().ends_with("if let Ok(name) ="));
    let guard = before.trim_end().strip_suffix("if let Ok(name) =").map(str::trim_end);
    assert!(guard.is_some_and(|text| text.ends_with("#[cfg(debug_assertions)]")));
}
