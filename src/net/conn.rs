//! What a resting connection owns: one slot of 64 bytes, nothing else.

use crate::kit::ids::AgentSlot;
use crate::kit::tick::Now;
use crate::session::Session;
use crate::session::rules::Door;

use super::io::Token;
use super::outbox::Outbox;

/// What the loop notes of a connection in the byte that its session lends it. All in one place: two with one bit would be one.
pub(super) mod mark {
    /// It stands in the list of those to read again.
    pub const IN_AGAIN: u8 = 1;
    /// It came over a limit and only gets its 503.
    pub const TURNED_AWAY: u8 = 2;
    /// Its request was refused, and it may linger for the answer to arrive.
    pub const REFUSED: u8 = 4;
    /// It came in at the door of links.
    pub(super) const AT_LINKS: u8 = 8;
    /// It is, or was, a link that was let in.
    pub(super) const LINKED: u8 = 16;
    /// It was not read when it might have had something, so an edge may be lost.
    pub const PASSED_OVER: u8 = 32;
    /// It stands in the line of those whose TLS handshake can go on.
    pub const IN_LINE: u8 = 64;
    /// Its first bytes are a balancer's PROXY header, which has not come whole yet.
    pub const AWAITS_HEADER: u8 = 128;
}

/// A socket and what is stored for it.
#[derive(Debug)]
pub struct Conn<S> {
    /// Its protocol.
    pub session: Session,
    /// What waits for the kernel; nothing at rest.
    pub outbox: Option<Box<Outbox>>,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// The socket.
    pub stream: S,
    /// The node's accept counter when it was accepted.
    pub generation: u32,
    /// Its place in the directory.
    pub agent: AgentSlot,
    /// Seconds since the clock's start when it was accepted.
    pub since_secs: u32,
}

/// The budget of a slot: session 24, outbox 8, byte counts 16, socket 4, generation 4, directory slot 4, since 4. The
/// descriptor's niche keeps an empty slot as small as a full one, and so the slab's entry (a value, or the next free index).
const _: () = assert!(size_of::<Option<Conn<std::net::TcpStream>>>() == 64, "the slot of a connection is 64 bytes");
const _: () = assert!(size_of::<Result<Conn<std::net::TcpStream>, usize>>() == 64, "so is its entry in the slab");

impl<S> Conn<S> {
    /// A connection that was just accepted.
    pub fn new(stream: S, door: Door, generation: u32, now: Now) -> Self {
        let mut session = Session::new(now);
        if door == Door::Links {
            session.owner_marks |= mark::AT_LINKS;
        }
        Self {
            session,
            outbox: None,
            bytes_in: 0,
            bytes_out: 0,
            stream,
            generation,
            agent: AgentSlot::NONE,
            since_secs: u32::try_from(now.0 / 1000).unwrap_or(u32::MAX),
        }
    }

    /// Where it came in.
    pub fn door(&self) -> Door {
        if self.session.owner_marks & mark::AT_LINKS == 0 { Door::Agents } else { Door::Links }
    }

    /// The workers know it as a link from now on, and are told of its end.
    pub fn set_linked(&mut self) {
        self.session.owner_marks |= mark::LINKED;
    }

    /// Whether the workers know it as a link.
    pub fn is_linked(&self) -> bool {
        self.session.owner_marks & mark::LINKED != 0
    }

    /// What its socket is called in slot `slot`.
    pub fn token(&self, slot: u32) -> Token {
        Token { slot, generation: self.generation }
    }

    /// Bytes that wait for the kernel.
    pub fn queued_bytes(&self) -> usize {
        self.outbox.as_ref().map_or(0, |outbox| outbox.queued_bytes())
    }
}
