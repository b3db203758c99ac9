//! What an opened record holds (RFC 8446 section 5.4 and 4.6): padding off, type found, messages told apart.
//!
//! A function from bytes to a value. It keeps no state: whether a message is welcome now is not its question.

use std::ops::Range;

use super::alert::Alert;
use super::record::{ALERT, APPLICATION_DATA, HANDSHAKE, PLAIN_BYTES_MAX};

/// Handshake type of a KeyUpdate (section 4).
const KEY_UPDATE: u8 = 24;

/// Description of the alert that announces a close that is no failure (section 6.1).
const USER_CANCELED: u8 = 90;

/// A KeyUpdate that asks for nothing, as handshake message (section 4.6.3).
pub(super) const KEY_UPDATE_TOLD: [u8; 5] = [KEY_UPDATE, 0, 0, 1, 0];
/// A KeyUpdate that asks the peer for one (section 4.6.3).
pub(super) const KEY_UPDATE_ASKED: [u8; 5] = [KEY_UPDATE, 0, 0, 1, 1];

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inner {
    /// Application data, and where in the plaintext it lies. May be empty.
    Data(Range<usize>),
    /// The peer goes on with its next key.
    KeyUpdate {
        /// Whether it wants us to do so too.
        asks: bool,
    },
    /// The peer will send nothing more.
    CloseNotify,
    /// The peer gives up for a reason that is no failure; close_notify follows.
    UserCanceled,
    /// The peer has failed the connection, with this description.
    Failed(u8),
}

/// Reads an opened record. `plain` is its TLSInnerPlaintext: content, type, zeros.
///
/// # Errors
///
/// The alert that answers it: too long (`record_overflow`), no type or one that is not allowed after the handshake
/// (`unexpected_message`), lengths that do not fit (`decode_error`), a value out of range (`illegal_parameter`).
pub fn read(plain: &[u8]) -> Result<Inner, Alert> {
    if plain.len() > PLAIN_BYTES_MAX + 1 {
        return Err(Alert::RecordOverflow);
    }
    let end = plain.iter().rposition(|byte| *byte != 0).ok_or(Alert::UnexpectedMessage)?;
    let content = &plain[..end];
    match plain[end] {
        APPLICATION_DATA => Ok(Inner::Data(0..end)),
        ALERT => alert(content),
        HANDSHAKE => handshake(content),
        _ => Err(Alert::UnexpectedMessage),
    }
}

/// An alert is two bytes, and a record of them holds one (section 5.1). The level says nothing (section 6).
fn alert(content: &[u8]) -> Result<Inner, Alert> {
    match *content {
        [] => Err(Alert::UnexpectedMessage),
        [_, description] if description == Alert::CloseNotify as u8 => Ok(Inner::CloseNotify),
        [_, USER_CANCELED] => Ok(Inner::UserCanceled),
        [_, description] => Ok(Inner::Failed(description)),
        _ => Err(Alert::DecodeError),
    }
}

/// A KeyUpdate, alone and whole: what followed it in its record would span a change of keys, which section 5.1 forbids,
/// and cutting five bytes in two serves nobody. A client may send no other message without being asked for it.
fn handshake(content: &[u8]) -> Result<Inner, Alert> {
    match *content {
        [KEY_UPDATE, 0, 0, 1, asks] => match asks {
            0 | 1 => Ok(Inner::KeyUpdate { asks: asks == 1 }),
            _ => Err(Alert::IllegalParameter),
        },
        [KEY_UPDATE, 0, 0, 1, _, ..] => Err(Alert::UnexpectedMessage),
        [KEY_UPDATE, _, _, _, ..] => Err(Alert::DecodeError),
        _ => Err(Alert::UnexpectedMessage),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents() {
        let cases: [(&[u8], Result<Inner, Alert>); 22] = [
            (&[], Err(Alert::UnexpectedMessage)),
            (&[0, 0, 0], Err(Alert::UnexpectedMessage)),
            (&[23], Ok(Inner::Data(0..0))),
            (&[23, 0, 0], Ok(Inner::Data(0..0))),
            (&[1, 0, 23, 0], Ok(Inner::Data(0..2))),
            (&[0, 0, 23], Ok(Inner::Data(0..2))),
            (&[1, 0, 21], Ok(Inner::CloseNotify)),
            (&[2, 0, 21], Ok(Inner::CloseNotify)),
            (&[1, 90, 21], Ok(Inner::UserCanceled)),
            (&[1, 40, 21], Ok(Inner::Failed(40))),
            (&[21], Err(Alert::UnexpectedMessage)),
            (&[1, 21], Err(Alert::DecodeError)),
            (&[1, 0, 1, 0, 21], Err(Alert::DecodeError)),
            (&[24, 0, 0, 1, 0, 22], Ok(Inner::KeyUpdate { asks: false })),
            (&[24, 0, 0, 1, 1, 22, 0], Ok(Inner::KeyUpdate { asks: true })),
            (&[24, 0, 0, 1, 2, 22], Err(Alert::IllegalParameter)),
            (&[24, 0, 0, 1, 0, 24, 0, 0, 1, 0, 22], Err(Alert::UnexpectedMessage)),
            (&[24, 0, 0, 2, 0, 0, 22], Err(Alert::DecodeError)),
            (&[24, 0, 22], Err(Alert::UnexpectedMessage)),
            (&[22], Err(Alert::UnexpectedMessage)),
            (&[1, 20], Err(Alert::UnexpectedMessage)),
            (&[1, 99], Err(Alert::UnexpectedMessage)),
        ];
        for (plain, expected) in cases {
            assert_eq!(read(plain), expected, "{plain:?}");
        }
    }

    #[test]
    fn padding_counts_towards_the_limit() {
        let mut plain = vec![7; PLAIN_BYTES_MAX];
        plain.push(APPLICATION_DATA);
        assert_eq!(read(&plain), Ok(Inner::Data(0..PLAIN_BYTES_MAX)));
        plain.push(0);
        assert_eq!(read(&plain), Err(Alert::RecordOverflow));
    }
}
