//! Backpressure: the server stops reading from a client that does not read, or whose handler is slower than its
//! messages; other clients are not affected.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use eio_monoio::{Config, ConnectRequest, Handler, Message, Refusal, Socket};

use crate::flood::{Flood, open_unread, read};
use crate::support::configs::for_each_config;
use crate::support::log::{Entry, Log};
use crate::support::polling::Polling;
use crate::support::request::{Request, WEBSOCKET, target, upgrade_target};
use crate::support::test_server::TestServer;
use crate::support::wait::eventually;
use crate::support::websocket::{BINARY, PING, TEXT, WebSocket, frame};

/// Sends more than any socket buffer holds when a session opens.
struct LargeGreeting;

impl Handler for LargeGreeting {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    async fn open(&self, socket: &Socket<()>) {
        socket
            .try_send(Message::Binary(&vec![7; 32 << 20]))
            .expect("one message may exceed the mark");
    }

    fn message<'s>(&'s self, _: &Socket<()>, _: Message<'_>) -> impl Future<Output = ()> + use<'s> {
        async {}
    }
}

#[test]
fn client_that_never_reads_is_disconnected() {
    for_each_config(|config| {
        let short = Duration::from_millis(50);
        // With a mark this high the connection does not count as slow: only its end wakes it.
        let config = config.ping_interval(short).ping_timeout(short).outbound_high_water(1 << 30);
        let server = TestServer::run(config, |_| LargeGreeting);
        let _not_reading = WebSocket::connect(server.addr(), WEBSOCKET);
        server.wait_until_empty();
    });
}

#[test]
fn session_ends_when_its_client_disconnects_during_a_write() {
    for_each_config(|config| {
        // The first heartbeat is later than the timeout of this test.
        let server = TestServer::run(config, |_| LargeGreeting);
        let not_reading = WebSocket::connect(server.addr(), WEBSOCKET);
        server.wait_for_counts(1, 1);
        // Because of the unread data the close is a reset, which the pending write receives.
        drop(not_reading);
        server.wait_until_empty();
    });
}

#[test]
fn broadcast_reaches_slow_readers_complete_and_in_order() {
    for_each_config(|config| {
        // Messages larger than the kernel accepts at once, and a small one.
        let long: Vec<u8> = (0..6_000_000_u32).map(|n| (n % 251) as u8).collect();
        let (server, _) = echo(config.outbound_high_water(64 << 20));
        let mut slow: Vec<_> = (0..3).map(|_| WebSocket::open(server.addr()).0).collect();
        let remote = server.remote();
        for message in [Message::Binary(&long), Message::Text("between"), Message::Binary(&long)] {
            remote.broadcast(message).expect("the queue has room");
        }
        for socket in &mut slow {
            assert_eq!(socket.binary(), long);
            assert_eq!(socket.text(), "4between");
            assert_eq!(socket.binary(), long);
        }
        // With a message for one session at the same time, before or after the broadcast.
        slow[0].send("4mine");
        remote.broadcast("all").expect("the queue has room");
        let mut received = [slow[0].text(), slow[0].text()];
        received.sort();
        assert_eq!(received, ["4all", "4mine"]);
        slow[1..].iter_mut().for_each(|socket| assert_eq!(socket.text(), "4all"));
    });
}

/// Echoes, and records the largest number of bytes queued for one session. The text `!nap` keeps the handler busy for a
/// while, `!nap forever` for longer than any test.
struct Napping {
    log: Log,
    most: Arc<AtomicUsize>,
}

impl Handler for Napping {
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
                socket.try_send(echo).expect("an echo has room");
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

fn echo(config: Config) -> (TestServer, Arc<AtomicUsize>) {
    let most = Arc::<AtomicUsize>::default();
    let shared = most.clone();
    let server =
        TestServer::run(config, move |log| Napping { log: log.clone(), most: shared.clone() });
    (server, most)
}

#[test]
fn unread_echoes_are_bounded_and_not_lost() {
    for_each_config(|config| {
        const MARK: usize = 256 * 1024;
        const MESSAGE: usize = 10_000;
        let (server, most) = echo(config.outbound_high_water(MARK));
        let message = frame(BINARY, &[0; MESSAGE]);
        let size = message.len();
        let flood = Flood::start(open_unread(server.addr(), WEBSOCKET), message);
        eventually("a full queue", || most.load(Ordering::Relaxed) >= MARK);
        flood.expect_stall();

        // The mark, one more message, and the head of its frame.
        let most = most.load(Ordering::Relaxed);
        assert!(most < MARK + MESSAGE + 8, "{most} bytes were queued");
        // Other clients are served.
        WebSocket::open(server.addr()).0.assert_alive();
        Polling::open(server.addr()).assert_alive();

        // When the client reads again, it receives every echo and nothing else.
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
fn unread_pongs_are_bounded() {
    for_each_config(|config| {
        let (server, _) = echo(config.outbound_high_water(64 * 1024));
        let pings = frame(PING, &[7; 125]).repeat(100);
        // On the transport, on a probe, and while the handler is busy.
        let busy = [frame(TEXT, b"4!nap"), pings.clone()].concat();
        let session = Polling::open(server.addr());
        let probe = format!("{WEBSOCKET}&sid={}", session.sid);
        let floods = [(WEBSOCKET, pings.clone()), (&probe, pings), (WEBSOCKET, busy)]
            .map(|(target, bytes)| Flood::start(open_unread(server.addr(), target), bytes));
        floods.iter().for_each(Flood::expect_stall);
        WebSocket::open(server.addr()).0.assert_alive();
    });
}

#[test]
fn messages_for_a_busy_handler_are_bounded_and_not_lost() {
    for_each_config(|config| {
        const COUNT: u32 = 1600;
        let (server, _) = echo(config.inbound_high_water(64 * 1024));
        let mut stream = open_unread(server.addr(), WEBSOCKET);
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
fn queued_messages_wait_until_the_outgoing_queue_has_room() {
    for_each_config(|config| {
        let (server, _) = echo(config.outbound_high_water(1000));
        let (mut socket, sid) = WebSocket::open(server.addr());
        let message = format!("4{}", "x".repeat(1000));
        let frames = [frame(TEXT, b"4!nap"), frame(TEXT, message.as_bytes()).repeat(20)];
        socket.conn.write(frames.concat());
        for _ in 0..20 {
            assert_eq!(socket.text(), message);
        }
        assert_eq!(server.log.of(&sid), [Entry::Opened]);
    });
}

#[test]
fn busy_handler_stops_reading_before_and_after_an_upgrade() {
    for_each_config(|config| {
        let (server, _) = echo(config.inbound_high_water(64 * 1024));
        let (direct, mut polling) =
            (open_unread(server.addr(), WEBSOCKET), Polling::open(server.addr()));
        let nap = frame(TEXT, b"4!nap forever");
        (&direct).write_all(&nap).expect("the server reads");
        let direct = Flood::start(direct, frame(BINARY, &[0; 10_000]));

        // The handler is busy with a message over polling when the session is upgraded; the flood is on the WebSocket.
        let sid = polling.sid.clone();
        let mut upgraded = open_unread(server.addr(), &upgrade_target(&sid));
        polling.post.send(&Request::post(&target(&sid), "4!nap forever"));
        eventually("the busy handler", || !server.log.of(&sid).is_empty());
        upgraded.write_all(&frame(TEXT, b"5")).expect("the server reads");
        let upgraded = Flood::start(upgraded, frame(BINARY, &[0; 10_000]));

        direct.expect_stall();
        upgraded.expect_stall();
    });
}

#[test]
fn post_waits_while_the_queue_is_full_but_a_pong_does_not() {
    for_each_config(|config| {
        let (server, most) = echo(config.outbound_high_water(1000));
        let mut polling = Polling::open(server.addr());
        let kilobyte = "x".repeat(1000);
        polling.post_ok(format!("4{kilobyte}"));
        polling.post.send(&Request::post(&target(&polling.sid), "3\u{1e}4one more"));
        polling.post.expect_silence(Duration::from_millis(100));
        // The pong before the message was processed, which is not visible here; a POST of pongs alone is accepted.
        assert_eq!(polling.poll(), format!("4{kilobyte}"));
        polling.post.response().assert(200, "ok");
        assert_eq!(polling.poll(), "4one more");

        polling.post_ok(format!("4{kilobyte}"));
        polling.post_ok("3");
        assert!(most.load(Ordering::Relaxed) < 2000);
    });
}
