//! Memory of a process, as the kernel counts it.
//!
//! Owns the reading of /proc/PID/smaps_rollup: exact, where statm is counted loosely by each core.

use std::fs;

use serde::Serialize;

/// Resident memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Resident {
    /// All resident pages.
    pub rss: u64,
    /// The share of resident pages that is this process' own.
    pub pss: u64,
    /// The part of `pss` that no file backs: heap and stacks.
    pub anonymous: u64,
}

/// Reads what a process holds now.
///
/// # Errors
/// The process is gone, or may not be read.
pub fn resident(pid: u32) -> Result<Resident, String> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let rollup = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    Ok(Resident { rss: field(&rollup, "Rss:")?, pss: field(&rollup, "Pss:")?, anonymous: field(&rollup, "Pss_Anon:")? })
}

/// A field of smaps_rollup, given there in kB.
fn field(rollup: &str, name: &str) -> Result<u64, String> {
    rollup
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .map(|kilobytes| kilobytes * 1024)
        .ok_or_else(|| format!("smaps_rollup has no {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_memory_grows_with_what_is_touched() {
        let own = std::process::id();
        let before = resident(own).expect("own process");
        let touched = std::hint::black_box(vec![7u8; 32 << 20]);
        let after = resident(own).expect("own process");
        assert!(after.anonymous >= before.anonymous + (24 << 20));
        assert!(after.rss > before.rss && after.pss > before.pss);
        drop(touched);
    }
}
