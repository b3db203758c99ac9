//! Buffers that are lent to a connection while a message of its is cut in two, and taken back after it.
//!
//! Owns the idle buffers of one event loop, and counts what is lent for what. It never keeps a large one: memory falls back
//! after a burst.

use std::ops::Deref;

/// Size of a pooled buffer, in bytes; a message that outgrows it gets memory of its own.
pub const LEASE_BYTES: usize = 4096;

/// What a buffer is lent for. Each has a bound of its own, so that none takes another's room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A message of an agent that has come in part. It ends when its peer sends the rest.
    Message,
    /// As [`Purpose::Message`], of a backend's link.
    LinkMessage,
    /// A request head that has come in part, or what came with one: the number of those who may knock at once bounds it.
    Head,
    /// What a turn had no budget of frames for.
    Kept,
    /// A message that was compressed, from when it has come whole until it is handed on in the same turn: the budget of a turn and the
    /// largest message bound it.
    Inflated,
}

/// How many purposes there are.
const PURPOSES: usize = 5;

/// A buffer on loan. It goes back to its pool with [`BufferPool::take_back`].
#[derive(Debug)]
pub struct Lease {
    bytes: Vec<u8>,
    purpose: Purpose,
}

impl Deref for Lease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The idle buffers of one loop.
#[derive(Debug)]
pub struct BufferPool {
    idle: Vec<Vec<u8>>,
    idle_max: usize,
    lent: usize,
    /// Bytes of the buffers on loan, with what they grew by: by [`Purpose`].
    lent_bytes: [usize; PURPOSES],
}

impl BufferPool {
    /// Keeps at most `idle_max` buffers while nobody needs them.
    #[must_use]
    pub fn new(idle_max: usize) -> Self {
        Self { idle: Vec::new(), idle_max, lent: 0, lent_bytes: [0; PURPOSES] }
    }

    /// Lends an empty buffer.
    pub fn lend(&mut self, purpose: Purpose) -> Lease {
        let bytes = self.idle.pop().unwrap_or_else(|| Vec::with_capacity(LEASE_BYTES));
        self.note(purpose, bytes)
    }

    /// Lends a buffer with these bytes in it, and no room for others beyond a pooled one's.
    pub fn lend_with(&mut self, purpose: Purpose, bytes: &[u8]) -> Lease {
        let mut lease = if bytes.len() > LEASE_BYTES {
            self.note(purpose, Vec::with_capacity(bytes.len()))
        } else {
            self.lend(purpose)
        };
        lease.bytes.extend_from_slice(bytes);
        lease
    }

    /// What [`BufferPool::lend_with`] takes for so many bytes.
    #[must_use]
    pub fn room_for(bytes: usize) -> usize {
        bytes.max(LEASE_BYTES)
    }

    fn note(&mut self, purpose: Purpose, bytes: Vec<u8>) -> Lease {
        self.lent += 1;
        self.lent_bytes[purpose as usize] += bytes.capacity();
        Lease { bytes, purpose }
    }

    /// Adds bytes to a buffer on loan: the one way in which it may grow, so that what is lent is known. It grows to powers of two,
    /// so that a message never takes more than its length rounded up to one.
    pub fn extend(&mut self, lease: &mut Lease, bytes: &[u8]) {
        let (held, before) = (lease.bytes.len(), lease.bytes.capacity());
        let needed = held + bytes.len();
        if needed > before {
            lease.bytes.reserve_exact(needed.next_power_of_two() - held);
        }
        lease.bytes.extend_from_slice(bytes);
        self.lent_bytes[lease.purpose as usize] += lease.bytes.capacity() - before;
    }

    /// Takes a buffer back; one that grew, or one too many, is freed.
    pub fn take_back(&mut self, lease: Lease) {
        let Lease { mut bytes, purpose } = lease;
        self.lent -= 1;
        self.lent_bytes[purpose as usize] -= bytes.capacity();
        if bytes.capacity() == LEASE_BYTES && self.idle.len() < self.idle_max {
            bytes.clear();
            self.idle.push(bytes);
        }
    }

    /// Takes back what may not have been lent.
    pub fn give_back(&mut self, lease: Option<Lease>) {
        if let Some(lease) = lease {
            self.take_back(lease);
        }
    }

    /// Buffers on loan.
    #[must_use]
    pub fn lent(&self) -> usize {
        self.lent
    }

    /// Bytes of the buffers on loan for `purpose`.
    #[must_use]
    pub fn lent_bytes(&self, purpose: Purpose) -> usize {
        self.lent_bytes[purpose as usize]
    }

    /// Bytes of the buffers on loan and of the idle ones.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lent_bytes.iter().sum::<usize>()
            + self.idle.len() * LEASE_BYTES
            + self.idle.capacity() * size_of::<Vec<u8>>()
    }

    /// Frees the idle buffers, for a loop that has been quiet.
    pub fn trim(&mut self) {
        self.idle = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Purpose; PURPOSES] =
        [Purpose::Message, Purpose::LinkMessage, Purpose::Head, Purpose::Kept, Purpose::Inflated];

    #[test]
    fn a_grown_buffer_is_not_kept() {
        let mut pool = BufferPool::new(1);
        let message = Purpose::Message;
        let (mut big, small, spare) = (pool.lend(message), pool.lend(message), pool.lend(Purpose::Kept));
        pool.extend(&mut big, &[0; LEASE_BYTES + 1]);
        assert_eq!(pool.lent_bytes(message), 3 * LEASE_BYTES);
        assert_eq!(pool.lent_bytes(Purpose::Kept), LEASE_BYTES);
        pool.take_back(big);
        assert!(pool.idle.is_empty());
        pool.take_back(small);
        pool.take_back(spare);
        assert_eq!((pool.idle.len(), pool.lent(), pool.lent_bytes), (1, 0, [0; PURPOSES]));
        assert!(pool.bytes() >= LEASE_BYTES);
        pool.trim();
        assert_eq!(pool.bytes(), 0);
    }

    #[test]
    fn a_message_takes_its_length_rounded_up_to_a_power_of_two() {
        for piece in [1000, 60_000, 65_536] {
            let mut pool = BufferPool::new(1);
            let mut lease = pool.lend(Purpose::LinkMessage);
            while lease.len() < 1 << 20 {
                let rest = (1 << 20) - lease.len();
                pool.extend(&mut lease, &vec![b'x'; piece.min(rest)]);
                let most = lease.len().next_power_of_two().max(LEASE_BYTES);
                assert_eq!(pool.lent_bytes(Purpose::LinkMessage), most, "{} bytes, {piece} at a time", lease.len());
            }
            pool.take_back(lease);
            assert_eq!(pool.lent_bytes, [0; PURPOSES]);
        }
    }

    #[test]
    fn what_is_lent_whole_takes_what_was_said_and_counts_for_its_purpose() {
        for purpose in ALL {
            for length in [1, LEASE_BYTES, LEASE_BYTES + 1, 65_536] {
                let mut pool = BufferPool::new(1);
                let lease = pool.lend_with(purpose, &vec![7; length]);
                assert_eq!(*lease, vec![7; length]);
                let lent = ALL.map(|other| if other == purpose { BufferPool::room_for(length) } else { 0 });
                assert_eq!(pool.lent_bytes, lent);
                pool.take_back(lease);
                assert_eq!(pool.lent_bytes, [0; PURPOSES]);
            }
        }
    }
}
