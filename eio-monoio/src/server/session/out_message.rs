//! [`OutMessage`]: a message that a session sends, borrowed or encoded.

use std::cell::Cell;

use eio_core::packet::{Message, Packet};

use crate::io::receipt::Confirm;
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

    /// Whether it is never compressed.
    fn is_plain(&self) -> bool {
        false
    }

    /// Takes the transport's side of the receipt.
    fn take_confirm(&self) -> Option<Confirm> {
        None
    }
}

/// A message with options.
pub(super) struct WithOptions<'m> {
    pub(super) message: Message<'m>,
    pub(super) plain: bool,
    pub(super) confirm: Cell<Option<Confirm>>,
}

impl OutMessage for WithOptions<'_> {
    fn message(&self) -> Message<'_> {
        self.message
    }

    fn len(&self) -> usize {
        self.message.len()
    }

    fn write(&self, sender: &WsSender, pool: &Pool, base64: bool) {
        if self.plain {
            write_plain(self.message, sender, pool, base64);
        } else {
            self.message.write(sender, pool, base64);
        }
        if let Some(confirm) = self.take_confirm() {
            sender.confirm(confirm);
        }
    }

    fn is_plain(&self) -> bool {
        self.plain
    }

    fn take_confirm(&self) -> Option<Confirm> {
        self.confirm.take()
    }
}

/// Writes a message that is not compressed.
pub(super) fn write_plain(message: Message<'_>, sender: &WsSender, pool: &Pool, base64: bool) {
    if base64 && matches!(message, Message::Binary(_)) {
        // As base64 it is not compressed in any case.
        message.write(sender, pool, base64);
    } else {
        sender.plain_message(pool, message.frame(), None);
    }
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
