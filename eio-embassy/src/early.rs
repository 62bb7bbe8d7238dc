//! [`Early`]: messages received by polling before an upgrade, until the application receives them.

use eio_core::packet::{Message, Packet};
use eio_core::payload::{self, SEPARATOR};

use crate::error::Error;

/// Packed messages. Before each are its length and kind.
#[derive(Debug, Default)]
pub(crate) struct Early<'b>(&'b [u8]);

/// As long as the separator and the type before a message in a body, so a message can be packed in place.
const HEAD: usize = 2;
/// The bit of the head that marks a binary message. The other bits are the length.
const BINARY: u16 = 0x8000;

/// Packs the messages of `body`, in which a separator precedes each packet, at its start. Returns the packed length.
/// `handle` returns the message of a packet, if it has one.
pub(crate) fn pack(
    body: &mut [u8],
    mut handle: impl for<'p> FnMut(Packet<'p>) -> Option<Message<'p>>,
) -> Result<usize, Error> {
    let (mut from, mut to) = (0, 0);
    while from < body.len() {
        let start = from + 1;
        let rest = body.get_mut(start..).unwrap_or_default();
        let len = rest.iter().position(|&byte| byte == SEPARATOR).unwrap_or(rest.len());
        from = start + len;
        let record = rest.get_mut(..len).unwrap_or_default();
        let Some(packet) = payload::Decoder::new(record).next() else { continue };
        let Some(message) = handle(packet.map_err(Error::Packet)?) else { continue };
        let len = u16::try_from(message.len()).ok().filter(|&len| len < BINARY);
        let len = len.ok_or(Error::ReceivedTooLarge)?;
        let kind = if let Message::Binary(_) = message { BINARY } else { 0 };
        // A message follows its type; base64 was decoded in place.
        let at = start + 1;
        let packed = to + HEAD + usize::from(len);
        for (slot, at) in (to + HEAD..packed).zip(at..) {
            let byte = body.get(at).copied().unwrap_or_default();
            if let Some(slot) = body.get_mut(slot) {
                *slot = byte;
            }
        }
        if let Some(head) = body.get_mut(to..).and_then(<[u8]>::first_chunk_mut) {
            *head = (len | kind).to_be_bytes();
        }
        to = packed;
    }
    Ok(to)
}

impl<'b> Early<'b> {
    /// The messages that [`pack`] packed.
    pub(crate) const fn new(packed: &'b [u8]) -> Self {
        Self(packed)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first message; an empty one if there is no message left.
    pub(crate) fn take(&mut self) -> Message<'b> {
        let (head, rest) = self.0.split_first_chunk::<HEAD>().unwrap_or((&[0; HEAD], &[]));
        let head = u16::from_be_bytes(*head);
        let (message, rest) = rest.split_at_checked((head & !BINARY).into()).unwrap_or_default();
        self.0 = rest;
        match head & BINARY {
            // `pack` validated it.
            0 => Message::Text(core::str::from_utf8(message).unwrap_or_default()),
            _ => Message::Binary(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(packet: Packet<'_>) -> Option<Message<'_>> {
        if let Packet::Message(message) = packet { Some(message) } else { None }
    }

    #[test]
    fn packed_messages_come_out_unchanged() {
        let mut body = *b"\x1e4h\xc3\xa9llo\x1e6\x1ebAQIDBA==\x1e4\x1e2\x1ebAA==\x1e4end";
        let len = pack(&mut body, message).unwrap();
        let mut early = Early::new(&body[..len]);
        for expected in [
            Message::Text("h\u{e9}llo"),
            Message::Binary(&[1, 2, 3, 4]),
            Message::Text(""),
            Message::Binary(&[0]),
            Message::Text("end"),
        ] {
            assert!(!early.is_empty());
            assert_eq!(early.take(), expected);
        }
        assert!(early.is_empty());
        assert_eq!(pack(&mut [], message), Ok(0));
        assert!(matches!(pack(&mut { *b"\x1e4a\x1e" }, message), Err(Error::Packet(_))));
    }
}
