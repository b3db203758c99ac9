//! How long the slowest single step takes while tables grow from nothing to a million agents: the tables of the gateway, and
//! beside them, in the same run, the same things in one table that doubles.
//!
//! `cargo bench --bench growth`. Times are what the thread ran (CLOCK_THREAD_CPUTIME_ID), so that another process on the same core
//! does not count as a pause.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

use hashbrown::HashTable;
use holdfast::directory::{Directory, NewAgent, TenantLimits, TokenMark};
use holdfast::kit::ids::{ConnId, Generations};
use holdfast::kit::slots::Slots;
use holdfast::wire::envelope::Encoding;
use nix::time::{ClockId, clock_gettime};
use slab::Slab;

/// As in the gateway.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const AGENTS: u32 = 1_000_000;

/// As large as a connection's slot.
type Slot = [u64; 8];

/// As large as an agent's entry, with its id in text.
struct Entry {
    id: String,
    _rest: [u64; 2],
}

/// Runs of each. What else the machine does makes a step longer, never shorter: the best run says what the table costs.
const RUNS: usize = 5;

fn main() {
    // `cargo test --all-targets` runs this too, in a build whose times say nothing.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    println!("{:<44}{:>20}{:>16}{:>12}", "from 0 to 1,000,000", "slowest step, best", "median of 5", "all");
    measure("slots, one slab that doubles", || {
        let mut slab: Slab<Slot> = Slab::new();
        move |n| {
            slab.insert([n.into(); 8]);
        }
    });
    measure("slots, chunks of 4,096", || {
        let mut slots: Slots<Slot> = Slots::default();
        move |n| {
            slots.insert([n.into(); 8]);
        }
    });
    measure("directory, one table that doubles", doubling_directory);
    measure("directory, 64 shards", || directory(Labels::None));
    measure("directory, 64 shards, each agent its own labels", || directory(Labels::Own));
    memory(Labels::None);
    memory(Labels::Own);
}

fn ran() -> Duration {
    Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has it"))
}

/// Runs each step alone and prints the slowest.
fn measure<S: FnMut(u32)>(what: &str, make: impl Fn() -> S) {
    let mut runs: Vec<(Duration, Duration)> = (0..RUNS)
        .map(|_| {
            let mut step = make();
            let (mut slowest, begun) = (Duration::ZERO, ran());
            for n in 0..AGENTS {
                let before = ran();
                step(n);
                slowest = slowest.max(ran() - before);
            }
            (slowest, ran() - begun)
        })
        .collect();
    runs.sort_unstable();
    let [best, median] = [runs[0].0, runs[RUNS / 2].0].map(|slowest| slowest.as_secs_f64() * 1e3);
    println!("{what:<48}{best:>13.3} ms{median:>13.3} ms{:>9.0} ms", runs[RUNS / 2].1.as_secs_f64() * 1e3);
}

/// One slab and one hash table that double, hashed as the gateway's are.
fn doubling_directory() -> impl FnMut(u32) {
    let hashing = RandomState::new();
    let mut entries: Slab<Entry> = Slab::new();
    let mut by_name: HashTable<u32> = HashTable::new();
    move |n| {
        let hash = |id: &str| hashing.hash_one((0u32, id));
        let id = name(n);
        let name = hash(&id);
        let known = by_name.find(name, |index| entries[*index as usize].id == id);
        assert!(known.is_none());
        let index = entries.insert(Entry { id, _rest: [0; 2] }) as u32;
        by_name.insert_unique(name, index, |index| hash(&entries[*index as usize].id));
    }
}

/// What the agents carry.
#[derive(Clone, Copy, Debug)]
enum Labels {
    None,
    Own,
}

fn directory(labels: Labels) -> impl FnMut(u32) {
    let directory = Directory::new(TenantLimits { calls: 1, agents: u32::MAX }, 1);
    move |n| join(&directory, labels, n)
}

fn join(directory: &Directory, labels: Labels, n: u32) {
    let labels = match labels {
        Labels::None => Vec::new(),
        Labels::Own => vec![("serial".to_owned(), n.to_string())],
    };
    let (tenant, conn) = (directory.tenant("acme"), ConnId::new(0, n, n));
    let agent = NewAgent {
        tenant,
        id: &name(n),
        labels: &labels,
        methods: None,
        conn,
        encoding: Encoding::Json,
        token: TokenMark::NONE,
    };
    let joined = directory.join(&agent, &Generations::default());
    assert!(joined.is_ok());
}

/// A look at the memory after each thousandth of the way.
fn memory(labels: Labels) {
    let directory = Directory::new(TenantLimits { calls: 1, agents: u32::MAX }, 1);
    let (mut most, mut least) = (0.0f64, f64::MAX);
    let (mut bytes, mut largest_step) = (directory.bytes().sum(), 0);
    for n in 0..AGENTS {
        join(&directory, labels, n);
        if n % 1000 == 999 {
            let now = directory.bytes().sum();
            largest_step = largest_step.max(now.saturating_sub(bytes));
            bytes = now;
            if n >= AGENTS / 10 {
                let each = now as f64 / f64::from(n + 1);
                (most, least) = (most.max(each), least.min(each));
            }
        }
    }
    println!(
        "directory, labels {labels:?}: from 100,000 on {least:.1} to {most:.1} bytes for each agent; 1,000 more take {:.0} KiB at most",
        largest_step as f64 / 1024.0
    );
}

fn name(n: u32) -> String {
    format!("agent-{n:08}")
}
