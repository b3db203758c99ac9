//! Identifiers: which connection, which call, whose agent.
//!
//! Owns their bit layouts and their text forms. An identifier never owns what it names.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use compact_str::CompactString;

/// Most connections that a loop can hold: the slot takes 24 bits of a [`ConnId`].
pub const SLOTS_MAX: usize = 1 << 24;

/// One connection of this process, for ever: loop (8 bits), slot (24 bits), generation (32 bits).
///
/// A slot is used again, a generation is not (until 2³² accepts of the node, see [`Generations`]), so a stale id is recognised and
/// never reaches the connection that took the slot over.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(u64);

impl ConnId {
    /// Packs the three parts. `slot` must be below [`SLOTS_MAX`].
    #[must_use]
    pub fn new(loop_index: u8, slot: u32, generation: u32) -> Self {
        debug_assert!((slot as usize) < SLOTS_MAX);
        Self(u64::from(loop_index) << 56 | u64::from(slot) << 32 | u64::from(generation))
    }

    /// Index of the event loop that owns the connection.
    #[must_use]
    pub fn loop_index(self) -> usize {
        (self.0 >> 56) as usize
    }

    /// Slot in that loop's table.
    #[must_use]
    pub fn slot(self) -> u32 {
        (self.0 >> 32) as u32 & 0x00FF_FFFF
    }

    /// The node's accept counter when this connection was accepted.
    #[must_use]
    pub fn generation(self) -> u32 {
        self.0 as u32
    }

    /// All 64 bits.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0
    }
}

/// 16 hex digits: those that stand behind the dash in a `welcome`'s `session`, so that one is found from the other.
impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Counts the connections that all loops of a node have accepted, so that any two of them can be told apart by age.
#[derive(Debug, Default)]
pub struct Generations(AtomicU32);

impl Generations {
    /// That of a connection which is accepted now.
    pub fn next(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    /// Whether `one` was accepted after `other`, which was accepted a moment ago: the count may come round, but not between the two.
    ///
    /// What is newer than `other` lies between it and the last one that was given. A connection that is 2³² accepts older and falls
    /// between them by chance would be taken for newer: with a thousand accepts since `other`, one in four million of those so old.
    #[must_use]
    pub fn is_newer(&self, one: ConnId, other: ConnId) -> bool {
        let since = |generation: u32| generation.wrapping_sub(other.generation());
        let last = self.0.load(Ordering::Relaxed);
        (1..=since(last)).contains(&since(one.generation()))
    }
}

/// One call, unique over restarts of the gateway with high odds (the first id of a process is random), so that a
/// reply that outlived its gateway cannot answer a newer call. Text form: 16 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call {self}")
    }
}

impl FromStr for CallId {
    type Err = NotACallId;

    fn from_str(text: &str) -> Result<Self, NotACallId> {
        // `from_str_radix` would also take a sign.
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(NotACallId);
        }
        u64::from_str_radix(text, 16).map(CallId).map_err(|_| NotACallId)
    }
}

/// The text is not 16 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotACallId;

impl fmt::Display for NotACallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a call id is 16 hex digits")
    }
}

impl std::error::Error for NotACallId {}

/// Hands out call ids: a counter from a random start.
#[derive(Debug)]
pub struct CallIds(AtomicU64);

impl CallIds {
    /// Starts at `first`; a process passes a random number.
    #[must_use]
    pub fn starting_at(first: u64) -> Self {
        Self(AtomicU64::new(first))
    }

    /// The next id.
    pub fn next(&self) -> CallId {
        CallId(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// An agent's own id within its tenant, see [`is_name`]. Up to 24 bytes are kept inline.
pub type AgentId = CompactString;

/// Longest agent id and tenant name, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// What a name must be, in words: messages that refuse one end with it.
pub const NAME_RULE: &str = "1 to 128 characters of A-Z a-z 0-9 . _ : @ -";

/// Whether `text` can be an agent id or a tenant name: [`NAME_RULE`].
///
/// The set needs no escaping in a URL path segment, in JSON or in a metric label.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'@' | b'-'))
}

/// A tenant, interned: an index into the directory's table of tenants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(pub u32);

/// An agent's place in the directory while it is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AgentSlot(pub u32);

impl AgentSlot {
    /// The slot of a connection that is no agent (yet).
    pub const NONE: AgentSlot = AgentSlot(u32::MAX);

    /// Whether it names a place.
    #[must_use]
    pub fn is_some(self) -> bool {
        self != Self::NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_id_keeps_its_parts() {
        for (l, s, g) in [(0, 0, 0), (255, 0x00FF_FFFF, u32::MAX), (3, 77, 12)] {
            let id = ConnId::new(l, s, g);
            assert_eq!((id.loop_index(), id.slot(), id.generation()), (l as usize, s, g));
        }
    }

    #[test]
    fn a_connection_is_logged_as_its_session_says() {
        let id = ConnId::new(1, 0xabc, 3);
        assert_eq!(format!("{id:?}"), "01000abc00000003");
    }

    #[test]
    fn a_connection_is_newer_by_its_accept_whatever_loop_it_is_in_and_wherever_the_count_stands() {
        let conn = |loop_index, generation| ConnId::new(loop_index, 7, generation);
        for start in [0, 100, u32::MAX - 2, u32::MAX] {
            let generations = Generations(AtomicU32::new(start));
            let [older, old, new] = [3, 0, 2].map(|loop_index| conn(loop_index, generations.next()));
            for (one, other, expected) in
                [(new, old, true), (old, new, false), (new, older, true), (older, old, false), (old, old, false)]
            {
                assert_eq!(generations.is_newer(one, other), expected, "{start}: {one:?} {other:?}");
            }
            // Half of all numbers ago, and more: still older.
            for ago in [1, 1 << 20, 1 << 31, u32::MAX - 3] {
                let ancient = conn(1, old.generation().wrapping_sub(ago));
                assert!(!generations.is_newer(ancient, old), "{start}: {ago}");
            }
        }
    }

    #[test]
    fn call_ids_survive_their_text() {
        for id in [0, 1, u64::MAX, 0xdead_beef] {
            assert_eq!(CallId(id).to_string().parse(), Ok(CallId(id)));
        }
        for bad in ["", "1", "+00000000000000f", "00000000000000zz", "00000000000000000"] {
            assert_eq!(bad.parse::<CallId>(), Err(NotACallId), "{bad}");
        }
    }

    #[test]
    fn names() {
        assert!(is_name("web-1.eu:rack_7@x"));
        for bad in ["", "a/b", "a b", "ü", &"x".repeat(129)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
