//! The closes of late: why agents that are gone have gone.
//!
//! Owns the last so many, the newest of each agent. It never grows beyond that number.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::LastClose;
use crate::kit::ids::{AgentId, TenantId};

/// One remembered close.
struct Close {
    tenant: TenantId,
    id: AgentId,
    close: LastClose,
}

/// A ring of closes, and where in it the newest of each agent is.
pub(super) struct Closes {
    ring: Vec<Close>,
    /// Where the next one goes, once the ring is full.
    oldest: usize,
    kept_max: usize,
    newest: HashTable<u32>,
    hashing: RandomState,
}

impl Closes {
    /// Remembers `kept_max` closes.
    pub(super) fn new(kept_max: usize) -> Self {
        Self {
            ring: Vec::new(),
            oldest: 0,
            // Places in the ring are kept as u32.
            kept_max: kept_max.min(u32::MAX as usize),
            newest: HashTable::new(),
            hashing: RandomState::new(),
        }
    }

    /// Remembers a close; forgets the oldest when there are too many.
    pub(super) fn remember(&mut self, tenant: TenantId, id: AgentId, close: LastClose) {
        if self.kept_max == 0 {
            return;
        }
        let hash = self.hashing.hash_one((tenant, id.as_str()));
        let new = Close { tenant, id, close };
        let place = if self.ring.len() < self.kept_max {
            self.ring.push(new);
            self.ring.len() - 1
        } else {
            let place = self.oldest;
            self.oldest = (place + 1) % self.kept_max;
            self.forget(place);
            self.ring[place] = new;
            place
        };
        let (ring, hashing) = (&self.ring, &self.hashing);
        let of_place = |place: &u32| ring.get(*place as usize);
        let new = &ring[place];
        let entry = self.newest.entry(
            hash,
            |other| of_place(other).is_some_and(|c| c.tenant == tenant && c.id == new.id),
            |other| of_place(other).map_or(0, |c| hashing.hash_one((c.tenant, c.id.as_str()))),
        );
        entry.insert(place as u32);
    }

    /// The newest close of an agent.
    pub(super) fn get(&self, tenant: TenantId, id: &str) -> Option<LastClose> {
        let hash = self.hashing.hash_one((tenant, id));
        let place = self.newest.find(hash, |place| {
            let close = self.ring.get(*place as usize);
            close.is_some_and(|close| close.tenant == tenant && close.id == id)
        })?;
        self.ring.get(*place as usize).map(|close| close.close)
    }

    /// Bytes of the ring and its table, without ids that are too long for their places.
    pub(super) fn bytes(&self) -> usize {
        self.ring.capacity() * size_of::<Close>() + self.newest.allocation_size()
    }

    /// Drops the mark of a place that is about to be used again, unless a newer close of that agent has taken it.
    fn forget(&mut self, place: usize) {
        let old = &self.ring[place];
        let hash = self.hashing.hash_one((old.tenant, old.id.as_str()));
        let mark = self.newest.find_entry(hash, |other| *other as usize == place);
        if let Ok(mark) = mark {
            mark.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;
    use crate::kit::tick::Now;
    use crate::session::reason::Reason;

    fn close(at: u64) -> LastClose {
        LastClose { reason: Reason::PeerClosed, at: Now(at) }
    }

    #[test]
    fn keeping_none_keeps_none() {
        let mut closes = Closes::new(0);
        closes.remember(TenantId(0), "a".into(), close(1));
        assert_eq!(closes.get(TenantId(0), "a"), None);
    }

    proptest! {
        /// Against a list that is searched from its end.
        #[test]
        fn the_newest_of_the_last_few(kept in 1usize..6, ids in proptest::collection::vec((0u32..2, 0u32..6), 0..60)) {
            let mut closes = Closes::new(kept);
            let mut model = VecDeque::new();
            for (at, (tenant, id)) in ids.into_iter().enumerate() {
                let (tenant, name) = (TenantId(tenant), format!("agent-{id}"));
                closes.remember(tenant, name.as_str().into(), close(at as u64));
                model.push_back((tenant, name, close(at as u64)));
                if model.len() > kept {
                    model.pop_front();
                }
                for tenant in [TenantId(0), TenantId(1)] {
                    for id in 0..6 {
                        let name = format!("agent-{id}");
                        let expected = model.iter().rev().find(|c| c.0 == tenant && c.1 == name).map(|c| c.2);
                        prop_assert_eq!(closes.get(tenant, &name), expected);
                    }
                }
                prop_assert!(closes.ring.len() <= kept && closes.newest.len() <= kept);
            }
        }
    }
}
