//! A table that grows in chunks: no growth copies what is there, so none stalls a loop or doubles its memory.
//!
//! Owns values by index. It knows no generations: who hands an index out keeps the means to tell a stale one.

use slab::Slab;

/// Slots in one chunk.
const CHUNK: usize = 4096;

/// Values by `u32` index; a freed index is used again.
#[derive(Debug)]
pub struct Slots<T> {
    chunks: Vec<Slab<T>>,
    /// Chunks that have room, lowest last; a full chunk is not listed.
    open: Vec<u32>,
    len: usize,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            open: Vec::new(),
            len: 0,
        }
    }
}

impl<T> Slots<T> {
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

    /// One more than the highest index that was ever used: the range to sweep.
    #[must_use]
    pub fn span(&self) -> u32 {
        (self.chunks.len() * CHUNK) as u32
    }

    /// Bytes that the table itself takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.chunks
            .iter()
            .map(|chunk| chunk.capacity() * size_of::<Option<T>>())
            .sum()
    }

    /// Puts a value in and returns its index.
    pub fn insert(&mut self, value: T) -> u32 {
        let chunk = match self.open.last() {
            Some(&chunk) => chunk as usize,
            None => {
                self.chunks.push(Slab::with_capacity(CHUNK));
                self.open.push((self.chunks.len() - 1) as u32);
                self.chunks.len() - 1
            }
        };
        let place = self.chunks[chunk].insert(value);
        if self.chunks[chunk].len() == CHUNK {
            self.open.pop();
        }
        self.len += 1;
        (chunk * CHUNK + place) as u32
    }

    /// The value at `index`.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&T> {
        self.chunks
            .get(index as usize / CHUNK)?
            .get(index as usize % CHUNK)
    }

    /// The value at `index`, to change.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.chunks
            .get_mut(index as usize / CHUNK)?
            .get_mut(index as usize % CHUNK)
    }

    /// Takes the value at `index` out.
    pub fn remove(&mut self, index: u32) -> Option<T> {
        let chunk = index as usize / CHUNK;
        let slab = self.chunks.get_mut(chunk)?;
        let value = slab.try_remove(index as usize % CHUNK)?;
        if slab.len() == CHUNK - 1 {
            self.open.push(chunk as u32);
        }
        self.len -= 1;
        Some(value)
    }

    /// Every index in `from..to` that holds a value, in order, with the value.
    pub fn range(&self, from: u32, to: u32) -> impl Iterator<Item = (u32, &T)> {
        (from..to.min(self.span())).filter_map(|index| self.get(index).map(|value| (index, value)))
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(
            slots.range(4095, 4098).map(|(i, _)| i).collect::<Vec<_>>(),
            [4095, 4096, 4097]
        );
    }

    #[test]
    fn an_unknown_index_is_a_value() {
        let mut slots: Slots<u8> = Slots::default();
        assert_eq!((slots.get(1 << 31), slots.remove(u32::MAX)), (None, None));
        assert_eq!(slots.range(0, u32::MAX).count(), 0);
    }
}
