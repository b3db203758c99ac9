//! Where connections come from and who may come: balancers' headers, web pages, limits on accepts, failed logins and tenants.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tungstenite::Message;

use crate::gateway::{ANY_PORTS, Gateway, SOON};
use crate::keys::{Key, api_key, claims, claims_with};
use crate::linker;
use crate::peer::Peer;

/// Balancers on this machine, at one address of it.
const PROXIED: &str = "[server]\nproxy_protocol = \"required\"\nproxy_from = [\"127.0.0.1\"]\n";
/// A header of version 1.
const V1: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.1 50000 443\r\n";

/// A connection from one of this machine's addresses.
fn connect_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((from, 0)).into()).expect("an address of this machine");
    socket.connect(&to.into()).expect("connects");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(SOON)).expect("a time-out");
    stream
}

fn connect(to: SocketAddr) -> TcpStream {
    connect_from([127, 0, 0, 1], to)
}

/// A request for an upgrade, with more fields.
fn request(target: &str, fields: &str) -> Vec<u8> {
    let head = format!(
        "GET {target} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
    );
    head.into_bytes()
}

/// The head of what comes back; empty when the connection ends without a word.
fn answer(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => head.push(byte[0]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("no answer: {error}"),
        }
    }
    String::from_utf8(head).expect("a head in ASCII")
}

/// What a whole request is answered with, after a balancer's header.
fn knock(gateway: &Gateway, header: &[u8], fields: &str) -> String {
    let mut stream = connect(gateway.agents);
    // A gateway that refuses at once may have closed by now.
    let _ = stream.write_all(&[header, &request("/v1/agent", fields)].concat());
    answer(&mut stream)
}

fn header_of(source: &str) -> Vec<u8> {
    format!("PROXY TCP4 {source} 198.51.100.1 50000 443\r\n").into_bytes()
}

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("a short header").to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, body].concat()
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn seconds_of(answer: &str) -> u32 {
    let field = answer.lines().find_map(|line| line.strip_prefix("Retry-After: "));
    field.and_then(|secs| secs.trim().parse().ok()).unwrap_or_else(|| panic!("no Retry-After: {answer}"))
}

#[test]
fn a_balancers_header_says_where_an_agent_comes_from() {
    let gateway = Gateway::start(&format!("{PROXIED}[log]\nlevel = \"debug\"\n"));
    let v6: Vec<u8> = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[7], &[0; 16], &[0, 9, 1, 0xbb]].concat();
    let tlvs = b"\x03\0\x04\x01\x02\x03\x04\x01\0\x08http/1.1";
    for (agent, header, peer) in [
        ("v1", V1.to_vec(), Some("192.0.2.1:50000")),
        ("v1-six", b"PROXY TCP6 2001:db8::7 ::1 9 443\r\n".to_vec(), Some("[2001:db8::7]:9")),
        ("v2", v2(0x21, 0x11, &[&[192, 0, 2, 9, 1, 1, 1, 1, 0, 9, 1, 0xbb][..], tlvs].concat()), Some("192.0.2.9:9")),
        ("v2-six", v2(0x21, 0x21, &v6), Some("[2001:db8::7]:9")),
        ("local", v2(0x20, 0, b""), None),
        ("unknown", b"PROXY UNKNOWN\r\n".to_vec(), None),
    ] {
        // As one piece, and cut at every byte.
        for cut in [false, true] {
            let mut stream = connect(gateway.agents);
            stream.set_nodelay(true).expect("no delay");
            let asked = request(&format!("/v1/agent?agent={agent}"), "");
            let bytes = [&header[..], &asked].concat();
            match cut {
                true => bytes.chunks(1).for_each(|byte| stream.write_all(byte).expect("sent")),
                false => stream.write_all(&bytes).expect("sent"),
            }
            assert!(answer(&mut stream).starts_with("HTTP/1.1 101 "), "{agent} {cut}");
            let own = stream.local_addr().expect("an address").to_string();
            gateway.wait_for_agent(agent);
            let seen: Value = serde_json::from_str(&gateway.page(&format!("/v1/agents/{agent}"))).expect("JSON");
            assert_eq!(seen["peer"], peer.map_or(own, str::to_owned), "{agent} {cut}: {seen}");
            assert_eq!(seen["bytes_in"], asked.len(), "the header is none of the agent's bytes: {seen}");
        }
    }
    assert!(gateway.log().contains("peer=192.0.2.1:50000"), "the log says where from");
}

#[test]
fn what_is_no_header_is_closed_without_a_word() {
    let gateway = Gateway::start(&format!("{PROXIED}[limits]\nhandshake_deadline = \"300ms\"\n"));
    let long = [b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat();
    let bad: [&[u8]; 5] =
        [b"", b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", b"\x16\x03\x01\x02\0\x01", &long, &v2(0x21, 0x11, &[0; 11])];
    for header in bad {
        assert_eq!(knock(&gateway, header, ""), "", "{:?}", String::from_utf8_lossy(header));
    }
    gateway.wait_closed_for("proxy_header", 5);
    // One that never comes whole.
    let mut stream = connect(gateway.agents);
    stream.write_all(&V1[..20]).expect("sent");
    assert_eq!(answer(&mut stream), "");
    gateway.wait_closed_for("handshake_timeout", 1);
    assert!(gateway.log().contains("not a PROXY header"));
    assert!(knock(&gateway, V1, "").starts_with("HTTP/1.1 401 "));
}

#[test]
fn only_balancers_reach_a_port_of_balancers() {
    let settings = "[link]\nproxy_protocol = \"required\"\nproxy_from = [\"127.0.0.0/30\"]\n";
    let gateway = Gateway::with_link(&format!("{PROXIED}{settings}"));
    let mut stream = connect_from([127, 0, 0, 9], gateway.agents);
    let _ = stream.write_all(&[V1, &request("/v1/agent?agent=a", "")].concat());
    assert_eq!(answer(&mut stream), "");
    gateway.wait_metric("holdfast_shed_total", "no_balancer", 1);
    assert!(gateway.log().contains("limit=\"no_balancer\" peer=127.0.0.9:"), "{}", gateway.log());
    let link = gateway.link.expect("a link port");
    for (from, begins) in [([127, 0, 0, 2], "HTTP/1.1 101 "), ([127, 0, 0, 4], "")] {
        let mut stream = connect_from(from, link);
        let _ = stream.write_all(&[V1, &request("/v1/link", "")].concat());
        assert!(answer(&mut stream).starts_with(begins), "{from:?}");
    }
    gateway.wait_metric("holdfast_shed_total", "no_balancer", 2);
}

#[test]
fn web_pages_need_to_be_listed() {
    let key = Key::hs256("key");
    let listen = "[server]\nlisten = \"127.0.0.1:0\"\norigins = [ORIGINS]\n[control]\nlisten = \"127.0.0.1:0\"\n";
    let config = |origins: &str| format!("{}{}", listen.replace("ORIGINS", origins), key.settings);
    let gateway = Gateway::launch(&config(""), &[]);
    let good = bearer(&key.token(&claims("web-1")));
    let status = |fields: &str| {
        let answer = knock(&gateway, b"", &format!("{fields}{good}"));
        answer.split(' ').nth(1).map(str::to_owned).unwrap_or_default()
    };
    let page = |origin: &str| status(&format!("Origin: {origin}\r\n"));
    assert_eq!(status(""), "101", "whoever has no Origin is no browser");
    for origin in ["https://app.example.com", "http://localhost", "null"] {
        assert_eq!(page(origin), "403", "{origin}");
    }
    let bad = knock(&gateway, b"", "Origin: https://app.example.com\r\nAuthorization: Bearer x\r\n");
    assert!(bad.starts_with("HTTP/1.1 403 "), "the page comes before the token: {bad}");
    gateway.wait_metric("holdfast_auth_failures_total", "cause=\"origin\"", 4);
    gateway.wait_metric("holdfast_refused_total", "status=\"403\"", 4);

    gateway.configure(&config("\"https://app.example.com\", \"https://*.pages.example.com\""));
    assert!(!gateway.reload().contains("restart"));
    for (origin, expected) in [
        ("https://app.example.com", "101"),
        ("https://APP.example.com:443", "101"),
        ("https://a.pages.example.com", "101"),
        ("https://a.b.pages.example.com", "403"),
        ("https://pages.example.com", "403"),
        ("http://app.example.com", "403"),
        ("https://app.example.com.evil.example", "403"),
        ("https://app.example.com\r\nOrigin: https://app.example.com", "400"),
    ] {
        assert_eq!(page(origin), expected, "{origin}");
    }
}

#[test]
fn accepts_over_the_rate_are_closed_at_once() {
    let rates = "[rates]\nexempt = [\"203.0.113.0/24\"]\nburst = \"1s\"\nprefix_accepts = 1\n";
    let gateway = Gateway::start(&format!("{PROXIED}{rates}"));
    let mut closed = 0;
    for number in 0..60 {
        let answer = knock(&gateway, &header_of(&format!("192.0.2.{number}")), "");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 401 "), "{answer}");
        closed += u64::from(answer.is_empty());
    }
    // Sixty in less than a minute from one network: some were too many.
    assert!(closed > 0);
    gateway.wait_metric("holdfast_shed_total", "limit=\"prefix_accepts\"", closed);
    gateway.wait_closed_for("shed", closed);
    assert!(knock(&gateway, &header_of("198.51.100.1"), "").starts_with("HTTP/1.1 401 "), "another network");
    for _ in 0..20 {
        assert!(knock(&gateway, &header_of("203.0.113.1"), "").starts_with("HTTP/1.1 401 "), "exempt");
    }
    assert!(gateway.log().contains("limit=\"prefix_accepts\" peer=192.0.2."), "{}", gateway.log());
}

#[test]
fn the_node_has_a_rate_of_accepts_too() {
    let gateway = Gateway::start("[rates]\nexempt = []\nburst = \"1s\"\naccepts = 1\n");
    let answers: Vec<String> = (0..60).map(|_| knock(&gateway, b"", "")).collect();
    let closed = answers.iter().filter(|answer| answer.is_empty()).count() as u64;
    assert!(closed > 0 && answers[0].starts_with("HTTP/1.1 401 "), "{answers:?}");
    gateway.wait_metric("holdfast_shed_total", "limit=\"accepts\"", closed);
}

#[test]
fn failed_logins_close_their_network_for_a_while() {
    // Three at once, and then one in ten minutes or so.
    let rates = "[rates]\nexempt = [\"203.0.113.0/24\"]\nprefix_failed_logins = 1\nburst = \"3m\"\n";
    let gateway = Gateway::start(&format!("{PROXIED}{rates}"));
    let good = bearer(&gateway.token("web-1"));
    let bad = bearer("not.a.token");
    let from = |source: &str, fields: &str| knock(&gateway, &header_of(source), fields);
    for number in 0..3 {
        assert!(from(&format!("192.0.2.{number}"), &bad).starts_with("HTTP/1.1 401 "), "{number}");
    }
    let failures = || gateway.metric("holdfast_auth_failures_total", "");
    assert_eq!(failures(), 3);
    let told: Vec<u32> = (0..8)
        .map(|number| {
            let answer = from(&format!("192.0.2.{number}"), if number % 2 == 0 { &bad } else { &good });
            assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
            seconds_of(&answer)
        })
        .collect();
    assert_eq!(failures(), 3, "no token was looked at");
    assert!(told.iter().all(|secs| (30..=90).contains(secs)), "{told:?}");
    assert!(told.iter().any(|secs| *secs != told[0]), "they do not come back together: {told:?}");
    assert!(from("192.0.3.1", &good).starts_with("HTTP/1.1 101 "), "another network");
    for _ in 0..10 {
        assert!(from("203.0.113.1", &bad).starts_with("HTTP/1.1 401 "), "exempt");
    }
    gateway.wait_metric("holdfast_shed_total", "limit=\"prefix_failed_logins\"", 8);
    assert!(gateway.log().contains("limit=\"prefix_failed_logins\" peer=192.0.2."), "{}", gateway.log());
}

/// A balancer that does not say whose connection it passes on is not held to account for it: all others come through it, too.
#[test]
fn failed_logins_are_never_counted_against_a_balancer() {
    let file = crate::gateway::fresh_folder().join("audit.jsonl");
    let rates = format!(
        "[audit]\nfile = \"{}\"\n[rates]\nexempt = []\nprefix_failed_logins = 1\nprefix_accepts = 1\nburst = \"1s\"\n",
        file.display()
    );
    let gateway = Gateway::start(&format!("{PROXIED}{rates}"));
    let good = bearer(&gateway.token("web-1"));
    let bad = bearer("not.a.token");
    let unsaid = [b"PROXY UNKNOWN\r\n".to_vec(), v2(0x20, 0, b""), v2(0x21, 0, b"")];
    for header in &unsaid {
        for _ in 0..10 {
            assert!(knock(&gateway, header, &bad).starts_with("HTTP/1.1 401 "), "{header:?}");
        }
        assert!(knock(&gateway, header, &good).starts_with("HTTP/1.1 101 "), "{header:?}");
    }
    // They are counted and written down all the same, with the balancer's address, which is all that is known.
    gateway.wait_metric("holdfast_auth_failures_total", "cause=\"unverified\"", 30);
    let lines = || std::fs::read_to_string(&file).unwrap_or_default();
    let of = |line: &&str| line.contains("login_refused") && line.contains("\"remote\":\"127.0.0.1:");
    crate::gateway::until(|| lines().lines().filter(of).count() == 30, "each has its line");
    // The control port is reached without a balancer, and its address is a client's.
    assert!(knock(&gateway, &header_of("192.0.2.1"), &bad).starts_with("HTTP/1.1 401 "));
    assert!(
        knock(&gateway, &header_of("127.0.0.1"), &good).starts_with("HTTP/1.1 101 "),
        "the same address, as a client's"
    );
    assert_eq!(gateway.metric("holdfast_shed_total", "limit=\"prefix_failed_logins\""), 0);
    let _ = std::fs::remove_dir_all(file.parent().expect("a folder"));
}

#[test]
fn a_tenant_has_as_many_agents_as_it_may() {
    let key = Key::hs256("key");
    let settings = format!("[limits]\nconnections_per_tenant = 2\n{}{}", key.settings, api_key("k", "acme"));
    let gateway = Gateway::launch(&settings, &ANY_PORTS);
    let come = |agent: &str, tenant: &str| {
        let mut stream = connect(gateway.agents);
        let token = key.token(&claims_with(agent, json!({"tenant": tenant})));
        stream.write_all(&request("/v1/agent", &bearer(&token))).expect("sent");
        (answer(&mut stream), stream)
    };
    let is_in = |(answer, _): &(String, TcpStream)| answer.starts_with("HTTP/1.1 101 ");
    let (one, two) = (come("one", "acme"), come("two", "acme"));
    assert!(is_in(&one) && is_in(&two));
    let (full, _) = come("three", "acme");
    assert!(full.starts_with("HTTP/1.1 429 ") && seconds_of(&full) >= 30, "{full}");
    assert!(is_in(&come("one", "globex")), "another tenant");
    let again = come("one", "acme");
    assert!(is_in(&again), "whoever comes back takes its own place");
    gateway.wait_metric("holdfast_shed_total", "limit=\"tenant_connections\"", 1);
    drop((one, again));
    crate::gateway::until(|| is_in(&come("four", "acme")), "there is room again");
}

/// A link behind a balancer, and its agent: the header costs neither of them anything.
#[test]
fn links_work_behind_balancers() {
    let settings = "[link]\nproxy_protocol = \"required\"\nproxy_from = [\"127.0.0.0/8\"]\n";
    let gateway = Gateway::with_link(settings);
    let _agent = Peer::agent(&gateway, "web-1");
    let mut stream = connect(gateway.link.expect("a link port"));
    stream.write_all(V1).expect("sent");
    let asked = linker::request(&gateway, crate::agent::Encoding::Json);
    let (mut link, _) = tungstenite::client(asked, stream).expect("upgraded");
    let welcome = link.read().expect("a welcome");
    assert!(matches!(&welcome, Message::Text(text) if text.contains("\"welcome\"")), "{welcome:?}");
}
