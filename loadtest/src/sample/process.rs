//! A server as a process: its name, its threads, the descriptors in each thread's table.
//!
//! Owns the reading of `/proc/PID/comm` and `/proc/PID/task`.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::memory;
use crate::result::Server;

/// How many descriptors a thread sees: of its own table, or of one that it shares with others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Name of the thread.
    pub thread: String,
    /// Open descriptors; none where the kernel does not tell and the table is too large to be listed.
    pub open: Option<u64>,
}

/// Who is measured.
///
/// # Errors
/// The process is gone.
pub fn server(pid: u32) -> Result<Server, String> {
    let path = format!("/proc/{pid}/comm");
    let command = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    Ok(Server { pid, command: command.trim_end().to_owned(), threads: memory::rough(pid)?.threads })
}

/// Descriptors of each thread of a process. Threads with private tables differ; the others all see the same number.
///
/// Kernels from 6.2 on tell the number as the size of the directory; in older ones, small tables are listed.
///
/// # Errors
/// The process is gone, or belongs to another user.
pub fn descriptors(pid: u32) -> Result<Vec<Table>, String> {
    let path = format!("/proc/{pid}/task");
    let tasks = fs::read_dir(&path).map_err(|error| format!("{path}: {error}"))?;
    let mut tables = Vec::new();
    for task in tasks {
        let task = task.map_err(|error| error.to_string())?.path();
        match open(&task) {
            Ok(open) => {
                let thread = fs::read_to_string(task.join("comm")).unwrap_or_default().trim_end().to_owned();
                tables.push(Table { thread, open });
            }
            // The thread has just ended.
            Err(_) if !task.exists() => {}
            Err(error) => return Err(format!("{}: {error}", task.display())),
        }
    }
    Ok(tables)
}

/// The largest table that is listed. The kernel keeps an inode and a name in its caches for each descriptor that was listed, 900
/// bytes of slab that would be taken for the connections'.
const LISTED_MAX: u64 = 4096;

fn open(task: &Path) -> io::Result<Option<u64>> {
    let directory = task.join("fd");
    let told = fs::metadata(&directory)?.len();
    let slots = slots(&fs::read_to_string(task.join("status"))?);
    count(told, slots, || Ok(fs::read_dir(&directory)?.count() as u64))
}

/// The number that the kernel told, where it does or that `list` finds.
fn count(told: u64, slots: Option<u64>, list: impl FnOnce() -> io::Result<u64>) -> io::Result<Option<u64>> {
    match (told, slots) {
        (0, Some(..=LISTED_MAX)) => list().map(Some),
        (0, _) => Ok(None),
        (told, _) => Ok(Some(told)),
    }
}

/// Slots of the table, used or not, in the text of `/proc/PID/status`.
fn slots(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("FDSize:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_with_its_own_table_is_told_apart() {
        // More than other tests of this process have open at once.
        const HELD: usize = 300;
        let (told, wait) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("own-table".to_owned()).spawn(move || {
            crate::fd_table::make_private().expect("a table of its own");
            let held: Vec<_> = (0..HELD).map(|_| fs::File::open("/dev/null").expect("a descriptor")).collect();
            told.send(()).expect("the test waits");
            let _ = ended.recv();
            drop(held);
        });
        wait.recv().expect("the thread is ready");
        let tables = descriptors(std::process::id()).expect("own process");
        drop(end);
        let of = |name: &str| tables.iter().find(|table| table.thread == name).and_then(|table| table.open);
        assert!(of("own-table").expect("it was there") >= HELD as u64);
        let others = tables.iter().filter(|table| table.thread != "own-table").filter_map(|table| table.open).min();
        assert!(others.expect("at least this one") < HELD as u64);
        thread.expect("a thread").join().expect("it ends");
    }

    #[test]
    fn a_process_has_a_name_and_threads() {
        let own = server(std::process::id()).expect("own process");
        assert!(!own.command.is_empty() && own.threads > 0);
        assert!(server(u32::MAX).is_err() && descriptors(u32::MAX).is_err());
    }

    #[test]
    fn a_large_table_is_not_listed_where_the_kernel_does_not_tell_its_number() {
        for (told, slots, expected) in [
            (7, Some(64), Some(7)),
            (500_000, Some(524_288), Some(500_000)),
            (0, Some(64), Some(3)),
            (0, Some(LISTED_MAX), Some(3)),
            (0, Some(LISTED_MAX * 2), None),
            (0, None, None),
        ] {
            assert_eq!(count(told, slots, || Ok(3)).expect("nothing fails"), expected, "{told} {slots:?}");
        }
        assert_eq!(slots("Name:\tx\nFDSize:\t512\nGroups:\t0\n"), Some(512));
        assert_eq!(slots("Name:\tx\n"), None);
    }
}
