//! The request that asks for a WebSocket (RFC 6455 section 4.2, HTTP/1.1), and the answers to it.

use std::ops::Range;

use bytes::Bytes;

use super::envelope::Encoding;

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
}

/// Why a request is answered with an HTTP error. Each is one response with `Connection: close`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not HTTP, or a header that may not be (two `Host`, a body, a bad key…): 400.
    Malformed(&'static str),
    /// The token was refused; the same words for every cause: 401 with `WWW-Authenticate: Bearer`.
    Unauthorized,
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
            Self::NotFound => 404,
            Self::Method => 405,
            Self::Timeout => 408,
            Self::UpgradeRequired => 426,
            Self::HeadTooLarge => 431,
            Self::Unavailable => 503,
            Self::Version => 505,
        }
    }

    /// The whole response, ready to write: plain text that says what to change.
    #[must_use]
    pub fn response(self) -> Bytes {
        todo!()
    }
}

/// Reads a request at the start of `bytes`; `None` when the head is cut.
///
/// # Errors
/// Why it cannot be upgraded. `NotFound`, `Unauthorized`, `Unavailable` and `Timeout` are never returned: they are not for the parser to say.
pub fn parse(bytes: &[u8], limits: HeadLimits) -> Result<Option<Upgrade>, Refusal> {
    let _ = (bytes, limits);
    todo!()
}

/// The value of `key` in a query string, percent-decoded; `None` when absent or not UTF-8.
#[must_use]
pub fn query_value(query: &str, key: &str) -> Option<String> {
    let _ = (query, key);
    todo!()
}

/// The 101 response.
#[must_use]
pub fn switching(accept: [u8; 28], offer: Offer) -> Bytes {
    let _ = (accept, offer);
    todo!()
}
