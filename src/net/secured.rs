//! What the connections of one loop have of TLS, beside their slots and by their numbers: a handshake while it lasts, then secrets.
//!
//! Owns these tables, so that a slot stays at its size and a connection without TLS has no byte for it. A resting connection has 4 bytes
//! for its handle and 88 or 120 for its secrets; what else it may have (half a record, the name in its certificate) lasts for
//! moments. Whoever frees a slot must tell it. It never reads or writes a socket, and never shows a secret.

mod handles;

use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use zeroize::Zeroize;

use crate::kit::buffer_pool::{BufferPool, Lease, Purpose};
use crate::kit::slots::Slots;
use crate::kit::tick::Tick;
use crate::session::effect::Certified;
use crate::session::expiry::Expiry;

use super::tls::at_rest::AtRest;
use super::tls::ciphers::Ciphers;
use super::tls::handshake::Handshake;
use super::tls::identity::Rule;
use super::tls::live::Live;
use super::tls::records::Records;
use super::tls::rest::Rest;
use super::tls::server::Server;

pub use handles::Kind;
use handles::{Handle, Handles};

/// Places for ready ciphers: each busy connection has one for each direction, and two that fall on the same place push each other out.
/// All of them take 3 MB of a busy loop, and nothing of one that rests.
const CIPHERS: usize = 4096;

/// What one handshake takes as a rule: rustls' connection with its buffers. This and the next three are what a process was measured to grow by
/// for each (`cargo test --test black_box memory -- --nocapture`), and a test holds them to it.
pub const HANDSHAKE_BYTES: usize = 9 << 10;

/// What one handshake takes at most, of a client that sends as much as it may and then nothing: rustls joins it in a buffer that doubles.
pub const HANDSHAKE_BYTES_WORST: usize = 22 << 10;

/// As [`HANDSHAKE_BYTES_WORST`], where clients are asked for certificates and may send more.
pub const HANDSHAKE_BYTES_WORST_WITH_CERTIFICATES: usize = 70 << 10;

/// What one live session of TLS 1.2 takes.
pub const LIVE_BYTES: usize = 7_900;

/// Handshakes in a chunk of their table: it is empty most of the time.
const HANDSHAKES_A_CHUNK: usize = 64;

/// What a door asks of those who come: swapped whole when files have changed.
#[derive(Debug)]
pub struct Terms {
    /// Certificates, versions, tickets.
    pub server: Arc<Server>,
    /// How a client's certificate names an agent; `None` where it does not.
    pub rule: Option<Rule>,
}

/// The terms of each door, by its number; `None` where it has no TLS. Which doors have is settled at the start.
pub type DoorTerms = [Option<Arc<Terms>>; 2];

/// A handshake under way, and what it was begun with.
pub struct Shaking {
    /// rustls' part.
    pub handshake: Box<Handshake>,
    /// What its door asked then.
    pub terms: Arc<Terms>,
}

/// A record that has come in part.
struct Part {
    bytes: Lease,
    since: Tick,
}

/// The TLS of one loop's connections.
pub struct Secured {
    handles: Handles,
    handshakes: Slots<Shaking>,
    short: Slots<AtRest<32>>,
    long: Slots<AtRest<48>>,
    live: Slots<Live>,
    parts: HashMap<u32, Part, RandomState>,
    /// What certificates say of clients that have not asked for their upgrade yet.
    names: HashMap<u32, Box<Certified>, RandomState>,
    /// Tickets that are sealed already and go out before all else that a connection says, with its answer.
    tickets: HashMap<u32, Box<[u8]>, RandomState>,
    /// When the certificates of clients end that were let in with one, in seconds since 1970.
    ends: HashMap<u32, u64, RandomState>,
    ciphers: Option<Ciphers>,
}

impl Default for Secured {
    fn default() -> Self {
        Self {
            handles: Handles::default(),
            handshakes: Slots::with_chunk(HANDSHAKES_A_CHUNK),
            short: Slots::default(),
            long: Slots::default(),
            live: Slots::default(),
            parts: HashMap::default(),
            names: HashMap::default(),
            tickets: HashMap::default(),
            ends: HashMap::default(),
            ciphers: None,
        }
    }
}

impl Secured {
    /// How far the connection in a slot is.
    #[must_use]
    pub fn kind(&self, slot: u32) -> Kind {
        self.handles.get(slot).kind()
    }

    /// Whether the connection in a slot has records to speak in, and has not said its last.
    #[must_use]
    pub fn speaks(&self, slot: u32) -> bool {
        let handle = self.handles.get(slot);
        handle.kind().is_established() && !handle.has_closed()
    }

    /// The connection in a slot has sealed its last record.
    pub fn close(&mut self, slot: u32) {
        let handle = self.handles.get(slot);
        self.handles.put(slot, handle.closed());
    }

    /// Whether the peer of the connection in a slot has said that it says nothing more.
    #[must_use]
    pub fn peer_has_ended(&self, slot: u32) -> bool {
        self.handles.get(slot).has_ended()
    }

    /// The peer of the connection in a slot says nothing more; what it said before may still have to be heard.
    pub fn end_peer(&mut self, slot: u32) {
        let handle = self.handles.get(slot);
        self.handles.put(slot, handle.ended());
    }

    /// Begins a handshake.
    pub fn begin(&mut self, slot: u32, shaking: Shaking) {
        let index = self.handshakes.insert(shaking);
        self.handles.put(slot, Handle::new(Kind::Shaking, index));
    }

    /// The handshake of a connection that has one.
    pub fn handshake(&mut self, slot: u32) -> Option<&mut Handshake> {
        let handle = self.handles.get(slot);
        if handle.kind() != Kind::Shaking {
            return None;
        }
        self.handshakes.get_mut(handle.index()).map(|shaking| &mut *shaking.handshake)
    }

    /// Takes a handshake out, to be made into something else or dropped. Until then the connection can say and hear nothing.
    pub fn end_handshake(&mut self, slot: u32) -> Option<Shaking> {
        let handle = self.handles.get(slot);
        if handle.kind() != Kind::Shaking {
            return None;
        }
        self.handles.put(slot, Handle::new(Kind::Over, 0));
        self.handshakes.remove(handle.index())
    }

    /// The connection rests from now on.
    pub fn rest(&mut self, slot: u32, rest: Rest) {
        let handle = match rest {
            Rest::Short(rest) => Handle::new(Kind::Short, self.short.insert(rest)),
            Rest::Long(rest) => Handle::new(Kind::Long, self.long.insert(rest)),
        };
        self.handles.put(slot, handle);
    }

    /// The connection is a live session of TLS 1.2 from now on.
    pub fn live(&mut self, slot: u32, live: Live) {
        let index = self.live.insert(live);
        self.handles.put(slot, Handle::new(Kind::Live, index));
    }

    /// The records of a connection whose handshake is done, and the ciphers to open and seal them with.
    pub fn records(&mut self, slot: u32) -> Option<(&mut dyn Records, &mut Ciphers)> {
        let handle = self.handles.get(slot);
        let index = handle.index();
        let records: &mut dyn Records = match handle.kind() {
            Kind::Short => self.short.get_mut(index)?,
            Kind::Long => self.long.get_mut(index)?,
            Kind::Live => self.live.get_mut(index)?,
            Kind::Newcomer | Kind::Shaking | Kind::Over => return None,
        };
        Some((records, self.ciphers.get_or_insert_with(|| Ciphers::new(CIPHERS))))
    }

    /// Bytes of a record that has come in part.
    #[must_use]
    pub fn part_bytes(&self, slot: u32) -> usize {
        if self.parts.is_empty() { 0 } else { self.parts.get(&slot).map_or(0, |part| part.bytes.len()) }
    }

    /// Since when a part of a record has a buffer on loan.
    #[must_use]
    pub fn part_since(&self, slot: u32) -> Option<Tick> {
        self.parts.get(&slot).map(|part| part.since)
    }

    /// Puts the part of a record back in front of what has come after it, where there is room for it.
    pub fn restore_part(&mut self, slot: u32, place: &mut [u8], pool: &mut BufferPool) -> Option<Tick> {
        let part = self.parts.remove(&slot)?;
        place.copy_from_slice(&part.bytes);
        pool.take_back(part.bytes);
        Some(part.since)
    }

    /// Keeps a part of a record.
    pub fn keep_part(&mut self, slot: u32, bytes: &[u8], since: Tick, purpose: Purpose, pool: &mut BufferPool) {
        let bytes = pool.lend_with(purpose, bytes);
        if let Some(old) = self.parts.insert(slot, Part { bytes, since }) {
            pool.take_back(old.bytes);
        }
    }

    /// Gives the part of a record back, of a connection that nobody hears any more.
    pub fn drop_part(&mut self, slot: u32, pool: &mut BufferPool) {
        if !self.parts.is_empty()
            && let Some(part) = self.parts.remove(&slot)
        {
            pool.take_back(part.bytes);
        }
    }

    /// Keeps a ticket that is sealed until the connection in a slot says something. Its record has the first number, so that nothing may
    /// be said without it.
    pub fn keep_ticket(&mut self, slot: u32, ticket: &[u8]) {
        self.tickets.insert(slot, ticket.into());
    }

    /// Takes the ticket of the connection in a slot, where one is kept, to go before what it says.
    pub fn take_ticket(&mut self, slot: u32) -> Option<Box<[u8]>> {
        if self.tickets.is_empty() { None } else { self.tickets.remove(&slot) }
    }

    /// Notes what the client's certificate says, until it asks for its upgrade.
    pub fn name(&mut self, slot: u32, certified: Certified) {
        self.names.insert(slot, Box::new(certified));
    }

    /// What the client's certificate says, once.
    pub fn take_name(&mut self, slot: u32) -> Option<Box<Certified>> {
        let name = if self.names.is_empty() { None } else { self.names.remove(&slot) };
        if let Some(Certified::Named { expires_unix, .. }) = name.as_deref() {
            self.ends.insert(slot, *expires_unix);
        }
        name
    }

    /// When the connection in a slot ends, if its token ends so: no later than its client's certificate.
    #[must_use]
    pub fn no_later(&self, slot: u32, expiry: Expiry) -> Expiry {
        if self.ends.is_empty() { expiry } else { expiry.no_later(self.ends.get(&slot).copied()) }
    }

    /// The slot is free.
    pub fn forget(&mut self, slot: u32, pool: &mut BufferPool) {
        let handle = self.handles.get(slot);
        let index = handle.index();
        match handle.kind() {
            Kind::Newcomer | Kind::Over => {}
            Kind::Shaking => drop(self.handshakes.remove(index)),
            Kind::Short => wipe(&mut self.short, index),
            Kind::Long => wipe(&mut self.long, index),
            Kind::Live => drop(self.live.remove(index)),
        }
        self.handles.put(slot, Handle::NONE);
        if !self.names.is_empty() {
            self.names.remove(&slot);
        }
        if !self.tickets.is_empty() {
            self.tickets.remove(&slot);
        }
        if !self.ends.is_empty() {
            self.ends.remove(&slot);
        }
        self.drop_part(slot, pool);
    }

    /// Handshakes under way.
    #[must_use]
    pub fn shaking(&self) -> usize {
        self.handshakes.len()
    }

    /// Connections at rest, and live sessions of TLS 1.2.
    #[must_use]
    pub fn established(&self) -> (usize, usize) {
        (self.short.len() + self.long.len(), self.live.len())
    }

    /// Parts of records that have a buffer on loan.
    #[cfg(test)]
    pub(crate) fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Whether it owns nothing of any connection.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        let tables = self.handshakes.len() + self.short.len() + self.long.len() + self.live.len();
        tables + self.parts.len() + self.names.len() + self.tickets.len() + self.ends.len() + self.handles.held() == 0
    }

    /// Forgets ready ciphers: no secret outlives its connection for long.
    pub fn clear_ciphers(&mut self) {
        self.ciphers = None;
    }

    /// Gives back what a burst left behind.
    pub fn trim(&mut self) {
        self.parts.shrink_to_fit();
        self.names.shrink_to_fit();
        self.tickets.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    /// Bytes of all of it. What a handshake and a live session have inside rustls is what they were measured to have. Buffers on loan are
    /// the pool's to count.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let tables = [self.handshakes.bytes(), self.short.bytes(), self.long.bytes(), self.live.bytes()];
        let maps = [self.parts.allocation_size(), self.names.allocation_size(), self.ends.allocation_size()];
        let tickets: usize =
            self.tickets.allocation_size() + self.tickets.values().map(|ticket| ticket.len()).sum::<usize>();
        let ciphers = self.ciphers.as_ref().map_or(0, Ciphers::bytes);
        let rustls = self.handshakes.len() * HANDSHAKE_BYTES + self.live.len() * LIVE_BYTES;
        tables.iter().chain(&maps).sum::<usize>() + self.handles.bytes() + tickets + ciphers + rustls
    }

    /// Bytes that were asked for and never used.
    #[must_use]
    pub fn promised_bytes(&self) -> usize {
        self.handshakes.promised_bytes()
            + self.short.promised_bytes()
            + self.long.promised_bytes()
            + self.live.promised_bytes()
    }
}

/// Frees a place in a table of secrets. They are overwritten first, since a free place keeps the bytes of who had it last.
fn wipe<T: Zeroize>(table: &mut Slots<T>, index: u32) {
    if let Some(rest) = table.get_mut(index) {
        rest.zeroize();
    }
    drop(table.remove(index));
}

/// Joins what records hold: the first piece stays where it was opened, so that one that comes alone is not moved.
#[derive(Debug, PartialEq, Eq)]
pub struct Joined {
    plain: Range<usize>,
}

impl Joined {
    /// Behind `kept` bytes in front of the scratch.
    #[must_use]
    pub fn behind(kept: usize) -> Self {
        Self { plain: 0..kept }
    }

    /// Adds the piece at `from`, which lies behind all others.
    pub fn add(&mut self, scratch: &mut [u8], piece: Range<usize>) {
        if self.plain.is_empty() {
            self.plain = piece;
            return;
        }
        let end = self.plain.end;
        self.plain.end += piece.len();
        scratch.copy_within(piece, end);
    }

    /// Where all of it lies.
    #[must_use]
    pub fn range(self) -> Range<usize> {
        self.plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_that_comes_alone_stays_where_it_is() {
        let mut scratch = *b"..abc..de.f";
        let mut joined = Joined::behind(0);
        joined.add(&mut scratch, 2..5);
        assert_eq!(joined.plain, 2..5);
        joined.add(&mut scratch, 7..9);
        joined.add(&mut scratch, 10..11);
        assert_eq!(&scratch[joined.range()], b"abcdef");
        let mut scratch = *b"kept...ab";
        let mut joined = Joined::behind(4);
        joined.add(&mut scratch, 7..9);
        assert_eq!(&scratch[joined.range()], b"keptab");
    }

    /// Something that must not be moved before it is wiped.
    struct Told<'a>(&'a std::cell::Cell<u32>);

    impl Zeroize for Told<'_> {
        fn zeroize(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn a_place_is_wiped_before_it_is_free() {
        let wiped = std::cell::Cell::new(0);
        let mut table = Slots::default();
        let index = table.insert(Told(&wiped));
        wipe(&mut table, index + 1);
        assert_eq!((wiped.get(), table.len()), (0, 1));
        wipe(&mut table, index);
        assert_eq!((wiped.get(), table.len()), (1, 0));
    }

    #[test]
    fn half_a_record_is_kept_and_given_back() {
        let (mut secured, mut pool) = (Secured::default(), BufferPool::new(4));
        secured.keep_part(7, b"half", Tick(3), Purpose::Message, &mut pool);
        assert_eq!((secured.part_bytes(7), secured.part_bytes(8), pool.lent()), (4, 0, 1));
        let mut place = [0; 4];
        assert_eq!(secured.restore_part(7, &mut place, &mut pool), Some(Tick(3)));
        assert_eq!((&place, pool.lent(), secured.part_since(7)), (b"half", 0, None));
        secured.keep_part(9, b"half", Tick(3), Purpose::Message, &mut pool);
        secured.name(9, Certified::Nameless);
        assert!(!secured.is_empty());
        secured.forget(9, &mut pool);
        assert!(secured.is_empty() && pool.lent() == 0);
    }
}
