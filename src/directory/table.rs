//! The agents of one shard.
//!
//! Owns entries by index and the way from a name to its index. An entry never moves while its agent is there, so that
//! slots and cursors stay true. It never looks into another shard.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::label_sets::SetNumber;
use super::token_marks::{TokenMark, TokenMarks};
use super::{Located, NewAgent, NotJoined};
use crate::kit::ids::{AgentId, ConnId, Generations, TenantId};
use crate::kit::quota::Quota;
use crate::kit::slots::Slots;
use crate::wire::envelope::Encoding;

/// Places by which a shard's memory grows: small, since each shard has its own part-filled chunk.
const CHUNK: usize = 64;
/// Idle capacity that is not worth giving back.
const SLACK: usize = 64;
/// Names that a shard has room for from the start, and keeps: 512 places of 5 bytes. A table that grows leaves the places of its smaller
/// lives behind in the allocator's pages, and 64 shards that grew from nothing to 15,000 agents left 16 bytes for each of them.
const ROOM_FROM_START: usize = 448;

/// A connected agent. Budget: 40 bytes, of which the id takes 24 (longer ids spill to the heap).
pub(super) struct Entry {
    pub(super) id: AgentId,
    pub(super) tenant: TenantId,
    pub(super) profile: Profile,
    pub(super) conn: ConnId,
}

const _: () = assert!(size_of::<Entry>() <= 40);
// A place in the slab is an entry or the index of the next free place, which fits beside the id's niche.
const _: () = assert!(size_of::<Result<usize, Entry>>() <= 40);

impl Entry {
    /// Where the agent is.
    pub(super) fn located(&self) -> Located {
        Located { conn: self.conn, encoding: self.profile.encoding() }
    }
}

/// What many agents have in common: the number of the set of labels and methods, above one bit for the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Profile(u32);

impl Profile {
    /// Packs the two.
    pub(super) fn new(labels: SetNumber, encoding: Encoding) -> Self {
        let bit = match encoding {
            Encoding::Json => 0,
            Encoding::Binary => 1,
        };
        Self(labels.bits() << 1 | bit)
    }

    /// The set of labels and methods.
    pub(super) fn labels(self) -> SetNumber {
        SetNumber::of_bits(self.0 >> 1)
    }

    /// The encoding.
    pub(super) fn encoding(self) -> Encoding {
        match self.0 & 1 {
            0 => Encoding::Json,
            _ => Encoding::Binary,
        }
    }
}

/// The hash of an agent's name. Keyed SipHash: ids are chosen by clients.
pub(super) fn hash(hashing: &RandomState, tenant: TenantId, id: &str) -> u64 {
    hashing.hash_one((tenant, id))
}

/// One shard.
pub(super) struct Table {
    entries: Slots<Entry>,
    by_name: HashTable<u32>,
    /// Bytes of ids that are too long for their entries.
    spilled: usize,
    /// Of the agents' tokens, where anybody wants to find agents by them.
    tokens: Option<TokenMarks>,
}

/// What [`Table::put`] did.
pub(super) struct Put {
    /// The agent's index.
    pub(super) index: u32,
    /// Connection and profile that the entry had before.
    pub(super) before: Option<(ConnId, Profile)>,
}

impl Table {
    /// An empty shard.
    pub(super) fn new() -> Self {
        Self {
            entries: Slots::with_chunk(CHUNK),
            by_name: HashTable::with_capacity(ROOM_FROM_START),
            spilled: 0,
            tokens: None,
        }
    }

    /// Puts an agent in, or changes its entry in place. `name` is its [`hash`].
    ///
    /// # Errors
    /// It is new and there is no `room`, or it is there on a newer connection: nothing has changed.
    pub(super) fn put(
        &mut self,
        hashing: &RandomState,
        name: u64,
        agent: &NewAgent<'_>,
        profile: Profile,
        (room, generations): (Option<&Quota>, &Generations),
    ) -> Result<Put, NotJoined> {
        if let Some(index) = self.find(name, agent.tenant, agent.id)
            && let Some(entry) = self.entries.get_mut(index)
        {
            if generations.is_newer(entry.conn, agent.conn) {
                return Err(NotJoined::Older { than: entry.conn });
            }
            let before = Some((entry.conn, entry.profile));
            entry.conn = agent.conn;
            entry.profile = profile;
            self.note_token(index, agent.token);
            return Ok(Put { index, before });
        }
        if room.is_some_and(|room| !room.take()) {
            return Err(NotJoined::TenantFull);
        }
        let id = AgentId::new(agent.id);
        self.spilled += spilled(&id);
        let index = self.entries.insert(Entry { id, tenant: agent.tenant, profile, conn: agent.conn });
        let entries = &self.entries;
        self.by_name.insert_unique(name, index, |index| hash_at(entries, hashing, *index));
        self.note_token(index, agent.token);
        Ok(Put { index, before: None })
    }

    /// Changes the entry of an agent that is still on this connection; the profile that it had before.
    pub(super) fn renew(&mut self, name: u64, agent: &NewAgent<'_>, profile: Profile) -> Option<Profile> {
        let index = self.find(name, agent.tenant, agent.id)?;
        let entry = self.entries.get_mut(index).filter(|entry| entry.conn == agent.conn)?;
        let before = std::mem::replace(&mut entry.profile, profile);
        self.note_token(index, agent.token);
        Some(before)
    }

    /// Keeps marks of tokens from now on.
    pub(super) fn keep_token_marks(&mut self) {
        self.tokens.get_or_insert_default();
    }

    /// What is kept of the token of the agent at an index.
    pub(super) fn token_mark(&self, index: u32) -> TokenMark {
        self.tokens.as_ref().map_or(TokenMark::NONE, |tokens| tokens.get(index))
    }

    fn note_token(&mut self, index: u32, token: TokenMark) {
        if let Some(tokens) = &mut self.tokens {
            tokens.set(index, token);
        }
    }

    /// Takes the agent at `index` out, if it is on this connection.
    pub(super) fn take(&mut self, hashing: &RandomState, index: u32, conn: ConnId) -> Option<Entry> {
        if self.entries.get(index)?.conn != conn {
            return None;
        }
        let name = hash_at(&self.entries, hashing, index);
        if let Ok(mark) = self.by_name.find_entry(name, |other| *other == index) {
            mark.remove();
        }
        let entry = self.entries.remove(index);
        if let Some(tokens) = &mut self.tokens {
            tokens.fit(self.entries.span());
        }
        self.spilled -= entry.as_ref().map_or(0, |entry| spilled(&entry.id));
        if self.by_name.capacity() > (self.by_name.len() * 8 + SLACK).max(ROOM_FROM_START) {
            let entries = &self.entries;
            self.by_name
                .shrink_to((self.by_name.len() * 2).max(ROOM_FROM_START), |index| hash_at(entries, hashing, *index));
        }
        entry
    }

    /// The entry of an agent. `name` is its [`hash`].
    pub(super) fn get(&self, name: u64, tenant: TenantId, id: &str) -> Option<&Entry> {
        self.entries.get(self.find(name, tenant, id)?)
    }

    /// The entry at an index.
    pub(super) fn at(&self, index: u32) -> Option<&Entry> {
        self.entries.get(index)
    }

    /// Entries from an index on, looking at no more than `places` places, used or not.
    pub(super) fn from(&self, index: u32, places: u32) -> impl Iterator<Item = (u32, &Entry)> {
        self.entries.range(index, index.saturating_add(places))
    }

    /// Every index in use is below this.
    pub(super) fn span(&self) -> u32 {
        self.entries.span()
    }

    /// Bytes of ids.
    pub(super) fn id_bytes(&self) -> usize {
        self.entries.len() * size_of::<AgentId>() + self.spilled
    }

    /// Bytes of the rest of the entries, of room for more, and of the hash table.
    pub(super) fn table_bytes(&self) -> usize {
        self.entries.bytes() - self.entries.len() * size_of::<AgentId>()
            + self.by_name.allocation_size()
            + self.tokens.as_ref().map_or(0, TokenMarks::bytes)
    }

    /// The index of an agent.
    fn find(&self, name: u64, tenant: TenantId, id: &str) -> Option<u32> {
        let found = self.by_name.find(name, |index| {
            let entry = self.entries.get(*index);
            entry.is_some_and(|entry| entry.tenant == tenant && entry.id == id)
        });
        found.copied()
    }
}

/// Bytes that an id takes beside its entry.
fn spilled(id: &AgentId) -> usize {
    if id.len() > size_of::<AgentId>() { id.len() } else { 0 }
}

/// The hash of the entry at an index, for the table when it grows or shrinks.
fn hash_at(entries: &Slots<Entry>, hashing: &RandomState, index: u32) -> u64 {
    entries.get(index).map_or(0, |entry| hash(hashing, entry.tenant, &entry.id))
}
