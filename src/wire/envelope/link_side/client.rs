//! The backend's end of a control link's envelopes: what it writes and what it reads.
//!
//! Owns the backend's values. The gateway itself never reads them; the client library, the load harness and tests do.
//! In JSON a call's id is a number; what comes back with another id is [`FromLink::Other`].

use std::borrow::Cow;
use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::kit::ids::CallId;
use crate::wire::envelope::binary::{self, Parts};
use crate::wire::envelope::json::{self, ErrorObject, Message};
use crate::wire::envelope::{Encoding, Fault, Payload, written};

use super::{AGENT_ERROR_CODE, Failure};

/// What a backend says.
#[derive(Clone, Copy, Debug)]
pub enum ToLink<'a> {
    /// Call an agent.
    Call {
        /// The backend's id, its own among the calls in flight on this link.
        id: u64,
        /// Which agent.
        agent: &'a str,
        /// What to run.
        method: &'a str,
        /// Its parameters; left out when empty.
        params: Payload<'a>,
        /// How long to wait in milliseconds; zero for the gateway's default.
        timeout_ms: u32,
    },
    /// Nobody waits any more.
    Cancel {
        /// The call's id.
        id: u64,
    },
}

/// How a call ended, as the backend reads it.
#[derive(Clone, Debug, PartialEq)]
pub enum EndedAs<'a> {
    /// The agent answered.
    Ok(Body<'a>),
    /// The agent answered with an error.
    AgentError {
        /// Its code.
        code: i64,
        /// Its words.
        message: Cow<'a, str>,
        /// What it added.
        data: Option<Body<'a>>,
    },
    /// No answer came.
    Failed(Failure),
}

/// An agent's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body<'a> {
    /// The bytes.
    pub bytes: Cow<'a, [u8]>,
    /// Whether they are one JSON value.
    pub json: bool,
}

/// What the gateway says on a link.
#[derive(Clone, Debug, PartialEq)]
pub enum FromLink<'a> {
    /// A call ended.
    Ended {
        /// The backend's id.
        id: u64,
        /// The gateway's id, where it is told.
        call: Option<CallId>,
        /// How.
        ended: EndedAs<'a>,
    },
    /// What was sent is no call: it was refused and nothing was sent to an agent.
    Refused {
        /// The backend's id; `None` when the gateway could not tell.
        id: Option<u64>,
        /// A JSON-RPC 2.0 error code.
        code: i64,
        /// What is wrong.
        message: Cow<'a, str>,
    },
    /// First envelope.
    Welcome {
        /// Name of the session, for logs.
        session: Cow<'a, str>,
        /// How often the gateway pings a silent peer, in milliseconds.
        heartbeat_ms: u32,
        /// Calls that may be in flight at once.
        window: u32,
    },
    /// The node is stopping: new calls are refused, the link is closed when those in flight have ended.
    Goaway {
        /// When to come back, in milliseconds.
        reconnect_after_ms: u32,
    },
    /// A legal envelope that this version does not know: to be passed over.
    Other,
}

#[derive(Deserialize)]
struct Welcome<'a> {
    #[serde(borrow)]
    session: Cow<'a, str>,
    heartbeat_ms: u32,
    window: u32,
}

#[derive(Deserialize)]
struct Goaway {
    reconnect_after_ms: u32,
}

/// A JSON result, and what an error is about.
#[derive(Deserialize)]
struct About<'a> {
    #[serde(borrow, default)]
    call: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "json::present")]
    result: Option<&'a RawValue>,
    #[serde(default)]
    result_base64: Option<String>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct AgentsError<'a> {
    code: i64,
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "json::present")]
    data: Option<&'a RawValue>,
    #[serde(default)]
    data_base64: Option<String>,
}

/// The payload of one message to the gateway: text when JSON, else binary.
#[must_use]
pub fn encode(encoding: Encoding, envelope: &ToLink<'_>) -> Vec<u8> {
    let write = |out: &mut dyn Write| match encoding {
        Encoding::Json => write_json(envelope, out),
        Encoding::Binary => write_binary(envelope, out),
    };
    written(&write)
}

fn write_json(envelope: &ToLink<'_>, out: &mut dyn Write) -> io::Result<()> {
    match *envelope {
        ToLink::Call { id, agent, method, params, timeout_ms } => {
            write!(out, r#"{{"jsonrpc":"2.0","id":{id},"method":"#)?;
            json::write_string(method, out)?;
            if !params.bytes.is_empty() {
                out.write_all(br#","params":"#)?;
                json::write_payload(params, out)?;
            }
            out.write_all(br#","meta":{"agent":"#)?;
            json::write_string(agent, out)?;
            if timeout_ms > 0 {
                write!(out, r#","timeout_ms":{timeout_ms}"#)?;
            }
            out.write_all(b"}}")
        }
        ToLink::Cancel { id } => write!(out, r#"{{"jsonrpc":"2.0","method":"cancel","params":{{"id":{id}}}}}"#),
    }
}

fn write_binary(envelope: &ToLink<'_>, out: &mut dyn Write) -> io::Result<()> {
    match *envelope {
        ToLink::Call { id, agent, method, params, timeout_ms } => {
            let flags = if params.json { binary::JSON } else { 0 };
            // Longer names are no names, and the gateway says so.
            let name_bytes = (agent.len() + 1 + method.len()).min(usize::from(u16::MAX)) as u16;
            binary::write_head((binary::LINK_CALL, timeout_ms, id), flags, name_bytes, out)?;
            for part in [agent.as_bytes(), b"/", method.as_bytes(), params.bytes] {
                out.write_all(part)?;
            }
            Ok(())
        }
        ToLink::Cancel { id } => binary::write_head((binary::CANCEL, 0, id), 0, 0, out),
    }
}

/// Reads one message of the gateway on a link.
///
/// # Errors
/// What is wrong with it.
pub fn decode(encoding: Encoding, message: &[u8]) -> Result<FromLink<'_>, Fault> {
    match encoding {
        Encoding::Json => decode_json(message),
        Encoding::Binary => decode_binary(message),
    }
}

fn decode_json(message: &[u8]) -> Result<FromLink<'_>, Fault> {
    let text = simdutf8::basic::from_utf8(message).map_err(|_| Fault::Parse)?;
    if json::first_byte(text) == Some(b'[') {
        // Only refusals of a batch come so, and this end sends none.
        return Ok(FromLink::Other);
    }
    let message = Message::parse(text)?;
    if !message.is_version_2() {
        return Err(Fault::Invalid);
    }
    let id = message.id.and_then(|id| id.get().parse().ok());
    match message {
        Message { method: Some(method), params, .. } => {
            notification(&json::string(method).ok_or(Fault::Invalid)?, params)
        }
        Message { result: Some(result), .. } => {
            let about = json::object::<About<'_>>(result).ok_or(Fault::Invalid)?;
            let body = body(about.result, about.result_base64)?.ok_or(Fault::Invalid)?;
            let call = about.call.and_then(json::call_id);
            Ok(id.map_or(FromLink::Other, |id| FromLink::Ended { id, call, ended: EndedAs::Ok(body) }))
        }
        Message { error: Some(error), .. } => failed(id, json::object(error).ok_or(Fault::Invalid)?),
        _ => Err(Fault::Invalid),
    }
}

fn failed<'a>(id: Option<u64>, error: ErrorObject<'a>) -> Result<FromLink<'a>, Fault> {
    let about = error.data.and_then(json::object::<About<'a>>);
    let ended = match (Failure::of_code(error.code), error.code == i64::from(AGENT_ERROR_CODE)) {
        (Some(failure), _) => EndedAs::Failed(failure),
        (None, true) => {
            let agents = about.as_ref().and_then(|about| json::object::<AgentsError<'a>>(about.error?));
            let agents = agents.ok_or(Fault::Invalid)?;
            let data = body(agents.data, agents.data_base64)?;
            EndedAs::AgentError { code: agents.code, message: agents.message, data }
        }
        (None, false) => return Ok(FromLink::Refused { id, code: error.code, message: error.message }),
    };
    let call = about.and_then(|about| json::call_id(about.call?));
    Ok(id.map_or(FromLink::Other, |id| FromLink::Ended { id, call, ended }))
}

fn notification<'a>(method: &str, params: Option<&'a RawValue>) -> Result<FromLink<'a>, Fault> {
    match method {
        "welcome" => params.and_then(json::object::<Welcome<'a>>).map(Into::into).ok_or(Fault::Params),
        "goaway" => params.and_then(json::object::<Goaway>).map(Into::into).ok_or(Fault::Params),
        _ => Ok(FromLink::Other),
    }
}

impl<'a> From<Welcome<'a>> for FromLink<'a> {
    fn from(welcome: Welcome<'a>) -> Self {
        Self::Welcome { session: welcome.session, heartbeat_ms: welcome.heartbeat_ms, window: welcome.window }
    }
}

impl From<Goaway> for FromLink<'_> {
    fn from(goaway: Goaway) -> Self {
        Self::Goaway { reconnect_after_ms: goaway.reconnect_after_ms }
    }
}

fn body<'a>(json: Option<&'a RawValue>, base64: Option<String>) -> Result<Option<Body<'a>>, Fault> {
    match (json, base64) {
        (Some(raw), _) => Ok(Some(Body { bytes: Cow::Borrowed(raw.get().as_bytes()), json: true })),
        (None, Some(text)) => {
            let bytes = STANDARD.decode(text).map_err(|_| Fault::Invalid)?;
            Ok(Some(Body { bytes: Cow::Owned(bytes), json: false }))
        }
        (None, None) => Ok(None),
    }
}

fn decode_binary(message: &[u8]) -> Result<FromLink<'_>, Fault> {
    let parts = Parts::split(message).map_err(|(fault, _)| fault)?;
    let (id, code) = (parts.id, i64::from(parts.aux.cast_signed()));
    Ok(match parts.kind {
        binary::RESULT => FromLink::Ended { id, call: None, ended: EndedAs::Ok(borrowed(parts.payload)) },
        binary::ERROR => {
            let data = parts.some_payload().map(borrowed);
            let ended = EndedAs::AgentError { code, message: Cow::Borrowed(parts.name), data };
            FromLink::Ended { id, call: None, ended }
        }
        binary::LINK_OUTCOME => {
            let failure = Failure::of_code(code).ok_or(Fault::Invalid)?;
            let about = object_in::<About<'_>>(parts.payload)?;
            let call = about.call.and_then(json::call_id);
            FromLink::Ended { id, call, ended: EndedAs::Failed(failure) }
        }
        binary::REFUSAL => FromLink::Refused { id: (id != 0).then_some(id), code, message: Cow::Borrowed(parts.name) },
        binary::WELCOME => object_in::<Welcome<'_>>(parts.payload)?.into(),
        binary::GOAWAY => object_in::<Goaway>(parts.payload)?.into(),
        _ => FromLink::Other,
    })
}

fn borrowed(payload: Payload<'_>) -> Body<'_> {
    Body { bytes: Cow::Borrowed(payload.bytes), json: payload.json }
}

/// The JSON object that a binary payload holds.
fn object_in<'a, T: Deserialize<'a>>(payload: Payload<'a>) -> Result<T, Fault> {
    serde_json::from_slice::<&RawValue>(payload.bytes).ok().and_then(json::object).ok_or(Fault::Params)
}
