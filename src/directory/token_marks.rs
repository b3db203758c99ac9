//! What is kept of live agents' tokens, to find the agents of one that was revoked: 12 bytes each, beside their entries.
//!
//! Owns the marks of one shard, by the index of the entry. It exists only on a node that keeps revocations, and never holds a token
//! or an id of one: a hash of the id tells tokens apart.

/// Places by which the marks grow, as entries do.
const CHUNK: usize = 64;

/// What is kept of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenMark {
    /// A hash of its id (`jti`) with a random key; 0 where it has none.
    id: [u32; 2],
    /// When it was issued (`iat`), in seconds since the UNIX epoch; 0 where it does not say, [`u32::MAX`] for what lies beyond.
    issued_secs: u32,
}

const _: () = assert!(size_of::<TokenMark>() == 12, "the price of finding agents by their tokens");

impl TokenMark {
    /// Of no token, or of one that says neither.
    pub const NONE: Self = Self { id: [0; 2], issued_secs: 0 };

    /// `id` is the hash of the token's id, `issued_unix` when it was issued.
    #[must_use]
    pub fn new(id: Option<u64>, issued_unix: Option<u64>) -> Self {
        // No id may look like none.
        let id = id.map_or(0, |id| id.max(1));
        let issued_secs = issued_unix.map_or(0, |secs| u32::try_from(secs).unwrap_or(u32::MAX));
        Self { id: [id as u32, (id >> 32) as u32], issued_secs }
    }

    /// Whether the token's id has this hash.
    #[must_use]
    pub fn has_id(self, id: u64) -> bool {
        self.id == Self::new(Some(id), None).id
    }

    /// Whether it was issued before a second since the UNIX epoch. One that does not say was.
    #[must_use]
    pub fn is_before(self, unix_secs: u64) -> bool {
        u64::from(self.issued_secs) < unix_secs
    }
}

/// The marks of one shard.
#[derive(Debug, Default)]
pub(super) struct TokenMarks {
    #[expect(clippy::vec_box, reason = "a list that grows copies pointers, and a chunk that is empty goes back")]
    chunks: Vec<Box<[TokenMark; CHUNK]>>,
}

impl TokenMarks {
    /// Of the entry at an index.
    pub(super) fn get(&self, index: u32) -> TokenMark {
        let index = index as usize;
        self.chunks.get(index / CHUNK).map_or(TokenMark::NONE, |chunk| chunk[index % CHUNK])
    }

    /// Notes that of the entry at an index.
    pub(super) fn set(&mut self, index: u32, mark: TokenMark) {
        let index = index as usize;
        while self.chunks.len() <= index / CHUNK {
            self.chunks.push(Box::new([TokenMark::NONE; CHUNK]));
        }
        self.chunks[index / CHUNK][index % CHUNK] = mark;
    }

    /// Gives chunks back that lie above every entry; `span` is above every index in use.
    pub(super) fn fit(&mut self, span: u32) {
        self.chunks.truncate((span as usize).div_ceil(CHUNK));
    }

    /// Bytes that they take.
    pub(super) fn bytes(&self) -> usize {
        self.chunks.len() * size_of::<[TokenMark; CHUNK]>()
            + self.chunks.capacity() * size_of::<Box<[TokenMark; CHUNK]>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stay_at_their_index_and_room_goes_back() {
        let mut marks = TokenMarks::default();
        let mark = |n: u32| TokenMark::new(Some(u64::from(n) << 20), Some(u64::from(n)));
        for n in [0, 1, 63, 64, 1000] {
            marks.set(n, mark(n));
        }
        for n in [0, 1, 63, 64, 1000] {
            assert_eq!(marks.get(n), mark(n), "{n}");
        }
        assert_eq!((marks.get(2), marks.get(5000)), (TokenMark::NONE, TokenMark::NONE));
        let full = marks.bytes();
        marks.fit(65);
        assert!(marks.bytes() < full && marks.get(64) == mark(64) && marks.get(1000) == TokenMark::NONE);
    }

    #[test]
    fn who_says_nothing_has_no_id_and_was_before() {
        let silent = TokenMark::new(None, None);
        assert_eq!(silent, TokenMark::NONE);
        assert!(!silent.has_id(0) && silent.is_before(1) && !silent.is_before(0));
        // A hash that happens to be 0 is an id all the same.
        assert!(TokenMark::new(Some(0), None).has_id(0) && !silent.has_id(1));
        let late = TokenMark::new(Some(7), Some(u64::MAX));
        assert!(late.has_id(7) && !late.has_id(7 << 32) && !late.is_before(2_000_000_000));
    }
}
