//! The `holdfast` program: the allocator, and a door to the command line.

use std::alloc::{GlobalAlloc, Layout};
use std::process::ExitCode;

use holdfast::kit::memory;
use mimalloc::MiMalloc;

/// Gives memory back after a burst, which glibc's allocator does not, and counts what is in use.
#[global_allocator]
static ALLOCATOR: Counting = Counting(MiMalloc);

fn main() -> ExitCode {
    memory::set_give_back(give_back);
    holdfast::cli::run()
}

/// Returns what this thread's heap does not use.
#[allow(unsafe_code, reason = "the allocator offers it as a C function alone")]
fn give_back() {
    // SAFETY: it takes no pointer, and any thread may call it at any time.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

/// mimalloc, with a count of the bytes that were asked for. It is built without its own statistics, and those would not
/// tell live bytes from kept ones. A count is one addition to a thread's own cell, 1 to 2 ns.
struct Counting(MiMalloc);

// No layout is longer than `isize::MAX`, so no length changes its sign.
#[allow(unsafe_code, reason = "an allocator can be wrapped in no other way")]
// SAFETY: each method hands its arguments on to mimalloc, under the same contract, and returns what that returned; the
// count beside it allocates nothing and does not panic.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of this very method.
        counted(unsafe { self.0.alloc(layout) }, layout.size() as isize)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        counted(unsafe { self.0.alloc_zeroed(layout) }, layout.size() as isize)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        memory::count(-(layout.size() as isize));
        // SAFETY: as above; `block` came from mimalloc, through this allocator.
        unsafe { self.0.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        counted(unsafe { self.0.realloc(block, layout, size) }, size as isize - layout.size() as isize)
    }
}

/// Counts what `block` changed. None was given where it is null, and a count that kept it would hold the budget for ever.
#[inline]
fn counted(block: *mut u8, delta: isize) -> *mut u8 {
    if !block.is_null() {
        memory::count(delta);
    }
    block
}
