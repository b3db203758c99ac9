//! A stream of client frames, cut anywhere, into pieces of messages.
//!
//! Owns what must be remembered across a cut and nothing else: payload bytes are unmasked where they lie and given
//! back as ranges of the input. Any cut of a stream gives the same pieces, but for how data is split. It never allocates.

use std::ops::Range;

use tungstenite::protocol::frame::coding::{Control as ControlCode, Data as DataCode, OpCode};

use super::head::{self, CONTROL_BYTES_MAX, HEAD_BYTES_MAX, Head, Rsv1};
use super::mask;
use super::rules::Violation;
use super::utf8::Utf8;

/// What holds for the messages of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Most payload bytes of a message, compressed or not.
    pub message_bytes_max: u64,
    /// Whether messages may be compressed.
    pub rsv1: Rsv1,
}

/// The payload of a control frame: at most 125 bytes, copied out.
#[derive(Clone, Copy)]
pub struct Control {
    len: u8,
    bytes: [u8; CONTROL_BYTES_MAX],
}

impl Control {
    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    fn empty() -> Self {
        Self { len: 0, bytes: [0; CONTROL_BYTES_MAX] }
    }

    /// Appends; a head with more than 125 bytes was refused before.
    fn extend(&mut self, bytes: &[u8]) {
        let held = usize::from(self.len);
        self.bytes[held..held + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u8;
    }
}

/// What a decoder found next.
pub enum Piece {
    /// Payload of a data message. The ranges between one `first` and its `last` make up the message; a range may be empty.
    Data {
        /// Whether the message is text (checked UTF-8 so far, unless it is compressed) or binary.
        text: bool,
        /// Whether the bytes are compressed.
        compressed: bool,
        /// Where the unmasked bytes lie in the input.
        range: Range<usize>,
        /// Whether the message begins here.
        first: bool,
        /// Whether the message ends here; a text that ends is complete UTF-8, unless it is compressed.
        last: bool,
    },
    /// A ping, whole.
    Ping(Control),
    /// A pong, whole.
    Pong(Control),
    /// A close frame, whole; its body is not yet judged (see [`super::close::parse`]).
    Close(Control),
}

/// Decoder state between two inputs. At rest it equals its default and need not be kept.
#[derive(Default)]
pub struct Decoder {
    /// A cut head, and how many of its bytes are there.
    head: [u8; HEAD_BYTES_MAX],
    head_held: u8,
    /// The frame whose payload is not all there.
    frame: Option<Frame>,
    /// The message whose last frame has not ended.
    message: Option<Message>,
    /// The cut payload of an open control frame.
    control: Option<Control>,
}

/// A frame whose head is read.
struct Frame {
    fin: bool,
    opcode: OpCode,
    mask: [u8; 4],
    /// Payload bytes taken.
    taken: u64,
    /// Payload bytes to come.
    left: u64,
}

/// A message that has begun.
#[derive(Clone, Copy)]
struct Message {
    text: bool,
    compressed: bool,
    /// Whether a piece of it was given out.
    begun: bool,
    /// Payload bytes that the heads so far have announced.
    bytes: u64,
    utf8: Utf8,
}

impl Decoder {
    /// Takes bytes from `input[*at..]`, unmasking in place, until a piece is found or the input is used up (`None`).
    /// `*at` moves behind what was taken.
    ///
    /// # Errors
    /// The first rule broken, in the order of the bytes. The decoder must not be used after that.
    pub fn next(&mut self, input: &mut [u8], at: &mut usize, terms: Terms) -> Result<Option<Piece>, Violation> {
        let frame = match self.frame.take() {
            Some(frame) => frame,
            None => match self.next_head(input, at, terms.rsv1)? {
                Some(head) => self.open(&head, terms.message_bytes_max)?,
                None => return Ok(None),
            },
        };
        match frame.opcode {
            OpCode::Data(_) => self.data(frame, input, at),
            OpCode::Control(code) => Ok(self.control(frame, code, input, at)),
        }
    }

    /// Whether nothing must be remembered: no cut head, no open frame, no open message.
    #[must_use]
    pub fn at_rest(&self) -> bool {
        self.head_held == 0 && self.frame.is_none() && self.message.is_none()
    }

    /// Payload bytes to come of the frame that is open; zero when none is.
    #[must_use]
    pub fn frame_bytes_left(&self) -> u64 {
        self.frame.as_ref().map_or(0, |frame| frame.left)
    }

    /// The next head, from the input alone or joined with what was held of it.
    fn next_head(&mut self, input: &[u8], at: &mut usize, rsv1: Rsv1) -> Result<Option<Head>, Violation> {
        let rest = &input[*at..];
        if self.head_held == 0 {
            let Some(&first) = rest.first() else {
                return Ok(None);
            };
            let opcode = self.check_order(first, rsv1)?;
            if let Some(head) = head::behind_first(rest, opcode)? {
                *at += head.head_bytes;
                return Ok(Some(head));
            }
        }
        self.next_cut_head(rest, at, rsv1)
    }

    /// Adds to the held head; it may still be cut.
    #[cold]
    fn next_cut_head(&mut self, rest: &[u8], at: &mut usize, rsv1: Rsv1) -> Result<Option<Head>, Violation> {
        let held = usize::from(self.head_held);
        let more = rest.len().min(HEAD_BYTES_MAX - held);
        self.head[held..held + more].copy_from_slice(&rest[..more]);
        match head::parse(&self.head[..held + more], rsv1)? {
            Some(head) => {
                self.head_held = 0;
                *at += head.head_bytes - held;
                Ok(Some(head))
            }
            None => {
                self.head_held = (held + more) as u8;
                *at += more;
                Ok(None)
            }
        }
    }

    /// The rules of the first byte: its own, then how it follows the frames before (section 5.4). It comes before the
    /// rest of the head, so that a cut behind the first byte changes nothing.
    fn check_order(&self, first: u8, rsv1: Rsv1) -> Result<OpCode, Violation> {
        match (head::first_byte(first, rsv1)?, &self.message) {
            (OpCode::Data(DataCode::Continue), None) => Err(Violation::LoneContinuation),
            (OpCode::Data(DataCode::Text | DataCode::Binary), Some(_)) => Err(Violation::InterruptedMessage),
            (opcode, _) => Ok(opcode),
        }
    }

    /// Begins a frame, and its message when it is the first one.
    fn open(&mut self, head: &Head, message_bytes_max: u64) -> Result<Frame, Violation> {
        if matches!(head.opcode, OpCode::Data(_)) {
            let message = self.message.get_or_insert(Message {
                text: head.opcode == OpCode::Data(DataCode::Text),
                compressed: head.compressed,
                begun: false,
                bytes: 0,
                utf8: Utf8::default(),
            });
            message.bytes = message.bytes.saturating_add(head.payload_bytes);
            if message.bytes > message_bytes_max {
                return Err(Violation::MessageTooBig);
            }
        }
        Ok(Frame { fin: head.fin, opcode: head.opcode, mask: head.mask, taken: 0, left: head.payload_bytes })
    }

    /// What there is of a data frame's payload.
    fn data(&mut self, mut frame: Frame, input: &mut [u8], at: &mut usize) -> Result<Option<Piece>, Violation> {
        let range = frame.take(input, at);
        if range.is_empty() && frame.left > 0 {
            self.frame = Some(frame);
            return Ok(None);
        }
        // A data frame is open only inside a message.
        let Some(mut message) = self.message.take() else {
            return Err(Violation::LoneContinuation);
        };
        let first = !message.begun;
        let last = frame.fin && frame.left == 0;
        if message.text && !message.compressed {
            let fed = message.utf8.feed(&input[range.clone()]);
            if fed.is_err() || last && !message.utf8.is_complete() {
                return Err(Violation::BadUtf8);
            }
        }
        let Message { text, compressed, .. } = message;
        if !last {
            message.begun = true;
            self.message = Some(message);
        }
        if frame.left > 0 {
            self.frame = Some(frame);
        }
        Ok(Some(Piece::Data { text, compressed, range, first, last }))
    }

    /// What there is of a control frame's payload; given out when it is whole.
    fn control(&mut self, mut frame: Frame, code: ControlCode, input: &mut [u8], at: &mut usize) -> Option<Piece> {
        let mut control = self.control.take().unwrap_or_else(Control::empty);
        let range = frame.take(input, at);
        control.extend(&input[range]);
        if frame.left > 0 {
            self.frame = Some(frame);
            self.control = Some(control);
            return None;
        }
        match code {
            ControlCode::Ping => Some(Piece::Ping(control)),
            ControlCode::Pong => Some(Piece::Pong(control)),
            // A reserved code was refused with the head.
            ControlCode::Close | ControlCode::Reserved(_) => Some(Piece::Close(control)),
        }
    }
}

impl Frame {
    /// Unmasks what the input holds of the payload and says where it lies.
    #[inline]
    fn take(&mut self, input: &mut [u8], at: &mut usize) -> Range<usize> {
        let here = (input.len() - *at) as u64;
        let taken = self.left.min(here);
        let range = *at..*at + taken as usize;
        mask::apply(&mut input[range.clone()], self.mask, self.taken);
        self.taken += taken;
        self.left -= taken;
        *at = range.end;
        range
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
