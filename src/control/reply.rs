//! How an outcome is written for the caller.
//!
//! Owns the JSON of a reply. What the agent sent passes through byte by byte.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::answer::{Answer, Media};
use super::problem::{Kind, Problem};
use crate::calls::{Body, Outcome};
use crate::kit::ids::CallId;

/// How a call ended, as the caller sees it. `call` where the call got an id; `agent` is a name that was checked.
#[must_use]
pub fn of_outcome(outcome: &Outcome, call: Option<CallId>, agent: &str, elapsed_ms: u64) -> Answer {
    if let Some(kind) = Kind::of(outcome) {
        return Problem::new(kind).agent(agent).call(call).into_answer();
    }
    let reply = write_reply(outcome, call, agent, elapsed_ms);
    Answer::new(200, Media::Json, reply)
}

/// Room for everything of a reply but the agent's own bytes.
const REPLY_FRAME_BYTES: usize = 128;

/// By hand and not through serde: the agent's bytes are copied once and are not looked at.
fn write_reply(outcome: &Outcome, call: Option<CallId>, agent: &str, elapsed_ms: u64) -> Vec<u8> {
    let payload_bytes = match outcome {
        Outcome::Ok(body) => body.bytes.len(),
        Outcome::AgentError { message, data, .. } => message.len() + data.as_ref().map_or(0, |body| body.bytes.len()),
        _ => 0,
    };
    let mut out = Vec::with_capacity(REPLY_FRAME_BYTES + agent.len() + payload_bytes);
    out.extend_from_slice(b"{\"outcome\":\"");
    out.extend_from_slice(outcome.label().as_bytes());
    if let Some(call) = call {
        out.extend_from_slice(b"\",\"call\":\"");
        write_hex(&mut out, call.0);
    }
    out.extend_from_slice(b"\",\"agent\":\"");
    out.extend_from_slice(agent.as_bytes());
    out.extend_from_slice(b"\",\"elapsed_ms\":");
    out.extend_from_slice(elapsed_ms.to_string().as_bytes());
    match outcome {
        Outcome::Ok(body) => write_body(&mut out, "result", body),
        Outcome::AgentError { code, message, data } => {
            out.extend_from_slice(b",\"error\":{\"code\":");
            out.extend_from_slice(code.to_string().as_bytes());
            out.extend_from_slice(b",\"message\":");
            // Strings always have a JSON form, and a vector always takes it.
            let _ = serde_json::to_writer(&mut out, message);
            if let Some(data) = data {
                write_body(&mut out, "data", data);
            }
            out.push(b'}');
        }
        _ => {}
    }
    out.push(b'}');
    out
}

/// `,"name":<JSON>`, or `,"name_base64":"…"` for bytes that are no JSON.
fn write_body(out: &mut Vec<u8>, name: &str, body: &Body) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    if body.json {
        out.extend_from_slice(b"\":");
        out.extend_from_slice(&body.bytes);
    } else {
        out.extend_from_slice(b"_base64\":\"");
        out.extend_from_slice(STANDARD.encode(&body.bytes).as_bytes());
        out.push(b'"');
    }
}

/// Sixteen lower-case hex digits: what `Display` of a [`CallId`] writes, without the formatting machinery.
fn write_hex(out: &mut Vec<u8>, value: u64) {
    for shift in (0..16).rev() {
        out.push(b"0123456789abcdef"[(value >> (4 * shift)) as usize & 15]);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::*;

    fn body(bytes: &'static [u8], json: bool) -> Body {
        Body { bytes: Bytes::from_static(bytes), json }
    }

    fn error(code: i64, message: &str, data: Option<Body>) -> Outcome {
        Outcome::AgentError { code, message: message.to_owned(), data }
    }

    #[test]
    fn replies_are_written_as_the_contract_says() {
        let frame = |rest: Value| {
            let mut whole = json!({"call": "00000000000000ff", "agent": "web-1", "elapsed_ms": 3});
            for (key, value) in rest.as_object().unwrap() {
                whole[key] = value.clone();
            }
            whole
        };
        for (outcome, expected) in [
            (Outcome::Ok(body(b"{\"free\": 7}", true)), json!({"outcome": "ok", "result": {"free": 7}})),
            (Outcome::Ok(body(b"null", true)), json!({"outcome": "ok", "result": null})),
            (Outcome::Ok(body(b"\xff\x00", false)), json!({"outcome": "ok", "result_base64": "/wA="})),
            (Outcome::Ok(body(b"", false)), json!({"outcome": "ok", "result_base64": ""})),
            (
                error(-1, "no \"disk\"\n", None),
                json!({"outcome": "agent_error", "error": {"code": -1, "message": "no \"disk\"\n"}}),
            ),
            (
                error(i64::MIN, "", Some(body(b"[1]", true))),
                json!({"outcome": "agent_error", "error": {"code": i64::MIN, "message": "", "data": [1]}}),
            ),
            (
                error(5, "x", Some(body(b"\xff", false))),
                json!({"outcome": "agent_error", "error": {"code": 5, "message": "x", "data_base64": "/w=="}}),
            ),
        ] {
            let answer = of_outcome(&outcome, Some(CallId(255)), "web-1", 3);
            assert_eq!((answer.status, answer.media), (200, Media::Json));
            let found: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(found, frame(expected));
        }
    }

    #[test]
    fn the_agents_json_passes_byte_by_byte() {
        let odd = b"{ \"a\" : 1e400,\"a\":12345678901234567890123 }";
        let answer = of_outcome(&Outcome::Ok(body(odd, true)), Some(CallId(1)), "a", 0);
        let text = std::str::from_utf8(&answer.body).unwrap();
        assert!(text.contains(std::str::from_utf8(odd).unwrap()), "{text}");
    }

    #[test]
    fn a_call_id_is_written_as_it_displays() {
        for id in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef] {
            let mut out = Vec::new();
            write_hex(&mut out, id);
            assert_eq!(out, CallId(id).to_string().into_bytes());
        }
    }

    #[test]
    fn a_problem_names_the_call_only_where_one_was_given() {
        for call in [None, Some(CallId(9))] {
            let answer = of_outcome(&Outcome::Offline, call, "web-1", 0);
            let found: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(answer.status, 404);
            assert_eq!(found["outcome"], "offline");
            assert_eq!(found["agent"], "web-1");
            assert_eq!(found.get("call").and_then(Value::as_str), call.map(|c| c.to_string()).as_deref());
        }
    }
}
