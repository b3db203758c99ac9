//! The client library for control links, and `holdfast call --link`, against the real gateway.

use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use holdfast::backend::{Answer, Body, CallError, ConnectError, Encoding as Written, Failure, Link, Options, Target};
use serde_json::{Value, json};

use crate::agent::{Agent, Encoding};
use crate::gateway::{ANY_PORTS_AND_LINK, Gateway, SOON, auth_key, until};

const THREADS: u64 = 16;
const CALLS: u64 = 40;

fn options(gateway: &Gateway, encoding: Written) -> Options {
    let url = format!("ws://{}", gateway.link.expect("a link port"));
    Options {
        target: Target::parse(&url).expect("a URL"),
        tls: None,
        key: None,
        encoding,
        connect_deadline: SOON,
        write_deadline: SOON,
        message_bytes_max: 1 << 20,
    }
}

fn result(text: &str) -> Answer {
    Answer::Ok(Body { bytes: text.as_bytes().to_vec(), json: true })
}

#[test]
fn many_threads_share_a_link_and_each_gets_its_own_answers() {
    // Fewer places than callers: the others wait for one, and none is busy.
    let gateway = Gateway::with_link("[link]\nwindow = 5\n");
    for encoding in [Written::Json, Written::Binary] {
        let mut agent = Agent::connect(&gateway, "web-1", Encoding::Json);
        let echo = thread::spawn(move || {
            for _ in 0..THREADS * CALLS {
                let call = agent.call();
                agent.answer(call.call, &call.params);
            }
            agent
        });
        let link = Arc::new(Link::connect(&options(&gateway, encoding)).expect("a link"));
        assert_eq!(link.window(), 5);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let link = &link;
                scope.spawn(move || {
                    for n in 0..CALLS {
                        let params = format!("[{thread},{n}]");
                        let answer = link.call("web-1", "echo", Some(&params), Some(SOON));
                        assert_eq!(answer, Ok(result(&params)));
                    }
                });
            }
        });
        assert_eq!(link.call("nobody", "m", None, None), Ok(Answer::Failed(Failure::Offline)));
        let refused = link.call("no agent's id", "m", None, None);
        assert!(matches!(refused, Err(CallError::Refused { code: -32602, .. })), "{refused:?}");
        assert_eq!(link.broken(), None);
        drop(link);
        gateway.wait_metric("holdfast_links", "", 0);
        echo.join().expect("the agent answers").peer.reset();
        gateway.wait_no_agents();
    }
}

#[test]
fn a_link_that_breaks_says_that_the_outcome_is_unknown() {
    let gateway = Gateway::with_link("");
    let mut agent = Agent::connect(&gateway, "web-1", Encoding::Json);
    let link = Arc::new(Link::connect(&options(&gateway, Written::Binary)).expect("a link"));
    let flying = {
        let link = Arc::clone(&link);
        thread::spawn(move || link.call("web-1", "m", Some("1"), Some(Duration::from_secs(60))))
    };
    agent.call();
    // It is killed.
    drop(gateway);
    let ended = flying.join().expect("an end");
    assert!(matches!(ended, Err(CallError::Unknown(_))), "{ended:?}");
    until(|| link.broken().is_some(), "it knows that it is broken");
    let ended = link.call("web-1", "m", None, None);
    assert!(matches!(ended, Err(CallError::NotSent(_))), "{ended:?}");
}

#[test]
fn a_backend_that_calls_and_hears_nothing_for_long_keeps_its_link() {
    // The gateway hears each call, so it never pings.
    let gateway = Gateway::with_link("[heartbeat]\ninterval = \"600ms\"\ntimeout = \"500ms\"\n");
    let mut agent = Agent::connect(&gateway, "web-1", Encoding::Json);
    let link = Arc::new(Link::connect(&options(&gateway, Written::Json)).expect("a link"));
    let call = |method: &'static str| {
        let link = Arc::clone(&link);
        thread::spawn(move || link.call("web-1", method, None, Some(Duration::from_secs(60))))
    };
    let mut flying = Vec::new();
    // Three seconds: twice what the client bears without a sign of life.
    for _ in 0..15 {
        flying.push((call("m"), agent.call().call));
        thread::sleep(Duration::from_millis(200));
    }
    for (caller, id) in flying {
        agent.answer(id, &json!(1));
        assert_eq!(caller.join().expect("an end"), Ok(result("1")));
    }
    assert_eq!(link.broken(), None);
}

#[test]
fn nobody_gets_a_link_without_a_key_or_where_there_is_none() {
    let gateway = Gateway::launch(&auth_key(), &ANY_PORTS_AND_LINK);
    let refused = Link::connect(&options(&gateway, Written::Json)).err();
    assert!(matches!(refused, Some(ConnectError::Refused { status: 401, .. })), "{refused:?}");
    let wrong = Target::parse(&format!("ws://{}", gateway.agents)).expect("a URL");
    let refused = Link::connect(&Options { target: wrong, ..options(&gateway, Written::Json) }).err();
    assert!(matches!(refused, Some(ConnectError::Refused { status: 404, .. })), "{refused:?}");
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr()).expect("a port");
    let nobody = Target::parse(&format!("ws://{free}")).expect("a URL");
    let refused = Link::connect(&Options { target: nobody, ..options(&gateway, Written::Json) }).err();
    assert!(matches!(refused, Some(ConnectError::Unreachable(_))), "{refused:?}");
}

#[test]
fn a_call_from_the_command_line_may_go_over_a_link() {
    let gateway = Gateway::with_link("");
    let url = format!("ws://{}", gateway.link.expect("a link port"));
    let call = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_holdfast"))
            .args(["call", "--link", &url])
            .args(arguments)
            .output()
            .expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let mut agent = Agent::connect(&gateway, "web-1", Encoding::Binary);
    let echo = thread::spawn(move || {
        let asked = agent.call();
        agent.answer(asked.call, &asked.params);
        let asked = agent.call();
        agent.refuse(asked.call, -3, "no", &Value::Null);
        agent
    });
    assert_eq!(call(&["web-1", "m", "{\"a\":[1]}"]), (Some(0), format!("{}\n", json!({"a": [1]})), String::new()));
    let (code, out, err) = call(&["web-1", "m", "--timeout", "20s"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.starts_with("holdfast call: the agent failed (-3): no"), "{err}");
    let agent = echo.join().expect("the agent answers");
    let (code, _, err) = call(&["nobody", "m"]);
    assert_eq!((code, err.as_str()), (Some(3), "holdfast call: offline: the agent is not connected\n"));
    assert_eq!(call(&["a b", "m"]).0, Some(2));
    drop(agent);
}
