//! What memory this process has, and giving it back to the system when a thread falls quiet.
//!
//! Owns the count of live bytes on the heap, and the door to the allocator. Which allocator there is, only a binary knows;
//! one that counts says here what it gave and took, any other leaves the count at zero.
//!
//! An allocator keeps what a burst freed, above all what another thread freed, until the thread that it belongs to asks
//! for more. A quiet thread never asks, so it says here that it is quiet.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};

static GIVE_BACK: OnceLock<fn()> = OnceLock::new();

/// Live bytes that threads have told of.
static LIVE: AtomicIsize = AtomicIsize::new(0);

/// Anonymous memory that was no live heap by the last [`glance`].
static BESIDE: AtomicUsize = AtomicUsize::new(0);

/// A thread tells of its changes when they come to so many bytes: one shared count for each allocation would send its cache
/// line from core to core. The count is off by no more than this for each thread.
const UNTOLD_MAX: isize = 16 * 1024;

thread_local! {
    /// What this thread has not told yet. Without a destructor, so that an allocator may use it while a thread ends.
    static UNTOLD: Cell<isize> = const { Cell::new(0) };
}

/// What gives back what the calling thread's heap does not use. The first one that is set stays.
pub fn set_give_back(give_back: fn()) {
    let _ = GIVE_BACK.set(give_back);
}

/// The calling thread has had nothing to do for a while. Takes about a millisecond after a burst.
pub fn quiet() {
    tell(UNTOLD.replace(0));
    if let Some(give_back) = GIVE_BACK.get() {
        give_back();
    }
}

/// The allocator gave `delta` bytes, or took them back when it is negative. Never allocates.
#[inline]
pub fn count(delta: isize) {
    let untold = UNTOLD.get() + delta;
    if untold.unsigned_abs() < UNTOLD_MAX.unsigned_abs() {
        UNTOLD.set(untold);
    } else {
        UNTOLD.set(0);
        tell(untold);
    }
}

fn tell(delta: isize) {
    LIVE.fetch_add(delta, Ordering::Relaxed);
}

/// Bytes on the heap that are in use, as they were asked for; zero where the allocator does not count. Two loads.
#[must_use]
pub fn live_bytes() -> usize {
    // Told in any order, the sum may pass below zero for a moment.
    usize::try_from(LIVE.load(Ordering::Relaxed)).unwrap_or(0)
}

/// What this process takes, without asking the system: live heap, and what was beside it at the last [`glance`].
#[must_use]
pub fn process_bytes() -> usize {
    live_bytes() + BESIDE.load(Ordering::Relaxed)
}

/// What the system says of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// Memory of its own that is in RAM: heap, stacks, changed data.
    pub anonymous: usize,
    /// Pages of files that are mapped and in RAM, above all the program.
    pub file: usize,
}

/// Asks the system, which counts page by page. A million agents are some 40,000 of them, about a millisecond: for whoever asks for
/// the node or the metrics.
#[must_use]
pub fn look() -> Resident {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    resident_of(&rollup).unwrap_or_default()
}

/// Asks the system for its own running count, and remembers for [`process_bytes`] what is there beside live heap. Some
/// 20 µs, however much there is: for every few seconds. Each core may be late by a few dozen pages.
pub fn glance() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let anonymous = kib_of(&status, "RssAnon:").unwrap_or_default();
    BESIDE.store(anonymous.saturating_sub(live_bytes()), Ordering::Relaxed);
}

/// `smaps_rollup` of proc(5). `None` when it is something else.
fn resident_of(rollup: &str) -> Option<Resident> {
    let (rss, anonymous) = (kib_of(rollup, "Rss:")?, kib_of(rollup, "Anonymous:")?);
    Some(Resident { anonymous, file: rss.saturating_sub(anonymous) })
}

/// A line of proc(5) like `Rss: 12 kB`, in bytes.
fn kib_of(text: &str, name: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read() {
        let text =
            "55d0-7ffe ---p 00000000 00:00 0    [rollup]\nRss:      5000 kB\nPss:    4900 kB\nAnonymous:     3000 kB\n";
        assert_eq!(resident_of(text), Some(Resident { anonymous: 3000 * 1024, file: 2000 * 1024 }));
        for broken in ["", "Rss: 1 kB\n", "Rss: 1 kB\nAnonymous: much kB\n", "Rss: 1 MB\nAnonymous: 1 kB\n"] {
            assert_eq!(resident_of(broken), None, "{broken}");
        }
        assert!(look().anonymous > 0);
        glance();
        assert!(process_bytes() > 0);
    }

    #[test]
    fn small_changes_are_told_late_and_large_ones_at_once() {
        let told = |change: &dyn Fn()| {
            let before = LIVE.load(Ordering::Relaxed);
            change();
            LIVE.load(Ordering::Relaxed) - before
        };
        // No other test counts, and this thread has not yet.
        assert_eq!(told(&|| count(1000)), 0);
        assert_eq!(told(&|| count(UNTOLD_MAX)), UNTOLD_MAX + 1000);
        assert_eq!(told(&|| count(-5)), 0);
        assert_eq!(told(&quiet), -5);
        assert_eq!(told(&|| count(-UNTOLD_MAX)), -UNTOLD_MAX);
    }
}
