//! The envelopes of a control link: what backends ask of the gateway, and what it answers (`docs/protocol.md`).
//!
//! Owns the values and their bytes, on the gateway's side. [`client`] is the backend's end of the same envelopes.

pub mod client;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::borrow::Cow;
use std::io::{self, Write};

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::kit::ids::{CallId, is_name};
use crate::wire::encode;

use super::binary::{self, Parts};
use super::json::{self, Message};
use super::{Encoding, Fault, Payload, framed};

/// Longest name of a method, in bytes: it must fit the binary envelope with ease, and it is a name.
pub const METHOD_BYTES_MAX: usize = 256;
/// Longest id of a call on a link, in bytes as it is written in JSON.
pub const ID_BYTES_MAX: usize = 64;
/// Room for everything of an answer but the agent's own bytes.
const ANSWER_BYTES: usize = 160;

/// What a backend sent.
#[derive(Clone, Debug, PartialEq)]
pub enum FromBackend<'a> {
    /// Call an agent.
    Call {
        /// The backend's own id: raw JSON text of a string or a number, or the eight little-endian bytes of the binary head.
        id: &'a [u8],
        /// Which agent: a name that can be one.
        agent: Cow<'a, str>,
        /// What to run, checked.
        method: Cow<'a, str>,
        /// Its parameters; empty when there are none.
        params: Payload<'a>,
        /// How long to wait in milliseconds, where it says so.
        timeout_ms: Option<u64>,
    },
    /// It no longer waits for the call with this id.
    Cancel {
        /// The id as in [`FromBackend::Call`].
        id: &'a [u8],
    },
    /// A legal envelope that this version passes over.
    Other,
    /// No envelope of a link: answered by an error with this id, the link stays.
    Invalid {
        /// Its id; `null` or zero where there is none.
        id: &'a [u8],
        /// What is wrong.
        fault: Fault,
    },
}

/// Why a call has no answer of its agent. The one table of codes and words of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The agent is not connected.
    Offline,
    /// It was not, and will not be, written.
    NotDelivered,
    /// The deadline passed without a sign of life.
    NoReceipt,
    /// The deadline passed after a sign of life.
    NoReply,
    /// It was written, then the connection ended.
    Lost,
    /// Something is full.
    Busy,
    /// The backend took it back.
    Cancelled,
    /// The node is stopping.
    Draining,
}

/// The code of a JSON-RPC error that tells of an agent's own error.
pub const AGENT_ERROR_CODE: i32 = -32000;

impl Failure {
    /// Every one, by code.
    pub const ALL: [Self; 8] = [
        Self::Offline,
        Self::NotDelivered,
        Self::NoReceipt,
        Self::NoReply,
        Self::Lost,
        Self::Busy,
        Self::Cancelled,
        Self::Draining,
    ];

    /// Outcome, JSON-RPC code (section 5.1 leaves −32000 to −32099 to servers), and words.
    #[must_use]
    pub fn row(self) -> (&'static str, i32, &'static str) {
        match self {
            Self::Offline => ("offline", -32001, "the agent is not connected"),
            Self::NotDelivered => ("not_delivered", -32002, "the call was not sent; repeating it is safe"),
            Self::NoReceipt => ("no_receipt", -32003, "no sign of life until the deadline"),
            Self::NoReply => ("no_reply", -32004, "the agent has the call and did not answer until the deadline"),
            Self::Lost => ("lost", -32005, "the connection ended after the call was sent; it may have run"),
            Self::Busy => ("busy", -32006, "too many calls in flight, or a queue is full"),
            Self::Cancelled => ("cancelled", -32007, "the call was taken back"),
            Self::Draining => ("draining", -32008, "the node is stopping"),
        }
    }

    /// The failure with this code.
    #[must_use]
    pub fn of_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|failure| i64::from(failure.row().1) == code)
    }
}

/// How a call over a link ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending<'a> {
    /// The agent answered.
    Ok(Payload<'a>),
    /// The agent answered with an error.
    AgentError {
        /// The agent's code; binary carries 32 bits of it, and a code beyond them as the nearest one.
        code: i64,
        /// The agent's words.
        message: &'a str,
        /// What it added.
        data: Option<Payload<'a>>,
    },
    /// No answer came.
    Failed(Failure),
}

/// The answer to a backend's call.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// The backend's id, as it came.
    pub id: &'a [u8],
    /// The gateway's id; `None` where the call was refused before it had one. Left out of an agent's answer in binary.
    pub call: Option<CallId>,
    /// The agent that was called.
    pub agent: &'a str,
    /// How it ended.
    pub ending: Ending<'a>,
}

/// First envelope on a link.
#[derive(Clone, Copy, Debug)]
pub struct Welcome<'a> {
    /// Name of the session, for logs.
    pub session: &'a str,
    /// How often a silent peer is pinged, in milliseconds.
    pub heartbeat_ms: u32,
    /// The node's name.
    pub node: &'a str,
    /// Calls that may be in flight at once.
    pub window: u32,
}

/// What a call says beside its parameters.
#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow)]
    agent: Cow<'a, str>,
    #[serde(default)]
    timeout_ms: Option<u64>,
}

/// Parameters of `cancel`.
#[derive(Deserialize)]
struct Cancel<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
}

/// Reads a message of a backend: hands each envelope to `each`, in order; a batch has several. Returns whether it was a
/// batch.
pub fn decode<'a>(encoding: Encoding, message: &'a [u8], each: &mut dyn FnMut(FromBackend<'a>)) -> bool {
    match encoding {
        Encoding::Json => json::entries(message, &mut |entry| each(entry.map_or_else(no_id, decode_json))),
        Encoding::Binary => {
            each(decode_binary(message));
            false
        }
    }
}

fn no_id<'a>(fault: Fault) -> FromBackend<'a> {
    FromBackend::Invalid { id: json::NULL, fault }
}

fn decode_json(text: &str) -> FromBackend<'_> {
    let message = match Message::parse(text) {
        Ok(message) => message,
        Err(fault) => return no_id(fault),
    };
    let id = match message.id {
        Some(id) if is_id(id.get()) => Some(id.get().as_bytes()),
        Some(_) => return no_id(Fault::Invalid),
        None => None,
    };
    let wrong = |fault| FromBackend::Invalid { id: id.unwrap_or(json::NULL), fault };
    if !message.is_version_2() {
        return wrong(Fault::Invalid);
    }
    let method = match message.method.map(json::string) {
        Some(Some(method)) => method,
        Some(None) => return wrong(Fault::Invalid),
        // The gateway asks a backend nothing, so what looks like an answer answers nothing.
        None if message.result.is_some() || message.error.is_some() => return FromBackend::Other,
        None => return wrong(Fault::Invalid),
    };
    let Some(id) = id else {
        return match method.as_ref() {
            "cancel" => cancel(message.params),
            _ => FromBackend::Other,
        };
    };
    match message.meta.and_then(json::object::<Meta<'_>>) {
        Some(meta) => checked(id, meta.agent, method, json::optional(message.params), meta.timeout_ms),
        None => wrong(Fault::Params),
    }
}

/// Whether a raw JSON value can be the id of a call: a string or a number, and short.
fn is_id(raw: &str) -> bool {
    raw.len() <= ID_BYTES_MAX && raw.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit())
}

fn cancel(params: Option<&RawValue>) -> FromBackend<'_> {
    // A notification is never answered, so one about no call is passed over.
    let cancel = params.and_then(json::object::<Cancel<'_>>).filter(|cancel| is_id(cancel.id.get()));
    cancel.map_or(FromBackend::Other, |cancel| FromBackend::Cancel { id: cancel.id.get().as_bytes() })
}

fn decode_binary(message: &[u8]) -> FromBackend<'_> {
    let parts = match Parts::split(message) {
        Ok(parts) => parts,
        Err((fault, id)) => return FromBackend::Invalid { id, fault },
    };
    let id = parts.id_bytes;
    match parts.kind {
        binary::LINK_CALL => {
            let timeout_ms = (parts.aux > 0).then_some(u64::from(parts.aux));
            match parts.name.split_once('/') {
                Some((agent, method)) => checked(id, agent.into(), method.into(), parts.payload, timeout_ms),
                None => FromBackend::Invalid { id, fault: Fault::Params },
            }
        }
        binary::CANCEL => FromBackend::Cancel { id },
        binary::NOTIFICATION => FromBackend::Other,
        // Known, but not from a backend.
        binary::CALL..=binary::TOKEN_EXPIRING => FromBackend::Invalid { id, fault: Fault::Invalid },
        _ => FromBackend::Invalid { id, fault: Fault::Parse },
    }
}

/// A call whose agent and method can be some.
fn checked<'a>(
    id: &'a [u8],
    agent: Cow<'a, str>,
    method: Cow<'a, str>,
    params: Payload<'a>,
    timeout_ms: Option<u64>,
) -> FromBackend<'a> {
    let is_method = (1..=METHOD_BYTES_MAX).contains(&method.len()) && !method.chars().any(char::is_control);
    if !is_method || !is_name(&agent) {
        return FromBackend::Invalid { id, fault: Fault::Params };
    }
    FromBackend::Call { id, agent, method, params, timeout_ms }
}

/// Appends the whole frame of an answer.
pub fn append_ended(encoding: Encoding, ended: &Ended<'_>, out: &mut Vec<u8>) {
    let payload_bytes = match ended.ending {
        Ending::Ok(payload) => payload.bytes.len(),
        Ending::AgentError { message, data, .. } => message.len() + data.map_or(0, |data| data.bytes.len()),
        Ending::Failed(_) => 0,
    };
    let (data, bytes_hint) = match encoding {
        Encoding::Json => (Data::Text, ANSWER_BYTES + payload_bytes),
        Encoding::Binary => (Data::Binary, binary::HEAD_BYTES + payload_bytes),
    };
    encode::append_with(out, OpCode::Data(data), bytes_hint, |out| {
        let written = match encoding {
            Encoding::Json => write_json(ended, out),
            Encoding::Binary => write_binary(ended, out),
        };
        debug_assert!(written.is_ok(), "writing to a Vec cannot fail");
    });
}

/// The whole frame of a welcome.
#[must_use]
pub fn encode_welcome(encoding: Encoding, welcome: &Welcome<'_>) -> Bytes {
    match encoding {
        Encoding::Json => framed(Data::Text, &|out| {
            out.write_all(br#"{"jsonrpc":"2.0","method":"welcome","params":"#)?;
            write_welcome(welcome, out)?;
            out.write_all(b"}")
        }),
        Encoding::Binary => framed(Data::Binary, &|out| {
            binary::write_head((binary::WELCOME, 0, 0), binary::JSON, 0, out)?;
            write_welcome(welcome, out)
        }),
    }
}

fn write_welcome(welcome: &Welcome<'_>, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(br#"{"session":"#)?;
    json::write_string(welcome.session, out)?;
    write!(out, r#","heartbeat_ms":{},"node":"#, welcome.heartbeat_ms)?;
    json::write_string(welcome.node, out)?;
    write!(out, r#","window":{}}}"#, welcome.window)
}

fn write_json(ended: &Ended<'_>, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(br#"{"jsonrpc":"2.0","id":"#)?;
    out.write_all(ended.id)?;
    match ended.ending {
        Ending::Ok(payload) => {
            out.write_all(br#","result":{"outcome":"ok""#)?;
            write_call(ended.call, out)?;
            write_body("result", payload, out)?;
            out.write_all(b"}}")
        }
        Ending::AgentError { code, message, data } => {
            write!(
                out,
                r#","error":{{"code":{AGENT_ERROR_CODE},"message":"the agent answered with an error","data":"#
            )?;
            write_about("agent_error", ended, out)?;
            write!(out, r#","error":{{"code":{code},"message":"#)?;
            json::write_string(message, out)?;
            if let Some(data) = data {
                write_body("data", data, out)?;
            }
            out.write_all(b"}}}}")
        }
        Ending::Failed(failure) => {
            let (outcome, code, words) = failure.row();
            write!(out, r#","error":{{"code":{code},"message":"{words}","data":"#)?;
            write_about(outcome, ended, out)?;
            out.write_all(b"}}}")
        }
    }
}

fn write_binary(ended: &Ended<'_>, out: &mut dyn Write) -> io::Result<()> {
    let (id, empty) = (binary::request_id(ended.id), Payload { bytes: b"", json: false });
    match ended.ending {
        Ending::Ok(payload) => binary::write_parts((binary::RESULT, 0, id), "", payload, out),
        Ending::AgentError { code, message, data } => {
            let code = code.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
            binary::write_parts((binary::ERROR, code.cast_unsigned(), id), message, data.unwrap_or(empty), out)
        }
        Ending::Failed(failure) => {
            let (outcome, code, _) = failure.row();
            let head = (binary::LINK_OUTCOME, code.cast_unsigned(), id);
            binary::write_head(head, binary::JSON, outcome.len() as u16, out)?;
            out.write_all(outcome.as_bytes())?;
            write_about(outcome, ended, out)?;
            out.write_all(b"}")
        }
    }
}

/// `{"outcome":…,"call":…,"agent":…`, to be closed by the caller.
fn write_about(outcome: &str, ended: &Ended<'_>, out: &mut dyn Write) -> io::Result<()> {
    write!(out, r#"{{"outcome":"{outcome}""#)?;
    write_call(ended.call, out)?;
    out.write_all(br#","agent":"#)?;
    json::write_string(ended.agent, out)
}

fn write_call(call: Option<CallId>, out: &mut dyn Write) -> io::Result<()> {
    let Some(call) = call else {
        return Ok(());
    };
    out.write_all(br#","call":"#)?;
    json::write_call_id(call, out)
}

/// `,"name":<JSON>`, or `,"name_base64":"…"` for bytes that are no JSON, as the HTTP API does.
fn write_body(name: &str, payload: Payload<'_>, out: &mut dyn Write) -> io::Result<()> {
    if payload.json {
        write!(out, r#","{name}":"#)?;
        out.write_all(payload.bytes)
    } else {
        write!(out, r#","{name}_base64":"{}""#, Base64Display::new(payload.bytes, &STANDARD))
    }
}
