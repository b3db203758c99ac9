//! What this machine gives: descriptors, cores, memory, a name.
//!
//! Owns the questions to the operating system that settings depend on. It decides nothing.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::kit::ids::is_name;

/// What this machine gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// Descriptors that one table may hold: the hard limit, since the process raises its soft limit to it.
    pub descriptors: u64,
    /// Cores that this process may run on.
    pub cores: usize,
    /// Bytes of memory that this process may use: the machine's, or its control group's where that is less.
    pub memory_bytes: u64,
}

impl Host {
    /// Asks the operating system.
    #[must_use]
    pub fn read() -> Self {
        let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(DESCRIPTORS_UNKNOWN, |(_, hard)| hard);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let machine = read("/proc/meminfo").and_then(|text| meminfo_total(&text));
        let group = read("/proc/self/cgroup").and_then(|text| group_memory(&text, &read));
        let memory_bytes = machine.unwrap_or(u64::MAX).min(group.unwrap_or(u64::MAX));
        Self { descriptors, cores, memory_bytes }
    }
}

/// What POSIX promises at least is 20; this is what Linux gives where nobody has set anything.
const DESCRIPTORS_UNKNOWN: u64 = 1024;

/// Raises the soft limit of descriptors to the hard one. Returns the limit that holds now.
///
/// # Errors
/// What the operating system says.
pub fn raise_descriptors() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// The host's name where it is a name to us, else "holdfast".
#[must_use]
pub fn name() -> String {
    let name = read("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if is_name(name) { name.to_owned() } else { "holdfast".to_owned() }
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// The least of what the process' control group and those above it allow (cgroup v2). In a container the group is the root
/// of what can be seen; under systemd it is that of the service, and the limit may be a slice's.
fn group_memory(cgroup: &str, read: &dyn Fn(&str) -> Option<String>) -> Option<u64> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    let limit = |depth: usize| {
        let folder: String = names[..depth].iter().map(|name| format!("/{name}")).collect();
        read(&format!("/sys/fs/cgroup{folder}/memory.max"))?.trim().parse().ok()
    };
    (0..=names.len()).filter_map(limit).min()
}

fn meminfo_total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_memory_is_found() {
        let text = "MemFree:  7 kB\nMemTotal:       3056640 kB\nBuffers: 1 kB\n";
        assert_eq!(meminfo_total(text), Some(3_056_640 * 1024));
        assert_eq!(meminfo_total("MemTotal: much"), None);
        assert_eq!(meminfo_total(""), None);
    }

    #[test]
    fn the_lowest_limit_of_all_groups_above_holds() {
        let files = |found: &'static [(&'static str, &'static str)]| {
            move |path: &str| found.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned())
        };
        let service = files(&[
            ("/sys/fs/cgroup/system.slice/memory.max", "5000\n"),
            ("/sys/fs/cgroup/system.slice/holdfast.service/memory.max", "max\n"),
        ]);
        assert_eq!(group_memory("0::/system.slice/holdfast.service\n", &service), Some(5000));
        let container = files(&[("/sys/fs/cgroup/memory.max", "4096\n")]);
        assert_eq!(group_memory("0::/\n", &container), Some(4096));
        assert_eq!(group_memory("0::/\n", &files(&[])), None);
        assert_eq!(group_memory("12:memory:/x\n", &container), None, "version 1");
    }

    #[test]
    fn this_machine_gives_something() {
        let host = Host::read();
        assert!(host.descriptors > 0 && host.cores > 0 && host.memory_bytes > 0);
        assert!(is_name(&name()));
    }
}
