//! What a client hears.

use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

use eio_core::packet::Message;
use eio_core::session::UpgradeFailure;

use crate::client::error::Closed;
use crate::error::SendError;
use crate::message::OwnedMessage;
use crate::worker::pool::Pool;

/// From [`Client::next`](crate::client::Client::next).
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A message of the server.
    Message(Received),
    /// From now on a WebSocket carries the session.
    Upgraded,
    /// The session goes on over polling.
    UpgradeFailed(UpgradeFailure),
    /// A message that a [`Remote`](crate::client::Remote) sent was not taken, and why. Told as long as no more than
    /// sixteen events other than messages wait.
    Unsent(SendError),
    /// The session has ended. The last event.
    Closed(Closed),
}

/// A message that came, in memory of the core it came on: dropped there, that serves the next one, and no
/// message costs an allocation.
///
/// ```
/// # fn f(message: eio_monoio::client::Received) {
/// match &*message {
///     eio_monoio::OwnedMessage::Text(text) => println!("{text}"),
///     eio_monoio::OwnedMessage::Binary(bytes) => println!("{} bytes", bytes.len()),
/// }
/// # }
/// ```
pub struct Received {
    message: OwnedMessage,
    pool: Rc<Pool>,
}

impl Received {
    pub(crate) fn new(message: Message<'_>, pool: &Rc<Pool>) -> Self {
        let mut memory = pool.take_send();
        let message = match message {
            Message::Text(text) => {
                // Empty: it is valid text.
                let mut string = String::from_utf8(memory).unwrap_or_default();
                string.push_str(text);
                OwnedMessage::Text(string)
            }
            Message::Binary(bytes) => {
                memory.extend_from_slice(bytes);
                OwnedMessage::Binary(memory)
            }
        };
        Self { message, pool: pool.clone() }
    }

    /// The text, if it is text.
    pub fn text(&self) -> Option<&str> {
        match &self.message {
            OwnedMessage::Text(text) => Some(text),
            OwnedMessage::Binary(_) => None,
        }
    }

    /// The value the message holds as JSON.
    ///
    /// # Errors
    /// As those of [`from_message`](crate::json::from_message).
    #[cfg(feature = "json")]
    pub fn json<'r, T: serde::Deserialize<'r>>(&'r self) -> serde_json::Result<T> {
        crate::json::from_message(self)
    }

    /// Takes the message out, with its memory.
    pub fn into_owned(mut self) -> OwnedMessage {
        std::mem::replace(&mut self.message, OwnedMessage::Binary(Vec::new()))
    }
}

impl Deref for Received {
    type Target = OwnedMessage;

    fn deref(&self) -> &OwnedMessage {
        &self.message
    }
}

impl<'a> From<&'a Received> for Message<'a> {
    fn from(received: &'a Received) -> Self {
        received.message.borrow()
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        let message = std::mem::replace(&mut self.message, OwnedMessage::Binary(Vec::new()));
        self.pool.give_send(match message {
            OwnedMessage::Text(text) => text.into_bytes(),
            OwnedMessage::Binary(bytes) => bytes,
        });
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message.fmt(f)
    }
}
