//! permessage-deflate at the other end: what a peer offers, and its own streams, used as zlib's manual says and not as `wire::deflate` does.
//!
//! Owns one message at a time. That nothing is remembered between two of them is asserted by using each stream anew for each.

use fastrand::Rng;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

/// What the gateway's own messages end with before it cuts that off.
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// No message here comes to more: the largest that the gateway takes, and what it puts around a call.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// A field that offers it, sometimes with a window of the peer's.
pub(super) fn offer(rng: &mut Rng) -> String {
    let window = match rng.u8(..3) {
        0 => format!("; server_max_window_bits={}", rng.u8(9..16)),
        1 => "; client_max_window_bits".to_owned(),
        _ => String::new(),
    };
    format!("Sec-WebSocket-Extensions: permessage-deflate{window}\r\n")
}

/// A request that offers it as well.
pub(super) fn offering(request: &[u8], rng: &mut Rng) -> Vec<u8> {
    let (head, end) = request.split_at(request.len() - 2);
    [head, offer(rng).as_bytes(), end].concat()
}

/// Reads what the gateway compressed.
pub(super) struct Unpacker {
    stream: Decompress,
}

impl Unpacker {
    /// As the head of the gateway's 101 says; `None` where nothing was agreed on.
    pub(super) fn agreed(head: &str) -> Option<Self> {
        let terms = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "))?;
        let base = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        let window = terms.strip_prefix(base).expect("it answers what it was offered");
        let bits = window.strip_prefix("; server_max_window_bits=").map_or(15, |bits| bits.parse().expect("a number"));
        Some(Self { stream: Decompress::new_with_window_bits(false, bits) })
    }

    /// A message as it was before.
    pub(super) fn unpack(&mut self, message: &[u8]) -> Vec<u8> {
        self.stream.reset(false);
        let mut plain = Vec::with_capacity(MESSAGE_BYTES_MAX);
        let whole = [message, &TAIL].concat();
        self.stream.decompress_vec(&whole, &mut plain, FlushDecompress::Sync).expect("it is DEFLATE");
        assert!(plain.len() < plain.capacity() && self.stream.total_in() == whole.len() as u64, "all of it came out");
        plain
    }
}

/// Compresses what a peer says.
pub(super) struct Packer {
    stream: Compress,
    /// Messages that it has compressed.
    pub(super) messages: u32,
}

impl Packer {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self { stream: Compress::new(Compression::new(rng.u32(0..10)), false), messages: 0 }
    }

    /// A message in blocks of some lengths, the last of which may say that it is the last (RFC 7692 section 7.2.3.5).
    pub(super) fn pack(&mut self, message: &[u8], rng: &mut Rng) -> Vec<u8> {
        self.messages += 1;
        self.stream.reset();
        let mut out = Vec::with_capacity(MESSAGE_BYTES_MAX);
        let mut rest = message;
        while !rest.is_empty() && rng.bool() {
            let (piece, behind) = rest.split_at(rng.usize(1..=rest.len()));
            let flush = [FlushCompress::None, FlushCompress::Sync, FlushCompress::Full][rng.usize(..3)];
            self.stream.compress_vec(piece, &mut out, flush).expect("it compresses");
            rest = behind;
        }
        let ends = rng.u8(..4) == 0;
        let flush = if ends { FlushCompress::Finish } else { FlushCompress::Sync };
        self.stream.compress_vec(rest, &mut out, flush).expect("it compresses");
        assert!(out.len() < out.capacity() && self.stream.total_in() == message.len() as u64, "there was room");
        if ends {
            out.push(0);
        } else if out.ends_with(&TAIL) {
            out.truncate(out.len() - TAIL.len());
        } else {
            // A flush behind a flush adds nothing, and its end was there before.
            assert!(out.is_empty(), "a flush ends in an empty block");
        }
        out
    }
}
