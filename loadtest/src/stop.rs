//! Whether the user has asked to stop: SIGINT, SIGTERM, or SIGHUP. Scenarios look here between two steps, and end in order.
//!
//! Owns these signals. A second one ends the process at once. A hangup that whoever started us chose to ignore (`nohup`) stays ignored.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

static ASKED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Begins to listen.
///
/// # Errors
/// The kernel does not let us.
pub fn listen() -> std::io::Result<()> {
    let asked = Arc::clone(ASKED.get_or_init(Arc::default));
    let status = fs::read_to_string("/proc/self/status")?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        if signal == SIGHUP && is_ignored(signal, &status) {
            continue;
        }
        // This comes first, so that it sees only the mark of an earlier signal.
        flag::register_conditional_default(signal, Arc::clone(&asked))?;
        flag::register(signal, Arc::clone(&asked))?;
    }
    Ok(())
}

/// Whether somebody has asked.
pub fn asked() -> bool {
    ASKED.get().is_some_and(|asked| asked.load(Ordering::Acquire))
}

/// Whether the text of `/proc/PID/status` has this signal among those that are ignored: bit 0 of the mask is signal 1.
fn is_ignored(signal: i32, status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_ignored_where_its_bit_is_set() {
        for (status, hangup, interrupt) in [
            ("SigBlk:\t0000000000000003\nSigIgn:\t0000000000000001\n", true, false),
            ("SigIgn:\t0000000000001002\n", false, true),
            ("SigIgn:\t0000000000000000\nSigCgt:\tffffffffffffffff\n", false, false),
            ("Name:\tholdfast\n", false, false),
        ] {
            assert_eq!((is_ignored(SIGHUP, status), is_ignored(SIGINT, status)), (hangup, interrupt), "{status}");
        }
    }
}
