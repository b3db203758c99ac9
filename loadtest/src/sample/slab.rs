//! The kernel's own objects, by cache: sockets, files, inodes, epoll entries.
//!
//! Owns the reading of `/proc/slabinfo`, which only root may read. Where it may not be read there is nothing, never a zero.

use std::collections::BTreeMap;
use std::fs;

use super::kernel::page_bytes;

/// Bytes of each cache, with the pages that it has reserved and not filled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slab {
    caches: BTreeMap<String, u64>,
}

impl Slab {
    /// Reads all caches; none where the kernel does not show them to this user.
    pub fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/slabinfo").ok()?, page_bytes())
    }

    /// Reads the text of `/proc/slabinfo` version 2.x:
    ///
    /// ```text
    /// name <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables … : slabdata <active_slabs> <num_slabs> <sharedavail>
    ///  0        1            2          3          4             5        6              …    12       13          14
    /// ```
    fn parse(text: &str, page_bytes: u64) -> Option<Self> {
        let mut lines = text.lines();
        lines.next().filter(|line| line.starts_with("slabinfo - version: 2"))?;
        let cache = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
            let bytes = number(5)?.checked_mul(number(14)?)?.checked_mul(page_bytes)?;
            Some(((*fields.first()?).to_owned(), bytes))
        };
        let caches = lines.filter(|line| !line.starts_with('#')).map(cache).collect::<Option<_>>()?;
        Some(Self { caches })
    }

    /// Bytes of all caches.
    pub fn total(&self) -> u64 {
        self.caches.values().sum()
    }

    /// Caches that have changed since `before`, and by how many bytes, the largest growth first.
    pub fn since(&self, before: &Self) -> Vec<(String, i64)> {
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let mut grown: Vec<(String, i64)> = self
            .caches
            .iter()
            .map(|(name, now)| {
                let then = before.caches.get(name).copied().unwrap_or(0);
                (name.clone(), signed(*now) - signed(then))
            })
            .filter(|(_, bytes)| *bytes != 0)
            .collect();
        grown.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        grown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>
TCP                  105    156   2368   13    8 : tunables    0    0    0 : slabdata     12     12      0
sock_inode_cache     290    361    832   19    4 : tunables    0    0    0 : slabdata     19     19      0
filp                 887    924    192   21    1 : tunables    0    0    0 : slabdata     44     44      0
";

    #[test]
    fn a_cache_is_its_slabs_times_their_pages() {
        let slab = Slab::parse(TEXT, 4096).expect("as the kernel writes it");
        assert_eq!(slab.caches["TCP"], 12 * 8 * 4096);
        assert_eq!(slab.caches["sock_inode_cache"], 19 * 4 * 4096);
        assert_eq!(slab.total(), (12 * 8 + 19 * 4 + 44) * 4096);
    }

    #[test]
    fn what_has_changed_is_told_with_the_largest_first() {
        let before = Slab::parse(TEXT, 4096).expect("as the kernel writes it");
        let later = TEXT
            .replace(" 12      0", " 22      0")
            .replace(" 44      0", " 45      0")
            .replace(" 19      0", " 18      0");
        let after = Slab::parse(&later, 4096).expect("as the kernel writes it");
        let expected = [("TCP", 10 * 8 * 4096), ("filp", 4096), ("sock_inode_cache", -4 * 4096)];
        assert_eq!(after.since(&before), expected.map(|(name, bytes)| (name.to_owned(), bytes)));
        assert_eq!(before.since(&before), []);
    }

    #[test]
    fn other_texts_are_nothing() {
        for text in ["", "slabinfo - version: 1.1\n", "slabinfo - version: 2.1\nTCP 1 2 3\n"] {
            assert_eq!(Slab::parse(text, 4096), None, "{text}");
        }
    }
}
