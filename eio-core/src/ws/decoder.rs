//! Received bytes to events, RFC 6455 sections 5 and 6.2.
//!
//! A frame's head is skipped, its payload unmasked where it lies and kept; a message is what is kept when a
//! frame with FIN is through. A control frame may stand between the fragments of a message, so it is never
//! kept: it waits in the unread bytes until it is whole, is lent from there, and is skipped afterwards.
//!
//! The state knows nothing of the bytes but positions: the buffer may move, grow or change its storage
//! between two polls.

use super::frame::{Head, Opcode, RSV1, Stop};
use super::{CloseCode, Error, Role, close, mask};
use crate::buffer::RecvBuffer;

/// Decodes the frames of one connection, see the [module](super) for the loop around it.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    role: Role,
    max_message: usize,
    /// permessage-deflate was negotiated.
    deflate: bool,
    state: State,
    /// The message of which something is kept but not yet the end.
    partial: Option<Partial>,
    /// Length of the control frame that the last poll lent from the unread bytes.
    lent: u8,
}

/// What [`Decoder::poll`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Step {
    /// At least so many more bytes are announced (the rest of a head or of a frame's payload), and at least
    /// one: what to size the next buffer by. Never more than `max_message` or 125, whichever is larger; with
    /// [`allow_compressed`](Decoder::allow_compressed) a little more.
    Need(usize),
    /// There is an event.
    Ready(Ready),
}

/// Names an event without borrowing it. Good until the next [`Decoder::poll`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Ready {
    kind: Kind,
    compressed: bool,
    len: usize,
}

impl Ready {
    /// What it is.
    pub const fn kind(self) -> Kind {
        self.kind
    }

    /// Whether it is a message that is to be inflated, see [`Decoder::allow_compressed`].
    pub const fn is_compressed(self) -> bool {
        self.compressed
    }

    /// The length of its payload in bytes, as it was on the wire. A close code counts as two.
    pub const fn len(self) -> usize {
        self.len
    }

    /// Whether it has no payload.
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// The kinds of [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Kind {
    /// A text message.
    Text,
    /// A binary message.
    Binary,
    /// To be answered with a pong of the same payload.
    Ping,
    /// The answer to a ping, or unasked for.
    Pong,
    /// The peer will send nothing more.
    Close,
}

/// A whole message or control frame, in the buffer it was received in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Event<'b> {
    /// A text message.
    Text(&'b str),
    /// A binary message.
    Binary(&'b [u8]),
    /// To be answered with a pong of the same payload (5.5.2).
    Ping(&'b [u8]),
    /// The answer to a ping, or unasked for (5.5.3).
    Pong(&'b [u8]),
    /// The peer will send nothing more: its code, and a reason that may be empty. To be answered with a close
    /// if none was sent yet (5.5.1).
    Close(Option<CloseCode>, &'b str),
}

impl Decoder {
    /// Before the first frame. A message may have `max_message` bytes over all its fragments.
    pub const fn new(role: Role, max_message: usize) -> Self {
        Self { role, max_message, deflate: false, state: State::Head, partial: None, lent: 0 }
    }

    /// The same, where permessage-deflate was negotiated: RSV1 may be set where a message begins, and means that
    /// [`Ready::is_compressed`].
    ///
    /// Such a message is lent as it came. Whoever inflates it appends `00 00 ff ff` first (RFC 7692 7.2.2), ends the
    /// connection with [`Error::TooBig`] before more than `max_message` bytes come out and with
    /// [`Error::NotDeflate`] if it is none, and checks that text is UTF-8. It may be longer than `max_message` by a
    /// part in 1024 and 64 bytes, because noise grows when it is compressed.
    #[must_use]
    pub const fn allow_compressed(mut self) -> Self {
        self.deflate = true;
        self
    }

    /// Releases the event of the previous [`Step::Ready`], then goes on to the next. Poll again after each
    /// event, and after [`Step::Need`] when more was received into `rx`.
    ///
    /// After a close frame whatever else comes is dropped, as the protocol demands, and the answer is always
    /// `Need(1)`.
    ///
    /// # Errors
    /// How the peer broke the protocol; from then on always the same.
    #[inline]
    pub fn poll<S: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        rx: &mut RecvBuffer<S>,
    ) -> Result<Step, Error> {
        rx.skip(usize::from(core::mem::take(&mut self.lent)));
        if self.partial.is_none() {
            rx.release();
        }
        // Most polls find a whole message here and are done; the rest is kept out of their way. That takes the
        // same code twice, for which there is room where there is `std`.
        let step = if cfg!(feature = "std") && matches!(self.state, State::Head) {
            self.head(rx)
        } else {
            Ok(None)
        };
        match step {
            Ok(Some(step)) => Ok(step),
            Ok(None) => self.resume(rx),
            Err(error) => self.fail(error),
        }
    }

    /// Borrows the event from the buffer that [`poll`](Self::poll) found it in.
    ///
    /// # Errors
    /// [`Error::TextNotUtf8`], which ends the connection like an error of [`poll`](Self::poll). Text that
    /// arrived in pieces was refused there already, at its first wrong byte. A compressed message of either kind
    /// comes as [`Event::Binary`], not inflated.
    #[inline]
    pub fn event<'b, S: AsRef<[u8]> + AsMut<[u8]>>(
        &self,
        rx: &'b RecvBuffer<S>,
        ready: Ready,
    ) -> Result<Event<'b>, Error> {
        let held = if ready.kind.is_message() { rx.kept() } else { rx.unread() };
        let payload = held.get(..ready.len).unwrap_or_default();
        Ok(match ready.kind {
            Kind::Text if !ready.compressed => {
                Event::Text(simdutf8::basic::from_utf8(payload).map_err(|_| Error::TextNotUtf8)?)
            }
            Kind::Text | Kind::Binary => Event::Binary(payload),
            Kind::Ping => Event::Ping(payload),
            Kind::Pong => Event::Pong(payload),
            Kind::Close => {
                let (code, reason) = close::parse(payload)?;
                Event::Close(code, reason)
            }
        })
    }

    /// The payload of the event, for parsers that work in place. **Text is not checked to be UTF-8**: whoever
    /// takes it from here does that, and ends the connection with [`Error::TextNotUtf8`].
    #[inline]
    pub fn payload_mut<'b, S: AsRef<[u8]> + AsMut<[u8]>>(
        &self,
        rx: &'b mut RecvBuffer<S>,
        ready: Ready,
    ) -> &'b mut [u8] {
        let held = if ready.kind.is_message() { rx.kept_mut() } else { rx.unread_mut() };
        held.get_mut(..ready.len).unwrap_or_default()
    }

    /// At a frame's first byte.
    // Inlined, the buffer's positions stay in registers from one frame to the next; a call doubled the
    // time for a short frame.
    #[inline(always)]
    fn head<S: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        rx: &mut RecvBuffer<S>,
    ) -> Result<Option<Step>, Error> {
        let unread = rx.unread();
        let (rest, head) = match Head::parse(unread, self.role, self.deflate) {
            Ok(parsed) => parsed,
            Err(Stop::Need(n)) => return Ok(Some(Step::Need(n))),
            Err(Stop::Broken(error)) => return Err(error),
        };
        let (size, arrived) = (unread.len() - rest.len(), rest.len());
        let kind = match (head.opcode, self.partial) {
            (Opcode::Text, None) => Kind::Text,
            (Opcode::Binary, None) => Kind::Binary,
            (Opcode::Continuation, Some(partial)) => partial.kind,
            // > The fragments of one message MUST NOT be interleaved between the fragments of another
            // > message (5.4)
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(Error::MessageUnfinished),
            (Opcode::Continuation, None) => return Err(Error::NothingToContinue),
            (Opcode::Close, _) => Kind::Close,
            (Opcode::Ping, _) => Kind::Ping,
            (Opcode::Pong, _) => Kind::Pong,
        };
        if !kind.is_message() {
            rx.skip(size);
            // The head was checked: a control frame is at most 125 bytes.
            self.state = State::Control(Control { kind, len: head.len as u8, key: head.key });
            return Ok(None);
        }
        let (mut compressed, mut max) = (false, self.max_message);
        if self.deflate {
            (compressed, max) = self.compressed(unread);
        }
        let room = max.saturating_sub(rx.kept().len());
        let left =
            usize::try_from(head.len).ok().filter(|len| *len <= room).ok_or(Error::TooBig)?;
        rx.skip(size);
        // What most messages are: one frame, all there. Nothing to remember, nothing to check twice.
        if head.fin && self.partial.is_none() && left <= arrived {
            take(rx, left, head.key);
            return Ok(Some(Step::Ready(Ready { kind, compressed, len: left })));
        }
        self.partial.get_or_insert(Partial { kind, compressed, checked: 0 });
        self.state = State::Payload(Payload { left, key: head.key, fin: head.fin });
        Ok(None)
    }

    /// Whether the data frame that begins here is of a compressed message, and what that may have.
    #[cold]
    fn compressed(&self, frame: &[u8]) -> (bool, usize) {
        // A message is what its first frame says; RSV1 of another was refused.
        let says = frame.first().is_some_and(|first| first & RSV1 != 0);
        let compressed = says || self.partial.is_some_and(|partial| partial.compressed);
        (compressed, if compressed { deflated(self.max_message) } else { self.max_message })
    }

    /// Whatever is not one whole message in one frame.
    #[inline(never)]
    fn resume<S: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        rx: &mut RecvBuffer<S>,
    ) -> Result<Step, Error> {
        loop {
            let step = match self.state {
                State::Head => self.head(rx),
                State::Payload(frame) => self.payload(rx, frame),
                State::Control(frame) => self.control(rx, frame),
                State::Closed => {
                    // > after receiving a control frame indicating the connection should be closed, a
                    // > peer discards any further data received. (1.4)
                    rx.clear();
                    Ok(Some(Step::Need(1)))
                }
                State::Failed(error) => Err(error),
            };
            match step {
                Ok(Some(step)) => return Ok(step),
                Ok(None) => {}
                Err(error) => return self.fail(error),
            }
        }
    }

    #[cold]
    fn fail(&mut self, error: Error) -> Result<Step, Error> {
        self.state = State::Failed(error);
        Err(error)
    }

    /// Inside the payload of a data frame.
    fn payload<S: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        rx: &mut RecvBuffer<S>,
        mut frame: Payload,
    ) -> Result<Option<Step>, Error> {
        let Some(partial) = &mut self.partial else {
            // Never so, see [`State::Payload`]; but if it were, this must not loop.
            self.state = State::Head;
            return Ok(None);
        };
        let n = frame.left.min(rx.unread().len());
        frame.key = take(rx, n, frame.key);
        frame.left -= n;
        let ends = frame.fin && frame.left == 0;
        if partial.kind == Kind::Text && !partial.compressed {
            partial.check(rx.kept(), ends)?;
        }
        if frame.left > 0 {
            self.state = State::Payload(frame);
            return Ok(Some(Step::Need(frame.left)));
        }
        self.state = State::Head;
        if !ends {
            return Ok(None);
        }
        let Partial { kind, compressed, .. } = *partial;
        let ready = Ready { kind, compressed, len: rx.kept().len() };
        self.partial = None;
        Ok(Some(Step::Ready(ready)))
    }

    /// Behind the head of a control frame.
    fn control<S: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        rx: &mut RecvBuffer<S>,
        frame: Control,
    ) -> Result<Option<Step>, Error> {
        let len = usize::from(frame.len);
        let unread = rx.unread_mut();
        let Some(payload) = unread.get_mut(..len) else {
            return Ok(Some(Step::Need(len - unread.len())));
        };
        mask::apply(payload, frame.key);
        self.state = State::Head;
        if frame.kind == Kind::Close {
            close::parse(payload)?;
            self.state = State::Closed;
        }
        self.lent = frame.len;
        Ok(Some(Step::Ready(Ready { kind: frame.kind, compressed: false, len })))
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The next unread byte is the first of a frame.
    Head,
    /// The next unread byte is payload of a data frame. Invariant: `partial` is the message it belongs to.
    Payload(Payload),
    /// The next unread byte is the first of a control frame's payload.
    Control(Control),
    /// A close frame was delivered.
    Closed,
    Failed(Error),
}

#[derive(Clone, Copy, Debug)]
struct Payload {
    /// Bytes still to come.
    left: usize,
    /// Rotated so that its first byte belongs to the next byte of payload.
    key: [u8; 4],
    fin: bool,
}

#[derive(Clone, Copy, Debug)]
struct Control {
    kind: Kind,
    len: u8,
    key: [u8; 4],
}

#[derive(Clone, Copy, Debug)]
struct Partial {
    kind: Kind,
    compressed: bool,
    /// So many kept bytes are known to be whole characters.
    checked: usize,
}

impl Partial {
    /// Goes on checking where the last check ended; only a character that was cut off is looked at again.
    ///
    /// > When an endpoint is to interpret a byte stream as UTF-8 but finds that the byte stream is not, in
    /// > fact, a valid UTF-8 stream, that endpoint MUST _Fail the WebSocket Connection_. (8.1)
    fn check(&mut self, kept: &[u8], ends: bool) -> Result<(), Error> {
        let new = kept.get(self.checked..).unwrap_or_default();
        match simdutf8::compat::from_utf8(new) {
            Ok(_) => self.checked = kept.len(),
            Err(error) if error.error_len().is_none() && !ends => {
                self.checked += error.valid_up_to();
            }
            Err(_) => return Err(Error::TextNotUtf8),
        }
        Ok(())
    }
}

impl Kind {
    const fn is_message(self) -> bool {
        matches!(self, Self::Text | Self::Binary)
    }
}

/// What a message of so many bytes may have when it is compressed: DEFLATE adds five bytes to a block it cannot
/// shrink, and compressors in use make blocks of kilobytes.
const fn deflated(len: usize) -> usize {
    len.saturating_add(len / 1024).saturating_add(64)
}

/// Unmasks and keeps the next `n` unread bytes; returns the key for those that follow.
#[inline(always)]
fn take<S: AsRef<[u8]> + AsMut<[u8]>>(rx: &mut RecvBuffer<S>, n: usize, key: [u8; 4]) -> [u8; 4] {
    let key = mask::apply(rx.unread_mut().get_mut(..n).unwrap_or_default(), key);
    rx.keep(n);
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString};
    use std::vec;
    use std::vec::Vec;

    /// An event that outlives the buffer.
    #[derive(Debug, PartialEq)]
    enum Got {
        Text(String),
        Binary(Vec<u8>),
        Ping(Vec<u8>),
        Pong(Vec<u8>),
        Close(Option<CloseCode>, String),
        Error(Error),
    }

    impl From<Event<'_>> for Got {
        fn from(event: Event<'_>) -> Self {
            match event {
                Event::Text(text) => Self::Text(text.into()),
                Event::Binary(bytes) => Self::Binary(bytes.into()),
                Event::Ping(bytes) => Self::Ping(bytes.into()),
                Event::Pong(bytes) => Self::Pong(bytes.into()),
                Event::Close(code, reason) => Self::Close(code, reason.into()),
            }
        }
    }

    fn text(text: &str) -> Got {
        Got::Text(text.to_string())
    }

    /// What comes out when `wire` arrives at once, with at most 1000 bytes a message.
    fn decode(role: Role, wire: &[u8]) -> Vec<Got> {
        let mut rx = RecvBuffer::with_unread(wire.to_vec(), wire.len());
        let mut decoder = Decoder::new(role, 1000);
        let mut got = Vec::new();
        loop {
            match decoder.poll(&mut rx) {
                Ok(Step::Need(n)) => {
                    assert!(n > 0);
                    return got;
                }
                Ok(Step::Ready(ready)) => match decoder.event(&rx, ready) {
                    Ok(event) => got.push(event.into()),
                    Err(error) => got.push(Got::Error(error)),
                },
                Err(error) => {
                    assert_eq!(decoder.poll(&mut rx), Err(error), "an error is final");
                    got.push(Got::Error(error));
                    return got;
                }
            }
        }
    }

    fn client(wire: &[u8]) -> Vec<Got> {
        decode(Role::Client, wire)
    }

    #[test]
    fn the_examples_of_section_5_7() {
        let masked_hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
        let masked_pong = b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
        assert_eq!(client(b"\x81\x05Hello"), [text("Hello")]);
        assert_eq!(decode(Role::Server, masked_hello), [text("Hello")]);
        assert_eq!(client(b"\x01\x03Hel\x80\x02lo"), [text("Hello")]);
        assert_eq!(client(b"\x89\x05Hello"), [Got::Ping(b"Hello".to_vec())]);
        assert_eq!(decode(Role::Server, masked_pong), [Got::Pong(b"Hello".to_vec())]);
        let mut binary = b"\x82\x7e\x01\x00".to_vec();
        binary.resize(4 + 256, 7);
        assert_eq!(client(&binary), [Got::Binary(vec![7; 256])]);
        let mut binary = b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00".to_vec();
        binary.resize(10 + 65536, 7);
        let mut rx = RecvBuffer::with_unread(&mut binary[..], 10 + 65536);
        let mut decoder = Decoder::new(Role::Client, 65536);
        let Ok(Step::Ready(ready)) = decoder.poll(&mut rx) else { panic!("not ready") };
        assert_eq!(decoder.event(&rx, ready), Ok(Event::Binary(&[7; 65536])));
    }

    #[test]
    fn control_frames_do_not_disturb_a_fragmented_message() {
        let wire = b"\x01\x03Hel\x89\x01!\x00\x00\x8a\x00\x80\x02lo\x82\x00";
        let (ping, pong) = (Got::Ping(b"!".to_vec()), Got::Pong(vec![]));
        assert_eq!(client(wire), [ping, pong, text("Hello"), Got::Binary(vec![])]);
    }

    #[test]
    fn nothing_is_decoded_after_a_close() {
        let wire = b"\x88\x05\x03\xe8bye\x81\x05Hello\xff\xff";
        assert_eq!(client(wire), [Got::Close(Some(CloseCode::NORMAL), "bye".into())]);
        // Also not the rest of a message.
        assert_eq!(client(b"\x01\x01a\x88\x00\x80\x01b"), [Got::Close(None, "".into())]);
    }

    #[test]
    fn the_buffer_is_free_after_a_close() {
        let mut rx = RecvBuffer::with_unread(*b"\x01\x01a\x88\x00rest", 9);
        let mut decoder = Decoder::new(Role::Client, 10);
        assert!(matches!(decoder.poll(&mut rx), Ok(Step::Ready(_))));
        assert_eq!(decoder.poll(&mut rx), Ok(Step::Need(1)));
        assert!(rx.is_empty());
    }

    #[test]
    fn the_buffer_is_free_when_no_frame_is_begun() {
        let mut rx = RecvBuffer::with_unread(*b"\x81\x01a\x89\x01b", 6);
        let mut decoder = Decoder::new(Role::Client, 10);
        assert!(matches!(decoder.poll(&mut rx), Ok(Step::Ready(_))));
        assert!(matches!(decoder.poll(&mut rx), Ok(Step::Ready(_))));
        assert_eq!(decoder.poll(&mut rx), Ok(Step::Need(2)));
        assert!(rx.is_empty());
    }

    #[test]
    fn no_reserved_bit_is_accepted() {
        for bit in [0x40, 0x20, 0x10] {
            assert_eq!(client(&[0x81 | bit, 0]), [Got::Error(Error::ReservedBits)]);
            assert_eq!(client(&[0x89 | bit, 0]), [Got::Error(Error::ReservedBits)]);
        }
    }

    #[test]
    fn no_reserved_opcode_is_accepted() {
        for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
            assert_eq!(client(&[0x80 | opcode, 0]), [Got::Error(Error::ReservedOpcode)]);
        }
    }

    #[test]
    fn no_control_frame_is_fragmented() {
        for opcode in [8, 9, 10] {
            assert_eq!(client(&[opcode, 0]), [Got::Error(Error::FragmentedControl)]);
        }
    }

    #[test]
    fn no_control_frame_is_longer_than_125_bytes() {
        let mut ping = b"\x89\x7d".to_vec();
        ping.resize(2 + 125, 0);
        assert_eq!(client(&ping), [Got::Ping(vec![0; 125])]);
        assert_eq!(client(b"\x89\x7e\x00\x7e"), [Got::Error(Error::ControlTooLong)]);
        assert_eq!(client(b"\x88\x7f"), [Got::Error(Error::ControlTooLong)]);
    }

    #[test]
    fn no_server_takes_unmasked_and_no_client_masked_frames() {
        assert_eq!(decode(Role::Server, b"\x81\x00"), [Got::Error(Error::Unmasked)]);
        assert_eq!(decode(Role::Client, b"\x81\x80\0\0\0\0"), [Got::Error(Error::Masked)]);
        assert_eq!(decode(Role::Server, b"\x81\x80\0\0\0\0"), [text("")]);
    }

    #[test]
    fn no_length_takes_more_bytes_than_it_needs() {
        let refused = [Got::Error(Error::LengthNotMinimal)];
        assert_eq!(client(b"\x82\x7e\x00\x7d"), refused);
        assert_eq!(client(b"\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff"), refused);
        assert_eq!(client(b"\x82\x7e\x00\x7e"), []);
    }

    #[test]
    fn no_length_has_its_top_bit_set() {
        let refused = [Got::Error(Error::LengthTopBit)];
        assert_eq!(client(b"\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00"), refused);
    }

    #[test]
    fn nothing_is_continued_that_was_not_begun() {
        assert_eq!(client(b"\x80\x00"), [Got::Error(Error::NothingToContinue)]);
        let wire = b"\x81\x01a\x00\x00";
        assert_eq!(client(wire), [text("a"), Got::Error(Error::NothingToContinue)]);
    }

    #[test]
    fn no_message_begins_inside_another() {
        assert_eq!(client(b"\x01\x01a\x81\x01b"), [Got::Error(Error::MessageUnfinished)]);
        assert_eq!(client(b"\x02\x00\x02\x00"), [Got::Error(Error::MessageUnfinished)]);
    }

    #[test]
    fn no_message_is_bigger_than_the_limit() {
        assert_eq!(client(b"\x82\x7e\x03\xe8"), []);
        assert_eq!(client(b"\x82\x7e\x03\xe9"), [Got::Error(Error::TooBig)]);
        let refused = [Got::Error(Error::TooBig)];
        assert_eq!(client(b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"), refused);
        // Nor is the sum of its fragments, nor does it wrap around.
        assert_eq!(client(b"\x02\x01a\x80\x7e\x03\xe7"), []);
        assert_eq!(client(b"\x02\x01a\x80\x7e\x03\xe8"), refused);
        assert_eq!(client(b"\x02\x01a\x80\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"), refused);
        // The next message has the whole limit again.
        assert_eq!(client(b"\x82\x01a\x82\x7e\x03\xe8"), [Got::Binary(b"a".to_vec())]);
    }

    #[test]
    fn no_text_that_is_not_utf8() {
        let refused = [Got::Error(Error::TextNotUtf8)];
        assert_eq!(client(b"\x81\x02\xc3\x28"), refused);
        assert_eq!(client(b"\x81\x03\xed\xa0\x80"), refused, "a surrogate");
        assert_eq!(client(b"\x01\x01\xc3\x80\x01\x28"), refused);
        assert_eq!(client(b"\x01\x01\xc3\x80\x00"), refused, "cut off by the end");
        assert_eq!(client(b"\x01\x01\xc3\x80\x01\xa9"), [text("é")]);
        assert_eq!(client(b"\x82\x02\xc3\x28"), [Got::Binary(b"\xc3\x28".to_vec())]);
    }

    #[test]
    fn no_further_byte_is_awaited_after_the_first_wrong_one() {
        // Autobahn 6.4.1: valid so far, then beyond the last code point, the rest not yet here.
        assert_eq!(client(b"\x01\x02\xce\xba\x00\x04\xf4\x90"), [Got::Error(Error::TextNotUtf8)]);
        assert_eq!(client(b"\x81\x0a\xce\xba\xf4\x90"), [Got::Error(Error::TextNotUtf8)]);
        assert_eq!(client(b"\x81\x0a\xce\xba\xf4"), []);
    }

    #[test]
    fn nothing_that_poll_can_refuse_is_left_to_event() {
        for (wire, error) in [
            (&b"\x01\x01\xc3\x80\x00"[..], Error::TextNotUtf8),
            (b"\x88\x01\x03", Error::CloseTruncated),
        ] {
            let mut rx = RecvBuffer::with_unread(wire.to_vec(), wire.len());
            assert_eq!(Decoder::new(Role::Client, 10).poll(&mut rx), Err(error));
        }
    }

    #[test]
    fn text_that_is_there_at_once_is_checked_by_its_reader_alone() {
        let mut rx = RecvBuffer::with_unread(*b"\x81\x02\xc3\x28", 4);
        let mut decoder = Decoder::new(Role::Client, 10);
        let Ok(Step::Ready(ready)) = decoder.poll(&mut rx) else { panic!("not ready") };
        assert_eq!(decoder.event(&rx, ready), Err(Error::TextNotUtf8));
        assert_eq!(decoder.payload_mut(&mut rx, ready), b"\xc3\x28");
    }

    #[test]
    fn no_text_is_checked_again_with_each_piece() {
        let text = "aé€😀".as_bytes();
        let whole_characters = [0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10];
        let mut partial = Partial { kind: Kind::Text, compressed: false, checked: 0 };
        for (arrived, checked) in whole_characters.into_iter().enumerate() {
            partial.check(&text[..arrived], false).unwrap();
            assert_eq!(partial.checked, checked, "after {arrived} bytes");
        }
    }

    #[test]
    fn no_close_frame_with_a_broken_body() {
        assert_eq!(client(b"\x88\x01\x03"), [Got::Error(Error::CloseTruncated)]);
        assert_eq!(client(b"\x88\x02\x03\xed"), [Got::Error(Error::CloseCodeInvalid)]);
        assert_eq!(client(b"\x88\x03\x03\xe8\xff"), [Got::Error(Error::ReasonNotUtf8)]);
    }

    #[test]
    fn the_codes_to_close_with() {
        assert_eq!(Error::TooBig.close_code(), CloseCode::TOO_BIG);
        assert_eq!(Error::TextNotUtf8.close_code(), CloseCode::INVALID_PAYLOAD);
        assert_eq!(Error::ReasonNotUtf8.close_code(), CloseCode::INVALID_PAYLOAD);
        assert_eq!(Error::CloseCodeInvalid.close_code(), CloseCode::PROTOCOL_ERROR);
        assert_eq!(Error::Unmasked.close_code(), CloseCode::PROTOCOL_ERROR);
    }

    #[test]
    fn what_is_announced_is_asked_for() {
        let mut rx = RecvBuffer::new([0; 64]);
        let mut decoder = Decoder::new(Role::Client, 1000);
        let mut need = |bytes: &[u8]| {
            rx.append(bytes).unwrap();
            decoder.poll(&mut rx)
        };
        assert_eq!(need(b""), Ok(Step::Need(2)));
        assert_eq!(need(b"\x02"), Ok(Step::Need(1)));
        assert_eq!(need(b"\x7e"), Ok(Step::Need(2)));
        assert_eq!(need(b"\x03\xe8"), Ok(Step::Need(1000)));
        assert_eq!(need(b"abc"), Ok(Step::Need(997)));

        // A control frame is not kept in pieces: what is there is not announced again.
        let mut rx = RecvBuffer::with_unread(*b"\x89\x05he", 4);
        assert_eq!(Decoder::new(Role::Client, 1000).poll(&mut rx), Ok(Step::Need(3)));
    }

    #[test]
    fn an_event_is_as_long_as_its_payload() {
        for (wire, kind, len) in [
            (&b"\x81\x05hello"[..], Kind::Text, 5),
            (b"\x82\x00", Kind::Binary, 0),
            (b"\x89\x01x", Kind::Ping, 1),
            (b"\x88\x02\x03\xe8", Kind::Close, 2),
        ] {
            let mut rx = RecvBuffer::with_unread(wire.to_vec(), wire.len());
            let mut decoder = Decoder::new(Role::Client, 1000);
            let Ok(Step::Ready(ready)) = decoder.poll(&mut rx) else { panic!("not ready") };
            assert_eq!((ready.kind(), ready.len(), ready.is_empty()), (kind, len, len == 0));
        }
    }

    #[test]
    fn whole_frames_are_lent_where_they_lie() {
        let wire =
            *b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\x89\x81\0\0\0\0!\x82\x82\0\0\0\0ab";
        let mut memory = wire;
        let places =
            [(6, 5), (17, 1), (24, 2)].map(|(at, len)| memory[at..at + len].as_ptr_range());
        let mut rx = RecvBuffer::with_unread(&mut memory[..], wire.len());
        let mut decoder = Decoder::new(Role::Server, 1000);
        for place in places {
            let Ok(Step::Ready(ready)) = decoder.poll(&mut rx) else { panic!("not ready") };
            let payload = decoder.payload_mut(&mut rx, ready).as_ptr_range();
            assert_eq!(payload, place);
            let lent = match decoder.event(&rx, ready).unwrap() {
                Event::Text(text) => text.as_bytes(),
                Event::Binary(bytes) | Event::Ping(bytes) => bytes,
                other => panic!("{other:?}"),
            };
            assert_eq!(lent.as_ptr_range(), place);
        }
    }

    /// What comes out where permessage-deflate was negotiated, each message with whether it is compressed.
    fn decode_deflated(wire: &[u8]) -> (Vec<(bool, Got)>, Option<Error>) {
        let mut rx = RecvBuffer::with_unread(wire.to_vec(), wire.len());
        let mut decoder = Decoder::new(Role::Client, 1000).allow_compressed();
        let mut got = Vec::new();
        loop {
            match decoder.poll(&mut rx) {
                Ok(Step::Need(_)) => return (got, None),
                Ok(Step::Ready(ready)) => {
                    let event = decoder.event(&rx, ready).unwrap();
                    got.push((ready.is_compressed(), event.into()));
                }
                Err(error) => return (got, Some(error)),
            }
        }
    }

    #[test]
    fn a_compressed_message_is_told_from_a_plain_one_and_lent_as_it_came() {
        let hello = || Got::Binary(b"\xf2\x48\xcd\xc9\xc9\x07\x00".to_vec());
        let pong = || Got::Pong(vec![]);
        // RFC 7692 7.2.3.1, whole and in fragments, with a control frame between them.
        let wire = b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00\x81\x01a\
            \x41\x03\xf2\x48\xcd\x8a\x00\x80\x04\xc9\xc9\x07\x00\xc2\x00\x82\x00";
        let (got, error) = decode_deflated(wire);
        assert_eq!(error, None);
        assert_eq!(
            got,
            [
                (true, hello()),
                (false, text("a")),
                (false, pong()),
                (true, hello()),
                (true, Got::Binary(vec![])),
                (false, Got::Binary(vec![])),
            ]
        );
    }

    #[test]
    fn no_rsv1_on_control_frames_and_continuations_though_negotiated() {
        for (wire, before) in [
            (&b"\xc8\x00"[..], 0),
            (b"\xc9\x00", 0),
            (b"\xca\x00", 0),
            (b"\x41\x01a\xc0\x01b", 0),
            (b"\x01\x01a\xc0\x01b", 0),
            (b"\x41\x01a\xc9\x00", 0),
            (b"\x81\x00\xa1\x00", 1),
            (b"\xd1\x00", 0),
        ] {
            let (got, error) = decode_deflated(wire);
            assert_eq!((got.len(), error), (before, Some(Error::ReservedBits)), "{wire:?}");
        }
    }

    #[test]
    fn compressed_text_is_not_judged_before_it_is_inflated() {
        for wire in [&b"\xc1\x02\xc3\x28"[..], b"\x41\x01\xff\x80\x01\xff"] {
            let (got, error) = decode_deflated(wire);
            assert_eq!((got.len(), error), (1, None));
        }
        // A plain message still is.
        assert_eq!(decode_deflated(b"\x01\x01\xff\x80\x00").1, Some(Error::TextNotUtf8));
    }

    #[test]
    fn a_compressed_message_is_bounded_too() {
        assert_eq!(deflated(1000), 1064);
        assert_eq!(deflated(usize::MAX), usize::MAX);
        assert_eq!(decode_deflated(b"\xc2\x7e\x04\x28").1, None);
        assert_eq!(decode_deflated(b"\xc2\x7e\x04\x29").1, Some(Error::TooBig));
        assert_eq!(decode_deflated(b"\x42\x01a\x80\x7e\x04\x28").1, Some(Error::TooBig));
        assert_eq!(decode_deflated(b"\x82\x7e\x03\xe9").1, Some(Error::TooBig), "a plain one");
    }
}
