//! A server as a process: its name, its threads, the descriptors in each thread's table.
//!
//! Owns the reading of `/proc/PID/comm` and `/proc/PID/task`.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::memory;
use crate::result::Server;

/// How many descriptors a thread sees: of its own table, or of one that it shares with others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Name of the thread.
    pub thread: String,
    /// Open descriptors.
    pub open: u64,
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
/// Kernels from 6.2 on tell the number as the size of the directory; older ones must list it, which takes a second for each million.
///
/// # Errors
/// The process is gone, or belongs to another user.
pub fn descriptors(pid: u32) -> Result<Vec<Table>, String> {
    let path = format!("/proc/{pid}/task");
    let tasks = fs::read_dir(&path).map_err(|error| format!("{path}: {error}"))?;
    let mut tables = Vec::new();
    for task in tasks {
        let task = task.map_err(|error| error.to_string())?.path();
        match open(&task.join("fd")) {
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

fn open(directory: &Path) -> std::io::Result<u64> {
    match fs::metadata(directory)?.len() {
        0 => Ok(fs::read_dir(directory)?.count() as u64),
        told => Ok(told),
    }
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
        let of = |name: &str| tables.iter().find(|table| table.thread == name).map(|table| table.open);
        assert!(of("own-table").expect("it was there") >= HELD as u64);
        let others = tables.iter().filter(|table| table.thread != "own-table").map(|table| table.open).min();
        assert!(others.expect("at least this one") < HELD as u64);
        thread.expect("a thread").join().expect("it ends");
    }

    #[test]
    fn a_process_has_a_name_and_threads() {
        let own = server(std::process::id()).expect("own process");
        assert!(!own.command.is_empty() && own.threads > 0);
        assert!(server(u32::MAX).is_err() && descriptors(u32::MAX).is_err());
    }
}
