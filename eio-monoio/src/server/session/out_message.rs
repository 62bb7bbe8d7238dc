//! [`OutMessage`]: a message that a session sends, borrowed or encoded.

use eio_core::packet::{Message, Packet};

use crate::io::ws_sender::WsSender;
use crate::message::Encoded;
use crate::worker::pool::Pool;

/// A message to send.
pub(super) trait OutMessage {
    fn message(&self) -> Message<'_>;
    /// The number of bytes that it adds to the queue.
    fn len(&self) -> usize;
    /// Writes it to a WebSocket. `base64`: binary as text, for a session with `b64=1`.
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
