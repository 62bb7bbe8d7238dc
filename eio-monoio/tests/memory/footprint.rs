//! The memory formula in the crate's documentation, with idle clients and with the worst ones.

use std::future::{Future, pending};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use eio_monoio::{
    Config, ConnectRequest, Driver, Handler, Message, Refusal, Running, Server, Sid, Socket,
};

use crate::allocator;
use crate::support::connection::Connection;
use crate::support::own_process;
use crate::support::polling::sid_of;
use crate::support::request::{POLLING, Request, target};
#[cfg(feature = "tls")]
use crate::support::tls::{Identity, SecureWebSocket};
use crate::support::wait::eventually;
use crate::support::websocket::{BINARY, TEXT, WebSocket, frame};

/// A handler that never ends, except for large messages and for `ready`, which it echoes.
struct Stuck;

impl Handler for Stuck {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        let ready = message == Message::Text("ready");
        let stuck = !ready && message.len() < PAYLOAD / 2;
        if ready {
            socket.try_send(message).ok();
        }
        async move {
            if stuck {
                pending().await
            }
        }
    }
}

/// The figures of the crate's documentation, in bytes.
const IDLE_CONNECTION: usize = 3 * 1024;
const IDLE_SESSION: usize = 2 * 1024;
const IDLE_WEBSOCKET: usize = 1280;
const BUSY: usize = 512;
const BUSY_CONNECTION: usize = 5 * 1024;
/// The buffers of one size that a worker keeps.
const KEPT_OF_A_SIZE: usize = 1 << 20;
const PAYLOAD: usize = 64 * 1024;
const HIGH_WATER: usize = 128 * 1024;
const LARGEST_SENT: usize = 16 * 1024;

fn start(driver: Driver) -> Running {
    let config = Config::new().driver(driver).workers(2).max_payload(PAYLOAD);
    let config = config.outbound_high_water(HIGH_WATER).inbound_high_water(HIGH_WATER);
    // No timeout may end an idle connection.
    let config = config.idle_timeout(Duration::from_secs(3600)).shutdown_timeout(Duration::ZERO);
    Server::new(|| Stuck).config(config).bind("127.0.0.1:0").expect("the server starts")
}

/// The live memory once it does not change any more.
fn settled() -> usize {
    let mut seen = allocator::live_bytes();
    let mut since = Instant::now();
    let deadline = Instant::now() + Duration::from_secs(20);
    while since.elapsed() < Duration::from_millis(300) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
        let now = allocator::live_bytes();
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
    seen
}

/// Bytes for each of `count` values of `make`, without the memory that is allocated once.
#[track_caller]
fn cost<T>(name: &str, count: usize, make: impl Fn() -> T) -> usize {
    // Pools, tables and stacks of threads.
    let first: Vec<_> = (0..count / 4).map(|_| make()).collect();
    drop(first);
    let mut held = Vec::with_capacity(count);
    let before = settled();
    held.extend((0..count).map(|_| make()));
    let each = settled().saturating_sub(before) / count;
    println!("{name}: {each} bytes");
    each
}

/// Only the socket: the memory of the client does not count.
fn only_socket(conn: Connection) -> TcpStream {
    conn.stream().try_clone().expect("a descriptor")
}

fn connection(addr: SocketAddr) -> TcpStream {
    let mut conn = Connection::open(addr);
    assert_eq!(conn.request(&Request::get("/engine.io/")).status, 400);
    only_socket(conn)
}

fn websocket(addr: SocketAddr) -> TcpStream {
    let (mut socket, _) = WebSocket::open(addr);
    socket.send("4ready");
    assert_eq!(socket.text(), "4ready");
    only_socket(socket.conn)
}

fn worst(running: &Running) -> TcpStream {
    let (mut socket, sid) = WebSocket::open(running.local_addr());
    socket2::SockRef::from(socket.conn.stream()).set_recv_buffer_size(4096).expect("SO_RCVBUF");
    let mut all = frame(TEXT, b"4stuck");
    // Small messages have the largest share of overhead.
    for _ in 0..(HIGH_WATER / 100) {
        all.extend(frame(BINARY, &[0; 100]));
    }
    // One message that is never complete.
    all.extend(frame(BINARY, &[0; PAYLOAD]));
    all.pop();
    socket.conn.stream().set_write_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    _ = socket.conn.try_write(&all);
    drop(all);
    // And messages that the client does not read, until the queue is full.
    let (remote, sid) = (running.remote(), Sid::new(&sid).expect("a valid sid"));
    for _ in 0..400 {
        let message = Message::Binary(&[0; LARGEST_SENT]);
        eventually("room in the mailbox", || remote.send(&sid, message).is_ok());
    }
    only_socket(socket.conn)
}

/// The additional memory of an idle connection over TLS.
#[cfg(feature = "tls")]
const TLS: usize = 8 * 1024;

/// Only the socket, of a client that has sent a request of the largest size.
#[cfg(feature = "tls")]
fn secure_connection(addr: SocketAddr, config: &std::sync::Arc<rustls::ClientConfig>) -> TcpStream {
    use std::io::Read;
    let name = "127.0.0.1".try_into().expect("a name");
    let tls = rustls::ClientConnection::new(config.clone(), name).expect("a client");
    let stream = TcpStream::connect(addr).expect("the server accepts");
    let mut stream = rustls::StreamOwned::new(tls, stream);
    let padding = "x".repeat(15_000);
    let request = Request::get("/engine.io/").header("X-Padding", &padding).bytes();
    stream.write_all(&request).expect("the server reads");
    assert!(stream.read(&mut [0; 1000]).expect("an answer") > 0);
    stream.sock
}

#[cfg(feature = "tls")]
fn idle_connection_over_tls_stays_within_the_formula(driver: Driver) {
    let (running, identity) = start_tls(driver, 2);
    let mut config = identity.pki.client(None);
    config.resumption = rustls::client::Resumption::disabled();
    let config = std::sync::Arc::new(config);
    let each = cost("an idle connection over TLS", 200, || {
        secure_connection(running.local_addr(), &config)
    });
    assert!(each <= IDLE_CONNECTION + TLS, "{each} bytes");
}

/// The resident memory of the process, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let pages: usize = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("pages");
    pages * 4096
}

/// A large message on each of many connections, all incomplete at the same time.
fn memory_of_a_burst_is_released(addr: SocketAddr) {
    const MANY: usize = 400;
    let mut sockets: Vec<_> = (0..MANY).map(|_| websocket(addr)).collect();
    let before = (settled(), resident()).1;
    let message = frame(BINARY, &[1; PAYLOAD - 100]);
    let (first, last) = message.split_at(message.len() - 1);
    let mut write = |bytes: &[u8]| {
        sockets.iter_mut().for_each(|socket| socket.write_all(bytes).expect("the server reads"));
    };
    write(first);
    eventually("the messages", || resident() >= before + MANY * PAYLOAD / 2);
    // New allocations that stay lie after the burst in the heap, so the heap does not shrink by itself.
    let _later: Vec<_> = (0..MANY).map(|_| websocket(addr)).collect();
    write(last);
    eventually("the release of the burst", || resident() <= before + MANY * PAYLOAD / 8);
}

/// Each busy peer has a receive buffer of its own; the number of such peers is limited, and they keep the buffer only
/// while they send. `exchange` sends to all peers and receives from them, and `open` opens another one.
fn memory_of_busy_peers_is_released<P>(
    name: &str,
    driver: Driver,
    count: usize,
    open: impl Fn() -> P,
    exchange: impl Fn(&mut [P]),
) {
    let mut peers: Vec<_> = (0..count).map(|_| open()).collect();
    (0..3).for_each(|_| exchange(&mut peers));
    let before = settled();
    // Not all at once: a peer that pauses is not busy.
    for some in peers.chunks_mut(50) {
        (0..20).for_each(|_| exchange(some));
    }
    let (held, busy) = (settled().saturating_sub(before), count.min(BUSY));
    println!("{busy} busy {name}: {held} bytes");
    assert!(held <= busy * BUSY_CONNECTION, "{held} bytes");
    // On epoll there are no receive operations, and no buffers.
    assert!(driver == Driver::Epoll || held >= busy * 4096, "{held} bytes: no peer was busy");
    // A new connection makes the worker check which peers have paused.
    drop(open());
    exchange(&mut peers);
    eventually("the release of the buffers", || {
        allocator::live_bytes() <= before + KEPT_OF_A_SIZE + 256 * 1024
    });
}

fn busy_websockets(driver: Driver) {
    let config = Config::new().driver(driver).workers(1).shutdown_timeout(Duration::ZERO);
    let running =
        Server::new(|| Stuck).config(config).bind("127.0.0.1:0").expect("the server starts");
    let open = || WebSocket::open(running.local_addr()).0;
    memory_of_busy_peers_is_released("WebSockets", driver, BUSY + 100, open, |peers| {
        peers.iter_mut().for_each(|peer| peer.send("4ready"));
        peers.iter_mut().for_each(|peer| assert_eq!(peer.text(), "4ready"));
    });
    let remote = running.remote();
    drop(running);
    eventually("the end", || remote.sessions() == 0);
}

/// More than the buffers that a worker keeps.
#[cfg(feature = "tls")]
const SECURE_PEERS: usize = 350;

#[cfg(feature = "tls")]
fn start_tls(driver: Driver, workers: usize) -> (Running, Identity) {
    let identity = Identity::new();
    let config = Config::new().driver(driver).workers(workers).shutdown_timeout(Duration::ZERO);
    let config = config.idle_timeout(Duration::from_secs(3600));
    let server = Server::new(|| Stuck).config(config).tls(identity.tls());
    (server.bind("127.0.0.1:0").expect("the server starts"), identity)
}

#[cfg(feature = "tls")]
fn busy_websockets_over_tls(driver: Driver) {
    let (running, identity) = start_tls(driver, 1);
    let open = || SecureWebSocket::open(running.local_addr(), &identity).0;
    let name = "WebSockets over TLS";
    memory_of_busy_peers_is_released(name, driver, SECURE_PEERS, open, |peers| {
        peers.iter_mut().for_each(|peer| peer.write(&frame(TEXT, b"4ready")));
        peers.iter_mut().for_each(|peer| assert_eq!(peer.message(), b"4ready"));
    });
}

#[cfg(feature = "tls")]
fn busy_polling_over_tls(driver: Driver) {
    let (running, identity) = start_tls(driver, 1);
    let open = || SecurePolling::open(running.local_addr(), &identity);
    let name = "polling peers over TLS";
    memory_of_busy_peers_is_released(name, driver, SECURE_PEERS, open, |peers| {
        peers.iter_mut().for_each(SecurePolling::send);
        peers.iter_mut().for_each(SecurePolling::receive);
    });
}

/// A polling session with one connection.
#[cfg(feature = "tls")]
struct SecurePolling {
    conn: SecureWebSocket,
    /// A POST, and the GET for the echo.
    requests: Vec<u8>,
    /// The length of their responses.
    len: usize,
}

#[cfg(feature = "tls")]
impl SecurePolling {
    fn open(addr: SocketAddr, identity: &Identity) -> Self {
        let mut conn = SecureWebSocket::connect(addr, identity.pki.client(None));
        conn.write(&Request::get(POLLING).bytes());
        let (_, body) = conn.response();
        let to = target(&sid_of(&body));
        let requests = [Request::post(&to, "4ready").bytes(), Request::get(&to).bytes()].concat();
        conn.write(&requests);
        let responses = [conn.response(), conn.response()];
        let len = responses.iter().map(|(head, body)| head.len() + body.len()).sum();
        Self { conn, requests, len }
    }

    fn send(&mut self) {
        self.conn.write(&self.requests);
    }

    fn receive(&mut self) {
        assert!(self.conn.read(self.len).ends_with(b"4ready"));
    }
}

fn check_driver(driver: Driver) {
    #[cfg(feature = "tls")]
    {
        idle_connection_over_tls_stays_within_the_formula(driver);
        busy_websockets_over_tls(driver);
        busy_polling_over_tls(driver);
    }
    let running = start(driver);
    let addr = running.local_addr();
    let each = cost("an idle connection", 200, || connection(addr));
    assert!(each <= IDLE_CONNECTION, "{each} bytes");
    let each = cost("a session that is not polled", 200, || {
        let mut conn = Connection::open(addr);
        let sid = sid_of(conn.request(&Request::get(POLLING)).text());
        conn.request(&Request::post(&target(&sid), "4ready")).assert(200, "ok");
    });
    assert!(each <= IDLE_SESSION, "{each} bytes");
    let each = cost("an idle WebSocket", 200, || websocket(addr));
    assert!(each <= IDLE_WEBSOCKET, "{each} bytes");

    let each = cost("the worst WebSocket", 12, || worst(&running));
    let outbound = HIGH_WATER + LARGEST_SENT;
    let inbound = HIGH_WATER + PAYLOAD;
    let formula = IDLE_CONNECTION + IDLE_SESSION + 2 * (PAYLOAD + outbound + inbound);
    assert!(each <= formula, "{each} bytes, and the formula allows {formula}");
    // The test has reached the worst case.
    assert!(each >= HIGH_WATER, "{each} bytes: not the worst");
    memory_of_a_burst_is_released(addr);
    drop(running);
    busy_websockets(driver);
}

#[test]
fn memory_stays_within_the_documented_formula() {
    let test = "memory_stays_within_the_documented_formula";
    own_process::for_each_driver(module_path!(), test, check_driver);
}
