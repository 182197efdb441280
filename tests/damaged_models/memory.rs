//! What a thread allocates, counted by the allocator of this test binary.
//!
//! Mapped files do not count. Engines of these tests have one thread, so that all of their work counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Allocations above this fail, so that a test that goes wrong ends before the machine's memory does.
const REFUSED: usize = 4 << 30;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a piece of work allocated, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// The largest single allocation.
    pub(super) largest: usize,
    /// The most that was held at a time, beyond what was held before.
    pub(super) peak: usize,
}

/// Runs `work` and tells what this thread allocated meanwhile.
pub(super) fn measure<T>(work: impl FnOnce() -> T) -> (T, Usage) {
    let before = HELD.get();
    PEAK.set(before);
    LARGEST.set(0);
    let result = work();
    let peak = usize::try_from(PEAK.get() - before).unwrap_or(0);
    (result, Usage { largest: LARGEST.get(), peak })
}

fn count(more: usize, less: usize) {
    // Threads that end have no counters any more.
    let _ = HELD.try_with(|held| {
        let now = held.get() + more as isize - less as isize;
        held.set(now);
        PEAK.set(PEAK.get().max(now));
        LARGEST.set(LARGEST.get().max(more));
    });
}

// SAFETY: every call is passed on to the system's allocator, whose blocks are returned as they are. The counters are plain cells
// that allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > REFUSED {
            return std::ptr::null_mut();
        }
        count(layout.size(), 0);
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() > REFUSED {
            return std::ptr::null_mut();
        }
        count(layout.size(), 0);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: as above; the block came from the system's allocator.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > REFUSED {
            return std::ptr::null_mut();
        }
        count(size, layout.size());
        // SAFETY: as above; the block came from the system's allocator.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[test]
fn allocations_are_counted() {
    let (_, usage) = measure(|| {
        let first = vec![1_u8; 1 << 20];
        drop(first);
        let mut second = vec![1_u8; 1 << 10];
        second.reserve_exact(2 << 20);
        second
    });
    assert_eq!(usage.largest, (2 << 20) + (1 << 10));
    assert!(usage.peak >= usage.largest && usage.peak < 3 << 20, "{usage:?}");
}
