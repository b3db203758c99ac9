//! Envelopes: what the gateway and agents say to each other, in two encodings (`docs/protocol.md`).
//!
//! Owns the values. `json` and `binary` turn them into bytes and back; payloads pass through unparsed.

pub mod agent_side;
mod binary;
mod json;

use bytes::Bytes;

use crate::kit::ids::CallId;

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
    Result { call: CallId, payload: Payload<'a> },
    /// It answers a call with an error.
    Error {
        call: CallId,
        code: i64,
        message: std::borrow::Cow<'a, str>,
        data: Option<Payload<'a>>,
    },
    /// A call has arrived and is about to run.
    Receipt { call: CallId },
    /// A call is being worked on.
    Progress { call: CallId, payload: Payload<'a> },
    /// An answer, a receipt or a progress whose id is none that the gateway ever gave.
    Stray,
    /// A request that wants an answer with this id (raw JSON text, or the binary head's u64 in decimal).
    Request {
        id: &'a [u8],
        method: std::borrow::Cow<'a, str>,
        payload: Payload<'a>,
    },
    /// A request that wants no answer.
    Notification {
        method: std::borrow::Cow<'a, str>,
        payload: Payload<'a>,
    },
    /// One entry that is no envelope: answered by an error with this id (`null` where unknown), the connection stays.
    Invalid { id: &'a [u8], error: Fault },
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
}

/// Most entries of a batch.
pub const BATCH_MAX: usize = 256;

/// What the gateway sends.
#[derive(Clone, Copy, Debug)]
pub enum Outbound<'a> {
    /// Run this; `deadline_ms` is the time left.
    Call {
        call: CallId,
        method: &'a str,
        params: Payload<'a>,
        deadline_ms: u32,
    },
    /// The caller no longer waits.
    Cancel { call: CallId },
    /// First envelope on a connection.
    Welcome {
        session: &'a str,
        heartbeat_ms: u32,
        node: &'a str,
    },
    /// The gateway is about to close: come back after a while.
    Goaway {
        reconnect_after_ms: u32,
        reason: &'a str,
    },
    /// The answer to a [`Inbound::Request`].
    Answer { id: &'a [u8], result: Payload<'a> },
    /// The refusal of one.
    Refusal { id: &'a [u8], fault: Fault },
}

/// Reads a message of an agent: hands each envelope to `each`, in order; a batch has several.
/// Returns whether it was a batch, whose answers go back as one array.
pub fn decode<'a>(
    encoding: Encoding,
    message: &'a [u8],
    each: &mut dyn FnMut(Inbound<'a>),
) -> bool {
    match encoding {
        Encoding::Json => json::decode(message, each),
        Encoding::Binary => {
            each(binary::decode(message));
            false
        }
    }
}

/// A whole WebSocket frame that carries one envelope.
#[must_use]
pub fn encode(encoding: Encoding, envelope: &Outbound<'_>) -> Bytes {
    let _ = (encoding, envelope);
    todo!()
}

/// A whole frame that carries several: an array in JSON. Binary has no batches, so each is a frame of its own, joined.
#[must_use]
pub fn encode_batch(encoding: Encoding, envelopes: &[Outbound<'_>]) -> Bytes {
    let _ = (encoding, envelopes);
    todo!()
}
