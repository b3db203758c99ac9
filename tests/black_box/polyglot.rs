//! The example agents in other languages, with libraries that are not ours, answer calls.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::gateway::Gateway;

/// Where `scripts/test` puts what the examples need.
fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".holdfast-test")
}

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/agents").join(file)
}

/// A process that is killed when dropped.
struct Running(Child);

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

fn must_exist(path: &Path) {
    assert!(path.exists(), "{} is missing: run scripts/test", path.display());
}

/// Connects with a token, answers, refuses what it does not know, and survives a long message.
fn answers_calls(command: &mut Command) {
    let gateway = Gateway::start("");
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
