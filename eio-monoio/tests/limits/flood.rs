//! WebSockets that receive more data than they read.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::request::Request;
use crate::support::wait::TIMEOUT;
use crate::support::websocket::{BINARY, TEXT};

/// A WebSocket on which a thread writes and that is not read.
pub(crate) struct Flood {
    pub(crate) stream: TcpStream,
    written: Arc<AtomicUsize>,
    pub(crate) total: usize,
    pub(crate) writer: JoinHandle<()>,
}

impl Flood {
    /// Writes `bytes` repeatedly, much more than the kernel buffers.
    pub(crate) fn start(stream: TcpStream, bytes: Vec<u8>) -> Self {
        const TOTAL: usize = 16 << 20;
        let written = Arc::<AtomicUsize>::default();
        let (progress, mut out) = (written.clone(), stream.try_clone().expect("a second handle"));
        let rounds = TOTAL.div_ceil(bytes.len());
        let total = rounds * bytes.len();
        let writer = thread::spawn(move || {
            for _ in 0..rounds {
                if out.write_all(&bytes).is_err() {
                    return;
                }
                progress.fetch_add(bytes.len(), Ordering::Relaxed);
            }
        });
        Self { stream, written, total, writer }
    }

    /// Waits until the server has read nothing for a while; fails if it reads everything.
    #[track_caller]
    pub(crate) fn expect_stall(&self) {
        let deadline = Instant::now() + TIMEOUT;
        let mut last = (usize::MAX, Instant::now());
        while last.1.elapsed() < Duration::from_secs(1) {
            let written = self.written.load(Ordering::Relaxed);
            assert!(written < self.total, "the server read all of it");
            assert!(!self.writer.is_finished(), "the server closed the connection");
            assert!(Instant::now() < deadline, "the server continues to read");
            if written != last.0 {
                last = (written, Instant::now());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Opens a WebSocket and reads nothing after the response. The receive buffer does not grow, so that little data fits
/// between server and client.
pub(crate) fn open_unread(addr: SocketAddr, target: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).expect("the server accepts");
    socket2::SockRef::from(&stream).set_recv_buffer_size(256 * 1024).expect("a buffer");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a read timeout");
    stream.write_all(&Request::upgrade(target).bytes()).expect("the server reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
    stream
}

/// Reads the payload of the next frame, which must be a complete message of less than 64 KiB.
pub(crate) fn read(stream: &mut TcpStream, payload: &mut Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a frame");
    assert!(matches!(head[0], BINARY | TEXT) && head[1] <= 126, "{head:?}");
    let mut length = [0, head[1]];
    if head[1] == 126 {
        stream.read_exact(&mut length).expect("a length");
    }
    payload.resize(usize::from(u16::from_be_bytes(length)), 0);
    stream.read_exact(payload).expect("a payload");
}
