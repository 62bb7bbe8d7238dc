//! The state of a driver at each end, and its conversion of packets to bytes and back, as in a real driver.

use std::collections::VecDeque;

use eio_core::buffer::{Overflow, RecvBuffer, Sink};
use eio_core::packet::{Message, Packet};
use eio_core::payload;
use eio_core::session::client::{self, ClientSession, OpenParams};
use eio_core::session::{CloseReason, Event, Lane, ServerSession, Transmit, Violation};
use eio_core::time::Instant;
use eio_core::transport::Transport;
use eio_core::ws::{self, Decoder, Kind, Opcode, Role, Step};

use crate::seeds::Rng;
use crate::simulation::{CLOSE_TIMEOUT, SERVER};

pub(crate) type Connection = u32;

/// The common interface of both sessions.
pub(crate) trait Session {
    const ROLE: Role;

    fn next(&mut self, lane: Lane, queued: bool) -> Option<Next>;
    fn take<'p>(
        &mut self,
        lane: Lane,
        packet: Packet<'p>,
        now: Instant,
    ) -> Result<Option<Message<'p>>, Violation>;
    fn reason(&self) -> Option<CloseReason>;
    fn lose(&mut self, lane: Lane);
    fn handle_time(&mut self, now: Instant, waiting: bool);
    fn deadline(&self) -> Option<Instant>;
    fn event(&mut self) -> Option<Event>;
    fn close_or_abort(&mut self, now: Instant, abort: bool) -> bool;
    fn current_transport(&self) -> Transport;
}

/// The next item to write.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Next {
    Packet(Packet<'static>),
    Message,
    Hangup,
}

impl Session for ServerSession {
    const ROLE: Role = Role::Server;

    fn next(&mut self, lane: Lane, queued: bool) -> Option<Next> {
        Some(match self.poll_transmit(lane, queued)? {
            // Both ends know its parameters; its encoding is tested with the packet.
            Transmit::Open => Next::Packet(Packet::Open("{}")),
            Transmit::Control(packet) => Next::Packet(packet),
            Transmit::Message => Next::Message,
            Transmit::Hangup => Next::Hangup,
        })
    }

    fn take<'p>(
        &mut self,
        lane: Lane,
        packet: Packet<'p>,
        now: Instant,
    ) -> Result<Option<Message<'p>>, Violation> {
        self.handle_packet(lane, packet, now)
    }

    fn reason(&self) -> Option<CloseReason> {
        self.ended()
    }

    fn lose(&mut self, lane: Lane) {
        self.lost(lane);
    }

    fn handle_time(&mut self, now: Instant, waiting: bool) {
        if waiting {
            self.extend(now);
        }
        self.handle_timeout(now);
    }

    fn deadline(&self) -> Option<Instant> {
        self.poll_timeout()
    }

    fn event(&mut self) -> Option<Event> {
        self.poll_event()
    }

    fn close_or_abort(&mut self, now: Instant, abort: bool) -> bool {
        match abort {
            true => self.abort(CloseReason::ServerDisconnect),
            false => self.close(now),
        }
        self.is_closing()
    }

    fn current_transport(&self) -> Transport {
        self.transport()
    }
}

impl Session for ClientSession {
    const ROLE: Role = Role::Client;

    fn next(&mut self, lane: Lane, queued: bool) -> Option<Next> {
        Some(match self.poll_transmit(lane, queued)? {
            client::Transmit::Control(packet) => Next::Packet(packet),
            client::Transmit::Message => Next::Message,
            client::Transmit::Hangup => Next::Hangup,
        })
    }

    fn take<'p>(
        &mut self,
        lane: Lane,
        packet: Packet<'p>,
        now: Instant,
    ) -> Result<Option<Message<'p>>, Violation> {
        if let Packet::Open(_) = packet
            && !self.is_open()
        {
            let params = OpenParams {
                ping_interval_ms: SERVER.ping_interval_ms,
                ping_timeout_ms: SERVER.ping_timeout_ms,
                offers_websocket: lane == Lane::Get,
            };
            return self.handle_open(params, now).map(|()| None);
        }
        self.handle_packet(lane, packet, now)
    }

    fn reason(&self) -> Option<CloseReason> {
        self.ended()
    }

    fn lose(&mut self, lane: Lane) {
        self.lost(lane);
    }

    fn handle_time(&mut self, now: Instant, waiting: bool) {
        if waiting {
            self.extend(now);
        }
        self.handle_timeout(now);
    }

    fn deadline(&self) -> Option<Instant> {
        self.poll_timeout()
    }

    fn event(&mut self) -> Option<Event> {
        self.poll_event()
    }

    fn close_or_abort(&mut self, now: Instant, abort: bool) -> bool {
        match abort {
            true => self.abort(CloseReason::ClientDisconnect),
            false => self.close(now),
        }
        self.is_closing()
    }

    fn current_transport(&self) -> Transport {
        self.transport()
    }
}

/// One end of a WebSocket connection.
pub(crate) struct Socket {
    pub(crate) id: Connection,
    rx: RecvBuffer<Vec<u8>>,
    decoder: Decoder,
}

impl Socket {
    pub(crate) fn new(id: Connection, role: Role) -> Self {
        // Small, so that kept bytes and incomplete frames have to move.
        Self { id, rx: RecvBuffer::new(vec![0; 192]), decoder: Decoder::new(role, 128) }
    }
}

/// The state of a driver.
pub(crate) struct Endpoint<S> {
    pub(crate) session: S,
    /// The indices of queued messages.
    pub(crate) outbox: VecDeque<u32>,
    pub(crate) queued: u32,
    pub(crate) received: u32,
    pub(crate) get: Option<Connection>,
    pub(crate) post: Option<Connection>,
    pub(crate) websocket: Option<Socket>,
    pub(crate) closed: Option<(CloseReason, u64)>,
    /// The number of messages queued when a graceful close was requested.
    pub(crate) flushing: Option<u32>,
    /// The deadline of that close, on this end's own clock.
    closed_by: Option<Instant>,
    pub(crate) aborted: bool,
}

impl<S: Session> Endpoint<S> {
    pub(crate) fn new(session: S) -> Self {
        Self {
            session,
            outbox: VecDeque::new(),
            queued: 0,
            received: 0,
            get: None,
            post: None,
            websocket: None,
            closed: None,
            flushing: None,
            closed_by: None,
            aborted: false,
        }
    }

    pub(crate) fn queue(&mut self) {
        if self.closed.is_none() && self.flushing.is_none() {
            self.outbox.push_back(self.queued);
            self.queued += 1;
        }
    }

    pub(crate) fn close(&mut self, now: Instant, abort: bool) {
        self.aborted |= abort;
        if self.session.close_or_abort(now, abort) && self.flushing.is_none() {
            self.flushing = Some(self.queued);
            self.closed_by = Some(now.after(CLOSE_TIMEOUT));
        }
    }

    /// Takes the events for the application. `late` is the maximum delay of a timer in milliseconds.
    pub(crate) fn poll_events(&mut self, simulation: u64, now: Instant, late: u64) {
        while let Some(event) = self.session.event() {
            assert_eq!(self.closed, None, "{event:?} after the end");
            if let Event::Closed(reason) = event {
                self.closed = Some((reason, simulation));
                self.check_close(reason, now);
            }
        }
        assert_eq!(self.closed.map(|(reason, _)| reason), self.session.reason());
        let overdue = self.closed_by.is_some_and(|by| now.millis_since(by) > late);
        assert!(self.closed.is_some() || !overdue, "the close exceeds its deadline");
    }

    /// A graceful close sends all queued messages before its deadline.
    fn check_close(&self, reason: CloseReason, now: Instant) {
        let own = match S::ROLE {
            Role::Server => CloseReason::ServerDisconnect,
            Role::Client => CloseReason::ClientDisconnect,
        };
        let in_time = self.closed_by.is_some_and(|by| now < by);
        if reason == own && in_time && !self.aborted {
            assert!(self.outbox.is_empty(), "closed before queued messages were sent");
        }
    }

    /// The lane that this connection serves at this end, if any.
    pub(crate) fn lane(&self, connection: Connection) -> Option<Lane> {
        let websocket = self.websocket.as_ref().map(|socket| socket.id);
        [(Lane::Get, self.get), (Lane::Post, self.post), (Lane::WebSocket, websocket)]
            .into_iter()
            .find_map(|(lane, serving)| (serving == Some(connection)).then_some(lane))
    }

    /// The connection broke at this end.
    pub(crate) fn lose(&mut self, connection: Connection) {
        let Some(lane) = self.lane(connection) else { return };
        match lane {
            Lane::Get => self.get = None,
            Lane::Post => self.post = None,
            Lane::WebSocket => self.websocket = None,
        }
        let carried =
            (lane == Lane::WebSocket) == (self.session.current_transport() == Transport::WebSocket);
        // It ends as the server's close, and its queued messages are lost (docs/protocol.md 2.3.13).
        self.aborted |= S::ROLE == Role::Server && lane == Lane::Post && self.flushing.is_some();
        self.session.lose(lane);
        assert!(
            !carried || self.session.reason().is_some(),
            "losing the transport did not end the session"
        );
    }

    /// The next item to write. After the end only last items are allowed, and they have an end.
    fn next(&mut self, lane: Lane) -> Option<Next> {
        let over = self.session.reason().is_some();
        let next = self.session.next(lane, !self.outbox.is_empty())?;
        let last = matches!(next, Next::Packet(Packet::Close | Packet::Noop) | Next::Hangup);
        assert!(last || !over, "{next:?} after the end");
        Some(next)
    }

    /// Fills the body of a response or a POST with at most `packets` packets and `bytes` bytes; returns whether it is
    /// full.
    pub(crate) fn fill(&mut self, lane: Lane, packets: usize, bytes: usize) -> (Vec<u8>, bool) {
        let mut body = Bytes::default();
        let mut encoder = payload::Encoder::new(bytes, packets);
        loop {
            let mut text = [0; LONGEST];
            let front =
                self.outbox.front().map(|index| Packet::Message(compose(*index, &mut text)));
            // An item that was taken but does not fit would be lost.
            if !encoder.has_room(front.as_ref()) {
                return (body.0, true);
            }
            let packet = match self.next(lane) {
                None => return (body.0, false),
                Some(Next::Packet(packet)) => packet,
                Some(Next::Message) => front.expect("a message is queued"),
                Some(Next::Hangup) => panic!("a body cannot hang up"),
            };
            let pushed = encoder.push(&mut body, &packet);
            assert_eq!(pushed, Ok(payload::PushOutcome::Written));
            if let Packet::Message(_) = packet {
                self.outbox.pop_front();
            }
        }
    }

    /// Handles a whole body; returns whether all of it was accepted.
    pub(crate) fn read_body(&mut self, lane: Lane, mut body: Vec<u8>, now: Instant) -> bool {
        for packet in payload::Decoder::new(&mut body) {
            let packet = packet.expect("only whole packets were written");
            match self.session.take(lane, packet, now) {
                Ok(message) => receive(&mut self.received, message),
                Err(violation) => {
                    assert_eq!(violation, Violation::Ended);
                    return self.session.reason() == Some(CloseReason::ClientDisconnect);
                }
            }
        }
        true
    }

    /// Writes at most `room` frames for the WebSocket; returns whether there may be more.
    pub(crate) fn frames(&mut self, room: u64, rng: &mut Rng) -> (Vec<u8>, bool) {
        let mut out = Bytes::default();
        for _ in 0..room {
            let key = (S::ROLE == Role::Client)
                .then(|| rng.below(1 << 32).to_be_bytes()[4..].try_into().unwrap());
            let mut text = [0; LONGEST];
            let packet = match self.next(Lane::WebSocket) {
                None => return (out.0, false),
                Some(Next::Hangup) => {
                    ws::encode_close(&mut out, None, "", key).expect("the output grows");
                    self.websocket = None;
                    return (out.0, false);
                }
                Some(Next::Packet(packet)) => packet,
                Some(Next::Message) => {
                    let index = self.outbox.pop_front().expect("a message is queued");
                    Packet::Message(compose(index, &mut text))
                }
            };
            let frame = packet.frame();
            let opcode = if frame.binary { Opcode::Binary } else { Opcode::Text };
            let [data, tail] = match rng.below(4) {
                // In two fragments; the split may be inside a character.
                0 if frame.data.len() > 1 => {
                    let (data, tail) =
                        frame.data.split_at(1 + rng.below(frame.data.len() as u64 - 1) as usize);
                    [data, tail]
                }
                _ => [frame.data, &[]],
            };
            let whole = tail.is_empty();
            ws::encode_fragment(&mut out, whole, opcode, frame.prefix, data, key)
                .expect("the output grows");
            if !whole {
                ws::encode_fragment(&mut out, true, Opcode::Continuation, b"", tail, key)
                    .expect("the output grows");
            }
        }
        (out.0, true)
    }

    /// Handles bytes from the WebSocket.
    pub(crate) fn read_frames(&mut self, mut bytes: &[u8], now: Instant) {
        while !bytes.is_empty() {
            let Some(socket) = &mut self.websocket else { return };
            let wanted = bytes.len().min(64);
            let n = socket.rx.spare_mut(wanted).len().min(wanted);
            assert!(n > 0, "a frame does not fit into the buffer");
            socket.rx.append(&bytes[..n]).expect("there is room");
            bytes = &bytes[n..];
            while let Step::Ready(ready) = socket.decoder.poll(&mut socket.rx).expect("frames") {
                let payload = socket.decoder.payload_mut(&mut socket.rx, ready);
                let packet = match ready.kind() {
                    Kind::Text => Packet::parse_text(payload).expect("a packet"),
                    Kind::Binary => Packet::parse_binary(payload),
                    Kind::Close => {
                        self.websocket = None;
                        return self.session.lose(Lane::WebSocket);
                    }
                    Kind::Ping | Kind::Pong => panic!("no end sends control frames"),
                };
                match self.session.take(Lane::WebSocket, packet, now) {
                    Ok(message) => receive(&mut self.received, message),
                    Err(violation) => assert_eq!(violation, Violation::Ended),
                }
            }
        }
    }
}

/// The maximum size of a message in bytes. Messages have distinct contents and different lengths.
const LONGEST: usize = 64;

fn compose(index: u32, bytes: &mut [u8; LONGEST]) -> Message<'_> {
    let len = 4 + (index as usize * 7) % 40;
    if index % 2 == 1 {
        bytes[..4].copy_from_slice(&index.to_be_bytes());
        bytes[4..len].fill(index as u8);
        return Message::Binary(&bytes[..len]);
    }
    let mut left = index;
    for digit in bytes[..4].iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
    }
    bytes[4..len].fill(b'x');
    // Three bytes of one character.
    bytes[len..len + 3].copy_from_slice("\u{20ac}".as_bytes());
    Message::Text(std::str::from_utf8(&bytes[..len + 3]).expect("text"))
}

fn receive(received: &mut u32, message: Option<Message<'_>>) {
    if let Some(message) = message {
        let expected = &mut [0; LONGEST];
        assert_eq!(
            message,
            compose(*received, expected),
            "lost, duplicated, changed or out of order"
        );
        *received += 1;
    }
}

/// An output that grows.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Sink for Bytes {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Overflow> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn claim(&mut self, n: usize) -> Result<&mut [u8], Overflow> {
        let len = self.0.len();
        self.0.resize(len + n, 0);
        Ok(&mut self.0[len..])
    }
}
