//! The API over real sockets, with real calls and a real directory, in front of a loop that follows a script.

mod documents;
mod node;
mod permissions;

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use node::{KEY, Node, PATIENCE, Told, got, keys, limits, start};
use serde_json::json;

use super::{Access, Limits, Live, MetricsAccess};
use crate::kit::tick::Now;

const CALLS: &str = "POST /v1/agents/web-1/calls HTTP/1.1";

fn dev() -> Node {
    start(Access::Dev, limits())
}

fn with_key(head: &str, key: &str) -> String {
    format!("{head}\r\nIdempotency-Key: {key}")
}

fn call_of(told: Told) -> crate::kit::ids::CallId {
    match told {
        Told::Call(call) => call,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_goes_to_its_agent_and_back() {
    let node = dev();
    let got = node.ask(CALLS, r#"{"method":"echo"}"#);
    assert_eq!(got.status, 200);
    assert!(got.head.contains("content-type: application/json"));
    let body = got.json();
    let call = call_of(node.next_told()).to_string();
    assert_eq!(
        (&body["outcome"], &body["call"], &body["agent"], &body["result"]),
        (&json!("ok"), &json!(call), &json!("web-1"), &json!([7]))
    );
    assert!(body["elapsed_ms"].is_u64());
}

#[test]
fn refusals_are_problems() {
    let node = dev();
    for (head, body, status, kind) in [
        ("POST /v1/agents/nobody/calls HTTP/1.1", "{\"method\":\"m\"}", 404, "offline"),
        ("POST /v1/agents/a%20b/calls HTTP/1.1", "{\"method\":\"m\"}", 400, "invalid"),
        (CALLS, "method=m", 400, "malformed"),
        (CALLS, "{}", 400, "invalid"),
        (&with_key(CALLS, ""), "{\"method\":\"m\"}", 400, "invalid"),
        (&with_key(&with_key(CALLS, "a"), "b"), "{\"method\":\"m\"}", 400, "invalid"),
        ("GET /v1/agent HTTP/1.1", "", 404, "wrong_port"),
        ("GET /nothing HTTP/1.1", "", 404, "not_found"),
        ("PUT /v1/agents/web-1 HTTP/1.1", "", 405, "method_not_allowed"),
        ("GET /v1/agents?limt=1 HTTP/1.1", "", 400, "invalid"),
    ] {
        let got = node.ask(head, body);
        assert_eq!(got.status, status, "{head}: {got:?}");
        assert!(got.head.contains("application/problem+json"), "{head}");
        assert_eq!(got.json()["type"], format!("/problems/{kind}"), "{head}");
    }
    let wrong_method = node.ask("PUT /v1/agents/web-1 HTTP/1.1", "");
    assert!(wrong_method.head.contains("allow: get, head, delete"));
    let wrong_port = node.ask("GET /v1/agent HTTP/1.1", "");
    assert!(wrong_port.body.contains("127.0.0.1:8080"));
}

#[test]
fn a_key_opens_and_a_swapped_key_no_longer() {
    let node = start(keys(), limits());
    let listed = |key: &str| {
        let head = format!("GET /v1/agents HTTP/1.1\r\nAuthorization: Bearer {key}");
        node.ask(&head, "").status
    };
    assert_eq!((listed(KEY), listed("wrong")), (200, 401));
    let without = node.ask("GET /v1/agents HTTP/1.1", "");
    assert_eq!(without.status, 401);
    assert!(without.head.contains("www-authenticate: bearer"));
    for open in ["/livez", "/readyz", "/metrics", "/openapi.json"] {
        let head = format!("GET {open} HTTP/1.1");
        assert_eq!(node.ask(&head, "").status, 200, "{open}");
    }
    let access = Access::Keys(crate::auth::api_key::ApiKeys::new(&[]).unwrap());
    node.shared.swap(Live { access, limits: limits(), metrics: MetricsAccess::Open });
    assert_eq!(listed(KEY), 401);
}

#[test]
fn a_caller_who_hangs_up_cancels_its_call() {
    let node = dev();
    let caller = node.send(CALLS, r#"{"method":"silent"}"#);
    let call = call_of(node.next_told());
    drop(caller);
    match node.next_told() {
        Told::Frame(frame) => {
            assert!(frame.contains("cancel") && frame.contains(&call.to_string()), "{frame}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn repeats_with_a_key_run_once() {
    let node = dev();
    let head = with_key(CALLS, "k");
    let body = r#"{"method":"silent"}"#;
    let first = node.send(&head, body);
    let call = call_of(node.next_told());
    let second = node.send(&head, body);
    // One round trip later the second waits too; the other body is a mistake that changes nothing.
    assert_eq!(node.ask(&head, r#"{"method":"other"}"#).status, 422);
    node.reply(call, "\"done\"");
    for waiting in [first, second] {
        let got = got(waiting);
        assert_eq!((got.status, &got.json()["result"]), (200, &json!("done")));
    }
    let third = node.ask(&head, body);
    assert_eq!((third.status, &third.json()["result"]), (200, &json!("done")));
    assert_eq!(third.json()["call"], json!(call.to_string()));
    assert!(third.head.contains("idempotency-replayed: true"));
    assert!(node.told.is_empty(), "it was sent once");
}

#[test]
fn only_the_last_who_waits_under_a_key_cancels() {
    let node = dev();
    let head = with_key(CALLS, "k");
    let body = r#"{"method":"silent"}"#;
    let first = node.send(&head, body);
    let call = call_of(node.next_told());
    let second = node.send(&head, body);
    assert_eq!(node.ask(&head, "{\"method\":\"other\"}").status, 422);
    drop(first);
    // One round trip later the server has seen that the first is gone.
    assert_eq!(node.ask("GET /livez HTTP/1.1", "").status, 200);
    assert_eq!(node.dispatch.node(Now(0)).calls_in_flight, 1);
    drop(second);
    match node.next_told() {
        Told::Frame(frame) => assert!(frame.contains(&call.to_string())),
        other => panic!("{other:?}"),
    }
    let after = node.ask(&head, body);
    assert_eq!(after.status, 499);
    assert_eq!(after.json()["outcome"], "cancelled");
}

#[test]
fn what_was_not_delivered_may_run_again_under_its_key() {
    let node = dev();
    let head = with_key("POST /v1/agents/nobody/calls HTTP/1.1", "k");
    for _ in 0..2 {
        let got = node.ask(&head, r#"{"method":"m"}"#);
        assert_eq!(got.status, 404);
        assert!(!got.head.contains("replayed"));
    }
}

#[test]
fn bodies_have_a_limit() {
    let node = dev();
    let big = "x".repeat(1001);
    assert_eq!(node.ask(CALLS, &big).status, 413);
    let chunked = |sizes: &[usize]| {
        let mut stream = TcpStream::connect(node.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request =
            format!("{CALLS}\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n");
        for size in sizes {
            request.push_str(&format!("{size:x}\r\n{}\r\n", " ".repeat(*size)));
        }
        request.push_str("11\r\n{\"method\":\"echo\"}\r\n0\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        got(stream).status
    };
    assert_eq!(chunked(&[600, 600]), 413);
    assert_eq!(chunked(&[600, 300]), 200);
}

#[test]
fn a_body_that_does_not_come_is_answered() {
    let short = Limits { head_timeout: Duration::from_millis(20), ..limits() };
    let node = start(Access::Dev, short);
    let mut stream = TcpStream::connect(node.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("{CALLS}\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{{");
    stream.write_all(head.as_bytes()).unwrap();
    let got = got(stream);
    assert_eq!((got.status, &got.json()["type"]), (408, &json!("/problems/slow_body")));
}

#[test]
fn a_head_that_does_not_come_is_closed() {
    let short = Limits { head_timeout: Duration::from_millis(20), ..limits() };
    let node = start(Access::Dev, short);
    let mut stream = TcpStream::connect(node.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /livez HT").unwrap();
    let mut rest = Vec::new();
    let ended = std::io::Read::read_to_end(&mut stream, &mut rest);
    assert!(rest.is_empty(), "{ended:?} {rest:?}");
}

#[test]
fn connections_have_a_limit() {
    let few = Limits { connections_max: 1, ..limits() };
    let node = start(Access::Dev, few);
    let _holder = node.send(CALLS, r#"{"method":"silent"}"#);
    let _ = call_of(node.next_told());
    let got = node.ask("GET /livez HTTP/1.1", "");
    assert_eq!((got.status, &got.json()["status"]), (503, &json!(503)));
}

#[test]
fn agents_are_listed_shown_and_sent_away() {
    let node = dev();
    let listed = node.ask("GET /v1/agents?prefix=web&label=region=eu HTTP/1.1", "");
    assert_eq!(
        listed.json(),
        json!({"agents": [{"agent": "web-1", "protocol": "holdfast.v1.json", "labels": {"region": "eu"}}], "next": null})
    );
    let none = node.ask("GET /v1/agents?label=region=us HTTP/1.1", "");
    assert_eq!(none.json()["agents"], json!([]));
    let shown = node.ask("GET /v1/agents/web-1 HTTP/1.1", "").json();
    assert_eq!((&shown["agent"], &shown["bytes_out"]), (&json!("web-1"), &json!(2)));
    assert!(shown["since"].as_str().unwrap().ends_with('Z'));
    let gone = node.ask("GET /v1/agents/web-2 HTTP/1.1", "");
    assert_eq!((gone.status, &gone.json()["outcome"]), (404, &json!("offline")));
    let away = node.ask("DELETE /v1/agents/web-1?reason=too+old HTTP/1.1", "");
    assert_eq!((away.status, away.body.as_str()), (204, ""));
    match node.next_told() {
        Told::Close(frame) => assert!(frame.contains("too old"), "{frame}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(node.ask("DELETE /v1/agents/web-2 HTTP/1.1", "").status, 404);
}

#[test]
fn a_draining_node_is_not_ready_and_takes_no_calls() {
    let node = dev();
    assert_eq!(node.ask("GET /readyz HTTP/1.1", "").status, 200);
    assert_eq!(node.ask("GET /v1/node HTTP/1.1", "").json()["node"], "n1");
    node.dispatch.begin_drain();
    let ready = node.ask("GET /readyz HTTP/1.1", "");
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("draining"));
    assert_eq!(node.ask("GET /livez HTTP/1.1", "").status, 200);
    let call = node.ask(CALLS, r#"{"method":"echo"}"#);
    assert_eq!((call.status, &call.json()["outcome"]), (503, &json!("draining")));
}

#[test]
fn a_stop_lets_calls_end_and_then_ends() {
    let mut node = dev();
    let caller = node.send(CALLS, r#"{"method":"silent"}"#);
    let call = call_of(node.next_told());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| got(caller));
        node.reply(call, "1");
        assert_eq!(waiting.join().unwrap().status, 200);
    });
    node.stop(PATIENCE);
    assert!(TcpStream::connect(node.address).is_err());
}

#[test]
fn a_stop_without_grace_cancels_what_runs() {
    let mut node = dev();
    let _caller = node.send(CALLS, r#"{"method":"silent"}"#);
    let call = call_of(node.next_told());
    node.stop(Duration::ZERO);
    match node.next_told() {
        Told::Frame(frame) => assert!(frame.contains(&call.to_string())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_loop_that_cannot_be_asked_is_not_an_agent_that_is_gone() {
    let node = dev();
    let resume = node.fill_the_mailbox();
    for head in ["GET /v1/agents/web-1 HTTP/1.1", "DELETE /v1/agents/web-1 HTTP/1.1"] {
        let got = node.ask(head, "");
        assert_eq!((got.status, &got.json()["type"]), (503, &json!("/problems/overloaded")), "{head}");
        assert!(got.head.contains("retry-after: "), "{head}");
        assert!(got.json().get("outcome").is_none(), "{head}");
    }
    assert_eq!(node.ask("GET /v1/agents/web-2 HTTP/1.1", "").status, 404);
    assert_eq!(node.ask("DELETE /v1/agents/web-2 HTTP/1.1", "").status, 404);
    let call = node.ask(CALLS, r#"{"method":"echo"}"#);
    assert_eq!((call.status, &call.json()["outcome"]), (429, &json!("busy")));
    drop(resume);
    // The loop goes on: it makes room, and answers again.
    let seen = (0..10_000).any(|_| node.ask("GET /v1/agents/web-1 HTTP/1.1", "").status == 200);
    assert!(seen, "it is asked again and again");
}

#[test]
fn pages_of_other_sites_are_kept_out_in_development_alone() {
    let dev = dev();
    let with_keys = start(keys(), limits());
    let foreign = "Origin: https://evil.example";
    for (head, body) in [
        (CALLS, r#"{"method":"echo"}"#),
        ("GET /v1/agents HTTP/1.1", ""),
        ("GET /v1/agents/web-1 HTTP/1.1", ""),
        ("DELETE /v1/agents/web-1 HTTP/1.1", ""),
        ("GET /metrics HTTP/1.1", ""),
    ] {
        for field in [foreign, "Host: evil.example"] {
            let got = dev.ask(&format!("{head}\r\n{field}"), body);
            assert_eq!((got.status, &got.json()["type"]), (403, &json!("/problems/foreign_origin")), "{head} {field}");
        }
        let own = format!("{head}\r\nOrigin: http://localhost:3000");
        assert!(dev.ask(&own, body).status < 300, "{head}");
        let keyed = format!("{head}\r\n{foreign}\r\nAuthorization: Bearer {KEY}");
        assert!(with_keys.ask(&keyed, body).status < 300, "{head}");
    }
}
