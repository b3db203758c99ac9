//! The limits of this machine, as they are now.
//!
//! Owns the reading of `/proc/sys`, `/proc/PID/limits` and the control group.

use std::fs;
use std::path::Path;

use crate::sample::kernel::{Light, page_bytes};

/// Where control groups of version 2 are.
const GROUPS: &str = "/sys/fs/cgroup";

/// Tables of descriptors of a process, and how many each of them holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tables {
    /// How many tables.
    pub tables: u64,
    /// Descriptors in each: RLIMIT_NOFILE.
    pub descriptors_each: u64,
}

/// The table of tracked flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conntrack {
    /// Entries it can have.
    pub max: u64,
    /// Entries it has.
    pub count: u64,
}

/// What bounds the number of connections here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Tables of the server; none when it is not known, or elsewhere.
    pub server: Option<Tables>,
    /// `fs.nr_open`: how far RLIMIT_NOFILE can be raised.
    pub nr_open: u64,
    /// `net.ipv4.ip_local_port_range`, both inside.
    pub ports: (u16, u16),
    /// Pairs of a source and a target address that the scenario uses.
    pub pairs: u64,
    /// `fs.file-max`.
    pub files_max: u64,
    /// Files that are open on the machine.
    pub files_open: u64,
    /// `fs.epoll.max_user_watches`.
    pub epoll_watches: Option<u64>,
    /// None where the kernel cannot track flows.
    pub conntrack: Option<Conntrack>,
    /// `MemAvailable`, bytes.
    pub memory_available: u64,
    /// Bytes that the control groups of this process leave it; none where they set no limit.
    pub group_memory_left: Option<u64>,
    /// The middle value of `net.ipv4.tcp_mem`.
    pub tcp_pages_pressure: u64,
    /// Pages of socket buffers in use.
    pub tcp_pages_used: u64,
}

impl Host {
    /// Reads this machine. `pairs` is how many pairs of a source and a target address the scenario dials.
    ///
    /// # Errors
    /// A limit that every Linux has cannot be read.
    pub fn read(pairs: u64) -> Result<Self, String> {
        let light = Light::read()?;
        let files_open = numbers("/proc/sys/fs/file-nr")?;
        let ports = numbers("/proc/sys/net/ipv4/ip_local_port_range")?;
        let port = |place: usize| ports.get(place).and_then(|port| u16::try_from(*port).ok());
        let tcp_pages = numbers("/proc/sys/net/ipv4/tcp_mem")?;
        Ok(Self {
            server: None,
            nr_open: number("/proc/sys/fs/nr_open")?,
            ports: port(0).zip(port(1)).ok_or("ip_local_port_range is not two ports")?,
            pairs,
            files_max: number("/proc/sys/fs/file-max")?,
            files_open: files_open.first().copied().unwrap_or_default(),
            epoll_watches: number("/proc/sys/fs/epoll/max_user_watches").ok(),
            conntrack: conntrack(),
            memory_available: light.available,
            group_memory_left: group_memory_left(),
            tcp_pages_pressure: tcp_pages.get(1).copied().ok_or("tcp_mem is not three numbers")?,
            tcp_pages_used: light.tcp.buffers / page_bytes(),
        })
    }

    /// The same with the server's tables: one for each thread named `loop-…`, or one for all threads where there is none.
    ///
    /// # Errors
    /// The server is gone, or belongs to another user.
    pub fn with_server(mut self, pid: u32) -> Result<Self, String> {
        let path = format!("/proc/{pid}/limits");
        let limits = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let descriptors_each = open_files(&limits).ok_or_else(|| format!("{path}: no limit of open files"))?;
        let threads = crate::sample::descriptors(pid)?;
        let loops = threads.iter().filter(|table| table.thread.starts_with("loop-")).count() as u64;
        self.server = Some(Tables { tables: loops.max(1), descriptors_each });
        Ok(self)
    }
}

fn number(path: &str) -> Result<u64, String> {
    numbers(path)?.first().copied().ok_or_else(|| format!("{path}: no number"))
}

fn numbers(path: &str) -> Result<Vec<u64>, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    text.split_whitespace().map(|word| word.parse().map_err(|_| format!("{path}: not numbers"))).collect()
}

fn conntrack() -> Option<Conntrack> {
    let read = |name: &str| number(&format!("/proc/sys/net/netfilter/{name}")).ok();
    Some(Conntrack { max: read("nf_conntrack_max")?, count: read("nf_conntrack_count")? })
}

/// The soft limit of open files in the text of `/proc/PID/limits`: a server that wants more raises it as it starts.
fn open_files(limits: &str) -> Option<u64> {
    let rest = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match rest.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        soft => soft.parse().ok(),
    }
}

/// The least that is left in this process' control group and those around it.
fn group_memory_left() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let own = Path::new(GROUPS).join(path);
    let groups = own.ancestors().take_while(|group| group.starts_with(GROUPS));
    let left = groups.filter_map(|group| {
        let read = |name: &str| fs::read_to_string(group.join(name)).ok();
        group_left(&read("memory.max")?, &read("memory.current")?, &read("memory.stat")?)
    });
    left.min()
}

/// What one control group leaves: its limit less what it has, but for file pages that can be dropped. None without a limit.
fn group_left(max: &str, current: &str, stat: &str) -> Option<u64> {
    let max: u64 = max.trim().parse().ok()?;
    let current: u64 = current.trim().parse().ok()?;
    let inactive = stat.lines().find_map(|line| line.strip_prefix("inactive_file "))?;
    let dropped: u64 = inactive.trim().parse().ok()?;
    Some(max.saturating_sub(current.saturating_sub(dropped)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_is_found() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max core file size        0                    unlimited            bytes     \n\
                    Max open files            1024                 20000                files     \n";
        assert_eq!(open_files(text), Some(1024));
        assert_eq!(open_files("Max open files            unlimited            unlimited   files"), Some(u64::MAX));
        assert_eq!(open_files("Max processes 5 5"), None);
    }

    #[test]
    fn a_control_group_leaves_its_limit_less_what_cannot_be_dropped() {
        for (max, current, stat, left) in [
            ("1000\n", "600\n", "anon 5\ninactive_file 100\n", Some(500)),
            ("1000\n", "2000\n", "inactive_file 0\n", Some(0)),
            ("1000\n", "100\n", "inactive_file 200\n", Some(1000)),
            ("max\n", "600\n", "inactive_file 100\n", None),
            ("1000\n", "600\n", "", None),
        ] {
            assert_eq!(group_left(max, current, stat), left, "{max} {current}");
        }
    }

    #[test]
    fn this_machine_can_be_read() {
        let host = Host::read(250).and_then(|host| host.with_server(std::process::id())).expect("a Linux machine");
        assert!(host.files_max > 0 && host.ports.0 < host.ports.1 && host.memory_available > 0);
        assert_eq!(host.server.map(|server| server.tables), Some(1));
        assert!(Host::read(1).expect("a Linux machine").with_server(u32::MAX).is_err());
    }
}
