//! The example agents in other languages, with libraries that are not ours, answer calls.

use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::gateway::{Gateway, SOON, http};

/// Where `scripts/test` puts what the examples need.
pub fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".holdfast-test")
}

pub fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/agents").join(file)
}

/// A process that is killed when dropped.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_python_agents_answer() {
    let python = tools().join("python/bin/python");
    must_exist(&python);
    for file in ["agent.py", "small/agent.py"] {
        answers_calls(Command::new(&python).arg(example(file)));
    }
}

#[test]
fn the_node_agents_answer() {
    let modules = tools().join("node/node_modules");
    must_exist(&modules);
    for file in ["agent.js", "small/agent.js"] {
        let mut command = Command::new("node");
        answers_calls(command.env("NODE_PATH", &modules).arg(example(file)));
    }
}

#[test]
fn the_go_agents_answer() {
    for program in ["go/agent", "go/small"] {
        let program = tools().join(program);
        must_exist(&program);
        answers_calls(&mut Command::new(program));
    }
}

/// Their libraries offer permessage-deflate by themselves, and leave it at that where it is off.
#[test]
fn python_and_node_agents_compress_where_the_gateway_does() {
    for mut command in complete().into_iter().take(2) {
        let gateway = Gateway::start("[deflate]\nmode = \"on\"\nfrom = \"1B\"\nto = \"1MiB\"\n");
        serves(&gateway, &mut command);
        for way in ["in", "out"] {
            let moved = gateway.metric("holdfast_deflate_bytes_total", &format!("way=\"{way}\""));
            assert!(moved > 200_000, "{command:?}: {moved} bytes {way}");
        }
    }
}

pub fn must_exist(path: &Path) {
    assert!(path.exists(), "{} is missing: run scripts/test", path.display());
}

/// A token in a file that is renewed in time: they stay connected over its end.
#[test]
fn agents_show_the_newer_token_of_their_file() {
    for mut command in complete() {
        let gateway = Gateway::start("[auth]\nleeway = \"0s\"\nexpiry_notice = \"2s\"\n");
        let file = gateway.file("token");
        std::fs::write(&file, gateway.token_for("web-1", 6)).expect("a file");
        command.env("HOLDFAST_TOKEN_FILE", &file);
        let _agent = run(&mut command, &format!("ws://{}", gateway.agents));
        gateway.wait_for_agent("web-1");
        std::fs::write(&file, gateway.token_for("web-1", 600)).expect("a file");
        gateway.wait_metric("holdfast_token_refreshes_total", "result=\"ok\"", 1);
        // Past the end of the first.
        std::thread::sleep(Duration::from_secs(5));
        assert_eq!(gateway.closed_for("token_expired"), 0, "{command:?}");
        let (status, answer) = gateway.call("web-1", r#"{"method":"ping"}"#);
        assert_eq!((status, &answer["result"]), (200, &json!("pong")), "{answer}");
    }
}

/// Connects with a token, answers, refuses what it does not know, and survives a long message.
fn answers_calls(command: &mut Command) {
    serves(&Gateway::start(""), command);
}

fn serves(gateway: &Gateway, command: &mut Command) {
    let child = command
        .arg(format!("ws://{}", gateway.agents))
        .env("HOLDFAST_TOKEN", gateway.token("web-1"))
        .stdin(Stdio::null())
        .spawn();
    let _agent = Running(child.unwrap_or_else(|error| {
        panic!("{command:?}: {error}: run scripts/test");
    }));
    gateway.wait_for_agent("web-1");

    let (status, answer) = gateway.call("web-1", r#"{"method":"ping"}"#);
    assert_eq!((status, &answer["outcome"], &answer["result"]), (200, &json!("ok"), &json!("pong")), "{answer}");

    let long = "ä".repeat(100_000);
    for params in [json!({"path": "/", "deep": [1, {"a": null}]}), json!(null), json!(1.5), json!([long])] {
        let body = json!({"method": "echo", "params": params, "timeout": "10s"});
        let (status, answer) = gateway.call("web-1", &body.to_string());
        assert_eq!((status, &answer["result"]), (200, &params));
    }

    let (status, answer) = gateway.call("web-1", r#"{"method":"no.such"}"#);
    assert_eq!((status, &answer["outcome"]), (200, &json!("agent_error")));
    assert_eq!(answer["error"]["code"], -32601, "{answer}");
}

/// The complete examples, which come back.
fn complete() -> [Command; 3] {
    let mut python = Command::new(tools().join("python/bin/python"));
    python.arg(example("agent.py"));
    let mut node = Command::new("node");
    node.env("NODE_PATH", tools().join("node/node_modules")).arg(example("agent.js"));
    [python, node, Command::new(tools().join("go/agent"))]
}

fn run(command: &mut Command, gateway: &str) -> Running {
    let child = command.args([gateway, "web-1"]).stdin(Stdio::null()).stderr(Stdio::null()).spawn();
    Running(child.unwrap_or_else(|error| panic!("{command:?}: {error}: run scripts/test")))
}

#[test]
fn agents_come_back_when_they_were_told_to() {
    // Longer than eight `reconnect_after_ms` of 0 take, shorter than eight pauses of a back-off that doubles each time.
    const EIGHT_AT_ONCE: Duration = Duration::from_secs(10);
    for mut command in complete() {
        let gateway = Gateway::start("");
        let _agent = run(&mut command, &format!("ws://{}", gateway.agents));
        gateway.wait_for_agent("web-1");
        let began = Instant::now();
        for count in 1..=8 {
            let url = format!("http://{}/v1/agents/web-1", gateway.control);
            assert_eq!(http().delete(&url).call().expect("an answer").status(), 204);
            gateway.wait_closed_for("disconnected", count);
            gateway.wait_for_agent("web-1");
        }
        let took = began.elapsed();
        assert!(took < EIGHT_AT_ONCE, "{command:?}: {took:?}");
    }
}

#[test]
fn agents_try_again_when_an_upgrade_breaks_off() {
    for mut command in complete() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let _agent = run(&mut command, &format!("ws://{}", listener.local_addr().expect("an address")));
        for attempt in 1..=2 {
            let mut stream = accept(&listener, &format!("{command:?}: attempt {attempt}"));
            // The request is read, and the connection closed without a word.
            assert!(stream.read(&mut [0; 4096]).expect("a request") > 0);
        }
    }
}

fn accept(listener: &TcpListener, what: &str) -> TcpStream {
    listener.set_nonblocking(true).expect("not blocking");
    let end = Instant::now() + SOON;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).expect("blocking");
                stream.set_read_timeout(Some(SOON)).expect("a time-out");
                return stream;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => panic!("{what}: {error}"),
        }
    }
}
