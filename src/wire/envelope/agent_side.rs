//! The agent's end of the same envelopes: what it reads from the gateway and what it writes to it.
//!
//! Owns the agent's values. The gateway itself never reads them; the reference agent and the tests do.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::kit::ids::CallId;

use super::binary::{self, Parts};
use super::json::{self, ErrorObject, Message};
use super::{Encoding, Fault, Payload, written};

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
    /// The agent's token runs out: time to send a newer one.
    TokenExpiring {
        /// How long until the gateway closes, in milliseconds.
        expires_in_ms: u32,
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

/// What an agent says about a call. It has no `Debug`, since it may hold a token.
#[derive(Clone, Copy)]
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
    /// It has a newer token: a request, which is answered.
    Refresh {
        /// The request's own id.
        id: u64,
        /// The token.
        token: &'a str,
    },
}

/// Reads one message of the gateway.
///
/// # Errors
/// What is wrong with it; an agent logs that and reads on.
pub fn decode_from_gateway(encoding: Encoding, message: &[u8]) -> Result<FromGateway<'_>, Fault> {
    match encoding {
        Encoding::Json => decode_json(message),
        Encoding::Binary => decode_binary(message),
    }
}

/// The payload of one message to the gateway: text when JSON, else binary. The client's WebSocket library frames it.
#[must_use]
pub fn encode_from_agent(encoding: Encoding, envelope: &FromAgent<'_>) -> Vec<u8> {
    let write = |out: &mut dyn Write| match encoding {
        Encoding::Json => write_json(envelope, out),
        Encoding::Binary => write_binary(envelope, out),
    };
    written(&write)
}

/// Parameters of `welcome`.
#[derive(Deserialize)]
struct Welcome<'a> {
    #[serde(borrow)]
    session: Cow<'a, str>,
    heartbeat_ms: u32,
    #[serde(borrow)]
    node: Cow<'a, str>,
}

/// Parameters of `goaway`.
#[derive(Deserialize)]
struct Goaway<'a> {
    reconnect_after_ms: u32,
    #[serde(borrow)]
    reason: Cow<'a, str>,
}

/// Parameters of `token_expiring`.
#[derive(Deserialize)]
struct TokenExpiring {
    expires_in_ms: u32,
}

/// Parameters of `cancel`.
#[derive(Deserialize)]
struct Cancel<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
}

/// What a call says beside its parameters.
#[derive(Deserialize)]
struct Meta {
    deadline_ms: u32,
}

impl<'a> From<Welcome<'a>> for FromGateway<'a> {
    fn from(welcome: Welcome<'a>) -> Self {
        Self::Welcome { session: welcome.session, heartbeat_ms: welcome.heartbeat_ms, node: welcome.node }
    }
}

impl<'a> From<Goaway<'a>> for FromGateway<'a> {
    fn from(goaway: Goaway<'a>) -> Self {
        Self::Goaway { reconnect_after_ms: goaway.reconnect_after_ms, reason: goaway.reason }
    }
}

impl From<TokenExpiring> for FromGateway<'_> {
    fn from(expiring: TokenExpiring) -> Self {
        Self::TokenExpiring { expires_in_ms: expiring.expires_in_ms }
    }
}

fn decode_json(message: &[u8]) -> Result<FromGateway<'_>, Fault> {
    let text = simdutf8::basic::from_utf8(message).map_err(|_| Fault::Parse)?;
    if json::first_byte(text) == Some(b'[') {
        // A batch answers a batch of requests, and this agent sends none.
        return Ok(FromGateway::Other);
    }
    let mut message = Message::parse(text)?;
    if !message.is_version_2() {
        return Err(Fault::Invalid);
    }
    message.drop_null_of_two();
    match message {
        Message { method: Some(method), id: Some(id), params, meta, .. } => Ok(FromGateway::Call {
            call: json::call_id(id).ok_or(Fault::Invalid)?,
            method: json::string(method).ok_or(Fault::Invalid)?,
            params: json::optional(params),
            deadline_ms: (meta.and_then(json::object::<Meta>)).map_or(u32::MAX, |m| m.deadline_ms),
        }),
        Message { method: Some(method), params, .. } => {
            decode_notification(&json::string(method).ok_or(Fault::Invalid)?, params)
        }
        Message { id: Some(id), result: Some(result), .. } => {
            Ok(FromGateway::Answer { id: id.get().as_bytes(), result: json::payload(result) })
        }
        Message { id: Some(id), error: Some(error), .. } => {
            let error = json::object::<ErrorObject<'_>>(error).ok_or(Fault::Invalid)?;
            Ok(FromGateway::Refusal { id: id.get().as_bytes(), code: error.code, message: error.message })
        }
        _ => Err(Fault::Invalid),
    }
}

fn decode_notification<'a>(method: &str, params: Option<&'a RawValue>) -> Result<FromGateway<'a>, Fault> {
    let decoded = match method {
        "cancel" => params
            .and_then(json::object::<Cancel<'_>>)
            .and_then(|cancel| json::call_id(cancel.id))
            .map(|call| FromGateway::Cancel { call }),
        "welcome" => params.and_then(json::object::<Welcome<'_>>).map(Into::into),
        "goaway" => params.and_then(json::object::<Goaway<'_>>).map(Into::into),
        "token_expiring" => params.and_then(json::object::<TokenExpiring>).map(Into::into),
        _ => Some(FromGateway::Other),
    };
    decoded.ok_or(Fault::Params)
}

fn decode_binary(message: &[u8]) -> Result<FromGateway<'_>, Fault> {
    let parts = Parts::split(message).map_err(|(fault, _)| fault)?;
    let call = CallId(parts.id);
    Ok(match parts.kind {
        binary::CALL => {
            FromGateway::Call { call, method: Cow::Borrowed(parts.name), params: parts.payload, deadline_ms: parts.aux }
        }
        binary::CANCEL => FromGateway::Cancel { call },
        binary::WELCOME => object_in::<Welcome<'_>>(parts.payload)?.into(),
        binary::GOAWAY => object_in::<Goaway<'_>>(parts.payload)?.into(),
        binary::TOKEN_EXPIRING => object_in::<TokenExpiring>(parts.payload)?.into(),
        binary::ANSWER => FromGateway::Answer { id: parts.id_bytes, result: parts.payload },
        binary::REFUSAL => FromGateway::Refusal {
            id: parts.id_bytes,
            code: i64::from(parts.aux.cast_signed()),
            message: Cow::Borrowed(parts.name),
        },
        _ => FromGateway::Other,
    })
}

/// The JSON object that a binary payload holds.
fn object_in<'a, T: Deserialize<'a>>(payload: Payload<'a>) -> Result<T, Fault> {
    serde_json::from_slice::<&RawValue>(payload.bytes).ok().and_then(json::object).ok_or(Fault::Params)
}

fn write_json(envelope: &FromAgent<'_>, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(br#"{"jsonrpc":"2.0","#)?;
    match *envelope {
        FromAgent::Result { call, payload } => {
            out.write_all(br#""id":"#)?;
            json::write_call_id(call, out)?;
            out.write_all(br#","result":"#)?;
            json::write_payload(payload, out)?;
            out.write_all(b"}")
        }
        FromAgent::Error { call, code, message, data } => {
            out.write_all(br#""id":"#)?;
            json::write_call_id(call, out)?;
            write!(out, r#","error":{{"code":{code},"message":"#)?;
            json::write_string(message, out)?;
            if let Some(data) = data {
                out.write_all(br#","data":"#)?;
                json::write_payload(data, out)?;
            }
            out.write_all(b"}}")
        }
        FromAgent::Receipt { call } => {
            out.write_all(br#""method":"receipt","params":{"id":"#)?;
            json::write_call_id(call, out)?;
            out.write_all(b"}}")
        }
        FromAgent::Progress { call, payload } => {
            out.write_all(br#""method":"progress","params":{"id":"#)?;
            json::write_call_id(call, out)?;
            out.write_all(br#","data":"#)?;
            json::write_payload(payload, out)?;
            out.write_all(b"}}")
        }
        FromAgent::Refresh { id, token } => {
            write!(out, r#""id":{id},"method":"refresh","params":"#)?;
            write_refresh(token, out)?;
            out.write_all(b"}")
        }
    }
}

/// The object of `refresh`, which both encodings carry as JSON.
fn write_refresh(token: &str, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(br#"{"token":"#)?;
    json::write_string(token, out)?;
    out.write_all(b"}")
}

fn write_binary(envelope: &FromAgent<'_>, out: &mut dyn Write) -> io::Result<()> {
    let empty = Payload { bytes: b"", json: false };
    let (kind, aux, call, name, payload) = match *envelope {
        FromAgent::Result { call, payload } => (binary::RESULT, 0, call, "", payload),
        FromAgent::Error { call, code, message, data } => {
            (binary::ERROR, code.cast_unsigned(), call, message, data.unwrap_or(empty))
        }
        FromAgent::Receipt { call } => (binary::RECEIPT, 0, call, "", empty),
        FromAgent::Progress { call, payload } => (binary::PROGRESS, 0, call, "", payload),
        FromAgent::Refresh { id, token } => {
            const METHOD: &str = "refresh";
            binary::write_head((binary::REQUEST, 0, id), binary::JSON, METHOD.len() as u16, out)?;
            out.write_all(METHOD.as_bytes())?;
            return write_refresh(token, out);
        }
    };
    binary::write_parts((kind, aux, call.0), name, payload, out)
}
