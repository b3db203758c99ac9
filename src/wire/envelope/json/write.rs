//! JSON envelopes as bytes, straight into the writer: every text is escaped, and a payload that was not checked is never pasted in.

use std::io::{self, Write};

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;

use crate::kit::ids::CallId;
use crate::wire::envelope::{Outbound, Payload};

use super::NULL;

/// Writes one envelope.
pub(in crate::wire::envelope) fn write(envelope: &Outbound<'_>, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(br#"{"jsonrpc":"2.0","#)?;
    match *envelope {
        Outbound::Call { call, method, params, deadline_ms } => {
            out.write_all(br#""id":"#)?;
            write_call_id(call, out)?;
            out.write_all(br#","method":"#)?;
            write_string(method, out)?;
            if !params.bytes.is_empty() {
                out.write_all(br#","params":"#)?;
                write_payload(params, out)?;
            }
            out.write_all(br#","meta":{"deadline_ms":"#)?;
            write_number(deadline_ms, out)?;
            out.write_all(b"}")?;
        }
        Outbound::Cancel { call } => {
            out.write_all(br#""method":"cancel","params":{"id":"#)?;
            write_call_id(call, out)?;
            out.write_all(b"}")?;
        }
        Outbound::Welcome { .. } => {
            out.write_all(br#""method":"welcome","params":"#)?;
            write_params(envelope, out)?;
        }
        Outbound::Goaway { .. } => {
            out.write_all(br#""method":"goaway","params":"#)?;
            write_params(envelope, out)?;
        }
        Outbound::TokenExpiring { .. } => {
            out.write_all(br#""method":"token_expiring","params":"#)?;
            write_params(envelope, out)?;
        }
        Outbound::Answer { id, result } => {
            out.write_all(br#""id":"#)?;
            out.write_all(id)?;
            out.write_all(br#","result":"#)?;
            write_payload(result, out)?;
        }
        Outbound::Refusal { id, fault } => {
            out.write_all(br#""id":"#)?;
            out.write_all(id)?;
            let (code, message) = (fault.code(), fault.message());
            write!(out, r#","error":{{"code":{code},"message":"{message}"}}"#)?;
        }
    }
    out.write_all(b"}")
}

/// The object of `welcome`, `goaway` and `token_expiring`, which both encodings carry as JSON; nothing for the other envelopes.
pub(in crate::wire::envelope) fn write_params(envelope: &Outbound<'_>, out: &mut dyn Write) -> io::Result<()> {
    match *envelope {
        Outbound::Welcome { session, heartbeat_ms, node } => {
            out.write_all(br#"{"session":"#)?;
            write_string(session, out)?;
            write!(out, r#","heartbeat_ms":{heartbeat_ms},"node":"#)?;
            write_string(node, out)?;
            out.write_all(b"}")
        }
        Outbound::Goaway { reconnect_after_ms, reason } => {
            write!(out, r#"{{"reconnect_after_ms":{reconnect_after_ms},"reason":"#)?;
            write_string(reason, out)?;
            out.write_all(b"}")
        }
        Outbound::TokenExpiring { expires_in_ms } => write!(out, r#"{{"expires_in_ms":{expires_in_ms}}}"#),
        _ => Ok(()),
    }
}

/// A call's id as a JSON string of 16 hex digits.
pub(in crate::wire::envelope) fn write_call_id(call: CallId, out: &mut dyn Write) -> io::Result<()> {
    let mut text = *b"\"0000000000000000\"";
    for (digit, shift) in text[1..17].iter_mut().zip((0..64).step_by(4).rev()) {
        *digit = b"0123456789abcdef"[(call.0 >> shift & 15) as usize];
    }
    out.write_all(&text)
}

/// A number in decimal digits: each call has one, and the way through `fmt` takes some hundred instructions.
fn write_number(number: u32, out: &mut dyn Write) -> io::Result<()> {
    let (mut digits, mut rest, mut at) = ([b'0'; 10], number, 10);
    while rest > 0 || at == 10 {
        at -= 1;
        digits[at] += (rest % 10) as u8;
        rest /= 10;
    }
    out.write_all(&digits[at..])
}

/// A JSON string.
pub(in crate::wire::envelope) fn write_string(text: &str, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(out, text).map_err(io::Error::from)
}

/// A payload as one JSON value. Bytes that are none become a string when they are text, `{"base64":"…"}` when they are
/// not, and `null` when there are none: what was not checked is never pasted into an envelope.
pub(in crate::wire::envelope) fn write_payload(payload: Payload<'_>, out: &mut dyn Write) -> io::Result<()> {
    match payload.bytes {
        [] => out.write_all(NULL),
        bytes if payload.json => out.write_all(bytes),
        bytes => match std::str::from_utf8(bytes) {
            Ok(text) => write_string(text, out),
            Err(_) => write!(out, r#"{{"base64":"{}"}}"#, Base64Display::new(bytes, &STANDARD)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_everybody_writes_them() {
        for number in [0, 1, 9, 10, 20_000, 999_999_999, 1_000_000_000, u32::MAX] {
            let mut out = Vec::new();
            assert!(write_number(number, &mut out).is_ok());
            assert_eq!(out, number.to_string().into_bytes());
        }
    }
}
