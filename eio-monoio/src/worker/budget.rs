//! Bytes that the process holds for its peers, against a budget: unfinished messages, and queues.
//!
//! A static, because the budget is that of the process. Threads add to it in batches: small changes cost no access to
//! memory that threads share, and the sum is inexact by [`BATCH`] bytes for each thread.

use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, Ordering};

use eio_core::buffer::RecvBuffer;

static HELD: AtomicIsize = AtomicIsize::new(0);

/// The change of a thread that is not added to [`HELD`] yet is below this.
const BATCH: usize = 256 * 1024;

thread_local! {
    static CHANGE: Cell<isize> = const { Cell::new(0) };
}

/// A receive buffer up to this size is not counted, and is available above the budget.
pub(crate) const SMALL_BUFFER: usize = 8 * 1024;

/// The high-water marks of a session above the budget.
pub(crate) const SMALL_QUEUE: usize = 64 * 1024;

fn change(bytes: isize) {
    let sum = CHANGE.get().wrapping_add(bytes);
    if sum.unsigned_abs() < BATCH {
        return CHANGE.set(sum);
    }
    CHANGE.set(0);
    HELD.fetch_add(sum, Ordering::Relaxed);
}

/// Counts bytes until [`release`].
pub(crate) fn hold(bytes: usize) {
    change(bytes as isize);
}

pub(crate) fn release(bytes: usize) {
    change((bytes as isize).wrapping_neg());
}

/// Adds the change of this thread at its end, when its last buffers are dropped.
pub(crate) struct FlushOnDrop;

impl Drop for FlushOnDrop {
    fn drop(&mut self) {
        HELD.fetch_add(CHANGE.replace(0), Ordering::Relaxed);
    }
}

/// The bytes that the process holds.
pub(crate) fn held() -> usize {
    usize::try_from(HELD.load(Ordering::Relaxed)).unwrap_or(0)
}

/// Counts a number of bytes that changes.
#[derive(Default)]
pub(crate) struct Held(usize);

impl Held {
    pub(crate) fn set(&mut self, bytes: usize) {
        hold(bytes);
        release(std::mem::replace(&mut self.0, bytes));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        release(self.0);
    }
}

/// A receive buffer whose storage counts.
pub(crate) type RecvBytes = RecvBuffer<RecvStorage>;

/// The storage of a receive buffer, which counts unless it is [small](SMALL_BUFFER).
pub(crate) struct RecvStorage(Vec<u8>);

impl RecvStorage {
    pub(crate) fn new(storage: Vec<u8>) -> Self {
        hold(counted(&storage));
        Self(storage)
    }

    pub(crate) fn into_vec(mut self) -> Vec<u8> {
        release(counted(&self.0));
        std::mem::take(&mut self.0)
    }
}

/// No storage, which does not count.
impl Default for RecvStorage {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl Drop for RecvStorage {
    fn drop(&mut self) {
        release(counted(&self.0));
    }
}

impl AsRef<[u8]> for RecvStorage {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl AsMut<[u8]> for RecvStorage {
    #[inline]
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

fn counted(storage: &Vec<u8>) -> usize {
    let capacity = storage.capacity();
    if capacity > SMALL_BUFFER { capacity } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The change of this thread that is not added yet.
    fn pending() -> isize {
        CHANGE.get()
    }

    #[test]
    fn storage_counts_until_it_is_dropped_or_taken() {
        let before = pending();
        let large = RecvStorage::new(vec![0; 100_000]);
        let small = RecvStorage::new(vec![0; SMALL_BUFFER]);
        assert_eq!(pending() - before, 100_000);
        assert_eq!(large.into_vec().len(), 100_000);
        assert_eq!(pending(), before);
        drop((RecvStorage::new(vec![0; 20_000]), small, RecvStorage::default()));
        assert_eq!(pending(), before);
    }

    #[test]
    fn large_changes_are_visible_to_all_threads() {
        // Other tests hold less than this.
        const LARGE: usize = 1 << 40;
        hold(LARGE);
        assert!(held() > LARGE / 2);
        release(LARGE);
        assert!(held() < LARGE / 2);
    }
}
