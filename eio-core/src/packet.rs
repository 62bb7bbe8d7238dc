//! [`Packet`]: the unit that both transports carry.
//!
//! Over WebSocket a packet is one message: a text frame `<type><data>`, or a binary frame that is a binary message
//! without a prefix. Over polling the same text is a record between separators ([`payload`](crate::payload)), and
//! binary data is `b` and base64.
//!
//! Parsing borrows: a packet points into the bytes it was parsed from, and base64 is decoded in place. Section names in
//! quotes are those of the Engine.IO v4 protocol text.

use base64_simd::{AsOut, STANDARD, STANDARD_NO_PAD};

use crate::buffer::{Overflow, Sink};
use crate::text;

/// A message of the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Message<'a> {
    /// UTF-8 text.
    Text(&'a str),
    /// Any bytes, possibly none.
    Binary(&'a [u8]),
}

impl<'a> Message<'a> {
    /// A text message; `None` if `bytes` are not UTF-8 (RFC 3629).
    ///
    /// ```
    /// use eio_core::packet::Message;
    ///
    /// assert_eq!(Message::text(b"hello"), Some(Message::Text("hello")));
    /// assert_eq!(Message::text(b"\xff"), None);
    /// ```
    #[inline]
    pub fn text(bytes: &'a [u8]) -> Option<Self> {
        text::utf8(bytes).map(Self::Text)
    }

    /// The message as a WebSocket frame, without base64.
    #[inline(always)]
    pub const fn frame(&self) -> Frame<'a> {
        match *self {
            Self::Text(text) => Frame { binary: false, prefix: b"4", data: text.as_bytes() },
            Self::Binary(data) => Frame { binary: true, prefix: b"", data },
        }
    }

    /// The length in bytes, without framing.
    pub const fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether the message has no data. An empty message is still a message.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> From<&'a str> for Message<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

#[cfg(feature = "std")]
impl<'a> From<&'a std::string::String> for Message<'a> {
    fn from(text: &'a std::string::String) -> Self {
        Self::Text(text)
    }
}

#[cfg(feature = "std")]
impl<'a> From<&'a std::vec::Vec<u8>> for Message<'a> {
    fn from(bytes: &'a std::vec::Vec<u8>) -> Self {
        Self::Binary(bytes)
    }
}

impl<'a> From<&'a [u8]> for Message<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Binary(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Message<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Binary(bytes)
    }
}

/// A packet of protocol revision 4. Only a message can be binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Packet<'a> {
    /// `0`: the open packet, with its JSON ([`open`](crate::open)).
    Open(&'a str),
    /// `1`: the sender closes the session.
    Close,
    /// `2`: a heartbeat from the server; with the data `probe`, the start of an upgrade from the client.
    Ping(&'a str),
    /// `3`: the answer to a ping, with its data.
    Pong(&'a str),
    /// `4`, or binary: a message.
    Message(Message<'a>),
    /// `5`: the client switches to the transport it probed.
    Upgrade,
    /// `6`: no content; ends a pending poll.
    Noop,
}

impl<'a> Packet<'a> {
    /// Parses one text record: a WebSocket text message, or the bytes between two separators of a polling body.
    /// Base64 is decoded in place; after an error the content of the record is unspecified.
    ///
    /// Data after a type that has none (`1`, `5`, `6`) is ignored, as engine.io and python-engineio do. It must
    /// still be UTF-8, because the record is text.
    ///
    /// ```
    /// use eio_core::packet::{Message, Packet};
    ///
    /// assert_eq!(Packet::parse_text(&mut *b"4hello".to_vec())?, Packet::Message("hello".into()));
    /// let binary = Message::Binary(&[1, 2, 3, 4]);
    /// assert_eq!(Packet::parse_text(&mut *b"bAQIDBA==".to_vec())?, Packet::Message(binary));
    /// # Ok::<(), eio_core::packet::Error>(())
    /// ```
    ///
    /// # Errors
    /// Every [`Error`] ends the session of the record.
    #[inline]
    pub fn parse_text(record: &'a mut [u8]) -> Result<Self, Error> {
        match record {
            [b'b', data @ ..] => {
                decode_base64(data).map(|bytes| Self::Message(Message::Binary(bytes)))
            }
            record => Self::parse_text_frame(record),
        }
    }

    /// Parses a WebSocket text message of a peer that does not send base64: as [`parse_text`](Self::parse_text), but `b`
    /// is an unknown type. A server sends it only to a client whose request has `b64=1`. It saves 0.7 KB of a firmware.
    ///
    /// ```
    /// use eio_core::packet::{Error, Packet};
    ///
    /// assert_eq!(Packet::parse_text_frame(b"4hello")?, Packet::Message("hello".into()));
    /// assert_eq!(Packet::parse_text_frame(b"bAQIDBA=="), Err(Error::UnknownType));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`parse_text`](Self::parse_text), without [`Error::Base64`].
    #[inline]
    pub fn parse_text_frame(record: &'a [u8]) -> Result<Self, Error> {
        let (kind, data) = record.split_first().ok_or(Error::Empty)?;
        // Messages first: they are the most frequent packets.
        Ok(match kind {
            b'4' => Self::Message(Message::Text(utf8(data)?)),
            b'2' => Self::Ping(utf8(data)?),
            b'3' => Self::Pong(utf8(data)?),
            b'0' => Self::Open(utf8(data)?),
            b'1' => utf8(data).map(|_| Self::Close)?,
            b'5' => utf8(data).map(|_| Self::Upgrade)?,
            b'6' => utf8(data).map(|_| Self::Noop)?,
            _ => return Err(no_type(record)),
        })
    }

    /// Parses a WebSocket binary message, which cannot fail. "Binary payloads are sent as is, without modification"
    /// ("WebSocket"): there is no type before the data, and no data is an empty message.
    #[inline]
    pub const fn parse_binary(bytes: &'a [u8]) -> Self {
        Self::Message(Message::Binary(bytes))
    }

    /// Writes the packet as text: a polling record, or the WebSocket text frame of a session that asked for base64.
    /// "Binary payloads MUST be base64-encoded and prefixed with a `b` character" ("HTTP long-polling"); the `b` takes
    /// the place of the type.
    ///
    /// ```
    /// use eio_core::{buffer::Writer, packet::Packet};
    ///
    /// let mut memory = [0; 16];
    /// let mut out = Writer::new(&mut memory);
    /// Packet::Message((&[1, 2, 3, 4]).into()).encode_text(&mut out)?;
    /// assert_eq!(out.written(), b"bAQIDBA==");
    /// # Ok::<(), eio_core::buffer::Overflow>(())
    /// ```
    ///
    /// # Errors
    /// [`Overflow`], with nothing written.
    // Inlined: where the caller knows the kind of the packet, almost no code remains.
    #[inline(always)]
    pub fn encode_text<K: Sink>(&self, out: &mut K) -> Result<(), Overflow> {
        let frame = self.frame();
        frame.fill_text(out.claim(frame.text_len())?);
        Ok(())
    }

    /// The exact length of [`encode_text`](Self::encode_text)'s output, in bytes.
    #[inline]
    pub const fn text_len(&self) -> usize {
        self.frame().text_len()
    }

    /// The packet as a WebSocket frame, without base64.
    #[inline(always)]
    pub const fn frame(&self) -> Frame<'a> {
        let (prefix, data): (&'static [u8], &'a [u8]) = match *self {
            Self::Message(message) => return message.frame(),
            Self::Open(json) => (b"0", json.as_bytes()),
            Self::Close => (b"1", b""),
            Self::Ping(text) => (b"2", text.as_bytes()),
            Self::Pong(text) => (b"3", text.as_bytes()),
            Self::Upgrade => (b"5", b""),
            Self::Noop => (b"6", b""),
        };
        Frame { binary: false, prefix, data }
    }
}

/// The payload of one WebSocket frame in two parts, so that the data need not be copied after its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Whether it is a binary frame; otherwise it is a text frame.
    pub binary: bool,
    /// The type: one byte, empty in a binary frame.
    pub prefix: &'static [u8],
    /// The data after the prefix.
    pub data: &'a [u8],
}

impl Frame<'_> {
    /// See [`Packet::text_len`].
    #[inline(always)]
    pub(crate) const fn text_len(&self) -> usize {
        // No overflow: a slice is at most `isize::MAX` long, and 4/3 of that fits a `usize`.
        1 + if self.binary { self.data.len().div_ceil(3) * 4 } else { self.data.len() }
    }

    /// Overwrites `out`, which is [`text_len`](Self::text_len) bytes long, with the packet as text.
    #[inline(always)]
    pub(crate) fn fill_text(&self, out: &mut [u8]) {
        let Some((kind, rest)) = out.split_first_mut() else { return };
        *kind = self.prefix.first().copied().unwrap_or(b'b');
        if self.binary {
            let _ = STANDARD.encode(self.data, rest.as_out());
        } else {
            rest.copy_from_slice(self.data);
        }
    }
}

/// Why a record is not a packet. Each of them ends the session with a parse error, see
/// [`close_code`](Self::close_code) for the WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// No byte at all, so no type.
    Empty,
    /// The first byte is neither `0` to `6` nor `b`, in a record that is UTF-8.
    UnknownType,
    /// The record is not UTF-8.
    Utf8,
    /// Not base64 of the standard alphabet (RFC 4648 section 4). This includes data that is not UTF-8.
    Base64,
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Empty => "a packet without a type",
            Self::UnknownType => "a packet of an unknown type",
            Self::Utf8 => "a packet whose text is not UTF-8",
            Self::Base64 => "a binary packet that is not base64",
        })
    }
}

impl core::error::Error for Error {}

#[inline]
fn utf8(data: &[u8]) -> Result<&str, Error> {
    text::utf8(data).ok_or(Error::Utf8)
}

/// A record that is not UTF-8 gets that error even if its type is wrong, too: a fragmented message is checked for UTF-8
/// before its type is known, and the error must not depend on the fragmentation.
///
/// > When an endpoint is to interpret a byte stream as UTF-8 but finds that the byte stream is not, in fact, a
/// > valid UTF-8 stream, that endpoint MUST _Fail the WebSocket Connection_. (RFC 6455 8.1)
#[cold]
fn no_type(record: &[u8]) -> Error {
    utf8(record).err().unwrap_or(Error::UnknownType)
}

/// Decodes in place. Missing padding is accepted, as engine.io does. A byte outside the alphabet, or stray bits in the
/// last digit (RFC 4648 sections 3.3 and 3.5), are an error; engine.io skips them, but damaged data must not arrive as
/// other data.
#[cfg_attr(not(feature = "std"), inline(never))]
fn decode_base64(data: &mut [u8]) -> Result<&[u8], Error> {
    // A third `=` remains among the digits, where it is an error.
    let padding = data.iter().rev().take(2).take_while(|&&byte| byte == b'=').count();
    let digits = data.len() - padding;
    if padding > digits.next_multiple_of(4) - digits {
        return Err(Error::Base64);
    }
    let digits = data.get_mut(..digits).ok_or(Error::Base64)?;
    STANDARD_NO_PAD.decode_inplace(digits).map(|bytes| &*bytes).map_err(|_| Error::Base64)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::buffer::Writer;

    fn parse(record: &[u8]) -> Result<Packet<'static>, Error> {
        Packet::parse_text(record.to_vec().leak())
    }

    #[test]
    fn strings_become_text_and_bytes_become_binary() {
        let bytes = std::vec![0x34, 0xff];
        assert_eq!(Message::from("4"), Message::Text("4"));
        assert_eq!(Message::from(&bytes[..]), Message::Binary(&[0x34, 0xff]));
        assert_eq!(Message::from(&[0x34, 0xff]), Message::Binary(&[0x34, 0xff]));
        assert_eq!(
            Message::from(b"4".as_slice()),
            Message::Binary(b"4"),
            "even if the bytes are UTF-8"
        );
    }

    #[test]
    fn unknown_types_are_rejected() {
        for first in 0..=u8::MAX {
            let known = matches!(first, b'0'..=b'6' | b'b');
            assert_eq!(parse(&[first]).is_ok(), known, "{first:#x}");
            assert_eq!(parse(&[first, b'A', b'A']).is_ok(), known, "{first:#x}");
        }
        assert_eq!(parse(b"7"), Err(Error::UnknownType));
        assert_eq!(parse(b""), Err(Error::Empty));
    }

    #[test]
    fn each_type_is_parsed_as_itself() {
        assert_eq!(parse(b"0{}"), Ok(Packet::Open("{}")));
        assert_eq!(parse(b"1"), Ok(Packet::Close));
        assert_eq!(parse(b"2probe"), Ok(Packet::Ping("probe")));
        assert_eq!(parse(b"3probe"), Ok(Packet::Pong("probe")));
        assert_eq!(parse(b"4a"), Ok(Packet::Message("a".into())));
        assert_eq!(parse(b"5"), Ok(Packet::Upgrade));
        assert_eq!(parse(b"6"), Ok(Packet::Noop));
    }

    #[test]
    fn length_is_in_bytes() {
        assert_eq!(Message::Text("\u{20ac}a").len(), 4);
        assert_eq!(Message::Binary(&[0; 5]).len(), 5);
        assert!(Message::Text("").is_empty() && Message::Binary(&[]).is_empty());
        assert!(!Message::Text("a").is_empty() && !Message::Binary(&[0]).is_empty());
    }

    #[test]
    fn empty_message_is_a_message() {
        assert_eq!(parse(b"4"), Ok(Packet::Message("".into())));
        assert_eq!(parse(b"b"), Ok(Packet::Message((&[]).into())));
        assert_eq!(Packet::parse_binary(b""), Packet::Message((&[]).into()));
    }

    #[test]
    fn data_after_types_without_data_is_ignored() {
        for (record, packet) in
            [(b"1x", Packet::Close), (b"5x", Packet::Upgrade), (b"6x", Packet::Noop)]
        {
            assert_eq!(parse(record), Ok(packet));
        }
    }

    #[test]
    fn records_that_are_not_utf8_are_rejected() {
        for kind in b'0'..=b'6' {
            for bad in [&[0xff][..], &[0xc0, 0x80], &[0xed, 0xa0, 0x80], &[b'a', 0xf0, 0x9f, 0x92]]
            {
                assert_eq!(parse(&[&[kind], bad].concat()), Err(Error::Utf8));
            }
        }
        // Also in place of a type, and after an unknown type.
        for bad in [&b"\xff"[..], b"\x804", b"\xe2\x82", b"x\xff", b"\0\xc0\x80"] {
            assert_eq!(parse(bad), Err(Error::Utf8), "{}", bad.escape_ascii());
        }
        assert_eq!(parse("\u{20ac}".as_bytes()), Err(Error::UnknownType));
    }

    #[test]
    fn padding_may_be_missing_but_not_too_long_or_inside() {
        for good in ["bAA==", "bAA=", "bAA"] {
            assert_eq!(parse(good.as_bytes()), Ok(Packet::Message((&[0]).into())), "{good}");
        }
        for good in ["bAAA=", "bAAA"] {
            assert_eq!(parse(good.as_bytes()), Ok(Packet::Message((&[0, 0]).into())), "{good}");
        }
        for bad in ["b=", "b==", "b===", "b====", "bA", "bA=", "bA==", "bA===", "bAA===", "bAAA=="]
            .into_iter()
            .chain(["bAAAA=", "bAA==AAAA", "bAA=A", "b=AAA", "bAAAAA", "bAA=====", "bAAAAA==="])
        {
            assert_eq!(parse(bad.as_bytes()), Err(Error::Base64), "{bad}");
        }
    }

    #[test]
    fn stray_bits_in_the_last_digit_are_rejected() {
        for bad in ["bAB==", "bAB", "bAAB=", "bAAB"] {
            assert_eq!(parse(bad.as_bytes()), Err(Error::Base64), "{bad}");
        }
    }

    #[test]
    fn bytes_outside_the_alphabet_are_rejected() {
        // Long enough for each vector width and its remainders.
        for digits in (4..160).step_by(4) {
            for at in [0, 1, digits / 2, digits - 1] {
                for byte in 0..=u8::MAX {
                    let mut record = std::vec![b'A'; digits + 1];
                    record[0] = b'b';
                    record[at + 1] = byte;
                    let standard = byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
                    let good = standard || (byte == b'=' && at == digits - 1);
                    let parsed = Packet::parse_text(&mut record).map(|_| ());
                    let expected = if good { Ok(()) } else { Err(Error::Base64) };
                    assert_eq!(parsed, expected, "{byte:#x} at {at} of {digits}");
                }
            }
        }
    }

    #[test]
    fn binary_of_every_length_round_trips() {
        let bytes: Vec<u8> = (0..200_u8).map(|byte| byte.wrapping_mul(151)).collect();
        for len in 0..=bytes.len() {
            let packet = Packet::parse_binary(&bytes[..len]);
            let mut memory = [0; 300];
            let mut out = Writer::new(&mut memory);
            packet.encode_text(&mut out).unwrap();
            assert_eq!(out.len(), packet.text_len());
            assert_eq!(parse(out.written()), Ok(packet));
        }
    }

    #[test]
    fn overflow_writes_nothing() {
        for packet in [Packet::Message("hello".into()), Packet::Message((&[1, 2, 3]).into())] {
            let mut memory = [0; 16];
            let mut out = Writer::new(&mut memory[..packet.text_len() - 1]);
            assert_eq!(packet.encode_text(&mut out), Err(Overflow));
            assert!(out.is_empty());
        }
    }
}
