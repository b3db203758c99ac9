//! When a server's memory counts as settled: it has stopped to fall, which allocators and garbage collectors bring about with a delay.
//!
//! Owns the rule and its figures, the same for every scenario and every peer. What happens between two looks is the caller's.

use std::time::{Duration, Instant};

use crate::memory::resident;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Looks without a fall after which memory counts as settled: twelve seconds. A gateway gives back in steps, when its threads
/// have been quiet for a second and when its histograms are drained, up to ten seconds later.
const STEADY_LOOKS: u32 = 60;

/// A fall of less than one in so many is no fall: a resting process moves by a page or two.
const FALL: u64 = 500;

/// Waits until the memory of a process has settled, or `longest` is over; `pause` passes the time between two looks.
///
/// # Errors
/// The process cannot be read, or `pause` fails.
pub fn settle(
    pid: u32,
    longest: Duration,
    pause: &mut dyn FnMut(Duration) -> Result<(), String>,
) -> Result<(), String> {
    let end = Instant::now() + longest;
    let mut settling = Settling::from(resident(pid)?.pss);
    while !settling.is_over() && Instant::now() < end {
        pause(LOOK_EVERY)?;
        settling.look(resident(pid)?.pss);
    }
    Ok(())
}

/// What was seen so far.
struct Settling {
    /// Bytes that the next fall is measured from: those after the last one.
    fallen_to: u64,
    steady: u32,
}

impl Settling {
    fn from(bytes: u64) -> Self {
        Self { fallen_to: bytes, steady: 0 }
    }

    /// A slow fall counts as soon as all of it since the last one is large enough.
    fn look(&mut self, bytes: u64) {
        if bytes < self.fallen_to - self.fallen_to / FALL {
            *self = Self::from(bytes);
        } else {
            self.steady += 1;
        }
    }

    fn is_over(&self) -> bool {
        self.steady >= STEADY_LOOKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many looks it takes when each finds what `bytes` says.
    fn looks(bytes: impl Fn(u64) -> u64) -> u64 {
        let mut settling = Settling::from(bytes(0));
        (1..1000)
            .find(|look| {
                settling.look(bytes(*look));
                settling.is_over()
            })
            .expect("it settles")
    }

    #[test]
    fn it_settles_once_it_has_stopped_to_fall() {
        let steady = u64::from(STEADY_LOOKS);
        let mib = 1 << 20;
        type Case<'a> = (&'a str, u64, &'a dyn Fn(u64) -> u64);
        let cases: [Case; 6] = [
            ("at rest", 0, &|_| 100 * mib),
            ("a page up and down", 0, &|look| 100 * mib + look % 2 * 4096),
            ("it grows", 0, &|look| (100 + look) * mib),
            ("it falls for twenty looks", 20, &|look| (100 - look.min(20)) * mib),
            // A fall in steps that are too small to see one by one: 0.2 % is reached at every third look.
            ("it falls slowly", 30, &|look| 100 * mib - look.min(30) * 80 * 1024),
            ("nothing is left", 1, &|look| if look == 0 { mib } else { 0 }),
        ];
        for (name, last_fall, bytes) in cases {
            assert_eq!(looks(bytes), last_fall + steady, "{name}");
        }
    }
}
