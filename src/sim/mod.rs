//! The real event loop, workers' code, directory and calls on a simulated kernel, in one thread and in virtual time.
//!
//! A seed decides everything: peers, callers, faults, and who goes on next. `docs/testing.md` says how to run one.

mod agent;
mod backend;
mod check;
mod client;
mod ending;
mod faults;
mod frames;
mod io;
mod kernel;
mod setup;
mod socket;
mod turn;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use kernel::Trace;
use world::World;

/// Seeds of an ordinary sweep.
const SEEDS: u64 = 240;

/// Runs one seed to its end; a number that equal runs share.
fn run(seed: u64, trace: Trace) -> u64 {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed, trace);
        world.run();
        world.digest()
    }));
    outcome.unwrap_or_else(|cause| {
        println!("seed {seed} fails; to see it: HOLDFAST_SIM_SEED={seed} cargo test --lib sim::seeds -- --nocapture");
        resume_unwind(cause)
    })
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn seeds() {
    if let Some(seed) = number("HOLDFAST_SIM_SEED") {
        println!("seed {seed}: digest {:016x}", run(seed, Trace::Printed));
        return;
    }
    for seed in 0..number("HOLDFAST_SIM_SEEDS").unwrap_or(SEEDS) {
        run(seed, Trace::Quiet);
    }
}

#[test]
fn a_seed_repeats_exactly() {
    for seed in [1, 2, 3] {
        assert_eq!(
            run(seed, Trace::Quiet),
            run(seed, Trace::Quiet),
            "seed {seed}"
        );
    }
}
