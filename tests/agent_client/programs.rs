//! Calls that run programs: what goes in, what comes out, how many at once, and how they are killed.

use std::time::Duration;

use holdfast::agent::{Options, Program, ProgramOptions, fault};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde_json::json;

use crate::gateway::{Gateway, PATIENCE, Peer, Running, eventually, id, options};
use crate::scratch::Scratch;

/// Writes its own process id and that of a child, then waits for ever. Both ignore SIGTERM if $1 says so.
const WAITS: &str = r#"
if [ "$1" = stubborn ]; then trap '' TERM; fi
sleep 1000 &
echo $! > "$0/grandchild.new"; mv "$0/grandchild.new" "$0/grandchild"
echo $$ > "$0/child.new"; mv "$0/child.new" "$0/child"
wait; wait; sleep 1000
"#;

/// Says that it runs, waits for leave, answers with its method.
const GATED: &str = r#"
touch "$0/running-$HOLDFAST_METHOD"
while [ ! -e "$0/go-$HOLDFAST_METHOD" ]; do sleep 0.01; done
echo "$HOLDFAST_METHOD"
"#;

fn sh(script: &str, arguments: &[&str]) -> ProgramOptions {
    let arguments = [&["-c", script], arguments].concat();
    ProgramOptions {
        program: "sh".into(),
        arguments: arguments.into_iter().map(Into::into).collect(),
        hidden: vec!["PATH_HIDDEN".to_owned()],
        running_max: 2,
        output_bytes_max: 1 << 20,
        grace: Duration::from_millis(200),
    }
}

fn run(options: Options, program: ProgramOptions) -> Running {
    Running::start(options, || Program::new(program).unwrap())
}

fn connected(program: ProgramOptions) -> (Gateway, Running, Peer) {
    let gateway = Gateway::listen();
    let agent = run(options(&gateway.url()), program);
    let peer = gateway.welcome();
    (gateway, agent, peer)
}

/// A process that was killed is gone, or a zombie until whoever inherited it reaps it.
fn expect_gone(name: &str, pid: i32) {
    eventually(&format!("the end of the {name}"), || {
        let gone = kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH);
        let zombie = std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "));
        (gone || zombie).then_some(())
    });
}

fn expect_both_gone(scratch: &Scratch) {
    expect_gone("child", scratch.await_pid("child"));
    expect_gone("grandchild", scratch.await_pid("grandchild"));
}

#[test]
fn a_program_gets_the_call_and_its_output_is_the_result() {
    let script = r#"printf '{"m":"%s","id":"%s","in":%s,"left":%s}\n' "$HOLDFAST_METHOD" "$HOLDFAST_CALL_ID" "$(cat)" "$HOLDFAST_DEADLINE_MS""#;
    let (_gateway, _agent, mut peer) = connected(sh(script, &[]));
    peer.call(0xab, "disk.free", json!({"path": "/"}));
    peer.expect_receipt(0xab);
    let reply = peer.next();
    let result = &reply["result"];
    assert_eq!(result["m"], "disk.free");
    assert_eq!(result["id"], id(0xab));
    assert_eq!(result["in"], json!({"path": "/"}));
    let left = result["left"].as_u64().unwrap();
    assert!((1..=60_000).contains(&left), "{left}");
}

#[test]
fn what_programs_say_becomes_a_reply() {
    // The method is the script.
    let (_gateway, _agent, mut peer) = connected(sh("eval \"$HOLDFAST_METHOD\"", &[]));
    for (script, result) in [
        ("echo two words", json!("two words")),
        ("echo 12", json!(12)),
        ("true", json!("")),
        ("echo '[1,null]'; echo noise >&2", json!([1, null])),
        ("sleep 2 > /dev/null 2>&1 & echo early", json!("early")),
    ] {
        peer.call(1, script, json!(null));
        peer.expect_receipt(1);
        peer.expect_result(1, result);
    }
    for (script, code, message) in [
        ("echo out; echo first >&2; echo last >&2; exit 3", 3, "last"),
        ("exit 4", 4, "exit status: 4"),
        ("echo hm >&2; kill -9 $$", 137, "hm"),
        ("printf '\\377'", fault::NOT_TEXT, "the result is neither"),
        ("head -c 1048570 /dev/zero | tr '\\0' x", fault::TOO_LARGE, "the reply has"),
        ("yes", fault::TOO_LARGE, "the program wrote more than 1048576"),
    ] {
        peer.call(2, script, json!(null));
        peer.expect_receipt(2);
        let found = peer.expect_error(2, code);
        assert!(found.starts_with(message), "{script}: {found}");
    }
    peer.call(3, "echo still here", json!(null));
    peer.expect_receipt(3);
    peer.expect_result(3, json!("still here"));
}

#[test]
fn a_program_that_is_not_there_is_an_error() {
    let mut program = sh("", &[]);
    program.program = "/nonexistent/program".into();
    let (_gateway, _agent, mut peer) = connected(program);
    peer.call(1, "m", json!(null));
    peer.expect_receipt(1);
    let message = peer.expect_error(1, fault::NOT_STARTED);
    assert!(message.contains("/nonexistent/program"), "{message}");
}

#[test]
fn large_parameters_and_results_pass_through_the_pipes() {
    let (_gateway, _agent, mut peer) = connected(sh("cat", &[]));
    let large = json!("x".repeat(1_000_000));
    peer.call(1, "m", large.clone());
    peer.expect_receipt(1);
    peer.expect_result(1, large);
}

#[test]
fn cancel_kills_the_program_and_what_it_started() {
    for manner in ["polite", "stubborn"] {
        let scratch = Scratch::new();
        let (_gateway, _agent, mut peer) = connected(sh(WAITS, &[scratch.path().to_str().unwrap(), manner]));
        peer.call(1, "m", json!(null));
        peer.expect_receipt(1);
        let _ = scratch.await_pid("child");
        peer.send(json!({"jsonrpc": "2.0", "method": "cancel", "params": {"id": id(1)}}));
        expect_both_gone(&scratch);
    }
}

#[test]
fn a_cancelled_program_may_clean_up() {
    let scratch = Scratch::new();
    let script = r#"
trap 'touch "$0/clean"; exit 0' TERM
touch "$0/ready"
while :; do sleep 0.01; done
"#;
    let mut program = sh(script, &[scratch.path().to_str().unwrap()]);
    program.grace = PATIENCE;
    let (_gateway, _agent, mut peer) = connected(program);
    peer.call(1, "m", json!(null));
    peer.expect_receipt(1);
    scratch.await_file("ready");
    peer.send(json!({"jsonrpc": "2.0", "method": "cancel", "params": {"id": id(1)}}));
    scratch.await_file("clean");
}

#[test]
fn a_deadline_kills_the_program_and_leaves_the_outcome_to_the_gateway() {
    let scratch = Scratch::new();
    let (_gateway, _agent, mut peer) = connected(sh(WAITS, &[scratch.path().to_str().unwrap(), "polite"]));
    peer.call_within(1, "m", json!(null), 3000);
    peer.expect_receipt(1);
    expect_both_gone(&scratch);
    // No reply of the first call comes before this one.
    peer.call_within(2, "m", json!(null), 1);
    peer.expect_receipt(2);
}

#[test]
fn a_lost_connection_kills_the_program() {
    let scratch = Scratch::new();
    let (gateway, _agent, mut peer) = connected(sh(WAITS, &[scratch.path().to_str().unwrap(), "polite"]));
    peer.call(1, "m", json!(null));
    let _ = scratch.await_pid("child");
    drop(peer);
    expect_both_gone(&scratch);
    gateway.welcome();
}

#[test]
fn stopping_at_once_leaves_no_program_behind() {
    let scratch = Scratch::new();
    let (_gateway, agent, mut peer) = connected(sh(WAITS, &[scratch.path().to_str().unwrap(), "stubborn"]));
    peer.call(1, "m", json!(null));
    let (child, grandchild) = (scratch.await_pid("child"), scratch.await_pid("grandchild"));
    drop(agent);
    expect_gone("child", child);
    expect_gone("grandchild", grandchild);
}

#[test]
fn two_run_at_once_in_order_and_are_answered_as_they_end() {
    let scratch = Scratch::new();
    let (_gateway, _agent, mut peer) = connected(sh(GATED, &[scratch.path().to_str().unwrap()]));
    for number in 1..=4 {
        peer.call(number, &format!("m{number}"), json!(null));
    }
    for number in 1..=4 {
        peer.expect_receipt(number);
    }
    scratch.await_file("running-m1");
    scratch.await_file("running-m2");
    scratch.put("go-m2");
    peer.expect_result(2, json!("m2"));
    scratch.await_file("running-m3");
    assert!(!scratch.has("running-m4"), "only two at once");
    // A call that waits is simply forgotten.
    peer.send(json!({"jsonrpc": "2.0", "method": "cancel", "params": {"id": id(4)}}));
    scratch.put("go-m3");
    peer.expect_result(3, json!("m3"));
    scratch.put("go-m1");
    peer.expect_result(1, json!("m1"));
    peer.call(5, "m5", json!(null));
    peer.expect_receipt(5);
    scratch.put("go-m5");
    peer.expect_result(5, json!("m5"));
    assert!(!scratch.has("running-m4"));
}

#[test]
fn a_call_that_expires_in_the_queue_never_runs() {
    let scratch = Scratch::new();
    let mut program = sh(GATED, &[scratch.path().to_str().unwrap()]);
    program.running_max = 1;
    let (_gateway, _agent, mut peer) = connected(program);
    peer.call(1, "m1", json!(null));
    peer.expect_receipt(1);
    scratch.await_file("running-m1");
    peer.call_within(2, "m2", json!(null), 1);
    peer.expect_receipt(2);
    // A third receipt shows that the agent had its turn after the second call's deadline.
    std::thread::sleep(Duration::from_millis(5));
    peer.call(3, "m3", json!(null));
    peer.expect_receipt(3);
    scratch.put("go-m1");
    peer.expect_result(1, json!("m1"));
    scratch.put("go-m3");
    peer.expect_result(3, json!("m3"));
    assert!(!scratch.has("running-m2"));
}
