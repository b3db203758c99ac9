//! Messages made smaller: DEFLATE as permessage-deflate uses it (RFC 7692 section 7.2), a message at a time.
//!
//! Owns what a thread needs to do it, made when it is first needed: one inflater and one deflater serve all connections, because
//! no message refers to an earlier one (`no_context_takeover` both ways). Takes slices and gives bytes; nothing of a connection
//! is remembered here, and no more is ever inflated than the caller allows.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::rules::Violation;

/// Inflated bytes are given out in pieces of this size, whatever a message comes to.
const PIECE_BYTES: usize = 16 * 1024;

/// What a sender cuts off behind a message (section 7.2.1), and then an empty last block: whether a message ended where a block
/// does shows only when that is read as one.
const TAIL: [u8; 9] = [0, 0, 0xFF, 0xFF, 1, 0, 0, 0xFF, 0xFF];

/// The part of [`TAIL`] that our messages end with before it is cut off.
const CUT_OFF: usize = 4;

/// How far back a compressed message may refer, at most: two to the power of 8 to 15 bytes (section 7.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(u8);

impl Window {
    /// 32 KiB, which is what holds where nothing is said.
    pub const LARGEST: Self = Self(15);

    /// The window of so many bits; `None` where the RFC has none.
    #[must_use]
    pub fn of_bits(bits: u8) -> Option<Self> {
        matches!(bits, 8..=15).then_some(Self(bits))
    }

    /// Its power of two.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.0
    }

    fn bytes(self) -> usize {
        1 << self.0
    }
}

/// Bytes of messages before and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// As the parties to the talk write and read them.
    pub plain: u64,
    /// As they travel.
    pub compressed: u64,
}

/// Inflates messages, one after the other.
#[derive(Default)]
pub struct Inflater {
    state: Option<Box<Inflating>>,
    moved: Moved,
}

struct Inflating {
    stream: Decompress,
    piece: [u8; PIECE_BYTES],
}

impl Inflater {
    /// Inflates a whole message and hands it to `take`, piece by piece.
    ///
    /// # Errors
    /// It is no DEFLATE or ends in the middle of a block; it comes to more than `bytes_max`, of which `take` has seen that much at most;
    /// or whatever `take` found wrong.
    pub fn inflate(
        &mut self,
        message: &[u8],
        bytes_max: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        self.moved.compressed += message.len() as u64;
        // An empty message is one byte (section 7.2.3.6), but some senders leave that out too.
        if message.is_empty() {
            return Ok(());
        }
        let state = self
            .state
            .get_or_insert_with(|| Box::new(Inflating { stream: Decompress::new(false), piece: [0; PIECE_BYTES] }));
        let mut plain = 0;
        let inflated = state.whole(message, bytes_max, &mut plain, &mut take);
        // What is refused has been worked on as well.
        self.moved.plain += plain;
        if inflated? { Ok(()) } else { Err(Violation::BadDeflate) }
    }

    /// What messages have come to since [`Inflater::take_moved`], in bytes; those that were refused count as far as they came.
    #[must_use]
    pub fn plain_bytes(&self) -> u64 {
        self.moved.plain
    }

    /// Bytes of memory that it holds, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.state.as_ref().map_or(0, |_| PIECE_BYTES + INFLATE_BYTES)
    }

    /// What was inflated since this was asked last.
    pub fn take_moved(&mut self) -> Moved {
        std::mem::take(&mut self.moved)
    }

    /// Gives its memory back until it is needed again.
    pub fn rest(&mut self) {
        self.state = None;
    }
}

/// How far a part was read.
#[derive(PartialEq)]
enum Read<'a> {
    /// To its end.
    All,
    /// To the end of the last block, with so much behind it.
    LastBlock(&'a [u8]),
}

impl Inflating {
    /// Reads a message; whether it is a whole one.
    fn whole(
        &mut self,
        message: &[u8],
        bytes_max: u64,
        plain: &mut u64,
        take: &mut impl FnMut(&[u8]) -> Result<(), Violation>,
    ) -> Result<bool, Violation> {
        self.stream.reset(false);
        Ok(match self.run(message, bytes_max, plain, take)? {
            // The sender marked its last block, and then there is one byte of padding (section 7.2.3.5), or none.
            Read::LastBlock(rest) => rest.is_empty() || rest == [0],
            Read::All => self.run(&TAIL, bytes_max, plain, take)? == Read::LastBlock(&[]),
        })
    }

    /// Reads one part of a message: to its end, or to that of the last block.
    fn run<'a>(
        &mut self,
        part: &'a [u8],
        bytes_max: u64,
        plain: &mut u64,
        take: &mut impl FnMut(&[u8]) -> Result<(), Violation>,
    ) -> Result<Read<'a>, Violation> {
        let mut at = 0;
        loop {
            let (before_in, before_out) = (self.stream.total_in(), self.stream.total_out());
            let status = self.stream.decompress(&part[at..], &mut self.piece, FlushDecompress::None);
            let status = status.map_err(|_| Violation::BadDeflate)?;
            // Neither is more than there was.
            at += (self.stream.total_in() - before_in) as usize;
            let came = (self.stream.total_out() - before_out) as usize;
            *plain += came as u64;
            if *plain > bytes_max {
                return Err(Violation::MessageTooBig);
            }
            if came > 0 {
                take(&self.piece[..came])?;
            }
            if status == Status::StreamEnd {
                return Ok(Read::LastBlock(&part[at..]));
            }
            // A piece that is not full says that nothing more comes of what there is.
            if came < PIECE_BYTES {
                return if at == part.len() { Ok(Read::All) } else { Err(Violation::BadDeflate) };
            }
        }
    }
}

/// Deflates messages, one after the other.
#[derive(Default)]
pub struct Deflater {
    state: Option<Box<Deflating>>,
    moved: Moved,
    given_bytes: u64,
}

struct Deflating {
    stream: Compress,
    level: u32,
    out: Vec<u8>,
}

impl Deflater {
    /// A message for a peer that looks back no further than `window`, compressed with `level` 1 (fast) to 9 (small); `None` where that
    /// would not be shorter.
    pub fn deflate(&mut self, message: &[u8], window: Window, level: u32) -> Option<&[u8]> {
        if message.is_empty() {
            return None;
        }
        self.given_bytes += message.len() as u64;
        if self.state.as_ref().is_none_or(|state| state.level != level) {
            let stream = Compress::new(Compression::new(level), false);
            self.state = Some(Box::new(Deflating { stream, level, out: Vec::new() }));
        }
        let Some(compressed_bytes) = self.state.as_deref_mut()?.run(message, window) else {
            debug_assert!(false, "a message of {} bytes has come out whole", message.len());
            self.state = None;
            return None;
        };
        if compressed_bytes >= message.len() {
            return None;
        }
        self.moved.plain += message.len() as u64;
        self.moved.compressed += compressed_bytes as u64;
        self.state.as_ref().map(|state| &state.out[..compressed_bytes])
    }

    /// Bytes of memory that it holds, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.state.as_ref().map_or(0, |state| DEFLATE_BYTES + state.out.capacity())
    }

    /// Bytes of the messages that it was given since [`Deflater::take_moved`], whether they got shorter or not.
    #[must_use]
    pub fn given_bytes(&self) -> u64 {
        self.given_bytes
    }

    /// What was deflated since this was asked last; what went out as it was is not counted.
    pub fn take_moved(&mut self) -> Moved {
        self.given_bytes = 0;
        std::mem::take(&mut self.moved)
    }

    /// Gives its memory back until it is needed again.
    pub fn rest(&mut self) {
        self.state = None;
    }
}

impl Deflating {
    /// How long the message is compressed; it lies in front of `out`. `None` where the stream did not end as it should and must not be used
    /// again.
    ///
    /// The stream itself looks back 32 KiB. For a peer with a smaller window it forgets, after each piece as long as that window, all
    /// that came before (a full flush): so one stream serves every window, even that of 256 bytes, which zlib has none for.
    fn run(&mut self, message: &[u8], window: Window) -> Option<usize> {
        let piece_bytes = if window == Window::LARGEST { message.len() } else { window.bytes() };
        self.stream.reset();
        self.out.clear();
        self.out.reserve_exact(bytes_at_most(message.len(), piece_bytes));
        let mut pieces = message.chunks(piece_bytes).peekable();
        while let Some(piece) = pieces.next() {
            let flush = if pieces.peek().is_some() { FlushCompress::Full } else { FlushCompress::Sync };
            let before = self.stream.total_in();
            self.stream.compress_vec(piece, &mut self.out, flush).ok()?;
            let taken = self.stream.total_in() - before;
            // Room that is left says that everything has come out.
            if taken != piece.len() as u64 || self.out.len() == self.out.capacity() {
                return None;
            }
        }
        self.out.len().checked_sub(CUT_OFF)
    }
}

/// Room for whatever a message comes to, and a little more: nine bits for a byte, and what each flush and its block add.
///
/// There is always room enough, though what is longer than its message is of no use: a stream of zlib-rs 0.6.8 that is reset before all
/// has come out of it keeps a part of its state, and panics some messages later.
fn bytes_at_most(message_bytes: usize, piece_bytes: usize) -> usize {
    message_bytes + message_bytes / 8 + (message_bytes / piece_bytes + 1) * 16 + 64
}

/// What a stream of each kind takes beside its buffers here: measured by `cargo bench --bench deflate`, and asserted there.
const INFLATE_BYTES: usize = 46 * 1024;
/// As [`INFLATE_BYTES`].
const DEFLATE_BYTES: usize = 371 * 1024;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::fuzz_bodies;

    /// A message with its limit, inflated.
    fn inflated(message: &[u8], bytes_max: u64) -> Result<Vec<u8>, Violation> {
        let mut plain = Vec::new();
        Inflater::default().inflate(message, bytes_max, |bytes| {
            plain.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(plain)
    }

    fn deflated(message: &[u8], window: Window, level: u32) -> Option<Vec<u8>> {
        Deflater::default().deflate(message, window, level).map(<[u8]>::to_vec)
    }

    #[test]
    fn the_examples_of_the_rfc() {
        // Sections 7.2.3.1, 7.2.3.3, 7.2.3.4, 7.2.3.5 and 7.2.3.6.
        for (message, plain) in [
            (&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..], &b"Hello"[..]),
            (&[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00], b"Hello"),
            (&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], b"Hello"),
            (&[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00], b"Hello"),
            (&[0x00], b""),
            (&[], b""),
        ] {
            assert_eq!(inflated(message, 5), Ok(plain.to_vec()), "{message:x?}");
        }
    }

    #[test]
    fn what_is_no_whole_message_is_corrupt() {
        let whole = deflated(&b"to be or not to be, ".repeat(50), Window::LARGEST, 1).unwrap();
        for cut in 1..whole.len() {
            assert_eq!(inflated(&whole[..cut], 1 << 20), Err(Violation::BadDeflate), "{cut}");
        }
        for message in [
            // Block type 3; a stored block whose length has no complement; a reference before the start.
            &[0x07][..],
            &[0x00, 0x05, 0x00, 0x00, 0x00],
            &[0x02, 0x02, 0x00],
            // More than padding behind the last block.
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00, 0x00],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x01],
        ] {
            assert_eq!(inflated(message, 1 << 20), Err(Violation::BadDeflate), "{message:x?}");
        }
    }

    #[test]
    fn a_bomb_is_over_its_limit_before_it_has_gone_off() {
        let bomb = deflated(&vec![0; 64 << 20], Window::LARGEST, 9).unwrap();
        assert!(bomb.len() < 100_000, "{} bytes", bomb.len());
        for bytes_max in [0, 1, 125, 1 << 20] {
            let mut seen = 0;
            let mut inflater = Inflater::default();
            let result = inflater.inflate(&bomb, bytes_max, |bytes| {
                seen += bytes.len() as u64;
                Ok(())
            });
            assert_eq!(result, Err(Violation::MessageTooBig));
            assert!(seen <= bytes_max, "{seen} of {bytes_max}");
            // The next message does not feel it.
            let next = deflated(&[b'x'; 300], Window::LARGEST, 1).unwrap();
            assert_eq!(inflater.inflate(&next, 300, |_| Ok(())), Ok(()));
        }
    }

    #[test]
    fn a_limit_is_met_to_the_byte() {
        for length in [1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES] {
            let message = deflated(&vec![b'x'; length], Window::LARGEST, 1).unwrap_or(vec![0x4b, 0x02, 0x00]);
            if length > 1 {
                assert_eq!(inflated(&message, length as u64).map(|plain| plain.len()), Ok(length));
                assert_eq!(inflated(&message, length as u64 - 1), Err(Violation::MessageTooBig), "{length}");
            }
        }
    }

    #[test]
    fn what_the_taker_finds_wrong_ends_it() {
        let message = deflated(&[b'x'; 100_000], Window::LARGEST, 1).unwrap();
        let mut calls = 0;
        let result = Inflater::default().inflate(&message, 1 << 20, |_| {
            calls += 1;
            Err(Violation::BadUtf8)
        });
        assert_eq!((result, calls), (Err(Violation::BadUtf8), 1));
    }

    #[test]
    fn noise_stays_as_it_is() {
        let mut rng = fastrand::Rng::with_seed(7);
        let noise: Vec<u8> = (0..10_000).map(|_| rng.u8(..)).collect();
        for bits in 8..=15 {
            for level in 1..=9 {
                assert_eq!(deflated(&noise, Window::of_bits(bits).unwrap(), level), None, "{bits} {level}");
            }
        }
    }

    #[test]
    fn what_did_not_get_shorter_leaves_nothing_behind() {
        let mut rng = fastrand::Rng::with_seed(8);
        for level in [1, 2, 3, 6, 9] {
            let (mut deflater, mut inflater) = (Deflater::default(), Inflater::default());
            for number in 0..200 {
                let window = Window::of_bits(8 + number % 8).unwrap();
                let noise: Vec<u8> = (0..rng.usize(1..9000)).map(|_| rng.u8(..)).collect();
                assert_eq!(deflater.deflate(&noise, window, level), None);
                let text = "to be or not to be, ".repeat(rng.usize(20..300)).into_bytes();
                let message = deflater.deflate(&text, window, level).unwrap();
                let mut back = Vec::new();
                let result = inflater.inflate(message, 1 << 20, |piece| {
                    back.extend_from_slice(piece);
                    Ok(())
                });
                assert_eq!((result, back), (Ok(()), text), "{level} {number}");
            }
        }
    }

    #[test]
    fn bytes_are_counted_on_both_sides() {
        let (mut deflater, mut inflater) = (Deflater::default(), Inflater::default());
        assert_eq!((deflater.bytes(), inflater.bytes()), (0, 0), "who is not needed has nothing");
        let message = deflater.deflate(&[b'x'; 1000], Window::LARGEST, 1).unwrap().to_vec();
        inflater.inflate(&message, 1000, |_| Ok(())).unwrap();
        let moved = Moved { plain: 1000, compressed: message.len() as u64 };
        assert_eq!((deflater.take_moved(), inflater.take_moved()), (moved, moved));
        assert_eq!((deflater.take_moved(), inflater.take_moved()), Default::default());
        assert!(deflater.bytes() > DEFLATE_BYTES && inflater.bytes() > INFLATE_BYTES);
        deflater.rest();
        inflater.rest();
        assert_eq!((deflater.bytes(), inflater.bytes()), (0, 0));
    }

    /// How far back a compressed message refers, and its plain bytes: section 3.2 of RFC 1951 for fixed and stored blocks would not do
    /// for what a compressor writes, so the distance is found by what an inflater with a smaller window makes of it.
    fn looks_back_too_far(message: &[u8], window: Window, plain: &[u8]) -> bool {
        // Each piece of the window's size stands for itself: cut at the flushes, every piece inflates alone.
        let mut rest = message;
        for piece in plain.chunks(window.bytes()) {
            let mut stream = Decompress::new(false);
            let mut out = Vec::with_capacity(piece.len() + 64);
            let whole = [rest, &TAIL[..CUT_OFF]].concat();
            let mut at = 0;
            while out.len() < piece.len() {
                // One byte at a time, so that nothing is read beyond the piece.
                let Some(byte) = whole.get(at..at + 1) else {
                    return true;
                };
                if stream.decompress_vec(byte, &mut out, FlushDecompress::None).is_err() {
                    return true;
                }
                at += 1;
            }
            if out != piece {
                return true;
            }
            // Up to and with the empty stored block of the flush.
            let flush = whole[at..].windows(CUT_OFF).position(|bytes| bytes == &TAIL[..CUT_OFF]);
            rest = rest.get(at + flush.unwrap_or(0) + CUT_OFF..).unwrap_or_default();
        }
        false
    }

    #[test]
    fn small_windows_are_kept_to() {
        let plain: Vec<u8> = (0..2000u32).flat_map(|number| format!("{},", number % 9).into_bytes()).collect();
        for bits in 8..=15 {
            let window = Window::of_bits(bits).unwrap();
            for level in [1, 6, 9] {
                let message = deflated(&plain, window, level).unwrap();
                assert_eq!(inflated(&message, 1 << 20), Ok(plain.clone()), "{bits} {level}");
                assert!(!looks_back_too_far(&message, window, &plain), "{bits} {level}");
            }
        }
    }

    proptest! {
        /// Whatever went before, a message comes out as it went in, or is left as it is.
        #[test]
        fn there_and_back(
            messages in prop::collection::vec(prop_oneof![
                prop::collection::vec(prop::sample::select(&b"abcd{}\":, "[..]), 0..3000),
                prop::collection::vec(any::<u8>(), 0..600),
                (any::<u8>(), 0usize..70_000).prop_map(|(byte, length)| vec![byte; length]),
            ], 1..5),
            bits in 8u8..=15, level in 1u32..=9,
        ) {
            let (mut deflater, mut inflater) = (Deflater::default(), Inflater::default());
            for plain in &messages {
                let Some(message) = deflater.deflate(plain, Window::of_bits(bits).unwrap(), level) else { continue };
                prop_assert!(message.len() < plain.len());
                let mut back = Vec::new();
                let result = inflater.inflate(message, plain.len() as u64, |bytes| {
                    back.extend_from_slice(bytes);
                    Ok(())
                });
                prop_assert_eq!(result, Ok(()));
                prop_assert_eq!(&back, plain);
            }
        }

        #[test]
        fn any_bytes(bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            prop::collection::vec(prop::sample::select(&b"\x00\x01\x02\x03\x04\x05\xff\x4b\xf3\x62"[..]), 0..300),
        ]) {
            fuzz_bodies::deflate(&bytes);
        }
    }
}
