//! The request that asks for a WebSocket (RFC 6455 section 4.2, HTTP/1.1), and the answers to it.

mod extensions;
mod fields;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::borrow::Cow;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use httparse::Status;
use tungstenite::handshake::derive_accept_key;

pub use self::extensions::Deflate;
use self::fields::Fields;
use super::envelope::Encoding;
use crate::kit::retry_after::retry_after_secs;

/// Most header fields that a head can have, whatever the limits say: they are parsed on the stack.
const FIELDS_MAX: usize = 64;

/// When an agent may try again that this node cannot take now. Agents add their own back-off to it.
const UNAVAILABLE_WAIT: Duration = Duration::from_secs(5);

const BAD_KEY: &str = "There must be one Sec-WebSocket-Key: the base64 of 16 bytes.";

/// Limits on a request head; over either the answer is 431.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes, request line and blank line included.
    pub bytes_max: usize,
    /// Header fields; at most 64.
    pub fields_max: usize,
}

/// Which of our subprotocols was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// The client offered none: it gets JSON and no header.
    Nothing,
    /// It offered ours: the answer names it.
    Ours(Encoding),
}

/// A good upgrade request. Text parts are ranges of the parsed bytes, all of it checked to be visible ASCII.
#[derive(Clone, Debug)]
pub struct Upgrade {
    /// Length of the head; what follows are frames.
    pub head_bytes: usize,
    /// The path, without the query.
    pub path: Range<usize>,
    /// The query, without the `?`.
    pub query: Option<Range<usize>>,
    /// The credentials of `Authorization: Bearer`.
    pub bearer: Option<Range<usize>>,
    /// `Origin`, where sent.
    pub origin: Option<Range<usize>>,
    /// `Sec-WebSocket-Accept` of the answer (28 characters).
    pub accept: [u8; 28],
    /// The subprotocol; the first one offered that we speak. Offers of only foreign ones are refused with 400.
    pub offer: Offer,
    /// The offer of permessage-deflate that could be taken.
    pub deflate: Option<Deflate>,
}

/// Why a request is answered with an HTTP error. Each is one response with `Connection: close`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not HTTP, or a header that may not be (two `Host`, a body, a bad key…): 400.
    Malformed(&'static str),
    /// The token was refused; the same words for every cause: 401 with `WWW-Authenticate: Bearer`.
    Unauthorized,
    /// A browser's page that may not: 403.
    Forbidden,
    /// No such path: 404.
    NotFound,
    /// Not GET: 405 with `Allow: GET`.
    Method,
    /// No upgrade to WebSocket version 13: 426 with `Upgrade: websocket` and `Sec-WebSocket-Version: 13`.
    UpgradeRequired,
    /// The head is over its limits: 431.
    HeadTooLarge,
    /// Not HTTP/1.1: 505.
    Version,
    /// Too many logins have failed where it comes from: 429 with `Retry-After`.
    TooManyFailures {
        /// Before it is over none of them is let in.
        wait: Duration,
    },
    /// Its tenant has as many agents as it may: 429 with `Retry-After`.
    TenantFull {
        /// When to ask again.
        wait: Duration,
    },
    /// The node is full or stopping: 503 with `Retry-After`.
    Unavailable,
    /// The head did not arrive in time: 408.
    Timeout,
}

impl Refusal {
    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Method => 405,
            Self::Timeout => 408,
            Self::UpgradeRequired => 426,
            Self::TooManyFailures { .. } | Self::TenantFull { .. } => 429,
            Self::HeadTooLarge => 431,
            Self::Unavailable => 503,
            Self::Version => 505,
        }
    }

    /// The whole response, ready to write: plain text that says what to change. `seed` is another one for each connection: those
    /// who are sent away at one moment are not all told the same `Retry-After`.
    #[must_use]
    pub fn response(self, seed: u64) -> Bytes {
        let (reason, fields, text) = self.words(seed);
        let status = self.status();
        let text_bytes = text.len() + 1;
        Bytes::from(format!(
            "HTTP/1.1 {status} {reason}\r\n{fields}Content-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {text_bytes}\r\nConnection: close\r\n\r\n{text}\n"
        ))
    }

    /// Reason phrase, extra fields, and the text.
    fn words(self, seed: u64) -> (&'static str, Cow<'static, str>, &'static str) {
        match self {
            Self::Malformed(why) => ("Bad Request", "".into(), why),
            Self::Unauthorized => (
                "Unauthorized",
                "WWW-Authenticate: Bearer\r\n".into(),
                "The token is missing or not accepted: send a valid one as `Authorization: Bearer …` or `?access_token=…`.",
            ),
            Self::Forbidden => (
                "Forbidden",
                "".into(),
                "Pages of this origin may not connect: have it added to `server.origins`, or send no Origin.",
            ),
            Self::NotFound => ("Not Found", "".into(), "There is nothing here: agents connect to /v1/agent."),
            Self::Method => ("Method Not Allowed", "Allow: GET\r\n".into(), "A WebSocket is opened with GET."),
            Self::Timeout => ("Request Timeout", "".into(), "The request did not arrive in time."),
            Self::UpgradeRequired => (
                "Upgrade Required",
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n".into(),
                "This is a WebSocket port: send `Connection: Upgrade`, `Upgrade: websocket` and `Sec-WebSocket-Version: 13`.",
            ),
            Self::HeadTooLarge => (
                "Request Header Fields Too Large",
                "".into(),
                "The request head is too large: send fewer or shorter header fields.",
            ),
            Self::TooManyFailures { wait } => (
                "Too Many Requests",
                retry_after(wait, seed),
                "Too many logins from this network have failed: come back later, with a valid token.",
            ),
            Self::TenantFull { wait } => (
                "Too Many Requests",
                retry_after(wait, seed),
                "This tenant has as many agents connected as it may: come back later.",
            ),
            Self::Unavailable => (
                "Service Unavailable",
                retry_after(UNAVAILABLE_WAIT, seed),
                "This node takes no new connections now: come back later.",
            ),
            Self::Version => ("HTTP Version Not Supported", "".into(), "A WebSocket is opened with HTTP/1.1."),
        }
    }
}

fn retry_after(wait: Duration, seed: u64) -> Cow<'static, str> {
    format!("Retry-After: {}\r\n", retry_after_secs(wait, seed)).into()
}

/// Reads a request at the start of `bytes`; `None` when the head is cut.
///
/// # Errors
/// Why it cannot be upgraded. `NotFound`, `Unauthorized`, `Forbidden`, `Unavailable`, `Timeout` and those of 429 are never returned: they are not for the parser to say.
pub fn parse(bytes: &[u8], limits: HeadLimits) -> Result<Option<Upgrade>, Refusal> {
    // What lies behind the limit is not looked at, so a head that is cut there is too large, wherever the input ends.
    let bytes = &bytes[..bytes.len().min(limits.bytes_max)];
    // Most requests have a handful of fields: to write all places first would be a tenth of the work.
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let fields = &mut fields[..limits.fields_max.min(FIELDS_MAX)];
    let mut request = httparse::Request::new(&mut []);
    let head_bytes = match request.parse_with_uninit_headers(bytes, fields).map_err(refuse)? {
        Status::Complete(head_bytes) => head_bytes,
        Status::Partial if bytes.len() >= limits.bytes_max => return Err(Refusal::HeadTooLarge),
        Status::Partial => return Ok(None),
    };
    if has_bare_line_feed(&bytes[..head_bytes]) {
        return Err(Refusal::Malformed("Every line must end with CR LF."));
    }
    if request.version != Some(1) {
        return Err(Refusal::Version);
    }
    if request.method != Some("GET") {
        return Err(Refusal::Method);
    }
    let (path, query) = target(request.path.unwrap_or_default())?;
    let fields = Fields::new(request.headers);
    fields.check()?;
    let key = fields.key()?;
    Ok(Some(Upgrade {
        head_bytes,
        path: range_in(bytes, path),
        query: query.map(|query| range_in(bytes, query)),
        bearer: fields.bearer()?.map(|bearer| range_in(bytes, bearer)),
        origin: fields.origin()?.map(|origin| range_in(bytes, origin)),
        accept: accept(key)?,
        offer: fields.offer()?,
        deflate: fields.deflate()?,
    }))
}

fn refuse(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::HeadTooLarge,
        httparse::Error::Version => Refusal::Version,
        httparse::Error::HeaderName => {
            Refusal::Malformed("A header field's name is broken (no space before the colon, no folded lines).")
        }
        httparse::Error::HeaderValue => Refusal::Malformed("A header field's value has a control character."),
        _ => Refusal::Malformed("This is not an HTTP/1.1 request."),
    }
}

/// httparse takes a lone LF for the end of a line. Proxies disagree about it, and that is how requests are smuggled.
fn has_bare_line_feed(head: &[u8]) -> bool {
    // Gone through to the end instead of searched: the compiler turns that into vector instructions.
    let behind = head.get(1..).unwrap_or_default();
    let bare = |(byte, before): (&u8, &u8)| (*byte == b'\n') & (*before != b'\r');
    head.first() == Some(&b'\n') || behind.iter().zip(head).fold(false, |any, pair| any | bare(pair))
}

/// Splits the request target, which must be in origin form (RFC 9112 section 3.2.1).
fn target(target: &str) -> Result<(&str, Option<&str>), Refusal> {
    if !target.starts_with('/') || target.contains('#') || !is_visible_ascii(target.as_bytes()) {
        return Err(Refusal::Malformed("The request target must be a path in visible ASCII, without a fragment."));
    }
    Ok(match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    })
}

fn is_visible_ascii(bytes: &[u8]) -> bool {
    // To the end too, for the same reason: tokens are long.
    !bytes.iter().fold(false, |any, byte| any | !byte.is_ascii_graphic())
}

/// Where `part`, which was cut out of `whole`, lies in it.
fn range_in(whole: &[u8], part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

fn accept(key: &[u8]) -> Result<[u8; 28], Refusal> {
    derive_accept_key(key).as_bytes().try_into().map_err(|_| Refusal::Malformed(BAD_KEY))
}

/// The value of `key` in a query string, percent-decoded; `None` when absent, given more than once, wrongly escaped or
/// not UTF-8.
#[must_use]
pub fn query_value(query: &str, key: &str) -> Option<String> {
    let mut values = query.split('&').filter_map(|pair| pair.split_once('=')).filter(|(name, _)| *name == key);
    // Who checks a request before us may look at another of two values than we do.
    match (values.next(), values.next()) {
        (Some((_, value)), None) => percent_decode(value),
        _ => None,
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte == b'%' {
            let (digits, behind) = rest.split_at_checked(2)?;
            let [high, low] = [digits[0], digits[1]].map(|digit| char::from(digit).to_digit(16));
            out.push((high? << 4 | low?) as u8);
            rest = behind;
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

/// The 101 response, with the subprotocol and the extension that were agreed on.
#[must_use]
pub fn switching(accept: [u8; 28], offer: Offer, deflate: Option<Deflate>) -> Bytes {
    let mut out = Vec::with_capacity(192);
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
    );
    out.extend_from_slice(&accept);
    if let Offer::Ours(encoding) = offer {
        out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
        out.extend_from_slice(encoding.subprotocol().as_bytes());
    }
    if let Some(deflate) = deflate {
        out.extend_from_slice(b"\r\nSec-WebSocket-Extensions: ");
        out.extend_from_slice(deflate.answer().as_bytes());
    }
    out.extend_from_slice(b"\r\n\r\n");
    Bytes::from(out)
}
