//! The drivers against servers that are scripted: honest ones have a speed, the others an error.

use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use tungstenite::Message;

use super::arrival::Arrivals;
use super::crowd::{Crowd, Door};
use super::question::Asking;
use super::round_trip::{self, Probe};
use super::{Bounds, Choice};
use crate::dialect::nats::Nats;
use crate::dialect::plain::Plain;
use crate::settle;
use crate::target::find;

/// What a server says to a message, message by message.
type Script = fn(&[u8]) -> Vec<Vec<u8>>;

/// A server that greets each connection with `greeting`, where it is not empty, and then follows its script.
fn server(greeting: &'static [u8], script: Script) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let Ok(mut socket) = tungstenite::accept(stream.expect("a connection")) else {
                    return;
                };
                if !greeting.is_empty() && socket.send(Message::binary(greeting)).is_err() {
                    return;
                }
                while let Ok(message) = socket.read() {
                    if !message.is_binary() {
                        continue;
                    }
                    for answer in script(&message.into_data()) {
                        if socket.send(Message::binary(answer)).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

fn plaintext(listen: SocketAddr) -> Door {
    Door { listen, tls: None }
}

fn bounds() -> Bounds {
    Bounds { time: Duration::from_secs(30), operations: 20, in_flight: 4, server_pid: std::process::id() }
}

/// Twenty round trips over three connections.
fn round_trips(probe: Probe, choice: Choice, script: Script) -> Result<u64, String> {
    let listen = server(b"", script);
    let plain = Plain { listen, path: "/".to_owned() };
    let mut crowd = Crowd::gather(&plain, &plaintext(listen), 3)?;
    let run = round_trip::run(&mut crowd, &plain, probe, choice, bounds())?;
    crowd.dismiss();
    Ok(run.operations)
}

#[test]
fn what_comes_back_is_compared() {
    for choice in [Choice::Random, Choice::InTurn] {
        assert_eq!(round_trips(Probe::Echo(32), choice, |body| vec![body.to_vec()]), Ok(20));
    }
    assert_eq!(round_trips(Probe::Ping, Choice::Random, |_| Vec::new()), Ok(20));
    let flipped = |body: &[u8]| vec![[&body[..body.len() - 1], b"!"].concat()];
    let doubled = |body: &[u8]| vec![body.to_vec(), body.to_vec()];
    let short = |body: &[u8]| vec![body[1..].to_vec()];
    for script in [flipped as Script, doubled, short] {
        assert!(round_trips(Probe::Echo(32), Choice::InTurn, script).is_err());
    }
}

/// The greeting of a nats-server.
const INFO: &[u8] = b"INFO {\"server_id\":\"x\"} \r\n";

/// Twenty questions to two agents over a broker that answers for them.
fn questions(script: Script) -> Result<u64, String> {
    let listen = server(INFO, script);
    let nats = Nats { listen, token: None };
    let mut crowd = Crowd::gather(&nats, &plaintext(listen), 2)?;
    let mut asking = Asking::new(&nats, &mut crowd)?;
    let run = asking.run(&mut crowd, 32, Choice::InTurn, bounds())?;
    asking.leave(&mut crowd);
    crowd.dismiss();
    Ok(run.operations)
}

/// What an honest agent would make of a question, told by `MSG`; a login is answered with PONG.
fn honest(message: &[u8]) -> Vec<Vec<u8>> {
    let Some(end) = find(message, b"\r\n").filter(|_| message.starts_with(b"PUB ")) else {
        return vec![b"PONG\r\n".to_vec()];
    };
    let line = String::from_utf8_lossy(&message[..end]).into_owned();
    let words: Vec<&str> = line.split(' ').collect();
    let agent: u32 = words[1].trim_start_matches("agent.").parse().expect("an agent");
    let body = &message[end + 2..message.len() - 2];
    let head = format!("MSG {} 1 {}\r\n", words[2], body.len() + 4);
    vec![[head.as_bytes(), &agent.to_be_bytes(), body, b"\r\n"].concat()]
}

/// Changes the first answer to a question.
fn changed(message: &[u8], from: &[u8], to: &[u8]) -> Vec<Vec<u8>> {
    let mut answers = honest(message);
    if let Some(at) = find(&answers[0], from).filter(|_| message.starts_with(b"PUB ")) {
        answers[0][at..at + to.len()].copy_from_slice(to);
    }
    answers
}

#[test]
fn replies_are_compared() {
    assert_eq!(questions(honest), Ok(20));
    // In pieces that end anywhere: a message of NATS is not one of WebSocket.
    let cut = |message: &[u8]| honest(message).concat().chunks(7).map(<[u8]>::to_vec).collect();
    assert_eq!(questions(cut), Ok(20));

    let twice = |message: &[u8]| match honest(message) {
        answers if message.starts_with(b"PUB ") => [answers.clone(), answers].concat(),
        answers => answers,
    };
    let other_body = |message: &[u8]| changed(message, b"....", b"...!");
    let other_subject = |message: &[u8]| changed(message, b"reply.", b"reply:");
    let refused = |message: &[u8]| match message.starts_with(b"PUB ") {
        true => vec![b"-ERR 'Permissions Violation'\r\n".to_vec()],
        false => honest(message),
    };
    for script in [twice as Script, other_body, other_subject, refused] {
        assert!(questions(script).is_err());
    }
}

#[test]
fn newcomers_must_be_let_in() {
    let arrive = |greeting, script: Script| {
        let listen = server(greeting, script);
        let nats = Nats { listen, token: None };
        Arrivals::new(&nats, &plaintext(listen))?.run(bounds()).map(|run| run.operations)
    };
    assert_eq!(arrive(INFO, honest), Ok(20));
    let refused = |_: &[u8]| vec![b"-ERR 'Authorization Violation'\r\n".to_vec()];
    assert!(arrive(INFO, refused).is_err());
}

/// The number that `scripts/compare` gives a variable first; none where that is no number.
fn compare_default(name: &str) -> Option<u64> {
    let script = include_str!("../../../scripts/compare");
    let assigned = format!("{name}=");
    let value = script.lines().flat_map(str::split_whitespace).find_map(|word| word.strip_prefix(&assigned));
    value.unwrap_or_else(|| panic!("no {name}")).parse().ok()
}

#[test]
fn the_comparison_has_time_for_memory_to_settle() {
    assert_eq!(compare_default("settle_secs"), None, "the client's own default holds");
    let number = |name| compare_default(name).unwrap_or_else(|| panic!("{name} is no number"));
    // Memory settles four times; what else is measured took a minute at most.
    let settling = 4 * settle::LONGEST_SECS;
    assert!(number("peer_secs_max") >= settling + 60);
    let servers = 6;
    assert!(number("minutes") * 60 >= number("rounds") * servers * (settling + 20));
}
