//! Clients that come and go, in an orderly way or not, leave nothing behind: no descriptor, no memory.

#[path = "support/live.rs"]
mod live;
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use eio_monoio::{
    Config, ConnectRequest, Driver, Handler, Message, Refusal, Running, Server, Socket,
};

use support::app::eventually;
use support::matrix::has_io_uring;
use support::wire::{CLOSE, POLLING, Polling, Request, TEXT, WEBSOCKET, WebSocket, frame, opening};

const CLIENTS: usize = 4;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("the list of descriptors").count()
}

struct Echo;

impl Handler for Echo {
    type Session = [u8; 64];

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<[u8; 64], Refusal> {
        Ok([0; 64])
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<[u8; 64]>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        socket.try_send(message).ok();
        async {}
    }
}

fn start(driver: Driver, beat: Duration) -> Running {
    let config = Config::new().driver(driver).workers(3).ping_interval(beat).ping_timeout(beat);
    Server::new(|| Echo).config(config).bind("127.0.0.1:0").expect("a server")
}

/// Descriptors and live memory once nobody is connected any more.
fn at_rest(running: &Running) -> (usize, usize) {
    let remote = running.remote();
    eventually("the last session's end", || remote.sessions() == 0 && remote.connections() == 0);
    // The kernel closes what the last connections had a moment later.
    let mut seen = (descriptors(), live::bytes());
    let deadline = Instant::now() + Duration::from_millis(200);
    while Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
        let now = (descriptors(), live::bytes());
        seen = (seen.0.min(now.0), seen.1.min(now.1));
    }
    seen
}

/// Several clients at once do `count` times what `cycle` does.
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
    stream.set_read_timeout(Some(support::wire::PATIENCE)).expect("a read timeout");
    stream
}

/// Connects, echoes one message and leaves: by a close frame, a close packet or without a word, in turn.
fn come_and_go(addr: SocketAddr, n: usize) {
    let mut stream = connect(addr);
    let request = [opening(WEBSOCKET).bytes(), frame(TEXT, b"4hello")].concat();
    stream.write_all(&request).expect("the server reads");
    let (mut received, mut len) = ([0; 1024], 0);
    while !received[..len].ends_with(b"\x81\x064hello") {
        let n = stream.read(&mut received[len..]).expect("the server answers");
        assert!(n > 0, "closed behind {}", received[..len].escape_ascii());
        len += n;
    }
    let goodbye = match n % 4 {
        0 | 1 => frame(CLOSE, &1000_u16.to_be_bytes()),
        2 => frame(TEXT, b"1"),
        _ => return,
    };
    stream.write_all(&goodbye).expect("the server reads");
    while stream.read(&mut received).expect("the server closes") > 0 {}
}

/// Begins a session and is never heard of again.
fn vanish(addr: SocketAddr) {
    let mut stream = connect(addr);
    stream.write_all(&Request::get(POLLING).bytes()).expect("the server reads");
    let mut received = [0; 1024];
    assert!(stream.read(&mut received).expect("the server answers") > 0);
}

/// Does `count` times what `cycle` does, in five rounds, and looks at what is there after each.
///
/// Pools and tables grow to what was once needed at the same time, which differs from round to round; a leak
/// grows in every one. So in one of them at least nothing may grow.
#[track_caller]
fn assert_nothing_left(what: &str, running: &Running, count: usize, cycle: impl Fn(usize) + Sync) {
    const ROUNDS: usize = 5;
    let seen: Vec<_> = (0..ROUNDS)
        .map(|_| {
            repeat(count / ROUNDS, &cycle);
            at_rest(running)
        })
        .collect();
    println!("{} {what}: (descriptors, bytes) = {seen:?}", running.driver());
    let steady = |(a, b): (&(usize, usize), &(usize, usize))| b.0 <= a.0 && b.1 <= a.1 + TOLERANCE;
    assert!(seen.iter().all(|(open, _)| *open == seen[0].0), "{what} left descriptors: {seen:?}");
    assert!(seen.iter().zip(&seen[1..]).any(steady), "{what} left memory: {seen:?}");
}

/// Bytes that a round may leave, for what the harness itself does meanwhile: less than a byte a client.
const TOLERANCE: usize = 1000;

/// The only test of its process: descriptors and memory are the whole process's.
#[test]
fn clients_that_come_and_go_leave_nothing_behind() {
    for driver in [Driver::IoUring, Driver::Epoll] {
        if driver == Driver::IoUring && !has_io_uring() {
            continue;
        }
        let running = start(driver, Duration::from_secs(20));
        let addr = running.local_addr();
        assert_nothing_left("WebSockets", &running, 10_000, |n| come_and_go(addr, n));
        drop(running);

        let running = start(driver, Duration::from_millis(150));
        let addr = running.local_addr();
        assert_nothing_left("handshakes that vanish", &running, 5000, |_| vanish(addr));
        drop(running);

        // Servers that end with clients on them; a first one, so that what is made once is made.
        let serve_once = || {
            let running = start(driver, Duration::from_secs(20));
            let addr = running.local_addr();
            let clients = (WebSocket::open(addr), Polling::open(addr));
            drop(clients);
            drop(running);
            (descriptors(), live::bytes())
        };
        let before = serve_once();
        let mut after = before;
        for _ in 0..10 {
            after = serve_once();
        }
        println!("{driver} 10 servers: {before:?} before, {after:?} after");
        assert_eq!(after.0, before.0, "servers left descriptors");
        assert!(after.1 <= before.1 + TOLERANCE, "servers left {} bytes", after.1 - before.1);
    }
}
