//! The body of a close frame (RFC 6455 sections 5.5.1 and 7.4).

use tungstenite::protocol::frame::coding::CloseCode;

use super::rules::Violation;

/// Longest reason that fits a close frame, in bytes.
pub const REASON_BYTES_MAX: usize = 123;

/// Reads the body of a received close frame: its code, `None` for an empty body.
///
/// # Errors
/// A one-byte body, a code that must not be sent, a reason that is not UTF-8.
pub fn parse(body: &[u8]) -> Result<Option<CloseCode>, Violation> {
    let _ = body;
    todo!()
}
