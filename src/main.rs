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
