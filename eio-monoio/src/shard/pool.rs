//! Buffers that come and go: a connection owns one only while bytes wait in it.

use std::cell::RefCell;

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

/// The free buffers of one core.
#[derive(Default)]
pub(crate) struct Pool {
    /// Receive buffers by size class, wholly initialised: `len` is the size.
    receive: RefCell<[Vec<Vec<u8>>; CLASSES]>,
    /// Send buffers, empty but with capacity.
    send: RefCell<Vec<Vec<u8>>>,
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
        let Some(class) = class_for(buffer.len()) else { return };
        let classes = &mut self.receive.borrow_mut()[class];
        if buffer.len() == SMALLEST << class && (classes.len() + 1) * buffer.len() <= KEPT_PER_CLASS
        {
            classes.push(buffer);
        }
    }

    /// An empty send buffer.
    pub(crate) fn take_send(&self) -> Vec<u8> {
        self.send.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(SMALLEST))
    }

    /// Takes a send buffer back.
    pub(crate) fn give_send(&self, mut buffer: Vec<u8>) {
        let mut pool = self.send.borrow_mut();
        let useful = (1..=LARGEST_SEND).contains(&buffer.capacity());
        if useful && pool.len() < KEPT_PER_CLASS / SMALLEST {
            buffer.clear();
            pool.push(buffer);
        }
    }
}

fn class_for(size: usize) -> Option<usize> {
    let class = size.max(1).next_power_of_two().max(SMALLEST).ilog2() - SMALLEST.ilog2();
    Some(class as usize).filter(|class| *class < CLASSES)
}

#[cfg(test)]
mod tests {
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
    fn what_is_kept_back_is_bounded() {
        let pool = Pool::default();
        for _ in 0..1000 {
            pool.give_receive(vec![0; SCRATCH]);
            pool.give_send(Vec::with_capacity(SCRATCH));
            pool.give_send(Vec::with_capacity(1 << 20));
        }
        let kept: usize = pool.receive.borrow().iter().flatten().map(Vec::len).sum();
        assert!(kept <= KEPT_PER_CLASS);
        assert!(pool.send.borrow().iter().all(|b| b.capacity() <= LARGEST_SEND && b.is_empty()));
        assert!(pool.send.borrow().len() <= 256);
    }
}
