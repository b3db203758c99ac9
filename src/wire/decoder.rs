//! A stream of client frames, cut anywhere, into pieces of messages.
//!
//! Owns what must be remembered across a cut and nothing else: payload bytes are unmasked where they lie and given
//! back as ranges of the input. Any cut of a stream gives the same pieces, but for how data is split.

use std::ops::Range;

use super::rules::Violation;

/// The payload of a control frame: at most 125 bytes, copied out.
#[derive(Clone, Copy)]
pub struct Control {
    len: u8,
    bytes: [u8; 125],
}

impl Control {
    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// What a decoder found next.
pub enum Piece {
    /// Payload of a data message. The ranges between one `first` and its `last` make up the message; a range may be empty.
    Data {
        /// Whether the message is text (checked UTF-8 so far) or binary.
        text: bool,
        /// Where the unmasked bytes lie in the input.
        range: Range<usize>,
        /// Whether the message begins here.
        first: bool,
        /// Whether the message ends here; a text that ends is complete UTF-8.
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
pub struct Decoder {}

impl Decoder {
    /// Takes bytes from `input[*at..]`, unmasking in place, until a piece is found or the input is used up (`None`).
    /// `*at` moves behind what was taken.
    ///
    /// # Errors
    /// The first rule broken. The decoder must not be used after that.
    pub fn next(
        &mut self,
        input: &mut [u8],
        at: &mut usize,
        message_bytes_max: u64,
    ) -> Result<Option<Piece>, Violation> {
        let _ = (input, at, message_bytes_max);
        todo!()
    }

    /// Whether nothing must be remembered: no cut head, no open frame, no open message.
    #[must_use]
    pub fn at_rest(&self) -> bool {
        todo!()
    }
}
