//! Frames to bytes. The gateway's frames are never masked and never fragmented; clients pass a mask.

use bytes::Bytes;
use tungstenite::protocol::frame::coding::{CloseCode, OpCode};

/// Appends a frame's head to `out`.
pub fn head(opcode: OpCode, payload_bytes: usize, mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    let _ = (opcode, payload_bytes, mask, out);
    todo!()
}

/// A whole unmasked frame around a copy of `payload`, in one allocation.
#[must_use]
pub fn frame(opcode: OpCode, payload: &[u8]) -> Bytes {
    let _ = (opcode, payload);
    todo!()
}

/// A whole unmasked frame whose payload `write` appends to the buffer that it is handed; one allocation when
/// `payload_bytes_hint` is not too small. Only what `write` appends is payload.
#[must_use]
pub fn frame_with(
    opcode: OpCode,
    payload_bytes_hint: usize,
    write: impl FnOnce(&mut Vec<u8>),
) -> Bytes {
    let _ = (opcode, payload_bytes_hint, write);
    todo!()
}

/// A close frame; the reason is cut at a character boundary to fit 123 bytes.
#[must_use]
pub fn close(code: CloseCode, reason: &str) -> Bytes {
    let _ = (code, reason);
    todo!()
}
