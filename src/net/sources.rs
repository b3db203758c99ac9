//! Where connections come from that a balancer has passed on: what its PROXY header said, since the socket knows only the balancer.
//!
//! Owns these addresses, beside the slots and by their numbers, so that a connection without a header has no byte for them: 18 bytes
//! for each place of a chunk that has any. Whoever frees a slot must tell it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Places in a chunk.
const CHUNK: usize = 1024;

/// An address and a port without the padding of a [`SocketAddr`]. IPv4 is mapped into IPv6.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Source {
    address: [u8; 16],
    port: [u8; 2],
}

const _: () = assert!(size_of::<Source>() == 18);

impl Source {
    /// No address. That nobody comes from `[::]:0` a caller sees to.
    const NONE: Self = Self { address: [0; 16], port: [0; 2] };
}

struct Chunk {
    places: Box<[Source]>,
    held: usize,
}

/// Addresses by slot.
#[derive(Default)]
pub struct Sources {
    chunks: Vec<Option<Chunk>>,
}

impl Sources {
    /// Notes where the connection in a slot comes from.
    pub fn put(&mut self, slot: u32, source: SocketAddr) {
        self.forget(slot);
        let address = match source.ip() {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        let source = Source { address: address.octets(), port: source.port().to_be_bytes() };
        let (index, place) = (slot as usize / CHUNK, slot as usize % CHUNK);
        if source == Source::NONE {
            return;
        }
        if self.chunks.len() <= index {
            self.chunks.resize_with(index + 1, || None);
        }
        let chunk =
            self.chunks[index].get_or_insert_with(|| Chunk { places: vec![Source::NONE; CHUNK].into(), held: 0 });
        chunk.places[place] = source;
        chunk.held += 1;
    }

    /// Where the connection in a slot comes from; `None` when that was not noted.
    #[must_use]
    pub fn get(&self, slot: u32) -> Option<SocketAddr> {
        let chunk = self.chunks.get(slot as usize / CHUNK)?.as_ref()?;
        let source = Some(chunk.places[slot as usize % CHUNK]).filter(|source| *source != Source::NONE)?;
        let address = IpAddr::V6(Ipv6Addr::from(source.address)).to_canonical();
        Some(SocketAddr::new(address, u16::from_be_bytes(source.port)))
    }

    /// The slot is free, or somebody else's.
    pub fn forget(&mut self, slot: u32) {
        let Some(place) = self.chunks.get_mut(slot as usize / CHUNK) else {
            return;
        };
        if let Some(chunk) = place
            && std::mem::replace(&mut chunk.places[slot as usize % CHUNK], Source::NONE) != Source::NONE
        {
            chunk.held -= 1;
            if chunk.held == 0 {
                *place = None;
            }
        }
    }

    /// How many addresses it holds.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.chunks.iter().flatten().map(|chunk| chunk.held).sum()
    }

    /// Bytes of all of it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let chunks = self.chunks.iter().flatten().count();
        chunks * CHUNK * size_of::<Source>() + self.chunks.capacity() * size_of::<Option<Chunk>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_keeps_its_address_until_it_is_freed() {
        let mut sources = Sources::default();
        assert_eq!((sources.get(0), sources.get(u32::MAX), sources.bytes()), (None, None, 0));
        let (v4, v6) = ("192.0.2.1:50000", "[2001:db8::1]:9");
        for (slot, text) in [(0, v4), (1, v6), (5000, v4), (5000, v6)] {
            sources.put(slot, text.parse().expect("an address"));
            assert_eq!(sources.get(slot).map(|source| source.to_string()).as_deref(), Some(text));
        }
        assert_eq!(sources.get(2), None);
        let full = sources.bytes();
        for slot in [5000, 5000, 1, 7777, u32::MAX] {
            sources.forget(slot);
            assert_eq!(sources.get(slot), None);
        }
        assert_eq!(full - sources.bytes(), CHUNK * 18);
        sources.put(0, "[::]:0".parse().expect("an address"));
        assert_eq!(sources.get(0), None, "nobody is known to come from nowhere");
        assert!(sources.chunks.iter().all(Option::is_none));
    }
}
