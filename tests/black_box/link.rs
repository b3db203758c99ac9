//! The control link from outside: every outcome in both encodings, its door, its window, its ends.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tungstenite::Message;
use tungstenite::client::ClientRequestBuilder;

use holdfast::auth::api_key;

use crate::agent::{Agent, ENCODINGS, Encoding};
use crate::gateway::{ANY_PORTS_AND_LINK, Gateway, SOON, auth_key, until};
use crate::linker::{Linker, request};

/// A call that outlasts its test.
const LONG: u32 = 60_000;

/// The status that an upgrade is refused with.
fn refused(address: SocketAddr, request: ClientRequestBuilder) -> u16 {
    let stream = TcpStream::connect(address).expect("connects");
    stream.set_read_timeout(Some(SOON)).expect("a time-out");
    match tungstenite::client(request, stream) {
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => response.status().as_u16(),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn answers_of_agents_come_back_in_any_order() {
    let gateway = Gateway::with_link("");
    for (agents, links) in ENCODINGS.into_iter().flat_map(|one| ENCODINGS.map(|other| (one, other))) {
        let mut agent = Agent::connect(&gateway, "web-1", agents);
        let mut link = Linker::open(&gateway, links);
        assert_eq!(link.welcome["window"], 1024, "{}", link.welcome);
        assert!(link.welcome["session"].is_string() && link.welcome["heartbeat_ms"].is_u64());
        let params = json!({"path": "/ü", "deep": [1, null, {"a": 1.5}]});
        link.call(7, "web-1", "disk/scan", &params, 30_000);
        link.call(8, "web-1", "other", &json!(null), 0);
        let (first, second) = (agent.call(), agent.call());
        assert_eq!((first.method.as_str(), &first.params), ("disk/scan", &params));
        assert!((20_000..=30_000).contains(&first.deadline_ms), "{first:?}");
        assert!((10_000..=20_000).contains(&second.deadline_ms), "{second:?}");
        agent.receipt(second.call);
        agent.refuse(second.call, -7, "no such \"disk\"", &json!({"disk": 1}));
        let error = link.expect(8, "agent_error");
        assert_eq!((&error.body["code"], &error.body["message"]), (&json!(-7), &json!("no such \"disk\"")));
        assert_eq!(error.body["data"], json!({"disk": 1}));
        agent.answer(first.call, &params);
        let answer = link.expect(7, "ok");
        assert_eq!(answer.body, params);
        assert!(answer.call.is_none_or(|call| call == first.call), "{answer:?}");
        link.call(9, "nobody", "m", &json!(1), 0);
        link.expect(9, "offline");
        assert_eq!(gateway.metric("holdfast_links", ""), 1);
        agent.peer.reset();
        link.peer.reset();
        gateway.wait_no_agents();
        gateway.wait_metric("holdfast_links", "", 0);
    }
    assert_eq!(gateway.metric("holdfast_calls_total", "outcome=\"ok\",over=\"link\""), 4);
    assert_eq!(gateway.metric("holdfast_calls_total", "over=\"http\""), 0);
}

#[test]
fn deadlines_and_ends_of_connections_are_told_as_they_are() {
    let gateway = Gateway::with_link("");
    for (round, encoding) in (1..).zip(ENCODINGS) {
        let mut agent = Agent::connect(&gateway, "web-1", encoding);
        let mut link = Linker::open(&gateway, encoding);
        link.call(1, "web-1", "silent", &json!(1), 300);
        let silent = agent.call().call;
        link.expect(1, "no_receipt");
        assert_eq!(agent.cancelled(), silent);
        link.call(2, "web-1", "begun", &json!(1), 300);
        let begun = agent.call().call;
        agent.receipt(begun);
        let ended = link.expect(2, "no_reply");
        assert!(ended.call.is_none_or(|call| call == begun));
        assert_eq!(agent.cancelled(), begun);
        // The link hears of a late answer as little as any caller.
        agent.answer(begun, &json!("late"));
        gateway.wait_metric("holdfast_replies_dropped_total", "", round);

        link.call(3, "web-1", "taken.back", &json!(1), LONG);
        let taken_back = agent.call().call;
        link.cancel(3);
        link.expect(3, "cancelled");
        assert_eq!(agent.cancelled(), taken_back);
        link.cancel(3);
        link.cancel(999);

        link.call(4, "web-1", "lost", &json!(1), LONG);
        agent.call();
        agent.peer.reset();
        link.expect(4, "lost");
        link.call(5, "web-1", "gone", &json!(1), LONG);
        link.expect(5, "offline");
        link.peer.reset();
    }
    gateway.wait_metric("holdfast_calls_in_flight", "", 0);
}

#[test]
fn a_call_that_cannot_be_written_is_not_delivered() {
    // A queue that holds it all, and an agent that reads nothing.
    let settings = "[limits]\nqueue_soft = \"16MiB\"\nqueue_hard = \"64MiB\"\ncalls_per_agent = 1000\n";
    let gateway = Gateway::with_link(settings);
    for encoding in ENCODINGS {
        let agent = Agent::connect(&gateway, "deaf", encoding);
        let mut link = Linker::open(&gateway, encoding);
        let large = json!("x".repeat(512 * 1024));
        for id in 1..=40 {
            link.call(id, "deaf", "large", &large, 2_000);
        }
        let mut outcomes: Vec<_> = (1..=40).map(|_| link.said().outcome).collect();
        outcomes.sort_unstable();
        outcomes.dedup();
        // The kernel holds some megabytes, the rest was never written.
        assert_eq!(outcomes, ["no_receipt", "not_delivered"]);
        agent.peer.reset();
        gateway.wait_no_agents();
    }
}

#[test]
fn above_the_window_calls_are_busy_and_the_link_stays() {
    let gateway = Gateway::with_link("[link]\nwindow = 3\n");
    for encoding in ENCODINGS {
        let mut agent = Agent::connect(&gateway, "web-1", encoding);
        let mut link = Linker::open(&gateway, encoding);
        assert_eq!(link.welcome["window"], 3);
        for id in 1..=5 {
            link.call(id, "web-1", "m", &json!(id), LONG);
        }
        let flying: Vec<u64> = (0..3).map(|_| agent.call().call).collect();
        link.expect(4, "busy");
        link.expect(5, "busy");
        for (call, id) in flying.into_iter().zip(1..) {
            agent.answer(call, &json!(id));
            assert_eq!(link.expect(id, "ok").body, json!(id));
        }
        link.call(6, "web-1", "again", &json!(6), LONG);
        let call = agent.call().call;
        agent.answer(call, &json!(6));
        link.expect(6, "ok");
        agent.peer.reset();
        gateway.wait_no_agents();
    }
}

#[test]
fn quotas_of_agents_hold_on_links_too() {
    let gateway = Gateway::with_link("[limits]\ncalls_per_agent = 2\n");
    let mut agent = Agent::connect(&gateway, "web-1", Encoding::Json);
    let mut link = Linker::open(&gateway, Encoding::Binary);
    for id in 1..=3 {
        link.call(id, "web-1", "m", &json!(id), LONG);
    }
    link.expect(3, "busy");
    for id in 1..=2 {
        let call = agent.call().call;
        agent.answer(call, &json!(id));
        link.expect(id, "ok");
    }
}

#[test]
fn a_link_that_ends_takes_its_calls_back() {
    let gateway = Gateway::with_link("");
    for (encoding, round) in ENCODINGS.into_iter().zip(1..) {
        let mut agent = Agent::connect(&gateway, "web-1", encoding);
        let mut other = Linker::open(&gateway, encoding);
        let mut link = Linker::open(&gateway, encoding);
        other.call(1, "web-1", "stays", &json!(1), LONG);
        let stays = agent.call().call;
        link.call(1, "web-1", "a", &json!(1), LONG);
        link.call(2, "web-1", "b", &json!(1), LONG);
        let mut mine = [agent.call().call, agent.call().call];
        link.peer.reset();
        let mut told = [agent.cancelled(), agent.cancelled()];
        mine.sort_unstable();
        told.sort_unstable();
        assert_eq!(told, mine);
        gateway.wait_metric("holdfast_calls_total", "outcome=\"cancelled\",over=\"link\"", 2 * round);
        agent.answer(stays, &json!("here"));
        assert_eq!(other.expect(1, "ok").body, "here");
        agent.peer.reset();
        gateway.wait_no_agents();
    }
}

#[test]
fn what_is_no_call_is_refused_and_the_link_stays() {
    let gateway = Gateway::with_link("[link]\nmessage_max = \"4KiB\"\n");
    let mut link = Linker::open(&gateway, Encoding::Json);
    for (message, id, code) in [
        ("{", Value::Null, -32700),
        ("[]", Value::Null, -32600),
        ("7", Value::Null, -32600),
        (r#"{"id":1,"method":"m","meta":{"agent":"a"}}"#, json!(1), -32600),
        (r#"{"jsonrpc":"2.0","id":{},"method":"m","meta":{"agent":"a"}}"#, Value::Null, -32600),
        (r#"{"jsonrpc":"2.0","id":null,"method":"m","meta":{"agent":"a"}}"#, Value::Null, -32600),
        (r#"{"jsonrpc":"2.0","id":"x","method":"m"}"#, json!("x"), -32602),
        (r#"{"jsonrpc":"2.0","id":2,"method":"m","meta":{"agent":"a b"}}"#, json!(2), -32602),
        (r#"{"jsonrpc":"2.0","id":2,"method":"","meta":{"agent":"a"}}"#, json!(2), -32602),
        (r#"{"jsonrpc":"2.0","id":2,"method":"m","meta":{"agent":"a","timeout_ms":0}}"#, json!(2), -32602),
        (r#"{"jsonrpc":"2.0","id":2,"method":"m","meta":{"agent":"a","timeout_ms":300001}}"#, json!(2), -32602),
        (r#"{"jsonrpc":"2.0","id":2,"method":"m","meta":{"agent":"a","timeout_ms":"1s"}}"#, json!(2), -32602),
    ] {
        link.peer.send(Message::text(message));
        let said = link.said();
        assert_eq!((said.kind, &said.id, said.code), ("refused", &id, code), "{message}: {said:?}");
    }
    // What needs no answer gets none, and an id comes back as it was written.
    for message in [
        r#"{"jsonrpc":"2.0","method":"hello"}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":1}"#,
        r#"{"jsonrpc":"2.0","method":"cancel"}"#,
        r#"{"jsonrpc":"2.0","id":"ü \" 1e2","method":"m","meta":{"agent":"nobody"}}"#,
    ] {
        link.peer.send(Message::text(message));
    }
    let said = link.said();
    assert_eq!((said.outcome.as_str(), &said.id), ("offline", &json!("ü \" 1e2")));
    // Calls of a batch are answered each by itself, what is refused of it as one.
    link.peer.send(Message::text(
        r#"[{"jsonrpc":"2.0","id":5,"method":"m","meta":{"agent":"nobody"}},{"jsonrpc":"2.0","id":6,"method":"m"}]"#,
    ));
    let texts: Vec<String> = (0..2).map(|_| link.peer.read().to_text().expect("text").to_owned()).collect();
    assert!(texts.iter().any(|text| text.starts_with("[{") && text.contains("-32602")), "{texts:?}");
    assert!(texts.iter().any(|text| text.contains("\"id\":5") && text.contains("offline")), "{texts:?}");

    let mut link = Linker::open(&gateway, Encoding::Binary);
    for (bytes, id, code) in [
        (vec![13; 3], 0, -32700),
        ([&[13, 0, 9, 0, 0, 0, 0, 0, 5][..], &[0; 7], b"web"].concat(), 5, -32700),
        ([&[13, 2, 0, 0, 0, 0, 0, 0, 5][..], &[0; 7]].concat(), 5, -32600),
        ([&[13, 0, 3, 0, 0, 0, 0, 0, 5][..], &[0; 7], b"web"].concat(), 5, -32602),
        ([&[1, 0, 3, 0, 0, 0, 0, 0, 5][..], &[0; 7], b"a/b"].concat(), 5, -32600),
        ([&[99, 0, 0, 0, 0, 0, 0, 0, 5][..], &[0; 7]].concat(), 5, -32700),
    ] {
        link.peer.send(Message::binary(bytes.clone()));
        let said = link.said();
        assert_eq!((said.kind, &said.id, said.code), ("refused", &json!(id), code), "{bytes:?}: {said:?}");
    }
    link.call(1, "nobody", "m", &json!("x".repeat(5000)), 0);
    assert_eq!(link.peer.close_code(), 1009);
}

#[test]
fn each_door_serves_its_own() {
    let gateway = Gateway::with_link("[link]\nconnections = 2\n[server]\nloops = 1\n");
    let link = gateway.link.expect("a link port");
    let to = |address: SocketAddr, path: &str| {
        ClientRequestBuilder::new(format!("ws://{address}{path}").parse().expect("a URI"))
    };
    assert_eq!(refused(link, to(link, "/v1/agent?agent=web-1")), 404);
    assert_eq!(refused(link, to(link, "/dev/echo")), 404);
    assert_eq!(refused(gateway.agents, to(gateway.agents, "/v1/link")), 404);
    let foreign = request(&gateway, Encoding::Json).with_header("Origin", "https://evil.example");
    assert_eq!(refused(link, foreign), 403);
    let ours = request(&gateway, Encoding::Json).with_header("Origin", "http://localhost:3000");
    let one = Linker::with(&gateway, ours, Encoding::Json);
    until(|| gateway.metric("holdfast_links", "") == 1, "the refused are gone");
    let two = Linker::open(&gateway, Encoding::Binary);
    assert_eq!(refused(link, request(&gateway, Encoding::Json)), 503);
    let node: Value = serde_json::from_str(&gateway.page("/v1/node")).expect("JSON");
    assert_eq!((&node["links"], &node["connections"]), (&json!(2), &json!([0])), "{node}");
    // Links take no place of agents, and leave their own when they go.
    let agent = Agent::connect(&gateway, "web-1", Encoding::Json);
    drop((one, two, agent));
    gateway.wait_metric("holdfast_links", "", 0);
    Linker::open(&gateway, Encoding::Json);
}

#[test]
fn a_key_opens_a_link_to_its_own_tenant_until_it_is_taken_away() {
    let [(key, hash), (other, other_hash)] = [(); 2].map(|()| api_key::generate().expect("random bytes"));
    let keys = |keys: &[(&str, &str, &str)]| {
        let entry = |(name, hash, tenant): &(&str, &str, &str)| {
            format!("[[api.keys]]\nname = \"{name}\"\nsha256 = \"{hash}\"\ntenant = \"{tenant}\"\n")
        };
        auth_key() + &keys.iter().map(entry).collect::<String>()
    };
    let both = [("ours", hash.as_str(), "default"), ("theirs", other_hash.as_str(), "globex")];
    let gateway = Gateway::launch(&keys(&both), &ANY_PORTS_AND_LINK);
    let link = gateway.link.expect("a link port");
    let with = |key: &str| request(&gateway, Encoding::Json).with_header("Authorization", format!("Bearer {key}"));
    assert_eq!(refused(link, request(&gateway, Encoding::Json)), 401);
    assert_eq!(refused(link, with(&format!("{key}x"))), 401);
    let in_query = format!("ws://{link}/v1/link?access_token={key}").parse().expect("a URI");
    assert_eq!(refused(link, ClientRequestBuilder::new(in_query)), 401, "a key in a URL is logged on its way");

    let mut agent = Agent::connect(&gateway, "web-1", Encoding::Json);
    let mut ours = Linker::with(&gateway, with(&key), Encoding::Json);
    let mut theirs = Linker::with(&gateway, with(&other), Encoding::Json);
    theirs.call(1, "web-1", "m", &json!(1), 0);
    theirs.expect(1, "offline");
    ours.call(1, "web-1", "m", &json!(1), 0);
    let call = agent.call().call;
    agent.answer(call, &json!(1));
    ours.expect(1, "ok");

    gateway.configure(&keys(&both[1..]));
    gateway.reload();
    assert_eq!(ours.peer.close_code(), 4501);
    theirs.call(2, "web-1", "m", &json!(1), 0);
    theirs.expect(2, "offline");
    assert_eq!(refused(link, with(&key)), 401);
}

#[test]
fn a_backend_that_does_not_read_is_held_back_and_then_closed() {
    let settings = "[link]\nqueue_soft = \"64KiB\"\nqueue_hard = \"1MiB\"\n[limits]\nwrite_deadline = \"2s\"\ncalls_per_agent = 1000\n";
    let gateway = Gateway::with_link(settings);
    let mut agent = Agent::connect(&gateway, "web-1", Encoding::Binary);
    let mut link = Linker::open(&gateway, Encoding::Binary);
    let large = json!("x".repeat(200 * 1024));
    for id in 1..=60 {
        link.call(id, "web-1", "m", &json!(id), LONG);
    }
    for _ in 0..60 {
        let call = agent.call().call;
        agent.answer(call, &large);
    }
    // 12 MB of answers: more than the kernel and the queue hold.
    gateway.wait_closed_for("slow_consumer", 1);
    gateway.wait_metric("holdfast_links", "", 0);
    gateway.wait_metric("holdfast_calls_in_flight", "", 0);
    drop(link);
    // The agent is none the worse for it.
    let mut link = Linker::open(&gateway, Encoding::Json);
    link.call(1, "web-1", "m", &json!(1), LONG);
    let call = agent.call().call;
    agent.answer(call, &json!(2));
    link.expect(1, "ok");
}

#[test]
fn a_node_that_drains_tells_its_links_first_and_closes_them_last() {
    for encoding in ENCODINGS {
        let mut gateway = Gateway::with_link("[drain]\nwindow = \"100ms\"\nhard_end = \"60s\"\n");
        let mut agent = Agent::connect(&gateway, "web-1", encoding);
        let mut link = Linker::open(&gateway, encoding);
        link.call(1, "web-1", "in.flight", &json!(1), LONG);
        let call = agent.call().call;
        gateway.signal(Signal::SIGTERM);
        let goaway = link.said();
        assert_eq!(goaway.kind, "goaway");
        assert!(goaway.body["reconnect_after_ms"].is_u64(), "{goaway:?}");
        link.call(2, "web-1", "new", &json!(1), LONG);
        link.expect(2, "draining");
        agent.answer(call, &json!("finished"));
        assert_eq!(link.expect(1, "ok").body, "finished");
        assert_eq!(link.peer.closed(), 4003);
        assert!(gateway.wait_end().success());
    }
}

#[test]
fn a_link_without_frames_is_let_in_and_pinged() {
    let gateway = Gateway::with_link("[heartbeat]\ninterval = \"200ms\"\ntimeout = \"100ms\"\n");
    let link = gateway.link.expect("a link port");
    let mut stream = TcpStream::connect(link).expect("connects");
    stream.set_read_timeout(Some(SOON)).expect("a time-out");
    let upgrade = "GET /v1/link HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).expect("sent");
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("an end");
    // A welcome, a ping, and the close of a peer that never answered it.
    let close = 4000_u16.to_be_bytes();
    assert!(all.windows(2).any(|pair| pair == [0x89, 4]), "{all:?}");
    assert!(all.windows(4).any(|four| four[0] == 0x88 && four[2..] == close), "{all:?}");
    gateway.wait_closed_for("heartbeat_lost", 1);
}
