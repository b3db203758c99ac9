//! permessage-deflate from outside, with a client that compresses by itself: what is agreed on, that calls and replies are the same
//! either way, and what a bomb costs.

use std::io::{Read, Write};
use std::net::TcpStream;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::gateway::{Gateway, SOON};

const SETTINGS: &str = "[server]\nloops = 1\n[deflate]\nmode = \"on\"\n";

/// An agent over a bare socket.
struct Agent {
    stream: TcpStream,
    /// What came in and was not read.
    held: Vec<u8>,
    /// The value of the answer's `Sec-WebSocket-Extensions`.
    agreed: Option<String>,
}

/// A frame of the gateway's.
struct Frame {
    first: u8,
    payload: Vec<u8>,
}

impl Agent {
    fn connect(gateway: &Gateway, id: &str, offer: &str) -> Self {
        let mut stream = TcpStream::connect(gateway.agents).expect("connects");
        stream.set_read_timeout(Some(SOON)).expect("a time-out");
        let request = format!(
            "GET /v1/agent HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {}\r\nSec-WebSocket-Extensions: {offer}\r\n\r\n",
            gateway.token(id)
        );
        stream.write_all(request.as_bytes()).expect("sent");
        let mut agent = Self { stream, held: Vec::new(), agreed: None };
        let end = loop {
            if let Some(at) = agent.held.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            agent.fill();
        };
        let head: Vec<u8> = agent.held.drain(..end).collect();
        let head = String::from_utf8(head).expect("text");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        agent.agreed = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: ")).map(str::to_owned);
        let welcome = agent.read_message().0;
        assert_eq!(welcome["method"], "welcome", "{welcome}");
        agent
    }

    fn fill(&mut self) {
        let mut bytes = [0; 65_536];
        let count = self.stream.read(&mut bytes).expect("bytes");
        assert!(count > 0, "the gateway ended it");
        self.held.extend_from_slice(&bytes[..count]);
    }

    fn read_frame(&mut self) -> Frame {
        loop {
            let (start, length) = match self.held[..] {
                [_, short @ 0..=125, ..] => (2, usize::from(short)),
                [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
                [_, 127, a, b, c, d, e, f, g, h, ..] => (10, u64::from_be_bytes([a, b, c, d, e, f, g, h]) as usize),
                _ => (usize::MAX, 0),
            };
            if start != usize::MAX && self.held.len() >= start + length {
                let frame: Vec<u8> = self.held.drain(..start + length).collect();
                return Frame { first: frame[0], payload: frame[start..].to_vec() };
            }
            self.fill();
        }
    }

    /// The next message, and whether it was compressed.
    fn read_message(&mut self) -> (Value, bool) {
        loop {
            let Frame { first, payload } = self.read_frame();
            match first {
                0x81 => return (serde_json::from_slice(&payload).expect("JSON"), false),
                0xC1 => return (serde_json::from_slice(&inflate(&payload, 15)).expect("JSON"), true),
                0x89 => {}
                other => panic!("a frame that begins with {other:x}"),
            }
        }
    }

    fn close_code(&mut self) -> u16 {
        loop {
            let Frame { first, payload } = self.read_frame();
            if first == 0x88 {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
    }

    /// Sends a text frame as it is, masked with zeros.
    fn send(&mut self, first: u8, payload: &[u8]) {
        let mut bytes = vec![first, 0x80 | 127];
        match payload.len() {
            short @ 0..126 => bytes[1] = 0x80 | short as u8,
            middle @ 126..65_536 => {
                bytes[1] = 0x80 | 126;
                bytes.extend((middle as u16).to_be_bytes());
            }
            long => bytes.extend((long as u64).to_be_bytes()),
        }
        bytes.extend([0; 4]);
        bytes.extend_from_slice(payload);
        self.stream.write_all(&bytes).expect("sent");
    }
}

/// A compressed message of RFC 7692, by a stream of its own.
fn deflate(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 64);
    let mut stream = Compress::new(Compression::new(9), false);
    stream.compress_vec(message, &mut out, FlushCompress::Sync).expect("compressed");
    assert!(out.ends_with(&[0, 0, 0xFF, 0xFF]));
    out.truncate(out.len() - 4);
    out
}

/// What a client with a window of so many bits makes of a message.
fn inflate(message: &[u8], bits: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 << 21);
    let whole = [message, &[0, 0, 0xFF, 0xFF]].concat();
    let mut stream = Decompress::new_with_window_bits(false, bits);
    stream.decompress_vec(&whole, &mut out, FlushDecompress::Sync).expect("inflated");
    out
}

fn moved(gateway: &Gateway, way: &str, form: &str) -> u64 {
    let page = gateway.page("/metrics");
    let line = page.lines().find(|line| {
        line.starts_with("holdfast_deflate_bytes_total{")
            && line.contains(&format!("way=\"{way}\""))
            && line.contains(&format!("form=\"{form}\""))
    });
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).expect("a number")
}

#[test]
fn calls_and_replies_are_the_same_compressed() {
    let gateway = Gateway::start(SETTINGS);
    let backend = Backend::of(&gateway);
    for (id, offer, agreed, bits) in [
        ("plain", "x-webkit-deflate-frame", None, 15),
        ("any", "permessage-deflate; client_max_window_bits", Some(""), 15),
        ("small", "permessage-deflate; server_max_window_bits=9", Some("; server_max_window_bits=9"), 9),
    ] {
        let mut agent = Agent::connect(&gateway, id, offer);
        let base = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        assert_eq!(agent.agreed, agreed.map(|window| format!("{base}{window}")), "{id}");
        // Short ones and longest ones go out as they are.
        for (length, compressed) in [(10, false), (2_000, true), (60_000, true), (100_000, false)] {
            let params = json!("disk full ".repeat(length / 10));
            let call = backend.begin(id, json!({"method": "m", "params": params}));
            let frame = agent.read_frame();
            assert_eq!(frame.first, if compressed && agreed.is_some() { 0xC1 } else { 0x81 }, "{id} {length}");
            let text = if frame.first == 0xC1 { inflate(&frame.payload, bits) } else { frame.payload };
            let order: Value = serde_json::from_slice(&text).expect("JSON");
            assert_eq!(order["params"], params);
            let number = order["id"].as_str().expect("an id");
            let result = json!({"lines": "nothing new ".repeat(length / 12)});
            let reply = json!({"jsonrpc": "2.0", "id": number, "result": result}).to_string();
            if agreed.is_some() {
                let whole = deflate(reply.as_bytes());
                // In two frames, of which the first alone says that it is compressed.
                let (begin, end) = whole.split_at(whole.len() / 2);
                agent.send(0x41, begin);
                agent.send(0x80, end);
            } else {
                agent.send(0x81, reply.as_bytes());
            }
            let number = u64::from_str_radix(number, 16).expect("a number");
            call.end().expect_result(id, &result, number);
        }
    }
    for way in ["in", "out"] {
        let (plain, compressed) = (moved(&gateway, way, "plain"), moved(&gateway, way, "compressed"));
        assert!(plain > 120_000 && compressed < plain / 10, "{way}: {plain} to {compressed}");
    }
}

#[test]
fn without_the_setting_nobody_compresses() {
    let gateway = Gateway::start("[server]\nloops = 1\n");
    let mut agent = Agent::connect(&gateway, "web-1", "permessage-deflate");
    assert_eq!(agent.agreed, None);
    agent.send(0xC1, &deflate(b"{}"));
    assert_eq!(agent.close_code(), 1002);
}

#[test]
fn bombs_end_with_1009_and_cost_no_memory() {
    let gateway = Gateway::start(SETTINGS);
    // 256 MiB each.
    let bomb = deflate_zeros(256 << 20);
    assert!(bomb.len() < 300_000, "{} bytes", bomb.len());
    let mut warm = Agent::connect(&gateway, "warm", "permessage-deflate");
    warm.send(0xC1, &bomb);
    assert_eq!(warm.close_code(), 1009);
    let before = gateway.resident_bytes();
    let mut most = 0;
    for number in 0..8 {
        let mut agent = Agent::connect(&gateway, &format!("bomber-{number}"), "permessage-deflate");
        agent.send(0xC1, &bomb);
        assert_eq!(agent.close_code(), 1009);
        most = most.max(gateway.resident_bytes());
    }
    let grown = most.saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes for eight bombs of 256 MiB");
    gateway.wait_closed_for("too_big", 9);

    let mut agent = Agent::connect(&gateway, "corrupt", "permessage-deflate");
    agent.send(0xC1, b"\x07");
    assert_eq!(agent.close_code(), 1007);
    gateway.wait_closed_for("bad_deflate", 1);
}

/// A compressed message of so many zeros, made without having them all at once.
fn deflate_zeros(bytes: usize) -> Vec<u8> {
    let zeros = vec![0; 1 << 20];
    let mut out = Vec::with_capacity(bytes / 500);
    let mut stream = Compress::new(Compression::new(9), false);
    for piece in 0..bytes >> 20 {
        let flush = if (piece + 1) << 20 == bytes { FlushCompress::Sync } else { FlushCompress::None };
        stream.compress_vec(&zeros, &mut out, flush).expect("compressed");
    }
    out.truncate(out.len() - 4);
    out
}
