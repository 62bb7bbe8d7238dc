//! An HTTP client that works on the bytes of one TCP connection.
//!
//! The tests are about the bytes on the wire, so this client hides nothing: it sends what it is given, also what no
//! library would send, and checks everything in a response. [`TIMEOUT`] bounds every wait; the message of a timeout
//! shows the bytes received so far.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::request::Request;
use super::response::Response;
use super::wait::TIMEOUT;

/// One TCP connection and the bytes received on it that are not parsed yet.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Connection {
    #[track_caller]
    pub(crate) fn open(addr: SocketAddr) -> Self {
        Self::of(TcpStream::connect_timeout(&addr, TIMEOUT).expect("the server accepts"))
    }

    /// Connects from this loopback address.
    #[track_caller]
    pub(crate) fn open_from(local: Ipv4Addr, addr: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.expect("a socket");
        socket.bind(&SocketAddr::from((local, 0)).into()).expect("a loopback address");
        socket.connect_timeout(&addr.into(), TIMEOUT).expect("the server accepts");
        Self::of(socket.into())
    }

    /// A stream that is connected already.
    #[track_caller]
    pub(crate) fn of(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream.set_write_timeout(Some(TIMEOUT)).expect("a write timeout");
        Self { stream, unread: Vec::new() }
    }

    /// The stream itself, for tests that interfere with it.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    #[track_caller]
    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the server reads");
    }

    /// Writes bytes that the server may refuse to read.
    pub(crate) fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends a request and leaves the response for later.
    #[track_caller]
    pub(crate) fn send(&mut self, request: &Request) {
        self.write(request.bytes());
    }

    /// Sends a request and reads its response.
    #[track_caller]
    pub(crate) fn request(&mut self, request: &Request) -> Response {
        self.send(request);
        self.response()
    }

    /// Reads the response to any request but HEAD.
    #[track_caller]
    pub(crate) fn response(&mut self) -> Response {
        self.read_response(false, TIMEOUT).unwrap_or_else(|error| panic!("no response: {error}"))
    }

    /// Reads the response to a HEAD request, which has no body even if its head announces one.
    #[track_caller]
    pub(crate) fn response_to_head(&mut self) -> Response {
        self.read_response(true, TIMEOUT).unwrap_or_else(|error| panic!("no response: {error}"))
    }

    /// Reads a response if it arrives within `timeout`.
    pub(crate) fn try_response(&mut self, timeout: Duration) -> io::Result<Response> {
        self.read_response(false, timeout)
    }

    /// Fails if a byte arrives, or the connection ends, within `time`.
    #[track_caller]
    pub(crate) fn expect_silence(&mut self, time: Duration) {
        match self.receive(Instant::now() + time) {
            Err(error) if error.kind() == ErrorKind::TimedOut => {}
            other => panic!("expected silence: {other:?} {}", self.unread.escape_ascii()),
        }
    }

    /// Fails unless the server closes in an orderly way without another byte.
    #[track_caller]
    pub(crate) fn expect_eof(&mut self) {
        match self.receive(Instant::now() + TIMEOUT) {
            Ok(0) if self.unread.is_empty() => {}
            other => panic!("not closed: {other:?} {}", self.unread.escape_ascii()),
        }
    }

    /// Fails unless the connection ends, in an orderly way or by a reset.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            match self.receive(deadline) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::TimedOut => panic!("still connected"),
                Err(_) => return,
            }
        }
    }

    /// Closes the sending direction.
    pub(crate) fn shutdown_write(&mut self) {
        _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Makes the close of this connection a reset: the kernel discards the bytes it has not sent yet.
    pub(crate) fn reset_on_close(&self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    }

    /// Reads exactly `n` bytes.
    pub(crate) fn read_bytes(&mut self, n: usize, deadline: Instant) -> io::Result<Vec<u8>> {
        while self.unread.len() < n {
            self.receive_some(deadline)?;
        }
        Ok(self.unread.drain(..n).collect())
    }

    fn read_response(&mut self, bodiless: bool, timeout: Duration) -> io::Result<Response> {
        let deadline = Instant::now() + timeout;
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.receive_some(deadline)?;
        };
        let head: Vec<u8> = self.unread.drain(..end).collect();
        let mut response = Response::parse_head(&head);
        if bodiless || matches!(response.status, 100..=199 | 204 | 304) {
            return Ok(response);
        }
        response.body =
            match (response.header("Content-Length"), response.header("Transfer-Encoding")) {
                (Some(length), None) => {
                    let length = length.parse().unwrap_or_else(|_| panic!("{response:?}"));
                    self.read_bytes(length, deadline)?
                }
                (None, Some("chunked")) => self.read_chunks(deadline)?,
                _ => panic!("not delimited: {response:?}"),
            };
        Ok(response)
    }

    fn read_chunks(&mut self, deadline: Instant) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                line.extend(self.read_bytes(1, deadline)?);
            }
            let size = std::str::from_utf8(&line[..line.len() - 2]).ok();
            let size = size.and_then(|size| usize::from_str_radix(size, 16).ok());
            let size = size.unwrap_or_else(|| panic!("chunk size {}", line.escape_ascii()));
            body.extend(self.read_bytes(size, deadline)?);
            assert_eq!(self.read_bytes(2, deadline)?, b"\r\n", "the end of a chunk");
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn receive_some(&mut self, deadline: Instant) -> io::Result<()> {
        match self.receive(deadline)? {
            0 => {
                let received = self.unread.escape_ascii();
                let text = format!("closed after \"{received}\"");
                Err(io::Error::new(ErrorKind::UnexpectedEof, text))
            }
            _ => Ok(()),
        }
    }

    /// Receives bytes; 0 is the end. A timeout is always [`ErrorKind::TimedOut`].
    fn receive(&mut self, deadline: Instant) -> io::Result<usize> {
        let mut buffer = [0; 64 * 1024];
        let left = deadline.saturating_duration_since(Instant::now());
        self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match self.stream.read(&mut buffer) {
            Ok(n) => {
                self.unread.extend_from_slice(&buffer[..n]);
                Ok(n)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let received = self.unread.escape_ascii();
                let text = format!("timed out after \"{received}\"");
                Err(io::Error::new(ErrorKind::TimedOut, text))
            }
            Err(error) => Err(error),
        }
    }
}
