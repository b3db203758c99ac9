//! The head of a frame (RFC 6455 section 5.2), read by hand: every frame of every agent passes here, and the rules must
//! look at each byte anyway.

use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::rules::Violation;

/// Longest head of a masked frame, in bytes.
pub const HEAD_BYTES_MAX: usize = 14;

/// Bytes of the shortest frame of a client: two, and the mask.
pub const CLIENT_FRAME_BYTES_MIN: usize = 6;

/// Longest payload of a control frame, in bytes (section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

const FIN: u8 = 0x80;
const RESERVED_BITS: u8 = 0x70;
const RSV1: u8 = 0x40;
const MASKED: u8 = 0x80;

/// What the first reserved bit means on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rsv1 {
    /// Nothing: it must not be set.
    Reserved,
    /// On the first frame of a message, that the message is compressed (RFC 7692 section 6).
    Compressed,
}

/// A legal head of a client's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Whether the frame ends its message.
    pub fin: bool,
    /// What it carries; never reserved.
    pub opcode: OpCode,
    /// Whether its message is compressed; said on the first frame alone.
    pub compressed: bool,
    /// The masking key.
    pub mask: [u8; 4],
    /// Payload length, in bytes; at most 125 for a control frame.
    pub payload_bytes: u64,
    /// Length of the head itself, in bytes.
    pub head_bytes: usize,
}

/// Reads a head at the start of `bytes`: `None` when it is cut.
///
/// # Errors
/// The first rule that it breaks, in the order of the bytes, also when the head is cut after the offending byte.
#[inline]
pub fn parse(bytes: &[u8], rsv1: Rsv1) -> Result<Option<Head>, Violation> {
    match bytes.first() {
        Some(first) => behind_first(bytes, first_byte(*first, rsv1)?),
        None => Ok(None),
    }
}

/// Reads the rest of a head whose first byte has been judged already, and is `opcode`.
///
/// # Errors
/// As [`parse`].
#[inline]
pub(super) fn behind_first(bytes: &[u8], opcode: OpCode) -> Result<Option<Head>, Violation> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    second_byte(opcode, *second)?;
    let Some((payload_bytes, rest)) = length(second & !MASKED, rest)? else {
        return Ok(None);
    };
    let Some((mask, payload)) = rest.split_first_chunk() else {
        return Ok(None);
    };
    let head_bytes = bytes.len() - payload.len();
    let compressed = first & RSV1 != 0;
    Ok(Some(Head { fin: first & FIN != 0, opcode, compressed, mask: *mask, payload_bytes, head_bytes }))
}

/// The rules that the first byte alone can break.
///
/// # Errors
/// Reserved bits, a reserved opcode, a control frame that is a fragment.
#[inline]
pub(super) fn first_byte(byte: u8, rsv1: Rsv1) -> Result<OpCode, Violation> {
    if byte & RESERVED_BITS != 0 && !is_compressed(byte, rsv1) {
        return Err(Violation::ReservedBits);
    }
    match OpCode::from(byte & 0x0F) {
        OpCode::Data(Data::Reserved(_)) | OpCode::Control(Control::Reserved(_)) => Err(Violation::ReservedOpcode),
        OpCode::Control(_) if byte & FIN == 0 => Err(Violation::FragmentedControl),
        opcode => Ok(opcode),
    }
}

/// Whether the only reserved bit that is set may be, and is on the first frame of a message.
#[cold]
fn is_compressed(byte: u8, rsv1: Rsv1) -> bool {
    let begins = matches!(OpCode::from(byte & 0x0F), OpCode::Data(Data::Text | Data::Binary));
    rsv1 == Rsv1::Compressed && byte & RESERVED_BITS == RSV1 && begins
}

#[inline]
fn second_byte(opcode: OpCode, byte: u8) -> Result<(), Violation> {
    if byte & MASKED == 0 {
        return Err(Violation::Unmasked);
    }
    if matches!(opcode, OpCode::Control(_)) && usize::from(byte & !MASKED) > CONTROL_BYTES_MAX {
        return Err(Violation::LongControl);
    }
    Ok(())
}

/// The length of the payload, and what is behind it; `rest` is what there is behind the second byte. `None` when it is cut.
///
/// # Errors
/// The rules of the longer forms.
#[inline]
fn length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, Violation> {
    match (short, rest) {
        // Two bytes are for 126 and more.
        (126, [0, 0..=125, ..]) => Err(Violation::LengthNotMinimal),
        (126, [high, low, rest @ ..]) => Ok(Some((u64::from(u16::from_be_bytes([*high, *low])), rest))),
        (127, [0x80..=0xFF, ..]) => Err(Violation::LengthTopBit),
        // Eight bytes are for 65,536 and more, so one of the upper six is not zero.
        (127, [0, 0, 0, 0, 0, 0, ..]) => Err(Violation::LengthNotMinimal),
        (127, rest) => Ok(rest.split_first_chunk().map(|(bytes, rest)| (u64::from_be_bytes(*bytes), rest))),
        (126, _) => Ok(None),
        _ => Ok(Some((u64::from(short), rest))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_at_its_first_offending_byte() {
        use Violation::*;
        // The bytes end with the offending one; one byte less is no violation yet.
        let table: &[(&[u8], Violation)] = &[
            (&[0xC1], ReservedBits),
            (&[0xA1], ReservedBits),
            (&[0x91], ReservedBits),
            (&[0x83], ReservedOpcode),
            (&[0x87], ReservedOpcode),
            (&[0x8B], ReservedOpcode),
            (&[0x8F], ReservedOpcode),
            (&[0x08], FragmentedControl),
            (&[0x09], FragmentedControl),
            (&[0x0A], FragmentedControl),
            (&[0x81, 0x05], Unmasked),
            (&[0x89, 0xFE], LongControl),
            (&[0x88, 0xFF], LongControl),
            (&[0x82, 0xFE, 0, 125], LengthNotMinimal),
            (&[0x82, 0xFF, 0x80], LengthTopBit),
            (&[0x82, 0xFF, 0, 0, 0, 0, 0, 0], LengthNotMinimal),
        ];
        // Where messages may be compressed: never on a continuation or a control frame, and never with another bit.
        let more: &[(&[u8], Violation)] =
            &[(&[0xC0], ReservedBits), (&[0xC9], ReservedBits), (&[0xE1], ReservedBits), (&[0x91], ReservedBits)];
        let compressed = table[1..].iter().chain(more).map(|row| (Rsv1::Compressed, row));
        let rows = table.iter().map(|row| (Rsv1::Reserved, row));
        for (rsv1, (bytes, violation)) in rows.chain(compressed) {
            assert_eq!(parse(bytes, rsv1), Err(*violation), "{bytes:x?}");
            let cut = &bytes[..bytes.len() - 1];
            assert_eq!(parse(cut, rsv1), Ok(None), "{cut:x?}");
            let mut longer = bytes.to_vec();
            longer.extend([0xFF; 14]);
            assert_eq!(parse(&longer, rsv1), Err(*violation), "{longer:x?}");
        }
    }

    #[test]
    fn legal_heads_at_every_cut() {
        let mask = [1, 2, 3, 4];
        let lengths: &[(u64, &[u8])] = &[
            (0, &[0x80]),
            (125, &[0x80 | 125]),
            (126, &[0xFE, 0, 126]),
            (65_535, &[0xFE, 0xFF, 0xFF]),
            (65_536, &[0xFF, 0, 0, 0, 0, 0, 1, 0, 0]),
            (i64::MAX as u64, &[0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
        ];
        let (plain, deflate) = (Rsv1::Reserved, Rsv1::Compressed);
        for (rsv1, first, opcode) in [
            (plain, 0x00, OpCode::Data(Data::Continue)),
            (plain, 0x81, OpCode::Data(Data::Text)),
            (plain, 0x82, OpCode::Data(Data::Binary)),
            (plain, 0x89, OpCode::Control(Control::Ping)),
            (deflate, 0x80, OpCode::Data(Data::Continue)),
            (deflate, 0x01, OpCode::Data(Data::Text)),
            (deflate, 0x41, OpCode::Data(Data::Text)),
            (deflate, 0xC2, OpCode::Data(Data::Binary)),
            (deflate, 0x89, OpCode::Control(Control::Ping)),
        ] {
            for (payload_bytes, length) in lengths {
                if first == 0x89 && *payload_bytes > 125 {
                    continue;
                }
                let bytes = [&[first], *length, &mask].concat();
                for cut in 0..bytes.len() {
                    assert_eq!(parse(&bytes[..cut], rsv1), Ok(None), "{bytes:x?} at {cut}");
                }
                let expected = Head {
                    fin: first & FIN != 0,
                    opcode,
                    compressed: first & RSV1 != 0,
                    mask,
                    payload_bytes: *payload_bytes,
                    head_bytes: bytes.len(),
                };
                assert_eq!(parse(&bytes, rsv1), Ok(Some(expected)));
            }
        }
    }
}
