//! Alerts (RFC 8446 section 6): the ones that we send, each with its number. It never decides when one is sent.

/// The level of every alert but the two that close: in TLS 1.3 it says nothing that the description does not.
const FATAL: u8 = 2;
const WARNING: u8 = 1;

/// The description of an alert that this side sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Alert {
    /// Nothing more will be sent (section 6.1).
    CloseNotify = 0,
    /// A message of a kind, or at a moment, that is not allowed (section 6.2).
    UnexpectedMessage = 10,
    /// A record that its key does not open (section 6.2).
    BadRecordMac = 20,
    /// A record that is longer than allowed (section 6.2).
    RecordOverflow = 22,
    /// A field with a value that is out of its range (section 6.2).
    IllegalParameter = 47,
    /// A message whose lengths do not fit (section 6.2).
    DecodeError = 50,
    /// Something on this side that has nothing to do with the peer (section 6.2).
    InternalError = 80,
}

impl Alert {
    /// Level and description, as they are sent.
    #[must_use]
    pub fn body(self) -> [u8; 2] {
        let level = if self == Self::CloseNotify { WARNING } else { FATAL };
        [level, self as u8]
    }

    /// A word for metrics and logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::CloseNotify => "close_notify",
            Self::UnexpectedMessage => "unexpected_message",
            Self::BadRecordMac => "bad_record_mac",
            Self::RecordOverflow => "record_overflow",
            Self::IllegalParameter => "illegal_parameter",
            Self::DecodeError => "decode_error",
            Self::InternalError => "internal_error",
        }
    }
}
