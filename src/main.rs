//! The program; all of it is in the library's [`runpool::cli`].

use std::alloc::{GlobalAlloc, Layout};
use std::process::ExitCode;

use libmimalloc_sys::{mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc, mi_zalloc_aligned};

/// glibc's allocator gives large blocks back and takes them again for every call; this one keeps them by thread.
#[global_allocator]
static ALLOCATOR: Mimalloc = Mimalloc;

/// mimalloc, asked for an alignment only where it is not had anyway. Its crate asks for it always, and then of most sizes more is taken than is needed, by a longer way, as soon
/// as no free block of them is at hand (`mi_theap_malloc_zero_aligned_at_overalloc`, version 3).
struct Mimalloc;

/// What blocks are aligned to that are as large (`MI_MAX_ALIGN_SIZE`).
const ALIGNED_ANYWAY: usize = 16;

const fn is_aligned_anyway(layout: Layout) -> bool {
    layout.align() <= ALIGNED_ANYWAY && layout.align() <= layout.size()
}

// SAFETY: each block comes from mimalloc, as large and as aligned as was asked for, and goes back to it.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Mimalloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let block = unsafe {
            if is_aligned_anyway(layout) { mi_malloc(layout.size()) } else { mi_malloc_aligned(layout.size(), layout.align()) }
        };
        block.cast()
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let block = unsafe {
            if is_aligned_anyway(layout) { mi_zalloc(layout.size()) } else { mi_zalloc_aligned(layout.size(), layout.align()) }
        };
        block.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        unsafe { mi_free(block.cast()) };
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let is_aligned = layout.align() <= ALIGNED_ANYWAY && layout.align() <= size;
        let block = block.cast();
        let block = unsafe { if is_aligned { mi_realloc(block, size) } else { mi_realloc_aligned(block, size, layout.align()) } };
        block.cast()
    }
}

fn main() -> ExitCode {
    runpool::cli::main()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(unsafe_code)]
    fn blocks_are_aligned_as_asked_and_keep_what_is_in_them_whatever_becomes_of_their_size() {
        let mut held = Vec::new();
        for align in [1, 2, 4, 8, 16, 32, 64, 128, 4_096] {
            for size in (1..200).chain([255, 256, 257, 640, 1_000, 1_024, 1_025, 1_500, 4_097, 70_000, 3_000_000]) {
                let layout = Layout::from_size_align(size, align).unwrap();
                let grown = Layout::from_size_align(size * 3, align).unwrap();
                // SAFETY: the sizes are not zero; each block is written within its size, and goes back by the layout that it has then.
                unsafe {
                    let block = ALLOCATOR.alloc(layout);
                    block.write_bytes(0x5a, size);
                    let larger = ALLOCATOR.realloc(block, layout, size * 3);
                    let smaller = ALLOCATOR.realloc(larger, grown, size);
                    let zeroed = ALLOCATOR.alloc_zeroed(layout);
                    for (made, byte) in [(smaller, 0x5a), (zeroed, 0)] {
                        assert!(made.addr().is_multiple_of(align), "{made:?} of {size} bytes is not aligned to {align}");
                        assert!((0..size).all(|at| made.add(at).read() == byte), "{size} bytes aligned to {align}");
                        held.push((made, layout));
                    }
                }
            }
        }
        for (block, layout) in held {
            // SAFETY: as above.
            unsafe { ALLOCATOR.dealloc(block, layout) };
        }
    }
}
