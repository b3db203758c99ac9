//! The processor: how much of it a process has used, and which core this one may use.
//!
//! Owns the reading of it. Processor time is the figure that holds on a noisy machine; wall time does not.

use std::fs;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// Processor time of a process, as the kernel splits it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// In user mode.
    pub user: Duration,
    /// In the kernel.
    pub kernel: Duration,
}

/// Processor time of all threads of a process, in user and kernel mode, exact to the nanosecond; threads that have ended count.
///
/// # Errors
/// The process is gone.
pub fn used(pid: u32) -> Result<Duration, String> {
    let told = i32::try_from(pid).map_err(|error| error.to_string());
    told.and_then(|raw| {
        let clock = clock_getcpuclockid(Pid::from_raw(raw)).map_err(|error| error.to_string())?;
        clock.now().map(Duration::from).map_err(|error| error.to_string())
    })
    .map_err(|error| format!("processor time of process {pid}: {error}"))
}

/// The same split in two, in steps of a clock tick (10 ms): for runs of seconds, not for one operation.
///
/// # Errors
/// The process is gone.
pub fn times(pid: u32) -> Result<Times, String> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let per_second =
        sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|ticks| u32::try_from(ticks).ok()).unwrap_or(100);
    split(&text, per_second).ok_or_else(|| format!("{path}: no times"))
}

/// Reads `/proc/PID/stat`, given how many ticks a second has.
fn split(stat: &str, per_second: u32) -> Option<Times> {
    // utime and stime are fields 14 and 15; the name, field 2, may hold spaces and ends with the last ')'.
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok().map(|ticks| Duration::from_secs(ticks) / per_second.max(1));
    Some(Times { user: next()?, kernel: next()? })
}

/// Processor time of the thread that asks.
///
/// # Errors
/// The kernel does not tell.
pub fn of_thread() -> Result<Duration, String> {
    ClockId::CLOCK_THREAD_CPUTIME_ID
        .now()
        .map(Duration::from)
        .map_err(|error| format!("processor time of a thread: {error}"))
}

/// Weight of a thread that gives way: the least of those that still get a share of a busy core.
const LAST: libc::c_int = 19;

/// Has the thread that asks give way to all others that want its core: who wakes up need not wait for it.
///
/// # Errors
/// The kernel refuses.
#[allow(unsafe_code, reason = "no crate of ours has this call for a thread")]
pub fn give_way() -> Result<(), String> {
    // SAFETY: the call takes three numbers and touches no memory of ours; 0 names the thread that asks.
    let told = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, LAST) };
    Errno::result(told).map(drop).map_err(|error| format!("cannot give way: {error}"))
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
        // Another process, since this one has other tests in it.
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
        assert!(times(busy.id()).is_ok());
        busy.kill().and_then(|()| busy.wait()).expect("it ends");
        assert!(after > before);
        assert!(used(busy.id()).is_err() && times(busy.id()).is_err());
        assert!(used(u32::MAX).is_err());
    }

    #[test]
    fn user_and_kernel_time_stand_behind_a_name_of_any_kind() {
        let stat = "42 (a ) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 4 0 1";
        let times = Times { user: Duration::from_millis(2500), kernel: Duration::from_millis(500) };
        assert_eq!(split(stat, 100), Some(times));
        for cut in ["", "42 (a) S 1", "42 (a) S 1 2 3 4 5 6 7 8 9 10 x 50"] {
            assert_eq!(split(cut, 100), None, "{cut}");
        }
    }
}
