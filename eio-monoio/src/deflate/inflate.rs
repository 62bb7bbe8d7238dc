//! Inflating whole messages.

use std::ops::Range;
use std::rc::Rc;

use eio_core::ws::Error;
use miniz_oxide::inflate::TINFLStatus as Status;
use miniz_oxide::inflate::core::decompress;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY,
    TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};

use crate::local::Local;

/// The state of one inflation, without the past: what flate2 wraps together with 32 KiB of it.
pub(super) type Inflater = miniz_oxide::inflate::core::DecompressorOxide;

/// What comes in on a connection.
pub(crate) struct Inward {
    local: Rc<Local>,
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
    pub(crate) fn new(local: &Rc<Local>, max: usize, window: Option<usize>) -> Self {
        let (past, plain) = (Vec::new(), Vec::new());
        Self { local: local.clone(), max, window, past, plain, message: 0..0 }
    }

    /// Inflates a message; it is then lent by [`message`](Self::message) until [`release`](Self::release).
    ///
    /// # Errors
    /// [`Error::TooBig`], before more than a little more than the limit has come out, and [`Error::NotDeflate`].
    pub(crate) fn inflate(&mut self, payload: &[u8]) -> Result<(), Error> {
        self.release();
        let local = self.local.clone();
        let mut inflater = local.codecs.inflater.borrow_mut();
        let inflater = inflater.get_or_insert_with(Box::default);
        inflater.init();
        // What compresses well does so four times; what does better is rare enough to be moved once or twice.
        let guess = payload.len().saturating_mul(4).min(self.max);
        self.plain = local.pool.take_receive(self.past.len() + guess + 1);
        self.plain[..self.past.len()].copy_from_slice(&self.past);
        let end = self.run(inflater, payload)?;
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

    /// Inflates behind the past; the number is where it ends.
    fn run(&mut self, inflater: &mut Inflater, payload: &[u8]) -> Result<usize, Error> {
        /// > Append 4 octets of 0x00 0x00 0xff 0xff to the tail end of the payload of the message. (RFC 7692 7.2.2)
        ///
        /// They complete an empty block. The final block behind them shows that a block ended there indeed: what
        /// was cut short is no message.
        const TAIL: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];
        /// What is left of them when the block they complete was itself a final one.
        const PROOF: usize = 5;
        const FLAGS: u32 = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF
            | TINFL_FLAG_HAS_MORE_INPUT
            | TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY;
        // A block with codes costs as much to begin as thousands of bytes in it, and a malicious one has ten bits.
        // Who flushes behind each single byte makes one, and an empty one without codes, of seven bytes.
        let mut blocks = 16 + payload.len() / 7;
        let start = self.past.len();
        let (mut input, mut at, mut in_tail) = (payload, start, false);
        loop {
            let (status, read, written) = decompress(inflater, input, &mut self.plain, at, FLAGS);
            input = input.get(read..).unwrap_or_default();
            at += written;
            if at - start > self.max {
                return Err(Error::TooBig);
            }
            match status {
                // The last bytes hold nothing: here they were taken for what was cut off.
                _ if in_tail && written > 0 => return Err(Error::NotDeflate),
                Status::HasMoreOutput => self.grow(start),
                Status::NeedsMoreInput if !in_tail => (input, in_tail) = (&TAIL, true),
                Status::BlockBoundary if written == 0 && matches!(read, 4 | 5) => {}
                Status::BlockBoundary if blocks > 0 => blocks -= 1,
                Status::Done if in_tail => {
                    let whole = input.is_empty() || input.len() == PROOF;
                    return if whole { Ok(at) } else { Err(Error::NotDeflate) };
                }
                // > DEFLATE blocks with the "BFINAL" bit set to 1 may be used. [...] The next DEFLATE block follows
                // > the padded data if any. (7.2.1)
                Status::Done if input.is_empty() => return Ok(at),
                Status::Done if blocks > 0 => {
                    blocks -= 1;
                    inflater.init();
                }
                _ => return Err(Error::NotDeflate),
            }
        }
    }

    /// Makes room for more, up to one byte beyond the limit: that shows that there is too much.
    fn grow(&mut self, start: usize) {
        let most = start.saturating_add(self.max).saturating_add(1);
        let size = self.plain.len().saturating_mul(2).min(most).max(self.plain.len() + 1);
        let mut larger = self.local.pool.take_receive(size);
        larger[..self.plain.len()].copy_from_slice(&self.plain);
        self.local.pool.give_receive(std::mem::replace(&mut self.plain, larger));
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
            self.local.pool.give_receive(std::mem::take(&mut self.plain));
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
