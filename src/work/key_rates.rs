//! How often each API key may call.
//!
//! Owns a bucket for each key that has called, and the rate that all of them have. It knows no key, only fingerprints of keys that
//! were found good before, so there are no more of them than the operator has given out.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use crate::auth::api_key::Fingerprint;
use crate::kit::tick::Now;
use crate::kit::token_bucket::{Rate, SharedBucket};

/// Buckets by key; the control thread and all workers take from them.
pub(super) struct KeyRates(RwLock<Counts>);

#[derive(Default)]
struct Counts {
    rate: Option<Rate>,
    buckets: HashMap<Fingerprint, SharedBucket>,
}

impl KeyRates {
    /// The same rate for each key; `None` for no limit.
    pub(super) fn new(rate: Option<Rate>) -> Self {
        Self(RwLock::new(Counts { rate, buckets: HashMap::new() }))
    }

    /// Changes the rate. Where it differs, counting begins anew.
    pub(super) fn set(&self, rate: Option<Rate>) {
        let mut counts = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if counts.rate != rate {
            *counts = Counts { rate, buckets: HashMap::new() };
        }
    }

    /// One more call with this key.
    ///
    /// # Errors
    /// How long until there may be one.
    pub(super) fn take(&self, key: Fingerprint, now: Now) -> Result<(), Duration> {
        let counts = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(rate) = counts.rate else {
            return Ok(());
        };
        if let Some(bucket) = counts.buckets.get(&key) {
            return bucket.take(now, &rate, 1);
        }
        drop(counts);
        let mut counts = self.0.write().unwrap_or_else(PoisonError::into_inner);
        counts.buckets.entry(key).or_default().take(now, &rate, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_a_rate_of_its_own() {
        let second = Duration::from_secs(1);
        let rates = KeyRates::new(Rate::new(2, second, second));
        let [one, other] = ["one", "other"].map(Fingerprint::of);
        assert!(rates.take(one, Now(0)).is_ok() && rates.take(one, Now(0)).is_ok());
        assert_eq!(rates.take(one, Now(0)), Err(second / 2));
        assert!(rates.take(other, Now(0)).is_ok() && rates.take(one, Now(500)).is_ok());
        assert!(rates.take(one, Now(500)).is_err());
        rates.set(Rate::new(2, second, second));
        assert!(rates.take(one, Now(500)).is_err(), "the same rate counts on");
        rates.set(None);
        assert!((0..100).all(|_| rates.take(one, Now(500)).is_ok()));
    }
}
