//! The agent's connection: opening, calls, garbage, goaway, closes, coming back, stopping.

use std::io::Write;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use holdfast::agent::{Body, Call, Credentials, Ending, Responder, builtin, fault};
use holdfast::wire::envelope::Encoding;
use serde_json::json;
use tungstenite::Message;

use crate::gateway::{Gateway, PATIENCE, Peer, Running, id, options, welcome};

fn connected() -> (Gateway, Running, Peer) {
    let gateway = Gateway::listen();
    let agent = Running::start(options(&gateway.url()), || builtin);
    let peer = gateway.welcome();
    (gateway, agent, peer)
}

/// An agent whose calls the test answers.
fn by_hand() -> (Gateway, Running, Peer, Receiver<(Call, Responder)>) {
    let gateway = Gateway::listen();
    let (give, take) = unbounded();
    let agent = Running::start(options(&gateway.url()), move || {
        move |call: Call, responder: Responder| {
            let _ = give.send((call, responder));
        }
    });
    let peer = gateway.welcome();
    (gateway, agent, peer, take)
}

fn expect_alive(peer: &mut Peer) {
    peer.call(0xa11, "ping", json!(null));
    peer.expect_receipt(0xa11);
    peer.expect_result(0xa11, json!("pong"));
}

#[test]
fn a_call_gets_its_receipt_first_and_then_its_reply() {
    let (_gateway, _agent, mut peer) = connected();
    assert_eq!(peer.path, "/v1/agent?agent=web-1");
    assert_eq!(peer.authorization, None);
    assert_eq!(peer.subprotocol, "holdfast.v1.json");
    expect_alive(&mut peer);
    let params = json!({"a": [1, {"b": null}], "c": "ü\n"});
    peer.call(2, "echo", params.clone());
    peer.expect_receipt(2);
    peer.expect_result(2, params);
    peer.send(json!({"jsonrpc": "2.0", "id": id(3), "method": "echo"}));
    peer.expect_receipt(3);
    peer.expect_result(3, json!(null));
    peer.call(4, "rm", json!(null));
    peer.expect_receipt(4);
    peer.expect_error(4, fault::METHOD);
}

#[test]
fn a_token_goes_into_the_header_and_not_into_the_url() {
    let gateway = Gateway::listen();
    let mut options = options(&gateway.url());
    options.credentials = Credentials::Token("t.o.k".to_owned());
    let _agent = Running::start(options, || builtin);
    let peer = gateway.welcome();
    assert_eq!(peer.path, "/v1/agent");
    assert_eq!(peer.authorization.as_deref(), Some("Bearer t.o.k"));
}

#[test]
fn binary_envelopes() {
    let gateway = Gateway::listen();
    let mut options = options(&gateway.url());
    options.encoding = Encoding::Binary;
    let _agent = Running::start(options, || builtin);
    let mut peer = gateway.upgrade();
    assert_eq!(peer.subprotocol, "holdfast.v1.bin");
    let envelope = |kind: u8, flags: u8, name: &str, aux: u32, call: u64, payload: &[u8]| {
        let mut bytes = vec![kind, flags];
        bytes.extend((name.len() as u16).to_le_bytes());
        bytes.extend(aux.to_le_bytes());
        bytes.extend(call.to_le_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend(payload);
        Message::binary(bytes)
    };
    let hello = br#"{"session":"s","heartbeat_ms":60000,"node":"n"}"#;
    let mut send = |message| peer.socket.send(message).unwrap();
    send(envelope(7, 1, "", 0, 0, hello));
    send(Message::text("not for this connection"));
    send(envelope(1, 0, "echo", 60_000, 9, b"\xff\0raw"));
    let mut next = || peer.socket.read().unwrap();
    assert_eq!(next(), envelope(4, 0, "", 0, 9, b""));
    assert_eq!(next(), envelope(2, 0, "", 0, 9, b"\xff\0raw"));
}

#[test]
fn pings_are_answered() {
    let (_gateway, _agent, mut peer) = connected();
    peer.socket.send(Message::Ping("are you?".into())).unwrap();
    assert_eq!(peer.socket.read().unwrap(), Message::Pong("are you?".into()));
}

#[test]
fn replies_go_out_as_they_come_and_only_once() {
    let (_gateway, _agent, mut peer, calls) = by_hand();
    for number in 1..=3 {
        peer.call(number, "m", json!(number));
        peer.expect_receipt(number);
    }
    let mut taken: Vec<_> = (0..3).map(|_| calls.recv_timeout(PATIENCE).unwrap()).collect();
    let (call, responder) = taken.pop().unwrap();
    assert_eq!((call.id.0, &call.params.bytes[..]), (3, &b"3"[..]));
    responder.progress(Body::json(*b"50"));
    responder.result(Body::json(*b"{}"));
    assert_eq!(peer.next(), json!({"jsonrpc": "2.0", "method": "progress", "params": {"id": id(3), "data": 50}}));
    peer.expect_result(3, json!({}));
    let (_, responder) = taken.pop().unwrap();
    responder.error(17, "no luck");
    assert_eq!(peer.expect_error(2, 17), "no luck");
    drop(taken);
    peer.expect_error(1, fault::NO_ANSWER);
}

#[test]
fn an_answer_of_an_earlier_connection_is_not_sent_on_the_next() {
    let (gateway, agent, mut peer, calls) = by_hand();
    peer.call(1, "m", json!(null));
    let (_, first) = calls.recv_timeout(PATIENCE).unwrap();
    drop(peer);
    agent.expect_news("connection broke");
    let mut peer = gateway.welcome();
    peer.call(1, "m", json!(null));
    peer.expect_receipt(1);
    let (_, second) = calls.recv_timeout(PATIENCE).unwrap();
    first.result(Body::json(*b"1"));
    second.result(Body::json(*b"2"));
    peer.expect_result(1, json!(2));
}

#[test]
fn too_many_open_calls_are_refused() {
    let (_gateway, _agent, mut peer, calls) = by_hand();
    for number in 0..16 {
        peer.call(number, "m", json!(null));
        peer.expect_receipt(number);
    }
    peer.call(16, "m", json!(null));
    peer.expect_error(16, fault::BUSY);
    assert_eq!(calls.len(), 16);
}

#[test]
fn garbage_is_ignored_and_said() {
    let (_gateway, agent, mut peer) = connected();
    for text in [
        "",
        "{",
        "null",
        "[]",
        "\u{feff}{}",
        r#"{"jsonrpc":"2.0"}"#,
        r#"{"jsonrpc":"2.0","method":"welcome"}"#,
        r#"{"jsonrpc":"2.0","method":"cancel","params":{"id":7}}"#,
        r#"{"jsonrpc":"2.0","method":"cancel","params":{"id":"00000000000000ff"}}"#,
        r#"{"jsonrpc":"2.0","method":"goaway","params":[]}"#,
        r#"{"jsonrpc":"2.0","method":"publication","params":{}}"#,
        r#"{"jsonrpc":"2.0","id":"x","method":"echo","params":1}"#,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"hm"}}"#,
    ] {
        peer.socket.send(Message::text(text)).unwrap();
    }
    peer.socket.send(Message::binary(vec![1, 2, 3])).unwrap();
    let mut rng = fastrand::Rng::with_seed(11);
    let call = br#"{"jsonrpc":"2.0","id":"000000000000000b","method":"echo","params":{"a":1}}"#;
    for _ in 0..300 {
        let mut bytes = call.to_vec();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..bytes.len());
            bytes[at] = rng.u8(b' '..b'\x7f');
        }
        let text = String::from_utf8(bytes).unwrap();
        peer.socket.send(Message::text(text)).unwrap();
    }
    peer.call(0xa11, "ping", json!(null));
    // Some of the mutants are calls; their replies come before.
    let pong = json!({"jsonrpc": "2.0", "id": id(0xa11), "result": "pong"});
    while peer.next() != pong {}
    agent.expect_news("Garbage");
    agent.expect_news("hm");
}

#[test]
fn bytes_that_are_no_websocket_end_the_connection_and_nothing_else() {
    let (gateway, agent, mut peer) = connected();
    peer.socket.get_mut().write_all(&[0xff; 64]).unwrap();
    agent.expect_news("connection broke");
    let mut stream = gateway.accept();
    stream.write_all(b"SSH-2.0-dropbear\r\n\r\n").unwrap();
    agent.expect_news("connection broke");
    expect_alive(&mut gateway.welcome());
}

#[test]
fn goaway_lets_calls_finish_and_then_waits_as_told() {
    let (gateway, agent, mut peer, calls) = by_hand();
    peer.call(1, "m", json!(null));
    peer.expect_receipt(1);
    let (_, responder) = calls.recv_timeout(PATIENCE).unwrap();
    peer.send(json!({
        "jsonrpc": "2.0", "method": "goaway", "params": {"reconnect_after_ms": 137, "reason": "drain"},
    }));
    agent.expect_news("drain");
    responder.result(Body::json(*b"1"));
    peer.expect_result(1, json!(1));
    assert_eq!(peer.expect_close(), 1000);
    let news = agent.expect_news("asked to come back");
    assert!(news.ends_with("/ 137ms"), "{news}");
    gateway.welcome();
}

#[test]
fn a_close_after_goaway_does_not_shorten_the_wait() {
    let (_gateway, agent, mut peer, calls) = by_hand();
    peer.call(1, "m", json!(null));
    let _held = calls.recv_timeout(PATIENCE).unwrap();
    peer.send(json!({
        "jsonrpc": "2.0", "method": "goaway", "params": {"reconnect_after_ms": 137, "reason": "drain"},
    }));
    agent.expect_news("drain");
    peer.expect_receipt(1);
    peer.close(4000, "time is up");
    let news = agent.expect_news("asked to come back");
    assert!(news.ends_with("/ 137ms"), "{news}");
}

#[test]
fn close_codes_decide_who_comes_back() {
    for code in [1000, 1001, 1011, 4000, 4499] {
        let (gateway, agent, peer) = connected();
        peer.close(code, "bye");
        agent.expect_news(&format!("code {code}: bye"));
        gateway.welcome();
    }
    for code in [4500, 4999] {
        let (_gateway, agent, peer) = connected();
        peer.close(code, "replaced");
        let reason = "replaced".to_owned();
        assert_eq!(agent.ended(), Ending::Closed { code, reason });
    }
}

#[test]
fn http_answers_decide_who_comes_back() {
    for (status, word) in [("503 Service Unavailable", "full"), ("429 Slow", "like")] {
        let gateway = Gateway::listen();
        let agent = Running::start(options(&gateway.url()), || builtin);
        gateway.refuse(status);
        let news = agent.expect_news(&status[..3]);
        assert!(news.contains(word), "{news}");
        expect_alive(&mut gateway.welcome());
    }
    for (status, word) in [("401 Unauthorized", "token"), ("404 Not Found", "path")] {
        let gateway = Gateway::listen();
        let agent = Running::start(options(&gateway.url()), || builtin);
        gateway.refuse(status);
        let ending = agent.ended().to_string();
        assert!(ending.contains(&status[..3]) && ending.contains(word), "{ending}");
    }
}

#[test]
fn nobody_listening_is_said_and_tried_again() {
    let gateway = Gateway::listen();
    let url = gateway.url();
    drop(gateway);
    let agent = Running::start(options(&url), || builtin);
    for _ in 0..3 {
        agent.expect_news("connection refused");
    }
    agent.stopper.stop();
    assert_eq!(agent.ended(), Ending::Stopped);
}

#[test]
fn a_silent_gateway_is_left() {
    let gateway = Gateway::listen();
    let agent = Running::start(options(&gateway.url()), || builtin);
    let mut silent = gateway.upgrade();
    silent.send(welcome(20));
    let news = agent.expect_news("nothing heard");
    assert!(news.contains("for 0.1 s") || news.contains("for 0.0 s"), "{news}");
    expect_alive(&mut gateway.welcome());
}

#[test]
fn a_gateway_that_does_not_welcome_is_left() {
    let gateway = Gateway::listen();
    let mut options = options(&gateway.url());
    options.welcome_deadline = Duration::from_millis(50);
    let agent = Running::start(options, || builtin);
    let _mute = gateway.upgrade();
    agent.expect_news("welcome took too long");
}

#[test]
fn a_gentle_stop_finishes_what_runs_and_takes_no_more() {
    let (_gateway, agent, mut peer, calls) = by_hand();
    peer.call(1, "m", json!(null));
    peer.expect_receipt(1);
    let (_, responder) = calls.recv_timeout(PATIENCE).unwrap();
    agent.stopper.stop();
    // The stop is seen at the agent's next turn; a call before that would still be taken.
    loop {
        peer.call(2, "m", json!(null));
        let next = peer.next();
        if next["error"]["code"] == fault::STOPPING {
            break;
        }
        let (_, taken) = calls.recv_timeout(PATIENCE).unwrap();
        taken.result(Body::json(*b"2"));
        peer.expect_result(2, json!(2));
    }
    responder.result(Body::json(*b"1"));
    peer.expect_result(1, json!(1));
    assert_eq!(peer.expect_close(), 1000);
    assert_eq!(agent.ended(), Ending::Stopped);
}
