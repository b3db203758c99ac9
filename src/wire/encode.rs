//! Frames to bytes. The gateway's frames are never masked and never fragmented; clients pass a mask.

use bytes::{Buf, Bytes};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

use super::close::REASON_BYTES_MAX;
use super::utf8;

/// Appends a frame's head to `out`.
pub fn head(opcode: OpCode, payload_bytes: usize, mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    let written = header(opcode, mask).format(payload_bytes as u64, out);
    debug_assert!(written.is_ok(), "writing to a Vec cannot fail");
}

/// A whole unmasked frame around a copy of `payload`, in one allocation.
#[must_use]
pub fn frame(opcode: OpCode, payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(head_bytes(payload.len()) + payload.len());
    head(opcode, payload.len(), None, &mut out);
    out.extend_from_slice(payload);
    Bytes::from(out)
}

/// A whole unmasked data frame around a copy of a compressed message (RFC 7692 section 6).
#[must_use]
pub fn compressed(opcode: OpCode, message: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(head_bytes(message.len()) + message.len());
    let header = FrameHeader { rsv1: true, ..header(opcode, None) };
    let written = header.format(message.len() as u64, &mut out);
    debug_assert!(written.is_ok(), "writing to a Vec cannot fail");
    out.extend_from_slice(message);
    Bytes::from(out)
}

/// The message of one whole data frame that was written here, uncompressed; `None` where `frame` is anything else: a control frame, several
/// frames, an HTTP response.
#[must_use]
pub fn message_of(frame: &[u8]) -> Option<(OpCode, &[u8])> {
    let opcode = match frame.first()? {
        0x81 => OpCode::Data(Data::Text),
        0x82 => OpCode::Data(Data::Binary),
        _ => return None,
    };
    let (payload_bytes, message) = match frame.get(1..)? {
        [short @ 0..=125, message @ ..] => (usize::from(*short), message),
        [126, high, low, message @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), message),
        [127, rest @ ..] => {
            let (length, message) = rest.split_first_chunk()?;
            (usize::try_from(u64::from_be_bytes(*length)).ok()?, message)
        }
        _ => return None,
    };
    (message.len() == payload_bytes).then_some((opcode, message))
}

/// A whole unmasked frame whose payload `write` appends to the buffer that it is handed; one allocation when
/// `payload_bytes_hint` is exact, a second, small one when it is a little too large. Only what `write` appends is payload.
#[must_use]
pub fn frame_with(opcode: OpCode, payload_bytes_hint: usize, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    // The head's length depends on the payload's, so room for the expected head is left free, and the head goes to
    // the end of that room. The bytes before it are never seen.
    //
    //   0        room - len(head)     room
    //   | unused | head               | payload …
    let room = head_bytes(payload_bytes_hint);
    let mut out = Vec::with_capacity(room + payload_bytes_hint);
    out.resize(room, 0);
    write(&mut out);
    let payload_bytes = out.len() - room;

    let header = header(opcode, None);
    let head_bytes = head_bytes(payload_bytes);
    if head_bytes > room {
        out.splice(..0, std::iter::repeat_n(0, head_bytes - room));
    }
    let unused = room.saturating_sub(head_bytes);
    let mut place = &mut out[unused..];
    let written = header.format(payload_bytes as u64, &mut place);
    debug_assert!(written.is_ok(), "the room is as long as the head");

    let mut bytes = Bytes::from(out);
    bytes.advance(unused);
    bytes
}

/// Appends a whole unmasked frame whose payload `write` appends: nothing is moved when `payload_bytes_hint` leads to a head
/// of the right length.
pub fn append_with(out: &mut Vec<u8>, opcode: OpCode, payload_bytes_hint: usize, write: impl FnOnce(&mut Vec<u8>)) {
    let (start, room) = (out.len(), head_bytes(payload_bytes_hint));
    out.reserve(room + payload_bytes_hint);
    out.resize(start + room, 0);
    write(out);
    let payload_bytes = out.len() - start - room;
    let head_bytes = head_bytes(payload_bytes);
    if head_bytes != room {
        out.splice(start..start + room, std::iter::repeat_n(0, head_bytes));
    }
    let mut place = &mut out[start..];
    let written = header(opcode, None).format(payload_bytes as u64, &mut place);
    debug_assert!(written.is_ok(), "the room is as long as the head");
}

/// A close frame; the reason is cut at a character boundary to fit 123 bytes. `CloseCode::Status` ("no code") gives an
/// empty body, because that code must not be sent (section 7.4.1).
#[must_use]
pub fn close(code: CloseCode, reason: &str) -> Bytes {
    let opcode = OpCode::Control(Control::Close);
    if code == CloseCode::Status {
        return frame(opcode, b"");
    }
    let reason = utf8::cut(reason, REASON_BYTES_MAX);
    frame_with(opcode, 2 + reason.len(), |out| {
        out.extend_from_slice(&u16::from(code).to_be_bytes());
        out.extend_from_slice(reason.as_bytes());
    })
}

fn header(opcode: OpCode, mask: Option<[u8; 4]>) -> FrameHeader {
    FrameHeader { is_final: true, rsv1: false, rsv2: false, rsv3: false, opcode, mask }
}

/// Length of an unmasked frame's head, in bytes.
fn head_bytes(payload_bytes: usize) -> usize {
    match payload_bytes {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => 10,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SIZES: [usize; 8] = [0, 1, 125, 126, 127, 65_535, 65_536, 70_000];

    /// Splits a whole unmasked frame with tungstenite's own parser.
    fn split(frame: &[u8]) -> (OpCode, &[u8]) {
        let mut cursor = std::io::Cursor::new(frame);
        let (header, len) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
        let payload = &frame[cursor.position() as usize..];
        assert_eq!(len as usize, payload.len());
        assert!(header.is_final && header.mask.is_none());
        (header.opcode, payload)
    }

    #[test]
    fn frames_hold_their_payload_whatever_the_hint() {
        let opcode = OpCode::Data(Data::Binary);
        for size in SIZES {
            let payload: Vec<u8> = (0..size).map(|i| i as u8).collect();
            assert_eq!(split(&frame(opcode, &payload)), (opcode, &payload[..]));
            for hint in SIZES {
                let frame = frame_with(opcode, hint, |out| out.extend_from_slice(&payload));
                assert_eq!(split(&frame), (opcode, &payload[..]), "{size} {hint}");
                let mut joined = b"before".to_vec();
                append_with(&mut joined, opcode, hint, |out| out.extend_from_slice(&payload));
                assert_eq!(joined.split_off(6), frame, "{size} {hint}");
                assert_eq!(joined, b"before");
            }
        }
    }

    #[test]
    fn an_exact_hint_moves_nothing() {
        for size in SIZES {
            let mut payload_at = std::ptr::null();
            let frame = frame_with(OpCode::Data(Data::Text), size, |out| {
                payload_at = out.as_ptr_range().end;
                out.resize(out.len() + size, b'x');
                assert_eq!(out.len(), out.capacity(), "no room is left over");
            });
            assert_eq!(frame[frame.len() - size..].as_ptr(), payload_at, "{size}");
        }
    }

    #[test]
    fn a_message_is_found_in_its_frame_and_in_nothing_else() {
        for size in SIZES {
            let message = vec![b'x'; size];
            for opcode in [OpCode::Data(Data::Text), OpCode::Data(Data::Binary)] {
                let whole = frame(opcode, &message);
                assert_eq!(message_of(&whole), Some((opcode, &message[..])), "{size}");
                assert_eq!(message_of(&whole[..whole.len() - 1]), None, "{size}");
                assert_eq!(message_of(&[&whole[..], &whole].concat()), None, "{size}");
                let mut flagged = compressed(opcode, &message).to_vec();
                assert_eq!(message_of(&flagged), None, "it is not compressed twice");
                flagged[0] &= !0x40;
                assert_eq!(flagged, whole, "the bit is all that differs");
            }
        }
        for other in
            [&b""[..], b"\x81", b"\x82\x7e\x01", b"\x82\xfe\x00\x00", b"\x89\x00", b"\x01\x00", b"HTTP/1.1 101 "]
        {
            assert_eq!(message_of(other), None, "{other:x?}");
        }
    }

    #[test]
    fn a_client_head_carries_its_mask() {
        let mut out = b"before".to_vec();
        head(OpCode::Data(Data::Text), 200, Some([9, 8, 7, 6]), &mut out);
        assert_eq!(out, b"before\x81\xfe\x00\xc8\x09\x08\x07\x06");
    }

    #[test]
    fn closes() {
        assert_eq!(close(CloseCode::Normal, "bye").as_ref(), b"\x88\x05\x03\xe8bye");
        assert_eq!(close(CloseCode::Status, "unseen").as_ref(), b"\x88\x00");
        for reason in ["x".repeat(124), "ü".repeat(62), "🎉".repeat(40)] {
            let frame = close(CloseCode::from(4500), &reason);
            let (_, body) = split(&frame);
            assert!(body.len() <= 125 && body.len() > 121);
            assert!(reason.starts_with(std::str::from_utf8(&body[2..]).unwrap()));
        }
    }
}
