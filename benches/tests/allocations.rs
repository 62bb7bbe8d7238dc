//! A warm server does not allocate for a message: counted on its own threads, over real sockets.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};

use eio_monoio::{Config, ConnectRequest, Driver, Handler, Message, Refusal, Server, Socket};

/// An allocator that counts the allocations of a server's threads.
struct Counting;

thread_local! {
    /// Counts this thread's allocations, if the thread is a server's.
    static COUNTER: Cell<Option<&'static AtomicU64>> = const { Cell::new(None) };
}

fn count() {
    // While a thread ends, the variable may be destroyed.
    if let Ok(Some(counter)) = COUNTER.try_with(Cell::get) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call is passed to the system's allocator, and counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller upholds the same contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller upholds the same contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller upholds the same contract.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller upholds the same contract.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

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
        socket.try_send(message).expect("the queue has room");
        async {}
    }
}

const CONNECTIONS: usize = 64;
/// A pool grows when more connections than before are busy at once, so at most to one buffer for each. An allocation
/// per message would occur in every round.
const POOL_GROWTH: u64 = CONNECTIONS as u64;

/// Warms up a server of one thread with `round`, then counts its allocations. A round is one operation on each
/// connection at once.
fn allocations_per_round<C>(
    driver: Driver,
    connect: impl Fn(SocketAddr) -> C,
    mut round: impl FnMut(&mut [C]),
) -> u64 {
    const ROUNDS: u64 = 50;
    let counter: &AtomicU64 = Box::leak(Box::default());
    // Runs on the server's thread.
    let make = || {
        COUNTER.set(Some(counter));
        Echo
    };
    let config = Config::new().workers(1).driver(driver);
    let server = Server::new(make).config(config).bind("127.0.0.1:0").expect("a free port");
    let mut connections: Vec<C> = (0..CONNECTIONS).map(|_| connect(server.local_addr())).collect();
    (0..ROUNDS).for_each(|_| round(&mut connections));
    let before = counter.load(Ordering::Relaxed);
    (0..ROUNDS).for_each(|_| round(&mut connections));
    counter.load(Ordering::Relaxed) - before
}

/// On both drivers, where the kernel supports both.
fn on_each_driver(test: impl Fn(Driver)) {
    test(Driver::Epoll);
    test(Driver::Auto);
}

fn open(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_nodelay(true).expect("a TCP socket");
    stream
}

/// Reads until the received bytes end with `end`.
fn read_to(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let (mut data, mut chunk) = (Vec::new(), [0; 4096]);
    while !data.ends_with(end) {
        let n = stream.read(&mut chunk).expect("an open connection");
        assert!(n > 0, "the server closed after {:?}", String::from_utf8_lossy(&data));
        data.extend_from_slice(&chunk[..n]);
    }
    data
}

fn websocket(address: SocketAddr) -> TcpStream {
    let mut stream = open(address);
    stream
        .write_all(
            b"GET /engine.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
              Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
              Sec-WebSocket-Version: 13\r\n\r\n",
        )
        .expect("an open connection");
    read_to(&mut stream, b"}");
    stream
}

/// A masked text frame with a message of `len` bytes, and the frame of its echo.
fn frames(len: usize) -> (Vec<u8>, Vec<u8>) {
    let mut packet = vec![b'x'; len + 1];
    packet[0] = b'4';
    let length = match packet.len() {
        n @ 0..126 => vec![n as u8],
        n @ 126..0x1_0000 => [&[126], &(n as u16).to_be_bytes()[..]].concat(),
        n => [&[127], &(n as u64).to_be_bytes()[..]].concat(),
    };
    let echo = [&[0x81], &*length, &*packet].concat();
    let mut sent = [&[0x81], &*length, &[0; 4], &*packet].concat();
    sent[1] |= 0x80;
    (sent, echo)
}

fn websocket_echo(driver: Driver, len: usize, in_flight: usize) -> u64 {
    let (frame, echo) = frames(len);
    let frames = frame.repeat(in_flight);
    let mut echoes = vec![0; echo.len() * in_flight];
    allocations_per_round(driver, websocket, |streams| {
        for stream in &mut *streams {
            stream.write_all(&frames).expect("an open connection");
        }
        for stream in streams {
            stream.read_exact(&mut echoes).expect("an open connection");
            assert!(echoes.chunks(echo.len()).all(|one| one == echo));
        }
    })
}

#[test]
fn websocket_message_does_not_allocate() {
    on_each_driver(|driver| {
        for (len, in_flight) in [(32, 1), (32, 16), (1024, 1)] {
            let count = websocket_echo(driver, len, in_flight);
            assert!(
                count < POOL_GROWTH,
                "{driver}: {count} for {in_flight} messages of {len} bytes"
            );
        }
    });
}

struct Polling {
    get: TcpStream,
    post: TcpStream,
    get_request: Vec<u8>,
    post_request: Vec<u8>,
}

impl Polling {
    fn open(address: SocketAddr, messages: usize) -> Self {
        let (mut get, post) = (open(address), open(address));
        get.write_all(b"GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n")
            .expect("an open connection");
        let answer = String::from_utf8(read_to(&mut get, b"}")).expect("JSON");
        let (_, rest) = answer.split_once("\"sid\":\"").expect("an open packet");
        let (sid, _) = rest.split_once('"').expect("an open packet");
        let body = vec!["4hello"; messages].join("\x1e");
        let line = format!("/engine.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: a\r\n");
        let get_request = format!("GET {line}\r\n").into_bytes();
        let post_request =
            format!("POST {line}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes();
        Self { get, post, get_request, post_request }
    }
}

#[test]
fn polling_round_trip_does_not_allocate() {
    on_each_driver(|driver| {
        for messages in [1, 10] {
            let connect = |address| Polling::open(address, messages);
            let count = allocations_per_round(driver, connect, |sessions| {
                for session in &mut *sessions {
                    session.get.write_all(&session.get_request).expect("an open connection");
                }
                for session in &mut *sessions {
                    session.post.write_all(&session.post_request).expect("an open connection");
                }
                for session in sessions {
                    read_to(&mut session.post, b"\r\n\r\nok");
                    // All of them in one response, because they arrived in one body.
                    let end = vec!["4hello"; messages].join("\x1e");
                    read_to(&mut session.get, end.as_bytes());
                }
            });
            assert!(count < POOL_GROWTH, "{driver}: {count} for {messages} messages in a POST");
        }
    });
}
