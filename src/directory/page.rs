//! Walks through the directory, a bounded number of places at a time.
//!
//! Owns the cursor: shard and index of the next place to look at. Entries stay where they are while their agents are
//! connected, so a walk sees each of those once. It never holds two locks, nor one over more than a batch.

use super::label_sets::SetNumber;
use super::table::Entry;
use super::{Directory, Filter, Labels, Listed, Located, Page};
use crate::kit::ids::TenantId;
use crate::kit::labels;
use crate::kit::lock::lock;

/// Places that one page or one step of a sweep looks at, at most.
const SCAN_MAX: u32 = 8192;
/// Places that are looked at under one lock.
const BATCH: u32 = 1024;

/// A place in the directory. As a number: shard in the high half, index in the low half.
#[derive(Clone, Copy)]
struct Cursor {
    shard: u32,
    index: u32,
}

impl Cursor {
    /// Reads a cursor that came from outside: one that was never handed out leads past the end, or to some place.
    fn of(bits: u64) -> Self {
        Self { shard: (bits >> 32) as u32, index: bits as u32 }
    }

    fn bits(self) -> u64 {
        u64::from(self.shard) << 32 | u64::from(self.index)
    }
}

/// An agent that may be listed, with the number of its labels instead of them.
struct Candidate {
    index: u32,
    listed: Listed,
    labels: SetNumber,
}

impl Candidate {
    /// The entry, if the filter's cheap half lets it through.
    fn of(index: u32, entry: &Entry, tenant: TenantId, filter: &Filter, none: &Labels) -> Option<Self> {
        if entry.tenant != tenant || !entry.id.starts_with(&filter.prefix) {
            return None;
        }
        Some(Self {
            index,
            listed: Listed {
                id: entry.id.clone(),
                labels: Labels::clone(none),
                conn: entry.conn,
                encoding: entry.profile.encoding(),
            },
            labels: entry.profile.labels(),
        })
    }
}

/// One walk: where it is, and how many places it may still look at.
struct Walk {
    at: Cursor,
    left: u32,
}

impl Walk {
    /// Visits the next batch of entries under one lock, until `visit` says stop. False at the end of the table.
    fn step(&mut self, directory: &Directory, mut visit: impl FnMut(u32, &Entry) -> Go) -> bool {
        let Some(shard) = directory.shards.get(self.at.shard as usize) else {
            return false;
        };
        let table = lock(shard);
        let places = self.left.min(BATCH);
        let end = self.at.index.saturating_add(places).min(table.span());
        for (index, entry) in table.from(self.at.index, places) {
            if let Go::Stop = visit(index, entry) {
                self.left -= index + 1 - self.at.index;
                self.at.index = index + 1;
                return true;
            }
        }
        self.left -= end.saturating_sub(self.at.index);
        self.at.index = end;
        if end == table.span() {
            self.at = Cursor { shard: self.at.shard + 1, index: 0 };
        }
        true
    }

    /// Whether there may be more to see.
    fn is_at_end(&self, directory: &Directory) -> bool {
        self.at.shard as usize >= directory.shards.len()
    }
}

/// Whether a batch goes on.
enum Go {
    On,
    Stop,
}

impl Directory {
    /// Agents of a tenant from `cursor` (0 at the start), at most `limit`; looks at a bounded number of entries.
    #[must_use]
    pub fn page(&self, tenant: TenantId, filter: &Filter, cursor: u64, limit: usize) -> Page {
        let mut page = Page::default();
        let mut walk = Walk { at: Cursor::of(cursor), left: SCAN_MAX };
        let none = Labels::from([]);
        while page.agents.len() < limit && walk.left > 0 {
            let shard = walk.at.shard;
            let room = limit - page.agents.len();
            let mut found = Vec::new();
            let more = walk.step(self, |index, entry| {
                found.extend(Candidate::of(index, entry, tenant, filter, &none));
                if found.len() == room { Go::Stop } else { Go::On }
            });
            self.fill_in_labels(shard, tenant, filter, &mut found);
            page.agents.extend(found.into_iter().map(|candidate| candidate.listed));
            if !more {
                break;
            }
        }
        page.next = (!walk.is_at_end(self)).then(|| walk.at.bits());
        page
    }

    /// Connections of all tenants from `cursor` on, at most `limit`, with how each is written to: for the drain. Looks at a
    /// bounded number of entries: more may follow although fewer came.
    #[must_use]
    pub fn sweep(&self, cursor: u64, limit: usize) -> (Vec<Located>, Option<u64>) {
        let mut found = Vec::new();
        let mut walk = Walk { at: Cursor::of(cursor), left: SCAN_MAX };
        while found.len() < limit && walk.left > 0 {
            let more = walk.step(self, |_, entry| {
                found.push(entry.located());
                if found.len() == limit { Go::Stop } else { Go::On }
            });
            if !more {
                break;
            }
        }
        let next = (!walk.is_at_end(self)).then(|| walk.at.bits());
        (found, next)
    }

    /// Gives the candidates their labels, and drops those whose labels do not fit.
    fn fill_in_labels(&self, shard: u32, tenant: TenantId, filter: &Filter, found: &mut Vec<Candidate>) {
        let mut stale = Vec::new();
        for (n, candidate) in found.iter_mut().enumerate() {
            match self.label_sets.get(candidate.labels) {
                Some(labels) => candidate.listed.labels = labels,
                None => stale.push(n),
            }
        }
        // From the last to the first, so that the places before stay what they were.
        for n in stale.into_iter().rev() {
            match self.look_again(shard, found[n].index, tenant, filter) {
                Some(candidate) => found[n] = candidate,
                None => drop(found.remove(n)),
            }
        }
        found.retain(|candidate| labels::all_hold(&filter.labels, &candidate.listed.labels));
    }

    /// Reads one entry anew, whose agent left or came back with other labels since it was read.
    fn look_again(&self, shard: u32, index: u32, tenant: TenantId, filter: &Filter) -> Option<Candidate> {
        let none = Labels::from([]);
        loop {
            let mut candidate = {
                let table = lock(self.shards.get(shard as usize)?);
                Candidate::of(index, table.at(index)?, tenant, filter, &none)?
            };
            if let Some(labels) = self.label_sets.get(candidate.labels) {
                candidate.listed.labels = labels;
                return Some(candidate);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::TenantLimits;
    use crate::directory::{LastClose, NewAgent};
    use crate::kit::ids::{AgentSlot, ConnId, Generations};
    use crate::kit::tick::Now;
    use crate::session::reason::Reason;
    use crate::wire::envelope::Encoding;

    const A: TenantId = TenantId(0);
    const B: TenantId = TenantId(1);

    fn join(directory: &Directory, tenant: TenantId, id: &str, conn: u32, value: &str) -> AgentSlot {
        let agent = NewAgent {
            tenant,
            id,
            labels: &[("v".into(), value.into())],
            methods: None,
            conn: ConnId::new(0, conn, conn),
            encoding: Encoding::Json,
            token: crate::directory::TokenMark::NONE,
        };
        directory.join(&agent, &Generations::default()).expect("there is room").slot
    }

    /// What a page holds of an agent that did something between the two locks.
    fn listed_after(meanwhile: impl FnOnce(&Directory, AgentSlot), filter: &Filter) -> Vec<Listed> {
        let directory = Directory::new(TenantLimits { calls: 1, agents: u32::MAX }, 1);
        let slot = join(&directory, A, "web-1", 1, "1");
        let (shard, index) =
            (slot.0 >> crate::directory::INDEX_BITS, slot.0 & (u32::MAX >> crate::directory::SHARD_BITS));
        let any = Filter::default();
        let mut found: Vec<_> = {
            let table = lock(&directory.shards[shard as usize]);
            let entry = table.at(index).into_iter();
            entry.filter_map(|entry| Candidate::of(index, entry, A, &any, &Labels::from([]))).collect()
        };
        assert_eq!(found.len(), 1);
        meanwhile(&directory, slot);
        directory.fill_in_labels(shard, A, filter, &mut found);
        found.into_iter().map(|candidate| candidate.listed).collect()
    }

    #[test]
    fn an_agent_that_changes_while_it_is_read_is_read_again() {
        let with_value = |value: &str| Filter { prefix: "web".into(), labels: vec![("v".into(), value.into())] };
        let comes_back = |directory: &Directory, old| {
            assert_eq!(join(directory, A, "web-1", 2, "2"), old);
        };
        let listed = listed_after(comes_back, &with_value("2"));
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].conn, &*listed[0].labels[0].1), (ConnId::new(0, 2, 2), "2"));
        assert_eq!(listed_after(comes_back, &with_value("1")), []);

        let leaves = |directory: &Directory, slot| {
            let close = LastClose { reason: Reason::PeerClosed, at: Now(0) };
            assert!(directory.leave(slot, ConnId::new(0, 1, 1), close));
        };
        assert_eq!(listed_after(leaves, &Filter::default()), []);
        let gives_its_slot_away = |directory: &Directory, slot: AgentSlot| {
            leaves(directory, slot);
            // Some name out of these falls into the same shard, whose only free place it gets.
            let taken = (0..10_000).any(|n| join(directory, B, &format!("web-{n}"), n, "3") == slot);
            assert!(taken);
        };
        assert_eq!(listed_after(gives_its_slot_away, &Filter::default()), []);
    }
}
