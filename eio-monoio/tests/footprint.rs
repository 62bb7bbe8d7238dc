//! The memory formula in the crate's documentation, held under clients that do nothing and under the worst.

#[path = "support/live.rs"]
mod live;
mod support;

use std::future::{Future, pending};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use eio_monoio::{
    Config, ConnectRequest, Driver, Handler, Message, Refusal, Running, Server, Sid, Socket,
};
use support::app::eventually;
use support::client::drivers;
use support::wire::{BINARY, POLLING, Request, TEXT, WebSocket, Wire, frame, sid_of, target};

/// Never done with a message, except that it echoes `ready`, or takes what is large.
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

/// What the crate's documentation promises of each, in bytes.
const IDLE_CONNECTION: usize = 3 * 1024;
const IDLE_SESSION: usize = 2 * 1024;
const IDLE_WEBSOCKET: usize = 2 * 1024;
const BUSY: usize = 512;
const BUSY_WEBSOCKET: usize = 5 * 1024;
/// What a core keeps of buffers of one size.
const KEPT_OF_A_SIZE: usize = 1 << 20;
const PAYLOAD: usize = 64 * 1024;
const HIGH_WATER: usize = 128 * 1024;
const LARGEST_SENT: usize = 16 * 1024;

fn start(driver: Driver) -> Running {
    let config = Config::new().driver(driver).workers(2).max_payload(PAYLOAD);
    let config = config.outbound_high_water(HIGH_WATER).inbound_high_water(HIGH_WATER);
    // Nothing is to happen but what is made to.
    let config = config.idle_timeout(Duration::from_secs(3600)).shutdown_timeout(Duration::ZERO);
    Server::new(|| Stuck).config(config).bind("127.0.0.1:0").expect("a server")
}

/// What is allocated once nothing changes any more.
fn settled() -> usize {
    let mut seen = live::bytes();
    let mut since = Instant::now();
    let deadline = Instant::now() + Duration::from_secs(20);
    while since.elapsed() < Duration::from_millis(300) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
        let now = live::bytes();
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
    seen
}

/// Bytes for each of `count` that `make` makes, beside what is made once.
#[track_caller]
fn cost<T>(what: &str, count: usize, make: impl Fn() -> T) -> usize {
    // Pools, tables and stacks of threads.
    let first: Vec<_> = (0..count / 4).map(|_| make()).collect();
    drop(first);
    let mut held = Vec::with_capacity(count);
    let before = settled();
    held.extend((0..count).map(|_| make()));
    let each = settled().saturating_sub(before) / count;
    println!("{what}: {each} bytes");
    each
}

/// Only the socket: what a client of ours keeps is not the server's.
fn only_socket(wire: Wire) -> TcpStream {
    wire.stream().try_clone().expect("a descriptor")
}

fn connection(addr: SocketAddr) -> TcpStream {
    let mut wire = Wire::connect(addr);
    assert_eq!(wire.request(&Request::get("/engine.io/")).status, 400);
    only_socket(wire)
}

fn websocket(addr: SocketAddr) -> TcpStream {
    let (mut socket, _) = WebSocket::open(addr);
    socket.send("4ready");
    assert_eq!(socket.text(), "4ready");
    only_socket(socket.wire)
}

fn worst(running: &Running) -> TcpStream {
    let (mut socket, sid) = WebSocket::open(running.local_addr());
    socket2::SockRef::from(socket.wire.stream()).set_recv_buffer_size(4096).expect("SO_RCVBUF");
    let mut all = frame(TEXT, b"4stuck");
    // Small messages have the largest share of overhead.
    for _ in 0..(HIGH_WATER / 100) {
        all.extend(frame(BINARY, &[0; 100]));
    }
    // One that is never whole.
    all.extend(frame(BINARY, &[0; PAYLOAD]));
    all.pop();
    socket.wire.stream().set_write_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    _ = socket.wire.try_write(&all);
    drop(all);
    // And messages that nobody reads, until there is room for no more.
    let (remote, sid) = (running.remote(), Sid::new(&sid).expect("a sid"));
    for _ in 0..400 {
        let message = Message::Binary(&[0; LARGEST_SENT]);
        eventually("room on the way to the core", || remote.send(&sid, message).is_ok());
    }
    only_socket(socket.wire)
}

/// What TLS adds to an idle connection.
#[cfg(feature = "tls")]
const TLS: usize = 8 * 1024;

/// Only the socket, again; its client has sent a request that is as long as they get.
#[cfg(feature = "tls")]
fn secure_connection(addr: SocketAddr, config: &std::sync::Arc<rustls::ClientConfig>) -> TcpStream {
    use std::io::Read;
    let name = "127.0.0.1".try_into().expect("a name");
    let tls = rustls::ClientConnection::new(config.clone(), name).expect("a client");
    let stream = TcpStream::connect(addr).expect("somebody listens");
    let mut stream = rustls::StreamOwned::new(tls, stream);
    let padding = "x".repeat(15_000);
    let request = Request::get("/engine.io/").header("X-Padding", &padding).bytes();
    stream.write_all(&request).expect("the server reads");
    assert!(stream.read(&mut [0; 1000]).expect("an answer") > 0);
    stream.sock
}

#[cfg(feature = "tls")]
fn no_idle_connection_over_tls_costs_more(driver: Driver) {
    use support::tls::{Files, Pki};
    let (pki, files) = (Pki::new(), Files::new("footprint"));
    let (certificate, key) = files.write_identity(&pki.certify("127.0.0.1"));
    let config = Config::new().driver(driver).workers(2).idle_timeout(Duration::from_secs(3600));
    let server = Server::new(|| Stuck).config(config.shutdown_timeout(Duration::ZERO));
    let running = server.tls(eio_monoio::Tls::new(certificate, key)).bind("127.0.0.1:0");
    let running = running.expect("a server");
    let mut config = pki.client(None);
    config.resumption = rustls::client::Resumption::disabled();
    let config = std::sync::Arc::new(config);
    let each = cost("an idle connection over TLS", 200, || {
        secure_connection(running.local_addr(), &config)
    });
    assert!(each <= IDLE_CONNECTION + TLS, "{each} bytes");
}

/// What the process has of the machine's memory, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let pages: usize = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("pages");
    pages * 4096
}

/// A large message on each of many connections, begun everywhere before it ends anywhere.
fn what_a_burst_needed_is_given_back(addr: SocketAddr) {
    const MANY: usize = 400;
    let mut sockets: Vec<_> = (0..MANY).map(|_| websocket(addr)).collect();
    let before = (settled(), resident()).1;
    let message = frame(BINARY, &[1; PAYLOAD - 100]);
    let (most, last) = message.split_at(message.len() - 1);
    let mut say = |bytes: &[u8]| {
        sockets.iter_mut().for_each(|socket| socket.write_all(bytes).expect("the server reads"));
    };
    say(most);
    eventually("the messages", || resident() >= before + MANY * PAYLOAD / 2);
    // What comes now and stays lies behind that in the allocator's memory, and keeps it from shrinking by itself.
    let _later: Vec<_> = (0..MANY).map(|_| websocket(addr)).collect();
    say(last);
    eventually("an end of the burst", || resident() <= before + MANY * PAYLOAD / 8);
}

/// Who sends all the time is received from into a buffer of its own; no more of them than promised, and not for longer
/// than they send.
fn what_busy_peers_hold_is_given_back(addr: SocketAddr, driver: Driver) {
    let mut sockets: Vec<_> = (0..BUSY + 100).map(|_| WebSocket::open(addr).0).collect();
    let say = |sockets: &mut Vec<WebSocket>| {
        sockets.iter_mut().for_each(|socket| socket.send("4ready"));
        sockets.iter_mut().for_each(|socket| assert_eq!(socket.text(), "4ready"));
    };
    say(&mut sockets);
    let before = settled();
    (0..40).for_each(|_| say(&mut sockets));
    let held = settled().saturating_sub(before);
    println!("{BUSY} busy peers: {held} bytes");
    assert!(held <= BUSY * BUSY_WEBSOCKET, "{held} bytes");
    // Without operations there is nothing to hold.
    assert!(driver == Driver::Epoll || held >= BUSY * 4096, "{held} bytes: none of them was busy");
    // The core looks at the clock, and sees that they have paused.
    drop(websocket(addr));
    say(&mut sockets);
    eventually("the buffers' end", || live::bytes() <= before + KEPT_OF_A_SIZE + 256 * 1024);
}

/// The only test of its process: memory is the whole process's.
#[test]
fn no_client_ever_costs_more_than_the_formula() {
    for driver in drivers() {
        #[cfg(feature = "tls")]
        no_idle_connection_over_tls_costs_more(driver);
        let running = start(driver);
        let addr = running.local_addr();
        let each = cost("an idle connection", 200, || connection(addr));
        assert!(each <= IDLE_CONNECTION, "{each} bytes");
        let each = cost("a session nobody polls", 200, || {
            let mut wire = Wire::connect(addr);
            let sid = sid_of(wire.request(&Request::get(POLLING)).text());
            wire.request(&Request::post(&target(&sid), "4ready")).assert(200, "ok");
        });
        assert!(each <= IDLE_SESSION, "{each} bytes");
        let each = cost("an idle WebSocket", 200, || websocket(addr));
        assert!(each <= IDLE_WEBSOCKET, "{each} bytes");

        let each = cost("the worst WebSocket", 12, || worst(&running));
        let outbound = HIGH_WATER + LARGEST_SENT;
        let inbound = HIGH_WATER + PAYLOAD;
        let formula = IDLE_CONNECTION + IDLE_SESSION + 2 * (PAYLOAD + outbound + inbound);
        assert!(each <= formula, "{each} bytes, and the formula says {formula}");
        // It really was that bad.
        assert!(each >= HIGH_WATER, "{each} bytes: not the worst");
        what_a_burst_needed_is_given_back(addr);
        drop(running);
        let config = Config::new().driver(driver).workers(1).shutdown_timeout(Duration::ZERO);
        let running = Server::new(|| Stuck).config(config).bind("127.0.0.1:0").expect("a server");
        what_busy_peers_hold_is_given_back(running.local_addr(), driver);
        let remote = running.remote();
        drop(running);
        eventually("the end", || remote.sessions() == 0);
    }
}
