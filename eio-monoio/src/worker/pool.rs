//! Buffers that come and go: a connection owns one only while bytes wait in it.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll};

use crate::worker::wakers::WakerSlot;

/// What one receive may bring, and the size of a scratch buffer: a message of 64 KiB and its framing, which are
/// otherwise received in two parts and moved in between.
pub(crate) const SCRATCH: usize = 128 * 1024;

const SMALLEST: usize = 4 * 1024;
/// 4 KiB, 8 KiB, ... 1 MiB.
const CLASSES: usize = 9;
/// The largest send buffer that is kept.
const LARGEST_SEND: usize = 128 * 1024;
/// What one class may keep back, in bytes.
const KEPT_PER_CLASS: usize = 1 << 20;
/// What all send buffers may keep back, in bytes.
const KEPT_TO_SEND: usize = 2 << 20;

/// So many bytes freed are worth a thought.
pub(crate) const TRIM_THRESHOLD: usize = 4 << 20;

/// The free buffers of one core.
#[derive(Default)]
pub(crate) struct Pool {
    /// Receive buffers by size class, wholly initialised: `len` is the size.
    receive: RefCell<[Vec<Vec<u8>>; CLASSES]>,
    send: RefCell<Send>,
    /// Bytes of what was too much to be kept.
    freed: Cell<usize>,
    /// Wants to know when that is [`TRIM_THRESHOLD`].
    waiter: WakerSlot,
}

/// Send buffers, empty but with capacity.
#[derive(Default)]
struct Send {
    buffers: Vec<Vec<u8>>,
    /// The sum of their capacities.
    kept: usize,
}

impl Pool {
    /// A receive buffer of at least `size` bytes.
    pub(crate) fn take_receive(&self, size: usize) -> Vec<u8> {
        let Some(class) = class_for(size) else { return vec![0; size] };
        let pooled = self.receive.borrow_mut()[class].pop();
        pooled.unwrap_or_else(|| vec![0; SMALLEST << class])
    }

    /// Takes a receive buffer back; one that never came from here, or is one too many, is freed.
    pub(crate) fn give_receive(&self, buffer: Vec<u8>) {
        let size = buffer.len();
        if let Some(class) = class_for(size) {
            let class_size = SMALLEST << class;
            let buffers = &mut self.receive.borrow_mut()[class];
            if size == class_size && (buffers.len() + 1) * size <= KEPT_PER_CLASS {
                return buffers.push(buffer);
            }
        }
        self.count_freed(size);
    }

    /// An empty send buffer.
    pub(crate) fn take_send(&self) -> Vec<u8> {
        let mut pool = self.send.borrow_mut();
        match pool.buffers.pop() {
            Some(buffer) => {
                pool.kept -= buffer.capacity();
                buffer
            }
            None => Vec::with_capacity(SMALLEST),
        }
    }

    /// Takes a send buffer back.
    pub(crate) fn give_send(&self, mut buffer: Vec<u8>) {
        let mut pool = self.send.borrow_mut();
        let size = buffer.capacity();
        if (1..=LARGEST_SEND).contains(&size) && pool.kept + size <= KEPT_TO_SEND {
            buffer.clear();
            pool.kept += size;
            pool.buffers.push(buffer);
        } else {
            self.count_freed(size);
        }
    }

    fn count_freed(&self, bytes: usize) {
        self.freed.set(self.freed.get() + bytes);
        if self.freed.get() >= TRIM_THRESHOLD {
            self.waiter.wake();
        }
    }

    /// Ready when [`TRIM_THRESHOLD`] was freed.
    pub(crate) fn poll_freed(&self, cx: &Context<'_>) -> Poll<()> {
        if self.freed.get() >= TRIM_THRESHOLD {
            return Poll::Ready(());
        }
        self.waiter.register(cx);
        Poll::Pending
    }

    /// How much was freed since this was asked last.
    pub(crate) fn take_freed(&self) -> usize {
        self.freed.take()
    }

    /// Frees everything that is kept.
    pub(crate) fn empty(&self) {
        self.receive.take();
        self.send.take();
    }
}

fn class_for(size: usize) -> Option<usize> {
    let class = size.max(1).next_power_of_two().max(SMALLEST).ilog2() - SMALLEST.ilog2();
    Some(class as usize).filter(|class| *class < CLASSES)
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_buffer_is_never_smaller_than_asked_for_and_comes_back() {
        let pool = Pool::default();
        for size in [0, 1, 4096, 4097, SCRATCH, 1 << 20, (1 << 20) + 1] {
            let buffer = pool.take_receive(size);
            assert!(buffer.len() >= size);
            let address = buffer.as_ptr();
            pool.give_receive(buffer);
            if size <= 1 << 20 {
                let again = pool.take_receive(size);
                assert_eq!(again.as_ptr(), address, "{size}");
            }
        }
    }

    #[test]
    fn who_waits_hears_of_much_that_was_freed() {
        let pool = Pool::default();
        let cx = Context::from_waker(Waker::noop());
        assert_eq!(pool.poll_freed(&cx), Poll::Pending);
        // What is kept is not freed.
        pool.give_receive(vec![0; 1 << 20]);
        assert_eq!(pool.take_freed(), 0);
        (0..4).for_each(|_| pool.give_receive(vec![0; 1 << 20]));
        assert_eq!(pool.poll_freed(&cx), Poll::Ready(()));
        assert_eq!(pool.take_freed(), TRIM_THRESHOLD);
        assert_eq!(pool.poll_freed(&cx), Poll::Pending);
        pool.empty();
        assert!(pool.receive.borrow().iter().all(Vec::is_empty));
    }

    #[test]
    fn what_is_kept_back_is_bounded() {
        let pool = Pool::default();
        for _ in 0..1000 {
            pool.give_receive(vec![0; SCRATCH]);
            pool.give_send(Vec::with_capacity(SCRATCH));
            pool.give_send(Vec::with_capacity(1 << 20));
        }
        let kept: usize = pool.receive.borrow().iter().flatten().map(Vec::len).sum();
        assert!(kept <= KEPT_PER_CLASS);
        let send = pool.send.borrow();
        assert!(send.buffers.iter().all(|b| b.capacity() <= LARGEST_SEND && b.is_empty()));
        assert_eq!(send.kept, send.buffers.iter().map(Vec::capacity).sum::<usize>());
        assert!((KEPT_TO_SEND / 2..=KEPT_TO_SEND).contains(&send.kept));
    }
}
