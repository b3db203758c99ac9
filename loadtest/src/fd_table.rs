//! Descriptors: how many this process may open, and a table of its own for a thread.
//!
//! Owns the limits. RLIMIT_NOFILE bounds a table and not a process, so threads with tables of their own hold more.

use std::io;

use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors that a table keeps for what is no connection: epoll, standard streams, /proc files.
const RESERVE: usize = 64;

/// Raises the soft limit to the hard one, and says how many connections a table then holds.
///
/// # Errors
/// The kernel does not tell or set its limits.
pub fn connections_max() -> io::Result<usize> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    let limit = usize::try_from(hard).unwrap_or(usize::MAX);
    Ok(limit.saturating_sub(RESERVE))
}

/// Gives the calling thread a private copy of the descriptor table. Close in it what belongs to others.
///
/// # Errors
/// The kernel refuses.
pub fn make_private() -> io::Result<()> {
    Ok(unshare(CloneFlags::CLONE_FILES)?)
}
