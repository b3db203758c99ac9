//! What this machine gives: descriptors, cores, memory, a name.
//!
//! Owns the questions to the operating system that settings depend on. It decides nothing.

use std::io;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::group::Group;
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
        let root = Path::new("/");
        let memory_bytes = memory_bytes(root, &Group::read(root)).unwrap_or(u64::MAX);
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
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if is_name(name) { name.to_owned() } else { "holdfast".to_owned() }
}

/// Bytes of memory that a process under `root` may use: the machine's, or its control group's where that is less. `None`
/// where neither can be seen.
#[must_use]
pub fn memory_bytes(root: &Path, group: &Group) -> Option<u64> {
    let machine = std::fs::read_to_string(root.join("proc/meminfo")).ok().and_then(|text| meminfo_total(&text));
    machine.into_iter().chain(group.memory_max).min()
}

fn meminfo_total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn total_memory_is_found() {
        let text = "MemFree:  7 kB\nMemTotal:       3056640 kB\nBuffers: 1 kB\n";
        assert_eq!(meminfo_total(text), Some(3_056_640 * 1024));
        assert_eq!(meminfo_total("MemTotal: much"), None);
        assert_eq!(meminfo_total(""), None);
    }

    /// What the gateway would take for its memory on a host of these files.
    fn memory_of(name: &str, files: &[(&str, &str)]) -> Option<u64> {
        let root = std::env::temp_dir().join(format!("holdfast-host-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("below the root")).expect("writable");
            fs::write(path, text).expect("writable");
        }
        let bytes = memory_bytes(&root, &Group::read(&root));
        let _ = fs::remove_dir_all(&root);
        bytes
    }

    #[test]
    fn the_lowest_limit_of_the_machine_and_of_all_groups_above_holds() {
        let machine = ("proc/meminfo", "MemTotal:  8 kB\n");
        let service = ("proc/self/cgroup", "0::/system.slice/holdfast.service\n");
        let slice = ("sys/fs/cgroup/system.slice/memory.max", "5000\n");
        let own = ("sys/fs/cgroup/system.slice/holdfast.service/memory.max", "max\n");
        assert_eq!(memory_of("slice", &[machine, service, slice, own]), Some(5000));
        assert_eq!(memory_of("machine", &[machine, service, own]), Some(8192));
        let high = ("sys/fs/cgroup/system.slice/memory.high", "4500\n");
        assert_eq!(memory_of("high", &[machine, service, slice, own, high]), Some(4500));
        assert_eq!(memory_of("high-alone", &[machine, service, own, high]), Some(4500));
        assert_eq!(memory_of("blind", &[service, slice]), Some(5000));
        assert_eq!(memory_of("nothing", &[]), None);
        let root = ("sys/fs/cgroup/memory.max", "4096\n");
        assert_eq!(memory_of("container", &[machine, ("proc/self/cgroup", "0::/\n"), root]), Some(4096));
    }

    #[test]
    fn a_container_of_version_1_has_the_memory_of_its_group() {
        let files = [
            ("proc/meminfo", "MemTotal:  800000 kB\n"),
            ("proc/self/cgroup", "12:memory:/docker/x\n0::/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "300000\n"),
        ];
        assert_eq!(memory_of("v1", &files), Some(300_000));
        let unlimited = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(memory_of("v1-unlimited", &[files[0], files[1], unlimited]), Some(819_200_000));
    }

    #[test]
    fn this_machine_gives_something() {
        let host = Host::read();
        assert!(host.descriptors > 0 && host.cores > 0 && host.memory_bytes > 0);
        assert!(is_name(&name()));
    }
}
