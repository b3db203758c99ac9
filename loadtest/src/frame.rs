//! Frames as a client sees them (RFC 6455 section 5.2): masked ones out, unmasked ones in.
//!
//! Owns no bytes and no socket. The gateway never fragments, so a frame that is not whole is a fault here.

use std::ops::Range;

use holdfast::wire::{encode, mask};
use tungstenite::protocol::frame::coding::OpCode;

/// A whole frame that was found at the start of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it carries; never reserved, never a continuation.
    pub opcode: OpCode,
    /// Where its payload lies; the frame ends where the payload ends.
    pub payload: Range<usize>,
}

/// A server sent a frame that it must not send; says which rule it broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// Appends a masked frame around a copy of `payload`.
pub fn masked(opcode: OpCode, payload: &[u8], key: [u8; 4], out: &mut Vec<u8>) {
    encode::head(opcode, payload.len(), Some(key), out);
    let begin = out.len();
    out.extend_from_slice(payload);
    mask::apply(&mut out[begin..], key, 0);
}

/// Reads a frame at the start of `bytes`: `None` when it is cut.
///
/// # Errors
/// The rule that the server broke.
pub fn parse(bytes: &[u8]) -> Result<Option<Frame>, Malformed> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    if first & 0x80 == 0 {
        return Err(Malformed("a fragment"));
    }
    if first & 0x70 != 0 {
        return Err(Malformed("reserved bits set"));
    }
    if second & 0x80 != 0 {
        return Err(Malformed("a masked frame from a server"));
    }
    let opcode = match first & 0x0f {
        code @ (1 | 2 | 8 | 9 | 10) => OpCode::from(code),
        _ => return Err(Malformed("an opcode that starts no message")),
    };
    let Some((payload_bytes, head_bytes)) = length(second & 0x7f, rest) else {
        return Ok(None);
    };
    let end = usize::try_from(payload_bytes)
        .ok()
        .and_then(|length| length.checked_add(head_bytes))
        .ok_or(Malformed("a length beyond memory"))?;
    Ok((bytes.len() >= end).then_some(Frame { opcode, payload: head_bytes..end }))
}

/// Payload length and length of the whole head; `None` when the head is cut.
fn length(short: u8, rest: &[u8]) -> Option<(u64, usize)> {
    match short {
        126 => {
            let bytes = rest.first_chunk::<2>()?;
            Some((u64::from(u16::from_be_bytes(*bytes)), 4))
        }
        127 => {
            let bytes = rest.first_chunk::<8>()?;
            Some((u64::from_be_bytes(*bytes), 10))
        }
        _ => Some((u64::from(short), 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_of_a_frame_is_waited_for() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload = vec![b'x'; length];
            let bytes = encode::frame(OpCode::from(2), &payload);
            let cuts = (0..bytes.len().min(20)).chain([bytes.len() - 1]);
            for cut in cuts {
                assert_eq!(parse(&bytes[..cut]), Ok(None), "{length} cut at {cut}");
            }
            let frame = parse(&bytes).expect("legal").expect("whole");
            assert_eq!(&bytes[frame.payload], &payload[..]);
        }
    }

    #[test]
    fn illegal_heads_are_refused() {
        for (head, rule) in [
            ([0x01, 0], "a fragment"),
            ([0xc1, 0], "reserved bits set"),
            ([0x81, 0x80], "a masked frame from a server"),
            ([0x80, 0], "an opcode that starts no message"),
            ([0x83, 0], "an opcode that starts no message"),
        ] {
            assert_eq!(parse(&head), Err(Malformed(rule)));
        }
    }

    #[test]
    fn what_is_masked_is_unmasked_by_the_same_key() {
        let mut out = Vec::new();
        masked(OpCode::from(1), b"hello", [1, 2, 3, 4], &mut out);
        assert_eq!(out[..6], [0x81, 0x85, 1, 2, 3, 4]);
        mask::apply(&mut out[6..], [1, 2, 3, 4], 0);
        assert_eq!(&out[6..], b"hello");
    }
}
