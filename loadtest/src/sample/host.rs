//! The machine that a run has run on.

use std::fs;

use nix::sys::resource::{Resource, getrlimit};

use crate::result::RunHost;

/// This machine. What it does not tell is empty or zero.
pub fn own() -> RunHost {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    RunHost {
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        memory_bytes: kilobytes(&read("/proc/meminfo"), "MemTotal:").unwrap_or_default(),
        descriptors_hard: getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard),
        harness: env!("HOLDFAST_LOADTEST_VERSION").to_owned(),
    }
}

/// A field of a file such as `/proc/meminfo`, given there in kB, in bytes.
pub fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "MemTotal:       16384 kB\nMemFree:  8 kB\nBroken: x kB\n";
        assert_eq!(kilobytes(text, "MemTotal:"), Some(16 << 20));
        assert_eq!(kilobytes(text, "MemFree:"), Some(8192));
        assert_eq!(kilobytes(text, "Mem:"), None);
        assert_eq!(kilobytes(text, "Broken:"), None);
    }

    #[test]
    fn this_machine_has_a_kernel_and_memory() {
        let host = own();
        assert!(host.cores > 0 && host.memory_bytes > 0 && host.descriptors_hard > 0);
        assert!(!host.kernel.is_empty() && host.harness.starts_with(env!("CARGO_PKG_VERSION")));
    }
}
