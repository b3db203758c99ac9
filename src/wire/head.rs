//! The head of a frame (RFC 6455 section 5.2): tungstenite reads its fields, the rules it does not check are here.

use tungstenite::protocol::frame::coding::OpCode;

use super::rules::Violation;

/// Longest head of a masked frame, in bytes.
pub const HEAD_BYTES_MAX: usize = 14;

/// A legal head of a client's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Whether the frame ends its message.
    pub fin: bool,
    /// What it carries; never reserved.
    pub opcode: OpCode,
    /// The masking key.
    pub mask: [u8; 4],
    /// Payload length, in bytes; at most 125 for a control frame.
    pub payload_bytes: u64,
    /// Length of the head itself, in bytes.
    pub head_bytes: usize,
}

/// Reads a head at the start of `bytes`: `None` when it is cut.
///
/// # Errors
/// The first rule that it breaks, also when the head is cut after the offending byte.
pub fn parse(bytes: &[u8]) -> Result<Option<Head>, Violation> {
    let _ = bytes;
    todo!()
}
