//! The `holdfast` program: the allocator, and a door to the command line.

use std::process::ExitCode;

/// Gives memory back after a burst, which glibc's allocator does not.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    holdfast::kit::memory::set_give_back(give_back);
    holdfast::cli::run()
}

/// Returns what this thread's heap does not use.
#[allow(unsafe_code, reason = "the allocator offers it as a C function alone")]
fn give_back() {
    // SAFETY: it takes no pointer, and any thread may call it at any time.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
