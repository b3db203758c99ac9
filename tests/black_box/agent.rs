//! An agent whose every word the test chooses, in both encodings, written from `docs/protocol.md` and not with the gateway's code.

use std::io::Write;

use serde_json::{Value, json};
use tungstenite::Message;
use tungstenite::client::ClientRequestBuilder;

use crate::gateway::Gateway;
use crate::peer::{Peer, to};

/// How its envelopes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `holdfast.v1.json`
    Json,
    /// `holdfast.v1.bin`
    Binary,
}

/// Both.
pub const ENCODINGS: [Encoding; 2] = [Encoding::Json, Encoding::Binary];

/// A connected agent.
pub struct Agent {
    /// Its connection.
    pub peer: Peer,
    encoding: Encoding,
}

/// An envelope from the gateway.
#[derive(Debug)]
pub struct Envelope {
    /// `call`, `cancel`, `welcome`, `goaway` or `token_expiring`.
    pub kind: &'static str,
    /// Of a call: what to run.
    pub method: String,
    /// Of a call or a cancel.
    pub call: u64,
    /// Of a call: milliseconds left.
    pub deadline_ms: u64,
    /// Parameters; null where there are none.
    pub params: Value,
}

/// Flag of a binary payload that is JSON.
const IS_JSON: u8 = 1;

impl Agent {
    /// Connects with a good token and reads the welcome.
    pub fn connect(gateway: &Gateway, id: &str, encoding: Encoding) -> Self {
        Self::with_token(gateway, &gateway.token(id), encoding)
    }

    /// Connects with this token and reads the welcome.
    pub fn with_token(gateway: &Gateway, token: &str, encoding: Encoding) -> Self {
        let bearer = format!("Bearer {token}");
        let request = to(gateway, "/v1/agent").with_header("Authorization", bearer);
        Self::open(gateway, request, encoding)
    }

    /// Connects with a request and reads the welcome.
    pub fn open(gateway: &Gateway, request: ClientRequestBuilder, encoding: Encoding) -> Self {
        let subprotocol = match encoding {
            Encoding::Json => "holdfast.v1.json",
            Encoding::Binary => "holdfast.v1.bin",
        };
        let peer = Peer::open(gateway, request.with_sub_protocol(subprotocol));
        let mut agent = Self { peer, encoding };
        assert_eq!(agent.envelope().kind, "welcome");
        agent
    }

    /// The next envelope.
    pub fn envelope(&mut self) -> Envelope {
        let message = self.peer.read();
        match (self.encoding, &message) {
            (Encoding::Json, Message::Text(text)) => read_json(text),
            (Encoding::Binary, Message::Binary(bytes)) => read_binary(bytes),
            _ => panic!("not a message of this encoding: {message:?}"),
        }
    }

    /// The next envelope, which is a call.
    pub fn call(&mut self) -> Envelope {
        let call = self.envelope();
        assert_eq!(call.kind, "call", "{call:?}");
        call
    }

    /// The next envelope, which is a cancel; the call that it names.
    pub fn cancelled(&mut self) -> u64 {
        let cancel = self.envelope();
        assert_eq!(cancel.kind, "cancel", "{cancel:?}");
        cancel.call
    }

    /// Says that a call has arrived.
    pub fn receipt(&mut self, call: u64) {
        let message = match self.encoding {
            Encoding::Json => notification("receipt", json!({"id": id(call)})),
            Encoding::Binary => binary(4, 0, "", 0, call, b""),
        };
        self.peer.send(message);
    }

    /// Says how far a call is.
    pub fn progress(&mut self, call: u64, data: &Value) {
        let message = match self.encoding {
            Encoding::Json => notification("progress", json!({"id": id(call), "data": data})),
            Encoding::Binary => binary(5, IS_JSON, "", 0, call, data.to_string().as_bytes()),
        };
        self.peer.send(message);
    }

    /// Answers a call.
    pub fn answer(&mut self, call: u64, result: &Value) {
        let message = self.result(call, result);
        self.peer.send(message);
    }

    /// Answers a call with an error.
    pub fn refuse(&mut self, call: u64, code: i32, words: &str, data: &Value) {
        let message = match self.encoding {
            Encoding::Json => text(&json!({
                "jsonrpc": "2.0", "id": id(call),
                "error": {"code": code, "message": words, "data": data},
            })),
            Encoding::Binary => {
                let data = data.to_string();
                binary(3, IS_JSON, words, code.cast_unsigned(), call, data.as_bytes())
            }
        };
        self.peer.send(message);
    }

    /// Sends the frame of an answer up to its middle, and no more.
    pub fn answer_half(&mut self, call: u64, result: &Value) {
        let message = self.result(call, result);
        let op = if message.is_text() { 0x81 } else { 0x82 };
        let payload = message.into_data();
        let length = u16::try_from(payload.len()).expect("a short answer");
        // A masking key of zeros leaves the payload as it is (RFC 6455 section 5.3).
        let mut frame = vec![op, 0x80 | 126];
        frame.extend(length.to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(&payload[..payload.len() / 2]);
        self.peer.raw().write_all(&frame).expect("sent");
    }

    fn result(&self, call: u64, result: &Value) -> Message {
        match self.encoding {
            Encoding::Json => text(&json!({"jsonrpc": "2.0", "id": id(call), "result": result})),
            Encoding::Binary => binary(2, IS_JSON, "", 0, call, result.to_string().as_bytes()),
        }
    }
}

fn id(call: u64) -> String {
    format!("{call:016x}")
}

fn text(value: &Value) -> Message {
    Message::text(value.to_string())
}

fn notification(method: &str, params: Value) -> Message {
    text(&json!({"jsonrpc": "2.0", "method": method, "params": params}))
}

fn binary(kind: u8, flags: u8, name: &str, aux: u32, call: u64, payload: &[u8]) -> Message {
    let name_len = u16::try_from(name.len()).expect("a short name");
    let mut bytes = vec![kind, flags];
    bytes.extend(name_len.to_le_bytes());
    bytes.extend(aux.to_le_bytes());
    bytes.extend(call.to_le_bytes());
    bytes.extend(name.as_bytes());
    bytes.extend(payload);
    Message::binary(bytes)
}

fn read_json(text: &str) -> Envelope {
    let value: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(value["jsonrpc"], "2.0", "{value}");
    let method = value["method"].as_str().expect("a method");
    let kind = match (method, value.get("id")) {
        (_, Some(_)) => "call",
        ("cancel", None) => "cancel",
        ("welcome", None) => "welcome",
        ("goaway", None) => "goaway",
        ("token_expiring", None) => "token_expiring",
        _ => panic!("unknown: {value}"),
    };
    let id = match kind {
        "call" => value["id"].as_str(),
        "cancel" => value["params"]["id"].as_str(),
        _ => None,
    };
    Envelope {
        kind,
        method: method.to_owned(),
        call: id.map_or(0, |id| u64::from_str_radix(id, 16).expect("a call id")),
        deadline_ms: value["meta"]["deadline_ms"].as_u64().unwrap_or(0),
        params: value["params"].clone(),
    }
}

fn read_binary(bytes: &[u8]) -> Envelope {
    let (head, rest) = bytes.split_first_chunk::<16>().expect("a head");
    let [kind, flags, n0, n1, a0, a1, a2, a3, id @ ..] = *head;
    let (name, payload) = rest.split_at(usize::from(u16::from_le_bytes([n0, n1])));
    let kind = match kind {
        1 => "call",
        6 => "cancel",
        7 => "welcome",
        8 => "goaway",
        15 => "token_expiring",
        _ => panic!("unknown: {bytes:?}"),
    };
    assert!(payload.is_empty() || flags == IS_JSON, "{bytes:?}");
    let params = serde_json::from_slice(payload).unwrap_or(Value::Null);
    Envelope {
        kind,
        method: String::from_utf8(name.to_vec()).expect("a name"),
        call: u64::from_le_bytes(id),
        deadline_ms: u32::from_le_bytes([a0, a1, a2, a3]).into(),
        params,
    }
}
