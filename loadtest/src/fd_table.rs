//! Descriptors: how many this process may open, and a table of its own for a thread.
//!
//! Owns the limits. RLIMIT_NOFILE bounds a table and not a process, so threads with tables of their own hold more.

use std::fs;
use std::io;
use std::os::fd::RawFd;

use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::close;

/// Descriptors that a table keeps for what is no connection: epoll, standard streams, /proc files.
const RESERVE: usize = 64;

/// The last descriptor of the standard streams.
const STANDARD_STREAMS_MAX: RawFd = 2;

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

/// Gives the calling thread a private descriptor table with nothing but the standard streams in it. Call it before the thread
/// opens anything: what other threads have open is closed in the copy, or it would take room there, and a connection that its
/// owner closes would stay open.
///
/// # Errors
/// The kernel refuses, or does not tell what is open.
pub fn make_private() -> io::Result<()> {
    unshare(CloneFlags::CLONE_FILES)?;
    let mut copies = Vec::new();
    for entry in fs::read_dir("/proc/thread-self/fd")? {
        copies.extend(entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()));
    }
    for fd in copies.into_iter().filter(|fd| *fd > STANDARD_STREAMS_MAX) {
        // Failing means that it was the listing's own descriptor, which is closed already.
        let _ = close(fd);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_private_table_holds_nothing_of_others_and_closes_nothing_for_them() {
        let own = File::open("/proc/self/status").expect("a file");
        let opened = || fs::read_dir("/proc/thread-self/fd").expect("a listing").count();
        let in_private = std::thread::spawn(move || {
            make_private().expect("a private table");
            opened()
        });
        // The standard streams, and the descriptor of the listing itself.
        assert!(in_private.join().expect("it ends") <= 4);
        assert!(own.metadata().is_ok(), "the descriptor is still open here");
    }
}
