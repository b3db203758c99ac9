//! The decoder against a naive one that sees the whole stream, at any cut.

use proptest::prelude::*;

use super::*;
use crate::wire::encode;
use crate::wire::fuzz_bodies::{MESSAGE_BYTES_MAX as MAX, Seen, decode as decode_with};

const BOTH: [Rsv1; 2] = [Rsv1::Reserved, Rsv1::Compressed];

/// Without compression.
fn decode<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    decode_with(chunks, Rsv1::Reserved)
}

/// A message that is open in the reference.
struct Open {
    text: bool,
    compressed: bool,
    announced: u64,
    message: Vec<u8>,
}

/// Section 5 word by word, with the whole stream at hand.
fn reference(stream: &[u8], rsv1: Rsv1) -> Seen {
    let mut seen = Seen::default();
    let mut open: Option<Open> = None;
    let mut at = 0;
    seen.violation = loop {
        match reference_frame(stream, rsv1, &mut at, &mut open, &mut seen) {
            Ok(true) => {}
            Ok(false) => break None,
            Err(violation) => break Some(violation),
        }
    };
    seen.at_rest = seen.violation.is_none() && at == stream.len() && open.is_none();
    seen
}

/// One frame; false when the stream ends inside or before it.
fn reference_frame(
    stream: &[u8],
    rsv1: Rsv1,
    at: &mut usize,
    open: &mut Option<Open>,
    seen: &mut Seen,
) -> Result<bool, Violation> {
    let bytes = &stream[*at..];
    let fail = |when: bool, violation| if when { Err(violation) } else { Ok(()) };
    let Some(&one) = bytes.first() else {
        return Ok(false);
    };
    let (fin, opcode) = (one >= 0x80, one & 15);
    let compressed = rsv1 == Rsv1::Compressed && one & 0x70 == 0x40 && (opcode == 1 || opcode == 2);
    fail(one & 0x70 != 0 && !compressed, Violation::ReservedBits)?;
    fail(![0, 1, 2, 8, 9, 10].contains(&opcode), Violation::ReservedOpcode)?;
    fail(opcode >= 8 && !fin, Violation::FragmentedControl)?;
    fail(opcode == 0 && open.is_none(), Violation::LoneContinuation)?;
    fail((opcode == 1 || opcode == 2) && open.is_some(), Violation::InterruptedMessage)?;
    let Some(&two) = bytes.get(1) else {
        return Ok(false);
    };
    fail(two < 0x80, Violation::Unmasked)?;
    fail(opcode >= 8 && two - 0x80 > 125, Violation::LongControl)?;
    let form = match two & 0x7F {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let there = bytes.len().min(2 + form);
    // A cut length could still be anything from this up, by its bytes so far and then ones.
    let mut length_max = [0xFFu8; 8];
    length_max[8 - form..][..there - 2].copy_from_slice(&bytes[2..there]);
    length_max[..8 - form].fill(0);
    let length_max = u64::from_be_bytes(length_max);
    fail(form == 2 && length_max < 126, Violation::LengthNotMinimal)?;
    fail(form == 8 && there > 2 && bytes[2] >= 0x80, Violation::LengthTopBit)?;
    fail(form == 8 && length_max <= 0xFFFF, Violation::LengthNotMinimal)?;
    let len = if form == 0 { u64::from(two & 0x7F) } else { length_max };
    let start = 2 + form + 4;
    if bytes.len() < start {
        return Ok(false);
    }
    let key = &bytes[start - 4..start];
    let payload: Vec<u8> =
        (bytes[start..].iter().take(len as usize).enumerate()).map(|(i, byte)| byte ^ key[i % 4]).collect();
    let whole = payload.len() as u64 == len;
    if opcode < 8 {
        let so_far =
            open.get_or_insert_with(|| Open { text: opcode == 1, compressed, announced: 0, message: Vec::new() });
        so_far.announced += len;
        fail(so_far.announced > MAX, Violation::MessageTooBig)?;
        so_far.message.extend(payload);
        if so_far.text
            && !so_far.compressed
            && let Err(wrong) = std::str::from_utf8(&so_far.message)
        {
            let ends = whole && fin;
            fail(wrong.error_len().is_some() || ends, Violation::BadUtf8)?;
        }
        if whole && fin {
            seen.messages.extend(open.take().map(|open| (open.text, open.compressed, open.message)));
        }
    } else if whole {
        seen.controls.push((['c', 'i', 'o'][usize::from(opcode) - 8], payload));
    }
    if whole {
        *at += start + len as usize;
    }
    Ok(whole)
}

fn client_frame(first: u8, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let mut out = Vec::new();
    encode::head(OpCode::from(first & 15), payload.len(), Some(key), &mut out);
    out[0] = first;
    let start = out.len();
    out.extend_from_slice(payload);
    mask::apply(&mut out[start..], key, 0);
    out
}

/// A legal message, compressed or not: text or binary, in fragments cut anywhere, pings between them.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        "\\PC{0,60}".prop_map(|text| (true, text.into_bytes())),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| (false, bytes)),
        Just((true, "ä".repeat(700).into_bytes())),
    ];
    let cuts = proptest::collection::vec(any::<prop::sample::Index>(), 0..4);
    let ping = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..=125));
    (payload, cuts, ping, any::<[u8; 4]>(), any::<bool>()).prop_map(|((text, payload), cuts, ping, key, compressed)| {
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(payload.len() + 1)).collect();
        cuts.extend([0, payload.len()]);
        cuts.sort_unstable();
        let mut stream = Vec::new();
        let count = cuts.len() - 1;
        for i in 0..count {
            let fin = if i + 1 == count { 0x80 } else { 0 };
            let opcode = match (i, text) {
                (0, true) => 1,
                (0, false) => 2,
                _ => 0,
            };
            let opcode = if i == 0 && compressed { opcode | 0x40 } else { opcode };
            stream.extend(client_frame(fin | opcode, &payload[cuts[i]..cuts[i + 1]], key));
            if let Some(ping) = &ping {
                stream.extend(client_frame(0x89, ping, key));
            }
        }
        stream
    })
}

fn chunks(stream: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
    let mut rest = stream;
    let mut out = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, behind) = rest.split_at((*size).min(rest.len()));
        out.push(chunk.to_vec());
        rest = behind;
    }
    out
}

proptest! {
    #[test]
    fn any_cut_of_a_legal_stream_is_the_same_stream(
        messages in proptest::collection::vec(message(), 0..5),
        sizes in proptest::collection::vec(1usize..40, 1..8),
    ) {
        let stream = messages.concat();
        let rsv1 = Rsv1::Compressed;
        let expected = reference(&stream, rsv1);
        prop_assert_eq!(expected.violation, None);
        prop_assert_eq!(expected.messages.len(), messages.len());
        prop_assert!(expected.at_rest);
        prop_assert_eq!(&decode_with([&stream[..]], rsv1), &expected);
        let cut = chunks(&stream, &sizes);
        prop_assert_eq!(&decode_with(cut.iter().map(Vec::as_slice), rsv1), &expected);
        prop_assert_eq!(&decode_with(stream.chunks(1), rsv1), &expected);
    }

    #[test]
    fn any_cut_of_a_damaged_stream_breaks_the_same_rule(
        messages in proptest::collection::vec(message(), 1..4),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..3),
        end in any::<prop::sample::Index>(),
        sizes in proptest::collection::vec(1usize..40, 1..8),
    ) {
        let mut stream = messages.concat();
        for (at, byte) in damage {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        stream.truncate(end.index(stream.len() + 1));
        let cut = chunks(&stream, &sizes);
        for rsv1 in BOTH {
            let expected = reference(&stream, rsv1);
            prop_assert_eq!(&decode_with([&stream[..]], rsv1), &expected);
            prop_assert_eq!(&decode_with(cut.iter().map(Vec::as_slice), rsv1), &expected);
            prop_assert_eq!(&decode_with(stream.chunks(1), rsv1), &expected);
        }
    }

    #[test]
    fn any_bytes_at_all(
        stream in proptest::collection::vec(prop_oneof![
            any::<u8>(),
            proptest::sample::select(&[0x00u8, 0x01, 0x02, 0x80, 0x81, 0xC1, 0x82, 0x88, 0x89, 0x8A, 0xFE, 0xFF][..]),
        ], 0..60),
    ) {
        for rsv1 in BOTH {
            let expected = reference(&stream, rsv1);
            prop_assert_eq!(&decode_with([&stream[..]], rsv1), &expected);
            prop_assert_eq!(&decode_with(stream.chunks(1), rsv1), &expected);
        }
    }
}

#[test]
fn order_and_size_rules() {
    use Violation::*;
    let key = [3, 1, 4, 1];
    let big = vec![b'x'; MAX as usize];
    let table = [
        (vec![client_frame(0x80, b"", key)], LoneContinuation),
        (vec![client_frame(0x00, b"a", key)], LoneContinuation),
        (vec![client_frame(0x81, b"a", key), client_frame(0x80, b"a", key)], LoneContinuation),
        (vec![client_frame(0x01, b"a", key), client_frame(0x81, b"a", key)], InterruptedMessage),
        (vec![client_frame(0x02, b"a", key), client_frame(0x02, b"a", key)], InterruptedMessage),
        (vec![client_frame(0x02, &big, key), client_frame(0x80, b"1", key)], MessageTooBig),
        (vec![client_frame(0x01, b"\xce", key), client_frame(0x80, b"", key)], BadUtf8),
        (vec![client_frame(0x81, b"\xce", key)], BadUtf8),
    ];
    for (frames, violation) in table {
        let stream = frames.concat();
        assert_eq!(decode([&stream[..]]).violation, Some(violation));
        assert_eq!(decode(stream.chunks(1)).violation, Some(violation));
    }
    let stream = client_frame(0x82, &big, key);
    assert_eq!(decode([&stream[..]]).messages, [(false, false, big)], "the limit itself is allowed");
}

#[test]
fn size_is_judged_by_the_head_alone() {
    let mut head = Vec::new();
    let opcode = OpCode::Data(DataCode::Binary);
    encode::head(opcode, MAX as usize + 1, Some([0; 4]), &mut head);
    assert_eq!(decode([&head[..]]).violation, Some(Violation::MessageTooBig));
    // A length that would overflow the sum of two fragments.
    let mut stream = client_frame(0x02, b"abc", [0; 4]);
    encode::head(opcode, i64::MAX as usize, Some([0; 4]), &mut stream);
    let continuation = stream.len() - HEAD_BYTES_MAX;
    stream[continuation] = 0x80;
    assert_eq!(decode([&stream[..]]).violation, Some(Violation::MessageTooBig));
}

#[test]
fn bad_text_fails_before_its_frame_is_whole() {
    let text = "κόσμε".as_bytes();
    let bad = [text, b"\xf4\x90\x80\x80", b"edited"].concat();
    let frame = client_frame(0x81, &bad, [7, 7, 7, 7]);
    let first_bad = frame.len() - bad.len() + text.len() + 1;
    assert_eq!(decode(frame[..first_bad].chunks(1)).violation, None);
    for end in first_bad + 1..=frame.len() {
        assert_eq!(decode(frame[..end].chunks(1)).violation, Some(Violation::BadUtf8), "{end}");
        assert_eq!(decode([&frame[..end]]).violation, Some(Violation::BadUtf8), "{end}");
    }
}

#[test]
fn controls_between_fragments_keep_their_place() {
    let key = [1, 2, 3, 4];
    let stream = [
        client_frame(0x01, b"He", key),
        client_frame(0x89, b"ping", key),
        client_frame(0x00, b"", key),
        client_frame(0x8A, b"", key),
        client_frame(0x80, b"llo", key),
        client_frame(0x88, b"\x03\xe8", key),
    ]
    .concat();
    for size in 1..=stream.len() {
        let seen = decode(stream.chunks(size));
        assert_eq!(seen.messages, [(true, false, b"Hello".to_vec())]);
        assert_eq!(seen.controls, [('i', b"ping".to_vec()), ('o', vec![]), ('c', vec![3, 0xe8])]);
        assert!(seen.at_rest);
    }
}

#[test]
fn every_cut_of_a_frame_is_not_at_rest() {
    for frame in [
        client_frame(0x81, b"Hello", [1, 2, 3, 4]),
        client_frame(0x89, b"Hello", [1, 2, 3, 4]),
        client_frame(0x82, &[0; 300], [1, 2, 3, 4]),
    ] {
        for cut in 1..frame.len() {
            assert!(!decode([&frame[..cut]]).at_rest, "{cut}");
        }
        assert!(decode([&frame[..]]).at_rest);
    }
    let open = client_frame(0x01, b"Hello", [1, 2, 3, 4]);
    assert!(!decode([&open[..]]).at_rest, "a message is open");
}
