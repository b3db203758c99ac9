//! One simulated connection, as the kernel keeps it: two bounded streams of bytes, and their ends.

use std::collections::{BTreeSet, VecDeque};

use crate::net::io::{Token, Watch};

use super::frames::{Reader, Said, nonce_in};
use super::secure::PeerTls;

/// What is on its way to the gateway.
pub(super) enum Piece {
    Bytes(VecDeque<u8>),
    Fin,
    Reset,
}

/// What a client gets when it reads.
pub(super) enum Read {
    Bytes(Vec<u8>),
    Nothing,
    End,
    Reset,
}

/// Both ends of one connection.
pub(super) struct Socket {
    /// The loop that it belongs to.
    pub(super) door: usize,
    /// What the loop calls it, once it watches it.
    pub(super) token: Option<Token>,
    pub(super) watch: Watch,
    /// Whether it is in epoll's list of those that may be ready.
    pub(super) noted: bool,
    pub(super) spurious: bool,
    /// Pieces on their way, each with when it arrives.
    pub(super) coming: VecDeque<(u64, Piece)>,
    arrived: VecDeque<u8>,
    pub(super) arrived_max: usize,
    fin: bool,
    /// An error that the gateway has not been told yet.
    error: bool,
    /// The other side is gone: nothing goes out any more.
    broken: bool,
    /// Bytes that the gateway has read.
    pub(super) read_bytes: u64,
    leaving: VecDeque<u8>,
    pub(super) leaving_max: usize,
    /// A write was refused or cut since there was room.
    no_space: bool,
    pub(super) shut: bool,
    /// The gateway closed it.
    pub(super) dropped: bool,
    /// It closed with unread bytes: the client is reset.
    kicked: bool,
    /// What the kernel took, parsed.
    tap: Reader,
    /// Calls of which the kernel took the last byte.
    pub(super) taken: BTreeSet<u64>,
    /// Reads that found nothing since the turn began.
    pub(super) vain_reads: u32,
    /// What stands between the peer and the wire.
    pub(super) tls: Option<Box<PeerTls>>,
    /// Bytes that the gateway has read, as they went over the wire.
    raw_bytes: u64,
}

impl Socket {
    pub(super) fn new(door: usize, arrived_max: usize, leaving_max: usize) -> Self {
        Self {
            door,
            token: None,
            watch: Watch::Read,
            noted: false,
            spurious: false,
            coming: VecDeque::new(),
            arrived: VecDeque::new(),
            arrived_max,
            fin: false,
            error: false,
            broken: false,
            read_bytes: 0,
            leaving: VecDeque::new(),
            leaving_max,
            no_space: false,
            shut: false,
            dropped: false,
            kicked: false,
            tap: Reader::default(),
            taken: BTreeSet::new(),
            vain_reads: 0,
            tls: None,
            raw_bytes: 0,
        }
    }

    pub(super) fn is_readable(&self) -> bool {
        !self.arrived.is_empty() || self.is_ended()
    }

    pub(super) fn is_ended(&self) -> bool {
        self.fin || self.error || self.broken
    }

    pub(super) fn is_writable(&self) -> bool {
        self.broken || self.leaving.len() < self.leaving_max && !self.no_space
    }

    /// What epoll would tell of it now.
    pub(super) fn has_news(&self) -> bool {
        self.spurious || self.is_readable() || self.watch == Watch::ReadWrite && self.is_writable()
    }

    /// Whether the next piece can arrive at `now`.
    pub(super) fn can_arrive(&self, now: u64) -> bool {
        match self.coming.front() {
            Some((at, Piece::Bytes(_))) => *at <= now && (self.dropped || self.arrived.len() < self.arrived_max),
            Some((at, _)) => *at <= now,
            None => false,
        }
    }

    /// Lets the next piece arrive, as far as there is room.
    pub(super) fn arrive(&mut self) {
        let Some((at, piece)) = self.coming.pop_front() else {
            return;
        };
        if self.dropped {
            self.coming.clear();
            self.kicked = true;
            return;
        }
        match piece {
            Piece::Bytes(mut bytes) => {
                let room = self.arrived_max - self.arrived.len();
                self.arrived.extend(bytes.drain(..room.min(bytes.len())));
                if !bytes.is_empty() {
                    self.coming.push_front((at, Piece::Bytes(bytes)));
                }
            }
            Piece::Fin => self.fin = true,
            Piece::Reset => {
                (self.error, self.broken) = (true, true);
                self.arrived.clear();
                self.leaving.clear();
            }
        }
        self.noted = true;
    }

    /// The gateway reads; `None` when there is nothing, an error once after a reset.
    pub(super) fn read(&mut self, into: &mut [u8]) -> Option<Result<usize, ()>> {
        if std::mem::take(&mut self.error) {
            return Some(Err(()));
        }
        let count = into.len().min(self.arrived.len());
        if count == 0 {
            return self.is_ended().then_some(Ok(0));
        }
        for (place, byte) in into.iter_mut().zip(self.arrived.drain(..count)) {
            *place = byte;
        }
        self.raw_bytes += count as u64;
        self.read_bytes = match &mut self.tls {
            None => self.raw_bytes,
            Some(tls) => self.read_bytes.max(tls.heard_by(self.raw_bytes)),
        };
        Some(Ok(count))
    }

    /// Room for what the gateway writes.
    pub(super) fn room(&self) -> usize {
        // A record that comes whole brings what came of it before, too.
        self.leaving_max.saturating_sub(self.leaving.len())
    }

    /// Messages of the gateway's that were compressed.
    pub(super) fn packed(&self) -> u32 {
        self.tap.packed
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// The gateway writes; calls that are whole now.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Vec<u64> {
        assert!(!self.shut, "a write after our end of the stream");
        let plain = self.tls.as_mut().map(|tls| tls.hear(bytes));
        let bytes = plain.as_deref().unwrap_or(bytes);
        self.leaving.extend(bytes);
        let mut whole = Vec::new();
        for said in self.tap.feed(bytes) {
            if let Said::Message(_, payload) = said {
                whole.extend(nonce_in(&payload));
            }
        }
        for &nonce in &whole {
            assert!(self.taken.insert(nonce), "call {nonce} was written twice");
        }
        whole
    }

    /// A write was refused or cut: the kernel will say when there is room.
    pub(super) fn refuse(&mut self) {
        // Room is there already when the refusal was a whim: then the next look at it says so.
        self.no_space = self.room() == 0;
    }

    /// Whether the kernel may have a part of this call.
    pub(super) fn may_have_begun(&self, nonce: u64) -> bool {
        // What is sealed goes out sooner or later, and no part of a record can be read.
        self.tls.is_some() || self.tap.may_hold(nonce)
    }

    /// The gateway ends its side.
    pub(super) fn shut(&mut self) {
        let told = self.tls.as_mut().is_none_or(|tls| tls.is_told_of_the_end());
        assert!(told, "our end of the stream without a close_notify");
        self.shut = true;
    }

    /// The client reads.
    pub(super) fn client_read(&mut self, most: usize) -> Read {
        if self.kicked || self.broken {
            return Read::Reset;
        }
        let count = most.min(self.leaving.len());
        if count == 0 {
            return if self.shut || self.dropped { Read::End } else { Read::Nothing };
        }
        let bytes = self.leaving.drain(..count).collect();
        if self.no_space && self.room() * 3 >= self.leaving_max {
            self.no_space = false;
            self.noted |= self.watch == Watch::ReadWrite;
        }
        Read::Bytes(bytes)
    }

    pub(super) fn has_for_client(&self) -> bool {
        !self.leaving.is_empty() || self.shut || self.dropped || self.kicked || self.broken
    }

    /// The gateway closed it: unread bytes make the kernel reset the client.
    pub(super) fn close(&mut self) {
        self.dropped = true;
        self.noted = false;
        self.kicked |= !self.arrived.is_empty();
    }
}
