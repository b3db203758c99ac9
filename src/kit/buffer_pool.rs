//! Buffers that are lent to a connection while a message of its is cut in two, and taken back after it.
//!
//! Owns the idle buffers of one event loop. It never keeps a large one: memory falls back after a burst.

/// Size of a pooled buffer, in bytes; a message that outgrows it gets memory of its own.
pub const LEASE_BYTES: usize = 4096;

/// A buffer on loan.
pub type Lease = Vec<u8>;

/// What a buffer is lent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A message that has come in part. It ends when its peer sends the rest.
    Message,
    /// Bytes that wait to be read again: a request head that has come in part, or what a turn had no budget for.
    Kept,
}

/// The idle buffers of one loop.
#[derive(Debug)]
pub struct BufferPool {
    idle: Vec<Lease>,
    idle_max: usize,
    lent: usize,
    /// Bytes of the buffers on loan, with what they grew by: by [`Purpose`].
    lent_bytes: [usize; 2],
}

impl BufferPool {
    /// Keeps at most `idle_max` buffers while nobody needs them.
    #[must_use]
    pub fn new(idle_max: usize) -> Self {
        Self { idle: Vec::new(), idle_max, lent: 0, lent_bytes: [0; 2] }
    }

    /// Lends an empty buffer.
    pub fn lend(&mut self, purpose: Purpose) -> Lease {
        self.lent += 1;
        let lease = self.idle.pop().unwrap_or_else(|| Vec::with_capacity(LEASE_BYTES));
        self.lent_bytes[purpose as usize] += lease.capacity();
        lease
    }

    /// Adds bytes to a buffer on loan: the one way in which it may grow, so that what is lent is known.
    pub fn extend(&mut self, purpose: Purpose, lease: &mut Lease, bytes: &[u8]) {
        let before = lease.capacity();
        lease.extend_from_slice(bytes);
        self.lent_bytes[purpose as usize] += lease.capacity() - before;
    }

    /// Takes a buffer back, which was lent for `purpose`; one that grew, or one too many, is freed.
    pub fn take_back(&mut self, purpose: Purpose, mut lease: Lease) {
        self.lent -= 1;
        self.lent_bytes[purpose as usize] -= lease.capacity();
        if lease.capacity() == LEASE_BYTES && self.idle.len() < self.idle_max {
            lease.clear();
            self.idle.push(lease);
        }
    }

    /// Takes back what may not have been lent.
    pub fn give_back(&mut self, purpose: Purpose, lease: Option<Lease>) {
        if let Some(lease) = lease {
            self.take_back(purpose, lease);
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
            + self.idle.capacity() * size_of::<Lease>()
    }

    /// Frees the idle buffers, for a loop that has been quiet.
    pub fn trim(&mut self) {
        self.idle = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grown_buffer_is_not_kept() {
        let mut pool = BufferPool::new(1);
        let message = Purpose::Message;
        let (mut big, small, spare) = (pool.lend(message), pool.lend(message), pool.lend(Purpose::Kept));
        pool.extend(message, &mut big, &[0; LEASE_BYTES + 1]);
        assert_eq!(pool.lent_bytes(message), big.capacity() + LEASE_BYTES);
        assert_eq!(pool.lent_bytes(Purpose::Kept), LEASE_BYTES);
        pool.take_back(message, big);
        assert!(pool.idle.is_empty());
        pool.take_back(message, small);
        pool.take_back(Purpose::Kept, spare);
        assert_eq!((pool.idle.len(), pool.lent(), pool.lent_bytes), (1, 0, [0; 2]));
        assert!(pool.bytes() >= LEASE_BYTES);
        pool.trim();
        assert_eq!(pool.bytes(), 0);
    }
}
