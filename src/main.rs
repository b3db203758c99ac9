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

/// Returns what this thread's heap does not use, and what the C library's does not: the keys of TLS handshakes are allocated there by
/// aws-lc, which is written in C.
#[allow(unsafe_code, reason = "both allocators offer it as a C function alone")]
fn give_back() {
    // SAFETY: it takes no pointer, and any thread may call it at any time.
    unsafe { libmimalloc_sys::mi_collect(true) }
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number of bytes to keep, locks what it touches, and any thread may call it at any time.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

/// mimalloc, with a count of the bytes that were asked for. It is built without its own statistics, and those would not
/// tell live bytes from kept ones. A count is one addition to a thread's own cell, 1 to 2 ns.
///
/// [`MiMalloc`] asks for every block with its alignment, and mimalloc 3.3 then gives a block above 1 KiB that fills its size class
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
// SAFETY: each method asks mimalloc for a block of the same size, and returns what that returned; the count beside it allocates
// nothing and does not panic. A block is aligned as asked: where the alignment is left out, mimalloc aligns a block of 16 bytes or
// more to 16 (MI_MAX_ALIGN_SIZE), and a smaller one to the power of two below its size. All of its doors free each other's blocks.
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

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).expect("a layout")
    }

    #[test]
    #[allow(unsafe_code, reason = "an allocator has no safe door")]
    fn a_block_is_aligned_as_asked_and_no_larger_than_its_class() {
        for (size, align) in
            [(2560, 8), (4096, 16), (3072, 1), (262_144, 8), (1, 1), (8, 8), (8, 16), (24, 64), (4096, 4096)]
        {
            for zeroed in [false, true] {
                let layout = layout(size, align);
                // SAFETY: the layout is of some bytes, and the block is freed with the layout that it was asked for with.
                let (address, room) = unsafe {
                    let block = if zeroed { ALLOCATOR.alloc_zeroed(layout) } else { ALLOCATOR.alloc(layout) };
                    let room = libmimalloc_sys::mi_usable_size(block.cast());
                    assert!(!zeroed || (0..size).all(|at| *block.add(at) == 0), "{size} {align}");
                    ALLOCATOR.dealloc(block, layout);
                    (block.addr(), room)
                };
                assert_eq!(address % align, 0, "{size} {align}");
                assert!(align > ALIGNED_ANYHOW || size < 1024 || room == size, "{size} has {room}");
            }
        }
    }

    #[test]
    #[allow(unsafe_code, reason = "an allocator has no safe door")]
    fn a_block_keeps_its_bytes_and_its_alignment_whatever_it_grows_or_shrinks_to() {
        // Across the doors: where the size is below the alignment, and back.
        for (align, sizes) in [(16, [8, 16, 8, 2560, 12]), (8, [2560, 4, 3072, 9, 2560]), (64, [24, 100, 64, 8, 4096])]
        {
            let mut before = layout(sizes[0], align);
            // SAFETY: each call names the layout that the block has, and no more bytes are touched than both layouts have.
            unsafe {
                let mut block = ALLOCATOR.alloc(before);
                block.write_bytes(0xA5, before.size());
                for size in sizes {
                    block = ALLOCATOR.realloc(block, before, size);
                    assert_eq!(block.addr() % align, 0, "{size} {align}");
                    assert!((0..size.min(before.size())).all(|at| *block.add(at) == 0xA5), "{size} {align}");
                    block.write_bytes(0xA5, size);
                    before = layout(size, align);
                }
                ALLOCATOR.dealloc(block, before);
            }
        }
    }
}
