//! Allocations of the server: none for an echo over WebSocket or a refused connection, and few for a broadcast.

use std::io::{Read, Write};
use std::net::TcpStream;

use eio_monoio::{Driver, PerMessageDeflate, Running, Server};
use flate2::{Compress, Compression, FlushCompress};

use crate::allocator;
use crate::support::configs::default_config;
use crate::support::echo::Echo;
use crate::support::own_process;
use crate::support::polling::sid_of;
use crate::support::request::{POLLING, Request, WEBSOCKET, target};
use crate::support::websocket::{BINARY, TEXT, frame};

const WARM_UP: usize = 500;

/// The number of allocations of the process in `run`, the least of three runs; the client must have its memory before.
/// On a busy machine a queue may reach its length after the warm-up, but an allocation for a message occurs in each run.
pub(crate) fn allocations(mut run: impl FnMut()) -> usize {
    let mut least = usize::MAX;
    for _ in 0..3 {
        let before = allocator::calls();
        run();
        least = least.min(allocator::calls() - before);
        if least == 0 {
            break;
        }
    }
    least
}

/// A request, and memory for a response of known length.
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

/// Receives one segment: on the loopback interface that is a complete answer.
fn receive(stream: &mut TcpStream) -> Vec<u8> {
    let mut buffer = vec![0; 64 * 1024];
    let n = stream.read(&mut buffer).expect("the server answers");
    buffer.truncate(n);
    buffer
}

/// Echoes `count` messages of `len` bytes in each round trip.
fn websocket(running: &Running, opcode: u8, len: usize, count: usize) -> RoundTrip {
    let stream = open(running, &Request::upgrade(WEBSOCKET));
    let request = frame(opcode, &vec![b'4'; len]).repeat(count);
    // An answer lacks the mask of four bytes.
    let response = vec![0; request.len() - 4 * count];
    RoundTrip { stream, request, response }
}

/// Echoes a message of `len` bytes that is compressed in both directions.
fn deflated(running: &Running, len: usize) -> RoundTrip {
    let offer =
        Request::upgrade(WEBSOCKET).header("Sec-WebSocket-Extensions", "permessage-deflate");
    let mut stream = open(running, &offer);
    let mut payload = Vec::with_capacity(len + 100);
    Compress::new(Compression::fast(), false)
        .compress_vec(&vec![b'4'; len], &mut payload, FlushCompress::Sync)
        .expect("enough memory");
    payload.truncate(payload.len() - 4);
    let request = frame(TEXT | 0x40, &payload);
    stream.write_all(&request).expect("the server reads");
    let response = receive(&mut stream);
    assert!(response[0] == TEXT | 0x40 && response.len() < len, "compressed");
    RoundTrip { stream, request, response }
}

/// Opens a session over WebSocket.
fn open(running: &Running, upgrade: &Request) -> TcpStream {
    let mut stream = connect(running);
    stream.write_all(&upgrade.bytes()).expect("the server reads");
    let mut open = Vec::new();
    // The open packet ends with a brace, and nothing follows it.
    while open.last() != Some(&b'}') {
        open.extend(receive(&mut stream));
    }
    stream
}

/// A POST and the GET that returns its echo.
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

/// The number of allocations for one broadcast to this many sessions over WebSocket.
fn broadcast(running: &Running, sessions: usize) -> usize {
    let frame = b"\x81\x064hello";
    let mut streams: Vec<_> =
        (0..sessions).map(|_| open(running, &Request::upgrade(WEBSOCKET))).collect();
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

fn echoes_do_not_allocate(driver: Driver) {
    let config = default_config().driver(driver).workers(1);
    let server = Server::new(Echo::<()>::new).config(config.clone());
    let running = server.bind("127.0.0.1:0").expect("the server starts");
    for (kind, opcode, len, count, rounds) in [
        ("text", TEXT, 32, 1, 10_000),
        ("binary", BINARY, 32, 1, 10_000),
        ("binary of 4 KiB", BINARY, 4096, 1, 1000),
        ("16 texts at once", TEXT, 32, 16, 1000),
    ] {
        let mut echo = websocket(&running, opcode, len, count);
        echo.run(WARM_UP);
        let count = allocations(|| echo.run(rounds));
        assert_eq!(count, 0, "allocations in {rounds} round trips of {kind} on {driver}");
    }
    // More sessions than the server keeps send buffers.
    let count = broadcast(&running, 700);
    println!("{driver}: {count} allocations for a broadcast to 700 sessions");
    assert!(count < 70, "allocations for a broadcast to 700 sessions on {driver}: {count}");
    let config = config.per_message_deflate(PerMessageDeflate::new());
    let server = Server::new(Echo::<()>::new).config(config);
    let deflating = server.bind("127.0.0.1:0").expect("the server starts");
    for len in [1024, 100_000] {
        let mut echo = deflated(&deflating, len);
        echo.run(WARM_UP);
        let count = allocations(|| echo.run(200));
        assert_eq!(count, 0, "allocations for {len} bytes, compressed, on {driver}");
    }
    let mut polls = polling(&running);
    polls.run(WARM_UP);
    let count = allocations(|| polls.run(1000));
    println!("{driver}: {} allocations for each POST and GET", count as f64 / 1000.0);
}

#[test]
fn echo_does_not_allocate() {
    own_process::for_each_driver(module_path!(), "echo_does_not_allocate", echoes_do_not_allocate);
}

/// Connections that a limit refuses cost no memory: an address may repeat them without a pause.
fn refused_connections_do_not_allocate(driver: Driver) {
    const REFUSED: usize = 200;
    let config = default_config().driver(driver).workers(1).max_connections_per_address(1);
    let server = Server::new(Echo::<()>::new).config(config);
    let running = server.bind("127.0.0.1:0").expect("the server starts");
    let _held = open(&running, &Request::upgrade(WEBSOCKET));
    let refuse = |count: usize| {
        for _ in 0..count {
            let mut response = [0; 256];
            let n = connect(&running).read(&mut response).expect("the server answers");
            assert!(response[..n].starts_with(b"HTTP/1.1 429 "), "{:?}", &response[..n]);
        }
    };
    refuse(WARM_UP);
    let count = allocations(|| refuse(REFUSED));
    assert_eq!(count, 0, "allocations for {REFUSED} refused connections on {driver}");
}

#[test]
fn refused_connection_does_not_allocate() {
    let test = "refused_connection_does_not_allocate";
    own_process::for_each_driver(module_path!(), test, refused_connections_do_not_allocate);
}
