//! Inflating whole messages.

use std::ops::Range;
use std::rc::Rc;

use eio_core::ws::Error;

use super::{Codecs, codec};
use crate::worker::context::WorkerContext;
use crate::worker::pool::Pool;

/// What comes in on a connection.
pub(crate) struct Inward {
    codecs: Rc<Codecs>,
    pool: Rc<Pool>,
    max: usize,
    /// How much of what came a message may refer to.
    window: Option<usize>,
    /// That much of it.
    past: Vec<u8>,
    /// What was inflated last, behind the past. From the pool, or empty.
    plain: Vec<u8>,
    /// Where in there the message is.
    message: Range<usize>,
}

impl Inward {
    /// A message may have `max` bytes, and refer to the last `window` bytes of those before, if to any.
    pub(crate) fn new(worker: &Rc<WorkerContext>, max: usize, window: Option<usize>) -> Self {
        let (past, plain) = (Vec::new(), Vec::new());
        let (codecs, pool) = (worker.per_worker::<Codecs>(), worker.pool.clone());
        Self { codecs, pool, max, window, past, plain, message: 0..0 }
    }

    /// Inflates a message; it is then lent by [`message`](Self::message) until [`release`](Self::release).
    ///
    /// # Errors
    /// [`Error::TooBig`] and [`Error::NotDeflate`].
    pub(crate) fn inflate(&mut self, payload: &[u8]) -> Result<(), Error> {
        self.release();
        let (codecs, pool) = (self.codecs.clone(), self.pool.clone());
        let mut inflater = codecs.inflater.borrow_mut();
        let inflater = inflater.get_or_insert_with(Box::default);
        // What compresses well does so four times; what does better is rare enough to be moved once or twice.
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
            // To the byte: every connection that may be referred back has it.
            self.past.reserve_exact(past.len());
            self.past.extend_from_slice(past);
        }
        Ok(())
    }

    /// The message that was inflated last.
    pub(crate) fn message(&self) -> &[u8] {
        &self.plain[self.message.clone()]
    }

    /// The same, for parsers that work in place.
    pub(crate) fn message_mut(&mut self) -> &mut [u8] {
        &mut self.plain[self.message.clone()]
    }

    /// Gives its memory back.
    pub(crate) fn release(&mut self) {
        self.message = 0..0;
        if !self.plain.is_empty() {
            self.pool.give_receive(std::mem::take(&mut self.plain));
        }
    }
}

#[cfg(test)]
impl Inward {
    /// How many bytes could be inflated into what memory there is.
    pub(super) fn room(&self) -> usize {
        self.plain.len()
    }

    /// How many bytes of the past are kept.
    pub(super) fn kept(&self) -> usize {
        assert_eq!(self.past.len(), self.past.capacity(), "to the byte");
        self.past.len()
    }
}

impl Drop for Inward {
    fn drop(&mut self) {
        self.release();
    }
}
