//! Servers that follow a script, in order to break the protocol.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use eio_core::buffer::Writer;
use eio_core::ws::{self, Opcode, handshake};

/// A request and its connection.
pub(crate) struct Incoming {
    pub(crate) stream: TcpStream,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Incoming {
    /// Reads a request; `None` if the client closes before.
    pub(crate) fn read(mut stream: TcpStream) -> Option<Self> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&bytes[..end + 2]).into_owned();
                let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
                let length = length.map_or(0, |length| length.parse().expect("a length"));
                if bytes.len() >= end + 4 + length {
                    return Some(Self { stream, head, body: bytes[end + 4..].to_vec() });
                }
            }
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return None,
                Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            }
        }
    }

    pub(crate) fn is_post(&self) -> bool {
        self.head.starts_with("POST ")
    }

    pub(crate) fn is_websocket(&self) -> bool {
        self.head.contains("transport=websocket")
    }

    /// Whether it opens a session.
    pub(crate) fn is_handshake(&self) -> bool {
        !self.head.contains("sid=")
    }

    /// Answers, and reads the next request of this connection.
    pub(crate) fn answer(mut self, status: &str, body: &str) -> Option<Self> {
        self.send(format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        Self::read(self.stream)
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The client may have closed; whether that is right is checked on the client's side.
        _ = self.stream.write_all(bytes.as_ref());
    }

    /// Accepts a WebSocket.
    pub(crate) fn accept(self) -> TcpStream {
        self.accept_with("")
    }

    /// Accepts a WebSocket with more header lines, each with its line end.
    pub(crate) fn accept_with(mut self, lines: &str) -> TcpStream {
        let key = self.head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
        let accept = handshake::accept_key(key.expect("a key"));
        let accept = str::from_utf8(&accept).expect("base64").to_owned();
        self.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{lines}\r\n"
        ));
        self.stream
    }

    /// Sends nothing until the client closes.
    pub(crate) fn hold(self) {
        hold(self.stream);
    }

    pub(crate) fn reset(self) {
        reset(self.stream);
    }
}

/// Sends nothing until the client closes.
pub(crate) fn hold(mut stream: TcpStream) {
    while matches!(stream.read(&mut [0; 1024]), Ok(1..)) {}
}

/// Ends a connection by RST.
pub(crate) fn reset(stream: TcpStream) {
    let socket = socket2::SockRef::from(&stream);
    socket.set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
}

/// A frame from a server, or with a mask, which a server must not send.
pub(crate) fn frame(opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut memory = vec![0; payload.len() + 16];
    let mut out = Writer::new(&mut memory);
    ws::encode(&mut out, opcode, b"", payload, mask).expect("the memory suffices");
    out.written().to_vec()
}

/// Starts a server that calls `serve` for the first request of each connection, in a thread of its own; its URL.
pub(crate) fn start(serve: impl Fn(Incoming) + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            thread::spawn(move || {
                if let Some(request) = Incoming::read(stream) {
                    serve(request);
                }
            });
        }
    });
    url
}

/// Starts a server that answers every first request with these bytes, then closes.
pub(crate) fn start_with_reply(bytes: &'static [u8]) -> String {
    start(move |mut request| request.send(bytes))
}

/// The open packet of the session `abc`.
pub(crate) fn open_packet(upgrades: &str, interval_ms: u32, timeout_ms: u32) -> String {
    format!(
        r#"0{{"sid":"abc","upgrades":[{upgrades}],"pingInterval":{interval_ms},"pingTimeout":{timeout_ms},"maxPayload":1000}}"#
    )
}
