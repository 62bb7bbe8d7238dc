//! A global allocator that counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that the process has allocated and not freed.
pub(crate) fn live_bytes() -> usize {
    LIVE.load(Ordering::Relaxed)
}

/// Allocations of the process, including reallocations.
pub(crate) fn calls() -> usize {
    CALLS.load(Ordering::Relaxed)
}

/// Bytes that this thread has allocated and not freed.
pub(crate) fn live_bytes_of_thread() -> isize {
    THREAD_LIVE.get()
}

/// Allocations of this thread, including reallocations.
pub(crate) fn calls_of_thread() -> usize {
    THREAD_CALLS.get()
}

static LIVE: AtomicUsize = AtomicUsize::new(0);
static CALLS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static THREAD_LIVE: Cell<isize> = const { Cell::new(0) };
    static THREAD_CALLS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(calls: usize, added: usize, removed: usize) {
    CALLS.fetch_add(calls, Ordering::Relaxed);
    LIVE.fetch_add(added, Ordering::Relaxed);
    LIVE.fetch_sub(removed, Ordering::Relaxed);
    // A thread that ends has no counters any more.
    _ = THREAD_CALLS.try_with(|counter| counter.set(counter.get() + calls));
    let change = added as isize - removed as isize;
    _ = THREAD_LIVE.try_with(|counter| counter.set(counter.get() + change));
}

// SAFETY: every call is passed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size(), 0);
        // SAFETY: the caller's guarantee about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, 0, layout.size());
        // SAFETY: the pointer came from `alloc` above, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size, layout.size());
        // SAFETY: the pointer came from `alloc` above, with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
