//! [`Buffers`], lent by the caller, and what the client does with them.

use eio_core::buffer::{Overflow, Sink};

/// All the memory a [`Client`](crate::Client) needs beside itself: `RX` bytes to receive into and `TX` bytes
/// to send from. Constant, so it can be a `static` (in a `StaticCell`) and its size shows at machine time.
///
/// | it limits | to |
/// |---|---|
/// | a received message | [`MAX_MESSAGE`](Self::MAX_MESSAGE) bytes, its type included; a larger one is refused with close code 1009 |
/// | a sent message | nothing: one beyond [`MAX_FRAME`](Self::MAX_FRAME) goes in several frames |
/// | the request (path, query, headers) | `TX` bytes |
/// | the head of the response | `RX` bytes |
///
/// Less than 512 bytes for `RX` or 384 for `TX` does not compile.
#[derive(Debug)]
pub struct Buffers<const RX: usize, const TX: usize> {
    pub(crate) rx: [u8; RX],
    pub(crate) tx: [u8; TX],
}

impl<const RX: usize, const TX: usize> Buffers<RX, TX> {
    /// The largest message that can be received, in bytes, type included: a WebSocket control frame may come
    /// between the parts of a message, and finds room beside it.
    pub const MAX_MESSAGE: usize = RX - RX_RESERVE;
    /// The largest frame that can be sent, in bytes, with its head: answers to the server go even when
    /// nothing else fits any more.
    pub const MAX_FRAME: usize = TX - TX_RESERVE;

    /// Empty buffers.
    pub const fn new() -> Self {
        const {
            assert!(RX >= 512, "the head of an HTTP response and a handshake need 512 bytes");
            assert!(TX >= 384, "a request needs 384 bytes");
        }
        Self { rx: [0; RX], tx: [0; TX] }
    }
}

impl<const RX: usize, const TX: usize> Default for Buffers<RX, TX> {
    fn default() -> Self {
        Self::new()
    }
}

/// A frame with 125 bytes of payload, which no control frame exceeds (RFC 6455 section 5.5), and the head of
/// a long frame behind it.
pub(crate) const RX_RESERVE: usize = 2 + 125 + 10;
/// A masked control frame, and a pong of Engine.IO behind it.
pub(crate) const TX_RESERVE: usize = 6 + 125 + 7;

/// Bytes on their way out: written at the end, taken by the network at the start.
#[derive(Debug)]
pub(crate) struct SendBuffer<'b> {
    memory: &'b mut [u8],
    /// Invariant: `start <= end <= memory.len()`.
    start: usize,
    end: usize,
}

impl<'b> SendBuffer<'b> {
    pub(crate) fn new(memory: &'b mut [u8]) -> Self {
        Self { memory, start: 0, end: 0 }
    }

    pub(crate) fn into_memory(self) -> &'b mut [u8] {
        self.memory
    }

    /// What the network should take next.
    pub(crate) fn unsent(&self) -> &[u8] {
        self.memory.get(self.start..self.end).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The network took `n` bytes.
    pub(crate) fn consume(&mut self, n: usize) {
        self.start = self.end.min(self.start.saturating_add(n));
        if self.is_empty() {
            self.clear();
        }
    }

    pub(crate) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    pub(crate) fn capacity(&self) -> usize {
        self.memory.len()
    }

    /// How many more bytes fit.
    pub(crate) fn room(&self) -> usize {
        self.memory.len() - (self.end - self.start)
    }
}

impl Sink for SendBuffer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Overflow> {
        self.claim(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    fn claim(&mut self, n: usize) -> Result<&mut [u8], Overflow> {
        if n > self.room() {
            return Err(Overflow);
        }
        if n > self.memory.len() - self.end {
            self.memory.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let from = self.end;
        let free = self.memory.get_mut(from..from + n).ok_or(Overflow)?;
        self.end += n;
        Ok(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_taken_is_never_overwritten() {
        let mut memory = [0; 8];
        let mut out = SendBuffer::new(&mut memory);
        out.put(b"abcdef").unwrap();
        out.consume(4);
        assert_eq!(out.put(b"1234567"), Err(Overflow));
        out.put(b"123456").unwrap();
        assert_eq!(out.unsent(), b"ef123456");
        assert_eq!((out.room(), out.put(b"x")), (0, Err(Overflow)));
        out.consume(8);
        assert!(out.is_empty());
        out.put(b"12345678").unwrap();
    }
}
