//! Messages that are JSON, with the feature `json`.
//!
//! To Engine.IO a message is text or bytes; that some text is JSON is agreed between applications. python-engineio
//! sends dicts and lists as compact JSON text, and so does [`to_message`].
//!
//! ```
//! use eio_monoio::{OwnedMessage, json};
//!
//! let message = json::to_message(&("move", [1, 2]))?;
//! assert_eq!(message, OwnedMessage::Text(r#"["move",[1,2]]"#.into()));
//! let (verb, by): (&str, [i32; 2]) = json::from_message(&message)?;
//! assert_eq!((verb, by), ("move", [1, 2]));
//! # Ok::<(), serde_json::Error>(())
//! ```

use eio_core::packet::Message;
use serde::{Deserialize, Serialize};

use crate::message::OwnedMessage;

/// The text message that holds `value`.
///
/// # Errors
/// `value` cannot be JSON: a key of a map is no string or number, or its `Serialize` fails.
pub fn to_message<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<OwnedMessage> {
    serde_json::to_string(value).map(OwnedMessage::Text)
}

/// The value a message holds, be it text or binary. Strings without escapes are borrowed from the message.
///
/// # Errors
/// The message is not JSON, or not a `T`.
pub fn from_message<'m, T: Deserialize<'m>>(
    message: impl Into<Message<'m>>,
) -> serde_json::Result<T> {
    match message.into() {
        Message::Text(text) => serde_json::from_str(text),
        Message::Binary(bytes) => serde_json::from_slice(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_json_is_an_error_and_not_a_message() {
        let keys = std::collections::HashMap::from([(vec![1], 2)]);
        assert!(to_message(&keys).is_err());
        assert!(from_message::<u8>("[").is_err());
        assert!(from_message::<u8>("256").is_err());
        assert!(from_message::<u8>(&[0xff]).is_err());
        assert_eq!(from_message::<u8>(b"255").unwrap(), 255);
    }
}
