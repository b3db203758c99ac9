//! The processor: how much of it a process has used, and which core this one may use.
//!
//! Owns the reading of /proc. Processor time is the figure that holds on a noisy machine; wall time does not.

use std::fs;
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Processor time of all threads of a process, in user and kernel mode.
///
/// Threads that end between two readings take their time with them, so the process must keep its threads.
///
/// # Errors
/// The process is gone, or its /proc entry may not be read.
pub fn used(pid: u32) -> Result<Duration, String> {
    let path = format!("/proc/{pid}/task");
    let tasks = fs::read_dir(&path).map_err(|error| format!("{path}: {error}"))?;
    let mut nanos = 0;
    for task in tasks {
        let path = task.map_err(|error| error.to_string())?.path();
        match fs::read_to_string(path.join("schedstat")) {
            Ok(text) => nanos += first_number(&text).ok_or("schedstat is not a number")?,
            // The thread has just ended.
            Err(_) if !path.exists() => {}
            // The kernel keeps no such statistics.
            Err(_) => return ticks(pid),
        }
    }
    Ok(Duration::from_nanos(nanos))
}

/// The same in clock ticks of 10 ms, where the kernel has no schedstat.
fn ticks(pid: u32) -> Result<Duration, String> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    // utime and stime are fields 14 and 15; the name, field 2, may hold spaces and ends with the last ')'.
    let behind = text.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = behind.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// Binds this process to one core, for threads that start later too.
///
/// # Errors
/// There is no such core.
pub fn pin(core: usize) -> Result<(), String> {
    let mut set = CpuSet::new();
    set.set(core)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .map_err(|error| format!("cannot run on core {core}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_costs_time_and_a_dead_process_is_an_error() {
        // Another process, since the threads of this one, other tests, end with their time.
        let mut busy = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("a shell");
        let before = used(busy.id()).expect("it runs");
        let mut after = before;
        for _ in 0..10_000 {
            after = used(busy.id()).expect("it runs");
            if after > before {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(ticks(busy.id()).is_ok());
        busy.kill().and_then(|()| busy.wait()).expect("it ends");
        assert!(after > before);
        assert!(used(u32::MAX).is_err());
    }
}
