//! Clients that come and go, in an orderly way or not, leave nothing behind: no descriptor, no memory.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use eio_monoio::{
    Config, ConnectRequest, Driver, Handler, Message, Refusal, Running, Server, Socket,
};

use support::app::eventually;
use support::matrix::has_io_uring;
use support::wire::{CLOSE, POLLING, Polling, Request, TEXT, WEBSOCKET, WebSocket, frame, opening};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the pointer came from `alloc` above, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_add(size, Ordering::Relaxed);
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the pointer came from `alloc` above, with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Bytes that may stay: the pools of three cores differ by how many connections happened to be at work at once.
/// A leak of as little as 20 bytes a WebSocket is more than that.
const TOLERANCE: usize = 200_000;
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
    let mut seen = (descriptors(), LIVE.load(Ordering::Relaxed));
    let deadline = Instant::now() + Duration::from_millis(200);
    while Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
        let now = (descriptors(), LIVE.load(Ordering::Relaxed));
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

#[track_caller]
fn assert_nothing_left(what: &str, before: (usize, usize), after: (usize, usize)) {
    println!("{what}: {before:?} before, {after:?} after (descriptors, bytes)");
    assert_eq!(after.0, before.0, "{what} left descriptors");
    assert!(after.1 <= before.1 + TOLERANCE, "{what}: {} bytes left", after.1 - before.1);
}

/// The only test of its process: descriptors and memory are the whole process's.
#[test]
fn clients_that_come_and_go_leave_nothing_behind() {
    for driver in [Driver::IoUring, Driver::Epoll] {
        if driver == Driver::IoUring && !has_io_uring() {
            continue;
        }
        let running = start(driver, Duration::from_secs(20));
        let addr = running.local_addr();
        repeat(1000, |n| come_and_go(addr, n));
        let before = at_rest(&running);
        repeat(10_000, |n| come_and_go(addr, n));
        let after = at_rest(&running);
        assert_nothing_left(&format!("{driver}: 10000 WebSockets"), before, after);
        drop(running);

        let running = start(driver, Duration::from_millis(150));
        let addr = running.local_addr();
        repeat(1000, |_| vanish(addr));
        let before = at_rest(&running);
        repeat(2000, |_| vanish(addr));
        let after = at_rest(&running);
        assert_nothing_left(&format!("{driver}: 2000 handshakes that vanish"), before, after);
        drop(running);

        // A server that was left with clients on it: a first, so that what is made once is made.
        let serve_once = || {
            let running = start(driver, Duration::from_secs(20));
            let (socket, polling) =
                (WebSocket::open(running.local_addr()), Polling::open(running.local_addr()));
            drop((socket, polling));
            drop(running);
        };
        serve_once();
        let before = (descriptors(), LIVE.load(Ordering::Relaxed));
        (0..10).for_each(|_| serve_once());
        let after = (descriptors(), LIVE.load(Ordering::Relaxed));
        assert_nothing_left(&format!("{driver}: 10 servers"), before, after);
    }
}
