//! How fast agents may send and keys may call: the first are slowed down and lose nothing, the second are told when to come again.

use serde_json::json;
use tungstenite::Message;

use crate::agent::Encoding;
use crate::backend::{Backend, to_do};
use crate::gateway::{ANY_PORTS_AND_LINK, Gateway};
use crate::keys::{Key, api_key};
use crate::linker::{self, Linker};
use crate::peer::Peer;

/// Sends requests that the gateway refuses one by one, all at once; reads all the refusals, in order.
fn ask(agent: &mut Peer, count: usize, pad: usize) {
    let pad = "x".repeat(pad);
    for id in 0..count {
        let request = json!({"jsonrpc": "2.0", "id": id, "method": "no.such", "params": pad});
        agent.send(Message::text(request.to_string()));
    }
    for id in 0..count {
        let refused = agent.json();
        assert_eq!((&refused["id"], refused["error"].is_object()), (&json!(id), true), "{refused}");
    }
}

#[test]
fn an_agent_over_its_rate_of_messages_is_slowed_and_loses_nothing() {
    let gateway = Gateway::start("[server]\nloops = 1\n[rates]\nagent_messages = 200\nburst = \"1s\"\n");
    let mut busy = Peer::agent(&gateway, "busy");
    ask(&mut busy, 500, 10);
    assert!(gateway.metric("holdfast_slowed_total", "") > 0, "five hundred messages are more than a second's");
    // Messages in pieces and larger than what is read at once, and another agent beside.
    ask(&mut busy, 5, 20_000);
    let mut calm = Peer::agent(&gateway, "calm");
    ask(&mut calm, 1, 0);
    assert_eq!(gateway.metric("holdfast_closed_total", ""), 0);
}

#[test]
fn an_agent_over_its_rate_of_bytes_is_slowed_and_loses_nothing() {
    let gateway = Gateway::start("[rates]\nagent_bytes = \"256KiB\"\nburst = \"0s\"\n");
    let mut busy = Peer::agent(&gateway, "busy");
    ask(&mut busy, 5, 100_000);
    assert!(gateway.metric("holdfast_slowed_total", "") > 0, "half a megabyte is more than a second's");
    // Without the limit it is as fast as ever, and so is who is slowed down at that moment.
    busy.send(Message::text("x".repeat(300_000)));
    gateway.configure(&Gateway::config(""));
    gateway.reload();
    ask(&mut Peer::agent(&gateway, "other"), 5, 100_000);
    assert!(busy.json()["error"].is_object());
}

#[test]
fn a_key_that_calls_too_often_is_told_when_to_come_again() {
    let key = Key::hs256("key");
    let other = api_key("other", "default").replace("of-default", "other");
    // Three at once, then one in a second: fifty in less than forty-seven seconds are too many.
    let settings = "[rates]\nkey_calls = 1\nburst = \"3s\"\n";
    let config = format!("{settings}{}{}{other}", key.settings, api_key("one", "default"));
    let gateway = Gateway::launch(&config, &ANY_PORTS_AND_LINK);
    let (one, two) = (Backend::with_key(&gateway, "one"), Backend::with_key(&gateway, "other"));
    let mut refused = 0;
    for _ in 0..50 {
        let answer = one.call("nobody", &to_do("m", "1s"));
        if answer.problem() == "rate_limited" {
            assert_eq!((answer.status, answer.retry_after), (429, true), "{answer:?}");
            refused += 1;
        } else {
            assert_eq!(answer.outcome("nobody"), "offline");
        }
    }
    assert!(refused > 0);
    assert_eq!(two.call("nobody", &to_do("m", "1s")).outcome("nobody"), "offline", "another key");
    assert_eq!(one.get("/v1/agents").status, 200, "only calls are counted");

    // On a link the same key gets `busy`, at once.
    let asked = linker::request(&gateway, Encoding::Json).with_header("Authorization", "Bearer one");
    let mut link = Linker::with(&gateway, asked, Encoding::Json);
    let outcomes: Vec<String> = (0..50)
        .map(|id| {
            link.call(id, "nobody", "m", &json!(null), 1000);
            link.said().outcome
        })
        .collect();
    let busy = outcomes.iter().filter(|outcome| *outcome == "busy").count() as u64;
    assert!(busy > 0 && outcomes.iter().all(|outcome| matches!(outcome.as_str(), "busy" | "offline")), "{outcomes:?}");
    gateway.wait_metric("holdfast_shed_total", "limit=\"key_calls\"", refused + busy);
    assert!(gateway.log().contains("limit=\"key_calls\""));
}
