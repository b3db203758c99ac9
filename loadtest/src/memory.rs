//! Memory of a process, as the kernel counts it: exactly and dearly, or roughly and for almost nothing.
//!
//! Owns the reading of `/proc/PID/smaps_rollup` and `/proc/PID/status`. It must never be asked for the exact figure in a loop: the kernel walks
//! all page tables of the process for it (about 10 ms for each GiB of small pages) and holds the lock that the process needs to map and unmap memory.

use std::fs;

use serde::{Deserialize, Serialize};

/// Resident memory, in bytes, exact at the moment of reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resident {
    /// All resident pages.
    pub rss: u64,
    /// The share of resident pages that is this process' own.
    pub pss: u64,
    /// The part of `pss` that no file backs: heap and stacks.
    pub anonymous: u64,
}

/// Resident memory, in bytes, from counters that each core keeps for itself: off by up to 64 pages for each thread (kernel 6.2 and later: for each core).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rough {
    /// All resident pages.
    pub rss: u64,
    /// Those that no file backs.
    pub anonymous: u64,
    /// Page tables.
    pub page_tables: u64,
    /// Threads.
    pub threads: u32,
}

/// Reads exactly what a process holds now.
///
/// # Errors
/// The process is gone, or may not be read.
pub fn resident(pid: u32) -> Result<Resident, String> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let rollup = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    rolled_up(&rollup).ok_or_else(|| format!("{path}: not as expected"))
}

/// Reads roughly what a process holds now; cheap enough for a loop.
///
/// # Errors
/// The process is gone.
pub fn rough(pid: u32) -> Result<Rough, String> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    counted(&status).ok_or_else(|| format!("{path}: not as expected"))
}

fn rolled_up(rollup: &str) -> Option<Resident> {
    Some(Resident { rss: bytes(rollup, "Rss:")?, pss: bytes(rollup, "Pss:")?, anonymous: bytes(rollup, "Pss_Anon:")? })
}

fn counted(status: &str) -> Option<Rough> {
    Some(Rough {
        rss: bytes(status, "VmRSS:")?,
        anonymous: bytes(status, "RssAnon:")?,
        page_tables: bytes(status, "VmPTE:")?,
        threads: value(status, "Threads:")?.parse().ok()?,
    })
}

/// A field that the kernel gives in kB, in bytes: of smaps_rollup, status, or meminfo.
pub fn bytes(text: &str, name: &str) -> Option<u64> {
    value(text, name)?.parse::<u64>().ok()?.checked_mul(1024)
}

fn value<'text>(text: &'text str, name: &str) -> Option<&'text str> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "MemTotal:       16384 kB\nMemFree:  8 kB\nBroken: x kB\n";
        for (name, found) in [
            ("MemTotal:", Some(16 << 20)),
            ("MemFree:", Some(8192)),
            ("Mem:", None),
            ("Broken:", None),
            ("Swap:", None),
        ] {
            assert_eq!(bytes(text, name), found, "{name}");
        }
    }

    #[test]
    fn the_kernels_texts_are_read() {
        let rollup = "5581-7ffd ---p 00000000 00:00 0   [rollup]\nRss:   1772 kB\nPss:    273 kB\nPss_Dirty:  116 kB\nPss_Anon:   116 kB\n";
        assert_eq!(rolled_up(rollup), Some(Resident { rss: 1772 << 10, pss: 273 << 10, anonymous: 116 << 10 }));
        let status = "Name:\tholdfast\nVmRSS:\t  1752 kB\nRssAnon:\t   112 kB\nVmPTE:\t   40 kB\nThreads:\t4\n";
        let rough = Rough { rss: 1752 << 10, anonymous: 112 << 10, page_tables: 40 << 10, threads: 4 };
        assert_eq!(counted(status), Some(rough));
        // A process that has ended and was not waited for has no memory.
        assert_eq!(counted("Name:\tholdfast\nState:\tZ (zombie)\nThreads:\t1\n"), None);
        assert_eq!(rolled_up(""), None);
    }

    #[test]
    fn own_memory_grows_with_what_is_touched() {
        let own = std::process::id();
        // Much more than other tests of this process may free meanwhile.
        let before = resident(own).expect("own process");
        let touched = std::hint::black_box(vec![7u8; 192 << 20]);
        let after = resident(own).expect("own process");
        assert!(after.anonymous >= before.anonymous + (128 << 20));
        assert!(after.rss > before.rss && after.pss > before.pss);
        assert!(rough(own).expect("own process").rss >= 24 << 20);
        drop(touched);
    }
}
