//! An echoed WebSocket message costs no heap allocation, once buffers are warm, and one to all no more for each.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};

use eio_monoio::{
    Config, ConnectRequest, Driver, Handler, Message, PerMessageDeflate, Refusal, Running, Server,
    Socket,
};
use flate2::{Compress, Compression, FlushCompress};

use support::matrix::has_io_uring;
use support::wire::{BINARY, POLLING, Request, TEXT, WEBSOCKET, frame, opening, sid_of, target};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the pointer came from `alloc` above, with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// So many allocations of the whole process `run` makes, the least of three: the client's side must have its memory
/// before. On a busy machine a list that holds what waits may reach its length after the warm-up; what a message
/// costs, it costs each time.
fn allocations(mut run: impl FnMut()) -> usize {
    let once = |_| {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        run();
        ALLOCATIONS.load(Ordering::Relaxed) - before
    };
    (0..3).map(once).min().unwrap_or_default()
}

struct Echo;

impl Handler for Echo {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        socket.try_send(message).ok();
        async {}
    }
}

/// Sends `request` and reads as many bytes as came back the first time.
struct RoundTrip {
    stream: TcpStream,
    request: Vec<u8>,
    response: Vec<u8>,
}

impl RoundTrip {
    fn run(&mut self, rounds: usize) {
        for _ in 0..rounds {
            self.stream.write_all(&self.request).expect("the server reads");
            self.stream.read_exact(&mut self.response).expect("the server answers");
        }
    }
}

fn connect(running: &Running) -> TcpStream {
    let stream = TcpStream::connect(running.local_addr()).expect("the server accepts");
    stream.set_nodelay(true).expect("TCP_NODELAY");
    stream
}

/// Receives one segment: on the loopback interface that is a whole answer.
fn receive(stream: &mut TcpStream) -> Vec<u8> {
    let mut buffer = vec![0; 64 * 1024];
    let n = stream.read(&mut buffer).expect("the server answers");
    buffer.truncate(n);
    buffer
}

/// Echoes `count` messages of `len` bytes in each round trip.
fn websocket(running: &Running, opcode: u8, len: usize, count: usize) -> RoundTrip {
    let stream = open(running, &opening(WEBSOCKET));
    let request = frame(opcode, &vec![b'4'; len]).repeat(count);
    // An answer lacks the mask of four bytes.
    let response = vec![0; request.len() - 4 * count];
    RoundTrip { stream, request, response }
}

/// Echoes a message of `len` bytes that is compressed both ways.
fn deflated(running: &Running, len: usize) -> RoundTrip {
    let offer = opening(WEBSOCKET).header("Sec-WebSocket-Extensions", "permessage-deflate");
    let mut stream = open(running, &offer);
    let mut payload = Vec::with_capacity(len + 100);
    Compress::new(Compression::fast(), false)
        .compress_vec(&vec![b'4'; len], &mut payload, FlushCompress::Sync)
        .expect("room");
    payload.truncate(payload.len() - 4);
    let request = frame(TEXT | 0x40, &payload);
    stream.write_all(&request).expect("the server reads");
    let response = receive(&mut stream);
    assert!(response[0] == TEXT | 0x40 && response.len() < len, "compressed");
    RoundTrip { stream, request, response }
}

/// A new session.
fn open(running: &Running, opening: &Request) -> TcpStream {
    let mut stream = connect(running);
    stream.write_all(&opening.bytes()).expect("the server reads");
    let mut open = Vec::new();
    // The open packet ends with a brace and nothing follows it.
    while open.last() != Some(&b'}') {
        open.extend(receive(&mut stream));
    }
    stream
}

/// A POST and the GET that brings its echo.
fn polling(running: &Running) -> RoundTrip {
    let mut stream = connect(running);
    stream.write_all(&Request::get(POLLING).bytes()).expect("the server reads");
    let open = receive(&mut stream);
    let body = open.windows(2).position(|two| two == b"0{").expect("an open packet");
    let sid = sid_of(std::str::from_utf8(&open[body..]).expect("UTF-8"));
    let target = target(&sid);
    let request =
        [Request::post(&target, "4hello").bytes(), Request::get(&target).bytes()].concat();
    stream.write_all(&request).expect("the server reads");
    let mut response = Vec::new();
    while !response.ends_with(b"4hello") {
        response.extend(receive(&mut stream));
    }
    RoundTrip { stream, request, response }
}

/// How many allocations a message to this many WebSockets makes.
fn broadcast(running: &Running, sessions: usize) -> usize {
    let frame = b"\x81\x064hello";
    let mut streams: Vec<_> = (0..sessions).map(|_| open(running, &opening(WEBSOCKET))).collect();
    let mut received = vec![0; frame.len()];
    let mut run = || {
        running.remote().broadcast("hello").expect("the server runs");
        for stream in &mut streams {
            stream.read_exact(&mut received).expect("the server sends");
            assert_eq!(received, frame);
        }
    };
    (0..3).for_each(|_| run());
    allocations(run)
}

/// The only test of its process: nothing else allocates.
#[test]
fn an_echo_does_not_allocate() {
    const WARM_UP: usize = 500;
    for driver in [Driver::IoUring, Driver::Epoll] {
        if driver == Driver::IoUring && !has_io_uring() {
            continue;
        }
        let config = Config::new().driver(driver).workers(1);
        let running = Server::new(|| Echo).config(config).bind("127.0.0.1:0").expect("a server");
        for (what, opcode, len, count, rounds) in [
            ("text", TEXT, 32, 1, 10_000),
            ("binary", BINARY, 32, 1, 10_000),
            ("binary of 4 KiB", BINARY, 4096, 1, 1000),
            ("16 texts at once", TEXT, 32, 16, 1000),
        ] {
            let mut echo = websocket(&running, opcode, len, count);
            echo.run(WARM_UP);
            let count = allocations(|| echo.run(rounds));
            assert_eq!(count, 0, "allocations in {rounds} round trips of {what} on {driver}");
        }
        // More than there are buffers kept to send from.
        let count = broadcast(&running, 700);
        println!("{driver}: {count} allocations for a message to 700 sessions");
        assert!(count < 70, "allocations for a message to 700 sessions on {driver}: {count}");
        let config = Config::new().driver(driver).workers(1);
        let config = config.per_message_deflate(PerMessageDeflate::new());
        let deflating = Server::new(|| Echo).config(config).bind("127.0.0.1:0").expect("a server");
        for len in [1024, 100_000] {
            let mut echo = deflated(&deflating, len);
            echo.run(WARM_UP);
            let count = allocations(|| echo.run(200));
            assert_eq!(count, 0, "allocations for {len} bytes, compressed, on {driver}");
        }
        let mut polls = polling(&running);
        polls.run(WARM_UP);
        let count = allocations(|| polls.run(1000));
        println!("{driver}: {} allocations per POST and GET", count as f64 / 1000.0);
    }
}
