//! What TLS costs a connection: bytes at rest, during the handshake and as a live rustls session; CPU of a handshake and of a
//! record, with keys derived for each record, with key and IV kept, with a ready cipher, and by rustls, in the same run.
//!
//! `cargo bench --bench tls`; with `-- --live 15000` it prints the bytes of a live rustls session alone, of so many. Times are what the thread ran (CLOCK_THREAD_CPUTIME_ID), the best of several runs. Bytes are what
//! a process of its own grew by, since what C allocates shows nowhere else.

mod handshakes;
mod memory;
mod peer;
mod records;

use std::time::Duration;

use holdfast::net::tls::suite::Suite;
use nix::time::{ClockId, clock_gettime};

use self::peer::Identity;

/// As in the gateway.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs of each measure; the best one counts.
const RUNS: usize = 7;
const SUITES: [(Suite, &str); 3] = [
    (Suite::Aes128Gcm, "AES-128-GCM"),
    (Suite::Aes256Gcm, "AES-256-GCM"),
    (Suite::ChaCha20Poly1305, "ChaCha20-Poly1305"),
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test --all-targets` runs this too, in a build whose times say nothing.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let identity = Identity::new();
    if let Some(at) = arguments.iter().position(|argument| argument == memory::ARGUMENT) {
        memory::measure(&identity, &arguments[at + 1..]);
        return;
    }
    if let Some(at) = arguments.iter().position(|argument| argument == memory::LIVE) {
        memory::print_live(&identity, arguments.get(at + 1).expect("how many"));
        return;
    }
    memory::print();
    handshakes::print(&identity);
    records::print(&identity);
}

fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("there is such a clock").into()
}

/// Runs it and says how long that took.
fn timed<T>(run: impl FnOnce() -> T) -> (Duration, T) {
    let before = thread_time();
    let result = run();
    (thread_time() - before, result)
}
