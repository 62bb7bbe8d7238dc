//! [`Decoder`]: received bytes to events, RFC 6455 sections 5 and 6.2.
//!
//! The head of a frame is skipped, its payload is unmasked in place and kept; the kept bytes are the message when a
//! frame with FIN is complete. A control frame can arrive between the fragments of a message, so it is not kept: it
//! stays unread until it is complete, is lent from there, and is skipped afterwards.
//!
//! The state contains only positions, no bytes: between two polls the buffer may move, grow or change its storage.

use super::frame::{Head, Opcode, RSV1, Stop};
use super::{CloseCode, Error, Role, close, mask};
use crate::buffer::RecvBuffer;
use crate::text;

/// Decodes the frames of one connection. The [module](super) shows the loop around it.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    role: Role,
    max_message: usize,
    /// Whether permessage-deflate was negotiated.
    deflate: bool,
    state: State,
    /// The message of which fragments are kept, but not the last.
    partial: Option<Partial>,
    /// The length of the control frame that the last poll lent from the unread bytes.
    lent: u8,
}

/// The result of [`Decoder::poll`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Step {
    /// At least this number of bytes, never 0, is needed to complete a head or the payload of a frame. Use it to size
    /// the next buffer. It does not exceed `max_message` or 125, whichever is larger, plus a small margin with
    /// [`allow_compressed`](Decoder::allow_compressed).
    Need(usize),
    /// An event is ready.
    Ready(Ready),
}

/// Identifies an event without borrowing it. Valid until the next [`Decoder::poll`].
// In this order of fields an `Error` shares no byte with `len` in a `Result`. When it did, the optimizer split `len`
// and reassembled it in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(C)]
pub struct Ready {
    kind: Kind,
    compressed: bool,
    len: usize,
}

impl Ready {
    /// The kind of event.
    pub const fn kind(self) -> Kind {
        self.kind
    }

    /// Whether it is a message that the driver has to inflate, see [`Decoder::allow_compressed`].
    pub const fn is_compressed(self) -> bool {
        self.compressed
    }

    /// The length of its payload in bytes, as received. The payload of a close includes the code.
    pub const fn len(self) -> usize {
        self.len
    }

    /// Whether its payload is empty.
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
    /// A ping. The driver has to answer it with a pong of the same payload.
    Ping,
    /// The answer to a ping, or an unsolicited pong.
    Pong,
    /// A close. The peer sends nothing more.
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
    /// A ping. The driver has to answer it with a pong of the same payload (5.5.2).
    Ping(&'b [u8]),
    /// The answer to a ping, or an unsolicited pong (5.5.3).
    Pong(&'b [u8]),
    /// A close, with its code and a reason that may be empty. The peer sends nothing more. The driver has to answer it
    /// with a close frame if it sent none before (5.5.1).
    Close(Option<CloseCode>, &'b str),
}

impl Decoder {
    /// A decoder at the start of the first frame. A message may have at most `max_message` bytes in all its fragments.
    pub const fn new(role: Role, max_message: usize) -> Self {
        Self { role, max_message, deflate: false, state: State::Head, partial: None, lent: 0 }
    }

    /// Allows compressed messages; call it if permessage-deflate was negotiated. RSV1 may then be set at the start of a
    /// message, and sets [`Ready::is_compressed`].
    ///
    /// A compressed message is lent as received. The driver appends `00 00 ff ff` and inflates it (RFC 7692 7.2.2),
    /// ends the connection with [`Error::TooBig`] if it inflates to more than `max_message` bytes and with
    /// [`Error::NotDeflate`] if it is not DEFLATE data, and checks text for UTF-8. A compressed message may be longer
    /// than `max_message`, by a part in 1024 and 64 bytes, because random data grows in compression.
    #[must_use]
    pub const fn allow_compressed(mut self) -> Self {
        self.deflate = true;
        self
    }

    /// Releases the event of the previous [`Step::Ready`] and continues with the next. Poll again after each event, and
    /// after [`Step::Need`] when more was received into `rx`.
    ///
    /// After a close frame all further data is dropped, as RFC 6455 requires, and the result is always `Need(1)`.
    ///
    /// # Errors
    /// How the peer broke the protocol. Errors are final: a further call returns the same.
    // Inlined, so that the result stays in registers: a driver calls it in one place, once for each message.
    #[inline(always)]
    pub fn poll<S: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        rx: &mut RecvBuffer<S>,
    ) -> Result<Step, Error> {
        if self.lent > 0 {
            rx.skip(usize::from(core::mem::take(&mut self.lent)));
        }
        if self.partial.is_none() {
            rx.release();
        }
        loop {
            // Most polls find a whole message here; the other states are kept out of this path.
            if let State::Head = self.state {
                match self.head(rx) {
                    Ok(Some(step)) => return Ok(step),
                    Ok(None) => {}
                    Err(error) => return self.fail(error),
                }
            }
            match self.resume(rx) {
                Ok(Some(step)) => return Ok(step),
                Ok(None) => {}
                Err(error) => return self.fail(error),
            }
        }
    }

    /// Whether the next byte is the first of a message or of a control frame between messages, as it is for a new
    /// decoder. A driver then needs no memory for this decoder until more is received.
    #[inline]
    pub const fn is_between_messages(&self) -> bool {
        matches!(self.state, State::Head) && self.partial.is_none() && self.lent == 0
    }

    /// Borrows the event from the buffer in which [`poll`](Self::poll) found it. A compressed message of either kind is
    /// returned as [`Event::Binary`], not inflated.
    ///
    /// # Errors
    /// [`Error::TextNotUtf8`], which ends the connection like an error of [`poll`](Self::poll). Text that arrived in
    /// pieces was checked there, and rejected at its first invalid byte.
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
                Event::Text(text::utf8(payload).ok_or(Error::TextNotUtf8)?)
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

    /// The payload of the event, for parsers that work in place. **Text is not checked for UTF-8**: the caller has to
    /// check it, and ends the connection with [`Error::TextNotUtf8`] if the check fails.
    #[inline]
    pub fn payload_mut<'b, S: AsRef<[u8]> + AsMut<[u8]>>(
        &self,
        rx: &'b mut RecvBuffer<S>,
        ready: Ready,
    ) -> &'b mut [u8] {
        let held = if ready.kind.is_message() { rx.kept_mut() } else { rx.unread_mut() };
        held.get_mut(..ready.len).unwrap_or_default()
    }

    /// At the first byte of a frame.
    // Inlined, so that the positions of the buffer stay in registers from one frame to the next; a call doubled the
    // time for a short frame.
    #[inline(always)]
    fn head<S: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        rx: &mut RecvBuffer<S>,
    ) -> Result<Option<Step>, Error> {
        let held = rx.kept_len();
        let unread = rx.unread_mut();
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
            // `Head::parse` checked that a control frame has at most 125 bytes.
            self.state = State::Control(Control { kind, len: head.len as u8, key: head.key });
            return Ok(None);
        }
        let (mut compressed, mut max) = (false, self.max_message);
        if self.deflate {
            (compressed, max) = self.compressed(unread);
        }
        let room = max.saturating_sub(held);
        let left =
            usize::try_from(head.len).ok().filter(|len| *len <= room).ok_or(Error::TooBig)?;
        // Most messages are one frame that arrived completely: no state to keep, nothing to check twice.
        if head.fin && self.partial.is_none() && left <= arrived {
            mask::apply(unread.get_mut(size..size + left).unwrap_or_default(), head.key);
            rx.replace(size, left);
            return Ok(Some(Step::Ready(Ready { kind, compressed, len: left })));
        }
        rx.skip(size);
        self.partial.get_or_insert(Partial { kind, compressed, checked: 0 });
        self.state = State::Payload(Payload { left, key: head.key, fin: head.fin });
        Ok(None)
    }

    /// Whether this data frame belongs to a compressed message, and the maximum length of that message.
    #[cold]
    fn compressed(&self, frame: &[u8]) -> (bool, usize) {
        // The first frame of a message decides; RSV1 in others was rejected.
        let says = frame.first().is_some_and(|first| first & RSV1 != 0);
        let compressed = says || self.partial.is_some_and(|partial| partial.compressed);
        (
            compressed,
            if compressed { max_compressed_len(self.max_message) } else { self.max_message },
        )
    }

    /// At any position but the first byte of a frame.
    #[inline(never)]
    fn resume<S: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        rx: &mut RecvBuffer<S>,
    ) -> Result<Option<Step>, Error> {
        match self.state {
            State::Head => Ok(None),
            State::Payload(frame) => self.payload(rx, frame),
            State::Control(frame) => self.control(rx, frame),
            State::Closed => {
                // > after receiving a control frame indicating the connection should be closed, a
                // > peer discards any further data received. (1.4)
                rx.clear();
                Ok(Some(Step::Need(1)))
            }
            State::Failed(error) => Err(error),
        }
    }

    #[cold]
    fn fail(&mut self, error: Error) -> Result<Step, Error> {
        self.state = State::Failed(error);
        Err(error)
    }

    /// In the payload of a data frame.
    fn payload<S: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        rx: &mut RecvBuffer<S>,
        mut frame: Payload,
    ) -> Result<Option<Step>, Error> {
        let Some(partial) = &mut self.partial else {
            // Cannot happen, see [`State::Payload`]; if it did, this must not loop.
            self.state = State::Head;
            return Ok(None);
        };
        let n = frame.left.min(rx.unread().len());
        frame.key = mask::apply(rx.unread_mut().get_mut(..n).unwrap_or_default(), frame.key);
        rx.keep(n);
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

    /// After the head of a control frame.
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
    /// Bytes still missing.
    left: usize,
    /// Rotated so that its first byte applies to the next byte of payload.
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
    /// The number of kept bytes that are known to be whole characters.
    checked: usize,
}

impl Partial {
    /// Continues the check where the last one ended; only an incomplete character is checked again.
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

/// The maximum length of a message of `len` bytes when it is compressed: DEFLATE adds five bytes to a block that it
/// cannot compress, and compressors in use write blocks of kilobytes.
const fn max_compressed_len(len: usize) -> usize {
    len.saturating_add(len / 1024).saturating_add(64)
}

#[cfg(test)]
mod tests;
