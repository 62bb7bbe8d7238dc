//! An HTTP and WebSocket client of nothing but bytes and a TCP stream.
//!
//! What is tested is the wire, so this client hides nothing: it sends what it is told to, also what no library
//! would send, and takes nothing in a response for granted. Every wait is bounded by [`PATIENCE`]; what does
//! not come by then is a failure that names what was waited for.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long anything may take on a machine that is busy. Only failing tests wait for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The query of a polling handshake.
pub(crate) const POLLING: &str = "/engine.io/?EIO=4&transport=polling";
/// The query of a WebSocket handshake.
pub(crate) const WEBSOCKET: &str = "/engine.io/?EIO=4&transport=websocket";

/// A request to be sent: a builder that does not correct anything but leaves `Host` to no one.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    head: String,
    body: Vec<u8>,
}

impl Request {
    /// A request without a body.
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self { head: format!("{method} {target} HTTP/1.1\r\nHost: test\r\n"), body: Vec::new() }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A POST with a Content-Length.
    pub(crate) fn post(target: &str, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let mut request = Self::new("POST", target);
        request = request.header("Content-Type", "text/plain;charset=UTF-8");
        request.header("Content-Length", &body.len().to_string()).body(body)
    }

    /// A chunked POST.
    pub(crate) fn chunked<'c>(target: &str, chunks: impl IntoIterator<Item = &'c [u8]>) -> Self {
        let mut body = Vec::new();
        for chunk in chunks {
            body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n\r\n");
        Self::new("POST", target).header("Transfer-Encoding", "chunked").body(body)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        _ = write!(self.head, "{name}: {value}\r\n");
        self
    }

    /// A body, without a word about it in the head.
    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        [self.head.as_bytes(), b"\r\n", &self.body].concat()
    }
}

/// The target of a session's polling requests.
pub(crate) fn target(sid: &str) -> String {
    format!("{POLLING}&sid={sid}")
}

/// A response, read to its last byte and not further.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// A header's value, by its name in any case.
    ///
    /// # Panics
    ///
    /// If it is there more than once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} is repeated in {self:?}");
        value
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_else(|_| panic!("not UTF-8: {self:?}"))
    }

    /// Fails unless it has this status and this body.
    #[track_caller]
    pub(crate) fn assert(&self, status: u16, body: &str) {
        assert_eq!((self.status, self.text()), (status, body), "{self:?}");
    }
}

/// One TCP connection and what was received on it but not looked at yet.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Wire {
    #[track_caller]
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE).expect("the server accepts");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream.set_write_timeout(Some(PATIENCE)).expect("a write timeout");
        Self { stream, unread: Vec::new() }
    }

    /// The stream itself, for tests that break it.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    #[track_caller]
    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the server reads");
    }

    /// For what the server may refuse to read to its end.
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

    /// Reads the response to anything but HEAD.
    #[track_caller]
    pub(crate) fn response(&mut self) -> Response {
        self.read_response(false, PATIENCE).unwrap_or_else(|error| panic!("no response: {error}"))
    }

    /// Reads the response to a HEAD request, which has no body whatever its head says.
    #[track_caller]
    pub(crate) fn response_to_head(&mut self) -> Response {
        self.read_response(true, PATIENCE).unwrap_or_else(|error| panic!("no response: {error}"))
    }

    /// Reads a response, if one comes.
    pub(crate) fn try_response(&mut self, patience: Duration) -> io::Result<Response> {
        self.read_response(false, patience)
    }

    /// Fails if anything comes, or the connection ends, within `time`.
    #[track_caller]
    pub(crate) fn expect_silence(&mut self, time: Duration) {
        match self.receive(Instant::now() + time) {
            Err(error) if error.kind() == ErrorKind::TimedOut => {}
            other => panic!("silence was broken: {other:?} {}", self.unread.escape_ascii()),
        }
    }

    /// Fails unless the server closes in an orderly way without another byte.
    #[track_caller]
    pub(crate) fn expect_eof(&mut self) {
        match self.receive(Instant::now() + PATIENCE) {
            Ok(0) if self.unread.is_empty() => {}
            other => panic!("not closed: {other:?} {}", self.unread.escape_ascii()),
        }
    }

    /// Fails unless the connection ends, with a reset or without.
    #[track_caller]
    pub(crate) fn expect_gone(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.receive(deadline) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::TimedOut => panic!("still connected"),
                Err(_) => return,
            }
        }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish(&mut self) {
        _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Reads exactly so many bytes.
    pub(crate) fn take(&mut self, n: usize, deadline: Instant) -> io::Result<Vec<u8>> {
        while self.unread.len() < n {
            self.receive_some(deadline)?;
        }
        Ok(self.unread.drain(..n).collect())
    }

    fn read_response(&mut self, bodiless: bool, patience: Duration) -> io::Result<Response> {
        let deadline = Instant::now() + patience;
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.receive_some(deadline)?;
        };
        let head: Vec<u8> = self.unread.drain(..end).collect();
        let (status, headers) = parse_head(&head);
        let mut response = Response { status, headers, body: Vec::new() };
        if bodiless || matches!(status, 100..=199 | 204 | 304) {
            return Ok(response);
        }
        response.body =
            match (response.header("Content-Length"), response.header("Transfer-Encoding")) {
                (Some(length), None) => {
                    let length = length.parse().unwrap_or_else(|_| panic!("{response:?}"));
                    self.take(length, deadline)?
                }
                (None, Some("chunked")) => self.take_chunks(deadline)?,
                _ => panic!("not delimited: {response:?}"),
            };
        Ok(response)
    }

    fn take_chunks(&mut self, deadline: Instant) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                line.extend(self.take(1, deadline)?);
            }
            let size = std::str::from_utf8(&line[..line.len() - 2]).ok();
            let size = size.and_then(|size| usize::from_str_radix(size, 16).ok());
            let size = size.unwrap_or_else(|| panic!("chunk size {}", line.escape_ascii()));
            body.extend(self.take(size, deadline)?);
            assert_eq!(self.take(2, deadline)?, b"\r\n", "behind a chunk");
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn receive_some(&mut self, deadline: Instant) -> io::Result<()> {
        match self.receive(deadline)? {
            0 => {
                let kept = self.unread.escape_ascii();
                Err(io::Error::new(ErrorKind::UnexpectedEof, format!("closed behind \"{kept}\"")))
            }
            _ => Ok(()),
        }
    }

    /// Receives something; 0 is the end. A timeout is [`ErrorKind::TimedOut`], whatever the system calls it.
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
                let kept = self.unread.escape_ascii();
                Err(io::Error::new(ErrorKind::TimedOut, format!("timed out behind \"{kept}\"")))
            }
            Err(error) => Err(error),
        }
    }
}

/// Status and headers. What is not exactly as RFC 9112 writes it is a failure.
fn parse_head(head: &[u8]) -> (u16, Vec<(String, String)>) {
    let text = std::str::from_utf8(head).expect("a head in ASCII");
    let mut lines = text.strip_suffix("\r\n\r\n").expect("a whole head").split("\r\n");
    let line = lines.next().unwrap_or_default();
    let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status = status.unwrap_or_else(|| panic!("status line {line:?}"));
    let headers = lines.map(|line| {
        assert!(!line.contains(['\r', '\n']), "bare line end in {line:?}");
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("header {line:?}"));
        (name.to_owned(), value.trim().to_owned())
    });
    (status, headers.collect())
}

/// Makes the close of this connection a reset: what the server has not been sent yet is forgotten.
pub(crate) fn reset(wire: &Wire) {
    let socket = socket2::SockRef::from(wire.stream());
    socket.set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
}

/// The value of `"sid"` in an open packet.
#[track_caller]
pub(crate) fn sid_of(open: &str) -> String {
    let rest = open.strip_prefix("0{").and_then(|json| json.split_once("\"sid\":\""));
    let sid = rest.and_then(|(_, rest)| rest.split_once('"'));
    sid.unwrap_or_else(|| panic!("not an open packet: {open:?}")).0.to_owned()
}

/// A polling session with one connection for its GETs and one for its POSTs, as browsers do it.
#[derive(Debug)]
pub(crate) struct Polling {
    pub(crate) sid: String,
    pub(crate) get: Wire,
    pub(crate) post: Wire,
}

impl Polling {
    #[track_caller]
    pub(crate) fn open(addr: SocketAddr) -> Self {
        Self::open_with(addr, "")
    }

    /// The same with more in the handshake's query, such as `&b64=1`.
    #[track_caller]
    pub(crate) fn open_with(addr: SocketAddr, query: &str) -> Self {
        let (mut get, post) = (Wire::connect(addr), Wire::connect(addr));
        let response = get.request(&Request::get(&format!("{POLLING}{query}")));
        assert_eq!(response.status, 200, "{response:?}");
        Self { sid: sid_of(response.text()), get, post }
    }

    /// Sends a GET and leaves its response for [`polled`](Self::polled).
    #[track_caller]
    pub(crate) fn start_poll(&mut self) {
        self.get.send(&Request::get(&target(&self.sid)));
    }

    /// Sends a GET and returns when the server holds it. The application must be [`App`](super::app::App), with
    /// nothing queued.
    #[track_caller]
    pub(crate) fn hold_poll(&mut self) {
        self.hold_poll_behind("4!ack", "4ack");
    }

    /// The same for any application that answers `question` with `answer`: the GET stands behind another on the
    /// connection, and that one is answered.
    #[track_caller]
    pub(crate) fn hold_poll_behind(&mut self, question: &str, answer: &str) {
        self.say(question);
        let get = Request::get(&target(&self.sid)).bytes();
        self.get.write([&*get, &*get].concat());
        assert_eq!(self.polled(), answer);
    }

    /// Begins a POST and returns when the server waits for the rest, which is returned.
    #[track_caller]
    pub(crate) fn begin_push(&mut self, body: &str) -> Vec<u8> {
        let begun = Request::post(&target(&self.sid), body).bytes();
        let (begin, rest) = begun.split_at(begun.len() - 1);
        // A whole one before it: its answer shows that the next is being looked at.
        let before = Request::post(&target(&self.sid), "3").bytes();
        self.post.write([&*before, begin].concat());
        self.post.response().assert(200, "ok");
        rest.to_vec()
    }

    /// The body of the GET's response, which must be 200.
    #[track_caller]
    pub(crate) fn polled(&mut self) -> String {
        let response = self.get.response();
        assert_eq!(response.status, 200, "{response:?}");
        response.text().to_owned()
    }

    #[track_caller]
    pub(crate) fn poll(&mut self) -> String {
        self.start_poll();
        self.polled()
    }

    /// POSTs a body.
    #[track_caller]
    pub(crate) fn push(&mut self, body: impl AsRef<[u8]>) -> Response {
        self.post.request(&Request::post(&target(&self.sid), body))
    }

    /// POSTs a body that must be accepted.
    #[track_caller]
    pub(crate) fn say(&mut self, body: impl AsRef<[u8]>) {
        self.push(body).assert(200, "ok");
    }

    /// Fails unless the session answers a message with its echo.
    #[track_caller]
    pub(crate) fn assert_alive(&mut self) {
        self.say("4still here");
        assert_eq!(self.poll(), "4still here");
    }

    /// Fails unless the server says that it does not know this session, on new connections.
    #[track_caller]
    pub(crate) fn assert_unknown(&self) {
        let addr = self.get.stream().peer_addr().expect("a connected stream");
        for request in [Request::get(&target(&self.sid)), Request::post(&target(&self.sid), "4a")] {
            Wire::connect(addr).request(&request).assert(400, UNKNOWN_SID);
        }
    }
}

/// Protocol 2.2, code 1.
pub(crate) const UNKNOWN_SID: &str = r#"{"code":1,"message":"Session ID unknown"}"#;

/// One frame as the server sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// FIN, RSV and opcode: 0x81 is a whole text message.
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8a;

/// A WebSocket connection, frame by frame.
#[derive(Debug)]
pub(crate) struct WebSocket {
    pub(crate) wire: Wire,
}

impl WebSocket {
    /// Asks for a WebSocket at `target`, which must be granted.
    #[track_caller]
    pub(crate) fn connect(addr: SocketAddr, target: &str) -> Self {
        let mut wire = Wire::connect(addr);
        let response = wire.request(&opening(target));
        assert_eq!(response.status, 101, "{response:?}");
        // RFC 6455 1.3: the answer to the key that `opening` sends.
        let accept = response.header("Sec-WebSocket-Accept");
        assert_eq!(accept, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{response:?}");
        Self { wire }
    }

    /// A new session over WebSocket, and its sid.
    #[track_caller]
    pub(crate) fn open(addr: SocketAddr) -> (Self, String) {
        let mut socket = Self::connect(addr, WEBSOCKET);
        let sid = sid_of(&socket.text());
        (socket, sid)
    }

    /// A WebSocket for a session that exists; nothing is sent on it yet.
    #[track_caller]
    pub(crate) fn attach(addr: SocketAddr, sid: &str) -> Self {
        Self::connect(addr, &format!("{WEBSOCKET}&sid={sid}"))
    }

    #[track_caller]
    pub(crate) fn send(&mut self, text: &str) {
        self.wire.write(frame(TEXT, text.as_bytes()));
    }

    #[track_caller]
    pub(crate) fn send_binary(&mut self, bytes: &[u8]) {
        self.wire.write(frame(BINARY, bytes));
    }

    /// The next frame, whatever it is.
    #[track_caller]
    pub(crate) fn frame(&mut self) -> Frame {
        self.try_frame(PATIENCE).unwrap_or_else(|error| panic!("no frame: {error}"))
    }

    /// The next frame, if one comes.
    pub(crate) fn try_frame(&mut self, patience: Duration) -> io::Result<Frame> {
        let deadline = Instant::now() + patience;
        let head = self.wire.take(2, deadline)?;
        assert!(head[1] & 0x80 == 0, "a server must not mask (RFC 6455 5.1)");
        let mut length = [0; 8];
        match head[1] {
            126 => length[6..].copy_from_slice(&self.wire.take(2, deadline)?),
            127 => length.copy_from_slice(&self.wire.take(8, deadline)?),
            short => length[7] = short,
        }
        let length = usize::try_from(u64::from_be_bytes(length)).expect("a length in memory");
        Ok(Frame { first: head[0], payload: self.wire.take(length, deadline)? })
    }

    /// The text of the next frame, which must be a whole text message.
    #[track_caller]
    pub(crate) fn text(&mut self) -> String {
        let frame = self.frame();
        assert_eq!(frame.first, TEXT, "{frame:?}");
        String::from_utf8(frame.payload).expect("text in UTF-8")
    }

    /// The bytes of the next frame, which must be a whole binary message.
    #[track_caller]
    pub(crate) fn binary(&mut self) -> Vec<u8> {
        let frame = self.frame();
        assert_eq!(frame.first, BINARY, "{frame:?}");
        frame.payload
    }

    /// Expects a close frame and then the end; says its code, if it has one. The close frame is not answered.
    #[track_caller]
    pub(crate) fn expect_close(&mut self) -> Option<u16> {
        let frame = self.frame();
        assert_eq!(frame.first, CLOSE, "{frame:?}");
        assert!(frame.payload.len() != 1, "half a close code");
        frame.payload.first_chunk().map(|code| u16::from_be_bytes(*code))
    }

    /// Fails unless the session answers a message with its echo.
    #[track_caller]
    pub(crate) fn assert_alive(&mut self) {
        self.send("4still here");
        assert_eq!(self.text(), "4still here");
    }
}

/// The request for a WebSocket at `target`, with the key of RFC 6455 1.3.
pub(crate) fn opening(target: &str) -> Request {
    Request::get(target)
        .header("Upgrade", "websocket")
        .header("Connection", "Upgrade")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

/// A frame as a client sends it: masked.
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
