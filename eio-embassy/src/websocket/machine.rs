//! [`WsMachine`]: the state machine of a session on a WebSocket. It holds all state and awaits nothing, so a future
//! that is dropped loses nothing.
//!
//! A machine waits for the head of the response; or it receives frames; or it has ended, and the send buffer holds its
//! last frames.
//!
//! Functions that run rarely are `inline(never)`: in one large function a Cortex-M0 runs out of registers, and its
//! stack frame has room for every inlined callee at once.

use eio_core::http::{Framing, HeadScanner, ResponseLines};
use eio_core::open::Open;
use eio_core::packet::{Message, Packet};
use eio_core::request::Reject;
use eio_core::session::client::{ClientSession, Transmit};
use eio_core::session::{CloseReason, Event as SessionEvent, Lane};
use eio_core::time::Instant;
use eio_core::transport::Transport;
use eio_core::ws::handshake::{Key, check_response};
use eio_core::ws::{self, CloseCode, Decoder, Event, Kind, Opcode, Ready, Role, Step};

use crate::buffers::{RX_RESERVE, TX_RESERVE};
use crate::config::Config;
use crate::error::{Closed, Error};
use crate::fmt::debug;
use crate::net::transfer::ConnBuffers;
use crate::session::{MessageSpan, check_separator, open_params};

#[derive(Debug)]
pub(crate) struct WsMachine<'b> {
    pub(crate) io: ConnBuffers<'b>,
    pub(crate) session: ClientSession,
    decoder: Decoder,
    phase: Phase,
    /// The open packet, until it is taken.
    open: Option<Open>,
    /// The server's `maxPayload`, in bytes.
    max_payload: u32,
    /// A decoded message that the application has not received yet.
    held: Option<MessageSpan>,
    unfinished: Option<Unfinished>,
    /// When the last frame of the server was processed.
    seen: Instant,
    /// When the ping was sent whose pong is awaited.
    pinged: Option<Instant>,
    round_trip_ms: Option<u32>,
    ended: Option<Error>,
}

#[derive(Debug)]
enum Phase {
    Head {
        scanner: HeadScanner,
        key: Key,
    },
    /// The response refuses the WebSocket. Its body is received up to `len` bytes.
    Refused {
        status: u16,
        len: usize,
    },
    Frames,
}

/// A message of which some frames are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unfinished {
    sent: usize,
    len: usize,
    binary: bool,
    id: u32,
}

impl<'b> WsMachine<'b> {
    /// Begins a session on a WebSocket, with its request in the send buffer.
    pub(crate) fn connect(
        config: &Config<'_>,
        rx: &'b mut [u8],
        tx: &'b mut [u8],
        random: &mut impl FnMut() -> u32,
        now: Instant,
    ) -> Result<Self, Error> {
        let mut session = ClientSession::new(Transport::WebSocket, false, config.timing, now);
        let _ = session.poll_lane(false);
        Self::begin(config, session, None, "", (rx, tx), random, now)
    }

    /// Begins a WebSocket for `session`: a new session, or one that was opened by polling with this open packet and these
    /// cookies.
    #[inline(never)]
    pub(crate) fn begin(
        config: &Config<'_>,
        session: ClientSession,
        open: Option<&Open>,
        cookies: &str,
        (rx, tx): (&'b mut [u8], &'b mut [u8]),
        random: &mut impl FnMut() -> u32,
        now: Instant,
    ) -> Result<Self, Error> {
        let mut nonce = [0; 16];
        nonce.as_chunks_mut().0.iter_mut().for_each(|part| *part = random().to_ne_bytes());
        let key = Key::new(nonce);
        let max_message = rx.len().saturating_sub(RX_RESERVE);
        let mut io = ConnBuffers::new(rx, tx);
        config.websocket_request(&mut io.out, open.map(|open| &open.sid), cookies, &key)?;
        Ok(Self {
            io,
            session,
            decoder: Decoder::new(Role::Client, max_message),
            phase: Phase::Head { scanner: HeadScanner::new(), key },
            open: None,
            max_payload: open.map_or(u32::MAX, |open| open.max_payload),
            held: None,
            unfinished: None,
            seen: now,
            pinged: None,
            round_trip_ms: None,
            ended: None,
        })
    }

    /// The session, and the memory of the WebSocket.
    pub(crate) fn into_parts(self) -> (ClientSession, &'b mut [u8], &'b mut [u8]) {
        let (rx, tx) = self.io.into_memory();
        (self.session, rx, tx)
    }

    /// Why the session ended, if it has.
    pub(crate) const fn ended(&self) -> Option<Error> {
        self.ended
    }

    /// Processes received bytes up to the next message (which stays until [`take`](Self::take)), to the end of the
    /// session, or until bytes have to be received or sent first.
    pub(crate) fn advance(&mut self, random: &mut impl FnMut() -> u32, now: Instant) {
        loop {
            self.write_control(random);
            // The next frame stays unread until there is room for the answer to it.
            let stuck = self.io.out.room() < TX_RESERVE && self.io.lost().is_none();
            if stuck || self.ended.is_some() || self.held.is_some() {
                return;
            }
            match (self.decode(random, now), self.io.lost()) {
                (Ok(true), _) => {}
                (Ok(false), None) => return self.write_control(random),
                (Ok(false), Some(error)) | (Err(error), _) => self.fail(random, error),
            }
        }
    }

    /// The message that [`advance`](Self::advance) decoded.
    pub(crate) fn take(&mut self) -> Option<Message<'_>> {
        Some(self.held.take()?.message(self.io.rx.kept()))
    }

    /// Like [`advance`](Self::advance), but drops messages.
    pub(crate) fn discard(&mut self, random: &mut impl FnMut() -> u32, now: Instant) {
        self.advance(random, now);
        while self.held.take().is_some() {
            self.advance(random, now);
        }
    }

    /// Whether this WebSocket carries the session.
    pub(crate) fn is_upgraded(&self) -> bool {
        self.session.transport() == Transport::WebSocket
    }

    /// When the server was last seen.
    pub(crate) const fn seen(&self) -> Instant {
        self.seen
    }

    /// From the last ping that was answered to its pong, in milliseconds.
    pub(crate) const fn round_trip_ms(&self) -> Option<u32> {
        self.round_trip_ms
    }

    /// Writes a ping of the WebSocket. `false`: call again when the network has accepted more.
    pub(crate) fn ping(&mut self, random: &mut impl FnMut() -> u32, now: Instant) -> bool {
        let room = self.io.out.room() >= 2 * TX_RESERVE;
        if room {
            let _ = ws::encode(&mut self.io.out, Opcode::Ping, &[], &[], Some(mask(random)));
            self.pinged = Some(now);
        }
        room
    }

    pub(crate) const fn has_message(&self) -> bool {
        self.held.is_some()
    }

    /// The open packet, once.
    pub(crate) fn take_open(&mut self) -> Option<Open> {
        self.open.take()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.session.poll_timeout()
    }

    /// The deadline of the session has passed, and all bytes received before it are processed, except for a message
    /// that the application has not received yet.
    pub(crate) fn timed_out(&mut self, random: &mut impl FnMut() -> u32, now: Instant) {
        if self.held.is_none() || !self.session.extend(now) {
            self.session.handle_timeout(now);
            self.write_control(random);
        }
    }

    /// Writes a message, or the next of its frames, to the send buffer. `Ok(false)`: call again when the network has
    /// accepted more. `id` is its [`fingerprint`](Self::fingerprint).
    pub(crate) fn push(
        &mut self,
        message: Message<'_>,
        id: u32,
        random: &mut impl FnMut() -> u32,
    ) -> Result<bool, Error> {
        if let Some(error) = self.ended {
            return Err(error);
        }
        let frame = Packet::Message(message).frame();
        let len = frame.prefix.len() + frame.data.len();
        if u32::try_from(len).is_ok_and(|len| len > self.max_payload) {
            return Err(Error::TooLarge { max: self.max_payload });
        }
        check_separator(message)?;
        let room = self.io.out.room().saturating_sub(TX_RESERVE);
        let fits = self.fits(message);
        let whole = ws::encoded_len(len, true);
        if let Some(begun) = self.unfinished
            && begun != (Unfinished { sent: begun.sent, len, binary: frame.binary, id })
        {
            return Err(Error::Unfinished);
        }
        if if fits { whole > room } else { !self.io.out.is_empty() } {
            return Ok(false);
        }
        if self.unfinished.is_none() && !self.next_is_message(random) {
            return self.ended.map_or(Ok(false), Err);
        }
        let opcode = if frame.binary { Opcode::Binary } else { Opcode::Text };
        let from = self.unfinished.map_or(0, |begun| begun.sent);
        let (opcode, prefix) = match self.unfinished {
            None => (opcode, frame.prefix),
            Some(_) => (Opcode::Continuation, &b""[..]),
        };
        let rest = frame.data.get(from..).unwrap_or_default();
        let part = if fits { len } else { room.saturating_sub(FRAME_HEAD) };
        let piece = rest.get(..part.saturating_sub(prefix.len())).unwrap_or(rest);
        let last = piece.len() == rest.len();
        let key = Some(mask(random));
        if ws::encode_fragment(&mut self.io.out, last, opcode, prefix, piece, key).is_err() {
            return Ok(false);
        }
        let sent = from + piece.len();
        self.io.unconfirmed += u32::from(last);
        self.unfinished = (!last).then_some(Unfinished { sent, len, binary: frame.binary, id });
        Ok(last)
    }

    /// Identifies a message that is sent in several frames.
    pub(crate) fn fingerprint(&self, message: Message<'_>) -> u32 {
        if self.fits(message) { 0 } else { hash(Packet::Message(message).frame().data) }
    }

    /// Whether the message fits into one frame in an empty send buffer.
    fn fits(&self, message: Message<'_>) -> bool {
        ws::encoded_len(1 + message.len(), true)
            <= self.io.out.capacity().saturating_sub(TX_RESERVE)
    }

    /// Closes the session. It ends with [`Closed::ClientDisconnect`] when everything queued is written.
    pub(crate) fn close(&mut self, random: &mut impl FnMut() -> u32, now: Instant) {
        // An unfinished message stays unfinished, and no other data frame may follow its fragments.
        if self.unfinished.take().is_some() {
            self.fail(random, Error::Closed(Closed::ClientDisconnect));
        }
        self.session.close(now);
        self.write_control(random);
    }

    /// Discards frames of the server up to its close frame. Returns whether the server has closed its side.
    pub(crate) fn discard_until_close(&mut self) -> bool {
        loop {
            match self.next_frame() {
                Ok(Some(ready)) if ready.kind() == Kind::Close => return true,
                Ok(Some(_)) => {}
                Ok(None) => return self.io.lost().is_some(),
                Err(_) => return true,
            }
        }
    }

    /// Processes one head, body or frame. `Ok(false)`: more bytes have to be received first.
    fn decode(&mut self, random: &mut impl FnMut() -> u32, now: Instant) -> Result<bool, Error> {
        match &mut self.phase {
            Phase::Head { .. } => self.decode_head(),
            Phase::Refused { .. } => self.decode_refusal(),
            Phase::Frames => self.decode_frame(random, now),
        }
    }

    #[inline(never)]
    fn decode_head(&mut self) -> Result<bool, Error> {
        let Phase::Head { scanner, key } = &mut self.phase else { return Ok(false) };
        let Some(len) = scanner.poll(self.io.rx.unread(), self.io.rx.capacity())? else {
            self.io.need = 1;
            return Ok(false);
        };
        let head = self.io.rx.unread().get(..len).unwrap_or_default();
        let head = ResponseLines::parse(head)?;
        if (100..200).contains(&head.status) && head.status != 101 {
            // An interim response; the final one follows (RFC 9110 section 15.2).
            scanner.reset();
        } else if head.status == 101 {
            check_response(key, &[], head.status, head.iter()).map_err(Error::Handshake)?;
            let _ = self.session.handle_connected();
            self.phase = Phase::Frames;
        } else {
            // The code is at the start of the body, after the size of a chunk if there are chunks. So the framing is
            // not decoded, and no more is received than may contain the code.
            let len = match head.framing("GET")? {
                Framing::None => 0,
                Framing::Length(len) => usize::try_from(len).unwrap_or(usize::MAX),
                Framing::Chunked | Framing::UntilClose => usize::MAX,
            };
            self.phase = Phase::Refused { status: head.status, len: len.min(REFUSAL_MAX) };
        }
        self.io.rx.skip(len);
        Ok(true)
    }

    #[inline(never)]
    fn decode_refusal(&mut self) -> Result<bool, Error> {
        let Phase::Refused { status, len } = self.phase else { return Ok(false) };
        let body = self.io.rx.unread();
        let code = Reject::code_in(body);
        if code.is_none()
            && body.len() < len
            && !body.ends_with(LAST_CHUNK)
            && self.io.lost().is_none()
        {
            return Ok(false);
        }
        Err(Error::status(status, code))
    }

    #[inline(never)]
    fn decode_frame(
        &mut self,
        random: &mut impl FnMut() -> u32,
        now: Instant,
    ) -> Result<bool, Error> {
        let Some(ready) = self.next_frame()? else { return Ok(false) };
        self.seen = now;
        if let Kind::Text | Kind::Binary = ready.kind() {
            self.handle_packet(ready, now)?;
            return Ok(true);
        }
        match self.decoder.event(&self.io.rx, ready)? {
            Event::Ping(data) => {
                // There is room: `advance` checked it.
                let _ = ws::encode(&mut self.io.out, Opcode::Pong, &[], data, Some(mask(random)));
            }
            Event::Close(code, _) => {
                // > If an endpoint receives a Close frame and did not previously send a Close frame, the
                // > endpoint MUST send a Close frame in response (RFC 6455 section 5.5.1)
                self.write_close(random, code);
                self.session.lost(Lane::WebSocket);
                self.ended.get_or_insert(Error::Closed(Closed::CloseFrame(code)));
            }
            Event::Pong(_) => {
                if let Some(at) = self.pinged.take() {
                    self.round_trip_ms = Some(now.millis_since(at) as u32);
                }
            }
            _ => {}
        }
        Ok(true)
    }

    /// The next frame or message; `None`: more bytes have to be received first.
    fn next_frame(&mut self) -> Result<Option<Ready>, ws::Error> {
        match self.decoder.poll(&mut self.io.rx)? {
            Step::Ready(ready) => Ok(Some(ready)),
            Step::Need(n) => {
                self.io.need = n;
                Ok(None)
            }
        }
    }

    fn handle_packet(&mut self, ready: Ready, now: Instant) -> Result<(), Error> {
        let binary_frame = ready.kind() == Kind::Binary;
        let payload = self.decoder.payload_mut(&mut self.io.rx, ready);
        let packet = match binary_frame {
            true => Packet::parse_binary(payload),
            false => Packet::parse_text_frame(payload).map_err(Error::Packet)?,
        };
        if let (Packet::Open(json), false) = (packet, self.session.is_open()) {
            let open = Open::parse(json).map_err(Error::Open)?;
            debug!("session {} is open", open.sid.as_str());
            let _ = self.session.handle_open(open_params(&open), now);
            self.max_payload = open.max_payload;
            self.open = Some(open);
            return Ok(());
        }
        // A violation ends the session, which `poll_events` reports.
        if let Ok(Some(message)) = self.session.handle_packet(Lane::WebSocket, packet, now) {
            self.held = Some(MessageSpan::new(usize::from(!binary_frame), message));
        }
        Ok(())
    }

    /// Writes the control packets that the session has to send, and takes its events.
    fn write_control(&mut self, random: &mut impl FnMut() -> u32) {
        while self.unfinished.is_none() && self.io.out.room() >= TX_RESERVE {
            match self.session.poll_transmit(Lane::WebSocket, false) {
                Some(transmit) => self.transmit(transmit, random),
                None => break,
            }
        }
        self.poll_events();
    }

    /// Whether a message is the next to send; else writes the control packet that precedes it.
    fn next_is_message(&mut self, random: &mut impl FnMut() -> u32) -> bool {
        match self.session.poll_transmit(Lane::WebSocket, true) {
            Some(Transmit::Message) => true,
            Some(transmit) => {
                self.transmit(transmit, random);
                self.poll_events();
                false
            }
            None => false,
        }
    }

    fn transmit(&mut self, transmit: Transmit, random: &mut impl FnMut() -> u32) {
        // There is room: the callers checked it.
        match transmit {
            Transmit::Control(packet) => {
                let frame = packet.frame();
                let key = Some(mask(random));
                let _ = ws::encode(&mut self.io.out, Opcode::Text, frame.prefix, frame.data, key);
            }
            Transmit::Hangup => self.write_close(random, Some(self.session.hangup_code())),
            // Only if a message was offered, and `push` writes that.
            Transmit::Message => {}
        }
    }

    /// Writes a close frame, if the connection is a WebSocket and not lost.
    #[inline(never)]
    fn write_close(&mut self, random: &mut impl FnMut() -> u32, code: Option<CloseCode>) {
        if matches!(self.phase, Phase::Frames) && self.io.lost().is_none() {
            let code = code.map(|code| code.get().to_be_bytes());
            let code = code.as_ref().map_or(&[][..], |code| code);
            let _ = ws::encode(&mut self.io.out, Opcode::Close, code, &[], Some(mask(random)));
        }
    }

    fn poll_events(&mut self) {
        while let Some(event) = self.session.poll_event() {
            let error = match event {
                SessionEvent::Closed(reason) => Error::ended(reason, &self.session),
                SessionEvent::Upgraded => continue,
                SessionEvent::UpgradeFailed(_) => Error::UpgradeFailed,
            };
            debug!("the session or its upgrade has ended");
            self.ended.get_or_insert(error);
        }
    }

    /// Ends the session because the server violated a rule or a limit, or the connection is lost. A close frame names
    /// the reason.
    fn fail(&mut self, random: &mut impl FnMut() -> u32, error: Error) {
        self.session.fail(Lane::WebSocket, CloseReason::ParseError);
        let code = match error {
            Error::ReceivedTooLarge => Some(ws::Error::TooBig.close_code()),
            Error::WebSocket(error) => Some(error.close_code()),
            Error::Packet(error) => Some(error.close_code()),
            Error::Open(_) => Some(CloseReason::ParseError.close_code(false)),
            _ => None,
        };
        self.write_close(random, code);
        // A WebSocket has one close frame in each direction, so the session sends nothing more.
        while self.session.poll_transmit(Lane::WebSocket, false).is_some() {}
        self.ended.get_or_insert(error);
    }
}

/// The code of a refusal is in the first bytes of the body, at every known server.
const REFUSAL_MAX: usize = 64;
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The longest head of a masked frame.
const FRAME_HEAD: usize = 14;

/// > The masking key needs to be unpredictable; thus, the masking key MUST be derived from a strong source of
/// > entropy (RFC 6455 section 5.3)
fn mask(random: &mut impl FnMut() -> u32) -> [u8; 4] {
    random().to_ne_bytes()
}

/// FNV-1a: detects another message that is sent by mistake, not one that was forged.
fn hash(data: &[u8]) -> u32 {
    data.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
