//! Both ends of a link's envelopes against each other, every cut of them, and what is no envelope.

use std::borrow::Cow;

use proptest::prelude::*;

use super::client::{self, Body, EndedAs, FromLink, ToLink};
use super::*;
use crate::wire::fuzz_bodies::frame_payload;

const ENCODINGS: [Encoding; 2] = [Encoding::Json, Encoding::Binary];

fn json(text: &str) -> Payload<'_> {
    Payload { bytes: text.as_bytes(), json: true }
}

fn read(encoding: Encoding, message: &[u8]) -> Vec<FromBackend<'_>> {
    let mut all = Vec::new();
    decode(encoding, message, &mut |one| all.push(one));
    all
}

fn one(encoding: Encoding, message: &[u8]) -> FromBackend<'_> {
    read(encoding, message).pop().unwrap()
}

/// An id as a backend's `u64` travels.
fn id_bytes(encoding: Encoding, id: u64) -> Vec<u8> {
    match encoding {
        Encoding::Json => id.to_string().into_bytes(),
        Encoding::Binary => id.to_le_bytes().to_vec(),
    }
}

#[test]
fn what_a_backend_says_is_read_as_it_was_said() {
    for encoding in ENCODINGS {
        for (params, timeout_ms) in [("", 0), ("{\"a\":[1e400]}", 1), ("null", u32::MAX)] {
            let payload = Payload { bytes: params.as_bytes(), json: !params.is_empty() };
            let call = ToLink::Call { id: 7, agent: "web-1", method: "disk/\"scan\"", params: payload, timeout_ms };
            let message = client::encode(encoding, &call);
            let id = id_bytes(encoding, 7);
            let expected = FromBackend::Call {
                id: &id,
                agent: Cow::Borrowed("web-1"),
                method: Cow::Borrowed("disk/\"scan\""),
                params: payload,
                timeout_ms: (timeout_ms > 0).then_some(u64::from(timeout_ms)),
            };
            assert_eq!(one(encoding, &message), expected, "{encoding:?}");
        }
        let message = client::encode(encoding, &ToLink::Cancel { id: u64::MAX });
        let id = id_bytes(encoding, u64::MAX);
        assert_eq!(one(encoding, &message), FromBackend::Cancel { id: &id }, "{encoding:?}");
    }
}

/// Every cut of a call is refused, and never read as another call.
#[test]
fn a_cut_call_is_no_call() {
    for encoding in ENCODINGS {
        let call = ToLink::Call { id: 258, agent: "web-1", method: "m", params: json("[1]"), timeout_ms: 5 };
        let message = client::encode(encoding, &call);
        // A binary payload goes to the end of its message, so a cut one is another payload: plain bytes.
        let whole = match encoding {
            Encoding::Json => message.len(),
            Encoding::Binary => message.len() - 3,
        };
        for cut in 0..whole {
            let found = one(encoding, &message[..cut]);
            assert!(matches!(found, FromBackend::Invalid { fault: Fault::Parse, .. }), "{encoding:?} {cut}: {found:?}");
        }
    }
}

#[test]
fn what_is_no_call_is_named_by_its_id() {
    let long_id = format!("\"{}\"", "x".repeat(ID_BYTES_MAX));
    let long_method = "m".repeat(METHOD_BYTES_MAX + 1);
    let call = |id: &str, method: &str, meta: &str| {
        format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":{method},\"meta\":{meta}}}")
    };
    for (message, id, fault) in [
        (call(&long_id, "\"m\"", "{\"agent\":\"a\"}"), "null", Fault::Invalid),
        (call("true", "\"m\"", "{\"agent\":\"a\"}"), "null", Fault::Invalid),
        (call("-1.5e3", "7", "{\"agent\":\"a\"}"), "-1.5e3", Fault::Invalid),
        (call("1", "\"\\u0000\"", "{\"agent\":\"a\"}"), "1", Fault::Params),
        (call("1", &format!("\"{long_method}\""), "{\"agent\":\"a\"}"), "1", Fault::Params),
        (call("1", "\"m\"", "{\"agent\":\"\"}"), "1", Fault::Params),
        (call("1", "\"m\"", "{\"agent\":7}"), "1", Fault::Params),
        (call("1", "\"m\"", "[\"a\"]"), "1", Fault::Params),
        (call("1", "\"m\"", "{\"agent\":\"a\",\"timeout_ms\":-1}"), "1", Fault::Params),
        (call("1", "\"m\"", "{\"agent\":\"a\",\"timeout_ms\":1.5}"), "1", Fault::Params),
        ("{\"jsonrpc\":\"2.0\",\"id\":1}".to_owned(), "1", Fault::Invalid),
    ] {
        let expected = FromBackend::Invalid { id: id.as_bytes(), fault };
        assert_eq!(one(Encoding::Json, message.as_bytes()), expected, "{message}");
    }
    let longest = call("1", &format!("\"{}\"", &long_method[1..]), "{\"agent\":\"a\",\"more\":1,\"timeout_ms\":null}");
    assert!(matches!(one(Encoding::Json, longest.as_bytes()), FromBackend::Call { timeout_ms: None, .. }));
}

#[test]
fn kinds_of_other_connections_are_refused_and_unknown_ones_too() {
    for kind in 0..=255_u8 {
        let mut message = vec![kind, 0, 3, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(b"a/m");
        let found = one(Encoding::Binary, &message);
        let id = 9_u64.to_le_bytes();
        let fits = match kind {
            6 => found == FromBackend::Cancel { id: &id },
            10 => found == FromBackend::Other,
            13 => matches!(found, FromBackend::Call { .. }),
            1..=15 => found == FromBackend::Invalid { id: &id, fault: Fault::Invalid },
            _ => found == FromBackend::Invalid { id: &id, fault: Fault::Parse },
        };
        assert!(fits, "{kind}: {found:?}");
    }
}

fn ended_frames(encoding: Encoding, ended: &[Ended<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    ended.iter().for_each(|one| append_ended(encoding, one, &mut out));
    out
}

#[test]
fn answers_are_read_as_they_were_written() {
    let call = Some(CallId(0xfeed));
    let endings = [
        Ending::Ok(json("{\"free\":7}")),
        Ending::Ok(json("null")),
        Ending::Ok(Payload { bytes: b"\xff\0", json: false }),
        Ending::AgentError { code: -7, message: "no \"disk\"", data: Some(json("[1]")) },
        Ending::AgentError { code: 5, message: "", data: None },
    ];
    let endings = endings.into_iter().chain(Failure::ALL.map(Ending::Failed));
    for (ending, encoding) in endings.flat_map(|ending| ENCODINGS.map(|encoding| (ending, encoding))) {
        let id = id_bytes(encoding, 300);
        let frame = ended_frames(encoding, &[Ended { id: &id, call, agent: "web-1", ending }]);
        let message = frame_payload(&frame);
        let body = |payload: Payload<'static>| Body { bytes: Cow::Borrowed(payload.bytes), json: payload.json };
        let expected = match ending {
            Ending::Ok(payload) => EndedAs::Ok(body(payload)),
            Ending::AgentError { code, message, data } => {
                EndedAs::AgentError { code, message: Cow::Borrowed(message), data: data.map(body) }
            }
            Ending::Failed(failure) => EndedAs::Failed(failure),
        };
        let told = encoding == Encoding::Json || matches!(ending, Ending::Failed(_));
        let expected = FromLink::Ended { id: 300, call: call.filter(|_| told), ended: expected };
        assert_eq!(client::decode(encoding, message), Ok(expected), "{}", String::from_utf8_lossy(message));
        for cut in 0..message.len() {
            // Whatever a cut one is read as, nothing panics, and in JSON it is never another answer.
            let found = client::decode(encoding, &message[..cut]);
            assert!(encoding == Encoding::Binary || found.is_err(), "{cut}: {found:?}");
        }
    }
}

#[test]
fn a_code_beyond_32_bits_is_the_nearest_one_in_binary_alone() {
    let ending = Ending::AgentError { code: i64::MAX, message: "m", data: None };
    for (encoding, expected) in [(Encoding::Json, i64::MAX), (Encoding::Binary, i64::from(i32::MAX))] {
        let id = id_bytes(encoding, 1);
        let frame = ended_frames(encoding, &[Ended { id: &id, call: None, agent: "a", ending }]);
        let found = client::decode(encoding, frame_payload(&frame)).unwrap();
        assert!(
            matches!(found, FromLink::Ended { ended: EndedAs::AgentError { code, .. }, .. } if code == expected),
            "{found:?}"
        );
    }
}

#[test]
fn the_welcome_names_the_window() {
    for encoding in ENCODINGS {
        let welcome = Welcome { session: "s\"1", heartbeat_ms: 45_000, node: "n", window: 64 };
        let frame = encode_welcome(encoding, &welcome);
        let found = client::decode(encoding, frame_payload(&frame));
        let session = Cow::Borrowed("s\"1");
        assert_eq!(found, Ok(FromLink::Welcome { session, heartbeat_ms: 45_000, window: 64 }));
    }
}

#[test]
fn codes_and_words_are_told_apart() {
    for (place, failure) in Failure::ALL.into_iter().enumerate() {
        let (word, code, _) = failure.row();
        assert_eq!(Failure::of_code(i64::from(code)), Some(failure), "{word}");
        assert_eq!(code, AGENT_ERROR_CODE - 1 - place as i32);
    }
    assert_eq!(Failure::of_code(i64::from(AGENT_ERROR_CODE)), None);
}

proptest! {
    /// Joined answers stay whole frames, whatever they hold.
    #[test]
    fn joined_answers_come_apart_again(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 1..20),
        binary in any::<bool>(),
    ) {
        let encoding = if binary { Encoding::Binary } else { Encoding::Json };
        let ids: Vec<Vec<u8>> = (0..payloads.len()).map(|n| id_bytes(encoding, n as u64)).collect();
        let ended: Vec<_> = payloads
            .iter()
            .zip(&ids)
            .map(|(bytes, id)| Ended { id, call: None, agent: "a", ending: Ending::Ok(Payload { bytes, json: false }) })
            .collect();
        let frames = ended_frames(encoding, &ended);
        let mut rest = &frames[..];
        for (n, bytes) in payloads.iter().enumerate() {
            let length = match rest[1] {
                126 => 4 + usize::from(u16::from_be_bytes([rest[2], rest[3]])),
                short => 2 + usize::from(short),
            };
            let (frame, behind) = rest.split_at(length);
            rest = behind;
            let expected = Body { bytes: Cow::Borrowed(bytes.as_slice()), json: false };
            let found = client::decode(encoding, frame_payload(frame));
            prop_assert_eq!(found, Ok(FromLink::Ended { id: n as u64, call: None, ended: EndedAs::Ok(expected) }));
        }
        prop_assert!(rest.is_empty());
    }
}
