//! A WebSocket client over TLS, whose records a test sends as it likes.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection};

use super::Identity;
use crate::support::polling::sid_of;
use crate::support::request::{Request, WEBSOCKET};
use crate::support::wait::TIMEOUT;

pub(crate) struct SecureWebSocket {
    pub(crate) tls: ClientConnection,
    pub(crate) stream: TcpStream,
}

impl SecureWebSocket {
    /// A new session, and its sid.
    pub(crate) fn open(addr: SocketAddr, identity: &Identity) -> (Self, String) {
        let mut socket = Self::connect(addr, identity.pki.client(None));
        socket.write(&Request::upgrade(WEBSOCKET).bytes());
        let sid = socket.opened();
        (socket, sid)
    }

    /// A connection without a handshake.
    pub(crate) fn connect(addr: SocketAddr, config: ClientConfig) -> Self {
        let name = "127.0.0.1".try_into().expect("a name");
        let tls = ClientConnection::new(Arc::new(config), name).expect("a client");
        let stream = TcpStream::connect(addr).expect("the server accepts");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
        Self { tls, stream }
    }

    /// The sid of the session that the requested upgrade opens.
    pub(crate) fn opened(&mut self) -> String {
        self.head();
        let open = self.message();
        sid_of(std::str::from_utf8(&open).expect("text"))
    }

    /// The head of a response.
    fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.read(1));
        }
        String::from_utf8(head).expect("text")
    }

    /// The head and the body of a response to a request of HTTP.
    pub(crate) fn response(&mut self) -> (String, String) {
        let head = self.head();
        let len = head.split_once("Content-Length: ");
        let len = len.and_then(|(_, rest)| rest.split_once("\r\n"));
        let len = len.and_then(|(len, _)| len.parse().ok()).expect("a length");
        let body = String::from_utf8(self.read(len)).expect("text");
        (head, body)
    }

    /// The records of these bytes.
    pub(crate) fn records(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.tls.set_buffer_limit(None);
        self.tls.writer().write_all(bytes).expect("memory");
        self.pending_records()
    }

    pub(crate) fn pending_records(&mut self) -> Vec<u8> {
        let mut records = Vec::new();
        while self.tls.wants_write() && !self.tls.is_handshaking() {
            self.tls.write_tls(&mut records).expect("memory");
        }
        records
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let mut stream = rustls::Stream::new(&mut self.tls, &mut self.stream);
        stream.write_all(bytes).expect("the server reads");
    }

    pub(crate) fn write_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    pub(crate) fn read(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        let mut stream = rustls::Stream::new(&mut self.tls, &mut self.stream);
        stream.read_exact(&mut bytes).expect("the server answers");
        bytes
    }

    /// The payload of the next frame.
    pub(crate) fn message(&mut self) -> Vec<u8> {
        let n = match self.read(2)[1] {
            126 => u16::from_be_bytes(self.read(2).try_into().expect("two bytes")).into(),
            127 => u64::from_be_bytes(self.read(8).try_into().expect("eight bytes")) as usize,
            short => short.into(),
        };
        self.read(n)
    }

    /// Reads to the end. Without the server's close_notify that is an error, as is an alert.
    pub(crate) fn end(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        let mut stream = rustls::Stream::new(&mut self.tls, &mut self.stream);
        stream.read_to_end(&mut rest).map(|_| rest)
    }
}
