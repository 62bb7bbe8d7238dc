//! Polling bodies: packets between record separators.
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

/// Stands between packets: "the record separator character" ("HTTP long-polling").
pub const SEPARATOR: u8 = 0x1e;

/// Iterates over the packets of a body. They borrow the body; base64 in it is decoded where it lies.
///
/// There is no empty list of packets: an empty body, two separators in a row and a separator at either end
/// are all an empty packet, [`Error::Empty`]. After an error it ends.
#[derive(Debug)]
pub struct Decoder<'b> {
    /// What follows the last separator met; none once the last packet is out.
    rest: Option<&'b mut [u8]>,
}

impl<'b> Decoder<'b> {
    /// Reads the whole of `body`.
    pub fn new(body: &'b mut [u8]) -> Self {
        Self { rest: Some(body) }
    }

    /// Whether the next packet, if it is one at all, is a message: for drivers that have no room for another
    /// but must not leave a pong unread.
    pub fn is_message_next(&self) -> bool {
        matches!(self.rest.as_deref(), Some([b'4' | b'b', ..]))
    }

    /// Whether the next packet, if it is one at all, ends the session: for drivers that receive the requests of
    /// a session in several places, and must not let it overtake a GET.
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
            // Without a separator this is none, and the packet was the last.
            self.rest = rest.split_first_mut().map(|(_separator, rest)| rest);
        }
        Some(packet)
    }
}

impl FusedIterator for Decoder<'_> {}

/// Writes packets behind one another into a body, up to two limits. It is state only, the body is the
/// caller's; one encoder serves one body.
///
/// "The client SHOULD use the `maxPayload` value sent during the handshake to decide how many packets
/// should be concatenated" ("HTTP long-polling"). The first packet goes in whatever its size, as
/// engine.io's client does: held back, it could never be sent. A python-engineio client refuses more than
/// 16 packets in a body.
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

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use]
pub enum PushOutcome {
    /// It was written.
    Written,
    /// A limit leaves no room for it beside what is there: it belongs into the next body. Nothing was
    /// written.
    Full,
    /// It can go into no body: its text holds the [`SEPARATOR`] ("this assumes the record separator is not
    /// used in the data", "From v3 to v4"). Nothing was written: the receiver would take what follows the
    /// separator for packets, and whoever chose the text would choose them.
    Separator,
}

impl Encoder {
    /// At most `max_bytes` bytes and `max_packets` packets, but always one packet.
    pub const fn new(max_bytes: usize, max_packets: usize) -> Self {
        Self { max_bytes, max_packets, bytes: 0, packets: 0 }
    }

    /// Appends `packet`, behind a separator unless it is the first.
    ///
    /// # Errors
    /// [`Overflow`], with nothing written, if `out` itself is full.
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
        // One claim, so that an overflow leaves no separator behind.
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

    /// Whether [`push`](Self::push) would not answer [`PushOutcome::Full`] to `next`, or without one to a packet
    /// without data: to be asked before a session is told that a packet was taken.
    pub const fn has_room(&self, next: Option<&Packet<'_>>) -> bool {
        self.fits(match next {
            Some(packet) => packet.text_len(),
            None => 1,
        })
    }

    /// Whether a packet of so many bytes has room beside what is there.
    const fn fits(&self, len: usize) -> bool {
        // A first packet may have exceeded the limit: nothing is left then.
        self.is_empty()
            || (self.packets < self.max_packets && len < self.max_bytes.saturating_sub(self.bytes))
    }

    /// Whether no packet was written.
    pub const fn is_empty(&self) -> bool {
        self.packets == 0
    }

    /// How many bytes were written, separators included.
    pub const fn len(&self) -> usize {
        self.bytes
    }

    /// How many packets were written.
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
    fn there_is_room_for_what_would_be_taken_and_for_nothing_else() {
        let (three, four) = (Packet::Message("ab".into()), Packet::Message("abc".into()));
        let mut memory = [0; 32];
        let mut out = Writer::new(&mut memory);
        let mut encoder = Encoder::new(7, 3);
        // A first packet always has room.
        assert!(encoder.has_room(Some(&Packet::Message("longer than that".into()))));
        assert_eq!(encoder.push(&mut out, &three), Ok(PushOutcome::Written));
        // Three bytes, a separator, and three more: that is all.
        assert!(encoder.has_room(Some(&three)) && !encoder.has_room(Some(&four)));
        assert!(encoder.has_room(None));
        assert_eq!(encoder.push(&mut out, &three), Ok(PushOutcome::Written));
        assert!(!encoder.has_room(None) && !encoder.has_room(Some(&three)));
    }

    #[test]
    fn says_of_a_message_or_an_end_that_it_is_next_and_of_nothing_else() {
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
    fn an_empty_packet_is_never_passed_over() {
        let text = |text| Ok(Packet::Message(Into::into(text)));
        assert_eq!(decode(b""), [Err(Error::Empty)]);
        assert_eq!(decode(b"\x1e"), [Err(Error::Empty)]);
        assert_eq!(decode(b"4a\x1e"), [text("a"), Err(Error::Empty)]);
        assert_eq!(decode(b"\x1e4a"), [Err(Error::Empty)]);
        assert_eq!(decode(b"4a\x1e\x1e4b"), [text("a"), Err(Error::Empty)]);
    }

    #[test]
    fn nothing_follows_an_error() {
        let mut body = *b"4a\x1e7\x1e4b";
        let mut decoder = Decoder::new(&mut body);
        assert_eq!(decoder.next(), Some(Ok(Packet::Message("a".into()))));
        assert_eq!(decoder.next(), Some(Err(Error::UnknownType)));
        assert_eq!((decoder.next(), decoder.next()), (None, None));
    }

    #[test]
    fn decoding_base64_never_touches_the_next_packet() {
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
    fn only_a_single_packet_may_exceed_the_limits() {
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
    fn the_limits_themselves_are_allowed() {
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
    fn text_never_smuggles_a_packet() {
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
    fn an_overflow_leaves_no_separator_behind() {
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
