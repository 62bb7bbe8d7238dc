//! [`Inward`]: the receiving direction, which inflates complete messages.

use std::ops::Range;
use std::rc::Rc;

use eio_core::ws::Error;

use super::{Codecs, codec};
use crate::worker::context::WorkerContext;
use crate::worker::pool::Pool;

/// The receiving direction of a connection.
pub(crate) struct Inward {
    codecs: Rc<Codecs>,
    pool: Rc<Pool>,
    max: usize,
    /// The number of earlier bytes that a message may refer to, if to any.
    window: Option<usize>,
    /// The last `window` bytes of earlier messages.
    past: Vec<u8>,
    /// A copy of `past`, and the last inflated message. From the pool, or empty.
    plain: Vec<u8>,
    /// The range of the message in `plain`.
    message: Range<usize>,
}

impl Inward {
    /// A message may have at most `max` bytes. With a `window` it may refer to as many bytes of earlier messages.
    pub(crate) fn new(worker: &Rc<WorkerContext>, max: usize, window: Option<usize>) -> Self {
        let (past, plain) = (Vec::new(), Vec::new());
        let (codecs, pool) = (worker.per_worker::<Codecs>(), worker.pool.clone());
        Self { codecs, pool, max, window, past, plain, message: 0..0 }
    }

    /// Inflates a message, which [`message`](Self::message) returns until [`release`](Self::release).
    ///
    /// # Errors
    /// [`Error::TooBig`] and [`Error::NotDeflate`], as [`codec::inflate`].
    pub(crate) fn inflate(&mut self, payload: &[u8]) -> Result<(), Error> {
        self.release();
        let (codecs, pool) = (self.codecs.clone(), self.pool.clone());
        let mut inflater = codecs.inflater.borrow_mut();
        let inflater = inflater.get_or_insert_with(Box::default);
        // Few messages inflate to more than four times their size. Moving those once or twice is acceptable.
        let guess = payload.len().saturating_mul(4).min(self.max);
        self.plain = pool.take_receive(self.past.len() + guess + 1);
        self.plain[..self.past.len()].copy_from_slice(&self.past);
        let (start, most) = (self.past.len(), self.past.len() + self.max + 1);
        let grow = |plain: &mut Vec<u8>| {
            let size = plain.len().saturating_mul(2).min(most);
            let mut larger = pool.take_receive(size.max(plain.len() + 1));
            larger[..plain.len()].copy_from_slice(plain);
            pool.give_receive(std::mem::replace(plain, larger));
        };
        let end = codec::inflate(inflater, payload, start, self.max, &mut self.plain, grow)?;
        self.message = self.past.len()..end;
        if let Some(window) = self.window {
            let past = &self.plain[end.saturating_sub(window)..end];
            self.past.clear();
            // Exact, because every connection with context takeover has this buffer.
            self.past.reserve_exact(past.len());
            self.past.extend_from_slice(past);
        }
        Ok(())
    }

    /// The last inflated message.
    pub(crate) fn message(&self) -> &[u8] {
        &self.plain[self.message.clone()]
    }

    /// The last inflated message, for parsers that work in place.
    pub(crate) fn message_mut(&mut self) -> &mut [u8] {
        &mut self.plain[self.message.clone()]
    }

    /// Returns the memory of the message to the pool.
    pub(crate) fn release(&mut self) {
        self.message = 0..0;
        if !self.plain.is_empty() {
            self.pool.give_receive(std::mem::take(&mut self.plain));
        }
    }
}

#[cfg(test)]
impl Inward {
    /// The size of the buffer for `past` and the message.
    pub(super) fn buffer_len(&self) -> usize {
        self.plain.len()
    }

    /// The number of bytes of earlier messages that are kept.
    pub(super) fn past_len(&self) -> usize {
        assert_eq!(self.past.len(), self.past.capacity(), "no spare capacity");
        self.past.len()
    }
}

impl Drop for Inward {
    fn drop(&mut self) {
        self.release();
    }
}
