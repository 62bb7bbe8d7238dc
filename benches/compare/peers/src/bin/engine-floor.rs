//! Floor of an Engine.IO server: the system calls that the traffic needs, prepared answers, and nothing else. A
//! session is a row of a table; there are no timers, no limits and no checks.
//!
//! It answers the requests of eio-load only, in its modes `polling-echo`, `connect` and `upgrade`: at the path
//! /engine.io/, and one request or whole frames in each receive. It closes a connection that sends anything else.
//!
//! usage: engine-floor PORT
use std::io::Write;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, IntoRawFd};

use eio_compare_peers::{OPENED, unmasked};

/// Before the name of the transport, in each GET and POST.
const GET: &[u8] = b"GET /engine.io/?EIO=4&transport=";
const POST: &[u8] = b"POST /engine.io/?EIO=4&transport=";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";
const NOOP: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\n6";
/// The digits of a session's id.
const DIGITS: usize = 8;
/// Sessions at a time: ids repeat after that many. The generator has fewer.
const SESSIONS: usize = 4096;
/// Open descriptors at a time.
const DESCRIPTORS: usize = 1 << 16;
/// The session of a WebSocket that did not begin with polling.
const NONE: usize = usize::MAX;

#[derive(Clone, Default)]
struct Session {
    /// The connection of the held GET.
    held: Option<i32>,
    /// Messages that wait for a GET.
    pending: Vec<u8>,
}

struct Floor {
    /// By its descriptor: the session of a connection that is a WebSocket.
    websockets: Vec<Option<usize>>,
    sessions: Vec<Session>,
    /// The session of the last handshake.
    last: usize,
    out: Vec<u8>,
}

impl Floor {
    /// Answers the request or the frames that a connection received. False if the connection is to be closed.
    fn received(&mut self, fd: i32, data: &mut [u8]) -> bool {
        match self.websockets[fd as usize] {
            Some(session) => self.frames(fd, session, data),
            None => self.request(fd, data).is_some(),
        }
    }

    fn request(&mut self, fd: i32, data: &[u8]) -> Option<()> {
        if let Some(rest) = data.strip_prefix(POST) {
            let session = session(rest.strip_prefix(b"polling")?)?;
            return self.post(fd, session, data);
        }
        let rest = data.strip_prefix(GET)?;
        if let Some(rest) = rest.strip_prefix(b"websocket") {
            let session = session(rest).unwrap_or(NONE);
            self.websockets[fd as usize] = Some(session);
            self.out.clear();
            self.out.extend_from_slice(OPENED);
            if session == NONE {
                let open = self.open();
                text(&mut self.out, &open);
            }
            send(fd, &self.out, 0);
        } else if let Some(session) = session(rest.strip_prefix(b"polling")?) {
            let Session { held, pending } = self.sessions.get_mut(session)?;
            *held = pending.is_empty().then_some(fd);
            if !pending.is_empty() {
                ok(&mut self.out, pending);
                pending.clear();
                send(fd, &self.out, 0);
            }
        } else {
            let open = self.open();
            ok(&mut self.out, &open);
            send(fd, &self.out, 0);
        }
        Some(())
    }

    /// The open packet of a new session.
    fn open(&mut self) -> [u8; 95] {
        let mut open = *b"0{\"sid\":\"00000000\",\"upgrades\":[],\"pingInterval\":25000,\"pingTimeout\":20000,\
            \"maxPayload\":1000000}";
        self.last = (self.last + 1) % SESSIONS;
        self.sessions[self.last].held = None;
        let _ = write!(&mut open[9..9 + DIGITS], "{:08}", self.last);
        open
    }

    /// Returns the messages of a POST to the session's GET, and answers the POST. A close packet ends the session.
    fn post(&mut self, fd: i32, session: usize, data: &[u8]) -> Option<()> {
        let head = data.windows(4).position(|four| four == b"\r\n\r\n")?;
        let body = &data[head + 4..];
        let Session { held, pending } = self.sessions.get_mut(session)?;
        if body != b"1" {
            match held.take() {
                Some(get) => {
                    ok(&mut self.out, body);
                    send(get, &self.out, 0);
                }
                None => pending.extend_from_slice(body),
            }
        }
        send(fd, OK, 0);
        Some(())
    }

    fn frames(&mut self, fd: i32, session: usize, data: &mut [u8]) -> bool {
        self.out.clear();
        let mut used = 0;
        while let Some((opcode, size, payload)) = unmasked(&mut data[used..]) {
            used += size;
            match (opcode, &*payload) {
                (8, _) => {
                    self.out.extend_from_slice(&[0x88, 2, 3, 232]);
                    // It leaves in the segment of the FIN.
                    send(fd, &self.out, libc::MSG_MORE);
                    return false;
                }
                (1, b"2probe") => {
                    if let Some(held) =
                        self.sessions.get_mut(session).and_then(|session| session.held.take())
                    {
                        send(held, NOOP, 0);
                    }
                    text(&mut self.out, b"3probe");
                }
                (1, b"5") => {}
                _ => text(&mut self.out, payload),
            }
        }
        if !self.out.is_empty() {
            send(fd, &self.out, 0);
        }
        used == data.len()
    }
}

/// The session of the query after the name of the transport.
fn session(query: &[u8]) -> Option<usize> {
    let id = query.strip_prefix(b"&sid=")?.get(..DIGITS)?;
    std::str::from_utf8(id).ok()?.parse().ok()
}

/// Writes a response to `out`.
fn ok(out: &mut Vec<u8>, body: &[u8]) {
    out.clear();
    let _ = write!(
        out,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    out.extend_from_slice(body);
}

/// Appends a text frame of fewer than 126 bytes.
fn text(out: &mut Vec<u8>, payload: &[u8]) {
    out.extend_from_slice(&[0x81, payload.len() as u8]);
    out.extend_from_slice(payload);
}

/// Sends in one call: what does not fit in the socket's buffer would be lost, and fail the run.
fn send(fd: i32, bytes: &[u8], flags: i32) {
    // SAFETY: the pointer and the length are those of a live slice.
    unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL | flags) };
}

/// Receives once, and answers. False if the connection is to be closed.
fn receive(floor: &mut Floor, fd: i32, scratch: &mut [u8]) -> bool {
    // SAFETY: the pointer and the length are those of a live slice.
    let n = unsafe { libc::recv(fd, scratch.as_mut_ptr().cast(), scratch.len(), 0) };
    // Below zero: the request of a new connection is not there yet, and an event follows.
    n < 0 || n > 0 && floor.received(fd, &mut scratch[..n as usize])
}

fn listen(port: u16) -> i32 {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    listener.set_nonblocking(true).unwrap();
    // An accepted socket has the options of its listener. The kernel holds a connection back until its request is there,
    // so that none is waited for.
    for option in [libc::TCP_NODELAY, libc::TCP_DEFER_ACCEPT] {
        let one = 1i32;
        // SAFETY: the pointer and the length are those of a live integer.
        unsafe {
            libc::setsockopt(
                listener.as_raw_fd(),
                libc::IPPROTO_TCP,
                option,
                (&raw const one).cast(),
                4,
            )
        };
    }
    // SAFETY: a descriptor that is open.
    unsafe { libc::listen(listener.as_raw_fd(), 4096) };
    listener.into_raw_fd()
}

fn main() {
    let listener = listen(std::env::args().nth(1).unwrap().parse().unwrap());
    let mut floor = Floor {
        websockets: vec![None; DESCRIPTORS],
        sessions: vec![Session::default(); SESSIONS],
        last: 0,
        out: Vec::new(),
    };
    let mut scratch = vec![0; 64 * 1024];
    // SAFETY: plain system calls on descriptors that this function owns, with pointers to live memory.
    unsafe {
        let epoll = libc::epoll_create1(0);
        let watch = |fd: i32, events: i32| {
            let mut event = libc::epoll_event { events: events as u32, u64: fd as u64 };
            libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event);
        };
        watch(listener, libc::EPOLLIN);
        let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; 1024];
        loop {
            let n = libc::epoll_wait(epoll, events.as_mut_ptr(), 1024, -1).max(0);
            for event in &events[..n as usize] {
                let fd = event.u64 as i32;
                // The generator closes a connection when it needs nothing more of it: nothing is left to receive.
                if fd != listener {
                    if event.events & libc::EPOLLRDHUP as u32 != 0
                        || !receive(&mut floor, fd, &mut scratch)
                    {
                        libc::close(fd);
                    }
                    continue;
                }
                loop {
                    let fd = libc::accept4(
                        listener,
                        std::ptr::null_mut(),
                        std::ptr::null_mut(),
                        libc::SOCK_NONBLOCK,
                    );
                    if fd < 0 {
                        break;
                    }
                    floor.websockets[fd as usize] = None;
                    if receive(&mut floor, fd, &mut scratch) {
                        watch(fd, libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET);
                    } else {
                        libc::close(fd);
                    }
                }
            }
        }
    }
}
