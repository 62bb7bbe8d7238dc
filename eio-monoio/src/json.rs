//! Conversion between JSON messages and types of serde, with the feature `json`.
//!
//! Engine.IO transfers text and binary data; applications agree on JSON. Like python-engineio, which sends dicts and
//! lists as compact JSON text, [`to_message`] makes a text message without white space.
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

/// Serializes `value` as a text message.
///
/// # Errors
/// If a key of a map is neither a string nor a number, or the `Serialize` implementation fails.
pub fn to_message<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<OwnedMessage> {
    serde_json::to_string(value).map(OwnedMessage::Text)
}

/// Deserializes the value of a text or binary message. Strings without escapes can be borrowed from the message.
///
/// # Errors
/// If the message is not JSON, or the JSON is not a `T`.
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
    fn invalid_json_is_an_error() {
        let keys = std::collections::HashMap::from([(vec![1], 2)]);
        assert!(to_message(&keys).is_err());
        assert!(from_message::<u8>("[").is_err());
        assert!(from_message::<u8>("256").is_err());
        assert!(from_message::<u8>(&[0xff]).is_err());
        assert_eq!(from_message::<u8>(b"255").unwrap(), 255);
    }
}
