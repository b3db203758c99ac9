//! The real event loop, workers' code, directory and calls on a simulated kernel, in one thread and in virtual time.
//!
//! A seed decides everything: peers, callers, faults, and who goes on next. `docs/testing.md` says how to run one.

mod agent;
mod audit;
mod backend;
mod callers;
mod check;
mod client;
mod early;
mod ending;
mod expiring;
mod faults;
mod frames;
mod io;
mod kept;
mod kernel;
mod life;
mod line;
mod link;
mod overload;
mod rates;
mod records;
mod secure;
mod setup;
mod socket;
mod turn;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use kernel::Trace;
use world::{Report, World};

/// Seeds of an ordinary sweep.
const SEEDS: u64 = 300;

/// Runs one seed to its end.
fn run(seed: u64, trace: Trace) -> Report {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed, trace);
        world.run();
        world.report()
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
        println!("seed {seed}: {:?}", run(seed, Trace::Printed));
        return;
    }
    let (mut outcomes, mut secured) = (BTreeMap::new(), 0);
    for seed in 0..number("HOLDFAST_SIM_SEEDS").unwrap_or(SEEDS) {
        let report = run(seed, Trace::Quiet);
        secured += report.secured;
        for (label, calls) in report.outcomes {
            *outcomes.entry(label).or_insert(0) += calls;
        }
    }
    println!("{outcomes:?}, {secured} TLS connections");
    assert!(secured > 500, "TLS has its share: {secured} connections");
    assert_eq!(outcomes.len(), 20, "every outcome is reached, over HTTP and over links");
}

#[test]
fn a_seed_repeats_exactly() {
    for seed in [1, 2, 3] {
        assert_eq!(run(seed, Trace::Quiet), run(seed, Trace::Quiet), "seed {seed}");
    }
}
