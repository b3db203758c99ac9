//! A backend on a control link whose every word the test chooses, in both encodings, written from `docs/protocol.md` and not
//! with the gateway's code.

use serde_json::{Value, json};
use tungstenite::Message;
use tungstenite::client::ClientRequestBuilder;

use crate::agent::Encoding;
use crate::gateway::Gateway;
use crate::peer::Peer;

/// Flag of a binary payload that is JSON.
const IS_JSON: u8 = 1;

/// Each outcome that is no answer of the agent's, and its code.
const CODES: [(&str, i64); 9] = [
    ("agent_error", -32000),
    ("offline", -32001),
    ("not_delivered", -32002),
    ("no_receipt", -32003),
    ("no_reply", -32004),
    ("lost", -32005),
    ("busy", -32006),
    ("cancelled", -32007),
    ("draining", -32008),
];

/// An open link.
pub struct Linker {
    /// Its connection.
    pub peer: Peer,
    encoding: Encoding,
    /// What its `welcome` said.
    pub welcome: Value,
}

/// What the gateway said.
#[derive(Debug)]
pub struct Said {
    /// `ended`, `refused` or `goaway`.
    pub kind: &'static str,
    /// The backend's id; null where there is none.
    pub id: Value,
    /// The outcome's word.
    pub outcome: String,
    /// The result, or the agent's error.
    pub body: Value,
    /// Of a refusal.
    pub code: i64,
    /// The gateway's id of the call, where told.
    pub call: Option<u64>,
}

/// A request for a link.
pub fn request(gateway: &Gateway, encoding: Encoding) -> ClientRequestBuilder {
    let uri = format!("ws://{}/v1/link", gateway.link.expect("a link port"));
    let subprotocol = match encoding {
        Encoding::Json => "holdfast.v1.json",
        Encoding::Binary => "holdfast.v1.bin",
    };
    ClientRequestBuilder::new(uri.parse().expect("a URI")).with_sub_protocol(subprotocol)
}

impl Linker {
    /// Opens a link without a key and reads the welcome.
    pub fn open(gateway: &Gateway, encoding: Encoding) -> Self {
        Self::with(gateway, request(gateway, encoding), encoding)
    }

    /// Opens a link with a request and reads the welcome.
    pub fn with(gateway: &Gateway, request: ClientRequestBuilder, encoding: Encoding) -> Self {
        let mut peer = Peer::open_at(gateway.link.expect("a link port"), request);
        let welcome = match (encoding, peer.read()) {
            (Encoding::Json, Message::Text(text)) => {
                let value: Value = serde_json::from_str(&text).expect("JSON");
                assert_eq!(value["method"], "welcome", "{value}");
                value["params"].clone()
            }
            (Encoding::Binary, Message::Binary(bytes)) => {
                assert_eq!((bytes[0], bytes[1]), (7, IS_JSON));
                serde_json::from_slice(&bytes[16..]).expect("JSON")
            }
            (_, other) => panic!("no welcome: {other:?}"),
        };
        Self { peer, encoding, welcome }
    }

    /// Sends a call; no time-out where `timeout_ms` is zero.
    pub fn call(&mut self, id: u64, agent: &str, method: &str, params: &Value, timeout_ms: u32) {
        let message = match self.encoding {
            Encoding::Json => {
                let mut meta = json!({"agent": agent});
                if timeout_ms > 0 {
                    meta["timeout_ms"] = timeout_ms.into();
                }
                text(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params, "meta": meta}))
            }
            Encoding::Binary => {
                binary(13, IS_JSON, &format!("{agent}/{method}"), timeout_ms, id, params.to_string().as_bytes())
            }
        };
        self.peer.send(message);
    }

    /// Takes a call back.
    pub fn cancel(&mut self, id: u64) {
        let message = match self.encoding {
            Encoding::Json => text(&json!({"jsonrpc": "2.0", "method": "cancel", "params": {"id": id}})),
            Encoding::Binary => binary(6, 0, "", 0, id, b""),
        };
        self.peer.send(message);
    }

    /// What the gateway says next.
    pub fn said(&mut self) -> Said {
        match (self.encoding, self.peer.read()) {
            (Encoding::Json, Message::Text(text)) => read_json(&serde_json::from_str(&text).expect("JSON")),
            (Encoding::Binary, Message::Binary(bytes)) => read_binary(&bytes),
            (_, other) => panic!("not a message of this encoding: {other:?}"),
        }
    }

    /// The next thing said is the end of this call, with this outcome.
    pub fn expect(&mut self, id: u64, outcome: &str) -> Said {
        let said = self.said();
        assert_eq!((said.kind, &said.id, said.outcome.as_str()), ("ended", &json!(id), outcome), "{said:?}");
        said
    }
}

fn text(value: &Value) -> Message {
    Message::text(value.to_string())
}

fn binary(kind: u8, flags: u8, name: &str, aux: u32, id: u64, payload: &[u8]) -> Message {
    let name_len = u16::try_from(name.len()).expect("a short name");
    let mut bytes = vec![kind, flags];
    bytes.extend(name_len.to_le_bytes());
    bytes.extend(aux.to_le_bytes());
    bytes.extend(id.to_le_bytes());
    bytes.extend(name.as_bytes());
    bytes.extend(payload);
    Message::binary(bytes)
}

fn call_id(value: &Value) -> Option<u64> {
    value.as_str().map(|id| u64::from_str_radix(id, 16).expect("a call id"))
}

fn read_json(value: &Value) -> Said {
    assert_eq!(value["jsonrpc"], "2.0", "{value}");
    let said = |kind, outcome: &Value, body: &Value, call: &Value| Said {
        kind,
        id: value["id"].clone(),
        outcome: outcome.as_str().unwrap_or_default().to_owned(),
        body: body.clone(),
        code: value["error"]["code"].as_i64().unwrap_or(0),
        call: call_id(call),
    };
    if let Some(method) = value["method"].as_str() {
        assert_eq!(method, "goaway", "{value}");
        return said("goaway", &Value::Null, &value["params"], &Value::Null);
    }
    if let Some(result) = value.get("result") {
        assert_eq!(result["outcome"], "ok", "{value}");
        return said("ended", &result["outcome"], &result["result"], &result["call"]);
    }
    let data = &value["error"]["data"];
    if data.is_null() {
        return said("refused", &Value::Null, &Value::Null, &Value::Null);
    }
    let said = said("ended", &data["outcome"], &data["error"], &data["call"]);
    assert_eq!(CODES.iter().find(|(word, _)| *word == said.outcome).map(|(_, code)| *code), Some(said.code), "{value}");
    assert!(value["error"]["message"].is_string() && data["agent"].is_string(), "{value}");
    said
}

fn read_binary(bytes: &[u8]) -> Said {
    let (head, rest) = bytes.split_first_chunk::<16>().expect("a head");
    let [kind, _, n0, n1, a0, a1, a2, a3, id @ ..] = *head;
    let (name, payload) = rest.split_at(usize::from(u16::from_le_bytes([n0, n1])));
    let name = std::str::from_utf8(name).expect("text").to_owned();
    let code = i64::from(u32::from_le_bytes([a0, a1, a2, a3]).cast_signed());
    let json: Value = serde_json::from_slice(payload).unwrap_or(Value::Null);
    let id = json!(u64::from_le_bytes(id));
    let said =
        |kind, outcome: &str, body, call| Said { kind, id: id.clone(), outcome: outcome.to_owned(), body, code, call };
    match kind {
        2 => said("ended", "ok", json, None),
        3 => said("ended", "agent_error", json!({"code": code, "message": name, "data": json}), None),
        8 => said("goaway", "", json, None),
        12 => said("refused", "", Value::Null, None),
        14 => {
            let row = CODES.iter().find(|(word, _)| *word == name);
            assert_eq!(row.map(|(_, code)| *code), Some(code), "{bytes:?}");
            assert_eq!(json["outcome"], name, "{json}");
            assert!(json["agent"].is_string(), "{json}");
            let call = call_id(&json["call"]);
            said("ended", &name, json, call)
        }
        _ => panic!("unknown: {bytes:?}"),
    }
}
