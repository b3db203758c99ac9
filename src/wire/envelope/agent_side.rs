//! The agent's end of the same envelopes: what it reads from the gateway and what it writes to it.
//!
//! Owns the agent's values. The gateway itself never reads them; the reference agent and the tests do.

use std::borrow::Cow;

use crate::kit::ids::CallId;

use super::{Encoding, Fault, Payload};

/// What the gateway sent.
#[derive(Clone, Debug, PartialEq)]
pub enum FromGateway<'a> {
    /// Run this.
    Call {
        /// Its id, to answer with.
        call: CallId,
        /// What to run.
        method: Cow<'a, str>,
        /// Its parameters; empty when there are none.
        params: Payload<'a>,
        /// Milliseconds left; `u32::MAX` when not said.
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
        session: Cow<'a, str>,
        /// How often the gateway pings a silent peer, in milliseconds.
        heartbeat_ms: u32,
        /// The node's name.
        node: Cow<'a, str>,
    },
    /// The gateway is about to close.
    Goaway {
        /// How long to wait before coming back, in milliseconds.
        reconnect_after_ms: u32,
        /// Why, in words.
        reason: Cow<'a, str>,
    },
    /// The answer to a request of the agent.
    Answer {
        /// The request's id: raw JSON text, or the binary head's eight little-endian bytes.
        id: &'a [u8],
        /// What it says.
        result: Payload<'a>,
    },
    /// The refusal of a request, or of a message that was no envelope.
    Refusal {
        /// The request's id as in [`FromGateway::Answer`]; `null` or zero when the gateway could not tell.
        id: &'a [u8],
        /// A JSON-RPC 2.0 error code.
        code: i64,
        /// What is wrong.
        message: Cow<'a, str>,
    },
    /// A legal envelope that this version does not know: to be ignored.
    Other,
}

/// What an agent says about a call.
#[derive(Clone, Copy, Debug)]
pub enum FromAgent<'a> {
    /// It ran.
    Result {
        /// The call.
        call: CallId,
        /// What came out.
        payload: Payload<'a>,
    },
    /// It failed.
    Error {
        /// The call.
        call: CallId,
        /// The agent's own code; the binary encoding carries 32 bits of it.
        code: i32,
        /// What went wrong.
        message: &'a str,
        /// More about it.
        data: Option<Payload<'a>>,
    },
    /// It has arrived and is about to run.
    Receipt {
        /// The call.
        call: CallId,
    },
    /// It is being worked on.
    Progress {
        /// The call.
        call: CallId,
        /// How far.
        payload: Payload<'a>,
    },
}

/// Reads one message of the gateway.
///
/// # Errors
/// What is wrong with it; an agent logs that and reads on.
pub fn decode_from_gateway(encoding: Encoding, message: &[u8]) -> Result<FromGateway<'_>, Fault> {
    let _ = (encoding, message);
    todo!()
}

/// The payload of one message to the gateway: text when JSON, else binary. The client's WebSocket library frames it.
#[must_use]
pub fn encode_from_agent(encoding: Encoding, envelope: &FromAgent<'_>) -> Vec<u8> {
    let _ = (encoding, envelope);
    todo!()
}
