//! [`FrameInput`]: received bytes of a WebSocket, and the decoder of their frames.

use eio_core::ws::Decoder;

use crate::worker::budget::{RecvBytes, RecvStorage};

/// A connection owns one only while a message is incomplete: see [`Pool`](crate::worker::pool::Pool).
pub(crate) struct FrameInput {
    pub(crate) rx: RecvBytes,
    pub(crate) decoder: Decoder,
}

impl FrameInput {
    /// Without received bytes and without memory for them.
    pub(crate) fn new(decoder: Decoder) -> Self {
        Self { rx: RecvBytes::new(RecvStorage::default()), decoder }
    }

    /// Whether a new one is equal, except for memory.
    #[inline]
    pub(crate) fn is_unused(&self) -> bool {
        self.rx.is_empty() && self.decoder.is_between_messages()
    }
}
