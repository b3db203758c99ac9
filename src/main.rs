//! The `holdfast` program: the allocator, and a door to the command line.

use std::process::ExitCode;

/// Gives memory back after a burst, which glibc's allocator does not.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    holdfast::cli::run()
}
