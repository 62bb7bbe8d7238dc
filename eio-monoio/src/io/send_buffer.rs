//! [`SendBuffer`]: what a WebSocket is to send at the end of the turn.

use std::ops::Deref;

use crate::message::{Encoded, OutBuf};
use crate::worker::pool::Pool;

/// Frames, one behind the other.
#[derive(Default)]
pub(crate) struct SendBuffer {
    /// Without memory when there are none.
    bytes: OutBuf,
    /// A frame that many are to get, for as long as it is all there is here: it is sent from where it lies, and a
    /// message to all takes no memory for each. Only while `bytes` has no memory.
    shared: Option<Encoded>,
}

impl SendBuffer {
    pub(crate) fn new(bytes: OutBuf) -> Self {
        Self { bytes, shared: None }
    }

    /// How many bytes they have.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes.0.len() + self.shared.as_ref().map_or(0, |frame| frame.frame().len())
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.0.is_empty() && self.shared.is_none()
    }

    /// Where to append, in memory of the pool.
    #[inline]
    pub(crate) fn bytes_mut(&mut self, pool: &Pool) -> &mut OutBuf {
        if self.bytes.0.capacity() == 0 {
            self.bytes.0 = pool.take_send();
            if let Some(frame) = self.shared.take() {
                self.bytes.0.extend_from_slice(frame.frame());
            }
        }
        &mut self.bytes
    }

    /// Takes a frame up as it is. False: there is something before it, to be appended to.
    pub(crate) fn share(&mut self, frame: &Encoded) -> bool {
        let first = self.bytes.0.capacity() == 0 && self.shared.is_none();
        if first {
            self.shared = Some(frame.clone());
        }
        first
    }

    /// All there is, with its memory.
    pub(crate) fn take(&mut self) -> Batch {
        match self.shared.take() {
            Some(frame) => Batch::Shared(frame),
            None => Batch::Own(std::mem::take(&mut self.bytes.0)),
        }
    }
}

/// What is sent at once.
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
    /// What is left when the first `sent` bytes are, in memory of its own.
    pub(crate) fn into_rest(self, sent: usize, pool: &Pool) -> Vec<u8> {
        match self {
            Self::Own(mut bytes) => {
                bytes.drain(..sent);
                bytes
            }
            Self::Shared(frame) => {
                let mut rest = pool.take_send();
                rest.extend_from_slice(&frame.frame()[sent..]);
                rest
            }
        }
    }

    /// Gives the memory back.
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

    fn taken(waiting: &mut SendBuffer) -> (Vec<u8>, bool) {
        let len = waiting.len();
        let batch = waiting.take();
        assert_eq!(batch.len(), len);
        assert!(waiting.is_empty());
        assert_eq!(waiting.len(), 0);
        (batch.to_vec(), matches!(batch, Batch::Shared(_)))
    }

    #[test]
    fn a_frame_is_shared_until_there_is_more() {
        let (pool, mut waiting) = (Pool::default(), SendBuffer::default());
        let frame = Encoded::new(Message::Text("all"));
        assert!(waiting.share(&frame));
        assert_eq!(taken(&mut waiting), (b"\x81\x044all".to_vec(), true));

        assert!(waiting.share(&frame) && !waiting.share(&frame));
        waiting.bytes_mut(&pool).0.push(b'.');
        assert!(!waiting.share(&frame), "what is appended stays behind");
        assert_eq!(taken(&mut waiting), (b"\x81\x044all.".to_vec(), false));
    }

    #[test]
    fn what_the_kernel_did_not_take_is_copied() {
        let (pool, mut waiting) = (Pool::default(), SendBuffer::default());
        waiting.share(&Encoded::new(Message::Text("all")));
        assert_eq!(waiting.take().into_rest(4, &pool), b"ll");
        waiting.bytes_mut(&pool).0.extend_from_slice(b"mine");
        assert_eq!(waiting.take().into_rest(1, &pool), b"ine");
    }
}
