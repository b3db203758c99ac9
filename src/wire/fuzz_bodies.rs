//! What the fuzz targets check about any bytes at all; `fuzz/` and property tests run it.
//!
//! A body panics when an invariant breaks. Nothing in the product calls it.

mod addresses;

pub use addresses::{origins, url};

use super::decoder::{Decoder, Piece, Terms};
use super::deflate::{Deflater, Inflater, Window};
use super::envelope::agent_side::decode_from_gateway;
use super::envelope::link_side::client::FromLink;
use super::envelope::link_side::{self, Ended, Ending, FromBackend};
use super::envelope::{self, Encoding, Inbound, Outbound, Payload};
use super::head::Rsv1;
use super::proxy;
use super::rules::Violation;
use super::upgrade::{self, HeadLimits};
use crate::kit::ids::is_name;

/// The limit that the decoder runs with here: small, so that it is reached.
pub(super) const MESSAGE_BYTES_MAX: u64 = 4096;

/// What came out of a stream, joined so that no cut shows.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Seen {
    /// Whole messages, and whether they are text and compressed.
    pub(super) messages: Vec<(bool, bool, Vec<u8>)>,
    /// Whole control frames: `c`lose, p`i`ng, p`o`ng.
    pub(super) controls: Vec<(char, Vec<u8>)>,
    /// How it ended.
    pub(super) violation: Option<Violation>,
    /// Whether the decoder had nothing to remember at the end.
    pub(super) at_rest: bool,
}

/// Feeds the chunks one by one, as a session would.
pub(super) fn decode<'a>(chunks: impl IntoIterator<Item = &'a [u8]>, rsv1: Rsv1) -> Seen {
    let terms = Terms { message_bytes_max: MESSAGE_BYTES_MAX, rsv1 };
    let mut decoder = Decoder::default();
    let mut seen = Seen::default();
    let mut open: Option<Vec<u8>> = None;
    for chunk in chunks {
        let mut input = chunk.to_vec();
        let mut at = 0;
        loop {
            match decoder.next(&mut input, &mut at, terms) {
                Err(violation) => {
                    seen.violation = Some(violation);
                    return seen;
                }
                Ok(None) => break,
                Ok(Some(Piece::Data { text, compressed, range, first, last })) => {
                    assert_eq!(first, open.is_none(), "first is said once, at the start");
                    let message = open.get_or_insert_default();
                    message.extend_from_slice(&input[range]);
                    if last {
                        seen.messages.extend(open.take().map(|m| (text, compressed, m)));
                    }
                }
                Ok(Some(Piece::Ping(c))) => seen.controls.push(('i', c.payload().to_vec())),
                Ok(Some(Piece::Pong(c))) => seen.controls.push(('o', c.payload().to_vec())),
                Ok(Some(Piece::Close(c))) => seen.controls.push(('c', c.payload().to_vec())),
            }
        }
        assert_eq!(at, chunk.len(), "all input is taken");
    }
    seen.at_rest = decoder.at_rest();
    seen
}

/// Any cut of a stream gives the same; text is UTF-8 and no message is over the limit. The first byte sets the cut.
pub fn decoder(bytes: &[u8]) {
    let Some((&step, stream)) = bytes.split_first() else {
        return;
    };
    for rsv1 in [Rsv1::Reserved, Rsv1::Compressed] {
        let whole = decode([stream], rsv1);
        let cut = decode(stream.chunks(usize::from(step).max(1)), rsv1);
        assert_eq!(whole, cut);
        for (text, compressed, message) in &whole.messages {
            assert!(message.len() as u64 <= MESSAGE_BYTES_MAX);
            assert!(!text || *compressed || std::str::from_utf8(message).is_ok());
            assert!(!compressed || rsv1 == Rsv1::Compressed);
        }
    }
}

/// A compressed message is refused or comes to no more than the limit, the same each time; and what came out goes through a deflater
/// and an inflater unchanged. The first byte sets the peer's window and the level.
pub fn deflate(bytes: &[u8]) {
    let Some((&first, message)) = bytes.split_first() else {
        return;
    };
    let (mut inflater, mut deflater) = (Inflater::default(), Deflater::default());
    let mut inflate = |message: &[u8]| {
        let mut plain = Vec::new();
        let result = inflater.inflate(message, MESSAGE_BYTES_MAX, |piece| {
            plain.extend_from_slice(piece);
            assert!(plain.len() as u64 <= MESSAGE_BYTES_MAX);
            Ok(())
        });
        (result, plain)
    };
    let once = inflate(message);
    assert_eq!(once, inflate(message), "no message leaves anything behind");
    let plain = if once.0.is_ok() { &once.1 } else { message };
    let window = Window::of_bits(8 + first % 8).unwrap_or(Window::LARGEST);
    if let Some(compressed) = deflater.deflate(plain, window, 1 + u32::from(first / 8) % 9) {
        assert!(compressed.len() < plain.len());
        let (result, back) = inflate(compressed);
        assert!(plain.len() as u64 > MESSAGE_BYTES_MAX || result == Ok(()) && back == *plain);
    }
}

/// A head that is cut waits or is refused as the whole one is; what is given out is visible ASCII inside of the head.
pub fn upgrade(bytes: &[u8]) {
    let limits = HeadLimits { bytes_max: 1024, fields_max: 16 };
    let whole = upgrade::parse(bytes, limits);
    for cut in (0..bytes.len().min(limits.bytes_max)).step_by(1 + bytes.len() / 16) {
        match (upgrade::parse(&bytes[..cut], limits), &whole) {
            (Ok(None), _) => {}
            (Ok(Some(short)), Ok(Some(long))) => assert_eq!(short.head_bytes, long.head_bytes),
            (Err(short), Err(long)) => assert_eq!(short, *long),
            (short, long) => panic!("cut at {cut}: {short:?}, whole: {long:?}"),
        }
    }
    let Ok(Some(found)) = whole else {
        return;
    };
    assert!(found.head_bytes <= limits.bytes_max);
    for range in [Some(found.path), found.query, found.bearer, found.origin] {
        let Some(range) = range else { continue };
        assert!(range.end <= found.head_bytes);
        let part = &bytes[range];
        assert!(part.iter().all(u8::is_ascii_graphic));
        if let Ok(query) = std::str::from_utf8(part) {
            let _ = upgrade::query_value(query, "agent");
        }
    }
}

/// A PROXY header that is cut waits or is refused as the whole one is, within its bound; what comes behind it changes nothing.
pub fn proxy(bytes: &[u8]) {
    let whole = proxy::parse(bytes);
    let (most, step) = (bytes.len().min(2 * proxy::HEADER_BYTES_MAX), 1 + bytes.len() / 64);
    for cut in (0..most).step_by(step) {
        match (proxy::parse(&bytes[..cut]), whole) {
            (Ok(None), Ok(Some(header))) => assert!(cut < header.bytes),
            (Ok(None), _) => assert!(cut < proxy::HEADER_BYTES_MAX, "nobody waits for more than a header can have"),
            (short, long) => assert_eq!(short, long),
        }
    }
    if let Ok(Some(header)) = whole {
        assert!(header.bytes <= bytes.len() && header.bytes <= proxy::HEADER_BYTES_MAX);
        assert_eq!(proxy::parse(&bytes[..header.bytes]), whole);
    }
}

/// What is called JSON is JSON, each id can be answered, and nothing panics. The first byte sets the encoding.
pub fn envelope(bytes: &[u8]) {
    let Some((&first, message)) = bytes.split_first() else {
        return;
    };
    let encoding = if first % 2 == 0 { Encoding::Json } else { Encoding::Binary };
    let mut ids = Vec::new();
    let batch = envelope::decode(encoding, message, &mut |inbound| match inbound {
        Inbound::Request { id, payload, .. } => {
            check_payload(payload);
            ids.push(id);
        }
        Inbound::Invalid { id, .. } => ids.push(id),
        Inbound::Result { payload, .. } | Inbound::Progress { payload, .. } | Inbound::Notification { payload, .. } => {
            check_payload(payload)
        }
        Inbound::Error { data, .. } => data.into_iter().for_each(check_payload),
        Inbound::Receipt { .. } | Inbound::Stray => {}
    });
    let payload = Payload { bytes: message, json: false };
    let answers: Vec<Outbound<'_>> = ids.iter().map(|id| Outbound::Answer { id, result: payload }).collect();
    for answer in &answers {
        check_answer(encoding, &envelope::encode(encoding, answer));
    }
    if batch && encoding == Encoding::Json && !answers.is_empty() {
        let frame = envelope::encode_batch(encoding, &answers);
        assert!(is_json(frame_payload(&frame)));
    }
    let _ = decode_from_gateway(encoding, message);
}

/// What a backend's link reads: agents and parameters are what they are said to be, and each id can be answered. The first byte sets
/// the encoding.
pub fn link(bytes: &[u8]) {
    let Some((&first, message)) = bytes.split_first() else {
        return;
    };
    let encoding = if first % 2 == 0 { Encoding::Json } else { Encoding::Binary };
    let mut frames = Vec::new();
    link_side::decode(encoding, message, &mut |said| match said {
        FromBackend::Call { id, agent, method, params, .. } => {
            check_payload(params);
            assert!(is_name(&agent) && !method.is_empty());
            let (call, ending) = (None, Ending::Ok(params));
            link_side::append_ended(encoding, &Ended { id, call, agent: &agent, ending }, &mut frames);
            let written = link_side::client::decode(encoding, frame_payload(&frames));
            assert!(matches!(written, Ok(FromLink::Ended { .. } | FromLink::Other)), "{written:?}");
            frames.clear();
        }
        FromBackend::Invalid { id, fault } => {
            let frame = envelope::encode(encoding, &Outbound::Refusal { id, fault });
            assert!(link_side::client::decode(encoding, frame_payload(&frame)).is_ok());
        }
        FromBackend::Cancel { .. } | FromBackend::Other => {}
    });
    let _ = link_side::client::decode(encoding, message);
}

fn check_payload(payload: Payload<'_>) {
    assert!(!payload.json || is_json(payload.bytes));
}

fn check_answer(encoding: Encoding, frame: &[u8]) {
    let payload = frame_payload(frame);
    assert!(encoding == Encoding::Binary || is_json(payload));
    assert!(decode_from_gateway(encoding, payload).is_ok());
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<&serde_json::value::RawValue>(bytes).is_ok()
}

/// The payload of one whole frame of ours.
pub(super) fn frame_payload(frame: &[u8]) -> &[u8] {
    let head_bytes = match frame.get(1) {
        Some(126) => 4,
        Some(127) => 10,
        _ => 2,
    };
    &frame[head_bytes..]
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use crate::kit::seeds;

    /// Bytes of which many are those that the formats are made of.
    fn bytes(alphabet: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
        vec(prop_oneof![any::<u8>(), proptest::sample::select(alphabet)], 0..200)
    }

    /// Words in any order, so that more of it is nearly right.
    fn words(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
        vec(proptest::sample::select(words), 0..30).prop_map(|words| words.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn decoder(bytes in bytes(b"\x01\x02\x80\x81\x82\x88\x89\xfe\xff\x00\x83")) {
            super::decoder(&bytes);
        }

        #[test]
        fn upgrade(bytes in prop_oneof![
            bytes(b"GET / HTTP/1.1\r\n:"),
            words(&["GET / HTTP/1.1\r\n", "Host: a\r\n", "Upgrade: websocket\r\n", "Connection: upgrade\r\n",
                "Sec-WebSocket-Version: 13\r\n", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "\r\n", "\n", " ", ":",
                "Origin: x\r\n", "Authorization: Bearer x\r\n"]),
        ]) {
            super::upgrade(&bytes);
        }

        #[test]
        fn proxy(bytes in prop_oneof![
            words(&["PROXY ", "TCP4", "TCP6", "UNKNOWN", " ", "1.2.3.4", "::1", "7", "\r\n", "\r", "\n"]),
            (words(&["\r\n\r\n\0\r\nQUIT\n"]), bytes(b"\x20\x21\x11\x00\x0c\x24\x10"))
                .prop_map(|(start, rest)| [start, rest].concat()),
            bytes(b"PROXY TCP4\r\n"),
        ]) {
            super::proxy(&bytes);
        }

        #[test]
        fn envelope(bytes in prop_oneof![
            bytes(b"\x00\x01\x02\x09\x0a\x0d{}[]\":,/"),
            words(&["\0", "[", "]", "{", "}", ",", ":", "\"jsonrpc\":\"2.0\"", "\"id\":\"00000000000000ff\"", "\"id\":7",
                "\"method\":\"receipt\"", "\"method\":\"m\"", "\"result\":null", "\"error\":", "{\"code\":1,\"message\":\"\\u00e4\"}", "\"meta\":{\"agent\":\"a\"}",
                "\"params\":{\"id\":\"00000000000000ff\"}"]),
        ]) {
            super::envelope(&bytes);
            super::link(&bytes);
        }
    }

    #[test]
    fn seeds() {
        seeds::run("decoder", super::decoder);
        seeds::run("deflate", super::deflate);
        seeds::run("upgrade", super::upgrade);
        seeds::run("proxy", super::proxy);
        seeds::run("envelope", super::envelope);
        seeds::run("link", super::link);
    }
}
