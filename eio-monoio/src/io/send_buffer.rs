//! [`SendBuffer`]: the frames that a WebSocket connection sends at the end of the current turn.

use std::ops::Deref;

use crate::message::{Encoded, OutBuf};
use crate::worker::pool::Pool;

/// Encoded frames in order.
pub(crate) enum SendBuffer {
    /// Owns no memory while it is empty.
    Own(OutBuf),
    /// A frame of a broadcast, as long as it is the only frame here: it is sent from the shared memory, so that a
    /// broadcast needs no memory for each connection.
    Shared(Encoded),
}

impl Default for SendBuffer {
    fn default() -> Self {
        Self::Own(OutBuf::default())
    }
}

impl SendBuffer {
    pub(crate) fn new(bytes: OutBuf) -> Self {
        Self::Own(bytes)
    }

    /// The number of bytes of all frames.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Own(bytes) => bytes.0.len(),
            Self::Shared(frame) => frame.frame().len(),
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The buffer to append to, in memory of the pool.
    #[inline]
    pub(crate) fn bytes_mut(&mut self, pool: &Pool) -> &mut OutBuf {
        if !matches!(self, Self::Own(bytes) if bytes.0.capacity() > 0) {
            let bytes = self.take().into_bytes(pool);
            let bytes = if bytes.capacity() == 0 { pool.take_send() } else { bytes };
            *self = Self::Own(OutBuf(bytes));
        }
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(_) => unreachable!("it was replaced"),
        }
    }

    /// Queues a frame without copying it. Returns false if other frames are queued, to which it is to be appended.
    pub(crate) fn share(&mut self, frame: &Encoded) -> bool {
        let is_first = matches!(self, Self::Own(bytes) if bytes.0.capacity() == 0);
        if is_first {
            *self = Self::Shared(frame.clone());
        }
        is_first
    }

    /// Puts frames before all others.
    pub(crate) fn put_back(&mut self, mut frames: Vec<u8>, pool: &Pool) {
        if !self.is_empty() {
            let later = self.take().into_bytes(pool);
            frames.extend_from_slice(&later);
        }
        *self = Self::Own(OutBuf(frames));
    }

    /// Takes all frames with their memory.
    #[inline]
    pub(crate) fn take(&mut self) -> Batch {
        match std::mem::take(self) {
            Self::Own(bytes) => Batch::Own(bytes.0),
            Self::Shared(frame) => Batch::Shared(frame),
        }
    }
}

/// Frames that are sent together.
pub(crate) enum Batch {
    Own(Vec<u8>),
    Shared(Encoded),
}

impl Deref for Batch {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(frame) => frame.frame(),
        }
    }
}

impl Batch {
    /// The bytes, in memory of their own.
    pub(crate) fn into_bytes(self, pool: &Pool) -> Vec<u8> {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(frame) => {
                let mut bytes = pool.take_send();
                bytes.extend_from_slice(frame.frame());
                bytes
            }
        }
    }

    /// Returns the memory to the pool.
    pub(crate) fn free(self, pool: &Pool) {
        if let Self::Own(bytes) = self {
            pool.give_send(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use eio_core::packet::Message;

    use super::*;

    fn take(buffer: &mut SendBuffer) -> (Vec<u8>, bool) {
        let len = buffer.len();
        let batch = buffer.take();
        assert_eq!(batch.len(), len);
        assert!(buffer.is_empty());
        assert_eq!(buffer.len(), 0);
        (batch.to_vec(), matches!(batch, Batch::Shared(_)))
    }

    #[test]
    fn a_frame_is_shared_until_another_is_appended() {
        let (pool, mut buffer) = (Pool::default(), SendBuffer::default());
        let frame = Encoded::new(Message::Text("all"));
        assert!(buffer.share(&frame));
        assert_eq!(take(&mut buffer), (b"\x81\x044all".to_vec(), true));

        assert!(buffer.share(&frame) && !buffer.share(&frame));
        buffer.bytes_mut(&pool).0.push(b'.');
        assert!(!buffer.share(&frame), "the memory of an appended frame stays");
        assert_eq!(take(&mut buffer), (b"\x81\x044all.".to_vec(), false));
    }

    #[test]
    fn a_batch_becomes_bytes_of_its_own() {
        let (pool, mut buffer) = (Pool::default(), SendBuffer::default());
        buffer.share(&Encoded::new(Message::Text("all")));
        assert_eq!(buffer.take().into_bytes(&pool), b"\x81\x044all");
        buffer.bytes_mut(&pool).0.extend_from_slice(b"mine");
        assert_eq!(buffer.take().into_bytes(&pool), b"mine");
    }

    #[test]
    fn unsent_bytes_precede_later_ones() {
        let (pool, mut buffer) = (Pool::default(), SendBuffer::default());
        buffer.put_back(b"first".to_vec(), &pool);
        assert_eq!(take(&mut buffer), (b"first".to_vec(), false));
        buffer.share(&Encoded::new(Message::Text("all")));
        buffer.put_back(b"first".to_vec(), &pool);
        assert_eq!(take(&mut buffer), (b"first\x81\x044all".to_vec(), false));
    }
}
