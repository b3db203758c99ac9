//! Envelopes: what the gateway and agents say to each other, in two encodings (`docs/protocol.md`).
//!
//! Owns the values. `json` and `binary` turn them into bytes and back; payloads pass through unparsed.

pub mod agent_side;
mod binary;
mod json;
pub mod link_side;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::borrow::Cow;
use std::io::{self, Write};

use bytes::Bytes;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::kit::ids::CallId;

use super::encode;

/// How a connection's envelopes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// JSON-RPC 2.0 in text messages: subprotocol `holdfast.v1.json`, and when none is offered.
    Json,
    /// A fixed 16-byte little-endian head, a name, a payload, in binary messages: `holdfast.v1.bin`.
    Binary,
}

impl Encoding {
    /// The name of the subprotocol.
    #[must_use]
    pub fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "holdfast.v1.json",
            Self::Binary => "holdfast.v1.bin",
        }
    }
}

/// Opaque bytes that pass through the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// Whether they are one JSON value, checked; else they are just bytes.
    pub json: bool,
}

/// What an agent sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Inbound<'a> {
    /// It answers a call. The id may be unknown here: any text that is no call id is reported as [`Inbound::Stray`].
    Result {
        /// The call.
        call: CallId,
        /// What came out.
        payload: Payload<'a>,
    },
    /// It answers a call with an error.
    Error {
        /// The call.
        call: CallId,
        /// The agent's own code.
        code: i64,
        /// The agent's words.
        message: Cow<'a, str>,
        /// What it added.
        data: Option<Payload<'a>>,
    },
    /// A call has arrived and is about to run.
    Receipt {
        /// The call.
        call: CallId,
    },
    /// A call is being worked on.
    Progress {
        /// The call.
        call: CallId,
        /// How far; `null` in JSON when it does not say.
        payload: Payload<'a>,
    },
    /// An answer, a receipt or a progress whose id is none that the gateway ever gave.
    Stray,
    /// A request that wants an answer with this id: raw JSON text, or the eight little-endian bytes of the binary head.
    /// It goes back as it came.
    Request {
        /// The request's own id.
        id: &'a [u8],
        /// What is asked for.
        method: Cow<'a, str>,
        /// Its parameters; empty when there are none.
        payload: Payload<'a>,
    },
    /// A request that wants no answer.
    Notification {
        /// What it is about.
        method: Cow<'a, str>,
        /// Its parameters; empty when there are none.
        payload: Payload<'a>,
    },
    /// One entry that is no envelope: answered by an error with this id (`null` where unknown), the connection stays.
    Invalid {
        /// Its id as in [`Inbound::Request`].
        id: &'a [u8],
        /// What is wrong.
        error: Fault,
    },
}

/// What is wrong with an agent's message, as a JSON-RPC 2.0 error (section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// −32700: not JSON, or a binary head that is cut or of an unknown kind.
    Parse,
    /// −32600: JSON, but no envelope; also an empty batch or one over [`BATCH_MAX`].
    Invalid,
    /// −32601: no such method.
    Method,
    /// −32602: bad parameters.
    Params,
    /// −32009: the backend's key has no permission for this method. On links alone.
    Forbidden,
    /// −32020: a token that is not accepted; the one before stays.
    Token,
    /// −32021: what would check it cannot be asked now; try again.
    Later,
    /// −32022: another token of this connection is being checked.
    Underway,
}

impl Fault {
    /// The JSON-RPC 2.0 error code.
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            Self::Parse => -32700,
            Self::Invalid => -32600,
            Self::Method => -32601,
            Self::Params => -32602,
            Self::Forbidden => -32009,
            Self::Token => -32020,
            Self::Later => -32021,
            Self::Underway => -32022,
        }
    }

    /// The words of JSON-RPC 2.0 for it.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::Parse => "Parse error",
            Self::Invalid => "Invalid Request",
            Self::Method => "Method not found",
            Self::Params => "Invalid params",
            Self::Forbidden => "Forbidden",
            Self::Token => "Token refused",
            Self::Later => "Cannot be checked now, try again later",
            Self::Underway => "Another token is being checked",
        }
    }
}

/// Most entries of a batch.
pub const BATCH_MAX: usize = 256;

/// What the gateway sends.
#[derive(Clone, Copy, Debug)]
pub enum Outbound<'a> {
    /// Run this; `deadline_ms` is the time left.
    Call {
        /// Its id, which the answer repeats.
        call: CallId,
        /// What to run; at most 65,535 bytes in binary.
        method: &'a str,
        /// Its parameters, left out when empty. In JSON, bytes that are not JSON travel as a string, or as
        /// `{"base64":"…"}` when they are no text.
        params: Payload<'a>,
        /// Milliseconds left.
        deadline_ms: u32,
    },
    /// The caller no longer waits.
    Cancel {
        /// The call.
        call: CallId,
    },
    /// First envelope on a connection.
    Welcome {
        /// Name of the session, for logs.
        session: &'a str,
        /// How often a silent peer is pinged, in milliseconds.
        heartbeat_ms: u32,
        /// The node's name.
        node: &'a str,
    },
    /// The gateway is about to close: come back after a while.
    Goaway {
        /// How long to wait before coming back, in milliseconds.
        reconnect_after_ms: u32,
        /// Why, in words.
        reason: &'a str,
    },
    /// The agent's token runs out: it may send a newer one (`refresh`).
    TokenExpiring {
        /// How long until the connection is closed, in milliseconds.
        expires_in_ms: u32,
    },
    /// The answer to a [`Inbound::Request`].
    Answer {
        /// The request's id, as it came.
        id: &'a [u8],
        /// What it gets.
        result: Payload<'a>,
    },
    /// The refusal of one.
    Refusal {
        /// The request's id, as it came.
        id: &'a [u8],
        /// What is wrong with it.
        fault: Fault,
    },
}

/// Reads a message of an agent: hands each envelope to `each`, in order; a batch has several.
/// Returns whether it was a batch, whose answers go back as one array.
pub fn decode<'a>(encoding: Encoding, message: &'a [u8], each: &mut dyn FnMut(Inbound<'a>)) -> bool {
    match encoding {
        Encoding::Json => json::decode(message, each),
        Encoding::Binary => {
            each(binary::decode(message));
            false
        }
    }
}

/// A whole WebSocket frame that carries one envelope, written in one allocation.
#[must_use]
pub fn encode(encoding: Encoding, envelope: &Outbound<'_>) -> Bytes {
    match encoding {
        Encoding::Json => framed(Data::Text, &|out| json::write(envelope, out)),
        Encoding::Binary => framed(Data::Binary, &|out| binary::write(envelope, out)),
    }
}

/// What a message is replied to with: an array when it was a `batch`, else the one envelope; `None` when there is nothing to say.
#[must_use]
pub fn encode_replies(encoding: Encoding, batch: bool, replies: &[Outbound<'_>]) -> Option<Bytes> {
    match replies {
        [] => None,
        [one] if !batch => Some(encode(encoding, one)),
        many => Some(encode_batch(encoding, many)),
    }
}

/// A whole frame that carries several: an array in JSON. Binary has no batches, so each is a frame of its own, joined.
/// No envelopes give no bytes.
#[must_use]
pub fn encode_batch(encoding: Encoding, envelopes: &[Outbound<'_>]) -> Bytes {
    if envelopes.is_empty() {
        return Bytes::new();
    }
    match encoding {
        Encoding::Json => framed(Data::Text, &|out| {
            for (i, envelope) in envelopes.iter().enumerate() {
                out.write_all(if i == 0 { b"[" } else { b"," })?;
                json::write(envelope, out)?;
            }
            out.write_all(b"]")
        }),
        Encoding::Binary => {
            let mut frames = Vec::new();
            for envelope in envelopes {
                frames.extend_from_slice(&encode(encoding, envelope));
            }
            Bytes::from(frames)
        }
    }
}

/// Counts what would be written, so that a buffer can be had in the right size at once.
#[derive(Default)]
struct Counter {
    bytes: usize,
}

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How many bytes `write` writes.
fn count(write: &dyn Fn(&mut dyn Write) -> io::Result<()>) -> usize {
    let mut counter = Counter::default();
    let counted = write(&mut counter);
    debug_assert!(counted.is_ok(), "counting cannot fail");
    counter.bytes
}

/// The bytes that `write` writes, in a buffer of just their length; it is called twice and must write the same.
fn written(write: &dyn Fn(&mut dyn Write) -> io::Result<()>) -> Vec<u8> {
    let mut out = Vec::with_capacity(count(write));
    let result = write(&mut out);
    debug_assert!(result.is_ok(), "writing to a Vec cannot fail");
    out
}

/// A frame around what `write` writes; it is called twice and must write the same.
fn framed(data: Data, write: &dyn Fn(&mut dyn Write) -> io::Result<()>) -> Bytes {
    encode::frame_with(OpCode::Data(data), count(write), |out| {
        let written = write(out);
        debug_assert!(written.is_ok(), "writing to a Vec cannot fail");
    })
}
