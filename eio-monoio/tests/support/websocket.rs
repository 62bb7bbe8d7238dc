//! A WebSocket connection, frame by frame.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::polling::{Polling, sid_of};
use super::request::{Request, WEBSOCKET, upgrade_target};
use super::wait::TIMEOUT;

pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8a;

/// A frame from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// FIN, RSV and opcode: 0x81 is a complete text message.
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

/// A connection after its upgrade to WebSocket.
#[derive(Debug)]
pub(crate) struct WebSocket {
    pub(crate) conn: Connection,
}

impl WebSocket {
    /// Requests a WebSocket at `target`, which the server must grant.
    #[track_caller]
    pub(crate) fn connect(addr: SocketAddr, target: &str) -> Self {
        Self::over(Connection::open(addr), target)
    }

    /// [`connect`](Self::connect) on a connection on which a header of the PROXY protocol was sent.
    #[track_caller]
    pub(crate) fn over(mut conn: Connection, target: &str) -> Self {
        let response = conn.request(&Request::upgrade(target));
        assert_eq!(response.status, 101, "{response:?}");
        // RFC 6455 1.3: the answer to the key that `Request::upgrade` sends.
        let accept = response.header("Sec-WebSocket-Accept");
        assert_eq!(accept, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{response:?}");
        Self { conn }
    }

    /// A new session over WebSocket, and its sid.
    #[track_caller]
    pub(crate) fn open(addr: SocketAddr) -> (Self, String) {
        Self::open_at(addr, WEBSOCKET)
    }

    /// [`open`](Self::open) with a target of its own.
    #[track_caller]
    pub(crate) fn open_at(addr: SocketAddr, target: &str) -> (Self, String) {
        let mut socket = Self::connect(addr, target);
        let sid = sid_of(&socket.text());
        (socket, sid)
    }

    /// A WebSocket for the upgrade of a session; nothing is sent on it yet.
    #[track_caller]
    pub(crate) fn attach(addr: SocketAddr, sid: &str) -> Self {
        Self::connect(addr, &upgrade_target(sid))
    }

    /// Probes an attached WebSocket.
    #[track_caller]
    pub(crate) fn probe(&mut self) {
        self.send("2probe");
        assert_eq!(self.text(), "3probe");
    }

    #[track_caller]
    pub(crate) fn send(&mut self, text: &str) {
        self.conn.write(frame(TEXT, text.as_bytes()));
    }

    #[track_caller]
    pub(crate) fn send_binary(&mut self, bytes: &[u8]) {
        self.conn.write(frame(BINARY, bytes));
    }

    /// The next frame of any kind.
    #[track_caller]
    pub(crate) fn frame(&mut self) -> Frame {
        self.try_frame(TIMEOUT).unwrap_or_else(|error| panic!("no frame: {error}"))
    }

    /// The next frame if it arrives within `timeout`.
    pub(crate) fn try_frame(&mut self, timeout: Duration) -> io::Result<Frame> {
        let deadline = Instant::now() + timeout;
        let head = self.conn.read_bytes(2, deadline)?;
        assert!(head[1] & 0x80 == 0, "a server must not mask (RFC 6455 5.1)");
        let mut length = [0; 8];
        match head[1] {
            126 => length[6..].copy_from_slice(&self.conn.read_bytes(2, deadline)?),
            127 => length.copy_from_slice(&self.conn.read_bytes(8, deadline)?),
            short => length[7] = short,
        }
        let length = usize::try_from(u64::from_be_bytes(length)).expect("a length in memory");
        Ok(Frame { first: head[0], payload: self.conn.read_bytes(length, deadline)? })
    }

    /// The text of the next frame, which must be a complete text message.
    #[track_caller]
    pub(crate) fn text(&mut self) -> String {
        let frame = self.frame();
        assert_eq!(frame.first, TEXT, "{frame:?}");
        String::from_utf8(frame.payload).expect("text in UTF-8")
    }

    /// The bytes of the next frame, which must be a complete binary message.
    #[track_caller]
    pub(crate) fn binary(&mut self) -> Vec<u8> {
        let frame = self.frame();
        assert_eq!(frame.first, BINARY, "{frame:?}");
        frame.payload
    }

    /// Reads a close frame, without an answer to it, and returns its code.
    #[track_caller]
    pub(crate) fn expect_close(&mut self) -> Option<u16> {
        let frame = self.frame();
        assert_eq!(frame.first, CLOSE, "{frame:?}");
        assert!(frame.payload.len() != 1, "half a close code");
        frame.payload.first_chunk().map(|code| u16::from_be_bytes(*code))
    }

    /// Fails unless the session echoes a message.
    #[track_caller]
    pub(crate) fn assert_alive(&mut self) {
        self.send("4still here");
        assert_eq!(self.text(), "4still here");
    }
}

/// A polling session whose WebSocket is probed and not yet the transport.
#[track_caller]
pub(crate) fn open_probed(addr: SocketAddr) -> (Polling, WebSocket) {
    let polling = Polling::open(addr);
    let mut socket = WebSocket::attach(addr, &polling.sid);
    socket.probe();
    (polling, socket)
}

/// A session after its upgrade.
#[track_caller]
pub(crate) fn open_upgraded(addr: SocketAddr) -> (Polling, WebSocket) {
    let (polling, mut socket) = open_probed(addr);
    socket.send("5");
    socket.assert_alive();
    (polling, socket)
}

/// A masked frame, as a client sends it.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | short as u8),
        medium @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}
