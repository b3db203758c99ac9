//! Label sets, each stored once however many agents carry it; and the methods that agents are bound to, with their labels.
//!
//! Owns the sets that are in use, and no other: the last agent that gives a set back frees it, so labels that change
//! with each connection do not add up. It never uses a number for another set before some four million others have come
//! to its shard, so a number that was read a moment ago means its set or nothing.
//!
//! A set with methods has a bit of its number for that: of an agent that is bound to none, which is most of them, a call finds out
//! without a look at sets, and nothing is stored.
//!
//! The sets are cut into shards by their content, each with a lock, and a number names its shard in its low bits: where every
//! agent has labels of its own, a table grows for as long as a shard has sets, and not for as long as there are agents.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};

use hashbrown::HashTable;

use super::{Callable, Labels};
use crate::kit::lock::lock;
use crate::kit::methods::Methods;

/// Bits of a set's number.
const NUMBER_BITS: u32 = 31;
/// The highest of them: the set names methods.
const BOUND: u32 = 1 << (NUMBER_BITS - 1);
/// Bits of a number that name its shard.
const SHARD_BITS: u32 = 8;
/// Parts with a lock each: more than agents have, since a set takes longer to hash.
const SHARDS: usize = 1 << SHARD_BITS;
/// Idle capacity that is not worth giving back.
const SLACK: usize = 64;

/// The number of a label set, below 2³¹.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SetNumber(u32);

impl SetNumber {
    /// No labels; needs no count.
    pub(super) const EMPTY: SetNumber = SetNumber(0);

    /// Whether the set names methods.
    pub(super) fn is_bound(self) -> bool {
        self.0 & BOUND != 0
    }

    /// The number's bits, at most 31.
    pub(super) fn bits(self) -> u32 {
        self.0
    }

    /// The number of these bits.
    pub(super) fn of_bits(bits: u32) -> Self {
        Self(bits & (u32::MAX >> (u32::BITS - NUMBER_BITS)))
    }
}

/// A set in use.
struct LabelSet {
    labels: Labels,
    holders: u32,
}

/// All label sets in use.
pub(super) struct LabelSets {
    shards: Box<[Mutex<Shard>]>,
    /// Keyed SipHash, since labels come from outside.
    hashing: RandomState,
    empty: Labels,
}

impl LabelSets {
    /// None in use.
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|index| Mutex::new(Shard::new(index as u32))).collect(),
            hashing: RandomState::new(),
            empty: Labels::from([]),
        }
    }

    /// The number of these labels (sorted by key) and methods (sorted, each once), with one more holder.
    pub(super) fn hold(&self, labels: &[(String, String)], methods: Option<&[Methods]>) -> SetNumber {
        if labels.is_empty() && methods.is_none() {
            return SetNumber::EMPTY;
        }
        let hash = hash(&self.hashing, texts(labels), methods);
        // Bits that the shard's own table does not look at.
        let shard = (hash >> 40) as usize % SHARDS;
        lock(&self.shards[shard]).hold(&self.hashing, hash, labels, methods)
    }

    /// One holder less.
    pub(super) fn give_back(&self, number: SetNumber) {
        if number != SetNumber::EMPTY {
            lock(self.shard_of(number)).give_back(&self.hashing, number);
        }
    }

    /// The labels; `None` when nobody holds the set any more.
    pub(super) fn get(&self, number: SetNumber) -> Option<Labels> {
        if number == SetNumber::EMPTY {
            return Some(Labels::clone(&self.empty));
        }
        lock(self.shard_of(number)).sets.get(&number).map(|set| Labels::clone(&set.labels))
    }

    /// The methods that a set names; `None` when nobody holds it any more.
    pub(super) fn callable(&self, number: SetNumber) -> Option<Callable> {
        self.traits(number).map(|(_, callable)| callable)
    }

    /// Labels and methods, of one moment; `None` when nobody holds the set any more.
    pub(super) fn traits(&self, number: SetNumber) -> Option<(Labels, Callable)> {
        if number == SetNumber::EMPTY {
            return Some((Labels::clone(&self.empty), None));
        }
        let shard = lock(self.shard_of(number));
        Some((Labels::clone(&shard.sets.get(&number)?.labels), shard.bound.get(&number).cloned()))
    }

    /// Bytes of the tables, and of the labels and methods themselves. Looks at nothing but counts.
    pub(super) fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).bytes()).sum()
    }

    /// How many sets are in use.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).sets.len()).sum()
    }

    /// Any number names a shard.
    fn shard_of(&self, number: SetNumber) -> &Mutex<Shard> {
        &self.shards[number.0 as usize % SHARDS]
    }
}

/// The sets of one shard.
struct Shard {
    sets: HashMap<SetNumber, LabelSet, foldhash::fast::RandomState>,
    /// Methods, of the sets that name any: a set without them has no byte for them.
    bound: HashMap<SetNumber, Arc<[Methods]>, foldhash::fast::RandomState>,
    /// Numbers by content.
    by_content: HashTable<SetNumber>,
    last: SetNumber,
    /// Bytes of the labels and methods.
    text_bytes: usize,
}

impl Shard {
    fn new(index: u32) -> Self {
        Self {
            sets: HashMap::default(),
            bound: HashMap::default(),
            by_content: HashTable::new(),
            last: SetNumber(index),
            text_bytes: 0,
        }
    }

    fn hold(
        &mut self,
        hashing: &RandomState,
        hash: u64,
        labels: &[(String, String)],
        methods: Option<&[Methods]>,
    ) -> SetNumber {
        let known = self.by_content.find(hash, |number| {
            let set = self.sets.get(number);
            self.methods(*number) == methods && set.is_some_and(|set| pairs(&set.labels).eq(texts(labels)))
        });
        if let Some(&number) = known {
            if let Some(set) = self.sets.get_mut(&number) {
                set.holders += 1;
            }
            return number;
        }
        let number = self.free_number(methods.map_or(0, |_| BOUND));
        let labels: Labels = texts(labels).map(|(k, v)| (k.into(), v.into())).collect();
        self.text_bytes += bytes_of(&labels) + methods.map_or(0, bytes_of_methods);
        self.sets.insert(number, LabelSet { labels, holders: 1 });
        if let Some(methods) = methods {
            self.bound.insert(number, methods.into());
        }
        let (sets, bound) = (&self.sets, &self.bound);
        self.by_content.insert_unique(hash, number, |number| hash_of(sets, bound, hashing, *number));
        number
    }

    fn methods(&self, number: SetNumber) -> Option<&[Methods]> {
        self.bound.get(&number).map(|methods| &**methods)
    }

    fn give_back(&mut self, hashing: &RandomState, number: SetNumber) {
        let Some(set) = self.sets.get_mut(&number) else {
            return;
        };
        set.holders -= 1;
        if set.holders > 0 {
            return;
        }
        self.text_bytes -= bytes_of(&set.labels);
        let methods = self.bound.remove(&number);
        self.text_bytes -= methods.as_deref().map_or(0, bytes_of_methods);
        let hash = hash(hashing, pairs(&set.labels), methods.as_deref());
        if let Ok(entry) = self.by_content.find_entry(hash, |other| *other == number) {
            entry.remove();
        }
        self.sets.remove(&number);
        if self.bound.capacity() > self.bound.len() * 8 + SLACK {
            self.bound.shrink_to(self.bound.len() * 2);
        }
        if self.sets.capacity() > self.sets.len() * 8 + SLACK {
            self.sets.shrink_to(self.sets.len() * 2);
            let (sets, bound) = (&self.sets, &self.bound);
            self.by_content.shrink_to(sets.len() * 2, |number| hash_of(sets, bound, hashing, *number));
        }
    }

    fn bytes(&self) -> usize {
        let places = self.sets.capacity() * size_of::<(SetNumber, LabelSet)>()
            + self.bound.capacity() * size_of::<(SetNumber, Arc<[Methods]>)>();
        self.text_bytes + self.by_content.allocation_size() + places
    }

    /// A number of this shard that no set in use has, with this bit or without.
    fn free_number(&mut self, bound: u32) -> SetNumber {
        loop {
            self.last = SetNumber(self.last.0.wrapping_add(SHARDS as u32) & (BOUND - 1));
            let number = SetNumber(self.last.0 | bound);
            if self.last != SetNumber::EMPTY && !self.sets.contains_key(&number) {
                return number;
            }
        }
    }
}

/// Bytes of a set on the heap: two counts, the list, the texts.
fn bytes_of(labels: &Labels) -> usize {
    let texts: usize = pairs(labels).map(|(k, v)| k.len() + v.len() + 2 * size_of::<Box<str>>()).sum();
    texts + 2 * size_of::<usize>()
}

/// Bytes of methods on the heap: two counts, the list, the texts.
fn bytes_of_methods(methods: &[Methods]) -> usize {
    let texts: usize = methods.iter().map(|methods| methods.text_bytes() + size_of::<Methods>()).sum();
    texts + 2 * size_of::<usize>()
}

/// The labels of a set to store, as text.
fn texts(labels: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    labels.iter().map(|(k, v)| (k.as_str(), v.as_str()))
}

/// The labels of a stored set, as text.
fn pairs(labels: &Labels) -> impl Iterator<Item = (&str, &str)> {
    labels.iter().map(|(k, v)| (&**k, &**v))
}

/// The hash of a set's content.
fn hash<'a>(
    hashing: &RandomState,
    labels: impl Iterator<Item = (&'a str, &'a str)>,
    methods: Option<&[Methods]>,
) -> u64 {
    use std::hash::{Hash, Hasher};
    let mut hasher = hashing.build_hasher();
    for pair in labels {
        pair.hash(&mut hasher);
    }
    methods.hash(&mut hasher);
    hasher.finish()
}

/// The hash of a set in use, for the table when it grows.
fn hash_of(
    sets: &HashMap<SetNumber, LabelSet, foldhash::fast::RandomState>,
    bound: &HashMap<SetNumber, Arc<[Methods]>, foldhash::fast::RandomState>,
    hashing: &RandomState,
    number: SetNumber,
) -> u64 {
    let labels = sets.get(&number).into_iter().flat_map(|set| pairs(&set.labels));
    hash(hashing, labels, bound.get(&number).map(|methods| &**methods))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn methods(text: &str) -> Vec<Methods> {
        text.split_whitespace().map(|pattern| pattern.parse().expect("a pattern")).collect()
    }

    fn labels(text: &str) -> Vec<(String, String)> {
        text.split_whitespace().filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect()
    }

    #[test]
    fn equal_sets_are_one_and_the_last_holder_frees_it() {
        let sets = LabelSets::new();
        let one = sets.hold(&labels("os=linux zone=a"), None);
        let same = sets.hold(&labels("os=linux zone=a"), None);
        let other = sets.hold(&labels("os=linux zone=b"), None);
        assert_eq!(one, same);
        assert_ne!(one, other);
        let (a, b) = (sets.get(one).expect("held"), sets.get(same).expect("held"));
        assert!(Arc::ptr_eq(&a, &b));
        assert_eq!(pairs(&a).collect::<Vec<_>>(), [("os", "linux"), ("zone", "a")]);
        sets.give_back(one);
        assert!(sets.get(one).is_some(), "one still holds it");
        sets.give_back(one);
        assert_eq!((sets.get(one), sets.len()), (None, 1));
        sets.give_back(one);
        assert_ne!(sets.hold(&labels("os=linux zone=a"), None), one, "no number comes back soon");
    }

    #[test]
    fn texts_do_not_run_into_each_other() {
        let sets = LabelSets::new();
        let numbers = ["ab=c", "a=bc", "a=b c=d", "a=bc d="].map(|text| sets.hold(&labels(text), None).bits());
        assert_eq!(numbers.into_iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
        assert_eq!(sets.len(), 4);
    }

    #[test]
    fn no_labels_are_always_there() {
        let sets = LabelSets::new();
        let none = sets.hold(&[], None);
        sets.give_back(none);
        sets.give_back(none);
        assert_eq!(sets.get(none).map(|labels| labels.len()), Some(0));
    }

    #[test]
    fn churn_leaves_nothing() {
        let sets = LabelSets::new();
        let empty = sets.bytes();
        let held: Vec<_> = (0..5000).map(|n| sets.hold(&labels(&format!("build={n}")), None)).collect();
        assert!(sets.bytes() > empty + 5000 * 32);
        for number in held {
            sets.give_back(number);
        }
        assert_eq!(sets.len(), 0);
        // Each shard keeps what is not worth giving back.
        assert!(sets.bytes() < SHARDS * 8192, "{}", sets.bytes());
        assert!(sets.shards.iter().all(|shard| lock(shard).text_bytes == 0));
    }

    #[test]
    fn methods_belong_to_a_set_and_cost_nothing_where_there_are_none() {
        let sets = LabelSets::new();
        let empty = sets.bytes();
        let (site, some) = (labels("site=ams"), methods("ping disk.*"));
        let plain = sets.hold(&site, None);
        let unbound = sets.bytes();
        let bound = sets.hold(&site, Some(&some));
        let mute = sets.hold(&[], Some(&[]));
        assert_eq!([plain, bound, mute].map(SetNumber::is_bound), [false, true, true]);
        assert_eq!((sets.hold(&site, Some(&some)), sets.hold(&[], Some(&[])), sets.len()), (bound, mute, 3));
        let called = |number| sets.callable(number).map(|callable| callable.map(|methods| methods.len()));
        assert_eq!(
            [plain, bound, mute, SetNumber::EMPTY].map(called),
            [Some(None), Some(Some(2)), Some(Some(0)), Some(None)]
        );
        let (labels, callable) = sets.traits(bound).expect("held");
        assert_eq!((labels.len(), callable.as_deref()), (1, Some(some.as_slice())));
        for number in [bound, bound, mute, mute] {
            sets.give_back(number);
        }
        assert_eq!((called(bound), called(mute), called(plain), sets.len()), (None, None, Some(None), 1));
        // What a set takes is as much as before there were methods: its place, a number in the table, and the labels.
        assert_eq!(size_of::<(SetNumber, LabelSet)>(), 32);
        assert!(unbound > empty);
    }

    #[test]
    fn numbers_come_round_without_a_clash() {
        let hashing = RandomState::new();
        // Shard 0 has the number that means no labels.
        for index in [0, 1, SHARDS as u32 - 1] {
            let mut shard = Shard::new(index);
            let hold = |shard: &mut Shard, text| {
                let labels = labels(text);
                shard.hold(&hashing, hash(&hashing, texts(&labels), None), &labels, None)
            };
            let kept = hold(&mut shard, "a=1");
            shard.last = SetNumber((BOUND - 1) & !(SHARDS as u32 - 1) | index);
            let numbers = [kept, hold(&mut shard, "a=2"), hold(&mut shard, "a=3")];
            assert!(numbers.iter().all(|n| n.bits() % SHARDS as u32 == index && *n != SetNumber::EMPTY));
            assert!(numbers[0] != numbers[1] && numbers[0] != numbers[2] && numbers[1] != numbers[2]);
        }
    }
}
