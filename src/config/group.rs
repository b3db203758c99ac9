//! What the control groups above this process allow: memory, threads, processor time. Both versions of the interface.
//!
//! Owns the walk from the process' own group to the root that it can see; a limit of any group on the way binds. Reads only,
//! under a root that a test can choose. The gateway's budget of memory and `doctor` both come from here.

use std::fs;
use std::path::{Path, PathBuf};

/// The tightest limits on the way up; `None` where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Most bytes of memory, the kernel's for sockets included.
    pub memory_max: Option<u64>,
    /// Bytes that are left of them: file pages that can be dropped count as left.
    pub memory_left: Option<u64>,
    /// Most threads.
    pub threads_max: Option<u64>,
    /// Threads that are left of them.
    pub threads_left: Option<u64>,
    /// Thousandths of a core.
    pub processor_milli: Option<u64>,
}

/// What version 1 says where nothing is limited: the largest multiple of a page, or nearly so.
const UNLIMITED: u64 = 1 << 62;

impl Group {
    /// Reads what `root` shows of the control groups of this process.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        let member = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
        let mut group = Self::default();
        for folder in folders(root, &member, "memory") {
            group.take_memory(&folder);
        }
        for folder in folders(root, &member, "pids") {
            let max = number(&folder, "pids.max");
            let left = max.map(|max| max.saturating_sub(number(&folder, "pids.current").unwrap_or(0)));
            group.threads_max = tighter(group.threads_max, max);
            group.threads_left = tighter(group.threads_left, left);
        }
        for folder in folders(root, &member, "cpu") {
            group.processor_milli = tighter(group.processor_milli, processor_milli(&folder));
        }
        group
    }

    fn take_memory(&mut self, folder: &Path) {
        // Above `memory.high` the kernel stalls whoever asks for more: there is no use in going there.
        let v2 = tighter(number(folder, "memory.max"), number(folder, "memory.high"));
        let max = v2.or_else(|| number(folder, "memory.limit_in_bytes"));
        let Some(max) = max.filter(|max| *max < UNLIMITED) else {
            return;
        };
        let used = number(folder, "memory.current").or_else(|| number(folder, "memory.usage_in_bytes"));
        let statistics = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        // Version 1 has sums over the groups below under names of their own.
        let droppable = field(&statistics, "total_inactive_file").or_else(|| field(&statistics, "inactive_file"));
        let used = used.unwrap_or(0).saturating_sub(droppable.unwrap_or(0));
        self.memory_max = tighter(self.memory_max, Some(max));
        self.memory_left = tighter(self.memory_left, Some(max.saturating_sub(used)));
    }
}

/// The folders of a controller, from the process' own group up to the top of the mount.
fn folders(root: &Path, member: &str, controller: &str) -> Vec<PathBuf> {
    let mounts = root.join("sys/fs/cgroup");
    let v1 = member.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|name| name == controller).then_some((controllers, path))
    });
    let (mount, path) = match v1 {
        // Controllers that are mounted together have a folder with both names, and links with one each.
        Some((controllers, path)) => {
            let own = mounts.join(controller);
            (if own.exists() { own } else { mounts.join(controllers) }, path)
        }
        None => (mounts, member.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/")),
    };
    let mut folders = Vec::new();
    // In a container the path may be the host's, of which only the end of it is mounted here: what is not there is passed over.
    let mut folder = mount.join(path.trim_start_matches('/'));
    while folder.starts_with(&mount) {
        folders.push(folder.clone());
        if !folder.pop() {
            break;
        }
    }
    folders
}

fn number(folder: &Path, file: &str) -> Option<u64> {
    fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

fn processor_milli(folder: &Path) -> Option<u64> {
    let (quota, period) = match fs::read_to_string(folder.join("cpu.max")) {
        Ok(text) => {
            let (quota, period) = text.trim().split_once(' ')?;
            (quota.parse::<u64>().ok()?, period.parse::<u64>().ok()?)
        }
        Err(_) => (number(folder, "cpu.cfs_quota_us")?, number(folder, "cpu.cfs_period_us")?),
    };
    quota.saturating_mul(1000).checked_div(period)
}

fn tighter(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
