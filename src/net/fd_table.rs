//! A descriptor table of one's own.
//!
//! After it, RLIMIT_NOFILE bounds one loop and not the process, and the kernel takes its unlocked path for a table with
//! one owner. Descriptors opened before exist in each table, so each thread closes the copies that are not its own.

use std::io;
use std::os::fd::RawFd;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::close;

/// Gives the calling thread its own copy of the descriptor table and closes `foreign` in it.
///
/// # Errors
/// When the system does not allow it (a seccomp filter); nothing is closed then.
pub fn isolate(foreign: &[RawFd]) -> io::Result<()> {
    unshare(CloneFlags::CLONE_FILES)?;
    close_copies(foreign);
    Ok(())
}

/// Closes copies of descriptors that other threads own in tables of their own. Call it only when they do.
pub fn close_copies(foreign: &[RawFd]) {
    for &fd in foreign {
        // Failing means that it was no copy: nothing is lost by it.
        let _ = close(fd);
    }
}
