//! [`Pool`]: the free buffers of a worker. A connection owns a buffer only while it holds bytes.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll};

use eio_core::ws::Decoder;

use crate::worker::budget::{RecvBytes, RecvStorage};
use crate::worker::frame_input::FrameInput;
use crate::worker::wakers::WakerSlot;

/// The most bytes of one receive, and the size of a scratch buffer. It holds a message of 64 KiB with its framing, which
/// a smaller buffer would receive in two parts, with a move in between.
pub(crate) const SCRATCH: usize = 128 * 1024;

const SMALLEST: usize = 4 * 1024;
/// 4 KiB, 8 KiB, ... 1 MiB.
const CLASSES: usize = 9;
/// The largest send buffer that is kept.
const LARGEST_SEND: usize = 128 * 1024;
/// The most bytes kept in one class.
const MAX_KEPT_PER_CLASS: usize = 1 << 20;
/// The most bytes kept in all send buffers.
const MAX_KEPT_SEND: usize = 2 << 20;
/// The most inputs of WebSockets that are kept.
const MAX_KEPT_INPUTS: usize = 1024;

/// The number of freed bytes after which memory is trimmed.
pub(crate) const TRIM_THRESHOLD: usize = 4 << 20;

/// The free buffers of one worker.
#[derive(Default)]
pub(crate) struct Pool {
    /// Receive buffers by size class, fully initialised: `len` is the size.
    receive: RefCell<[Vec<Vec<u8>>; CLASSES]>,
    send: RefCell<SendBuffers>,
    /// Inputs of WebSockets, without memory for received bytes.
    #[expect(clippy::vec_box, reason = "a connection owns one pointer")]
    inputs: RefCell<Vec<Box<FrameInput>>>,
    /// Bytes of buffers that were freed, because the pool was full or they were too large.
    freed: Cell<usize>,
    /// Woken when `freed` reaches [`TRIM_THRESHOLD`].
    waiter: WakerSlot,
}

/// Send buffers, empty but with capacity.
#[derive(Default)]
struct SendBuffers {
    buffers: Vec<Vec<u8>>,
    /// The sum of their capacities.
    bytes: usize,
}

impl Pool {
    /// A receive buffer of at least `size` bytes.
    pub(crate) fn take_receive(&self, size: usize) -> Vec<u8> {
        let Some(class) = class_for(size) else { return vec![0; size] };
        let pooled = self.receive.borrow_mut()[class].pop();
        pooled.unwrap_or_else(|| vec![0; SMALLEST << class])
    }

    /// Returns a receive buffer to the pool. It is freed if its class is full or it is of no class.
    pub(crate) fn give_receive(&self, buffer: Vec<u8>) {
        let size = buffer.len();
        if let Some(class) = class_for(size) {
            let class_size = SMALLEST << class;
            let buffers = &mut self.receive.borrow_mut()[class];
            if size == class_size && (buffers.len() + 1) * size <= MAX_KEPT_PER_CLASS {
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
                pool.bytes -= buffer.capacity();
                buffer
            }
            None => Vec::with_capacity(SMALLEST),
        }
    }

    /// Returns a send buffer to the pool. It is freed if the pool is full or it is too large.
    pub(crate) fn give_send(&self, mut buffer: Vec<u8>) {
        let mut pool = self.send.borrow_mut();
        let size = buffer.capacity();
        if (1..=LARGEST_SEND).contains(&size) && pool.bytes + size <= MAX_KEPT_SEND {
            buffer.clear();
            pool.bytes += size;
            pool.buffers.push(buffer);
        } else {
            self.count_freed(size);
        }
    }

    /// The input of a WebSocket, without memory for received bytes.
    #[inline]
    pub(crate) fn take_input(&self, decoder: Decoder) -> Box<FrameInput> {
        match self.inputs.borrow_mut().pop() {
            Some(mut input) => {
                input.decoder = decoder;
                input
            }
            None => Box::new(FrameInput::new(decoder)),
        }
    }

    /// Returns an input to the pool. Received bytes are discarded.
    #[inline]
    pub(crate) fn give_input(&self, mut input: Box<FrameInput>) {
        if input.rx.capacity() > 0 {
            let rx = std::mem::replace(&mut input.rx, RecvBytes::new(RecvStorage::default()));
            self.give_receive(rx.into_storage().into_vec());
        }
        let mut inputs = self.inputs.borrow_mut();
        if inputs.len() < MAX_KEPT_INPUTS {
            inputs.push(input);
        }
    }

    fn count_freed(&self, bytes: usize) {
        self.freed.set(self.freed.get() + bytes);
        if self.freed.get() >= TRIM_THRESHOLD {
            self.waiter.wake();
        }
    }

    /// Ready when [`TRIM_THRESHOLD`] bytes have been freed.
    pub(crate) fn poll_freed(&self, cx: &Context<'_>) -> Poll<()> {
        if self.freed.get() >= TRIM_THRESHOLD {
            return Poll::Ready(());
        }
        self.waiter.register(cx);
        Poll::Pending
    }

    /// The number of bytes freed since the last call.
    pub(crate) fn take_freed(&self) -> usize {
        self.freed.take()
    }

    /// Frees all buffers.
    pub(crate) fn clear(&self) {
        self.receive.take();
        self.send.take();
        self.inputs.take();
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
    fn a_buffer_has_at_least_the_requested_size_and_is_reused() {
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
    fn the_waiter_is_woken_after_4_mib_freed() {
        let pool = Pool::default();
        let cx = Context::from_waker(Waker::noop());
        assert_eq!(pool.poll_freed(&cx), Poll::Pending);
        // A buffer that is kept is not freed.
        pool.give_receive(vec![0; 1 << 20]);
        assert_eq!(pool.take_freed(), 0);
        (0..4).for_each(|_| pool.give_receive(vec![0; 1 << 20]));
        assert_eq!(pool.poll_freed(&cx), Poll::Ready(()));
        assert_eq!(pool.take_freed(), TRIM_THRESHOLD);
        assert_eq!(pool.poll_freed(&cx), Poll::Pending);
        pool.clear();
        assert!(pool.receive.borrow().iter().all(Vec::is_empty));
    }

    #[test]
    fn kept_buffers_are_bounded() {
        let pool = Pool::default();
        for _ in 0..1000 {
            pool.give_receive(vec![0; SCRATCH]);
            pool.give_send(Vec::with_capacity(SCRATCH));
            pool.give_send(Vec::with_capacity(1 << 20));
        }
        let kept: usize = pool.receive.borrow().iter().flatten().map(Vec::len).sum();
        assert!(kept <= MAX_KEPT_PER_CLASS);
        let send = pool.send.borrow();
        assert!(send.buffers.iter().all(|b| b.capacity() <= LARGEST_SEND && b.is_empty()));
        assert_eq!(send.bytes, send.buffers.iter().map(Vec::capacity).sum::<usize>());
        assert!((MAX_KEPT_SEND / 2..=MAX_KEPT_SEND).contains(&send.bytes));
    }
}
