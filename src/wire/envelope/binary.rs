//! Envelopes as bytes, in binary messages: a fixed head, a name, a payload.
//!
//! ```text
//!  0      1       2          4       8       16     16 + name_len
//!  | kind | flags | name_len | aux   | id    | name | payload …
//!    u8     u8      u16        u32     u64
//! ```
//!
//! All numbers are little-endian. Bit 0 of the flags says that the payload is one JSON value; the others must be zero.

use std::borrow::Cow;
use std::io::{self, Write};

use serde_json::value::RawValue;

use crate::kit::ids::CallId;
use crate::wire::utf8;

use super::{Fault, Inbound, Outbound, Payload, json};

/// Length of the head, in bytes.
pub(super) const HEAD_BYTES: usize = 16;
/// Flag: the payload is one JSON value.
pub(super) const JSON: u8 = 1;
/// What stands for no id.
pub(super) const NO_ID: &[u8] = &[0; 8];

/// Run the method that is named; aux is the time left in milliseconds.
pub(super) const CALL: u8 = 1;
/// The answer to a call.
pub(super) const RESULT: u8 = 2;
/// The error of a call: aux is the code, the name is the message.
pub(super) const ERROR: u8 = 3;
/// A call has arrived.
pub(super) const RECEIPT: u8 = 4;
/// A call is being worked on.
pub(super) const PROGRESS: u8 = 5;
/// The caller no longer waits.
pub(super) const CANCEL: u8 = 6;
/// First envelope on a connection.
pub(super) const WELCOME: u8 = 7;
/// The gateway is about to close.
pub(super) const GOAWAY: u8 = 8;
/// A request of the agent.
pub(super) const REQUEST: u8 = 9;
/// A notification of the agent.
pub(super) const NOTIFICATION: u8 = 10;
/// The answer to a request.
pub(super) const ANSWER: u8 = 11;
/// The refusal of a request: aux is the code, the name is the message.
pub(super) const REFUSAL: u8 = 12;
/// A backend's call over a link: the name is `agent/method`, aux the time to wait in milliseconds.
pub(super) const LINK_CALL: u8 = 13;
/// How a call over a link ended without its agent's answer: aux is the code, the name is the outcome.
pub(super) const LINK_OUTCOME: u8 = 14;
/// An agent's token runs out.
pub(super) const TOKEN_EXPIRING: u8 = 15;

/// An envelope taken apart, not yet judged by its kind.
pub(super) struct Parts<'a> {
    pub(super) kind: u8,
    pub(super) aux: u32,
    /// The id, and the eight bytes that it was read from.
    pub(super) id: u64,
    pub(super) id_bytes: &'a [u8],
    pub(super) name: &'a str,
    pub(super) payload: Payload<'a>,
}

impl<'a> Parts<'a> {
    /// Takes a message apart. A payload that is said to be JSON and is not becomes plain bytes.
    ///
    /// # Errors
    /// The fault, and the eight bytes of the id that it is about (zero when the head is cut): a head or a name that is
    /// cut, unknown flags, a name that is not UTF-8.
    pub(super) fn split(message: &'a [u8]) -> Result<Self, (Fault, &'a [u8])> {
        let Some((head, rest)) = message.split_first_chunk::<HEAD_BYTES>() else {
            return Err((Fault::Parse, NO_ID));
        };
        let [kind, flags, n0, n1, a0, a1, a2, a3, id @ ..] = *head;
        let id_bytes = &message[8..HEAD_BYTES];
        let name_bytes = usize::from(u16::from_le_bytes([n0, n1]));
        let Some((name, bytes)) = rest.split_at_checked(name_bytes) else {
            return Err((Fault::Parse, id_bytes));
        };
        if flags & !JSON != 0 {
            return Err((Fault::Invalid, id_bytes));
        }
        let Ok(name) = simdutf8::basic::from_utf8(name) else {
            return Err((Fault::Invalid, id_bytes));
        };
        let json = flags == JSON && serde_json::from_slice::<&RawValue>(bytes).is_ok();
        Ok(Self {
            kind,
            aux: u32::from_le_bytes([a0, a1, a2, a3]),
            id: u64::from_le_bytes(id),
            id_bytes,
            name,
            payload: Payload { bytes, json },
        })
    }

    /// The payload, `None` when it is empty.
    pub(super) fn some_payload(&self) -> Option<Payload<'a>> {
        Some(self.payload).filter(|payload| !payload.bytes.is_empty())
    }
}

/// Reads a message of an agent.
pub(super) fn decode(message: &[u8]) -> Inbound<'_> {
    let parts = match Parts::split(message) {
        Ok(parts) => parts,
        Err((error, id)) => return Inbound::Invalid { id, error },
    };
    let (call, payload) = (CallId(parts.id), parts.payload);
    match parts.kind {
        RESULT => Inbound::Result { call, payload },
        ERROR => Inbound::Error {
            call,
            code: i64::from(parts.aux.cast_signed()),
            message: Cow::Borrowed(parts.name),
            data: parts.some_payload(),
        },
        RECEIPT => Inbound::Receipt { call },
        PROGRESS => Inbound::Progress { call, payload },
        REQUEST => Inbound::Request { id: parts.id_bytes, method: Cow::Borrowed(parts.name), payload },
        NOTIFICATION => Inbound::Notification { method: Cow::Borrowed(parts.name), payload },
        // Known, but only the gateway says these.
        CALL | CANCEL | WELCOME | GOAWAY | ANSWER | REFUSAL | TOKEN_EXPIRING => {
            Inbound::Invalid { id: parts.id_bytes, error: Fault::Invalid }
        }
        _ => Inbound::Invalid { id: parts.id_bytes, error: Fault::Parse },
    }
}

/// Writes one envelope.
pub(super) fn write(envelope: &Outbound<'_>, out: &mut dyn Write) -> io::Result<()> {
    let empty = Payload { bytes: b"", json: false };
    match *envelope {
        Outbound::Call { call, method, params, deadline_ms } => {
            write_parts((CALL, deadline_ms, call.0), method, params, out)
        }
        Outbound::Cancel { call } => write_parts((CANCEL, 0, call.0), "", empty, out),
        Outbound::Welcome { .. } => {
            write_head((WELCOME, 0, 0), JSON, 0, out)?;
            json::write_params(envelope, out)
        }
        Outbound::Goaway { .. } => {
            write_head((GOAWAY, 0, 0), JSON, 0, out)?;
            json::write_params(envelope, out)
        }
        Outbound::TokenExpiring { .. } => {
            write_head((TOKEN_EXPIRING, 0, 0), JSON, 0, out)?;
            json::write_params(envelope, out)
        }
        Outbound::Answer { id, result } => write_parts((ANSWER, 0, request_id(id)), "", result, out),
        Outbound::Refusal { id, fault } => {
            write_parts((REFUSAL, fault.code().cast_unsigned(), request_id(id)), fault.message(), empty, out)
        }
    }
}

/// Writes an envelope from its kind, aux and id, its name and its payload. A name longer than its length field can say
/// (65,535 bytes) is cut at a character.
pub(super) fn write_parts(
    kind_aux_id: (u8, u32, u64),
    name: &str,
    payload: Payload<'_>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let name = utf8::cut(name, usize::from(u16::MAX));
    let flags = if payload.json { JSON } else { 0 };
    write_head(kind_aux_id, flags, name.len() as u16, out)?;
    out.write_all(name.as_bytes())?;
    out.write_all(payload.bytes)
}

pub(super) fn write_head(
    (kind, aux, id): (u8, u32, u64),
    flags: u8,
    name_bytes: u16,
    out: &mut dyn Write,
) -> io::Result<()> {
    let [n0, n1] = name_bytes.to_le_bytes();
    let [a0, a1, a2, a3] = aux.to_le_bytes();
    out.write_all(&[kind, flags, n0, n1, a0, a1, a2, a3])?;
    out.write_all(&id.to_le_bytes())
}

/// The id of a request as [`Parts::id_bytes`] gave it; zero for anything else.
pub(super) fn request_id(id: &[u8]) -> u64 {
    id.try_into().map_or(0, u64::from_le_bytes)
}
