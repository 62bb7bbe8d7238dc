//! A client that does not read is not read from, is let go in the end, and costs nobody else anything; nor does
//! one whose messages come faster than its handler.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use eio_monoio::{Config, ConnectRequest, Handler, Message, Refusal, Socket};

use crate::support::app::{Entry, Host, Log, eventually};
use crate::support::matrix::everywhere;
use crate::support::wire::{
    BINARY, PATIENCE, PING, Polling, Request, TEXT, WEBSOCKET, WebSocket, frame, opening, target,
};

/// Greets with more than any socket buffer holds.
struct Verbose;

impl Handler for Verbose {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    async fn open(&self, socket: &Socket<()>) {
        socket.try_send(Message::Binary(&vec![7; 32 << 20])).expect("one message may overshoot");
    }

    fn message<'s>(&'s self, _: &Socket<()>, _: Message<'_>) -> impl Future<Output = ()> + use<'s> {
        async {}
    }
}

#[test]
fn a_client_that_never_reads_its_very_first_frame_does_not_keep_its_connection() {
    everywhere(|config| {
        let short = Duration::from_millis(50);
        // A mark this high: the connection does not count as slow, and nothing but its end wakes it.
        let config = config.ping_interval(short).ping_timeout(short).outbound_high_water(1 << 30);
        let host = Host::run(config, |_| Verbose);
        let _deaf = WebSocket::connect(host.addr(), WEBSOCKET);
        host.empties();
    });
}

#[test]
fn a_session_does_not_outlive_a_client_that_goes_while_it_is_sent_to() {
    everywhere(|config| {
        // The first heartbeat is further away than the patience of this test.
        let host = Host::run(config, |_| Verbose);
        let deaf = WebSocket::connect(host.addr(), WEBSOCKET);
        host.settles_at(1, 1);
        // What it has not read makes that a reset, which the write under way meets.
        drop(deaf);
        host.empties();
    });
}

#[test]
fn what_all_are_told_reaches_who_reads_slowly_whole_and_in_order() {
    everywhere(|config| {
        // Each larger than what the kernel takes at once, and one that is not.
        let long: Vec<u8> = (0..6_000_000_u32).map(|n| (n % 251) as u8).collect();
        let (host, _) = echo(config.outbound_high_water(64 << 20));
        let mut slow: Vec<_> = (0..3).map(|_| WebSocket::open(host.addr()).0).collect();
        let remote = host.remote();
        for message in [Message::Binary(&long), Message::Text("between"), Message::Binary(&long)] {
            remote.broadcast(message).expect("room");
        }
        for socket in &mut slow {
            assert_eq!(socket.binary(), long);
            assert_eq!(socket.text(), "4between");
            assert_eq!(socket.binary(), long);
        }
        // One that is sent to for itself in the same turn, before and behind.
        slow[0].send("4mine");
        remote.broadcast("all").expect("room");
        let mut told = [slow[0].text(), slow[0].text()];
        told.sort();
        assert_eq!(told, ["4all", "4mine"]);
        slow[1..].iter_mut().for_each(|socket| assert_eq!(socket.text(), "4all"));
    });
}

/// Echoes, and notes how much was ever queued for one session. The text `!nap` keeps it busy for a
/// while, `!nap for ever` for longer than any test.
struct Echo {
    log: Log,
    most: Arc<AtomicUsize>,
}

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
        let nap = match message {
            Message::Text(text) if text.starts_with("!nap") => {
                self.log.push(socket, Entry::Opened);
                Duration::from_millis(if text == "!nap" { 700 } else { 60_000 })
            }
            echo => {
                socket.try_send(echo).expect("an echo always has room");
                self.most.fetch_max(socket.queued(), Ordering::Relaxed);
                Duration::ZERO
            }
        };
        async move {
            if !nap.is_zero() {
                eio_monoio::sleep(nap).await;
            }
        }
    }
}

fn echo(config: Config) -> (Host, Arc<AtomicUsize>) {
    let most = Arc::<AtomicUsize>::default();
    let theirs = most.clone();
    let host = Host::run(config, move |log| Echo { log: log.clone(), most: theirs.clone() });
    (host, most)
}

/// A WebSocket that is written to by a thread and not read from.
struct Flood {
    stream: TcpStream,
    written: Arc<AtomicUsize>,
    total: usize,
    writer: JoinHandle<()>,
}

impl Flood {
    /// Writes `bytes` again and again, much more than the kernel holds.
    fn start(stream: TcpStream, bytes: Vec<u8>) -> Self {
        const TOTAL: usize = 16 << 20;
        let written = Arc::<AtomicUsize>::default();
        let (progress, mut out) = (written.clone(), stream.try_clone().expect("a second handle"));
        let rounds = TOTAL.div_ceil(bytes.len());
        let total = rounds * bytes.len();
        let writer = thread::spawn(move || {
            for _ in 0..rounds {
                if out.write_all(&bytes).is_err() {
                    return;
                }
                progress.fetch_add(bytes.len(), Ordering::Relaxed);
            }
        });
        Self { stream, written, total, writer }
    }

    /// Waits until nothing has been taken for a while, and fails if everything was.
    #[track_caller]
    fn gets_stuck(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut last = (usize::MAX, Instant::now());
        while last.1.elapsed() < Duration::from_secs(1) {
            let written = self.written.load(Ordering::Relaxed);
            assert!(written < self.total, "the server read all of it");
            assert!(!self.writer.is_finished(), "the server closed the connection");
            assert!(Instant::now() < deadline, "the server goes on reading");
            if written != last.0 {
                last = (written, Instant::now());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Opens a WebSocket without reading anything behind the answer. The receive buffer does not grow, so that little
/// fits between server and client.
fn narrow(addr: SocketAddr, target: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).expect("the server accepts");
    socket2::SockRef::from(&stream).set_recv_buffer_size(256 * 1024).expect("a buffer");
    stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
    stream.write_all(&opening(target).bytes()).expect("the server reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
    stream
}

/// The payload of the next frame, which must be a whole message of less than 64 KiB.
fn read(stream: &mut TcpStream, payload: &mut Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a frame");
    assert!(matches!(head[0], BINARY | TEXT) && head[1] <= 126, "{head:?}");
    let mut length = [0, head[1]];
    if head[1] == 126 {
        stream.read_exact(&mut length).expect("a length");
    }
    payload.resize(usize::from(u16::from_be_bytes(length)), 0);
    stream.read_exact(payload).expect("a payload");
}

#[test]
fn echoes_nobody_reads_do_not_pile_up_and_none_is_lost() {
    everywhere(|config| {
        const MARK: usize = 256 * 1024;
        const MESSAGE: usize = 10_000;
        let (host, most) = echo(config.outbound_high_water(MARK));
        let message = frame(BINARY, &[0; MESSAGE]);
        let size = message.len();
        let flood = Flood::start(narrow(host.addr(), WEBSOCKET), message);
        eventually("a full queue", || most.load(Ordering::Relaxed) >= MARK);
        flood.gets_stuck();

        // One message over the mark, and its frame's head.
        let most = most.load(Ordering::Relaxed);
        assert!(most < MARK + MESSAGE + 8, "{most} bytes were queued");
        // Meanwhile the others are served.
        WebSocket::open(host.addr()).0.assert_alive();
        Polling::open(host.addr()).assert_alive();

        // When it reads again it misses nothing: so many echoes, and not a byte more.
        let (mut stream, mut payload) = (flood.stream, Vec::new());
        read(&mut stream, &mut payload);
        assert!(payload.starts_with(b"0{"), "the open packet");
        for _ in 0..flood.total / size {
            read(&mut stream, &mut payload);
            assert_eq!(payload.len(), MESSAGE);
        }
        flood.writer.join().expect("everything was written");
    });
}

#[test]
fn pings_whose_pongs_nobody_reads_do_not_pile_up() {
    everywhere(|config| {
        let (host, _) = echo(config.outbound_high_water(64 * 1024));
        let pings = frame(PING, &[7; 125]).repeat(100);
        // On the transport, on a probe, and while the handler is busy.
        let busy = [frame(TEXT, b"4!nap"), pings.clone()].concat();
        let session = Polling::open(host.addr());
        let probe = format!("{WEBSOCKET}&sid={}", session.sid);
        let floods = [(WEBSOCKET, pings.clone()), (&probe, pings), (WEBSOCKET, busy)]
            .map(|(target, bytes)| Flood::start(narrow(host.addr(), target), bytes));
        floods.iter().for_each(Flood::gets_stuck);
        WebSocket::open(host.addr()).0.assert_alive();
    });
}

#[test]
fn messages_do_not_pile_up_before_a_busy_handler_and_none_is_lost() {
    everywhere(|config| {
        const COUNT: u32 = 1600;
        let (host, _) = echo(config.inbound_high_water(64 * 1024));
        let mut stream = narrow(host.addr(), WEBSOCKET);
        stream.write_all(&frame(TEXT, b"4!nap")).expect("the server reads");
        let mut out = stream.try_clone().expect("a second handle");
        let written = Arc::<AtomicUsize>::default();
        let progress = written.clone();
        let writer = thread::spawn(move || {
            for n in 0..COUNT {
                let numbered = n.to_be_bytes().repeat(2500);
                out.write_all(&frame(BINARY, &numbered)).expect("the server reads");
                progress.fetch_add(1, Ordering::Relaxed);
            }
        });
        thread::sleep(Duration::from_millis(400));
        assert!(written.load(Ordering::Relaxed) < COUNT as usize, "the server read all of it");
        let mut payload = Vec::new();
        read(&mut stream, &mut payload);
        for n in 0..COUNT {
            read(&mut stream, &mut payload);
            assert_eq!(payload.first_chunk(), Some(&n.to_be_bytes()));
        }
        writer.join().expect("everything was written");
    });
}

#[test]
fn messages_stashed_for_a_busy_handler_are_not_answered_into_a_full_queue() {
    everywhere(|config| {
        let (host, _) = echo(config.outbound_high_water(1000));
        let (mut socket, sid) = WebSocket::open(host.addr());
        let message = format!("4{}", "x".repeat(1000));
        let frames = [frame(TEXT, b"4!nap"), frame(TEXT, message.as_bytes()).repeat(20)];
        socket.wire.write(frames.concat());
        for _ in 0..20 {
            assert_eq!(socket.text(), message);
        }
        assert_eq!(host.log.of(&sid), [Entry::Opened]);
    });
}

#[test]
fn a_busy_handler_does_not_let_a_flood_in_wherever_it_was_kept_busy() {
    everywhere(|config| {
        let (host, _) = echo(config.inbound_high_water(64 * 1024));
        let (direct, mut polling) = (narrow(host.addr(), WEBSOCKET), Polling::open(host.addr()));
        let napping = frame(TEXT, b"4!nap for ever");
        (&direct).write_all(&napping).expect("the server reads");
        let direct = Flood::start(direct, frame(BINARY, &[0; 10_000]));

        // Over polling; the messages come over the WebSocket that the session is upgraded to meanwhile.
        let sid = polling.sid.clone();
        let mut upgraded = narrow(host.addr(), &format!("{WEBSOCKET}&sid={sid}"));
        polling.post.send(&Request::post(&target(&sid), "4!nap for ever"));
        eventually("the handler's nap", || !host.log.of(&sid).is_empty());
        upgraded.write_all(&frame(TEXT, b"5")).expect("the server reads");
        let upgraded = Flood::start(upgraded, frame(BINARY, &[0; 10_000]));

        direct.gets_stuck();
        upgraded.gets_stuck();
    });
}

#[test]
fn a_post_that_would_cause_more_waits_until_the_client_polls_but_a_pong_does_not() {
    everywhere(|config| {
        let (host, most) = echo(config.outbound_high_water(1000));
        let mut polling = Polling::open(host.addr());
        let kilobyte = "x".repeat(1000);
        polling.say(format!("4{kilobyte}"));
        polling.post.send(&Request::post(&target(&polling.sid), "3\u{1e}4one more"));
        polling.post.expect_silence(Duration::from_millis(100));
        // A pong in front of the message was heard; nothing here tells, but a POST of pongs alone passes.
        assert_eq!(polling.poll(), format!("4{kilobyte}"));
        polling.post.response().assert(200, "ok");
        assert_eq!(polling.poll(), "4one more");

        polling.say(format!("4{kilobyte}"));
        polling.say("3");
        assert!(most.load(Ordering::Relaxed) < 2000);
    });
}
