//! How many instructions the steps of the hot path take, counted by valgrind: a figure that a busy machine does not move.
//!
//! Owns the steps and what they are given; `scripts/instructions` runs them and compares with `benches/instructions.txt`.
//! Each is run once before it is counted, and then [`ROUNDS`] times.

#![allow(missing_docs, reason = "the macros of gungraun make public items without docstrings")]
#![allow(clippy::ptr_arg, reason = "a step is handed what is kept for it, as it is kept")]

use std::hint::black_box;
use std::io::IoSlice;
use std::time::Duration;

use bytes::Bytes;
use gungraun::{library_benchmark, library_benchmark_group, main};
use holdfast::audit::{self, Audit, CallLines, Strictness, Terms, Who, Writer};
use holdfast::auth::permissions::{Act, Permissions, Ruling};
use holdfast::auth::token::{self, Algorithm, Claims, KeySource, Verifier};
use holdfast::calls::{Body, Calls, NewCall, Outcome};
use holdfast::directory::{Directory, NewAgent, TenantLimits, TokenMark};
use holdfast::kit::buffer_pool::BufferPool;
use holdfast::kit::delivery::Delivery;
use holdfast::kit::ids::{CallId, ConnId, Generations, TenantId};
use holdfast::kit::quota::Quota;
use holdfast::kit::tick::{Clock, Now};
use holdfast::net::outbox::{Outbox, Segment};
use holdfast::session::expiry::Expiry;
use holdfast::session::heartbeat::Moments;
use holdfast::session::rules::{Door, Rules};
use holdfast::session::{Lent, Session};
use holdfast::wire::decoder::{Decoder, Terms as MessageTerms};
use holdfast::wire::deflate::Inflater;
use holdfast::wire::encode;
use holdfast::wire::envelope::{self, Encoding, Inbound, Outbound, Payload};
use holdfast::wire::head::Rsv1;
use holdfast::wire::upgrade::{self, HeadLimits, Offer};
use holdfast::wire::{head, mask};
use tungstenite::protocol::frame::coding::{Data, OpCode};

// What the binaries use.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often a step is done while it is counted: enough that what surrounds it does not matter.
const ROUNDS: usize = 100;
/// Agents in the directory, and calls that wait, while one is looked up.
const CROWD: u32 = 1000;
/// A moment.
const NOW: Now = Now(70_000);
/// That moment on the wall, in seconds.
const NOW_UNIX: u64 = 1_750_000_000;

/// Does it once before the count begins, so that nothing that happens only once is counted.
fn warm<T>(mut value: T, mut step: impl FnMut(&mut T)) -> T {
    step(&mut value);
    value
}

fn rules() -> Rules {
    Rules {
        head: HeadLimits { bytes_max: 16_384, fields_max: 64 },
        message_bytes_max: 1 << 20,
        echo_bytes_max: None,
        link_message_bytes_max: 1 << 20,
        takes_deflate: false,
        turn_frames: 64,
        turn_inflated_bytes: 256 * 1024,
        kept_bytes_max: 16 << 20,
        handshake_ms: 10_000,
        close_ms: 5_000,
        heartbeat_ms: 60_000,
        heartbeat_timeout_ms: 20_000,
        expiry_notice_secs: 60,
    }
}

/// A masked frame of `payload_bytes` zeros. Its payload is unmasked in place, and masked again by the next round.
fn client_frame(payload_bytes: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    encode::head(OpCode::Data(Data::Binary), payload_bytes, Some([1, 2, 3, 4]), &mut frame);
    frame.resize(frame.len() + payload_bytes, 0);
    frame
}

fn read_head(bytes: &mut Vec<u8>) {
    let _ = black_box(head::parse(black_box(bytes), Rsv1::Reserved));
}

#[library_benchmark]
#[bench::small(warm(client_frame(32), read_head))]
fn frame_head(mut bytes: Vec<u8>) {
    (0..ROUNDS).for_each(|_| read_head(&mut bytes));
}

fn unmask_once(payload: &mut Vec<u8>) {
    mask::apply(black_box(payload), black_box([1, 2, 3, 4]), 0);
}

#[library_benchmark]
#[bench::bytes_32(warm(vec![7; 32], unmask_once))]
#[bench::bytes_4096(warm(vec![7; 4096], unmask_once))]
fn unmask(mut payload: Vec<u8>) -> Vec<u8> {
    (0..ROUNDS).for_each(|_| unmask_once(&mut payload));
    payload
}

const TERMS: MessageTerms = MessageTerms { message_bytes_max: 1 << 20, rsv1: Rsv1::Reserved };

fn decode_frame(frame: &mut Vec<u8>) {
    let mut at = 0;
    let _ = black_box(Decoder::default().next(black_box(frame), &mut at, TERMS));
}

#[library_benchmark]
#[bench::bytes_32(warm(client_frame(32), decode_frame))]
fn decoder(mut frame: Vec<u8>) -> Vec<u8> {
    (0..ROUNDS).for_each(|_| decode_frame(&mut frame));
    frame
}

const REPLY_JSON: &[u8] = br#"{"jsonrpc":"2.0","id":"00000000000000ff","result":{"free":71303168,"path":"/var"}}"#;

/// A reply in the binary encoding: kind 2, the payload is JSON, no name.
fn reply_binary() -> Vec<u8> {
    let mut reply = vec![2, 1, 0, 0, 0, 0, 0, 0];
    reply.extend_from_slice(&255_u64.to_le_bytes());
    reply.extend_from_slice(br#"{"free":71303168,"path":"/var"}"#);
    reply
}

fn read_reply((encoding, message): &mut (Encoding, Vec<u8>)) {
    let mut replies = 0;
    envelope::decode(*encoding, black_box(message), &mut |inbound| {
        replies += usize::from(matches!(black_box(inbound), Inbound::Result { call: CallId(255), .. }));
    });
    assert_eq!(replies, 1, "the envelope is a reply");
}

#[library_benchmark]
#[bench::json(warm((Encoding::Json, REPLY_JSON.to_vec()), read_reply))]
#[bench::binary(warm((Encoding::Binary, reply_binary()), read_reply))]
fn reply_decode(mut reply: (Encoding, Vec<u8>)) {
    (0..ROUNDS).for_each(|_| read_reply(&mut reply));
}

fn write_call(encoding: &mut Encoding) {
    let params = Payload { bytes: br#"{"path":"/"}"#, json: true };
    let call = Outbound::Call { call: CallId(255), method: "disk.free", params, deadline_ms: 20_000 };
    black_box(envelope::encode(*encoding, black_box(&call)));
}

#[library_benchmark]
#[bench::json(warm(Encoding::Json, write_call))]
#[bench::binary(warm(Encoding::Binary, write_call))]
fn call_encode(mut encoding: Encoding) {
    (0..ROUNDS).for_each(|_| write_call(&mut encoding));
}

/// Calls of which some wait already, and what another one needs.
struct Waiting {
    calls: Calls,
    tenant: std::sync::Arc<Quota>,
    body: Bytes,
}

impl Waiting {
    fn new() -> Self {
        let waiting = Self {
            calls: Calls::new(1, u32::MAX),
            tenant: Quota::new(u32::MAX),
            body: Bytes::from_static(br#"{"free":1}"#),
        };
        assert!((0..CROWD).all(|slot| waiting.open(slot).is_some()), "there is room");
        waiting
    }

    fn open(&self, slot: u32) -> Option<CallId> {
        let call = NewCall {
            conn: ConnId::new(0, slot, 1),
            encoding: Encoding::Json,
            tenant: self.tenant.hold()?,
            deadline: NOW.after(Duration::from_secs(20)),
            delivery: Delivery::waiting(),
            on_end: Box::new(|outcome| drop(black_box(outcome))),
        };
        self.calls.open(call).ok()
    }
}

fn open_and_reply(waiting: &mut Waiting) {
    let slot = black_box(7);
    let call = waiting.open(slot).unwrap_or(CallId(0));
    let body = Body { bytes: waiting.body.clone(), json: true };
    assert!(waiting.calls.reply(ConnId::new(0, slot, 1), call, Outcome::Ok(body), Now(0)), "the call waits");
}

#[library_benchmark]
#[bench::open_and_reply(warm(Waiting::new(), open_and_reply))]
fn calls(mut waiting: Waiting) -> Waiting {
    (0..ROUNDS).for_each(|_| open_and_reply(&mut waiting));
    waiting
}

fn crowded_directory() -> (Directory, TenantId) {
    let directory = Directory::new(TenantLimits { calls: 100, agents: u32::MAX }, 100);
    let tenant = directory.tenant("default");
    for slot in 0..CROWD {
        let (id, conn) = (format!("agent-{slot}"), ConnId::new(0, slot, 1));
        let agent = NewAgent {
            tenant,
            id: &id,
            labels: &[],
            methods: None,
            conn,
            encoding: Encoding::Json,
            token: TokenMark::NONE,
        };
        let joined = directory.join(&agent, &Generations::default());
        assert!(joined.is_ok());
    }
    (directory, tenant)
}

fn find_agent((directory, tenant): &mut (Directory, TenantId)) {
    assert!(black_box(directory.locate(*tenant, black_box("agent-500"))).is_some(), "it is there");
}

#[library_benchmark]
#[bench::locate(warm(crowded_directory(), find_agent))]
fn directory(mut crowded: (Directory, TenantId)) -> (Directory, TenantId) {
    (0..ROUNDS).for_each(|_| find_agent(&mut crowded));
    crowded
}

/// A key that is bound to methods and to agents, and what is asked of it for a call.
type Asked = (Permissions, Vec<(Box<str>, Box<str>)>);

fn bound_key() -> Asked {
    let methods = ["backup.*", "disk.*", "report.make"].map(|text| text.parse().expect("a method")).to_vec();
    let labels = [("os", "linux"), ("site", "ams"), ("tier", "gold")];
    let agents = labels[1..].iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let stored = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    (Permissions::new(None, Some(methods), agents), stored)
}

fn ask_permission((key, labels): &mut Asked) {
    let method = key.may(black_box(Act::Call { method: "report.make" }));
    let agent = key.may(black_box(Act::Reach { labels }));
    assert!(black_box((method, agent)) == (Ruling::Allowed, Ruling::Allowed), "both are allowed");
}

#[library_benchmark]
#[bench::of_a_call(warm(bound_key(), ask_permission))]
fn permission(mut asked: Asked) -> Asked {
    (0..ROUNDS).for_each(|_| ask_permission(&mut asked));
    asked
}

/// An audit log that nobody writes, with room for all that is handed over; its queue has grown already.
fn audit_log() -> (Audit, Writer, Who) {
    let terms = Terms { calls: CallLines::All, acts: Strictness::Count, queue: 1 << 16, refusals_a_second: 1 };
    let (audit, writer) = Writer::new(terms, Clock::start());
    let remote = "10.0.0.5:51022".parse().ok();
    let who = Who { over: "link", key: Some("billing".into()), tenant: "acme".into(), remote };
    let mut log = (audit, writer, who);
    (0..2 * ROUNDS).for_each(|_| hand_over(&mut log));
    log
}

/// What the end of a call costs whoever ends it.
fn hand_over((audit, _, who): &mut (Audit, Writer, Who)) {
    let (agent, method) = (black_box("agent-500").into(), black_box("disk.free").into());
    let (params_bytes, result_bytes, took_ms) = (12, 9, 3);
    let call = Some(CallId(7));
    let line =
        audit::Call { who: who.clone(), agent, method, call, outcome: "ok", took_ms, params_bytes, result_bytes };
    audit.call(NOW, black_box(line));
}

#[library_benchmark]
#[bench::call(audit_log())]
fn audit_hand_over(mut log: (Audit, Writer, Who)) -> (Audit, Writer, Who) {
    (0..ROUNDS).for_each(|_| hand_over(&mut log));
    log
}

/// An open agent that was heard a moment ago.
fn open_session() -> Session {
    let (rules, mut pool, mut inflater, mut effects) = (rules(), BufferPool::new(1), Inflater::default(), Vec::new());
    let mut session = Session::new(NOW);
    let request = upgrade_request();
    let mut lent = Lent {
        now: NOW,
        unix_secs: 0,
        door: Door::Agents,
        seed: 0,
        rules: &rules,
        pool: &mut pool,
        inflater: &mut inflater,
        effects: &mut effects,
    };
    session.received(&mut request.clone(), &mut lent);
    assert!(session.admit(Encoding::Json, Expiry::NEVER, Bytes::new(), &mut lent), "it asked to come in");
    // Its first look at the clock.
    session.sweep(Moments::around(NOW, &rules).of(7), &mut lent);
    session
}

fn is_due((session, rules): &mut (Session, Rules)) {
    let now = black_box(Now(NOW.0 + 1000));
    let last = Moments::around(now, rules).of(black_box(7));
    assert!(!black_box(session.is_due(now, 0, last, rules)), "it was just heard");
}

#[library_benchmark]
#[bench::resting(warm((open_session(), rules()), is_due))]
fn heartbeat_sweep(mut entry: (Session, Rules)) -> (Session, Rules) {
    (0..ROUNDS).for_each(|_| is_due(&mut entry));
    entry
}

fn upgrade_request() -> Vec<u8> {
    b"GET /v1/agent HTTP/1.1\r\nHost: gateway.example:8080\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
      Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
      Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ3ZWItMSJ9.c2lnbmF0dXJl\r\n\r\n"
        .to_vec()
}

fn read_upgrade(request: &mut Vec<u8>) {
    let parsed = upgrade::parse(black_box(request), rules().head);
    assert!(black_box(parsed).is_ok_and(|upgrade| upgrade.is_some()), "it is a good request");
}

#[library_benchmark]
#[bench::parse(warm(upgrade_request(), read_upgrade))]
fn upgrade_head(mut request: Vec<u8>) {
    (0..ROUNDS).for_each(|_| read_upgrade(&mut request));
}

fn write_switching(offer: &mut Offer) {
    black_box(upgrade::switching(black_box([b'a'; 28]), *offer, black_box(None)));
}

#[library_benchmark]
#[bench::switching(warm(Offer::Ours(Encoding::Json), write_switching))]
fn upgrade_answer(mut offer: Offer) {
    (0..ROUNDS).for_each(|_| write_switching(&mut offer));
}

fn verifier_and_token(labels: &[(&str, &str)]) -> (Verifier, String) {
    let key = KeySource {
        id: "load".to_owned(),
        algorithm: Algorithm::Hs256,
        material: b"0123456789abcdef0123456789abcdef".to_vec(),
        tenant: None,
    };
    let claims = Claims {
        agent: "web-1".to_owned(),
        tenant: "default".to_owned(),
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        methods: None,
        expires_unix: NOW_UNIX + 3600,
        issued_unix: None,
        token_id: None,
    };
    let minted = token::mint(&key, None, &claims);
    let token = minted.unwrap_or_else(|problem| panic!("a token of ours: {problem}"));
    let verifier = Verifier::new(&[key], None, 0);
    (verifier.unwrap_or_else(|problem| panic!("a key of ours: {problem}")), token)
}

fn check_token((verifier, token): &mut (Verifier, String)) {
    assert!(black_box(verifier.verify(black_box(token), NOW_UNIX)).is_ok(), "the token is good");
}

#[library_benchmark]
#[bench::hs256(warm(verifier_and_token(&[]), check_token))]
#[bench::hs256_two_labels(warm(verifier_and_token(&[("arch", "arm64"), ("site", "berlin")]), check_token))]
fn token_verify(mut checked: (Verifier, String)) -> (Verifier, String) {
    (0..ROUNDS).for_each(|_| check_token(&mut checked));
    checked
}

fn push_and_take((outbox, frame): &mut (Outbox, Bytes)) {
    outbox.push(Segment { bytes: frame.clone(), call: None });
    // As the loop's flush does for a frame or two.
    let mut slices = [IoSlice::new(&[]); 2];
    let count = black_box(&mut *outbox).gather(&mut slices);
    let offered = slices[..count].iter().map(|slice| slice.len()).sum();
    outbox.took(offered);
}

#[library_benchmark]
#[bench::one_frame(warm((Outbox::default(), Bytes::from_static(&[0; 64])), push_and_take))]
fn outbox(mut queue: (Outbox, Bytes)) -> (Outbox, Bytes) {
    (0..ROUNDS).for_each(|_| push_and_take(&mut queue));
    queue
}

library_benchmark_group!(
    name = hot_path,
    benchmarks = [
        frame_head,
        unmask,
        decoder,
        reply_decode,
        call_encode,
        calls,
        directory,
        permission,
        audit_hand_over,
        heartbeat_sweep,
        upgrade_head,
        upgrade_answer,
        token_verify,
        outbox
    ]
);
main!(library_benchmark_groups = hot_path);
