//! One packet: the unit both transports carry.
//!
//! Over WebSocket a packet is one message: a text frame `<type><data>`, or a binary frame that is a binary
//! message with no prefix. Over polling the same text stands between record separators
//! ([`payload`](crate::payload)) and binary becomes `b` and base64.
//!
//! Parsing borrows: a packet points into the bytes it came from, base64 is decoded where it lies.
//! Sections in quotes are those of the Engine.IO v4 protocol text.

use base64_simd::{AsOut, STANDARD, STANDARD_NO_PAD};

use crate::buffer::{Overflow, Sink};
use crate::text;

/// Application data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Message<'a> {
    /// UTF-8 text.
    Text(&'a str),
    /// Any bytes, also none.
    Binary(&'a [u8]),
}

impl<'a> Message<'a> {
    /// The message as it travels over WebSocket without base64.
    #[inline(always)]
    pub const fn frame(&self) -> Frame<'a> {
        match *self {
            Self::Text(text) => Frame { binary: false, prefix: b"4", data: text.as_bytes() },
            Self::Binary(data) => Frame { binary: true, prefix: b"", data },
        }
    }

    /// The length in bytes, without any framing.
    pub const fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether it carries nothing. An empty message is still a message.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> From<&'a str> for Message<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
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
    /// `0`: the handshake, with its JSON ([`open`](crate::open)).
    Open(&'a str),
    /// `1`: the sender ends the session.
    Close,
    /// `2`: from the server a heartbeat; from the client, with `probe`, the start of an upgrade.
    Ping(&'a str),
    /// `3`: the answer to a ping, with its data.
    Pong(&'a str),
    /// `4`, or binary.
    Message(Message<'a>),
    /// `5`: the client switches to the transport it probed.
    Upgrade,
    /// `6`: nothing; ends a pending poll.
    Noop,
}

impl<'a> Packet<'a> {
    /// Parses one text record: a WebSocket text message, or what stands between two separators of a
    /// polling body. Base64 is decoded in place; after an error the record's content is unspecified.
    ///
    /// Data behind a type that has none (`1`, `5`, `6`) is ignored, as engine.io and python-engineio do.
    /// It must be UTF-8 all the same: the record is text.
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
    /// Every [`Error`] ends the session the record belongs to.
    #[inline]
    pub fn parse_text(record: &'a mut [u8]) -> Result<Self, Error> {
        let kind = *record.first().ok_or(Error::Empty)?;
        // Inside the match the record would be lent already.
        if !matches!(kind, b'0'..=b'6' | b'b') {
            return Err(no_type(record));
        }
        let data = record.get_mut(1..).unwrap_or_default();
        // Messages first: they are what there is most of.
        Ok(match kind {
            b'4' => Self::Message(Message::Text(utf8(data)?)),
            b'b' => Self::Message(Message::Binary(decode_base64(data)?)),
            b'2' => Self::Ping(utf8(data)?),
            b'3' => Self::Pong(utf8(data)?),
            b'0' => Self::Open(utf8(data)?),
            b'1' => utf8(data).map(|_| Self::Close)?,
            b'5' => utf8(data).map(|_| Self::Upgrade)?,
            _ => utf8(data).map(|_| Self::Noop)?,
        })
    }

    /// Takes a WebSocket binary message, which cannot be wrong. "Binary payloads are sent as is, without
    /// modification" ("WebSocket"): no type stands before them, and an empty one is an empty message.
    #[inline]
    pub const fn parse_binary(bytes: &'a [u8]) -> Self {
        Self::Message(Message::Binary(bytes))
    }

    /// Writes the packet as text: a polling record, or the WebSocket text frame of a session that asked
    /// for base64. "Binary payloads MUST be base64-encoded and prefixed with a `b` character" ("HTTP
    /// long-polling"): the `b` stands where a type would.
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
    // Where the caller knows which packet it is, hardly anything is left of this.
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

    /// The packet as it travels over WebSocket without base64.
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

/// One WebSocket frame's payload in two parts, so that the data need not be copied behind its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Whether it is a binary frame, else a text frame.
    pub binary: bool,
    /// The type: one byte, none before binary.
    pub prefix: &'static [u8],
    /// What follows the prefix.
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

/// Why a record is not a packet.
///
/// engine.io calls all of them a `parse error` and ends the session; over WebSocket it closes without a
/// code, except for [`Utf8`](Self::Utf8).
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
    /// Not base64 of the standard alphabet (RFC 4648 section 4); other bytes than ASCII are not looked at
    /// more closely.
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

/// Text that is not text is refused as that, whatever it begins with: a message that came in pieces was
/// refused so before its type was looked at, and where it was cut must not show.
///
/// > When an endpoint is to interpret a byte stream as UTF-8 but finds that the byte stream is not, in fact, a
/// > valid UTF-8 stream, that endpoint MUST _Fail the WebSocket Connection_. (RFC 6455 8.1)
#[cold]
fn no_type(record: &[u8]) -> Error {
    utf8(record).err().unwrap_or(Error::UnknownType)
}

/// Decodes in place. Clients that leave out padding are understood, as JS does; a byte outside the
/// alphabet or a stray bit in the last digit (RFC 4648 sections 3.3 and 3.5) is an error, which JS skips:
/// data that is damaged should not arrive as other data.
#[cfg_attr(not(feature = "std"), inline(never))]
fn decode_base64(data: &mut [u8]) -> Result<&[u8], Error> {
    // A third one is left among the digits, where it is an error.
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
    fn a_string_is_text_and_bytes_are_binary_however_they_are_lent() {
        let bytes = std::vec![0x34, 0xff];
        assert_eq!(Message::from("4"), Message::Text("4"));
        assert_eq!(Message::from(&bytes[..]), Message::Binary(&[0x34, 0xff]));
        assert_eq!(Message::from(&[0x34, 0xff]), Message::Binary(&[0x34, 0xff]));
        assert_eq!(Message::from(b"4".as_slice()), Message::Binary(b"4"), "even if it were text");
    }

    #[test]
    fn an_unknown_type_is_never_taken_for_a_known_one() {
        for first in 0..=u8::MAX {
            let known = matches!(first, b'0'..=b'6' | b'b');
            assert_eq!(parse(&[first]).is_ok(), known, "{first:#x}");
            assert_eq!(parse(&[first, b'A', b'A']).is_ok(), known, "{first:#x}");
        }
        assert_eq!(parse(b"7"), Err(Error::UnknownType));
        assert_eq!(parse(b""), Err(Error::Empty));
    }

    #[test]
    fn no_type_is_taken_for_another() {
        assert_eq!(parse(b"0{}"), Ok(Packet::Open("{}")));
        assert_eq!(parse(b"1"), Ok(Packet::Close));
        assert_eq!(parse(b"2probe"), Ok(Packet::Ping("probe")));
        assert_eq!(parse(b"3probe"), Ok(Packet::Pong("probe")));
        assert_eq!(parse(b"4a"), Ok(Packet::Message("a".into())));
        assert_eq!(parse(b"5"), Ok(Packet::Upgrade));
        assert_eq!(parse(b"6"), Ok(Packet::Noop));
    }

    #[test]
    fn the_length_of_a_message_is_its_bytes() {
        assert_eq!(Message::Text("\u{20ac}a").len(), 4);
        assert_eq!(Message::Binary(&[0; 5]).len(), 5);
        assert!(Message::Text("").is_empty() && Message::Binary(&[]).is_empty());
        assert!(!Message::Text("a").is_empty() && !Message::Binary(&[0]).is_empty());
    }

    #[test]
    fn an_empty_message_is_a_message() {
        assert_eq!(parse(b"4"), Ok(Packet::Message("".into())));
        assert_eq!(parse(b"b"), Ok(Packet::Message((&[]).into())));
        assert_eq!(Packet::parse_binary(b""), Packet::Message((&[]).into()));
    }

    #[test]
    fn data_where_none_belongs_is_ignored_but_must_be_utf8() {
        for (record, packet) in
            [(b"1x", Packet::Close), (b"5x", Packet::Upgrade), (b"6x", Packet::Noop)]
        {
            assert_eq!(parse(record), Ok(packet));
        }
    }

    #[test]
    fn text_that_is_not_utf8_never_gets_through() {
        for kind in b'0'..=b'6' {
            for bad in [&[0xff][..], &[0xc0, 0x80], &[0xed, 0xa0, 0x80], &[b'a', 0xf0, 0x9f, 0x92]]
            {
                assert_eq!(parse(&[&[kind], bad].concat()), Err(Error::Utf8));
            }
        }
        // Also where a type should stand, and behind what is none.
        for bad in [&b"\xff"[..], b"\x804", b"\xe2\x82", b"x\xff", b"\0\xc0\x80"] {
            assert_eq!(parse(bad), Err(Error::Utf8), "{}", bad.escape_ascii());
        }
        assert_eq!(parse("\u{20ac}".as_bytes()), Err(Error::UnknownType));
    }

    #[test]
    fn padding_may_be_missing_but_never_too_long_or_inside() {
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
    fn stray_bits_in_the_last_digit_are_not_dropped() {
        for bad in ["bAB==", "bAB", "bAAB=", "bAAB"] {
            assert_eq!(parse(bad.as_bytes()), Err(Error::Base64), "{bad}");
        }
    }

    #[test]
    fn no_byte_outside_the_alphabet_is_skipped() {
        // Long enough for every vector width and its remainders.
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
    fn every_length_of_binary_comes_back() {
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
    fn nothing_is_written_when_it_does_not_fit() {
        for packet in [Packet::Message("hello".into()), Packet::Message((&[1, 2, 3]).into())] {
            let mut memory = [0; 16];
            let mut out = Writer::new(&mut memory[..packet.text_len() - 1]);
            assert_eq!(packet.encode_text(&mut out), Err(Overflow));
            assert!(out.is_empty());
        }
    }
}
