//! The memory that the gateway allows itself, and what it does when that is taken: nobody else comes in, and no message that is
//! sent by halves holds memory for ever.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::agent::{Agent, Encoding};
use crate::backend::Backend;
use crate::gateway::{Gateway, SOON, until};
use crate::linker::Linker;
use crate::peer::Peer;

/// Many agents in a process of their own, until it is dropped.
pub struct Crowd(Child);

impl Crowd {
    /// Connects them.
    pub fn connect(gateway: &Gateway, count: u32) -> Self {
        let mut agents = gateway.load("agents");
        agents.args(["--count", &count.to_string()]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = agents.spawn().expect("agents start");
        let line = BufReader::new(child.stdout.take().expect("piped")).lines().next();
        assert!(matches!(&line, Some(Ok(line)) if line.starts_with("ready ")), "agents are not ready: {line:?}");
        gateway.wait_metric("holdfast_agents", "", count.into());
        Self(child)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a stranger gets who says nothing at all.
fn answer_to_silence(gateway: &Gateway) -> String {
    let mut stream = TcpStream::connect(gateway.agents).expect("connects");
    stream.set_read_timeout(Some(SOON)).expect("a time-out");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer, and the end");
    answer
}

fn is_ready(gateway: &Gateway) -> bool {
    gateway.page("/readyz").contains("\"ready\":true")
}

#[test]
fn over_its_budget_it_lets_nobody_in_until_agents_have_left() {
    let gateway = Gateway::start("[limits]\nmemory = \"1GiB\"\n");
    let crowd = Crowd::connect(&gateway, 15_000);
    let mut inside = Agent::connect(&gateway, "inside", Encoding::Json);
    assert!(is_ready(&gateway));
    assert_eq!(gateway.memory()["budget"], 1 << 30);
    assert_eq!(gateway.metric("holdfast_memory_budget_bytes", ""), 1 << 30);

    let used = gateway.memory()["used"].as_u64().expect("a number");
    let budget = used - used / 50;
    gateway.configure(&Gateway::config(&format!("[limits]\nmemory = \"{budget}B\"\n")));
    gateway.reload();
    let answer = answer_to_silence(&gateway);
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After: "), "{answer}");
    assert!(gateway.page("/readyz").contains("memory budget"));
    assert_eq!(gateway.metric("holdfast_memory_budget_bytes", ""), budget);
    assert_eq!(gateway.metric("holdfast_memory_over_budget", ""), 1);
    assert_eq!(gateway.memory()["over_budget"], true);
    let but_the_wait = |answer: &str| {
        let lines = answer.lines().filter(|line| !line.starts_with("Retry-After: "));
        lines.map(str::to_owned).collect::<Vec<String>>()
    };
    assert_eq!(but_the_wait(&answer_to_silence(&gateway)), but_the_wait(&answer));
    assert!(gateway.metric("holdfast_refused_total", "503") >= 2);
    let told = gateway.log().lines().filter(|line| line.contains("over the memory budget")).count();
    assert_eq!(told, 1, "one line for many connections");

    // Who is in stays in, and is served.
    let backend = Backend::of(&gateway);
    let call = backend.begin("inside", json!({"method": "m"}));
    let order = inside.call();
    inside.answer(order.call, &json!(7));
    call.end().expect_result("inside", &json!(7), order.call);

    drop(crowd);
    until(|| is_ready(&gateway), "there is room again");
    let mut late = Agent::connect(&gateway, "late", Encoding::Binary);
    assert!(gateway.log().contains("within the memory budget again"));
    gateway.signal(Signal::SIGTERM);
    assert_eq!(late.envelope().kind, "goaway");
}

/// The head of a masked frame of text, whose payload is `length` bytes and comes as it is.
fn frame_head(length: u32) -> Vec<u8> {
    let mut head = vec![0x81, 0x80 | 127];
    head.extend(u64::from(length).to_be_bytes());
    head.extend([0; 4]);
    head
}

#[test]
fn half_sent_messages_have_a_bound_and_do_not_hold_others_up() {
    const LEASES: u64 = 1 << 20;
    // No heartbeat meanwhile: a client that answers one would put its pong into the middle of its half message.
    let gateway = Gateway::start(
        "[server]\nloops = 1\n[heartbeat]\ninterval = \"1day\"\n\
         [limits]\nlease_bytes = \"1MiB\"\nmessage_max = \"256KiB\"\nwrite_deadline = \"1s\"\n",
    );
    let mut half = frame_head(200_000);
    half.resize(half.len() + 100_000, b'1');
    let leased = || gateway.memory()["parts"]["leases"].as_u64().expect("a number");
    // Each takes 128 KiB: the ninth has no room.
    let mut flood: Vec<Peer> = (0..24).map(|n| Peer::agent(&gateway, &format!("half-{n}"))).collect();
    for peer in &mut flood {
        peer.raw().write_all(&half).expect("sent");
        assert!(leased() <= LEASES + (256 << 10), "{}", leased());
    }
    until(|| gateway.closed_for("no_buffer") + 8 >= 24, "those without room are closed");

    // The others have had their time: half of the room is free again.
    until(|| gateway.closed_for("no_buffer") >= 20, "who never finishes makes room");
    until(|| leased() <= LEASES / 2, "half of it is free");
    let closed = gateway.closed_for("no_buffer");
    assert!((20..24).contains(&closed), "{closed} of 24");
    let mut codes: Vec<u16> = Vec::new();
    for mut peer in flood {
        peer.raw().set_read_timeout(Some(std::time::Duration::from_millis(300))).expect("a time-out");
        codes.extend(peer.try_close_code());
    }
    assert!(codes.len() as u64 == closed && codes.iter().all(|code| *code == 1013), "{codes:?}");

    let mut honest = Agent::connect(&gateway, "honest", Encoding::Json);
    let backend = Backend::of(&gateway);
    let call = backend.begin("honest", json!({"method": "m"}));
    let order = honest.call();
    let result: Value = json!("x".repeat(200_000));
    honest.answer(order.call, &result);
    call.end().expect_result("honest", &result, order.call);
}

#[test]
fn strangers_with_half_a_request_cost_no_agent_its_message() {
    let gateway = Gateway::start(
        "[server]\nloops = 1\n[limits]\nlease_bytes = \"1MiB\"\nmessage_max = \"256KiB\"\nhandshake_deadline = \"5m\"\n",
    );
    // A buffer of 4 KiB each: more than all messages may take.
    let strangers: Vec<TcpStream> = (0..300)
        .map(|_| {
            let mut stranger = TcpStream::connect(gateway.agents).expect("connects");
            stranger.write_all(b"GET /v1/agent").expect("sent");
            stranger
        })
        .collect();
    until(|| gateway.memory()["parts"]["leases"].as_u64() > Some(1 << 20), "each holds a buffer");
    a_large_answer_gets_through(&gateway);
    assert_eq!(gateway.closed_for("no_buffer"), 0);
    drop(strangers);
}

/// An agent that comes now is called, and its answer of 200,000 bytes reaches the backend.
fn a_large_answer_gets_through(gateway: &Gateway) {
    let mut honest = Agent::connect(gateway, "honest", Encoding::Json);
    let call = Backend::of(gateway).begin("honest", json!({"method": "m"}));
    let order = honest.call();
    let result: Value = json!("x".repeat(200_000));
    honest.answer(order.call, &result);
    call.end().expect_result("honest", &result, order.call);
}

#[test]
fn agents_that_send_by_halves_cost_no_backend_its_link() {
    let gateway =
        Gateway::with_link("[server]\nloops = 1\n[limits]\nlease_bytes = \"1MiB\"\nmessage_max = \"256KiB\"\n");
    let mut link = Linker::open(&gateway, Encoding::Json);
    let leased = || gateway.memory()["parts"]["leases"].as_u64();
    let mut half = frame_head(200_000);
    half.resize(half.len() + 100_000, b'1');
    // Each takes 100 KB, and at most 128 KiB: together no more than messages may take.
    let mut flood: Vec<Peer> = (0..8).map(|n| Peer::agent(&gateway, &format!("half-{n}"))).collect();
    flood.iter_mut().for_each(|peer| peer.raw().write_all(&half).expect("sent"));
    until(|| leased() >= Some(800_000), "most room is taken");
    let call =
        json!({"jsonrpc": "2.0", "id": 1, "method": "m", "params": "x".repeat(600_000), "meta": {"agent": "nobody"}});
    let call = call.to_string();
    let (begin, end) = call.split_at(500_000);
    link.peer.raw().write_all(&frame_head(call.len() as u32)).expect("sent");
    link.peer.raw().write_all(begin.as_bytes()).expect("sent");
    until(|| leased() > Some(1 << 20), "the half of a call came in");
    link.peer.raw().write_all(end.as_bytes()).expect("sent");
    link.expect(1, "offline");
}

#[test]
fn links_that_send_by_halves_cost_no_agent_its_message_and_have_a_bound() {
    let gateway = Gateway::with_link(
        "[server]\nloops = 1\n[heartbeat]\ninterval = \"7days\"\n[limits]\nlease_bytes = \"1MiB\"\nmessage_max = \"256KiB\"\n",
    );
    let leased = || gateway.memory()["parts"]["leases"].as_u64();
    // More than half of the largest message: its buffer has room for all of it, and is all that links may take.
    let mut half = frame_head(900_000);
    half.resize(half.len() + 600_000, b'1');
    let mut links: Vec<Linker> = (0..2).map(|_| Linker::open(&gateway, Encoding::Json)).collect();
    links[0].peer.raw().write_all(&half).expect("sent");
    until(|| leased() >= Some(1 << 20), "one has all the room");
    links[1].peer.raw().write_all(&half).expect("sent");
    assert_eq!(links[1].peer.close_code(), 1013);
    links.pop();
    gateway.wait_closed_for("no_buffer", 1);

    a_large_answer_gets_through(&gateway);
    assert_eq!(gateway.closed_for("no_buffer"), 1);
}
