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
use crate::text;

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
// In this order an `Error` shares no byte with `len` in a result. Where it did, the optimizer took `len` apart and
// put it together again in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(C)]
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
    // Inlined, what is found stays in registers: a driver calls it in one place, once for each message.
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
            // Most polls find a whole message here and are done; the rest is kept out of their way.
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
            // The head was checked: a control frame is at most 125 bytes.
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
        // What most messages are: one frame, all there. Nothing to remember, nothing to check twice.
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

    /// Whether the data frame that begins here is of a compressed message, and what that may have.
    #[cold]
    fn compressed(&self, frame: &[u8]) -> (bool, usize) {
        // A message is what its first frame says; RSV1 of another was refused.
        let says = frame.first().is_some_and(|first| first & RSV1 != 0);
        let compressed = says || self.partial.is_some_and(|partial| partial.compressed);
        (compressed, if compressed { deflated(self.max_message) } else { self.max_message })
    }

    /// Anywhere but at a frame's first byte.
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

#[cfg(test)]
mod tests;
