//! What the running host says of itself, under a root that a test can choose.
//!
//! Owns the reading of /proc and /sys. It decides nothing, and a file that is not there is a value that is not known.

use std::fs;
use std::path::Path;
use std::str::FromStr;

use crate::config::group::Group;
use crate::config::host::memory_bytes;

/// Whether each loop can have a descriptor table of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tables {
    /// Yes: a limit on descriptors counts for each loop.
    Private,
    /// No, with the system's reason: all loops share one limit.
    Shared(String),
}

/// Where the program runs, as far as it concerns who can change a kernel value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// /proc/sys can be written by root.
    Host,
    /// /proc/sys is mounted so that nobody in here can write it.
    Container,
}

/// Connection tracking: the table's size and how much of it is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conntrack {
    /// Most entries.
    pub max: u64,
    /// Entries now.
    pub count: u64,
}

/// The running host. `None` is what cannot be seen from here; "unlimited" is `u64::MAX`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Major and minor version of the kernel.
    pub kernel: Option<(u64, u64)>,
    /// Cores that this process may use: its affinity and its control group's quota, rounded down.
    pub cores: u64,
    /// Hard limit on descriptors of this process.
    pub descriptors: Option<u64>,
    /// Hard limit on threads of this process' user.
    pub user_threads: Option<u64>,
    /// `fs.nr_open`.
    pub nr_open: Option<u64>,
    /// `fs.file-max`.
    pub file_max: Option<u64>,
    /// Files that are open now, on the whole host.
    pub files_used: u64,
    /// `fs.epoll.max_user_watches`.
    pub watches_max: Option<u64>,
    /// The middle of `net.ipv4.tcp_mem`: pages, from which on the kernel is short of them.
    pub tcp_pages: Option<u64>,
    /// Pages that sockets hold now.
    pub tcp_pages_used: u64,
    /// `net.core.somaxconn`.
    pub somaxconn: Option<u64>,
    /// `net.ipv4.tcp_max_syn_backlog`.
    pub syn_backlog: Option<u64>,
    /// `net.core.netdev_max_backlog`.
    pub packet_backlog: Option<u64>,
    /// How many ports `net.ipv4.ip_local_port_range` spans.
    pub ports: Option<u64>,
    /// Where the module is loaded.
    pub conntrack: Option<Conntrack>,
    /// Bytes of memory that the gateway reckons with: the machine's, or its control group's where that is less.
    pub memory_total: Option<u64>,
    /// Bytes of memory that are available.
    pub memory_available: Option<u64>,
    /// `kernel.threads-max`.
    pub threads_max: Option<u64>,
    /// Threads that are there now, on the whole host.
    pub threads_used: u64,
    /// Effective capabilities, a bit each.
    pub capabilities: Option<u64>,
    /// Who can change kernel values.
    pub place: Place,
    /// What the control groups allow.
    pub group: Group,
    /// Whether a limit on descriptors counts for each loop.
    pub tables: Tables,
}

/// Bit of CAP_SYS_RESOURCE in a set of capabilities: whoever has it may raise its own hard limits.
const CAP_SYS_RESOURCE: u64 = 1 << 24;

impl Machine {
    /// Reads everything under `root`, which is "/" but in tests. What has to be tried is an argument.
    #[must_use]
    pub fn read(root: &Path, tables: Tables) -> Self {
        let proc = Files { root };
        let limits = proc.text("proc/self/limits");
        let status = proc.text("proc/self/status");
        let memory = proc.text("proc/meminfo");
        let files = proc.fields("proc/sys/fs/file-nr");
        let group = Group::read(root);
        let conntrack = proc
            .sysctl("net/netfilter/nf_conntrack_max")
            .map(|max| Conntrack { max, count: proc.sysctl("net/netfilter/nf_conntrack_count").unwrap_or(0) });
        Self {
            kernel: version(&proc.text("proc/sys/kernel/osrelease")),
            cores: cores(&status, &group),
            descriptors: hard_limit(&limits, "Max open files"),
            user_threads: hard_limit(&limits, "Max processes"),
            nr_open: proc.sysctl("fs/nr_open"),
            file_max: proc.sysctl("fs/file-max"),
            files_used: files.first().copied().unwrap_or(0),
            watches_max: proc.sysctl("fs/epoll/max_user_watches"),
            tcp_pages: proc.fields("proc/sys/net/ipv4/tcp_mem").get(1).copied(),
            tcp_pages_used: tcp_pages_used(&proc.text("proc/net/sockstat")),
            somaxconn: proc.sysctl("net/core/somaxconn"),
            syn_backlog: proc.sysctl("net/ipv4/tcp_max_syn_backlog"),
            packet_backlog: proc.sysctl("net/core/netdev_max_backlog"),
            ports: match *proc.fields("proc/sys/net/ipv4/ip_local_port_range") {
                [low, high] => Some((high + 1).saturating_sub(low)),
                _ => None,
            },
            conntrack,
            memory_total: memory_bytes(root, &group),
            memory_available: labelled::<u64>(&memory, "MemAvailable:").map(|kib| kib.saturating_mul(1024)),
            threads_max: proc.sysctl("kernel/threads-max"),
            threads_used: threads_used(&proc.text("proc/loadavg")),
            capabilities: word_after(&status, "CapEff:").and_then(|text| u64::from_str_radix(text, 16).ok()),
            place: place(&proc.text("proc/self/mountinfo")),
            group,
            tables,
        }
    }

    /// Whether this process may raise its own hard limits.
    #[must_use]
    pub fn may_raise_limits(&self) -> bool {
        self.capabilities.is_some_and(|set| set & CAP_SYS_RESOURCE != 0)
    }
}

struct Files<'a> {
    root: &'a Path,
}

impl Files<'_> {
    /// The text of a file, empty where it cannot be read.
    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap_or_default()
    }

    /// The numbers of a file, up to the first word that is none.
    fn fields(&self, path: &str) -> Vec<u64> {
        self.text(path).split_whitespace().map_while(|word| word.parse().ok()).collect()
    }

    fn sysctl(&self, path: &str) -> Option<u64> {
        self.fields(&format!("proc/sys/{path}")).first().copied()
    }
}

fn word_after<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(label)?.split_whitespace().next())
}

fn labelled<T: FromStr>(text: &str, label: &str) -> Option<T> {
    word_after(text, label)?.parse().ok()
}

/// "6.18.44-x" and the like.
fn version(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.trim().split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The second column of /proc/PID/limits.
fn hard_limit(limits: &str, name: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_whitespace().nth(1)? {
        "unlimited" => Some(u64::MAX),
        hard => hard.parse().ok(),
    }
}

/// As the standard library counts them for the default of `server.loops`: affinity, and whole cores of the quota.
fn cores(status: &str, group: &Group) -> u64 {
    let list = word_after(status, "Cpus_allowed_list:").unwrap_or_default();
    let allowed: u64 = list.split(',').filter_map(span).sum();
    let quota = group.processor_milli.map_or(u64::MAX, |milli| (milli / 1000).max(1));
    allowed.max(1).min(quota)
}

/// How many numbers "0-3" or "7" stands for.
fn span(text: &str) -> Option<u64> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    last.checked_sub(first)?.checked_add(1)
}

/// "TCP: inuse 5 orphan 0 tw 1 alloc 6 mem 7".
fn tcp_pages_used(sockstat: &str) -> u64 {
    let words = sockstat.lines().find_map(|line| line.strip_prefix("TCP:"));
    let mut words = words.unwrap_or_default().split_whitespace().skip_while(|word| *word != "mem");
    words.nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0)
}

/// "0.83 0.67 1.17 2/101 24579": running and all.
fn threads_used(loadavg: &str) -> u64 {
    let runnable = loadavg.split_whitespace().nth(3).and_then(|word| word.split_once('/'));
    runnable.and_then(|(_, all)| all.parse().ok()).unwrap_or(0)
}

/// Container runtimes mount /proc/sys over itself, read-only.
fn place(mountinfo: &str) -> Place {
    let covered = mountinfo.lines().any(|line| {
        let mut words = line.split(' ').skip(4);
        words.next() == Some("/proc/sys") && words.next().is_some_and(|options| options.split(',').any(|o| o == "ro"))
    });
    if covered { Place::Container } else { Place::Host }
}
