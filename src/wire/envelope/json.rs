//! Envelopes as JSON-RPC 2.0, in text messages.
//!
//! Finds the members that the gateway needs and hands the rest on as the text that it was: no tree is ever built, and
//! no depth of nesting uses the stack. What JSON-RPC calls a server is the agent for calls, and the gateway for requests.

mod write;

pub(super) use self::write::{write, write_call_id, write_params, write_payload, write_string};

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::value::RawValue;

use crate::kit::ids::CallId;

use super::{BATCH_MAX, Fault, Inbound, Payload};

/// The id that stands for none.
pub(super) const NULL: &[u8] = b"null";

/// The members of an envelope, each as the text that it was.
#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) error: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) meta: Option<&'a RawValue>,
}

/// JSON-RPC 2.0 section 5.1.
#[derive(Deserialize)]
pub(super) struct ErrorObject<'a> {
    pub(super) code: i64,
    #[serde(borrow)]
    pub(super) message: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) data: Option<&'a RawValue>,
}

/// Parameters of `receipt` and `progress`.
#[derive(Deserialize)]
struct AboutCall<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
}

/// A member that is there is `Some`, `null` too; serde alone would read `null` as absent.
pub(super) fn present<'de, D: Deserializer<'de>>(member: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(member).map(Some)
}

impl<'a> Message<'a> {
    /// Reads one object.
    ///
    /// # Errors
    /// Not JSON; JSON that is no object, or one with a member given twice.
    pub(super) fn parse(text: &'a str) -> Result<Self, Fault> {
        let parsed = if first_byte(text) == Some(b'{') { serde_json::from_str(text).ok() } else { None };
        // Whether it is JSON at all is asked only about what is refused anyway.
        parsed.ok_or_else(|| match serde_json::from_str::<&RawValue>(text) {
            Ok(_) => Fault::Invalid,
            Err(_) => Fault::Parse,
        })
    }

    /// Whether it says `"jsonrpc":"2.0"`.
    pub(super) fn is_version_2(&self) -> bool {
        self.jsonrpc.is_some_and(|version| string(version).as_deref() == Some("2.0"))
    }

    /// `null` is as good as absent in a reply that has both `result` and `error`: many encoders write both.
    pub(super) fn drop_null_of_two(&mut self) {
        if let (Some(result), Some(error)) = (self.result, self.error) {
            if is_null(error) {
                self.error = None;
            } else if is_null(result) {
                self.result = None;
            }
        }
    }
}

/// See [`super::decode`].
pub(super) fn decode<'a>(message: &'a [u8], each: &mut dyn FnMut(Inbound<'a>)) -> bool {
    entries(message, &mut |entry| each(entry.map_or_else(|fault| invalid(NULL, fault), decode_one)))
}

/// The texts of a message's envelopes, in order: one, or those of a batch; a fault for a message that has none. Returns
/// whether it was a batch.
pub(super) fn entries<'a>(message: &'a [u8], each: &mut dyn FnMut(Result<&'a str, Fault>)) -> bool {
    let Ok(text) = simdutf8::basic::from_utf8(message) else {
        each(Err(Fault::Parse));
        return false;
    };
    if first_byte(text) != Some(b'[') {
        each(Ok(text));
        return false;
    }
    // No entry is acted on before the whole array is known to be right.
    match serde_json::from_str::<Batch<'a>>(text) {
        Err(_) => each(Err(Fault::Parse)),
        Ok(batch) if batch.count == 0 || batch.count > BATCH_MAX => each(Err(Fault::Invalid)),
        Ok(batch) => {
            for entry in batch.entries {
                each(Ok(entry.get()));
            }
            return true;
        }
    }
    false
}

fn decode_one(text: &str) -> Inbound<'_> {
    match Message::parse(text) {
        Ok(message) => classify(message),
        Err(fault) => invalid(NULL, fault),
    }
}

fn classify(mut message: Message<'_>) -> Inbound<'_> {
    let id = match message.id.map(RawValue::get) {
        // Only a text, a number or null can be an id.
        Some(id) if !id.starts_with(['{', '[', 't', 'f']) => Some(id.as_bytes()),
        Some(_) => return invalid(NULL, Fault::Invalid),
        None => None,
    };
    let wrong = invalid(id.unwrap_or(NULL), Fault::Invalid);
    if !message.is_version_2() {
        return wrong;
    }
    message.drop_null_of_two();
    match (message.method, message.result, message.error, id) {
        (Some(method), None, None, id) => match (string(method), id) {
            (Some(method), Some(id)) => Inbound::Request { id, method, payload: optional(message.params) },
            (Some(method), None) => notification(method, message.params),
            (None, _) => wrong,
        },
        (None, Some(result), None, Some(_)) => match message.id.and_then(call_id) {
            Some(call) => Inbound::Result { call, payload: payload(result) },
            None => Inbound::Stray,
        },
        (None, None, Some(error), Some(_)) => match object::<ErrorObject<'_>>(error) {
            Some(error) => reply_error(message.id.and_then(call_id), error),
            None => wrong,
        },
        _ => wrong,
    }
}

fn reply_error<'a>(call: Option<CallId>, error: ErrorObject<'a>) -> Inbound<'a> {
    match call {
        Some(call) => Inbound::Error { call, code: error.code, message: error.message, data: error.data.map(payload) },
        None => Inbound::Stray,
    }
}

fn notification<'a>(method: Cow<'a, str>, params: Option<&'a RawValue>) -> Inbound<'a> {
    if method != "receipt" && method != "progress" {
        return Inbound::Notification { method, payload: optional(params) };
    }
    // A notification is never answered, so one about no call can only be counted.
    let about = params.and_then(object::<AboutCall<'_>>);
    match about.and_then(|about| Some((call_id(about.id)?, about.data))) {
        None => Inbound::Stray,
        Some((call, _)) if method == "receipt" => Inbound::Receipt { call },
        Some((call, data)) => {
            Inbound::Progress { call, payload: data.map_or(Payload { bytes: NULL, json: true }, payload) }
        }
    }
}

fn invalid(id: &[u8], error: Fault) -> Inbound<'_> {
    Inbound::Invalid { id, error }
}

/// The entries of an array: the first [`BATCH_MAX`] of them, and how many there are.
struct Batch<'a> {
    entries: Vec<&'a RawValue>,
    count: usize,
}

impl<'de> Deserialize<'de> for Batch<'de> {
    fn deserialize<D: Deserializer<'de>>(array: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Batch<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Batch<'de>, A::Error> {
                let mut entries = Vec::new();
                let mut count = 0;
                while count < BATCH_MAX
                    && let Some(entry) = seq.next_element()?
                {
                    entries.push(entry);
                    count += 1;
                }
                while seq.next_element::<de::IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Batch { entries, count })
            }
        }
        array.deserialize_seq(Entries)
    }
}

/// The first byte behind white space (RFC 8259 section 2).
pub(super) fn first_byte(text: &str) -> Option<u8> {
    text.bytes().find(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
}

/// The text of a JSON string; `None` when it is something else.
pub(super) fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str(raw.get()).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

/// The members of a JSON object; `None` when it is something else.
pub(super) fn object<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Option<T> {
    if !raw.get().starts_with('{') {
        return None;
    }
    serde_json::from_str(raw.get()).ok()
}

/// The call that a member names; `None` when it is no call id.
pub(super) fn call_id(raw: &RawValue) -> Option<CallId> {
    string(raw)?.parse().ok()
}

/// A member as an opaque payload.
pub(super) fn payload(raw: &RawValue) -> Payload<'_> {
    Payload { bytes: raw.get().as_bytes(), json: true }
}

/// A member that may be absent, which is empty bytes.
pub(super) fn optional(raw: Option<&RawValue>) -> Payload<'_> {
    raw.map_or(Payload { bytes: b"", json: false }, payload)
}

fn is_null(raw: &RawValue) -> bool {
    raw.get().as_bytes() == NULL
}
