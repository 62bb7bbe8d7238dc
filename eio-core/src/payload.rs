//! Polling bodies: packets with record separators between them.
//!
//! ```text
//! <packet type>[<data>]<separator><packet type>[<data>]<separator>...
//! ```
//!
//! ```
//! use eio_core::packet::Packet;
//! use eio_core::payload::Decoder;
//!
//! let mut body = *b"4hello\x1e2\x1ebAQIDBA==";
//! let packets: Result<Vec<_>, _> = Decoder::new(&mut body).collect();
//! let binary = Packet::parse_binary(&[1, 2, 3, 4]);
//! assert_eq!(packets?, [Packet::Message("hello".into()), Packet::Ping(""), binary]);
//! # Ok::<(), eio_core::packet::Error>(())
//! ```

use core::iter::FusedIterator;

use crate::buffer::{Overflow, Sink};
use crate::bytes::find;
use crate::packet::{Error, Packet};

/// The byte between two packets: "the record separator character" ("HTTP long-polling").
pub const SEPARATOR: u8 = 0x1e;

/// Whether `body` begins with the open packet of a server of revision 3 of the protocol, which writes the length before
/// each packet: `96:0{"sid":...`.
pub fn is_revision_3(body: &[u8]) -> bool {
    let digits = body.iter().take_while(|byte| byte.is_ascii_digit()).count();
    digits > 0 && body.get(digits..).is_some_and(|rest| rest.starts_with(b":0{"))
}

/// Iterates over the packets of a body. They borrow the body; base64 is decoded in place.
///
/// A body has at least one packet: an empty body, two separators in a row, and a separator at the start or the end
/// contain an empty packet, [`Error::Empty`]. Iteration ends after an error.
#[derive(Debug)]
pub struct Decoder<'b> {
    /// The bytes after the last separator found; `None` after the last packet.
    rest: Option<&'b mut [u8]>,
}

impl<'b> Decoder<'b> {
    /// Iterates over all of `body`.
    pub fn new(body: &'b mut [u8]) -> Self {
        Self { rest: Some(body) }
    }

    /// Whether the next packet is a message, if it is valid: for a driver that has no room for another message but must
    /// not leave a pong unread.
    pub fn is_message_next(&self) -> bool {
        matches!(self.rest.as_deref(), Some([b'4' | b'b', ..]))
    }

    /// Whether the next packet closes the session, if it is valid: for a driver that receives the requests of a session
    /// on several threads and must not let the close overtake a GET.
    pub fn is_close_next(&self) -> bool {
        matches!(self.rest.as_deref(), Some([b'1', ..]))
    }
}

impl<'b> Iterator for Decoder<'b> {
    type Item = Result<Packet<'b>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        let end = find(SEPARATOR, rest).unwrap_or(rest.len());
        let (record, rest) = rest.split_at_mut_checked(end)?;
        let packet = Packet::parse_text(record);
        if packet.is_ok() {
            // Without a separator this was the last packet.
            self.rest = rest.split_first_mut().map(|(_separator, rest)| rest);
        }
        Some(packet)
    }
}

impl FusedIterator for Decoder<'_> {}

/// Writes packets and separators into a body, up to two limits. It holds no bytes, the body belongs to the caller; one
/// encoder serves one body.
///
/// "The client SHOULD use the `maxPayload` value sent during the handshake to decide how many packets should be
/// concatenated" ("HTTP long-polling"). The first packet is written whatever its size, as engine.io-client does, since
/// it would not fit into a later body either. python-engineio rejects a body with more than 16 packets.
///
/// ```
/// use eio_core::buffer::Writer;
/// use eio_core::packet::Packet;
/// use eio_core::payload::{Encoder, PushOutcome};
///
/// let mut memory = [0; 64];
/// let mut body = Writer::new(&mut memory);
/// let mut encoder = Encoder::new(10, 16);
/// assert_eq!(encoder.push(&mut body, &Packet::Message("hello".into()))?, PushOutcome::Written);
/// assert_eq!(encoder.push(&mut body, &Packet::Ping(""))?, PushOutcome::Written);
/// assert_eq!(encoder.push(&mut body, &Packet::Message("world".into()))?, PushOutcome::Full);
/// assert_eq!(body.written(), b"4hello\x1e2");
/// # Ok::<(), eio_core::buffer::Overflow>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Encoder {
    max_bytes: usize,
    max_packets: usize,
    bytes: usize,
    packets: usize,
}

/// The result of [`Encoder::push`].
// Exhaustive, because a driver must handle each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use]
pub enum PushOutcome {
    /// The packet was written.
    Written,
    /// A limit leaves no room for the packet; it belongs into the next body. Nothing was written.
    Full,
    /// No body can carry the packet, because its text contains the [`SEPARATOR`] ("this assumes the record separator
    /// is not used in the data", "From v3 to v4"). Nothing was written: the receiver would parse the text after the
    /// separator as packets, which the author of the text could choose.
    Separator,
}

impl Encoder {
    /// At most `max_bytes` bytes and `max_packets` packets, but always at least one packet.
    pub const fn new(max_bytes: usize, max_packets: usize) -> Self {
        Self { max_bytes, max_packets, bytes: 0, packets: 0 }
    }

    /// Appends `packet`, after a separator unless it is the first.
    ///
    /// # Errors
    /// [`Overflow`], with nothing written, if `out` is full.
    pub fn push<K: Sink>(
        &mut self,
        out: &mut K,
        packet: &Packet<'_>,
    ) -> Result<PushOutcome, Overflow> {
        let frame = packet.frame();
        if !frame.binary && find(SEPARATOR, frame.data).is_some() {
            return Ok(PushOutcome::Separator);
        }
        let len = frame.text_len();
        let separators = usize::from(!self.is_empty());
        if !self.fits(len) {
            return Ok(PushOutcome::Full);
        }
        // One claim, so that an overflow does not leave a separator in the body.
        let room = out.claim(separators + len)?;
        let (separator, record) = room.split_at_mut_checked(separators).ok_or(Overflow)?;
        if let [separator] = separator {
            *separator = SEPARATOR;
        }
        frame.fill_text(record);
        self.bytes += separators + len;
        self.packets += 1;
        Ok(PushOutcome::Written)
    }

    /// Whether [`push`](Self::push) would not return [`PushOutcome::Full`] for `next`, or for a packet without data if
    /// `next` is `None`. Call it before a session hands out a packet.
    pub const fn has_room(&self, next: Option<&Packet<'_>>) -> bool {
        self.fits(match next {
            Some(packet) => packet.text_len(),
            None => 1,
        })
    }

    /// Whether a packet of `len` bytes fits after the packets written before.
    const fn fits(&self, len: usize) -> bool {
        // A first packet can exceed the limit, so the remaining room saturates at 0.
        self.is_empty()
            || (self.packets < self.max_packets && len < self.max_bytes.saturating_sub(self.bytes))
    }

    /// Whether no packet was written.
    pub const fn is_empty(&self) -> bool {
        self.packets == 0
    }

    /// The number of bytes written, including separators.
    pub const fn len(&self) -> usize {
        self.bytes
    }

    /// The number of packets written.
    pub const fn packets(&self) -> usize {
        self.packets
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::buffer::Writer;

    fn decode(body: &[u8]) -> Vec<Result<Packet<'static>, Error>> {
        Decoder::new(body.to_vec().leak()).collect()
    }

    #[test]
    fn has_room_agrees_with_push() {
        let (three, four) = (Packet::Message("ab".into()), Packet::Message("abc".into()));
        let mut memory = [0; 32];
        let mut out = Writer::new(&mut memory);
        let mut encoder = Encoder::new(7, 3);
        // A first packet always has room.
        assert!(encoder.has_room(Some(&Packet::Message("longer than the limit".into()))));
        assert_eq!(encoder.push(&mut out, &three), Ok(PushOutcome::Written));
        // Three bytes, a separator, and three more fill the body.
        assert!(encoder.has_room(Some(&three)) && !encoder.has_room(Some(&four)));
        assert!(encoder.has_room(None));
        assert_eq!(encoder.push(&mut out, &three), Ok(PushOutcome::Written));
        assert!(!encoder.has_room(None) && !encoder.has_room(Some(&three)));
    }

    #[test]
    fn next_packet_is_classified_before_it_is_parsed() {
        let mut body = *b"3\x1e4a\x1ebAA==\x1e4\x1e1";
        let mut packets = Decoder::new(&mut body);
        let (mut said, mut closes) = (Vec::new(), Vec::new());
        loop {
            said.push(packets.is_message_next());
            closes.push(packets.is_close_next());
            if packets.next().is_none() {
                break;
            }
        }
        assert_eq!(said, [false, true, true, true, false, false]);
        assert_eq!(closes, [false, false, false, false, true, false]);
    }

    #[test]
    fn empty_packets_are_rejected() {
        let text = |text| Ok(Packet::Message(Into::into(text)));
        assert_eq!(decode(b""), [Err(Error::Empty)]);
        assert_eq!(decode(b"\x1e"), [Err(Error::Empty)]);
        assert_eq!(decode(b"4a\x1e"), [text("a"), Err(Error::Empty)]);
        assert_eq!(decode(b"\x1e4a"), [Err(Error::Empty)]);
        assert_eq!(decode(b"4a\x1e\x1e4b"), [text("a"), Err(Error::Empty)]);
    }

    #[test]
    fn iteration_ends_after_an_error() {
        let mut body = *b"4a\x1e7\x1e4b";
        let mut decoder = Decoder::new(&mut body);
        assert_eq!(decoder.next(), Some(Ok(Packet::Message("a".into()))));
        assert_eq!(decoder.next(), Some(Err(Error::UnknownType)));
        assert_eq!((decoder.next(), decoder.next()), (None, None));
    }

    #[test]
    fn base64_decoding_does_not_affect_the_next_packet() {
        for len in 0..100 {
            let bytes: Vec<u8> = (0..len).collect();
            let mut memory = [0; 300];
            let mut out = Writer::new(&mut memory);
            let mut encoder = Encoder::new(usize::MAX, usize::MAX);
            let packets = [Packet::parse_binary(&bytes), Packet::Message("next".into())];
            for packet in &packets {
                assert_eq!(encoder.push(&mut out, packet), Ok(PushOutcome::Written));
            }
            assert_eq!(decode(out.written()), packets.map(Ok));
        }
    }

    #[test]
    fn only_the_first_packet_may_exceed_the_limits() {
        let mut memory = [0; 64];
        let mut out = Writer::new(&mut memory);
        let mut encoder = Encoder::new(0, 0);
        assert!(encoder.is_empty());
        assert_eq!(
            encoder.push(&mut out, &Packet::Message("long".into())),
            Ok(PushOutcome::Written)
        );
        assert_eq!(encoder.push(&mut out, &Packet::Noop), Ok(PushOutcome::Full));
        assert_eq!((out.written(), encoder.len(), encoder.packets()), (&b"4long"[..], 5, 1));
        assert!(!encoder.is_empty());
    }

    #[test]
    fn bodies_may_reach_the_limits() {
        let mut memory = [0; 64];
        for (max_bytes, max_packets, written) in
            [(5, 9, "6\x1e6\x1e6"), (4, 9, "6\x1e6"), (9, 2, "6\x1e6"), (2, 9, "6")]
        {
            let mut out = Writer::new(&mut memory);
            let mut encoder = Encoder::new(max_bytes, max_packets);
            while encoder.push(&mut out, &Packet::Noop) == Ok(PushOutcome::Written) {}
            assert_eq!(out.written(), written.as_bytes());
            assert_eq!(encoder.len(), written.len());
        }
    }

    #[test]
    fn text_with_a_separator_is_rejected() {
        let mut memory = [0; 64];
        let mut out = Writer::new(&mut memory);
        let mut encoder = Encoder::new(64, 16);
        for text in ["a\x1e1", "\x1e", "a\x1e"] {
            for packet in [Packet::Message(text.into()), Packet::Ping(text), Packet::Pong(text)] {
                assert_eq!(encoder.push(&mut out, &packet), Ok(PushOutcome::Separator));
            }
        }
        assert!(out.is_empty() && encoder.is_empty());
        let binary = Packet::parse_binary(b"\x1e");
        assert_eq!(encoder.push(&mut out, &binary), Ok(PushOutcome::Written));
        assert_eq!(decode(out.written()), [Ok(binary)]);
    }

    #[test]
    fn overflow_writes_no_separator() {
        let mut memory = [0; 6];
        let mut out = Writer::new(&mut memory);
        let mut encoder = Encoder::new(64, 16);
        assert_eq!(
            encoder.push(&mut out, &Packet::Message("abc".into())),
            Ok(PushOutcome::Written)
        );
        let before = encoder;
        assert_eq!(encoder.push(&mut out, &Packet::Message("d".into())), Err(Overflow));
        assert_eq!((out.written(), encoder), (&b"4abc"[..], before));
        assert_eq!(encoder.push(&mut out, &Packet::Noop), Ok(PushOutcome::Written));
        assert_eq!(out.written(), b"4abc\x1e6");
        assert_eq!((encoder.packets(), encoder.len()), (2, 6));
    }
}
