//! Compressed messages: they come to what plain ones come to, at every cut, and never to more than the limit.

use super::*;
use crate::wire::deflate::{Deflater, Window};

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n\r\n";

/// A request that offers permessage-deflate.
fn request(path: &str) -> String {
    let head = REQUEST.replace("{path}", path);
    format!("{}{OFFER}", head.strip_suffix("\r\n").unwrap_or_default())
}

/// An agent that agreed on permessage-deflate.
fn agent(encoding: Encoding) -> Bench {
    let mut bench = Bench::new();
    bench.rules.takes_deflate = true;
    bench.feed(request("/v1/agent").as_bytes());
    bench.admit(encoding);
    bench.sent.clear();
    bench
}

fn deflated(message: &[u8]) -> Vec<u8> {
    let mut deflater = Deflater::default();
    deflater.deflate(message, Window::LARGEST, 6).expect("it gets shorter").to_vec()
}

fn code(sent: &[u8]) -> Option<u16> {
    (sent.first() == Some(&0x88)).then(|| u16::from_be_bytes([sent[2], sent[3]]))
}

#[test]
fn it_takes_two_to_agree() {
    let message = frame(0x42, true, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
    for (takes, offers, agreed) in [(true, true, true), (true, false, false), (false, true, false)] {
        let mut bench = Bench::new();
        bench.rules.takes_deflate = takes;
        let request = if offers { request("/v1/agent") } else { REQUEST.replace("{path}", "/v1/agent") };
        bench.feed(request.as_bytes());
        let greeting = bench.greeting.take().expect("it asked");
        let window = greeting.deflate.map(Deflate::window);
        assert_eq!(window, Window::of_bits(10).filter(|_| agreed), "{takes} {offers}");
        bench.admit(Encoding::Binary);
        assert_eq!(bench.session.window(), window);
        bench.sent.clear();
        // The settings change, what was agreed on stays.
        bench.rules.takes_deflate = !takes;
        bench.feed(&message);
        let expected = if agreed { (vec![b"Hello".to_vec()], None) } else { (vec![], Some(1002)) };
        assert_eq!((bench.delivered.clone(), code(&bench.sent)), expected, "{takes} {offers}");
    }
}

#[test]
fn the_echo_answers_for_itself_and_links_are_left_as_they_are() {
    let mut bench = Bench::new();
    bench.rules.takes_deflate = true;
    bench.feed(request("/dev/echo").as_bytes());
    let text = String::from_utf8(std::mem::take(&mut bench.sent)).expect("text");
    assert!(text.contains("\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; "), "{text}");
    assert!(text.contains("; server_max_window_bits=10\r\n"), "{text}");
    bench.feed(&frame(0x41, true, &deflated(&[b'x'; 200])));
    // The loop compresses what goes out.
    assert_eq!(bench.sent, encode::frame(OpCode::Data(Data::Text), &[b'x'; 200]));

    let mut session = Session::new(Now(0));
    let mut rules = rules();
    rules.takes_deflate = true;
    let (mut pool, mut inflater, mut effects) = (BufferPool::new(4), Inflater::default(), Vec::new());
    let mut lent = Lent {
        now: Now(1),
        unix_secs: 0,
        rules: &rules,
        door: Door::Links,
        seed: 0,
        pool: &mut pool,
        inflater: &mut inflater,
        effects: &mut effects,
    };
    session.received(request("/v1/link").into_bytes().as_mut_slice(), &mut lent);
    assert_eq!((session.phase(), session.window()), (Phase::Verifying, None));
}

#[test]
fn what_cannot_be_inflated_ends_the_connection_with_its_code() {
    let bomb = deflated(&vec![b' '; (1 << 20) + 1]);
    let whole = deflated(&[b'x'; 300]);
    let table = [
        (frame(0x41, true, &bomb), 1009, Reason::TooBig),
        (frame(0x41, true, &whole[..whole.len() - 1]), 1007, Reason::BadDeflate),
        (frame(0x41, true, b"\x07"), 1007, Reason::BadDeflate),
        (frame(0x41, true, &deflated(&[b"x".repeat(300), vec![0xff]].concat())), 1007, Reason::BadText),
        // The first two bytes of a character of three.
        (frame(0x41, true, &deflated(&[b"x".repeat(300), vec![0xe2, 0x82]].concat())), 1007, Reason::BadText),
        (frame(0x42, true, &whole), 1003, Reason::WrongType),
        (frame(0x49, true, b"ping"), 1002, Reason::Protocol),
        (frame(0x48, true, b"\x03\xe8"), 1002, Reason::Protocol),
        ([frame(0x41, false, &whole), frame(0x40, true, b"")].concat(), 1002, Reason::Protocol),
        ([frame(0x01, false, b"x"), frame(0x40, true, &whole)].concat(), 1002, Reason::Protocol),
        (frame(0x61, true, &whole), 1002, Reason::Protocol),
    ];
    for (bytes, expected, reason) in table {
        for step in [1, bytes.len()] {
            let mut bench = agent(Encoding::Json);
            bytes.chunks(step).for_each(|chunk| bench.feed(chunk));
            bench.feed(&frame(0x41, true, &whole));
            assert_eq!((code(&bench.sent), bench.session.reason()), (Some(expected), Some(reason)), "{step}");
            assert_eq!((bench.delivered.len(), bench.pool.lent()), (0, 0));
        }
    }
}

#[test]
fn a_bomb_never_holds_more_than_the_largest_message() {
    let bomb = deflated(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 100_000);
    let mut bench = agent(Encoding::Json);
    let stream = frame(0x41, true, &bomb);
    let mut most = 0;
    for chunk in stream.chunks(1000) {
        bench.feed(chunk);
        most = most.max(bench.pool.bytes());
    }
    assert_eq!(bench.session.reason(), Some(Reason::TooBig));
    // The bomb itself, in parts; what it was inflated to is given back.
    assert!(most <= 2 * 128 * 1024 && bench.pool.lent() == 0, "{most} bytes");
}

#[test]
fn a_turn_inflates_so_much_of_one_connection_and_then_the_next_has_its_turn() {
    let message = frame(0x41, true, &deflated(&[b'x'; 1000]));
    for (budget, turns) in [(1, 10), (1000, 10), (1001, 5), (10_000, 1)] {
        let mut bench = agent(Encoding::Json);
        bench.rules.turn_inflated_bytes = budget;
        let before = bench.turns;
        bench.feed(&message.repeat(10));
        assert_eq!((bench.delivered.len(), bench.turns - before), (10, turns), "{budget}");
        assert_eq!(bench.pool.lent(), 0);
    }
}

#[test]
fn empty_messages_and_messages_in_parts() {
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    for (stream, delivered) in [
        (frame(0x41, true, b"\0"), &b""[..]),
        (frame(0x41, true, b""), b""),
        ([frame(0x41, false, b""), frame(0, false, b"\0"), frame(0, true, b"")].concat(), b""),
        ([frame(0x41, false, &hello[..3]), frame(9, true, b""), frame(0, true, &hello[3..])].concat(), b"Hello"),
        ([frame(0x41, false, b""), frame(0, true, &hello)].concat(), b"Hello"),
        (frame(0x01, true, b"plain all the same"), b"plain all the same"),
    ] {
        for cut in 0..stream.len() {
            let mut bench = agent(Encoding::Json);
            bench.feed(&stream[..cut]);
            bench.feed(&stream[cut..]);
            assert_eq!(bench.delivered, [delivered], "{cut}");
            assert_eq!((bench.pool.lent(), bench.session.partial.is_none()), (0, true), "nothing is owned at rest");
        }
    }
}

/// Messages, each with what it comes to: some compressed, in frames cut anywhere.
fn messages() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    let plain = prop::collection::vec(prop::sample::select(&b"ab{}\":"[..]), 0..400);
    let message = (plain, 1..4usize, any::<bool>()).prop_map(|(plain, parts, compress)| {
        let compressed = Deflater::default().deflate(&plain, Window::LARGEST, 1).map(<[u8]>::to_vec);
        let (bit, body) = match compressed.filter(|_| compress) {
            Some(compressed) => (0x40, compressed),
            None => (0, plain.clone()),
        };
        let chunks: Vec<&[u8]> = body.chunks(body.len() / parts + 1).collect();
        let last = chunks.len().saturating_sub(1);
        let mut bytes = Vec::new();
        for (index, chunk) in chunks.iter().enumerate() {
            bytes.extend(frame(if index == 0 { 2 | bit } else { 0 }, index == last, chunk));
        }
        if chunks.is_empty() {
            bytes.extend(frame(2, true, b""));
        }
        (bytes, plain)
    });
    prop::collection::vec(message, 0..8)
}

proptest! {
    /// However the stream is cut, and however small the budgets of a turn are, the messages that come in are those that went in.
    #[test]
    fn any_cut_gives_the_same_messages(
        messages in messages(), cuts in prop::collection::vec(1..200usize, 1..40), frames in 1..9u32, inflated in 1..900u64,
    ) {
        let (stream, plain): (Vec<_>, Vec<_>) = messages.into_iter().unzip();
        let stream = stream.concat();
        let mut bench = agent(Encoding::Binary);
        (bench.rules.turn_frames, bench.rules.turn_inflated_bytes) = (frames, inflated);
        let mut rest = stream.as_slice();
        for length in cuts.iter().cycle() {
            if rest.is_empty() { break }
            let (head, tail) = rest.split_at((*length).min(rest.len()));
            bench.feed(head);
            rest = tail;
        }
        prop_assert_eq!(&bench.delivered, &plain);
        prop_assert_eq!((bench.pool.lent(), bench.session.phase()), (0, Phase::Agent(Encoding::Binary)));
    }

    /// Whatever is damaged, any cut ends the same way.
    #[test]
    fn any_cut_of_a_damaged_stream_ends_the_same(
        messages in messages(), step in 1..300usize, at in any::<prop::sample::Index>(), value: u8,
    ) {
        let mut stream: Vec<u8> = messages.into_iter().flat_map(|(bytes, _)| bytes).collect();
        if !stream.is_empty() {
            let at = at.index(stream.len());
            stream[at] = value;
        }
        let (mut whole, mut cut) = (agent(Encoding::Binary), agent(Encoding::Binary));
        whole.feed(&stream);
        stream.chunks(step).for_each(|chunk| cut.feed(chunk));
        prop_assert_eq!(&cut.sent, &whole.sent);
        prop_assert_eq!(&cut.delivered, &whole.delivered);
        prop_assert_eq!(cut.session.reason(), whole.session.reason());
    }
}
