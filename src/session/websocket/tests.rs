//! The life of a session, by bytes in and effects out.

mod deflate;

use proptest::prelude::*;

use super::*;
use crate::kit::tick::Now;
use crate::session::expiry::Expiry;
use crate::session::rules::Rules;
use crate::wire::deflate::Inflater;
use crate::wire::mask;
use crate::wire::upgrade::HeadLimits;

const REQUEST: &str = "GET {path} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

pub(crate) fn rules() -> Rules {
    Rules {
        head: HeadLimits { bytes_max: 8192, fields_max: 64 },
        link_message_bytes_max: 100,
        message_bytes_max: 1 << 20,
        echo_bytes_max: Some(16 << 20),
        takes_deflate: false,
        turn_frames: 64,
        turn_inflated_bytes: 256 * 1024,
        kept_bytes_max: 1 << 20,
        handshake_ms: 10_000,
        close_ms: 5_000,
        heartbeat_ms: 60_000,
        heartbeat_timeout_ms: 20_000,
        expiry_notice_secs: 60,
    }
}

pub(crate) fn with_lent(now: Now, run: impl FnOnce(&mut Lent<'_>)) -> Vec<Effect> {
    with_lent_at(now, 0, run)
}

pub(crate) fn with_lent_at(now: Now, unix_secs: u64, run: impl FnOnce(&mut Lent<'_>)) -> Vec<Effect> {
    let (rules, mut pool, mut inflater, mut effects) = (rules(), BufferPool::new(4), Inflater::default(), Vec::new());
    run(&mut Lent {
        now,
        unix_secs,
        rules: &rules,
        door: Door::Agents,
        seed: 0,
        pool: &mut pool,
        inflater: &mut inflater,
        effects: &mut effects,
    });
    effects
}

/// A session and what a loop would do with its effects: the scratch, the bytes for the peer, the messages for the workers.
struct Bench {
    session: Session,
    rules: Rules,
    pool: BufferPool,
    inflater: Inflater,
    scratch: Vec<u8>,
    sent: Vec<u8>,
    delivered: Vec<Vec<u8>>,
    greeting: Option<Greeting>,
    turns: usize,
}

impl Bench {
    fn new() -> Self {
        Self {
            session: Session::new(Now(0)),
            rules: rules(),
            pool: BufferPool::new(4),
            inflater: Inflater::default(),
            scratch: vec![0; 1 << 16],
            sent: Vec::new(),
            delivered: Vec::new(),
            greeting: None,
            turns: 0,
        }
    }

    fn agent(encoding: Encoding) -> Self {
        let mut bench = Self::new();
        bench.feed(REQUEST.replace("{path}", "/v1/agent").as_bytes());
        bench.admit(encoding);
        bench.sent.clear();
        bench
    }

    fn echo() -> Self {
        let mut bench = Self::new();
        bench.feed(REQUEST.replace("{path}", "/dev/echo").as_bytes());
        bench.sent.clear();
        bench
    }

    fn admit(&mut self, encoding: Encoding) {
        self.run(|session, _, lent| session.admit(encoding, Expiry::NEVER, Bytes::from_static(b"<101>"), lent));
        self.feed(b"");
    }

    fn run<R>(&mut self, run: impl FnOnce(&mut Session, &mut [u8], &mut Lent<'_>) -> R) -> R {
        let mut effects = Vec::new();
        let mut lent = Lent {
            now: Now(1),
            unix_secs: 0,
            rules: &self.rules,
            door: Door::Agents,
            seed: 0,
            pool: &mut self.pool,
            inflater: &mut self.inflater,
            effects: &mut effects,
        };
        let result = run(&mut self.session, &mut self.scratch, &mut lent);
        for effect in effects {
            match effect {
                Effect::Send(bytes) => self.sent.extend_from_slice(&bytes),
                Effect::Deliver(_, Body::Scratch(range)) | Effect::DeliverLink(_, Body::Scratch(range)) => {
                    self.delivered.push(self.scratch[range].to_vec())
                }
                Effect::Deliver(_, Body::Leased(lease)) | Effect::DeliverLink(_, Body::Leased(lease)) => {
                    self.delivered.push(lease.to_vec());
                    self.pool.take_back(lease);
                }
                Effect::Authenticate(greeting) => self.greeting = Some(*greeting),
                Effect::Ping | Effect::Refused(_) => {}
            }
        }
        result
    }

    /// What a loop does with bytes that came in, over as many turns as the budget makes it.
    fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        loop {
            if !self.session.phase().reads() {
                return;
            }
            let kept = self.session.restore(&mut self.scratch, &mut self.pool);
            let count = rest.len().min(self.scratch.len() - kept);
            self.scratch[kept..kept + count].copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            self.turns += 1;
            let flow = self.run(|session, scratch, lent| session.received(&mut scratch[..kept + count], lent));
            if flow == Flow::Drained && rest.is_empty() {
                return;
            }
        }
    }
}

fn frame(opcode: u8, fin: bool, payload: &[u8]) -> Vec<u8> {
    let key = [1, 2, 3, 4];
    let mut bytes = vec![opcode | if fin { 0x80 } else { 0 }];
    match payload.len() {
        n @ 0..126 => bytes.push(0x80 | n as u8),
        n @ 126..65536 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&key);
    let start = bytes.len();
    bytes.extend_from_slice(payload);
    mask::apply(&mut bytes[start..], key, 0);
    bytes
}

#[test]
fn an_upgrade_asks_who_it_is_and_reads_nothing_until_it_is_known() {
    let mut bench = Bench::new();
    let mut bytes = REQUEST.replace("{path}", "/v1/agent?agent=web-1&access_token=t%20t").into_bytes();
    bytes.extend(frame(1, true, b"early"));
    bench.feed(&bytes);
    let greeting = bench.greeting.take().expect("it asked");
    assert_eq!((greeting.token.as_deref(), greeting.agent.as_deref()), (Some("t t"), Some("web-1")));
    assert_eq!(bench.session.phase(), Phase::Verifying);
    assert!(bench.sent.is_empty() && bench.delivered.is_empty());
    bench.admit(Encoding::Json);
    assert_eq!((bench.sent.as_slice(), bench.delivered.as_slice()), (&b"<101>"[..], &[b"early".to_vec()][..]));
    assert_eq!((bench.pool.lent(), bench.session.partial.is_none()), (0, true), "nothing is owned at rest");
}

#[test]
fn requests_that_cannot_be_upgraded_get_one_answer_and_silence() {
    for (path, status) in [("/v1/link-of-nobody", "404"), ("/", "404"), ("/v1/agent/x", "404")] {
        let mut bench = Bench::new();
        bench.feed(REQUEST.replace("{path}", path).as_bytes());
        bench.feed(&frame(1, true, b"x"));
        assert!(bench.sent.starts_with(format!("HTTP/1.1 {status}").as_bytes()), "{path}");
        assert_eq!((bench.session.phase(), bench.session.reason()), (Phase::Lingering, Some(Reason::Refused)));
    }
    let mut bench = Bench::new();
    bench.rules.echo_bytes_max = None;
    bench.feed(REQUEST.replace("{path}", "/dev/echo").as_bytes());
    assert!(bench.sent.starts_with(b"HTTP/1.1 404"), "no echo outside of development");
}

#[test]
fn closes_are_answered_and_nothing_is_processed_after_one() {
    // (what the peer sends, the code that it gets, phase, reason)
    let close = |code: u16| frame(8, true, &code.to_be_bytes());
    let table = [
        (close(1000), Some(1000), Phase::Finishing, Reason::PeerClosed),
        (close(4321), Some(4321), Phase::Finishing, Reason::PeerClosed),
        (frame(8, true, b""), None, Phase::Finishing, Reason::PeerClosed),
        (close(1005), Some(1002), Phase::Lingering, Reason::Protocol),
        (frame(8, true, b"x"), Some(1002), Phase::Lingering, Reason::Protocol),
        (frame(8, true, b"\x03\xe8\xff"), Some(1007), Phase::Lingering, Reason::BadText),
        (frame(1, true, b"\xff"), Some(1007), Phase::Lingering, Reason::BadText),
        (frame(2, true, b"x"), Some(1003), Phase::Lingering, Reason::WrongType),
        (frame(0, true, b"x"), Some(1002), Phase::Lingering, Reason::Protocol),
        (vec![0x81, 0x01, b'x'], Some(1002), Phase::Lingering, Reason::Protocol),
        (frame(1, true, &vec![b'x'; (1 << 20) + 1]), Some(1009), Phase::Lingering, Reason::TooBig),
    ];
    for (bytes, code, phase, reason) in table {
        let mut bench = Bench::agent(Encoding::Json);
        let after = [bytes.as_slice(), &frame(1, true, b"after"), &frame(9, true, b"after")].concat();
        bench.feed(&after);
        assert_eq!((bench.session.phase(), bench.session.reason()), (phase, Some(reason)), "{code:?}");
        assert_eq!(bench.sent[0], 0x88);
        let got = (bench.sent[1] > 0).then(|| u16::from_be_bytes([bench.sent[2], bench.sent[3]]));
        assert_eq!(got, code);
        assert_eq!(bench.sent.len(), 2 + usize::from(bench.sent[1]), "one close frame and nothing else");
        assert!(bench.delivered.is_empty());
        assert_eq!(bench.pool.lent(), 0);
    }
}

#[test]
fn our_close_waits_for_the_peers() {
    let mut bench = Bench::agent(Encoding::Json);
    bench.feed(&frame(1, false, b"half a mess"));
    bench.run(|session, _, lent| session.close(Reason::Replaced, lent));
    assert_eq!(bench.sent[..4], [0x88, bench.sent[1], 0x11, 0x94], "code 4500");
    let sent = bench.sent.len();
    bench.feed(&frame(9, true, b"ping"));
    bench.feed(&frame(0, true, b"age"));
    assert_eq!((bench.sent.len(), bench.delivered.len()), (sent, 0), "only its close is heard");
    bench.feed(&frame(8, true, &1000_u16.to_be_bytes()));
    assert_eq!((bench.session.phase(), bench.session.reason()), (Phase::Finishing, Some(Reason::Replaced)));
    assert_eq!((bench.sent.len(), bench.pool.lent()), (sent, 0));
}

#[test]
fn a_flood_is_taken_a_budget_at_a_time() {
    let mut bench = Bench::echo();
    bench.rules.turn_frames = 8;
    let before = bench.turns;
    bench.feed(&frame(1, true, b"x").repeat(100));
    assert_eq!((bench.sent.len(), bench.turns - before), (300, 13));
    assert_eq!(bench.pool.lent(), 0);
}

#[test]
fn what_there_is_no_room_to_keep_is_heard_at_once() {
    let flood = frame(1, true, b"x").repeat(100);
    for (room, turns) in [(0, 1), (4095, 1), (4096, 13), (1 << 20, 13)] {
        let mut bench = Bench::echo();
        (bench.rules.turn_frames, bench.rules.kept_bytes_max) = (8, room);
        let before = bench.turns;
        bench.feed(&flood);
        assert_eq!((bench.sent.len(), bench.turns - before), (300, turns), "room for {room} bytes");
        assert_eq!(bench.pool.lent(), 0);
    }
}

#[test]
fn each_buffer_is_lent_for_what_it_holds() {
    let mut bench = Bench::new();
    let lent = |bench: &Bench| {
        [Purpose::Head, Purpose::Kept, Purpose::Message, Purpose::LinkMessage]
            .map(|purpose| bench.pool.lent_bytes(purpose) / 4096)
    };
    let request = REQUEST.replace("{path}", "/v1/agent?agent=web-1").into_bytes();
    bench.feed(&request[..50]);
    assert_eq!(lent(&bench), [1, 0, 0, 0], "half a head");
    bench.feed(&[&request[50..], &frame(1, true, b"early")].concat());
    assert_eq!(lent(&bench), [1, 0, 0, 0], "what came with it");
    bench.admit(Encoding::Json);
    bench.rules.turn_frames = 1;
    let mut frames = frame(1, true, b"now").repeat(3);
    bench.run(|session, _, lent| session.received(&mut frames, lent));
    assert_eq!(lent(&bench), [0, 1, 0, 0], "what the turn leaves over");
    bench.feed(&frame(1, false, b"half"));
    assert_eq!(lent(&bench), [0, 0, 1, 0], "half a message");
}

/// Frames of legal messages, some fragmented, with pings in between.
fn messages() -> impl Strategy<Value = Vec<u8>> {
    let message =
        (prop::collection::vec(any::<u8>(), 0..300), 1..4usize, any::<bool>()).prop_map(|(body, parts, ping)| {
            let mut bytes = Vec::new();
            let chunks: Vec<&[u8]> = body.chunks(body.len() / parts + 1).collect();
            let last = chunks.len().saturating_sub(1);
            for (index, chunk) in chunks.iter().enumerate() {
                bytes.extend(frame(if index == 0 { 2 } else { 0 }, index == last, chunk));
                if ping {
                    bytes.extend(frame(9, true, b"are you there"));
                }
            }
            bytes
        });
    prop::collection::vec(message, 0..12).prop_map(|all| all.concat())
}

proptest! {
    /// However the stream is cut, and however small the budget of a turn is, the same bytes go out and the same messages in.
    #[test]
    fn any_cut_gives_the_same_effects(stream in messages(), cuts in prop::collection::vec(1..200usize, 1..40), frames in 1..9u32, damage in any::<Option<(u16, u8)>>()) {
        let mut stream = stream;
        if let Some((at, value)) = damage && !stream.is_empty() {
            let at = usize::from(at) % stream.len();
            stream[at] = value;
        }
        let mut whole = Bench::agent(Encoding::Binary);
        whole.feed(&stream);
        let mut cut = Bench::agent(Encoding::Binary);
        cut.rules.turn_frames = frames;
        let mut rest = stream.as_slice();
        for length in cuts.iter().cycle() {
            if rest.is_empty() { break }
            let (head, tail) = rest.split_at((*length).min(rest.len()));
            cut.feed(head);
            rest = tail;
        }
        prop_assert_eq!(&cut.sent, &whole.sent);
        prop_assert_eq!(&cut.delivered, &whole.delivered);
        prop_assert_eq!(cut.session.phase(), whole.session.phase());
        prop_assert_eq!(cut.session.reason(), whole.session.reason());
    }

    /// Read so, a turn leaves nothing over, and the peer is heard all the same: whatever it sends.
    #[test]
    fn a_sure_read_is_never_more_than_a_turn(stream in messages(), cut in 1..400usize, frames in 1..9u32) {
        let mut whole = Bench::agent(Encoding::Binary);
        whole.feed(&stream);
        let mut lean = Bench::agent(Encoding::Binary);
        lean.rules.turn_frames = frames;
        let mut rest = stream.as_slice();
        while !rest.is_empty() {
            let sure = lean.session.sure_bytes(&lean.rules);
            let (head, tail) = rest.split_at(sure.min(cut).min(rest.len()));
            lean.scratch[..head.len()].copy_from_slice(head);
            let flow = lean.run(|session, scratch, lent| session.received(&mut scratch[..head.len()], lent));
            prop_assert_eq!(flow, Flow::Drained, "{} bytes", sure);
            prop_assert_eq!(lean.pool.lent_bytes(Purpose::Kept), 0);
            rest = tail;
        }
        prop_assert_eq!(&lean.sent, &whole.sent);
        prop_assert_eq!(&lean.delivered, &whole.delivered);
    }

    /// An upgrade and its first frames, cut anywhere.
    #[test]
    fn any_cut_of_an_upgrade_gives_the_same_session(cut in 0..400usize) {
        let mut stream = REQUEST.replace("{path}", "/dev/echo").into_bytes();
        stream.extend(frame(1, true, b"hello"));
        let cut = cut.min(stream.len());
        let mut bench = Bench::new();
        bench.feed(&stream[..cut]);
        bench.feed(&stream[cut..]);
        prop_assert!(bench.sent.starts_with(b"HTTP/1.1 101"));
        prop_assert!(bench.sent.ends_with(b"\x81\x05hello"));
        prop_assert_eq!(bench.pool.lent(), 0);
    }
}

#[test]
fn a_session_that_closes_keeps_no_part_of_a_message() {
    let mut bench = Bench::agent(Encoding::Json);
    // Unmasked by a key of zeros: the first of two fragments, and a part of the second.
    bench.feed(b"\x01\x83\0\0\0\0abc\x80\x83\0\0\0\0d");
    assert_eq!(bench.pool.lent(), 1);
    bench.run(|session, _, lent| session.close(Reason::Replaced, lent));
    assert_eq!((bench.session.phase(), bench.pool.lent()), (Phase::Closing, 0));
    bench.feed(b"ef\x88\x80\0\0\0\0");
    assert_eq!((bench.session.phase(), bench.pool.lent()), (Phase::Finishing, 0), "the peer's close is still found");
    assert!(bench.delivered.is_empty());
}

#[test]
fn a_message_is_open_since_its_first_piece() {
    let mut bench = Bench::agent(Encoding::Json);
    // Unmasked by a key of zeros. Moment, bytes that come then, since when a message is open after them.
    let steps: [(u64, &[u8], Option<u64>); 7] = [
        (100, b"\x81", None),
        (200, b"\x84\0\0\0\0a", Some(200)),
        (300, b"b", Some(200)),
        (400, b"", Some(200)),
        (500, b"cd", None),
        (600, b"\x01\x81\0\0\0\0a", Some(600)),
        (700, b"\x80\x81\0\0\0\0b\x81\x82\0\0\0\0c", Some(700)),
    ];
    for (now, bytes, since) in steps {
        let mut effects = Vec::new();
        let mut input = bytes.to_vec();
        let mut lent = Lent {
            unix_secs: 0,
            now: Now(now),
            door: Door::Agents,
            seed: 0,
            rules: &bench.rules,
            pool: &mut bench.pool,
            inflater: &mut bench.inflater,
            effects: &mut effects,
        };
        bench.session.received(&mut input, &mut lent);
        assert_eq!(bench.session.message_open_since(), since.map(|at| Now(at).tick()), "{now}");
        for effect in effects {
            if let Effect::Deliver(_, Body::Leased(lease)) = effect {
                bench.pool.take_back(lease);
            }
        }
    }
}
