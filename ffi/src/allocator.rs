//! Memory that is overwritten with zeros when it is given back.
//!
//! Prompts and answers pass through many short-lived buffers: texts, tokens, activations, logits. In the shared library all of them come
//! from this allocator, so none is left for a later reader of the process's memory or of a core dump. What loading a model frees holds
//! no more than its files do and is not overwritten, for the sake of the time to the first token.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Whether this thread is loading a model.
    static LOADING: Cell<bool> = const { Cell::new(false) };
}

/// Runs `load`. What this thread frees meanwhile is not overwritten.
pub(crate) fn without_wiping<T>(load: impl FnOnce() -> T) -> T {
    /// Also after a panic.
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            LOADING.set(self.0);
        }
    }
    let _restore = Restore(LOADING.replace(true));
    load()
}

/// An allocator that overwrites what it frees.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct WipingAllocator<A = System>(A);

impl WipingAllocator {
    /// One on top of the system's allocator.
    #[must_use]
    pub(crate) const fn system() -> Self {
        Self(System)
    }
}

/// Overwrites memory that nothing will read, in a way that the compiler keeps.
///
/// # Safety
/// `bytes` bytes from `memory` on can be written.
unsafe fn wipe(memory: *mut u8, bytes: usize) {
    // SAFETY: the caller's promise.
    unsafe { memory.write_bytes(0, bytes) };
    // Who sees the pointer here could read the memory, so the writes have to be done.
    std::hint::black_box(memory);
}

// SAFETY: every call is handed on to an allocator that keeps the contract; what is added writes only to memory that the caller is giving
// back, or copies it to memory that is large enough.
unsafe impl<A: GlobalAlloc> GlobalAlloc for WipingAllocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller gives back `layout.size()` bytes that it does not use any more.
        unsafe {
            if !LOADING.get() {
                wipe(memory, layout.size());
            }
            self.0.dealloc(memory, layout);
        }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if LOADING.get() {
            // SAFETY: the caller's promise.
            return unsafe { self.0.realloc(memory, layout, new_size) };
        }
        // The system's own function could move the contents and leave a copy behind.
        // SAFETY: the caller promises that `new_size`, rounded up to the alignment, does not overflow.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        // SAFETY: `new_size` is not zero, by the caller's promise.
        let moved = unsafe { self.0.alloc(new_layout) };
        if !moved.is_null() {
            // SAFETY: both are at least that long, and a new allocation overlaps none.
            unsafe {
                moved.copy_from_nonoverlapping(memory, layout.size().min(new_size));
                self.dealloc(memory, layout);
            }
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Counts what is given back, and fails where that is not all zeros.
    #[derive(Default)]
    struct Watching {
        freed: AtomicUsize,
        dirty: AtomicUsize,
    }

    // SAFETY: hands every call on to the system's allocator.
    unsafe impl GlobalAlloc for Watching {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: the caller's promise.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
            // SAFETY: the memory is still the caller's.
            let bytes = unsafe { std::slice::from_raw_parts(memory, layout.size()) };
            self.freed.fetch_add(layout.size(), Ordering::Relaxed);
            self.dirty.fetch_add(bytes.iter().filter(|byte| **byte != 0).count(), Ordering::Relaxed);
            // SAFETY: the caller's promise.
            unsafe { System.dealloc(memory, layout) }
        }
    }

    #[test]
    fn memory_is_zero_when_it_is_given_back_and_kept_when_it_moves() {
        let allocator = WipingAllocator(Watching::default());
        for (size, new_size) in [(1, 100), (100, 1), (4096, 1 << 20), (1 << 20, 63)] {
            let layout = Layout::from_size_align(size, 16).unwrap();
            let new_layout = Layout::from_size_align(new_size, 16).unwrap();
            // SAFETY: the layouts are not empty, every access lies inside them, and each block is given back once.
            unsafe {
                let memory = allocator.alloc(layout);
                memory.write_bytes(7, size);
                let moved = allocator.realloc(memory, layout, new_size);
                let kept = std::slice::from_raw_parts(moved, size.min(new_size));
                assert!(kept.iter().all(|byte| *byte == 7), "{size} to {new_size}");
                moved.write_bytes(9, new_size);
                allocator.dealloc(moved, new_layout);
            }
        }
        assert_eq!(
            allocator.0.freed.load(Ordering::Relaxed),
            1 + 100 + 100 + 1 + 4096 + (1 << 20) + (1 << 20) + 63
        );
        assert_eq!(allocator.0.dirty.load(Ordering::Relaxed), 0);
        // Nothing but what loading a model frees is left as it is, whether loading ends well or not.
        let fill_and_free = || {
            let layout = Layout::from_size_align(64, 16).unwrap();
            // SAFETY: as above.
            unsafe {
                let memory = allocator.alloc(layout);
                memory.write_bytes(7, 64);
                allocator.dealloc(memory, layout);
            }
            allocator.0.dirty.load(Ordering::Relaxed)
        };
        assert_eq!(without_wiping(fill_and_free), 64);
        assert_eq!(fill_and_free(), 64);
        let panicked = std::panic::catch_unwind(|| without_wiping(|| panic!("a defect")));
        assert!(panicked.is_err());
        assert_eq!(fill_and_free(), 64);
    }
}
