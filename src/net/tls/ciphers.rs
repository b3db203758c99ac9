//! A loop's few ready ciphers, so that a busy connection does not pay for its keys with every record.
//!
//! Direct-mapped: a traffic secret is random, so its first bytes are the place. A key update or the end of a connection
//! needs no word to this table: the secret in it is compared whole before its cipher serves. The loop drops it now and
//! then, so that no secret outlives its connection for long, and a quiet one has none. It never has more than its places.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::error::Unspecified;
use zeroize::Zeroizing;

use super::suite::{Cipher, SECRET_BYTES_MAX, Suite};

/// Ready ciphers, shared by all connections of a loop.
pub struct Ciphers {
    places: Box<[Option<Box<Ready>>]>,
    held: usize,
}

/// What a ready one takes, with what aws-lc allocates for it (`cargo bench --bench tls`).
const READY_BYTES: usize = 715;

struct Ready {
    suite: Suite,
    /// As many bytes of it as the suite's secrets have.
    secret: Zeroizing<[u8; SECRET_BYTES_MAX]>,
    cipher: Cipher,
}

impl Ready {
    fn new(suite: Suite, secret: &[u8]) -> Result<Self, Unspecified> {
        let mut kept = Zeroizing::new([0; SECRET_BYTES_MAX]);
        kept.get_mut(..secret.len()).ok_or(Unspecified)?.copy_from_slice(secret);
        Ok(Self { suite, secret: kept, cipher: Cipher::new(suite, secret)? })
    }

    fn is_of(&self, suite: Suite, secret: &[u8]) -> bool {
        let kept = self.secret.get(..secret.len()).unwrap_or_default();
        self.suite == suite && verify_slices_are_equal(kept, secret).is_ok()
    }
}

impl Ciphers {
    /// A table of so many places, but at least one.
    #[must_use]
    pub fn new(places: usize) -> Self {
        Self { places: (0..places.max(1)).map(|_| None).collect(), held: 0 }
    }

    /// Bytes of all of them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.places.len() * size_of::<Option<Box<Ready>>>() + self.held * READY_BYTES
    }

    /// The cipher of a secret: the ready one, or a new one in the place of whose it was.
    pub(super) fn of(&mut self, suite: Suite, secret: &[u8]) -> Result<&Cipher, Unspecified> {
        let first = secret.first_chunk().ok_or(Unspecified)?;
        let at = (u64::from_le_bytes(*first) % self.places.len() as u64) as usize;
        let place = &mut self.places[at];
        // In its place: what is moved leaves a copy of its keys behind.
        if !place.as_ref().is_some_and(|ready| ready.is_of(suite, secret)) {
            self.held += usize::from(place.is_none());
            *place = Some(Box::new(Ready::new(suite, secret)?));
        }
        place.as_ref().map(|ready| &ready.cipher).ok_or(Unspecified)
    }
}

impl std::fmt::Debug for Ciphers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ciphers").field("places", &self.places.len()).finish_non_exhaustive()
    }
}
