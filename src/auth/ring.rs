//! The keys of one issuer that change while the node runs, and the wish for newer ones.
//!
//! Owns the last good set, and whether somebody should go and fetch another. It fetches nothing itself: the text of a set is
//! handed in, and the bell tells that one is wanted.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crossbeam_channel::Sender;

use super::algorithm::Algorithm;
use super::jwks::{KeySet, SetLimits};

/// Where a set comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// An `http` or `https` URL.
    Url(String),
}

impl Source {
    /// Its URL, where it has one.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        match self {
            Self::File(_) => None,
            Self::Url(url) => Some(url),
        }
    }
}

/// Whether an unknown key id is a reason to ask the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Freshness {
    /// The set was fetched just now: an id that is not in it does not exist.
    Fresh = 0,
    /// The set may have changed: the first unknown id asks.
    MayAsk = 1,
    /// The source is to be asked, is being asked, or does not answer: nobody knows which ids exist.
    Asked = 2,
}

/// The keys of one issuer.
pub struct Ring {
    /// The issuer's name in the settings, for logs and metrics.
    pub name: String,
    /// Where its keys come from.
    pub source: Source,
    /// What they may be used for.
    pub algorithms: Vec<Algorithm>,
    /// How large a set may be.
    pub limits: SetLimits,
    keys: RwLock<Option<Arc<KeySet>>>,
    freshness: AtomicU8,
    fetches: AtomicU64,
    bell: Sender<()>,
}

impl Ring {
    /// Without keys yet. `bell` is rung when newer ones are wanted.
    #[must_use]
    pub fn new(name: String, source: Source, algorithms: Vec<Algorithm>, limits: SetLimits, bell: Sender<()>) -> Self {
        let freshness = AtomicU8::new(Freshness::Asked as u8);
        let (keys, fetches) = (RwLock::new(None), AtomicU64::new(0));
        Self { name, source, algorithms, limits, keys, freshness, fetches, bell }
    }

    /// Puts a set in force that was fetched just now.
    ///
    /// # Errors
    /// Why it can be none: the one before stays.
    pub fn put(&self, text: &[u8]) -> Result<Arc<KeySet>, String> {
        let set = Arc::new(KeySet::parse(text, &self.algorithms, self.limits)?);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&set));
        self.set_freshness(Freshness::Fresh);
        self.fetches.fetch_add(1, Ordering::Release);
        Ok(set)
    }

    /// How often a set has been put in force.
    #[must_use]
    pub fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::Acquire)
    }

    /// The set in force; `None` before the first.
    #[must_use]
    pub fn keys(&self) -> Option<Arc<KeySet>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A token names a key that is not in the set: asks the source, where it may be asked. Says whether the answer may be another
    /// a little later.
    pub fn is_pending(&self) -> bool {
        let asked = self.freshness.compare_exchange(
            Freshness::MayAsk as u8,
            Freshness::Asked as u8,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        if asked.is_ok() {
            // Full means that it was rung already.
            let _ = self.bell.try_send(());
        }
        self.freshness.load(Ordering::Relaxed) != Freshness::Fresh as u8
    }

    /// Whether somebody wants newer keys now.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.freshness.load(Ordering::Relaxed) == Freshness::Asked as u8
    }

    /// The pause after a fetch is over, or a fetch failed.
    pub fn set_freshness(&self, freshness: Freshness) {
        self.freshness.store(freshness as u8, Ordering::Relaxed);
    }

    /// Whether another ring would hold the same keys, so that this one may stay in its place.
    #[must_use]
    pub fn is_same(&self, other: &Ring) -> bool {
        self.name == other.name
            && self.source == other.source
            && self.algorithms == other.algorithms
            && self.limits == other.limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_id_asks_once_and_not_again_right_after_a_fetch() {
        let (bell, rung) = crossbeam_channel::bounded(1);
        let limits = SetLimits { bytes_max: 1024, keys_max: 4 };
        let source = Source::Url("http://keys".to_owned());
        let ring = Ring::new("a".to_owned(), source, vec![Algorithm::EdDsa], limits, bell);
        // Nothing was ever fetched: nobody knows, and the first fetch is on its way anyway.
        assert!(ring.is_pending() && rung.try_recv().is_err());
        ring.set_freshness(Freshness::Fresh);
        assert!(!ring.is_pending() && rung.try_recv().is_err());
        ring.set_freshness(Freshness::MayAsk);
        for _ in 0..3 {
            assert!(ring.is_pending() && ring.is_asked());
        }
        assert!(rung.try_recv().is_ok() && rung.try_recv().is_err());
        // What is no set changes nothing.
        assert!(ring.put(b"{}").is_err() && ring.keys().is_none() && ring.is_asked());
    }
}
