//! The machine that a run has run on.

use std::fs;

use nix::sys::resource::{Resource, getrlimit};

use crate::memory;
use crate::result::RunHost;

/// This machine. What it does not tell is empty or zero.
pub fn own() -> RunHost {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    RunHost {
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        memory_bytes: memory::bytes(&read("/proc/meminfo"), "MemTotal:").unwrap_or_default(),
        descriptors_hard: getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard),
        harness: env!("HOLDFAST_LOADTEST_VERSION").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_kernel_and_memory() {
        let host = own();
        assert!(host.cores > 0 && host.memory_bytes > 0 && host.descriptors_hard > 0);
        assert!(!host.kernel.is_empty() && host.harness.starts_with(env!("CARGO_PKG_VERSION")));
    }
}
