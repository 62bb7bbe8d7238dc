//! [`OutMessage`]: a message that a session sends, encoded or not.

use eio_core::packet::{Message, Packet};

use crate::io::ws_sender::WsSender;
use crate::message::Encoded;
use crate::worker::pool::Pool;

/// A message on its way out, encoded or not.
pub(super) trait OutMessage {
    fn message(&self) -> Message<'_>;
    /// How much it adds to what waits, in bytes.
    fn len(&self) -> usize;
    /// Appends it to a WebSocket's frames. `base64`: binary as text, for who cannot take it.
    fn write(&self, sender: &WsSender, pool: &Pool, base64: bool);
}

impl OutMessage for Message<'_> {
    fn message(&self) -> Message<'_> {
        *self
    }

    fn len(&self) -> usize {
        Message::len(self)
    }

    #[inline]
    fn write(&self, sender: &WsSender, pool: &Pool, base64: bool) {
        if base64 && matches!(self, Message::Binary(_)) {
            sender.write(pool, |out| out.text_frame(&Packet::Message(*self)));
        } else {
            sender.message(pool, self.frame(), None);
        }
    }
}

impl OutMessage for Encoded {
    fn message(&self) -> Message<'_> {
        Encoded::message(self)
    }

    fn len(&self) -> usize {
        self.frame().len()
    }

    #[inline]
    fn write(&self, sender: &WsSender, pool: &Pool, base64: bool) {
        if base64 {
            self.message().write(sender, pool, base64);
        } else {
            sender.encoded(pool, self);
        }
    }
}
