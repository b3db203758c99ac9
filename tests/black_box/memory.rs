//! What a resting agent costs, as the kernel counts it. The agents live in another process.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;

use holdfast::config::PortTls;
use holdfast::config::derived::request_bytes;
use holdfast::net::secured::{
    HANDSHAKE_BYTES, HANDSHAKE_BYTES_WORST, HANDSHAKE_BYTES_WORST_WITH_CERTIFICATES, LIVE_BYTES,
};
use holdfast::net::tls::handshake::{HANDSHAKE_BYTES_MAX, HANDSHAKE_BYTES_MAX_WITH_CERTIFICATES};
use holdfast::net::tls::record::RECORD_BYTES_MAX;
use rustls::{ClientConfig, ClientConnection};
use serde_json::Value;

use crate::budget::Crowd;
use crate::gateway::{Gateway, json_of, until};
use crate::secured::{SecuredAgent, shake};
use crate::secured_files::{Authority, NAME};

/// Resident bytes for an idle, authenticated agent.
const BYTES_PER_AGENT_MAX: f64 = 160.0;

/// How much of that may stay behind after a burst.
const BYTES_KEPT_MAX: f64 = 16.0;

/// What the agents added, as the gateway counts it, differs from what the kernel counts by at most this part of it, and by what a
/// crowd of handshakes leaves in the allocator's pages however many come.
const TOLD_SLACK: (f64, f64) = (0.1, 768.0 * 1024.0);

/// Live memory that is in no named part, in bytes: keys, metrics, settings, HTTP connections, the threads' own.
const OTHER_MAX: f64 = 1_500_000.0;

#[test]
fn idle_agents_cost_almost_nothing_and_a_burst_is_given_back() {
    let gateway = Gateway::start("");
    let mut idle = gateway.load_at_process("idle");
    let result = json_of(idle.args(["--agents", "15000", "--hold", "0s", "--json", "-"]));
    let figures = result["figures"].as_array().expect("figures");
    let of = |name: &str| -> f64 {
        let figure = figures.iter().find(|figure| figure["name"] == name);
        figure.and_then(|figure| figure["value"].as_f64()).unwrap_or_else(|| panic!("no {name}: {result:#}"))
    };
    let before = of("process bytes for each agent at rest");
    let after = of("process bytes for each agent after a burst");
    assert!(before <= BYTES_PER_AGENT_MAX, "{result:#}");
    assert!(after <= before + BYTES_KEPT_MAX, "{result:#}");
}

/// Agents that rest while the parts are added up.
const AGENTS: u32 = 15_000;

/// Parts that are not counted but follow from what the system says.
const DIFFERENCES: [&str; 3] = ["other", "allocator", "program"];

/// Bytes of the parts that are counted where they are held.
fn counted(memory: &Value) -> f64 {
    let parts = memory["parts"].as_object().expect("parts");
    let counted = parts.iter().filter(|(name, _)| !DIFFERENCES.contains(&name.as_str()));
    counted.map(|(_, bytes)| bytes.as_f64().expect("a number")).sum()
}

/// Holds what the gateway says against the kernel's count. `before` are its counted parts and its anonymous memory without agents.
fn hold(gateway: &Gateway, when: &str, before: (f64, f64)) {
    let fits = || {
        let (memory, resident) = (gateway.memory(), gateway.resident_bytes() as f64);
        let sum = memory["bytes"].as_f64().expect("a number");
        (sum - resident).abs() <= resident / 10.0
    };
    until(fits, &format!("{when}: the parts add up to what is resident, within a tenth"));
    // What the agents brought is in the parts that are counted, and not in what is left over. Loops tell of theirs once a second,
    // and what a burst has left goes back to the system a little later.
    let told = || {
        let (grown, told) = (gateway.rollup("Anonymous:") as f64 - before.1, counted(&gateway.memory()) - before.0);
        (told - grown).abs() <= grown * TOLD_SLACK.0 + TOLD_SLACK.1
    };
    until(told, &format!("{when}: what the agents added is in the parts that are counted"));
    let memory = gateway.memory();
    let other = memory["parts"]["other"].as_f64().expect("a number");
    assert!(other <= OTHER_MAX, "{when}: {memory:#}");
}

#[test]
fn the_parts_add_up_to_what_the_kernel_counts() {
    let gateway = Gateway::start("");
    // What the first agents touch once is there before it is looked at.
    drop(Crowd::connect(&gateway, 1000));
    gateway.wait_no_agents();
    until(|| counted(&gateway.memory()) > 0.0, "loops have told of theirs");
    let before = (counted(&gateway.memory()), gateway.rollup("Anonymous:") as f64);
    let crowd = Crowd::connect(&gateway, AGENTS);
    hold(&gateway, "at rest", before);
    let slots = || gateway.memory()["parts"]["slots"].as_u64().expect("a number");
    until(|| slots() >= u64::from(AGENTS) * 64, "loops have told of all slots");
    let slots = slots();
    assert_eq!(gateway.metric("holdfast_memory_bytes", "slots"), slots);

    let node: Value = serde_json::from_str(&gateway.page("/v1/node")).expect("JSON");
    for figure in ["longest_turn_us", "longest_turn_cpu_us"] {
        let turns = node[figure].as_array().expect("one for each loop");
        let connections = node["connections"].as_array().expect("one for each loop");
        assert_eq!(turns.len(), connections.len());
        assert!(turns.iter().all(|micros| micros.as_u64() > Some(0)), "{node:#}");
    }

    let mut burst = gateway.load("calls");
    burst.args(["--agents", &AGENTS.to_string(), "--count", "30000", "--json", "-"]);
    let tally = json_of(&mut burst);
    assert_eq!(tally["right"], 30_000, "{tally:#}");
    hold(&gateway, "after a burst", before);
    drop(crowd);
}

/// Peers of one kind whose memory is looked at, and those that come first: what is touched once is there then.
const PEERS: usize = 800;
const FIRST: usize = 60;

/// Bytes of the gateway for each of [`PEERS`] that `begin` makes: what the kernel counts, or what the gateway has asked its allocator for,
/// whichever is more, since room that nobody has touched yet may be touched. `told` is what the gateway tells when so many of them are
/// there and it has heard them to the end.
fn bytes_for_each<T>(gateway: &Gateway, mut begin: impl FnMut(usize) -> T, told: impl Fn(usize) -> bool) -> usize {
    let mut peers: Vec<T> = (0..FIRST).map(&mut begin).collect();
    until(|| told(FIRST), "the first of them are there");
    let held = || [gateway.rollup("Anonymous:"), asked_for(&gateway.memory())];
    let before = held();
    peers.extend((FIRST..FIRST + PEERS).map(begin));
    until(|| told(FIRST + PEERS), "all of them are there");
    let grown = [0, 1].map(|at| held()[at].saturating_sub(before[at]) as usize / PEERS);
    println!("counted by the kernel, and asked for: {grown:?}");
    grown[0].max(grown[1])
}

/// What the gateway has asked its allocator for: all parts but those of the system.
fn asked_for(memory: &Value) -> u64 {
    let parts = memory["parts"].as_object().expect("parts");
    let asked = parts.iter().filter(|(name, _)| !DIFFERENCES[1..].contains(&name.as_str()));
    asked.map(|(_, bytes)| bytes.as_u64().expect("a number")).sum()
}

/// A gateway with TLS and one loop that gives those who knock much time.
fn patient_gateway(authority: &Authority, tls: &str) -> Gateway {
    let settings = authority.settings(tls).replace("[server]\n", "[server]\nloops = 1\n");
    Gateway::start(&format!("{settings}[limits]\nhandshake_deadline = \"10m\"\n"))
}

/// What a client says first.
fn hello(config: &Arc<ClientConfig>) -> Vec<u8> {
    let mut client = ClientConnection::new(Arc::clone(config), NAME.try_into().expect("a name")).expect("settings");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("a vector takes it");
    bytes
}

/// The beginning of a record that is as long as one may be, `length` bytes of it: of type `kind`.
fn part_of_record(kind: u8, length: usize) -> Vec<u8> {
    let body = RECORD_BYTES_MAX - 5;
    let mut bytes = vec![kind, 3, 3, (body >> 8) as u8, body as u8];
    bytes.resize(length.min(RECORD_BYTES_MAX - 1), 0);
    bytes
}

/// Records of a handshake message that goes on and on, `length` bytes of them.
fn endless_hello(length: usize) -> Vec<u8> {
    const BODY: usize = 16_384;
    let mut bytes = Vec::new();
    while bytes.len() < length {
        bytes.extend([0x16, 3, 1, (BODY >> 8) as u8, BODY as u8]);
        let at = bytes.len();
        bytes.resize(at + BODY, 0);
        if at == 5 {
            // A hello that says that it is as long as one may be.
            bytes[at..at + 4].copy_from_slice(&[1, 0, 0xff, 0xff]);
        }
    }
    bytes.truncate(length);
    bytes
}

/// What peers take that send these bytes and then nothing.
fn bytes_for_silent(authority: &Authority, tls: &str, bytes: &[u8]) -> usize {
    let gateway = patient_gateway(authority, tls);
    let begin = |_| {
        let mut stream = TcpStream::connect(gateway.agents).expect("connects");
        stream.write_all(bytes).expect("sent");
        stream
    };
    let told = |count: usize| {
        gateway.metric("holdfast_tls_handshakes_in_progress", "") == count as u64
            && gateway.metric("holdfast_bytes_in_total", "") == (count * bytes.len()) as u64
    };
    bytes_for_each(&gateway, begin, told)
}

/// Each figure that is said is no less than what is measured, and no more than a third above it.
fn hold_figures(figures: &[(&str, usize, usize)]) {
    let mut wrong = Vec::new();
    for (what, each, said) in figures {
        println!("{what}: {each} bytes, {said} are reckoned with");
        if each > said || said * 3 / 4 > *each {
            wrong.push(what);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?} of {figures:?}");
}

#[test]
fn who_knocks_takes_no_more_than_is_reckoned_with() {
    let authority = Authority::new();
    let config = authority.shared_client();
    let hello = hello(&config);
    let asks = format!("client_certificates = \"required\"\nclient_ca = \"{}\"", authority.path("root.pem"));
    let (most, more) = (HANDSHAKE_BYTES_MAX, HANDSHAKE_BYTES_MAX_WITH_CERTIFICATES);
    let (worst, worse) = (HANDSHAKE_BYTES_WORST, HANDSHAKE_BYTES_WORST_WITH_CERTIFICATES);
    let behind = [&hello[..], &part_of_record(0x17, most - hello.len())].concat();
    hold_figures(&[
        ("a hello, and silence", bytes_for_silent(&authority, "", &hello), HANDSHAKE_BYTES),
        ("a hello in part", bytes_for_silent(&authority, "", &endless_hello(most)), worst),
        ("a hello, and a record in part", bytes_for_silent(&authority, "", &behind), worst),
        ("a hello in part, with certificates", bytes_for_silent(&authority, &asks, &endless_hello(more)), worse),
    ]);
}

#[test]
fn who_asks_for_an_upgrade_takes_no_more_than_is_reckoned_with() {
    let authority = Authority::new();
    let gateway = patient_gateway(&authority, "");
    let config = authority.shared_client();
    let mut head = b"GET /v1/agent HTTP/1.1\r\nHost: x\r\nX-Long: ".to_vec();
    head.resize(8 * 1024 - 1, b'x');
    let part = part_of_record(0x17, usize::MAX);
    let begin = |_| {
        let mut stream = shake(gateway.agents, &config, NAME).expect("a handshake");
        stream.write_all(&head).expect("sent");
        stream.flush().expect("sent");
        stream.sock.write_all(&part).expect("sent");
        stream
    };
    let told = |count: usize| {
        let leases = gateway.memory()["parts"]["leases"].as_u64().expect("a number");
        leases >= (count * (head.len() + part.len())) as u64
    };
    let settings = holdfast::config::defaults("node").expect("defaults are valid");
    let said = usize::try_from(request_bytes(&settings, PortTls::Required)).expect("it fits");
    // While a worker looks at its token, there may be another record behind the request. Nobody waits for that here.
    let said = said - RECORD_BYTES_MAX / 4 * 5;
    hold_figures(&[("a head and a record in part", bytes_for_each(&gateway, begin, told), said)]);
}

#[test]
fn a_live_session_of_tls_1_2_takes_what_is_said() {
    let authority = Authority::new();
    let gateway = patient_gateway(&authority, "min_version = \"1.2\"");
    let config = authority.old_client();
    let begin = |number| SecuredAgent::connect(&gateway, &config, Some(gateway.token(&format!("web-{number}"))));
    let told = |count: usize| gateway.metric("holdfast_agents", "") == count as u64;
    let each = bytes_for_each(&gateway, begin, told);
    hold_figures(&[("a live session of TLS 1.2, and its agent", each, LIVE_BYTES + BYTES_PER_AGENT_MAX as usize)]);
}
