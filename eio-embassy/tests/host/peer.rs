//! The peer of a client: frame by frame for a script, or a complete echo server.

use std::collections::VecDeque;

use eio_core::buffer::{Overflow, RecvBuffer, Sink};
use eio_core::http::{EMPTY, HeadScanner, RequestHead};
use eio_core::open::{OPEN_MAX, Open};
use eio_core::packet::{Message, Packet};
use eio_core::session::{
    CloseReason, Event as SessionEvent, Lane, ServerSession, Timing, Transmit,
};
use eio_core::time::Instant;
use eio_core::transport::{Transport, TransportSet};
use eio_core::ws::handshake::check_request;
use eio_core::ws::{self, Decoder, Event, Opcode, Role, Step};
use embassy_futures::select::{Either, select};
use embassy_time::Timer;
use embedded_io_async::{Read, Write};

/// The heartbeat of scripts: no ping within a minute.
pub(crate) const QUIET: Timing = Timing {
    ping_interval_ms: 60_000,
    ping_timeout_ms: 20_000,
    upgrade_timeout_ms: 1_000,
    close_timeout_ms: 1_000,
};

/// A received frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>),
    End,
}

#[derive(Debug)]
pub(crate) struct Peer<R, W> {
    reader: R,
    pub(crate) writer: W,
    rx: RecvBuffer<Vec<u8>>,
    decoder: Decoder,
}

impl Peer<crate::pipe::Reader, crate::pipe::Writer> {
    /// Closes the sending direction, like a process that ended.
    pub(crate) fn close(&mut self) {
        self.writer = crate::pipe::pair(crate::pipe::UNLIMITED).0.1;
    }

    /// Whether no byte was received.
    pub(crate) fn received_nothing(&mut self) -> bool {
        self.rx.is_empty()
            && embassy_futures::poll_once(self.receive()) != std::task::Poll::Ready(true)
    }
}

impl<R: Read, W: Write> Peer<R, W> {
    pub(crate) fn new((reader, writer): (R, W)) -> Self {
        let decoder = Decoder::new(Role::Server, 1 << 20);
        Self { reader, writer, rx: RecvBuffer::new(vec![0; 1 << 20]), decoder }
    }

    /// Reads the head of a request.
    pub(crate) async fn request(&mut self) -> String {
        self.try_request().await.expect("the client does not close the connection within a head")
    }

    /// Reads the head of a request; `None` if the client closes the connection.
    pub(crate) async fn try_request(&mut self) -> Option<String> {
        let mut scanner = HeadScanner::new();
        loop {
            if let Some(len) = scanner.poll(self.rx.unread(), 8192).expect("a well-formed head") {
                let head = String::from_utf8(self.rx.unread()[..len].to_vec()).unwrap();
                self.rx.skip(len);
                return Some(head);
            }
            if !self.receive().await {
                return None;
            }
        }
    }

    /// Accepts a WebSocket.
    pub(crate) async fn upgrade(&mut self) {
        let head = self.request().await;
        let accept = accept(&head);
        self.write(
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n"
            )
            .as_bytes(),
        )
        .await;
    }

    /// Accepts a WebSocket and sends the open packet.
    pub(crate) async fn open(&mut self, timing: Timing, max_payload: u32) {
        self.upgrade().await;
        let mut memory = [0; OPEN_MAX];
        let json = open(timing, max_payload, TransportSet::EMPTY).json(&mut memory).to_owned();
        self.text(&format!("0{json}")).await;
    }

    pub(crate) async fn text(&mut self, text: &str) {
        self.frame(true, Opcode::Text, text.as_bytes()).await;
    }

    pub(crate) async fn frame(&mut self, fin: bool, opcode: Opcode, payload: &[u8]) {
        let mut out = Growing::default();
        ws::encode_fragment(&mut out, fin, opcode, &[], payload, None).unwrap();
        self.write(&out.0).await;
    }

    /// Writes, and ignores errors.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let _ = self.writer.write_all(bytes).await;
    }

    pub(crate) async fn next(&mut self) -> Frame {
        loop {
            let Self { rx, decoder, .. } = self;
            if let Step::Ready(ready) = decoder.poll(rx).expect("a valid packet") {
                return match decoder.event(rx, ready).expect("a valid packet") {
                    Event::Text(text) => Frame::Text(text.to_owned()),
                    Event::Binary(bytes) => Frame::Binary(bytes.to_vec()),
                    Event::Ping(bytes) => Frame::Ping(bytes.to_vec()),
                    Event::Pong(bytes) => Frame::Pong(bytes.to_vec()),
                    Event::Close(code, _) => Frame::Close(code.map(|code| code.get())),
                };
            }
            if !self.receive().await {
                return Frame::End;
            }
        }
    }

    /// Reads `n` bytes.
    pub(crate) async fn raw(&mut self, n: usize) -> Vec<u8> {
        while self.rx.unread().len() < n {
            assert!(self.receive().await, "the client closed the connection too early");
        }
        let bytes = self.rx.unread()[..n].to_vec();
        self.rx.skip(n);
        bytes
    }

    async fn receive(&mut self) -> bool {
        match self.reader.read(self.rx.spare_mut(1)).await {
            Ok(0) | Err(_) => false,
            Ok(n) => {
                self.rx.fill(n);
                true
            }
        }
    }

    /// Serves one session and echoes every message until it ends.
    pub(crate) async fn echo(mut self, timing: Timing) -> CloseReason {
        self.open(timing, 100_000).await;
        let mut session = ServerSession::new(Transport::WebSocket, timing, now());
        let mut queue = VecDeque::new();
        // `open` has sent it.
        assert_eq!(session.poll_transmit(Lane::WebSocket, false), Some(Transmit::Open));
        loop {
            while let Some(transmit) = session.poll_transmit(Lane::WebSocket, !queue.is_empty()) {
                match transmit {
                    Transmit::Control(packet) => self.packet(packet).await,
                    Transmit::Message => {
                        match queue.pop_front().expect("only if a message is queued") {
                            Frame::Binary(bytes) => self.frame(true, Opcode::Binary, &bytes).await,
                            Frame::Text(text) => self.text(&format!("4{text}")).await,
                            other => unreachable!("{other:?} is not a message"),
                        }
                    }
                    Transmit::Hangup => {
                        self.frame(true, Opcode::Close, &1000_u16.to_be_bytes()).await
                    }
                    Transmit::Open => unreachable!("already sent"),
                }
            }
            if let Some(SessionEvent::Closed(reason)) = session.poll_event() {
                return reason;
            }
            let deadline = session.poll_timeout().expect("an open session has a deadline");
            let timer = Timer::at(embassy_time::Instant::from_millis(deadline.as_millis()));
            let frame = match select(self.next(), timer).await {
                Either::First(frame) => frame,
                Either::Second(()) => {
                    session.handle_timeout(now());
                    continue;
                }
            };
            let mut record = match frame {
                Frame::Text(text) => text.into_bytes(),
                Frame::Binary(bytes) => {
                    let packet = Packet::parse_binary(&bytes);
                    let message = session.handle_packet(Lane::WebSocket, packet, now());
                    queue.extend(message.ok().flatten().map(owned));
                    continue;
                }
                Frame::Close(_) | Frame::End => {
                    let _ = self.writer.write_all(&[0x88, 0]).await;
                    session.lost(Lane::WebSocket);
                    continue;
                }
                Frame::Ping(_) | Frame::Pong(_) => continue,
            };
            let packet = Packet::parse_text(&mut record).expect("a valid packet");
            let message = session.handle_packet(Lane::WebSocket, packet, now());
            queue.extend(message.ok().flatten().map(owned));
        }
    }

    async fn packet(&mut self, packet: Packet<'_>) {
        let mut out = Growing::default();
        packet.encode_text(&mut out).unwrap();
        self.frame(true, Opcode::Text, &out.0).await;
    }
}

pub(crate) fn owned(message: Message<'_>) -> Frame {
    match message {
        Message::Text(text) => Frame::Text(text.to_owned()),
        Message::Binary(bytes) => Frame::Binary(bytes.to_vec()),
    }
}

pub(crate) fn open(timing: Timing, max_payload: u32, upgrades: TransportSet) -> Open {
    Open {
        sid: "a_session".parse().unwrap(),
        upgrades,
        ping_interval_ms: timing.ping_interval_ms,
        ping_timeout_ms: timing.ping_timeout_ms,
        max_payload,
    }
}

/// The Sec-WebSocket-Accept for the key in this head.
pub(crate) fn accept(head: &str) -> String {
    let mut slots = [EMPTY; 32];
    let head = RequestHead::parse(head.as_bytes(), &mut slots).expect("a well-formed head");
    let offer = check_request(head.method, head.minor_version, head.headers.iter());
    offer.expect("a WebSocket request").accept().to_owned()
}

pub(crate) fn now() -> Instant {
    Instant::from_millis(embassy_time::Instant::now().as_millis())
}

/// A sink that grows.
#[derive(Debug, Default)]
pub(crate) struct Growing(pub(crate) Vec<u8>);

impl Sink for Growing {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Overflow> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn claim(&mut self, n: usize) -> Result<&mut [u8], Overflow> {
        let from = self.0.len();
        self.0.resize(from + n, 0);
        Ok(&mut self.0[from..])
    }
}
