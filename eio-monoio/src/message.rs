//! [`AsMessage`], [`OwnedMessage`] and [`Encoded`]: values that can be sent, and messages that own or share their bytes.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use eio_core::buffer::{Overflow, Sink};
use eio_core::packet::{Frame, Message, Packet};
use eio_core::payload::SEPARATOR;
use eio_core::ws;

use crate::error::SendError;

/// A message that owns its bytes: for a handler that awaits, and for sending to other threads.
///
/// [`Message`] borrows from the receive buffer, and is `Copy`. Functions that send accept both: see [`AsMessage`].
///
/// ```
/// use eio_monoio::{Message, OwnedMessage};
///
/// let owned = OwnedMessage::from(Message::Text("hello"));
/// assert_eq!(owned.borrow(), Message::Text("hello"));
/// assert_eq!(OwnedMessage::from(vec![1, 2]), OwnedMessage::Binary(vec![1, 2]));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnedMessage {
    /// Text.
    Text(String),
    /// Binary data.
    Binary(Vec<u8>),
}

impl OwnedMessage {
    /// The message with borrowed bytes.
    pub fn borrow(&self) -> Message<'_> {
        match self {
            Self::Text(text) => Message::Text(text),
            Self::Binary(bytes) => Message::Binary(bytes),
        }
    }

    /// The text of a text message; `None` for a binary message.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(_) => None,
        }
    }
}

/// A value that can be sent as a message: text, bytes, a [`Message`] or an [`OwnedMessage`], by value or by reference.
///
/// Text becomes a text message, bytes a binary one. Sending copies the bytes into the queue of the session, except for
/// owned values that go to another thread. Types of the application may implement it.
///
/// ```
/// use eio_monoio::{AsMessage, Message, Socket};
///
/// /// Text of the protocol of an application.
/// struct Command(String);
///
/// impl AsMessage for Command {
///     fn as_message(&self) -> Message<'_> {
///         Message::Text(&self.0)
///     }
/// }
///
/// fn send(socket: &Socket<()>, picture: Vec<u8>) {
///     socket.try_send("text").ok();
///     socket.try_send(format!("{} bytes follow", picture.len())).ok();
///     socket.try_send(&picture).ok();
///     socket.try_send(Command("stop".to_owned())).ok();
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent as a message",
    label = "neither text nor bytes",
    note = "a message is text (`&str`, `String`), bytes (`&[u8]`, `Vec<u8>`), a `Message` or an `OwnedMessage`",
    note = "send another value as text: `value.to_string()`, or as JSON: `eio_monoio::json::to_message(&value)` (feature `json`)"
)]
pub trait AsMessage {
    /// The message, with borrowed bytes.
    fn as_message(&self) -> Message<'_>;

    /// The message with its own bytes, for another thread. Owned text and bytes are moved, other values copied.
    fn into_owned_message(self) -> OwnedMessage
    where
        Self: Sized,
    {
        self.as_message().into()
    }
}

impl AsMessage for Message<'_> {
    #[inline]
    fn as_message(&self) -> Message<'_> {
        *self
    }
}

impl AsMessage for OwnedMessage {
    fn as_message(&self) -> Message<'_> {
        self.borrow()
    }

    fn into_owned_message(self) -> OwnedMessage {
        self
    }
}

impl AsMessage for str {
    #[inline]
    fn as_message(&self) -> Message<'_> {
        Message::Text(self)
    }
}

impl AsMessage for String {
    fn as_message(&self) -> Message<'_> {
        Message::Text(self)
    }

    fn into_owned_message(self) -> OwnedMessage {
        OwnedMessage::Text(self)
    }
}

impl AsMessage for [u8] {
    #[inline]
    fn as_message(&self) -> Message<'_> {
        Message::Binary(self)
    }
}

impl AsMessage for Vec<u8> {
    fn as_message(&self) -> Message<'_> {
        Message::Binary(self)
    }

    fn into_owned_message(self) -> OwnedMessage {
        OwnedMessage::Binary(self)
    }
}

impl<const N: usize> AsMessage for [u8; N] {
    fn as_message(&self) -> Message<'_> {
        Message::Binary(self)
    }
}

impl<T: AsMessage + ToOwned + ?Sized> AsMessage for Cow<'_, T> {
    fn as_message(&self) -> Message<'_> {
        (**self).as_message()
    }
}

macro_rules! as_message_by_reference {
    ($($pointer:ty),*) => {$(
        impl<T: AsMessage + ?Sized> AsMessage for $pointer {
            #[inline]
            fn as_message(&self) -> Message<'_> {
                (**self).as_message()
            }
        }
    )*};
}

as_message_by_reference!(&T, &mut T, Box<T>, Rc<T>, Arc<T>);

impl From<String> for OwnedMessage {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<u8>> for OwnedMessage {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes)
    }
}

impl From<&str> for OwnedMessage {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<&String> for OwnedMessage {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<&[u8]> for OwnedMessage {
    fn from(bytes: &[u8]) -> Self {
        Self::Binary(bytes.into())
    }
}

impl From<&Vec<u8>> for OwnedMessage {
    fn from(bytes: &Vec<u8>) -> Self {
        Self::Binary(bytes.clone())
    }
}

impl<const N: usize> From<&[u8; N]> for OwnedMessage {
    fn from(bytes: &[u8; N]) -> Self {
        Self::Binary(bytes.into())
    }
}

impl From<Message<'_>> for OwnedMessage {
    fn from(message: Message<'_>) -> Self {
        match message {
            Message::Text(text) => Self::Text(text.into()),
            Message::Binary(bytes) => Self::Binary(bytes.into()),
        }
    }
}

impl<'a> From<&'a OwnedMessage> for Message<'a> {
    fn from(message: &'a OwnedMessage) -> Self {
        message.borrow()
    }
}

/// docs/protocol.md 1.9: U+001E separates the packets of a polling body, and there is no escape for it. Text with it is
/// refused over a WebSocket as well, unless an option permits it, so that the answer does not depend on an upgrade.
#[inline]
pub(crate) fn check_separator(message: Message<'_>) -> Result<(), SendError> {
    match message {
        Message::Text(text) if text.as_bytes().contains(&SEPARATOR) => Err(SendError::Separator),
        _ => Ok(()),
    }
}

/// A message encoded once for many receivers: a complete WebSocket frame, which ends with the message data.
#[derive(Clone, Debug)]
pub(crate) struct Encoded(Arc<Frames>);

#[derive(Debug)]
struct Frames {
    plain: Box<[u8]>,
    /// Where the data begins.
    data: usize,
    text: bool,
    /// The frame compressed by permessage-deflate, made by the first use; `None` inside if it does not become smaller.
    compressed: OnceLock<Option<Vec<u8>>>,
}

impl Encoded {
    pub(crate) fn new(message: Message<'_>) -> Self {
        let mut frame = OutBuf::default();
        frame.frame(message.frame(), None);
        Self(Arc::new(Frames {
            data: frame.0.len() - message.len(),
            text: matches!(message, Message::Text(_)),
            plain: frame.0.into(),
            compressed: OnceLock::new(),
        }))
    }

    /// The frame as a server sends it.
    pub(crate) fn frame(&self) -> &[u8] {
        &self.0.plain
    }

    /// The compressed frame, made by the first call.
    pub(crate) fn compressed(&self, make: impl FnOnce() -> Option<Vec<u8>>) -> Option<&[u8]> {
        self.0.compressed.get_or_init(make).as_deref()
    }

    pub(crate) fn message(&self) -> Message<'_> {
        let data = &self.0.plain[self.0.data..];
        match std::str::from_utf8(data) {
            Ok(text) if self.0.text => Message::Text(text),
            _ => Message::Binary(data),
        }
    }
}

/// A growing buffer as a sink of eio-core's encoders.
#[derive(Debug, Default)]
pub(crate) struct OutBuf(pub(crate) Vec<u8>);

impl Sink for OutBuf {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), Overflow> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn claim(&mut self, n: usize) -> Result<&mut [u8], Overflow> {
        let len = self.0.len();
        self.0.resize(len + n, 0);
        Ok(&mut self.0[len..])
    }

    #[inline]
    fn put_all<const N: usize>(&mut self, parts: [&[u8]; N]) -> Result<(), Overflow> {
        self.0.reserve(parts.iter().map(|part| part.len()).sum());
        parts.into_iter().for_each(|part| self.0.extend_from_slice(part));
        Ok(())
    }
}

impl OutBuf {
    /// Appends a packet as one WebSocket frame, masked if there is a key.
    #[inline]
    pub(crate) fn frame(&mut self, frame: Frame<'_>, mask: Option<[u8; 4]>) {
        let opcode = if frame.binary { ws::Opcode::Binary } else { ws::Opcode::Text };
        never_full(ws::encode(self, opcode, frame.prefix, frame.data, mask));
    }

    /// Appends a packet as a text frame, binary data as `b` and base64: for a session with `b64=1`.
    pub(crate) fn text_frame(&mut self, packet: &Packet<'_>) {
        let mut text = OutBuf(Vec::with_capacity(packet.text_len()));
        never_full(packet.encode_text(&mut text));
        never_full(ws::encode(self, ws::Opcode::Text, &[], &text.0, None));
    }
}

/// Discards the result of writing to an [`OutBuf`], which cannot overflow.
pub(crate) fn never_full(result: Result<(), Overflow>) {
    debug_assert!(result.is_ok(), "a growing buffer overflowed");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_made_of_all_texts_and_bytes() {
        let (text, bytes) = (String::from("a"), vec![1]);
        for message in
            [Message::from("a"), Message::from(&text), Message::from(&OwnedMessage::from("a"))]
        {
            assert_eq!(message, Message::Text("a"));
        }
        for message in [Message::from(&[1]), Message::from(&bytes), Message::from(&bytes[..])] {
            assert_eq!(message, Message::Binary(&[1]));
        }
        let texts = [OwnedMessage::from(&text), text.into()];
        assert!(texts.iter().all(|owned| owned.borrow() == Message::Text("a")));
        let owned = [OwnedMessage::from(&bytes), (&bytes[..]).into(), (&[1]).into(), bytes.into()];
        assert!(owned.iter().all(|owned| owned.borrow() == Message::Binary(&[1])));
    }

    #[test]
    fn text_and_bytes_are_sent_by_value_and_by_reference() {
        fn is(expected: Message<'_>, value: impl AsMessage) {
            assert_eq!(value.as_message(), expected);
            assert_eq!(value.into_owned_message().borrow(), expected);
        }
        let text = String::from("a");
        is(Message::Text("a"), "a");
        is(Message::Text("a"), &text);
        is(Message::Text("a"), Cow::Borrowed("a"));
        is(Message::Text("a"), Arc::<str>::from("a"));
        is(Message::Text("a"), OwnedMessage::from("a"));
        is(Message::Text("a"), Message::Text("a"));
        is(Message::Text("a"), text);
        let bytes = vec![1];
        is(Message::Binary(&[1]), [1]);
        is(Message::Binary(&[1]), b"\x01");
        is(Message::Binary(&[1]), &bytes[..]);
        is(Message::Binary(&[1]), &bytes);
        is(Message::Binary(&[1]), OwnedMessage::from(&bytes));
        is(Message::Binary(&[1]), bytes);
    }

    #[test]
    fn owned_bytes_are_moved_to_another_thread() {
        let text = String::from("moved");
        let pointer = text.as_ptr();
        let OwnedMessage::Text(moved) = text.into_owned_message() else { panic!("text") };
        assert_eq!(moved.as_ptr(), pointer);
        let bytes = vec![1, 2];
        let pointer = bytes.as_ptr();
        let OwnedMessage::Binary(moved) = bytes.into_owned_message() else { panic!("binary") };
        assert_eq!(moved.as_ptr(), pointer);
    }

    #[test]
    fn only_text_with_a_separator_is_refused() {
        assert_eq!(check_separator(Message::Text("a\u{1e}b")), Err(SendError::Separator));
        assert_eq!(check_separator(Message::Text("a\u{1f}b")), Ok(()));
        assert_eq!(check_separator(Message::Binary(&[0x1e])), Ok(()));
    }
}
