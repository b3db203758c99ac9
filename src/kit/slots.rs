//! A table that grows in chunks: no growth copies what is there, so none stalls a loop or doubles its memory.
//!
//! Owns values by index, and gives the memory of empty chunks back. It knows no generations: who hands an index out
//! keeps the means to tell a stale one. It never moves a value.

use std::collections::BTreeSet;

use slab::Slab;

/// Places in one chunk, where the owner asks for nothing else.
const CHUNK: usize = 4096;
/// Chunks that a table has room to list from the start, and keeps. A list that is made while others come and go lies among what they
/// leave behind, and keeps the allocator from giving that back.
const CHUNKS_FROM_START: usize = 8;

/// The system gives memory a page at a time: of a smaller chunk all places count from the start.
const PAGE_BYTES: usize = 4096;

/// Values by `u32` index; a freed index is used again.
#[derive(Debug)]
pub struct Slots<T> {
    /// A chunk without capacity has given its memory back; its indices are free.
    chunks: Vec<Slab<T>>,
    /// Places in each chunk, a power of two.
    chunk_places: usize,
    /// Chunks that have room. The lowest is filled first, so that the high ones run empty and can be freed.
    open: BTreeSet<u32>,
    /// One empty chunk that keeps its memory: else a value that comes and goes would allocate each time.
    spare: Option<u32>,
    /// Places of each chunk that were ever used: the others are promised by the system and not taken yet.
    touched: Vec<u32>,
    /// Chunks that have memory.
    held: usize,
    /// All touched places, so that nobody walks over the chunks to tell its bytes.
    places: usize,
    len: usize,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self::with_chunk(CHUNK)
    }
}

impl<T> Slots<T> {
    /// An empty table that grows by `chunk_places` places (rounded up to a power of two) at a time.
    #[must_use]
    pub fn with_chunk(chunk_places: usize) -> Self {
        Self {
            chunks: Vec::with_capacity(CHUNKS_FROM_START),
            chunk_places: chunk_places.next_power_of_two(),
            open: BTreeSet::new(),
            spare: None,
            touched: Vec::with_capacity(CHUNKS_FROM_START),
            held: 0,
            places: 0,
            len: 0,
        }
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Every index in use is below this: the range to sweep. Falls again when the last chunks run empty.
    #[must_use]
    pub fn span(&self) -> u32 {
        (self.chunks.len() * self.chunk_places) as u32
    }

    /// Bytes that the table itself takes: what was never used is not counted. Looks at nothing but counts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        // A place is the value or the index of the next free place.
        let lists = self.chunks.capacity() * size_of::<Slab<T>>() + self.touched.capacity() * size_of::<u32>();
        self.places * size_of::<Result<usize, T>>() + lists
    }

    /// Bytes that were asked for and never used: they are live for an allocator, but no memory yet.
    #[must_use]
    pub fn promised_bytes(&self) -> usize {
        (self.held * self.chunk_places - self.places) * size_of::<Result<usize, T>>()
    }

    /// Puts a value in and returns its index.
    pub fn insert(&mut self, value: T) -> u32 {
        let chunk = match self.open.first() {
            Some(&chunk) => chunk,
            None => {
                let chunk = self.chunks.len() as u32;
                self.chunks.push(Slab::new());
                self.touched.push(0);
                self.open.insert(chunk);
                chunk
            }
        };
        let slab = &mut self.chunks[chunk as usize];
        if slab.capacity() == 0 {
            *slab = Slab::with_capacity(self.chunk_places);
            self.held += 1;
            if self.chunk_places * size_of::<Result<usize, T>>() <= PAGE_BYTES {
                self.touched[chunk as usize] = self.chunk_places as u32;
                self.places += self.chunk_places;
            }
        }
        let place = slab.insert(value);
        let touched = &mut self.touched[chunk as usize];
        if place as u32 == *touched {
            *touched += 1;
            self.places += 1;
        }
        if slab.len() == self.chunk_places {
            self.open.remove(&chunk);
        }
        if self.spare == Some(chunk) {
            self.spare = None;
        }
        self.len += 1;
        (chunk as usize * self.chunk_places + place) as u32
    }

    /// The value at `index`.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&T> {
        let (chunk, place) = self.split(index);
        self.chunks.get(chunk)?.get(place)
    }

    /// The value at `index`, to change.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let (chunk, place) = self.split(index);
        self.chunks.get_mut(chunk)?.get_mut(place)
    }

    /// Takes the value at `index` out.
    pub fn remove(&mut self, index: u32) -> Option<T> {
        let (chunk, place) = self.split(index);
        let slab = self.chunks.get_mut(chunk)?;
        let value = slab.try_remove(place)?;
        let left = slab.len();
        self.len -= 1;
        if left == self.chunk_places - 1 {
            self.open.insert(chunk as u32);
        }
        if left == 0 {
            self.ran_empty(chunk as u32);
        }
        Some(value)
    }

    /// Every index in `from..to` that holds a value, in order, with the value.
    pub fn range(&self, from: u32, to: u32) -> impl Iterator<Item = (u32, &T)> {
        (from..to.min(self.span())).filter_map(|index| self.get(index).map(|value| (index, value)))
    }

    /// Every value with its index, looking only at places that were ever used: fast also in a debug build.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.chunks.iter().enumerate().flat_map(move |(chunk, slab)| {
            let index = move |place| (chunk * self.chunk_places + place) as u32;
            slab.iter().map(move |(place, value)| (index(place), value))
        })
    }

    /// Chunk and place of an index.
    fn split(&self, index: u32) -> (usize, usize) {
        let index = index as usize;
        (index >> self.chunk_places.trailing_zeros(), index & (self.chunk_places - 1))
    }

    /// Keeps the lowest empty chunk as the spare and frees any other.
    fn ran_empty(&mut self, chunk: u32) {
        let freed = match self.spare {
            None => {
                self.spare = Some(chunk);
                return;
            }
            Some(spare) => {
                self.spare = Some(spare.min(chunk));
                spare.max(chunk)
            }
        };
        self.chunks[freed as usize] = Slab::new();
        self.held -= 1;
        self.places -= std::mem::take(&mut self.touched[freed as usize]) as usize;
        while self.chunks.last().is_some_and(|slab| slab.capacity() == 0) {
            self.chunks.pop();
            self.touched.pop();
            self.open.remove(&(self.chunks.len() as u32));
        }
        if self.chunks.len() < self.chunks.capacity() / 4 {
            self.chunks.shrink_to((self.chunks.len() * 2).max(CHUNKS_FROM_START));
            self.touched.shrink_to(self.chunks.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn indices_are_reused_and_chunks_filled() {
        let mut slots = Slots::default();
        for n in 0..2 * CHUNK as u32 + 5 {
            assert_eq!(slots.insert(n), n);
        }
        assert_eq!(slots.remove(7), Some(7));
        assert_eq!(slots.remove(7), None);
        assert_eq!(slots.get(7), None);
        assert_eq!(slots.insert(99), 7, "a freed place is taken first");
        assert_eq!(slots.len(), 2 * CHUNK + 5);
        assert_eq!(slots.range(4095, 4098).map(|(i, _)| i).collect::<Vec<_>>(), [4095, 4096, 4097]);
    }

    #[test]
    fn an_unknown_index_is_a_value() {
        let mut slots: Slots<u8> = Slots::default();
        assert_eq!(slots.get(1 << 31), None);
        assert_eq!(slots.remove(u32::MAX), None);
        assert_eq!(slots.range(0, u32::MAX).count(), 0);
    }

    #[test]
    fn memory_falls_back_but_for_one_spare_chunk() {
        let mut slots = Slots::with_chunk(64);
        for n in 0u64..64 {
            slots.insert(n);
        }
        let one_chunk = slots.bytes();
        for n in 64..64 * 100 {
            slots.insert(n);
        }
        assert!(slots.bytes() > 50 * one_chunk);
        for n in 0..64 * 100 {
            assert_eq!(slots.remove(n), Some(u64::from(n)));
        }
        assert!(slots.bytes() <= one_chunk);
        assert!(slots.span() <= 64);
        assert!(slots.insert(5) < 64, "the spare chunk is used");
    }

    #[test]
    fn what_was_never_used_is_no_memory() {
        let mut slots: Slots<[u8; 64]> = Slots::default();
        assert!(slots.bytes() < 1024, "the list of chunks alone");
        slots.insert([0; 64]);
        let (one, all) = (slots.bytes(), slots.bytes() + slots.promised_bytes());
        assert!(one < 1024 && all >= CHUNK * 64, "{one} {all}");
        for _ in 1..CHUNK {
            slots.insert([0; 64]);
        }
        assert_eq!((slots.bytes(), slots.promised_bytes()), (all, 0));
        slots.remove(3);
        assert_eq!(slots.promised_bytes(), 0, "a place that was used stays memory");
        // A chunk within a page is memory from its first place on.
        let mut small: Slots<[u8; 64]> = Slots::with_chunk(32);
        small.insert([0; 64]);
        assert!(small.bytes() >= 32 * 64 && small.promised_bytes() == 0);
    }

    #[test]
    fn a_freed_chunk_below_a_used_one_is_used_again() {
        let mut slots = Slots::with_chunk(4);
        for n in 0..12u32 {
            slots.insert(n);
        }
        for n in 0..8 {
            slots.remove(n);
        }
        let before = slots.bytes();
        assert_eq!(slots.span(), 12, "the last chunk keeps its indices");
        let mut sorted: Vec<_> = (0..8).map(|n| slots.insert(n)).collect();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..8).collect::<Vec<_>>());
        assert!(slots.bytes() > before);
    }

    proptest! {
        /// Puts some in, takes one out, or takes a whole chunk out.
        #[test]
        fn it_is_a_map(ops in proptest::collection::vec((0..3, 0u32..40), 0..200)) {
            let mut slots = Slots::with_chunk(4);
            let mut model = BTreeMap::new();
            for (kind, n) in ops {
                match kind {
                    0 => for value in 0..n % 8 {
                        let index = slots.insert(value);
                        prop_assert_eq!(model.insert(index, value), None, "an index in use is not handed out");
                    },
                    1 => prop_assert_eq!(slots.remove(n), model.remove(&n)),
                    _ => for index in n / 4 * 4..n / 4 * 4 + 4 {
                        prop_assert_eq!(slots.remove(index), model.remove(&index));
                    },
                }
                let all: Vec<_> = slots.range(0, u32::MAX).map(|(i, v)| (i, *v)).collect();
                let expected: Vec<_> = model.iter().map(|(i, v)| (*i, *v)).collect();
                prop_assert_eq!(all, expected);
                prop_assert_eq!(slots.len(), model.len());
                let idle = slots.chunks.iter().filter(|c| c.capacity() > 0 && c.is_empty()).count();
                prop_assert!(idle <= 1, "{} idle chunks", idle);
                let touched: u32 = slots.touched.iter().sum();
                prop_assert_eq!((slots.places, slots.touched.len()), (touched as usize, slots.chunks.len()));
                let fits = |(chunk, touched): (&Slab<u32>, &u32)| chunk.len() <= *touched as usize && *touched as usize <= chunk.capacity();
                prop_assert!(slots.chunks.iter().zip(&slots.touched).all(fits));
                prop_assert!(slots.chunks.iter().all(|c| c.capacity() <= 4), "a chunk has the places that it counts with");
            }
        }
    }
}
