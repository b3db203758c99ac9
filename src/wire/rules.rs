//! The rules of RFC 6455 that a peer can break, one variant a rule, and the close code that answers each.

use tungstenite::protocol::frame::coding::CloseCode;

/// A rule of the protocol that the peer broke. The connection is failed with [`Violation::close_code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A reserved bit is set and no extension gave it a meaning (section 5.2).
    ReservedBits,
    /// A reserved opcode (section 5.2).
    ReservedOpcode,
    /// A frame from a client that is not masked (section 5.1).
    Unmasked,
    /// A control frame that is a fragment (section 5.5).
    FragmentedControl,
    /// A control frame of more than 125 bytes (section 5.5).
    LongControl,
    /// A length in a longer form than it needs (section 5.2).
    LengthNotMinimal,
    /// A 64-bit length with the top bit set (section 5.2).
    LengthTopBit,
    /// A continuation frame without a message to continue (section 5.4).
    LoneContinuation,
    /// A new data frame inside a fragmented message (section 5.4).
    InterruptedMessage,
    /// Text, or a close reason, that is not UTF-8 (section 8.1).
    BadUtf8,
    /// A compressed message that cannot be inflated (RFC 7692 section 7.2.2).
    BadDeflate,
    /// A close frame with a one-byte body (section 5.5.1).
    ShortClose,
    /// A close code that must not be sent (section 7.4).
    BadCloseCode,
    /// A message over the size limit (section 7.4.1, code 1009).
    MessageTooBig,
}

impl Violation {
    /// The close code to fail the connection with (section 7.4.1).
    #[must_use]
    pub fn close_code(self) -> CloseCode {
        match self {
            Self::BadUtf8 | Self::BadDeflate => CloseCode::Invalid,
            Self::MessageTooBig => CloseCode::Size,
            _ => CloseCode::Protocol,
        }
    }
}
