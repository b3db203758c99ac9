//! Where a record ends (RFC 8446 section 5.1): the five bytes at its front, and the cap on what follows them.
//!
//! It never looks past the head, and never keeps a byte: whoever holds the bytes asks again when there are more.

use super::alert::Alert;

/// Bytes of a record's head: content type, version, length.
pub const HEAD_BYTES: usize = 5;

/// Most bytes of what a record carries, before padding and type (section 5.1).
pub const PLAIN_BYTES_MAX: usize = 1 << 14;

/// Most bytes of a record's body: what it carries and 256 of overhead (section 5.2).
pub const BODY_BYTES_MAX: usize = PLAIN_BYTES_MAX + 256;

/// Most bytes of a whole record.
pub const RECORD_BYTES_MAX: usize = HEAD_BYTES + BODY_BYTES_MAX;

/// Content type of a change_cipher_spec record.
pub const CHANGE_CIPHER_SPEC: u8 = 20;
/// Content type of an alert.
pub const ALERT: u8 = 21;
/// Content type of handshake messages.
pub const HANDSHAKE: u8 = 22;
/// Content type of application data, and the outer type of every encrypted record.
pub const APPLICATION_DATA: u8 = 23;

/// What stands at the front of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// A whole record of so many bytes, its head counted.
    Whole(usize),
    /// A part of one: so many bytes belong to it, as far as is known (the head alone, until that is whole).
    Part(usize),
    /// No record of this protocol; the alert that answers it.
    Refused(Alert),
}

/// Looks at the front of `bytes`. A byte that no record can have there is refused as soon as it is seen.
#[must_use]
pub fn front(bytes: &[u8]) -> Front {
    if bytes.first().is_some_and(|kind| !(CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(kind)) {
        return Front::Refused(Alert::UnexpectedMessage);
    }
    // The minor version is not looked at (section 5.1); a major one that is not 3 is another protocol.
    if bytes.get(1).is_some_and(|major| *major != 3) {
        return Front::Refused(Alert::DecodeError);
    }
    let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else {
        return Front::Part(HEAD_BYTES);
    };
    let body_bytes = usize::from(u16::from_be_bytes([head[3], head[4]]));
    if body_bytes > BODY_BYTES_MAX {
        return Front::Refused(Alert::RecordOverflow);
    }
    let whole = HEAD_BYTES + body_bytes;
    if bytes.len() < whole { Front::Part(whole) } else { Front::Whole(whole) }
}

/// The head of an encrypted record with a body of `body_bytes` (section 5.2).
pub(super) fn sealed_head(body_bytes: usize) -> [u8; HEAD_BYTES] {
    let [high, low] = u16::try_from(body_bytes).unwrap_or(u16::MAX).to_be_bytes();
    [APPLICATION_DATA, 3, 3, high, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fronts() {
        let cases: [(&[u8], Front); 12] = [
            (&[], Front::Part(5)),
            (&[23], Front::Part(5)),
            (&[23, 3, 3, 0], Front::Part(5)),
            (&[23, 3, 3, 0, 0], Front::Whole(5)),
            (&[23, 3, 3, 0, 2, 9], Front::Part(7)),
            (&[22, 3, 1, 0, 2, 9, 9, 9], Front::Whole(7)),
            (&[23, 3, 3, 0x41, 0], Front::Part(RECORD_BYTES_MAX)),
            (&[23, 3, 3, 0x41, 1], Front::Refused(Alert::RecordOverflow)),
            (&[19], Front::Refused(Alert::UnexpectedMessage)),
            (&[24], Front::Refused(Alert::UnexpectedMessage)),
            (b"GET / HTTP/1.1", Front::Refused(Alert::UnexpectedMessage)),
            (&[23, 2], Front::Refused(Alert::DecodeError)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(front(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_cut_record_is_never_whole_and_says_how_long_it_is() {
        let mut record = sealed_head(300).to_vec();
        record.resize(HEAD_BYTES + 300, 7);
        for cut in 0..record.len() {
            let expected = if cut < HEAD_BYTES { HEAD_BYTES } else { record.len() };
            assert_eq!(front(&record[..cut]), Front::Part(expected), "cut at {cut}");
        }
        assert_eq!(front(&record), Front::Whole(record.len()));
    }
}
