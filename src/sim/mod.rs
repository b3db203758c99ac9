//! The real event loop, workers' code, directory and calls on a simulated kernel, in one thread and in virtual time.
//!
//! A seed decides everything: peers, callers, faults, and who goes on next. `docs/testing.md` says how to run one.

mod agent;
mod asking;
mod audit;
mod backend;
mod budgets;
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
mod packed;
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
    let (mut outcomes, mut secured, mut packed, mut shed) = (BTreeMap::new(), 0, [0; 2], [0; 2]);
    for seed in 0..number("HOLDFAST_SIM_SEEDS").unwrap_or(SEEDS) {
        let report = run(seed, Trace::Quiet);
        secured += report.secured;
        (0..2).for_each(|at| (packed[at], shed[at]) = (packed[at] + report.packed[at], shed[at] + report.shed[at]));
        for (label, calls) in report.outcomes {
            *outcomes.entry(label).or_insert(0) += calls;
        }
    }
    println!("{outcomes:?}, {secured} TLS connections, messages compressed {packed:?}, calls shed {shed:?}");
    assert!(secured > 500, "TLS has its share: {secured} connections");
    assert!(packed.iter().all(|messages| *messages > 2000), "compression has its share, in and out: {packed:?}");
    assert!(shed.iter().all(|calls| *calls > 5), "queues are cut, plain ones and those of TLS: {shed:?}");
    assert_eq!(outcomes.len(), 20, "every outcome is reached, over HTTP and over links");
}

#[test]
fn a_seed_repeats_exactly() {
    for seed in [1, 2, 3] {
        assert_eq!(run(seed, Trace::Quiet), run(seed, Trace::Quiet), "seed {seed}");
    }
}
