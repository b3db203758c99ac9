//! What one connection costs, and who pays: the server's process, the kernel's objects, the kernel's buffers.
//!
//! Owns the arithmetic between two marks. A part that could not be read is left out and never told as zero: what TLS takes, for example, only the server knows.

use super::mark::Mark;
use crate::preflight::Ends;
use crate::result::Draft;

/// Caches that are named one by one; the others are in the sum.
const CACHES_MAX: usize = 12;

/// Bytes for each connection, between a mark before it and one after it.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    connections: u64,
    ends: Ends,
    /// RSS of the server.
    pub process: f64,
    /// The part of it that no file backs.
    pub anonymous: f64,
    /// The server's parts, by their names, as it tells them itself.
    pub parts: Vec<(String, f64)>,
    /// All slab caches of the kernel.
    pub slab: f64,
    /// The caches that grew most; empty where they may not be read.
    pub caches: Vec<(String, f64)>,
    /// Socket buffers (`sockstat`, whole pages).
    pub buffers: f64,
    /// Page tables of the server and large tables of descriptors (`VmallocUsed`).
    pub tables: f64,
    /// What `MemAvailable` fell by: all of the above, the client's own memory, and whatever else happened.
    pub available: f64,
}

impl Split {
    /// The difference of two marks for each of `connections`; `ends` says whose sockets the kernel's part holds. None without connections.
    pub fn between(before: &Mark, after: &Mark, connections: u64, ends: Ends) -> Option<Self> {
        if connections == 0 {
            return None;
        }
        let each = |now: u64, then: u64| (now as f64 - then as f64) / connections as f64;
        let (light, earlier) = (after.kernel.light, before.kernel.light);
        let parts = after.parts.iter().filter_map(|(name, now)| {
            let then = before.parts.get(name)?;
            Some((name.clone(), each(*now, *then)))
        });
        let caches = match (&after.kernel.slab, &before.kernel.slab) {
            (Some(now), Some(then)) => now.since(then),
            _ => Vec::new(),
        };
        Some(Self {
            connections,
            ends,
            process: each(after.process.rss, before.process.rss),
            anonymous: each(after.process.anonymous, before.process.anonymous),
            parts: parts.collect(),
            slab: each(light.slab, earlier.slab),
            caches: caches
                .into_iter()
                .take(CACHES_MAX)
                .map(|(name, bytes)| (name, bytes as f64 / connections as f64))
                .filter(|(_, bytes)| *bytes >= 1.0)
                .collect(),
            buffers: each(light.tcp.buffers, earlier.tcp.buffers),
            tables: each(light.vmalloc + after.rough.page_tables, earlier.vmalloc + before.rough.page_tables),
            available: each(earlier.available, light.available),
        })
    }

    /// What the kernel takes for each connection, in bytes.
    pub fn kernel(&self) -> f64 {
        self.slab + self.buffers + self.tables
    }

    /// Tells it as figures. `when` is a word that sets it apart from other splits of the run, such as `at rest`.
    pub fn tell(&self, when: &str, draft: &mut Draft) {
        let ends = match self.ends {
            Ends::Both => "both ends",
            Ends::Client => "client's end",
        };
        let mut tell = |name: &str, value: f64| {
            let name = if when.is_empty() { name.to_owned() } else { format!("{name}, {when}") };
            draft.figure(&name, "B", value).lower();
        };
        tell("process bytes for each connection", self.process);
        tell("process bytes without files for each connection", self.anonymous);
        for (name, bytes) in &self.parts {
            tell(&format!("of it {name}"), *bytes);
        }
        tell(&format!("kernel bytes for each connection, {ends}"), self.kernel());
        tell(&format!("of it slab, {ends}"), self.slab);
        for (name, bytes) in &self.caches {
            tell(&format!("of it slab {name}, {ends}"), *bytes);
        }
        tell(&format!("of it socket buffers, {ends}"), self.buffers);
        tell("of it page tables and vmalloc", self.tables);
        tell("machine's bytes for each connection, all that became unavailable", self.available);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::memory::{Resident, Rough};
    use crate::sample::kernel::{Kernel, Light, Tcp};

    fn mark(factor: u64) -> Mark {
        let tcp = Tcp { buffers: 1000 * factor, ..Tcp::default() };
        let light = Light { available: 1_000_000 - 10_000 * factor, slab: 7000 * factor, vmalloc: 300 * factor, tcp };
        Mark {
            process: Resident { rss: 2000 * factor, pss: 1500 * factor, anonymous: 1200 * factor },
            rough: Rough { page_tables: 100 * factor, ..Rough::default() },
            kernel: Kernel { slab: None, light },
            tables: Vec::new(),
            parts: BTreeMap::from([("slots".to_owned(), 640 * factor)]),
        }
    }

    #[test]
    fn each_part_is_the_difference_over_the_connections() {
        let split = Split::between(&mark(1), &mark(3), 10, Ends::Both).expect("connections");
        assert_eq!((split.process, split.anonymous), (400.0, 240.0));
        assert_eq!((split.slab, split.buffers, split.tables), (1400.0, 200.0, 80.0));
        assert_eq!((split.kernel(), split.available), (1680.0, 2000.0));
        assert_eq!(split.parts, [("slots".to_owned(), 128.0)]);
        assert_eq!(Split::between(&mark(1), &mark(3), 0, Ends::Both), None);
    }

    #[test]
    fn what_was_not_read_is_not_told() {
        let mut after = mark(2);
        // Told once only: there is nothing to take the difference from.
        after.parts.insert("tls".to_owned(), 5);
        let mut draft = Draft::begin("idle");
        let split = Split::between(&mark(1), &after, 10, Ends::Both).expect("connections");
        split.tell("at rest", &mut draft);
        let result = draft.finish();
        assert!(result.figures.iter().all(|figure| !figure.name.contains("tls") && !figure.name.contains("slab TCP")));
        assert_eq!(result.figure("process bytes for each connection, at rest").map(|figure| figure.value), Some(200.0));
        assert_eq!(result.figure("of it slots, at rest").map(|figure| figure.value), Some(64.0));
        assert_eq!(result.figure("of it slab, both ends, at rest").map(|figure| figure.value), Some(700.0));
    }
}
