//! The connections of a run on one thread: edge-triggered readiness, one receive and one send per event.

use std::io::{ErrorKind, Read, Write};
use std::mem::take;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream as StdStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustls::ClientConnection;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::args::Args;
use crate::die;
use crate::tls::Connector;

/// Identifies a connection; reused after the connection is closed.
pub(crate) type Id = usize;

/// The callbacks of a run.
pub(crate) trait App {
    fn opened(&mut self, net: &mut Net, id: Id);
    /// Returns how many bytes of `data` are consumed; the rest is passed again, followed by new bytes.
    fn received(&mut self, net: &mut Net, id: Id, data: &[u8]) -> usize;
    /// The peer closed, or the connection failed. Not called after [`Net::close`].
    fn closed(&mut self, net: &mut Net, id: Id, why: &str);
    /// Called about once a millisecond, and in every iteration of an open loop. True ends the run.
    fn tick(&mut self, net: &mut Net) -> bool;
}

pub(crate) struct Net {
    poll: Poll,
    server: SocketAddrV4,
    connections: Vec<Connection>,
    free: Vec<Id>,
    /// Connections with pending bytes.
    dirty: Vec<Id>,
    scratch: Vec<u8>,
    /// The options of TLS, and room for decrypted bytes.
    pub(crate) tls: Option<Connector>,
    plain: Vec<u8>,
    origin: Instant,
    /// Nanoseconds since the start.
    pub(crate) now: u64,
    /// Never sleep, so that an open loop keeps its schedule.
    pub(crate) spin: bool,
    opened: usize,
    pub(crate) receives: u64,
    pub(crate) sends: u64,
}

#[derive(Default)]
struct Connection {
    stream: Option<TcpStream>,
    /// Counts the connections with this id: events of earlier ones are stale.
    generation: u32,
    /// The application may send: over TLS, after the handshake.
    open: bool,
    dirty: bool,
    out: Vec<u8>,
    sent: usize,
    tls: Option<Box<ClientConnection>>,
    /// TLS records to be sent, in the place of `out`.
    records: Vec<u8>,
    /// Received and not consumed.
    unread: Vec<u8>,
}

const TICK: u64 = 1_000_000;
/// The largest receive in bytes.
const RECEIVE: usize = 256 * 1024;

impl Net {
    pub(crate) fn new(args: &Args) -> Self {
        let tls = args.url.secure.then(|| Connector::new(args).unwrap_or_else(|error| die(&error)));
        Self {
            poll: Poll::new().unwrap_or_else(|error| die(&format!("epoll: {error}"))),
            server: args.url.address,
            connections: Vec::new(),
            free: Vec::new(),
            dirty: Vec::new(),
            scratch: vec![0; RECEIVE],
            plain: if tls.is_some() { vec![0; RECEIVE] } else { Vec::new() },
            tls,
            origin: Instant::now(),
            now: 0,
            spin: false,
            opened: 0,
            receives: 0,
            sends: 0,
        }
    }

    pub(crate) fn connect(&mut self) -> Id {
        let mut stream = self.start().unwrap_or_else(|error| {
            die(&format!("connection {}: {error} (ulimit -n?)", self.opened))
        });
        let id = self.free.pop().unwrap_or_else(|| {
            self.connections.push(Connection::default());
            self.connections.len() - 1
        });
        let connection = &mut self.connections[id];
        connection.generation = connection.generation.wrapping_add(1);
        connection.open = false;
        connection.sent = 0;
        connection.out.clear();
        connection.unread.clear();
        connection.records.clear();
        connection.tls = self
            .tls
            .as_ref()
            .map(|tls| tls.session().unwrap_or_else(|error| die(&format!("TLS: {error}"))));
        let token = Token(id | (connection.generation as usize) << 32);
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut stream, token, interest) {
            die(&format!("epoll: {error}"));
        }
        connection.stream = Some(stream);
        id
    }

    fn start(&mut self) -> std::io::Result<TcpStream> {
        /// Fewer than the ports of an address, so that a run of many short sessions does not run out of ports.
        const PER_ADDRESS: usize = 2000;
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if self.server.ip().is_loopback() {
            choose_port_late(&socket)?;
            let own = Ipv4Addr::new(127, 0, 0, 2 + (self.opened / PER_ADDRESS % 200) as u8);
            socket.bind(&SockAddr::from(SocketAddrV4::new(own, 0)))?;
        }
        self.opened += 1;
        match socket.connect(&SockAddr::from(self.server)) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(TcpStream::from_std(StdStream::from(socket))),
        }
    }

    /// The output buffer of a connection, which is sent after the current callback.
    #[inline]
    pub(crate) fn out(&mut self, id: Id) -> &mut Vec<u8> {
        let connection = &mut self.connections[id];
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(id);
        }
        &mut connection.out
    }

    pub(crate) fn close(&mut self, id: Id) {
        let connection = &mut self.connections[id];
        if connection.stream.take().is_some() {
            connection.generation = connection.generation.wrapping_add(1);
            self.free.push(id);
        }
    }

    /// Runs until [`App::tick`] returns true.
    pub(crate) fn run(&mut self, app: &mut impl App) {
        let mut events = Events::with_capacity(512);
        let mut next_tick = 0;
        loop {
            let wait = if self.spin { 0 } else { 2 };
            match self.poll.poll(&mut events, Some(Duration::from_millis(wait))) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    die(&format!("epoll: {error}"));
                }
                _ => {}
            }
            for event in &events {
                let Token(token) = event.token();
                let id = token & 0xffff_ffff;
                if self.connections[id].generation as usize != token >> 32 {
                    continue;
                }
                self.update_now();
                let ended = event.is_read_closed() || event.is_error();
                if event.is_writable() && !ended {
                    self.writable(app, id);
                }
                if event.is_readable() || ended {
                    self.readable(app, id, ended);
                }
                self.send_all();
            }
            self.update_now();
            if self.spin || self.now >= next_tick {
                next_tick = self.now + TICK;
                if app.tick(self) {
                    return;
                }
                self.send_all();
            }
        }
    }

    fn update_now(&mut self) {
        self.now = self.origin.elapsed().as_nanos() as u64;
    }

    fn writable(&mut self, app: &mut impl App, id: Id) {
        let Connection { open, tls, .. } = &self.connections[id];
        if *open || tls.is_some() {
            self.send(id);
        } else {
            // Bytes queued before the connection was established are sent with those that the callback adds.
            self.connections[id].open = true;
            app.opened(self, id);
            self.send(id);
        }
    }

    #[inline]
    fn send_all(&mut self) {
        while let Some(id) = self.dirty.pop() {
            self.connections[id].dirty = false;
            self.send(id);
        }
    }

    fn send(&mut self, id: Id) {
        let Connection { stream: Some(stream), open, out, sent, tls, records, .. } =
            &mut self.connections[id]
        else {
            return;
        };
        let out = match tls {
            Some(tls) => {
                if *open && !out.is_empty() {
                    encrypt(tls, out);
                }
                while tls.wants_write() {
                    tls.write_tls(records).unwrap_or_else(|error| die(&format!("TLS: {error}")));
                }
                records
            }
            None if *open => out,
            None => return,
        };
        while *sent < out.len() {
            self.sends += 1;
            match stream.write(&out[*sent..]) {
                Ok(n) => *sent += n,
                // Would block: an event follows. Broken: the next read reports it.
                Err(_) => return,
            }
        }
        out.clear();
        *sent = 0;
    }

    /// `ended`: there is no further event, so everything is read now.
    fn readable(&mut self, app: &mut impl App, id: Id, ended: bool) {
        let generation = self.connections[id].generation;
        let mut buffer = take(&mut self.scratch);
        loop {
            self.receives += 1;
            let Some(stream) = &mut self.connections[id].stream else { break };
            let n = match stream.read(&mut buffer) {
                Ok(0) => {
                    self.connection_lost(app, id, "end of stream");
                    break;
                }
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.connection_lost(app, id, &error.to_string());
                    break;
                }
            };
            if self.tls.is_some() {
                self.decrypt(app, id, generation, &buffer[..n]);
            } else {
                self.deliver(app, id, generation, &buffer[..n]);
            }
            if self.connections[id].generation != generation || (n < buffer.len() && !ended) {
                break;
            }
        }
        self.scratch = buffer;
    }

    /// Delivers the application data of the received records.
    fn decrypt(&mut self, app: &mut impl App, id: Id, generation: u32, mut received: &[u8]) {
        // The session and the buffer are back after each callback, unless the connection is another one then.
        let Some(mut session) = self.connections[id].tls.take() else { return };
        let mut plain = take(&mut self.plain);
        while !received.is_empty() {
            let read = session.read_tls(&mut received).map_err(|error| error.to_string());
            let now = read
                .and_then(|_| session.process_new_packets().map_err(|error| error.to_string()))
                .unwrap_or_else(|error| die(&format!("TLS: {error}")));
            if !self.connections[id].open && !session.is_handshaking() {
                self.connections[id].open = true;
                self.tls.iter_mut().for_each(|tls| tls.completed(&session));
                app.opened(self, id);
            }
            let mut left = now.plaintext_bytes_to_read();
            while left > 0 && self.connections[id].generation == generation {
                let n = session.reader().read(&mut plain).unwrap_or(0);
                left = if n > 0 { left.saturating_sub(n) } else { 0 };
                self.deliver(app, id, generation, &plain[..n]);
            }
            if self.connections[id].generation != generation {
                break;
            }
        }
        self.plain = plain;
        if self.connections[id].generation == generation {
            self.connections[id].tls = Some(session);
            self.send(id);
        }
    }

    #[inline]
    fn deliver(&mut self, app: &mut impl App, id: Id, generation: u32, data: &[u8]) {
        let mut unread = take(&mut self.connections[id].unread);
        if unread.is_empty() {
            let used = app.received(self, id, data);
            unread.extend_from_slice(&data[used..]);
        } else {
            unread.extend_from_slice(data);
            let used = app.received(self, id, &unread);
            unread.drain(..used);
        }
        if self.connections[id].generation == generation {
            self.connections[id].unread = unread;
        }
    }

    fn connection_lost(&mut self, app: &mut impl App, id: Id, why: &str) {
        self.close(id);
        app.closed(self, id, why);
    }
}

fn encrypt(session: &mut ClientConnection, plain: &mut Vec<u8>) {
    let written = session.writer().write_all(plain);
    written.unwrap_or_else(|error| die(&format!("TLS: {error}")));
    plain.clear();
}

/// Makes `bind` leave the port to `connect`, which may choose one in use with other servers. Without this option every
/// connection searches for a port that is entirely free.
fn choose_port_late(socket: &Socket) -> std::io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open, and the pointer is to a live value of the given length.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
