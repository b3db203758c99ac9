//! What a peer writes and reads: frames built with the project's encoder, and an independent reader of the server's
//! stream that holds it to RFC 6455.

use fastrand::Rng;
use tungstenite::protocol::frame::coding::OpCode;

use crate::wire::{encode, mask};

use super::packed::Unpacker;

/// A whole thing that the server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The head of its HTTP response.
    Response(u16),
    /// A message: whether it is text, and its payload.
    Message(bool, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// A close frame, with its code.
    Close(Option<u16>),
}

/// Reads the server's stream. Illegal bytes panic.
#[derive(Default)]
pub(super) struct Reader {
    held: Vec<u8>,
    upgraded: bool,
    /// Nothing but the body of an HTTP error, or nothing at all, may follow.
    over: bool,
    /// Reads what is compressed, where that was agreed on.
    unpacker: Option<Box<Unpacker>>,
    /// Messages that came compressed.
    pub(super) packed: u32,
}

impl Reader {
    /// Whether a frame has begun that may be the one that carries this call.
    pub(super) fn may_hold(&self, nonce: u64) -> bool {
        !self.held.is_empty() && nonce_in(&self.held).is_none_or(|held| held == nonce)
    }

    /// Whether messages may be compressed, either way.
    pub(super) fn may_pack(&self) -> bool {
        self.unpacker.is_some()
    }

    /// Takes bytes; what is whole by now.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Said> {
        let mut said = Vec::new();
        assert!(!(self.over && self.upgraded && !bytes.is_empty()), "bytes after the close frame: {bytes:?}");
        self.held.extend_from_slice(bytes);
        while let Some(one) = if self.upgraded { self.frame() } else { self.response() } {
            said.push(one);
        }
        said
    }

    fn response(&mut self) -> Option<Said> {
        if self.over {
            self.held.clear();
        }
        let end = self.held.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let head = String::from_utf8(self.held.drain(..end).collect()).expect("a head is text");
        let status: u16 =
            head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).expect("a status line");
        self.upgraded = status == 101;
        self.unpacker = if self.upgraded { Unpacker::agreed(&head).map(Box::new) } else { None };
        self.over = !self.upgraded;
        Some(Said::Response(status))
    }

    fn frame(&mut self) -> Option<Said> {
        let [first, second, rest @ ..] = self.held.as_slice() else {
            return None;
        };
        assert!(!self.over, "a frame after the close frame");
        let is_packed = first & 0x40 != 0;
        assert_eq!(first & 0xB0, 0x80, "the server sends whole messages without reserved bits");
        assert_eq!(second & 0x80, 0, "the server does not mask");
        let (length_bytes, length) = match second & 0x7F {
            126 => (2, u64::from(u16::from_be_bytes(*rest.first_chunk()?))),
            127 => (8, u64::from_be_bytes(*rest.first_chunk()?)),
            short => (0, u64::from(short)),
        };
        let least = [0, 0, 126, 0, 0, 0, 0, 0, 65_536][length_bytes];
        assert!(length >= least, "lengths are minimal");
        let opcode = first & 0x0F;
        assert!(opcode < 8 || length <= 125, "control frames are short");
        let mut payload = rest.get(length_bytes..length_bytes + length as usize)?.to_vec();
        let taken = 2 + length_bytes + payload.len();
        self.held.drain(..taken);
        if is_packed {
            assert!(opcode == 1 || opcode == 2, "messages are compressed, and nothing else");
            let plain = self.unpacker.as_mut().expect("it was agreed on").unpack(&payload);
            assert!(payload.len() < plain.len(), "what gets no shorter goes out as it is");
            payload = plain;
            self.packed += 1;
        }
        Some(match opcode {
            1 => {
                assert!(std::str::from_utf8(&payload).is_ok(), "text is UTF-8");
                Said::Message(true, payload)
            }
            2 => Said::Message(false, payload),
            8 => {
                self.over = true;
                assert!(self.held.is_empty(), "bytes after the close frame");
                Said::Close(close_code(&payload))
            }
            9 => Said::Ping(payload),
            10 => Said::Pong(payload),
            other => panic!("opcode {other}"),
        })
    }
}

fn close_code(payload: &[u8]) -> Option<u16> {
    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
    assert!(payload.is_empty() || code.is_some_and(|code| (1000..5000).contains(&code)), "a close body is legal");
    code
}

/// A masked frame that ends its message.
pub(super) fn masked(opcode: OpCode, payload: &[u8], rng: &mut Rng) -> Vec<u8> {
    let key = rng.u32(..).to_le_bytes();
    let mut frame = Vec::new();
    encode::head(opcode, payload.len(), Some(key), &mut frame);
    let head = frame.len();
    frame.extend_from_slice(payload);
    mask::apply(&mut frame[head..], key, 0);
    frame
}

/// As [`masked`], but more of the message follows.
pub(super) fn masked_fragment(opcode: OpCode, payload: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut frame = masked(opcode, payload, rng);
    frame[0] &= 0x7F;
    frame
}

/// The number after `nonce-` in a payload: eight hex digits.
pub(super) fn nonce_in(payload: &[u8]) -> Option<u64> {
    let at = payload.windows(6).position(|six| six == b"nonce-")? + 6;
    let digits = std::str::from_utf8(payload.get(at..at + 8)?).ok()?;
    u64::from_str_radix(digits, 16).ok()
}
