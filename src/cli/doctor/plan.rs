//! How many threads there would be, with how much memory, and how agents fall on loops.
//!
//! Pure functions; owns the arithmetic that several limits share.

use super::machine::Machine;
use crate::config::Settings;
use crate::config::derived::{Derived, derive};
use crate::config::host::Host;
use crate::kit::budget::BudgetLimit;

/// What the settings make of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Event loops.
    pub loops: u64,
    /// Worker threads.
    pub workers: u64,
    /// Memory above which nobody else is let in.
    pub budget: BudgetLimit,
}

impl Plan {
    /// The threads that `serve` would start here, and the memory that it would allow itself.
    #[must_use]
    pub fn of(machine: &Machine, settings: &Settings) -> Self {
        let Derived { loops, workers, budget, .. } = derived(machine, settings);
        let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Self { loops: wide(loops), workers: wide(workers), budget }
    }
}

/// What the gateway itself would reckon here.
#[must_use]
pub fn derived(machine: &Machine, settings: &Settings) -> Derived {
    let host = Host {
        descriptors: machine.descriptors.unwrap_or(u64::MAX),
        cores: usize::try_from(machine.cores).unwrap_or(usize::MAX),
        memory_bytes: machine.memory_total.unwrap_or(u64::MAX),
    };
    derive(settings, &host)
}

/// Connections of the fullest of `loops`: the kernel spreads them by a hash, so four standard deviations above the even
/// share. A loop that is full refuses, whatever room another has.
#[must_use]
pub fn fullest(agents: u64, loops: u64) -> u64 {
    let share = agents.div_ceil(loops.max(1));
    if loops <= 1 { share } else { share.saturating_add(share.isqrt().saturating_mul(4)) }
}

/// The most agents for which `fits` holds, which must hold for all below and for none above.
#[must_use]
pub fn most(fits: impl Fn(u64) -> bool) -> u64 {
    // More than all loops of a process can hold.
    let (mut yes, mut no) = (0, 1 << 33);
    while no - yes > 1 {
        let middle = yes + (no - yes) / 2;
        if fits(middle) {
            yes = middle;
        } else {
            no = middle;
        }
    }
    yes
}
