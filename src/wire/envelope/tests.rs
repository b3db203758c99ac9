//! Envelopes there and back in both encodings, and each way to get them wrong.

use proptest::prelude::*;

use super::agent_side::{FromAgent, FromGateway, decode_from_gateway, encode_from_agent};
use super::*;
use crate::wire::fuzz_bodies::frame_payload;

const CALL: CallId = CallId(0x0123_4567_89ab_cdef);
const BOTH: [Encoding; 2] = [Encoding::Json, Encoding::Binary];

fn json(bytes: &[u8]) -> Payload<'_> {
    Payload { bytes, json: true }
}

fn plain(bytes: &[u8]) -> Payload<'_> {
    Payload { bytes, json: false }
}

/// All envelopes of a message, and whether it was a batch.
fn all(encoding: Encoding, message: &[u8]) -> (Vec<Inbound<'_>>, bool) {
    let mut envelopes = Vec::new();
    let batch = decode(encoding, message, &mut |envelope| envelopes.push(envelope));
    (envelopes, batch)
}

fn one(encoding: Encoding, message: &[u8]) -> Inbound<'_> {
    let (mut envelopes, batch) = all(encoding, message);
    assert!(!batch);
    assert_eq!(envelopes.len(), 1);
    envelopes.remove(0)
}

fn text(encoding: Encoding, envelope: &Outbound<'_>) -> String {
    let frame = encode(encoding, envelope);
    String::from_utf8(frame_payload(&frame).to_vec()).unwrap()
}

#[test]
fn a_token_that_runs_out_and_a_newer_one_travel_in_both_encodings() {
    for encoding in BOTH {
        let frame = encode(encoding, &Outbound::TokenExpiring { expires_in_ms: 60_000 });
        let payload = frame_payload(&frame);
        assert_eq!(decode_from_gateway(encoding, payload), Ok(FromGateway::TokenExpiring { expires_in_ms: 60_000 }));
        let message = encode_from_agent(encoding, &FromAgent::Refresh { id: 7, token: "a\"b" });
        match one(encoding, &message) {
            Inbound::Request { id, method, payload } => {
                let expected: &[u8] = if encoding == Encoding::Json { b"7" } else { &[7, 0, 0, 0, 0, 0, 0, 0] };
                assert_eq!((id, &*method, payload), (expected, "refresh", json(br#"{"token":"a\"b"}"#)));
            }
            other => panic!("{other:?}"),
        }
    }
    let expiring = Outbound::TokenExpiring { expires_in_ms: 60_000 };
    assert_eq!(
        text(Encoding::Json, &expiring),
        r#"{"jsonrpc":"2.0","method":"token_expiring","params":{"expires_in_ms":60000}}"#
    );
    let bytes = encode(Encoding::Binary, &expiring);
    let head = [15, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(frame_payload(&bytes)[..], [&head[..], br#"{"expires_in_ms":60000}"#].concat());
}

#[test]
fn what_json_agents_get_word_for_word() {
    let call = |method, params| Outbound::Call { call: CALL, method, params, deadline_ms: 20_000 };
    let table = [
        (
            call("disk.free", json(br#"{"path":"/"}"#)),
            r#"{"jsonrpc":"2.0","id":"0123456789abcdef","method":"disk.free","params":{"path":"/"},"meta":{"deadline_ms":20000}}"#,
        ),
        (
            call("a\"b\\\n\u{1}ü", plain(b"")),
            r#"{"jsonrpc":"2.0","id":"0123456789abcdef","method":"a\"b\\\n\u0001ü","meta":{"deadline_ms":20000}}"#,
        ),
        (
            call("m", plain(b"say \"hi\"")),
            r#"{"jsonrpc":"2.0","id":"0123456789abcdef","method":"m","params":"say \"hi\"","meta":{"deadline_ms":20000}}"#,
        ),
        (
            call("m", plain(b"\xff\x00")),
            r#"{"jsonrpc":"2.0","id":"0123456789abcdef","method":"m","params":{"base64":"/wA="},"meta":{"deadline_ms":20000}}"#,
        ),
        (Outbound::Cancel { call: CALL }, r#"{"jsonrpc":"2.0","method":"cancel","params":{"id":"0123456789abcdef"}}"#),
        (
            Outbound::Welcome { session: "s\"1", heartbeat_ms: 60_000, node: "n1" },
            r#"{"jsonrpc":"2.0","method":"welcome","params":{"session":"s\"1","heartbeat_ms":60000,"node":"n1"}}"#,
        ),
        (
            Outbound::Goaway { reconnect_after_ms: 5, reason: "drain" },
            r#"{"jsonrpc":"2.0","method":"goaway","params":{"reconnect_after_ms":5,"reason":"drain"}}"#,
        ),
        (Outbound::Answer { id: b"7", result: plain(b"") }, r#"{"jsonrpc":"2.0","id":7,"result":null}"#),
        (
            Outbound::Refusal { id: b"\"x\"", fault: Fault::Method },
            r#"{"jsonrpc":"2.0","id":"x","error":{"code":-32601,"message":"Method not found"}}"#,
        ),
    ];
    for (envelope, expected) in table {
        assert_eq!(text(Encoding::Json, &envelope), expected);
        assert_eq!(encode(Encoding::Json, &envelope)[0], 0x81, "a text frame");
        let batch = encode_batch(Encoding::Json, &[envelope, envelope]);
        assert_eq!(std::str::from_utf8(frame_payload(&batch)).unwrap(), format!("[{expected},{expected}]"));
    }
    assert!(encode_batch(Encoding::Json, &[]).is_empty());
}

#[test]
fn what_binary_agents_get_byte_for_byte() {
    let call = encode(
        Encoding::Binary,
        &Outbound::Call { call: CALL, method: "m1", params: json(b"{}"), deadline_ms: 0x0102 },
    );
    let expected = b"\x82\x14\x01\x01\x02\x00\x02\x01\x00\x00\xef\xcd\xab\x89\x67\x45\x23\x01m1{}";
    assert_eq!(call.as_ref(), expected);
    let refusal = Outbound::Refusal { id: &[7, 0, 0, 0, 0, 0, 0, 0], fault: Fault::Method };
    let expected = b"\x82\x20\x0c\x00\x10\x00\xa7\x80\xff\xff\x07\x00\x00\x00\x00\x00\x00\x00Method not found";
    assert_eq!(encode(Encoding::Binary, &refusal).as_ref(), expected);
    let joined = encode_batch(Encoding::Binary, &[refusal, refusal]);
    assert_eq!(joined.as_ref(), [&expected[..], &expected[..]].concat());
    let long = "é".repeat(40_000);
    let cut =
        encode(Encoding::Binary, &Outbound::Call { call: CALL, method: &long, params: json(b"1"), deadline_ms: 1 });
    let FromGateway::Call { method, params, .. } = decode_from_gateway(Encoding::Binary, frame_payload(&cut)).unwrap()
    else {
        panic!("a call stays a call");
    };
    assert_eq!((method.len(), params), (65_534, json(b"1")));
}

#[test]
fn json_replies_and_notifications() {
    let error = |code, message: &'static str, data| Inbound::Error { call: CALL, code, message: message.into(), data };
    let result = |bytes| Inbound::Result { call: CALL, payload: json(bytes) };
    let table: Vec<(&str, Inbound<'_>)> = vec![
        (r#""id":"0123456789abcdef","result":null"#, result(b"null")),
        (r#" "result" : [1, 2] , "id":"0123456789abcdef""#, result(b"[1, 2]")),
        (r#""id":"\u0030123456789abcdef","result":1"#, result(b"1")),
        (r#""id":"0123456789abcdef","result":1,"error":null"#, result(b"1")),
        (r#""id":"0123456789abcdef","result":null,"error":null"#, result(b"null")),
        (r#""id":"0123456789abcdef","result":1,"extra":{"id":2}"#, result(b"1")),
        (r#""id":"0123456789abcdef","result":1e999"#, result(b"1e999")),
        (r#""id":"0123456789abcdef","error":{"code":-1,"message":"n\u00e4\n"}"#, error(-1, "nä\n", None)),
        (
            r#""id":"0123456789abcdef","result":null,"error":{"code":9007199254740993,"message":"","data":null}"#,
            error(9_007_199_254_740_993, "", Some(json(b"null"))),
        ),
        (r#""method":"receipt","params":{"id":"0123456789abcdef"}"#, Inbound::Receipt { call: CALL }),
        (
            r#""method":"progress","params":{"data":{"p":1},"id":"0123456789abcdef"}"#,
            Inbound::Progress { call: CALL, payload: json(br#"{"p":1}"#) },
        ),
        (
            r#""method":"progress","params":{"id":"0123456789abcdef"}"#,
            Inbound::Progress { call: CALL, payload: json(b"null") },
        ),
        (r#""method":"x","params":[]"#, Inbound::Notification { method: "x".into(), payload: json(b"[]") }),
        (r#""method":"x""#, Inbound::Notification { method: "x".into(), payload: plain(b"") }),
        (
            r#""method":"subscribe","id":12,"params":{}"#,
            Inbound::Request { id: b"12", method: "subscribe".into(), payload: json(b"{}") },
        ),
        (
            r#""method":"receipt","id":null"#,
            Inbound::Request { id: b"null", method: "receipt".into(), payload: plain(b"") },
        ),
        (r#""id":"","result":1"#, Inbound::Stray),
        (r#""id":1,"result":1"#, Inbound::Stray),
        (r#""id":null,"error":{"code":-32700,"message":"Parse error"}"#, Inbound::Stray),
        (r#""id":"0123456789abcdeg","result":1"#, Inbound::Stray),
        (r#""id":"+123456789abcdef","result":1"#, Inbound::Stray),
        (r#""id":"\ud800","result":1"#, Inbound::Stray),
        (r#""method":"receipt","params":{"id":7}"#, Inbound::Stray),
        (r#""method":"receipt","params":{}"#, Inbound::Stray),
        (r#""method":"receipt""#, Inbound::Stray),
        (r#""method":"progress","params":["0123456789abcdef"]"#, Inbound::Stray),
    ];
    for (members, expected) in table {
        let message = format!(r#" {{"jsonrpc":"2.0",{members}}} "#);
        assert_eq!(one(Encoding::Json, message.as_bytes()), expected, "{message}");
    }
}

#[test]
fn json_that_is_no_envelope() {
    let id: &[u8] = b"\"0123456789abcdef\"";
    let table: &[(&str, &[u8], Fault)] = &[
        ("", b"null", Fault::Parse),
        ("{", b"null", Fault::Parse),
        ("nul", b"null", Fault::Parse),
        ("{}{}", b"null", Fault::Parse),
        ("[1,]", b"null", Fault::Parse),
        ("[{}", b"null", Fault::Parse),
        (r#"{"id":1,"id":2,}"#, b"null", Fault::Parse),
        (r#"{"jsonrpc":"2.0","method":"a","id":"x"#, b"null", Fault::Parse),
        ("[]", b"null", Fault::Invalid),
        ("1", b"null", Fault::Invalid),
        ("\"x\"", b"null", Fault::Invalid),
        ("{}", b"null", Fault::Invalid),
        (r#"{"jsonrpc":"2.0","id":1,"id":1,"method":"x"}"#, b"null", Fault::Invalid),
        (r#"{"jsonrpc":"2.0","id":true,"method":"x"}"#, b"null", Fault::Invalid),
        (r#"{"jsonrpc":"2.0","id":{},"method":"x"}"#, b"null", Fault::Invalid),
        (r#"{"jsonrpc":"2.0","id":1,"method":2}"#, b"1", Fault::Invalid),
        (r#"{"jsonrpc":"1.0","id":1,"method":"x"}"#, b"1", Fault::Invalid),
        (r#"{"jsonrpc":2.0,"id":1,"method":"x"}"#, b"1", Fault::Invalid),
        (r#"{"id":1,"method":"x"}"#, b"1", Fault::Invalid),
        (r#"{"id":"0123456789abcdef","result":1}"#, id, Fault::Invalid),
        (r#"{"jsonrpc":"2.0","result":1}"#, b"null", Fault::Invalid),
        (r#"{"jsonrpc":"2.0","id":"0123456789abcdef"}"#, id, Fault::Invalid),
        (r#"{"jsonrpc":"2.0","id":"0123456789abcdef","error":null}"#, id, Fault::Invalid),
        (r#"{"jsonrpc":"2.0","id":"0123456789abcdef","error":"no"}"#, id, Fault::Invalid),
        (r#"{"jsonrpc":"2.0","id":"0123456789abcdef","error":{"code":1}}"#, id, Fault::Invalid),
        (r#"{"jsonrpc":"2.0","id":"0123456789abcdef","error":{"code":1.5,"message":""}}"#, id, Fault::Invalid),
        (r#"{"jsonrpc":"2.0","id":"0123456789abcdef","error":[1,"x"]}"#, id, Fault::Invalid),
        (r#"{"jsonrpc":"2.0","id":"0123456789abcdef","result":1,"error":{"code":1,"message":""}}"#, id, Fault::Invalid),
        (r#"{"jsonrpc":"2.0","id":"0123456789abcdef","result":1,"method":"x"}"#, id, Fault::Invalid),
    ];
    for (message, id, error) in table {
        let expected = Inbound::Invalid { id, error: *error };
        assert_eq!(one(Encoding::Json, message.as_bytes()), expected, "{message}");
    }
    let not_utf8 = b"{\"jsonrpc\":\"2.0\",\"method\":\"\xff\"}";
    let parse = Inbound::Invalid { id: b"null", error: Fault::Parse };
    assert_eq!(one(Encoding::Json, not_utf8), parse);
}

#[test]
fn batches() {
    let entry = r#"{"jsonrpc":"2.0","method":"x"}"#;
    let message = format!(" [ {entry} , 1,[],{entry}] ");
    let (envelopes, batch) = all(Encoding::Json, message.as_bytes());
    assert!(batch);
    let known = Inbound::Notification { method: "x".into(), payload: plain(b"") };
    let invalid = Inbound::Invalid { id: b"null", error: Fault::Invalid };
    assert_eq!(envelopes, [known.clone(), invalid.clone(), invalid.clone(), known]);
    for (count, fine) in [(BATCH_MAX, true), (BATCH_MAX + 1, false)] {
        let message = format!("[{}]", vec![entry; count].join(","));
        let (envelopes, batch) = all(Encoding::Json, message.as_bytes());
        assert_eq!(batch, fine);
        assert_eq!(envelopes.len(), if fine { count } else { 1 });
        assert_eq!(envelopes[0] == invalid, !fine);
    }
}

#[test]
fn a_mebibyte_of_brackets_uses_no_stack() {
    let deep = 1 << 20;
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("{\"id\":", "}"), ("[{\"params\":", "}]")] {
        let count = deep / open.len();
        let cut = open.repeat(count);
        assert!(matches!(one(Encoding::Json, cut.as_bytes()), Inbound::Invalid { error: Fault::Parse, .. }));
        let nested = format!("{cut}1{}", close.repeat(count));
        let (envelopes, _) = all(Encoding::Json, nested.as_bytes());
        assert!(matches!(envelopes[..], [Inbound::Invalid { error: Fault::Invalid, .. }]));
        let wrapped = format!(r#"{{"jsonrpc":"2.0","id":"0123456789abcdef","result":{nested}}}"#);
        let expected = Inbound::Result { call: CALL, payload: json(nested.as_bytes()) };
        assert_eq!(one(Encoding::Json, wrapped.as_bytes()), expected);
        let flagged = [b"\x02\x01\0\0\0\0\0\0\xef\xcd\xab\x89\x67\x45\x23\x01", nested.as_bytes()].concat();
        assert_eq!(one(Encoding::Binary, &flagged), expected);
        assert!(decode_from_gateway(Encoding::Json, nested.as_bytes()).is_ok() == open.starts_with('['));
    }
}

#[test]
fn binary_heads() {
    let good = b"\x03\x01\x02\x00\xfe\xff\xff\xff\xef\xcd\xab\x89\x67\x45\x23\x01no{}";
    let expected = Inbound::Error { call: CALL, code: -2, message: "no".into(), data: Some(json(b"{}")) };
    assert_eq!(one(Encoding::Binary, good), expected);
    for cut in 0..18 {
        let id: &[u8] = if cut < 16 { &[0; 8] } else { &good[8..16] };
        let expected = Inbound::Invalid { id, error: Fault::Parse };
        assert_eq!(one(Encoding::Binary, &good[..cut]), expected, "{cut}");
    }
    let with = |at: usize, byte: u8| {
        let mut message = good.to_vec();
        message[at] = byte;
        message
    };
    let kinds = [0u8, 1, 6, 7, 8, 11, 12, 13, 255];
    for kind in kinds {
        let error = if (1..=12).contains(&kind) { Fault::Invalid } else { Fault::Parse };
        let message = with(0, kind);
        let id = &good[8..16];
        assert_eq!(one(Encoding::Binary, &message), Inbound::Invalid { id, error }, "{kind}");
    }
    for (at, byte) in [(1, 2), (1, 0x81), (16, 0xff)] {
        let message = with(at, byte);
        let expected = Inbound::Invalid { id: &good[8..16], error: Fault::Invalid };
        assert_eq!(one(Encoding::Binary, &message), expected);
    }
    let broken_json = with(18, b'}');
    let Inbound::Error { data, .. } = one(Encoding::Binary, &broken_json) else {
        panic!("an error stays an error");
    };
    assert_eq!(data, Some(plain(b"}}")), "the flag is dropped");
    let request = with(0, 9);
    let expected = Inbound::Request { id: &good[8..16], method: "no".into(), payload: json(b"{}") };
    assert_eq!(one(Encoding::Binary, &request), expected);
}

#[test]
fn what_an_agent_refuses_or_passes_over() {
    for (message, expected) in [
        ("x", Err(Fault::Parse)),
        ("1", Err(Fault::Invalid)),
        (r#"{"jsonrpc":"2.0"}"#, Err(Fault::Invalid)),
        (r#"{"method":"cancel"}"#, Err(Fault::Invalid)),
        (r#"{"jsonrpc":"2.0","method":"m","id":"nope"}"#, Err(Fault::Invalid)),
        (r#"{"jsonrpc":"2.0","method":"cancel","params":{"id":1}}"#, Err(Fault::Params)),
        (r#"{"jsonrpc":"2.0","method":"welcome"}"#, Err(Fault::Params)),
        (r#"{"jsonrpc":"2.0","method":"publication","params":{}}"#, Ok(FromGateway::Other)),
        ("[]", Ok(FromGateway::Other)),
    ] {
        let decoded = decode_from_gateway(Encoding::Json, message.as_bytes());
        assert_eq!(decoded, expected, "{message}");
    }
    let unknown = [200; 16];
    assert_eq!(decode_from_gateway(Encoding::Binary, &unknown[..15]), Err(Fault::Parse));
    let call = br#"{"jsonrpc":"2.0","method":"m","id":"0123456789abcdef","params":7}"#;
    let expected = FromGateway::Call { call: CALL, method: "m".into(), params: json(b"7"), deadline_ms: u32::MAX };
    assert_eq!(decode_from_gateway(Encoding::Json, call), Ok(expected));
}

/// JSON values as text, some with what makes pasting go wrong.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<String>().prop_map(|s| serde_json::to_string(&s).unwrap()),
        proptest::collection::vec(any::<String>(), 0..4).prop_map(|s| serde_json::to_string(&s).unwrap()),
    ]
}

proptest! {
    #[test]
    fn agents_read_what_the_gateway_wrote(
        id: u64, method: String, params in value(), deadline_ms: u32, session: String, node: String,
    ) {
        let call = CallId(id);
        let params = json(params.as_bytes());
        let table = [
            (
                Outbound::Call { call, method: &method, params, deadline_ms },
                FromGateway::Call { call, method: (&method).into(), params, deadline_ms },
            ),
            (Outbound::Cancel { call }, FromGateway::Cancel { call }),
            (
                Outbound::Welcome { session: &session, heartbeat_ms: deadline_ms, node: &node },
                FromGateway::Welcome { session: (&session).into(), heartbeat_ms: deadline_ms, node: (&node).into() },
            ),
            (
                Outbound::Goaway { reconnect_after_ms: deadline_ms, reason: &node },
                FromGateway::Goaway { reconnect_after_ms: deadline_ms, reason: (&node).into() },
            ),
        ];
        for encoding in BOTH {
            for (outbound, expected) in &table {
                let frame = encode(encoding, outbound);
                let decoded = decode_from_gateway(encoding, frame_payload(&frame));
                prop_assert_eq!(decoded.as_ref(), Ok(expected));
            }
        }
    }

    #[test]
    fn answers_go_back_to_the_id_that_asked(id: u64, result in value()) {
        let text = id.to_string();
        for (encoding, id) in [(Encoding::Json, text.as_bytes()), (Encoding::Binary, &id.to_le_bytes()[..])] {
            let result = json(result.as_bytes());
            let frame = encode(encoding, &Outbound::Answer { id, result });
            prop_assert_eq!(
                decode_from_gateway(encoding, frame_payload(&frame)),
                Ok(FromGateway::Answer { id, result })
            );
            let frame = encode(encoding, &Outbound::Refusal { id, fault: Fault::Params });
            prop_assert_eq!(
                decode_from_gateway(encoding, frame_payload(&frame)),
                Ok(FromGateway::Refusal { id, code: -32602, message: "Invalid params".into() })
            );
        }
    }

    #[test]
    fn the_gateway_reads_what_agents_wrote(id: u64, code: i32, message: String, data in proptest::option::of(value()), result in value()) {
        let call = CallId(id);
        let payload = json(result.as_bytes());
        let data = data.as_ref().map(|data| json(data.as_bytes()));
        let table = [
            (FromAgent::Result { call, payload }, Inbound::Result { call, payload }),
            (
                FromAgent::Error { call, code, message: &message, data },
                Inbound::Error { call, code: code.into(), message: (&message).into(), data },
            ),
            (FromAgent::Receipt { call }, Inbound::Receipt { call }),
            (FromAgent::Progress { call, payload }, Inbound::Progress { call, payload }),
        ];
        for encoding in BOTH {
            for (from_agent, expected) in &table {
                let written = encode_from_agent(encoding, from_agent);
                prop_assert_eq!(written.len(), written.capacity());
                prop_assert_eq!(&one(encoding, &written), expected);
            }
        }
    }
}
