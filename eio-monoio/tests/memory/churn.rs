//! Clients that connect and disconnect, in an orderly way or not, leak no descriptor and no memory.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use eio_monoio::{Config, Driver, Running, Server};

use crate::allocator;
use crate::support::echo::Echo;
use crate::support::own_process;
use crate::support::polling::Polling;
use crate::support::request::{POLLING, Request, WEBSOCKET};
use crate::support::wait::{TIMEOUT, eventually};
use crate::support::websocket::{CLOSE, TEXT, WebSocket, frame};

const CLIENTS: usize = 4;

/// Bytes that a round may leave for the test itself: less than a byte for each client.
const TOLERANCE: usize = 1000;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("the list of descriptors").count()
}

fn start(driver: Driver, heartbeat: Duration) -> Running {
    let config = Config::new().driver(driver).workers(3);
    let config = config.ping_interval(heartbeat).ping_timeout(heartbeat);
    // A shutdown waits only briefly for polling clients without a GET.
    let config = config.shutdown_grace(Duration::from_millis(20));
    let server = Server::new(Echo::<[u64; 8]>::new).config(config);
    server.bind("127.0.0.1:0").expect("the server starts")
}

/// Descriptors and live memory once no client is connected.
fn at_rest(running: &Running) -> (usize, usize) {
    let remote = running.remote();
    eventually("the end of the last session", || {
        remote.sessions() == 0 && remote.connections() == 0
    });
    // The kernel closes the descriptors of the last connections a moment later.
    let mut seen = (descriptors(), allocator::live_bytes());
    let deadline = Instant::now() + Duration::from_millis(200);
    while Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
        let now = (descriptors(), allocator::live_bytes());
        seen = (seen.0.min(now.0), seen.1.min(now.1));
    }
    seen
}

/// Runs `cycle` `count` times, by several clients at the same time.
fn repeat(count: usize, cycle: impl Fn(usize) + Sync) {
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let cycle = &cycle;
            scope.spawn(move || (0..count / CLIENTS).for_each(|n| cycle(n * CLIENTS + client)));
        }
    });
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("the server accepts");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a read timeout");
    stream
}

/// Connects, echoes one message and disconnects: by a close frame, by a close packet, or without either.
fn connect_and_disconnect(addr: SocketAddr, n: usize) {
    let mut stream = connect(addr);
    let request = [Request::upgrade(WEBSOCKET).bytes(), frame(TEXT, b"4hello")].concat();
    stream.write_all(&request).expect("the server reads");
    let (mut received, mut len) = ([0; 1024], 0);
    while !received[..len].ends_with(b"\x81\x064hello") {
        let n = stream.read(&mut received[len..]).expect("the server answers");
        assert!(n > 0, "closed after {}", received[..len].escape_ascii());
        len += n;
    }
    let close = match n % 4 {
        0 | 1 => frame(CLOSE, &1000_u16.to_be_bytes()),
        2 => frame(TEXT, b"1"),
        _ => return,
    };
    stream.write_all(&close).expect("the server reads");
    while stream.read(&mut received).expect("the server closes") > 0 {}
}

/// Opens a polling session and abandons it.
fn abandon(addr: SocketAddr) {
    let mut stream = connect(addr);
    stream.write_all(&Request::get(POLLING).bytes()).expect("the server reads");
    let mut received = [0; 1024];
    assert!(stream.read(&mut received).expect("the server answers") > 0);
}

/// Runs `cycle` `count` times in five rounds, and measures after each.
///
/// Pools and tables grow to the number of sessions that once existed at the same time, which differs from round to round;
/// a leak grows in every round. So in at least one of them nothing may grow.
#[track_caller]
fn assert_no_leak(name: &str, running: &Running, count: usize, cycle: impl Fn(usize) + Sync) {
    const ROUNDS: usize = 5;
    let seen: Vec<_> = (0..ROUNDS)
        .map(|_| {
            repeat(count / ROUNDS, &cycle);
            at_rest(running)
        })
        .collect();
    println!("{} {name}: (descriptors, bytes) = {seen:?}", running.driver());
    let steady = |(a, b): (&(usize, usize), &(usize, usize))| b.0 <= a.0 && b.1 <= a.1 + TOLERANCE;
    assert!(seen.iter().all(|(open, _)| *open == seen[0].0), "{name} leak descriptors: {seen:?}");
    assert!(seen.iter().zip(&seen[1..]).any(steady), "{name} leak memory: {seen:?}");
}

/// Servers that end with clients on them. The first allocates once for the process.
fn assert_servers_leak_nothing(driver: Driver) {
    let open = descriptors();
    let serve_once = || {
        let running = start(driver, Duration::from_secs(20));
        let addr = running.local_addr();
        let clients = (WebSocket::open(addr), Polling::open(addr));
        drop(clients);
        drop(running);
    };
    serve_once();
    // The thread that waits for signals ends after its server, which does not wait for it: a log may block it.
    thread::sleep(Duration::from_millis(300));
    let before = allocator::live_bytes();
    (0..10).for_each(|_| serve_once());
    let mut after = (0, 0);
    eventually("the memory and the descriptors before ten servers", || {
        after = (descriptors(), allocator::live_bytes());
        after.0 <= open && after.1 <= before + TOLERANCE
    });
    println!("{driver}, 10 servers: {before} bytes before, {} after", after.1);
}

#[test]
fn connecting_and_disconnecting_clients_leak_nothing() {
    let test = "connecting_and_disconnecting_clients_leak_nothing";
    own_process::for_each_driver(module_path!(), test, |driver| {
        let running = start(driver, Duration::from_secs(20));
        let addr = running.local_addr();
        assert_no_leak("WebSockets", &running, 10_000, |n| connect_and_disconnect(addr, n));
        drop(running);

        let running = start(driver, Duration::from_millis(150));
        let addr = running.local_addr();
        assert_no_leak("abandoned handshakes", &running, 5000, |_| abandon(addr));
        drop(running);

        assert_servers_leak_nothing(driver);
    });
}
