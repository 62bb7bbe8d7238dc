//! [`Buffers`]: the memory that the caller lends to a client.

use eio_core::buffer::{Overflow, Sink};

/// The memory that a client needs besides itself: `RX` bytes to receive into and `TX` bytes to send from. `new` is
/// `const`, so it can be a `static` (in a `StaticCell`) and its size is known at link time.
///
/// | limit | value |
/// |---|---|
/// | a received message | [`MAX_MESSAGE`](Self::MAX_MESSAGE) bytes with its type; a larger one is refused with close code 1009 |
/// | a sent message | none: a message larger than [`MAX_FRAME`](Self::MAX_FRAME) is sent in several frames |
/// | the request (path, query, headers) | `TX` bytes |
/// | the head of the response | `RX` bytes, with any number of fields: 1024 bytes are enough for responses of a content delivery network |
///
/// `RX` below 512 or `TX` below 384 does not compile.
///
/// ```
/// use eio_embassy::Buffers;
///
/// type Memory = Buffers<1536, 512>;
/// assert_eq!(Memory::MAX_MESSAGE, 1399);
/// assert_eq!(size_of::<Memory>(), 2048);
/// ```
#[derive(Debug)]
pub struct Buffers<const RX: usize, const TX: usize> {
    pub(crate) rx: [u8; RX],
    pub(crate) tx: [u8; TX],
}

impl<const RX: usize, const TX: usize> Buffers<RX, TX> {
    /// The largest message that can be received over a WebSocket, in bytes with its type. The rest of `RX` is for a
    /// control frame, which may be sent between the fragments of a message.
    pub const MAX_MESSAGE: usize = RX - RX_RESERVE;
    /// The largest frame that can be sent, in bytes with its head. The rest of `TX` is for the answer to a ping, which
    /// is sent even when the buffer has no room for messages.
    pub const MAX_FRAME: usize = TX - TX_RESERVE;

    /// Empty buffers.
    pub const fn new() -> Self {
        const {
            assert!(RX >= 512, "the head of a response and the open packet need 512 bytes");
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

/// A frame with 125 bytes of payload, the limit of a control frame (RFC 6455 section 5.5), and the head of the next
/// frame.
pub(crate) const RX_RESERVE: usize = 2 + 125 + 10;
/// A masked control frame, and a pong packet of Engine.IO.
pub(crate) const TX_RESERVE: usize = 6 + 125 + 7;

/// Bytes to send: encoders append at the end, the network consumes from the start.
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

    /// The bytes to write next.
    pub(crate) fn unsent(&self) -> &[u8] {
        self.memory.get(self.start..self.end).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The network accepted `n` bytes.
    pub(crate) fn consume(&mut self, n: usize) {
        self.start = self.end.min(self.start.saturating_add(n));
        if self.is_empty() {
            self.clear();
        }
    }

    pub(crate) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Takes the unsent bytes with their memory out of the buffer.
    pub(crate) fn detach(&mut self) -> &'b [u8] {
        let memory = core::mem::take(&mut self.memory);
        memory.copy_within(self.start..self.end, 0);
        let (unsent, rest) = memory.split_at_mut_checked(self.end - self.start).unwrap_or_default();
        self.memory = rest;
        self.clear();
        unsent
    }

    pub(crate) fn capacity(&self) -> usize {
        self.memory.len()
    }

    /// The number of bytes that still fit.
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
    fn unsent_bytes_are_not_overwritten() {
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
