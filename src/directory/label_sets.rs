//! Label sets, each stored once however many agents carry it.
//!
//! Owns the sets that are in use, and no other: the last agent that gives a set back frees it, so labels that change
//! with each connection do not add up. It never uses a number for another set before some two thousand million others
//! have come, so a number that was read a moment ago means its set or nothing.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::Labels;

/// Bits of a set's number.
const NUMBER_BITS: u32 = 31;
/// Idle capacity that is not worth giving back.
const SLACK: usize = 64;

/// The number of a label set, below 2³¹.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SetNumber(u32);

impl SetNumber {
    /// No labels; needs no count.
    pub(super) const EMPTY: SetNumber = SetNumber(0);

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
    sets: HashMap<SetNumber, LabelSet, foldhash::fast::RandomState>,
    /// Numbers by content. Keyed SipHash, since labels come from outside.
    by_content: HashTable<SetNumber>,
    hashing: RandomState,
    empty: Labels,
    last: SetNumber,
}

impl LabelSets {
    /// None in use.
    pub(super) fn new() -> Self {
        Self {
            sets: HashMap::default(),
            by_content: HashTable::new(),
            hashing: RandomState::new(),
            empty: Labels::from([]),
            last: SetNumber::EMPTY,
        }
    }

    /// The number of these labels (sorted by key), with one more holder.
    pub(super) fn hold(&mut self, labels: &[(String, String)]) -> SetNumber {
        if labels.is_empty() {
            return SetNumber::EMPTY;
        }
        let hash = hash(&self.hashing, texts(labels));
        let known = self.by_content.find(hash, |number| {
            let set = self.sets.get(number);
            set.is_some_and(|set| pairs(&set.labels).eq(texts(labels)))
        });
        if let Some(&number) = known {
            if let Some(set) = self.sets.get_mut(&number) {
                set.holders += 1;
            }
            return number;
        }
        let number = self.free_number();
        let labels = texts(labels).map(|(k, v)| (k.into(), v.into())).collect();
        self.sets.insert(number, LabelSet { labels, holders: 1 });
        let (sets, hashing) = (&self.sets, &self.hashing);
        self.by_content.insert_unique(hash, number, |number| hash_of(sets, hashing, *number));
        number
    }

    /// One holder less.
    pub(super) fn give_back(&mut self, number: SetNumber) {
        let Some(set) = self.sets.get_mut(&number) else {
            return;
        };
        set.holders -= 1;
        if set.holders > 0 {
            return;
        }
        let hash = hash(&self.hashing, pairs(&set.labels));
        if let Ok(entry) = self.by_content.find_entry(hash, |other| *other == number) {
            entry.remove();
        }
        self.sets.remove(&number);
        if self.sets.capacity() > self.sets.len() * 8 + SLACK {
            self.sets.shrink_to(self.sets.len() * 2);
            let (sets, hashing) = (&self.sets, &self.hashing);
            self.by_content.shrink_to(sets.len() * 2, |number| hash_of(sets, hashing, *number));
        }
    }

    /// The labels; `None` when nobody holds the set any more.
    pub(super) fn get(&self, number: SetNumber) -> Option<Labels> {
        if number == SetNumber::EMPTY {
            return Some(Labels::clone(&self.empty));
        }
        self.sets.get(&number).map(|set| Labels::clone(&set.labels))
    }

    /// How many sets are in use.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.sets.len()
    }

    /// Bytes of the tables, and of the labels themselves.
    pub(super) fn bytes(&self) -> usize {
        let texts: usize = self
            .sets
            .values()
            .flat_map(|set| pairs(&set.labels))
            .map(|(k, v)| k.len() + v.len() + 2 * size_of::<Box<str>>())
            .sum();
        texts + self.by_content.allocation_size() + self.sets.capacity() * size_of::<(SetNumber, LabelSet)>()
    }

    /// A number that no set in use has.
    fn free_number(&mut self) -> SetNumber {
        loop {
            self.last = SetNumber::of_bits(self.last.0.wrapping_add(1));
            if self.last != SetNumber::EMPTY && !self.sets.contains_key(&self.last) {
                return self.last;
            }
        }
    }
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
fn hash<'a>(hashing: &RandomState, content: impl Iterator<Item = (&'a str, &'a str)>) -> u64 {
    use std::hash::{Hash, Hasher};
    let mut hasher = hashing.build_hasher();
    for pair in content {
        pair.hash(&mut hasher);
    }
    hasher.finish()
}

/// The hash of a set in use, for the table when it grows.
fn hash_of(
    sets: &HashMap<SetNumber, LabelSet, foldhash::fast::RandomState>,
    hashing: &RandomState,
    number: SetNumber,
) -> u64 {
    let content = sets.get(&number).into_iter();
    hash(hashing, content.flat_map(|set| pairs(&set.labels)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn labels(text: &str) -> Vec<(String, String)> {
        text.split_whitespace().filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect()
    }

    #[test]
    fn equal_sets_are_one_and_the_last_holder_frees_it() {
        let mut sets = LabelSets::new();
        let one = sets.hold(&labels("os=linux zone=a"));
        let same = sets.hold(&labels("os=linux zone=a"));
        let other = sets.hold(&labels("os=linux zone=b"));
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
        assert_ne!(sets.hold(&labels("os=linux zone=a")), one, "no number comes back soon");
    }

    #[test]
    fn texts_do_not_run_into_each_other() {
        let mut sets = LabelSets::new();
        let numbers: Vec<_> = ["ab=c", "a=bc", "a=b c=d", "a=bc d="].map(|text| sets.hold(&labels(text)).bits()).into();
        assert_eq!(numbers, [1, 2, 3, 4]);
    }

    #[test]
    fn no_labels_are_always_there() {
        let mut sets = LabelSets::new();
        let none = sets.hold(&[]);
        sets.give_back(none);
        sets.give_back(none);
        assert_eq!(sets.get(none).map(|labels| labels.len()), Some(0));
    }

    #[test]
    fn churn_leaves_nothing() {
        let mut sets = LabelSets::new();
        let empty = sets.bytes();
        let held: Vec<_> = (0..5000).map(|n| sets.hold(&labels(&format!("build={n}")))).collect();
        assert!(sets.bytes() > empty + 5000 * 32);
        for number in held {
            sets.give_back(number);
        }
        assert_eq!(sets.len(), 0);
        assert!(sets.bytes() < 8192, "{}", sets.bytes());
    }

    #[test]
    fn numbers_come_round_without_a_clash() {
        let mut sets = LabelSets::new();
        let kept = sets.hold(&labels("a=1"));
        sets.last = SetNumber(u32::MAX >> 1);
        let next = sets.hold(&labels("a=2"));
        assert_eq!((kept.bits(), next.bits()), (1, 2));
    }
}
