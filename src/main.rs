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
///
/// [`MiMalloc`] asks for every block with its alignment, and mimalloc 2.3 then gives a block above 1 KiB that fills its size class
/// (2,560 bytes, say) one of the next class: a fifth of the tables of agents and connections was never used. What is aligned
/// anyhow is asked for without.
struct Counting(MiMalloc);

/// What mimalloc aligns every block of at least as many bytes to.
const ALIGNED_ANYHOW: usize = 16;

fn is_aligned_anyhow(size: usize, align: usize) -> bool {
    align <= ALIGNED_ANYHOW && align <= size
}

// No layout is longer than `isize::MAX`, so no length changes its sign.
#[allow(unsafe_code, reason = "an allocator can be wrapped in no other way")]
// SAFETY: each method hands its arguments on to mimalloc, under the same contract, and returns what that returned; the
// count beside it allocates nothing and does not panic. A block is aligned as asked: to 16 where nothing is said of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let block = if is_aligned_anyhow(layout.size(), layout.align()) {
            // SAFETY: it may be called at any time.
            unsafe { libmimalloc_sys::mi_malloc(layout.size()) }.cast()
        } else {
            // SAFETY: the caller keeps the contract of this very method.
            unsafe { self.0.alloc(layout) }
        };
        counted(block, layout.size() as isize)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let block = if is_aligned_anyhow(layout.size(), layout.align()) {
            // SAFETY: as above.
            unsafe { libmimalloc_sys::mi_zalloc(layout.size()) }.cast()
        } else {
            // SAFETY: as above.
            unsafe { self.0.alloc_zeroed(layout) }
        };
        counted(block, layout.size() as isize)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        memory::count(-(layout.size() as isize));
        // SAFETY: as above; `block` came from mimalloc, through this allocator.
        unsafe { self.0.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let moved = if is_aligned_anyhow(size, layout.align()) {
            // SAFETY: as above.
            unsafe { libmimalloc_sys::mi_realloc(block.cast(), size) }.cast()
        } else {
            // SAFETY: as above.
            unsafe { self.0.realloc(block, layout, size) }
        };
        counted(moved, size as isize - layout.size() as isize)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(unsafe_code, reason = "an allocator has no safe door")]
    fn a_block_is_aligned_as_asked_and_no_larger_than_its_class() {
        for (size, align) in
            [(2560, 8), (4096, 16), (3072, 1), (262_144, 8), (1, 1), (8, 8), (8, 16), (24, 64), (4096, 4096)]
        {
            let layout = Layout::from_size_align(size, align).expect("a layout");
            // SAFETY: the layout is of some bytes, and the block is freed with the layout that it had last.
            let (addresses, room) = unsafe {
                let block = ALLOCATOR.alloc_zeroed(layout);
                let room = libmimalloc_sys::mi_usable_size(block.cast());
                let grown = ALLOCATOR.realloc(block, layout, size + 1);
                ALLOCATOR.dealloc(grown, Layout::from_size_align(size + 1, align).expect("a layout"));
                ([block.addr(), grown.addr()], room)
            };
            assert!(addresses.iter().all(|address| address % align == 0), "{size} {align}");
            assert!(align > ALIGNED_ANYHOW || size < 1024 || room == size, "{size} has {room}");
        }
    }
}
