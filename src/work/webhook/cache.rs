//! What the webhook said of late, by a hash of the token: bounded in number and in time.
//!
//! Owns the answers. It never holds a token.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::Decision;
use crate::auth::api_key::Fingerprint;
use crate::kit::tick::Now;

/// Answers that may be used again.
pub(super) struct Cache {
    kept_max: usize,
    answers: HashMap<Fingerprint, Kept>,
    /// In the order in which they were put in; those that were put in again stand here twice.
    order: VecDeque<(Fingerprint, u64)>,
    count: u64,
}

struct Kept {
    decision: Decision,
    until: Now,
    number: u64,
}

impl Cache {
    /// Keeps `kept_max` answers, the newest.
    pub(super) fn new(kept_max: usize) -> Self {
        Self { kept_max, answers: HashMap::new(), order: VecDeque::new(), count: 0 }
    }

    /// An answer that is still good.
    pub(super) fn get(&self, token: Fingerprint, now: Now) -> Option<Decision> {
        self.answers.get(&token).filter(|kept| now < kept.until).map(|kept| kept.decision.clone())
    }

    /// Keeps an answer for so long.
    pub(super) fn put(&mut self, token: Fingerprint, decision: Decision, now: Now, kept: Duration) {
        if kept.is_zero() || self.kept_max == 0 {
            return;
        }
        self.count += 1;
        let number = self.count;
        self.answers.insert(token, Kept { decision, until: now.after(kept), number });
        self.order.push_back((token, number));
        while self.answers.len() > self.kept_max || self.order.len() > 2 * self.kept_max {
            let Some((oldest, number)) = self.order.pop_front() else { break };
            if self.answers.get(&oldest).is_some_and(|kept| kept.number == number) {
                self.answers.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    fn key(n: u64) -> Fingerprint {
        Fingerprint::of(&n.to_string())
    }

    #[test]
    fn an_answer_is_good_until_its_time() {
        let mut cache = Cache::new(4);
        cache.put(key(1), Decision::Refused, Now(0), LONG);
        cache.put(key(2), Decision::Refused, Now(0), Duration::ZERO);
        assert_eq!(cache.get(key(1), Now(9_999)), Some(Decision::Refused));
        assert_eq!((cache.get(key(1), Now(10_000)), cache.get(key(2), Now(0))), (None, None));
        cache.put(key(1), Decision::Refused, Now(10_000), LONG);
        assert_eq!(cache.get(key(1), Now(10_001)), Some(Decision::Refused));
    }

    proptest! {
        #[test]
        fn it_never_holds_more_than_it_may(max in 0..6_usize, puts in prop::collection::vec(0..12_u64, 0..80)) {
            let mut cache = Cache::new(max);
            for (at, n) in puts.iter().enumerate() {
                cache.put(key(*n), Decision::Refused, Now(at as u64), LONG);
                prop_assert!(cache.answers.len() <= max && cache.order.len() <= 2 * max + 1);
                // What was put in last is there.
                prop_assert_eq!(cache.get(key(*n), Now(at as u64)).is_some(), max > 0);
            }
        }
    }
}
