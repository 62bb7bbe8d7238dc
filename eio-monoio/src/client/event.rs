//! [`Event`]: the events of a client, and [`Received`], its messages.

use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

use eio_core::packet::Message;

use crate::client::error::{Closed, UpgradeFailed};
use crate::error::SendError;
use crate::message::{AsMessage, OwnedMessage};
use crate::worker::pool::Pool;

/// An event of a client's session, returned by [`Client::next`](crate::client::Client::next), and with owned messages by
/// [`Handle::next`](crate::client::Handle::next).
///
/// Events are in the order in which they happened; messages are in the order in which the server sent them.
///
/// ```no_run
/// use eio_monoio::client::{Client, Event};
///
/// # async fn f(client: Client) {
/// while let Some(event) = client.next().await {
///     match event {
///         Event::Message(message) => println!("{message:?}"),
///         Event::Upgraded => println!("upgraded to a WebSocket"),
///         Event::UpgradeFailed(why) => println!("still polling: {why}"),
///         Event::Unsent(error) => println!("a message of a RemoteClient was dropped: {error}"),
///         Event::Closed(closed) => println!("closed: {closed}"),
///         _ => {}
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<M = Received> {
    /// A message of the server.
    Message(M),
    /// The upgrade succeeded: a WebSocket carries the session.
    Upgraded,
    /// The upgrade failed: polling still carries the session, and no other upgrade is attempted.
    UpgradeFailed(UpgradeFailed),
    /// A message of a [`RemoteClient`](crate::client::RemoteClient) was dropped, for this reason. Not reported while 16 events other
    /// than messages are in the inbox.
    Unsent(SendError),
    /// The session has ended. It is the last event of the session.
    Closed(Closed),
}

impl Event {
    /// The event with a message in memory of its own, for other threads.
    pub fn into_owned(self) -> Event<OwnedMessage> {
        match self {
            Self::Message(message) => Event::Message(message.into_owned()),
            Self::Upgraded => Event::Upgraded,
            Self::UpgradeFailed(why) => Event::UpgradeFailed(why),
            Self::Unsent(error) => Event::Unsent(error),
            Self::Closed(closed) => Event::Closed(closed),
        }
    }
}

/// A received message, in memory of its worker.
///
/// When it is dropped on that worker, the memory is reused for another message, so that receiving does not allocate.
///
/// ```
/// use eio_monoio::OwnedMessage;
/// use eio_monoio::client::Received;
///
/// fn print(message: &Received) {
///     match &**message {
///         OwnedMessage::Text(text) => println!("{text}"),
///         OwnedMessage::Binary(bytes) => println!("{} bytes", bytes.len()),
///     }
/// }
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
                // The memory is empty, which is valid text.
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

    /// The text of a text message; `None` for a binary message.
    pub fn text(&self) -> Option<&str> {
        match &self.message {
            OwnedMessage::Text(text) => Some(text),
            OwnedMessage::Binary(_) => None,
        }
    }

    /// Parses the message as JSON.
    ///
    /// # Errors
    /// Those of [`from_message`](crate::json::from_message).
    #[cfg(feature = "json")]
    pub fn json<'r, T: serde::Deserialize<'r>>(&'r self) -> serde_json::Result<T> {
        crate::json::from_message(self)
    }

    /// Takes the message with its memory, which is not reused then.
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

impl AsMessage for Received {
    fn as_message(&self) -> Message<'_> {
        self.message.borrow()
    }

    fn into_owned_message(self) -> OwnedMessage {
        self.into_owned()
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
