//! How far the TLS of each connection is, and where what it has lies: four bytes a slot.
//!
//! Owns a chunked table by slot, of which a chunk, but for the first, exists only while one of its slots has a handle. It knows no rustls.

/// Places in a chunk: 128 KiB, which an allocator keeps apart from small things. A chunk lives as long as its connections; among the
/// buffers of handshakes, which are gone in a moment, each one would hold 64 KiB of theirs that can't be given back.
const CHUNK: usize = 32 * 1024;

const KIND_SHIFT: u32 = 28;
const CLOSED: u32 = 1 << 27;
const ENDED: u32 = 1 << 26;
const INDEX: u32 = (1 << 24) - 1;

/// How far the TLS of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing of its handshake has been read.
    Newcomer,
    /// Its handshake is under way.
    Shaking,
    /// At rest, with secrets of 32 bytes.
    Short,
    /// At rest, with secrets of 48 bytes.
    Long,
    /// A live session of TLS 1.2.
    Live,
    /// Its handshake has failed.
    Over,
}

impl Kind {
    const ALL: [Self; 6] = [Self::Newcomer, Self::Shaking, Self::Short, Self::Long, Self::Live, Self::Over];

    /// Whether its handshake is done.
    #[must_use]
    pub fn is_established(self) -> bool {
        matches!(self, Self::Short | Self::Long | Self::Live)
    }
}

/// Kind, two marks and an index of 24 bits: a loop has no more slots than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle(u32);

impl Handle {
    /// That of a newcomer, or of a slot that nobody has.
    pub(super) const NONE: Self = Self(0);

    pub(super) fn new(kind: Kind, index: u32) -> Self {
        Self((kind as u32) << KIND_SHIFT | index & INDEX)
    }

    pub(super) fn kind(self) -> Kind {
        Kind::ALL.get((self.0 >> KIND_SHIFT) as usize).copied().unwrap_or(Kind::Over)
    }

    pub(super) fn index(self) -> u32 {
        self.0 & INDEX
    }

    /// The same, of a connection that has sealed its last record.
    pub(super) fn closed(self) -> Self {
        Self(self.0 | CLOSED)
    }

    pub(super) fn has_closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    /// The same, of a connection whose peer has sealed its last record.
    pub(super) fn ended(self) -> Self {
        Self(self.0 | ENDED)
    }

    pub(super) fn has_ended(self) -> bool {
        self.0 & ENDED != 0
    }
}

struct Chunk {
    /// [`Handle`]s as numbers, so that they are taken from the system as zeros: what was never written has no memory yet.
    places: Box<[u32]>,
    held: usize,
    /// Places up to the last one that was ever written.
    touched: usize,
}

/// Handles by slot.
#[derive(Default)]
pub(super) struct Handles {
    chunks: Vec<Option<Chunk>>,
}

impl Handles {
    /// The handle of a slot.
    pub(super) fn get(&self, slot: u32) -> Handle {
        let chunk = self.chunks.get(slot as usize / CHUNK).and_then(Option::as_ref);
        chunk.map_or(Handle::NONE, |chunk| Handle(chunk.places[slot as usize % CHUNK]))
    }

    /// Changes the handle of a slot.
    pub(super) fn put(&mut self, slot: u32, handle: Handle) {
        let (index, place) = (slot as usize / CHUNK, slot as usize % CHUNK);
        if self.chunks.len() <= index {
            if handle == Handle::NONE {
                return;
            }
            self.chunks.resize_with(index + 1, || None);
        }
        let chunk =
            self.chunks[index].get_or_insert_with(|| Chunk { places: vec![0; CHUNK].into(), held: 0, touched: 0 });
        let was = Handle(std::mem::replace(&mut chunk.places[place], handle.0));
        chunk.touched = chunk.touched.max(place + 1);
        chunk.held += usize::from(handle != Handle::NONE);
        chunk.held -= usize::from(was != Handle::NONE);
        // Slots are filled from the lowest: the first chunk would be taken and freed by whoever comes to an empty loop and goes.
        if chunk.held == 0 && index > 0 {
            self.chunks[index] = None;
        }
    }

    /// How many slots have one.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.chunks.iter().flatten().map(|chunk| chunk.held).sum()
    }

    /// Bytes of all of it that were ever written.
    pub(super) fn bytes(&self) -> usize {
        let touched: usize = self.chunks.iter().flatten().map(|chunk| chunk.touched).sum();
        touched * size_of::<Handle>() + self.chunks.capacity() * size_of::<Option<Chunk>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_marks_and_indices_do_not_touch_each_other() {
        for kind in Kind::ALL {
            for index in [0, 1, INDEX] {
                let handle = Handle::new(kind, index);
                assert_eq!((handle.kind(), handle.index(), handle.has_closed()), (kind, index, false));
                let closed = handle.closed();
                assert_eq!((closed.kind(), closed.index(), closed.has_closed()), (kind, index, true));
                assert!(!closed.has_ended() && !handle.has_ended());
                let ended = handle.ended();
                assert_eq!((ended.kind(), ended.index(), ended.has_closed()), (kind, index, false));
                assert!(ended.has_ended() && ended.closed().has_ended());
            }
        }
        assert_eq!(Handle::NONE.kind(), Kind::Newcomer);
    }

    #[test]
    fn chunks_but_the_first_go_with_their_last_handle() {
        let mut handles = Handles::default();
        handles.put(9, Handle::NONE);
        assert_eq!(handles.bytes(), 0);
        let far = CHUNK as u32 + 5000;
        for slot in [0, 1, far, far] {
            handles.put(slot, Handle::new(Kind::Short, slot));
            assert_eq!(handles.get(slot).index(), slot);
        }
        assert_eq!((handles.held(), handles.get(far - 1), handles.get(u32::MAX)), (3, Handle::NONE, Handle::NONE));
        let full = handles.bytes();
        handles.put(far, Handle::NONE);
        assert_eq!(full - handles.bytes(), 5001 * 4);
        [0, 1, 1].into_iter().for_each(|slot| handles.put(slot, Handle::NONE));
        assert_eq!(handles.held(), 0);
    }
}
