//! What permessage-deflate costs and saves: bytes before and after, CPU for a message each way, memory of the two streams.
//!
//! `cargo bench --bench deflate`. Times are what the thread ran (CLOCK_THREAD_CPUTIME_ID), the best of several runs. Memory is counted by
//! the allocator of this program; what the gateway tells of its loops (`wire/deflate`) is asserted against it.

#![allow(clippy::unwrap_used, reason = "a bench that fails should say where")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use holdfast::wire::deflate::{Deflater, Inflater, Window};
use nix::time::{ClockId, clock_gettime};

/// Runs of each measure; the best one counts.
const RUNS: usize = 7;
/// Bytes inflated or deflated in a run, about.
const RUN_BYTES: usize = 4 << 20;

/// The system's allocator, and how much of it is in use.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
#[allow(unsafe_code, reason = "an allocator that counts can be had in no other way")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A reply as an agent writes it: a list of files, half of it the same in each entry.
fn reply(bytes: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut out = br#"{"jsonrpc":"2.0","id":"69e2813a90ea2456","result":{"files":["#.to_vec();
    while out.len() < bytes {
        let (size, number, hash) = (rng.u32(..1 << 24), rng.u16(..), rng.u64(..));
        let entry = format!(
            r#"{{"path":"/var/log/service-{}/part-{number}.log","size":{size},"mode":"0640","owner":"service","hash":"{hash:016x}"}},"#,
            number % 7
        );
        out.extend_from_slice(entry.as_bytes());
    }
    out.truncate(bytes - 3);
    out.extend_from_slice(b"]}}");
    out
}

/// CPU for one step, the best of several runs.
fn took(steps: usize, mut step: impl FnMut()) -> Duration {
    let ran = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let mut best = Duration::MAX;
    for _ in 0..RUNS {
        let before = ran();
        (0..steps).for_each(|_| step());
        best = best.min(ran() - before);
    }
    best / u32::try_from(steps).unwrap()
}

fn main() {
    // `cargo test --all-targets` runs this too, in a build whose times say nothing.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    memory();
    println!(
        "\n| message, bytes | level | window | compressed | deflate, µs | inflate, µs |\n|---|---|---|---|---|---|"
    );
    for bytes in [256, 1024, 4096, 16_384, 65_536] {
        for level in [1, 6, 9] {
            row(bytes, level, Window::LARGEST);
        }
        row(bytes, 1, Window::of_bits(9).unwrap());
    }
    bomb();
}

fn memory() {
    let live = || LIVE.load(Ordering::Relaxed);
    let message = reply(4096);
    let (mut inflater, mut deflater) = (Inflater::default(), Deflater::default());
    let before = live();
    let compressed = deflater.deflate(&message, Window::LARGEST, 1).unwrap().to_vec();
    let deflate_bytes = live() - before - compressed.capacity();
    let before = live();
    inflater.inflate(&compressed, 4096, |_| Ok(())).unwrap();
    let inflate_bytes = live() - before;
    println!(
        "a deflater holds {deflate_bytes} bytes (told: {}), an inflater {inflate_bytes} (told: {})",
        deflater.bytes(),
        inflater.bytes()
    );
    for (held, told) in [(deflate_bytes, deflater.bytes()), (inflate_bytes, inflater.bytes())] {
        assert!(held.abs_diff(told) < held / 10, "what is told is what is held");
    }
}

fn row(bytes: usize, level: u32, window: Window) {
    let message = reply(bytes);
    let (mut inflater, mut deflater) = (Inflater::default(), Deflater::default());
    let Some(compressed) = deflater.deflate(&message, window, level).map(<[u8]>::to_vec) else {
        return println!("| {bytes} | {level} | {} | stays | | |", window.bits());
    };
    let steps = RUN_BYTES / bytes;
    let deflate = took(steps, || {
        black_box(deflater.deflate(black_box(&message), window, level));
    });
    let inflate = took(steps, || inflater.inflate(black_box(&compressed), 1 << 20, |_| Ok(())).unwrap());
    println!(
        "| {bytes} | {level} | {} | {} ({} %) | {:.1} | {:.1} |",
        window.bits(),
        compressed.len(),
        100 * compressed.len() / bytes,
        deflate.as_nanos() as f64 / 1000.0,
        inflate.as_nanos() as f64 / 1000.0
    );
}

/// What a message that inflates to the largest there may be costs: the least bytes for the most work.
fn bomb() {
    let (mut inflater, mut deflater) = (Inflater::default(), Deflater::default());
    let bomb = deflater.deflate(&vec![0; 16 << 20], Window::LARGEST, 9).unwrap().to_vec();
    let inflate = took(10, || {
        assert!(inflater.inflate(black_box(&bomb), 1 << 20, |_| Ok(())).is_err(), "it is over the limit");
    });
    println!("\na bomb of {} bytes ends after {:.0} µs at 1 MiB", bomb.len(), inflate.as_nanos() as f64 / 1000.0);
}
