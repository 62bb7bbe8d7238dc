//! Handlers that are slow, send without limit or never end.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use eio_monoio::{
    CloseReason, Config, ConnectRequest, Dispatch, Handler, Message, OwnedMessage, Refusal, Socket,
};

use crate::support::configs::{default_config, for_each_config};
use crate::support::log::{Entry, Log};
use crate::support::polling::Polling;
use crate::support::request::{Request, target};
use crate::support::test_server::TestServer;
use crate::support::websocket::WebSocket;

/// Waits at the text `wait` until a session of the same worker sends `go`; echoes every message.
struct Waiting {
    log: Log,
    gate: Rc<Gate>,
}

#[derive(Default)]
struct Gate {
    open: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Gate {
    async fn opened(&self) {
        poll_fn(|cx| {
            if self.open.get() {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Handler for Waiting {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        self.log.push(socket, Entry::Message(message.into()));
        let wait = message == Message::Text("wait");
        if message == Message::Text("go") {
            self.gate.open.set(true);
            self.gate.waiting.borrow_mut().drain(..).for_each(Waker::wake);
        }
        let (socket, echo) = (socket.clone(), OwnedMessage::from(message));
        async move {
            if wait {
                self.gate.opened().await;
            }
            // Fails only if the client has disconnected.
            _ = socket.send(&echo).await;
        }
    }

    async fn disconnect(&self, socket: &Socket<()>, reason: CloseReason) {
        self.log.push(socket, Entry::Closed(reason));
    }
}

/// One worker, because the gate belongs to a worker.
fn waiting(config: Config) -> TestServer {
    TestServer::run(config.workers(1), |log| Waiting { log: log.clone(), gate: Rc::default() })
}

fn go(server: &TestServer) {
    Polling::open(server.addr()).post_ok("4go");
}

#[test]
fn slow_handler_delays_no_heartbeat_and_keeps_order() {
    for_each_config(|config| {
        let config = config.ping_interval(Duration::from_millis(50));
        let server = waiting(config.ping_timeout(Duration::from_millis(1000)));
        let begun = Instant::now();
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4wait\x1e41");
        polling.post_ok("42\x1ebAw==");
        let (mut socket, _) = WebSocket::open(server.addr());
        ["4wait", "41", "42"].iter().for_each(|text| socket.send(text));
        // Longer than interval and timeout of a silent client.
        while begun.elapsed() < Duration::from_millis(1300) {
            assert_eq!(polling.poll(), "2");
            polling.post_ok("3");
            assert_eq!(socket.text(), "2");
            socket.send("3");
        }
        polling.post_ok("43");
        socket.send("43");
        go(&server);
        let mut echoed = Vec::new();
        while echoed.len() < 5 {
            let body = polling.poll();
            echoed.extend(body.split('\x1e').filter(|packet| *packet != "2").map(str::to_owned));
        }
        assert_eq!(echoed, ["4wait", "41", "42", "bAw==", "43"]);
        let mut echoed = Vec::new();
        while echoed.len() < 4 {
            echoed.extend(Some(socket.text()).filter(|packet| packet != "2"));
        }
        assert_eq!(echoed, ["4wait", "41", "42", "43"]);
    });
}

#[test]
fn slow_handler_does_not_shorten_the_idle_timeout() {
    for_each_config(|config| {
        let server = waiting(config.head_timeout(Duration::from_millis(400)));
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4wait");
        // The connection has had a request: its limit is the idle timeout, one minute.
        polling.post.expect_silence(Duration::from_millis(600));
        polling.post_ok("41");
        go(&server);
        assert_eq!(polling.poll(), "4wait\x1e41");
    });
}

#[test]
fn slow_handler_does_not_wait_for_a_closing_connection() {
    for_each_config(|config| {
        let server = waiting(config);
        let mut polling = Polling::open(server.addr());
        let request = Request::post(&target(&polling.sid), "4wait\x1e41");
        polling.post.request(&request.header("Connection", "close")).assert(200, "ok");
        polling.start_poll();
        go(&server);
        // The server waits up to two seconds for the client to close, which this client does not do.
        let answer = polling.get.try_response(Duration::from_millis(1500)).expect("an answer");
        answer.assert(200, "4wait\x1e41");
    });
}

#[test]
fn disconnect_callback_waits_for_the_last_message() {
    for_each_config(|config| {
        let server = waiting(config);
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4wait\x1e4next");
        polling.post_ok("1");
        polling.assert_unknown();
        let (mut socket, sid) = WebSocket::open(server.addr());
        socket.send("4wait");
        socket.send("4next");
        socket.send("1");
        socket.conn.expect_closed();
        for sid in [&polling.sid, &sid] {
            assert!(!server.log.of(sid).iter().any(|entry| matches!(entry, Entry::Closed(_))));
        }
        go(&server);
        for sid in [&polling.sid, &sid] {
            assert_eq!(server.log.close_reason(sid), CloseReason::ClientDisconnect);
            let message = |text: &str| Entry::Message(OwnedMessage::Text(text.into()));
            let closed = Entry::Closed(CloseReason::ClientDisconnect);
            assert_eq!(server.log.of(sid), [message("wait"), message("next"), closed]);
        }
        drop((polling, socket));
        server.wait_for_counts(1, 0);
    });
}

#[test]
fn messages_for_a_slow_handler_stop_at_the_high_water_mark() {
    for_each_config(|config| {
        let server = waiting(config.inbound_high_water(1000));
        let mut polling = Polling::open(server.addr());
        let sid = polling.sid.clone();
        let packets: Vec<_> = (0..10).map(|n| format!("4{n}{}", "x".repeat(250))).collect();
        polling.post_ok("4wait");
        let (three, rest) = packets.split_at(3);
        polling.post_ok(three.join("\x1e"));
        // These exceed the mark: they are read, but the POST is answered only when there is room.
        polling.post.send(&Request::post(&target(&sid), rest.join("\x1e")));
        polling.post.expect_silence(Duration::from_millis(50));
        go(&server);
        polling.post.response().assert(200, "ok");
        let mut echoed = Vec::new();
        while echoed.len() < 11 {
            echoed.extend(polling.poll().split('\x1e').map(str::to_owned));
        }
        assert_eq!(echoed[0], "4wait");
        assert_eq!(echoed[1..], packets);
    });
}

#[test]
fn stuck_handler_does_not_keep_its_session() {
    for_each_config(|config| {
        let beat = Duration::from_millis(50);
        let server = waiting(config.inbound_high_water(100).ping_interval(beat).ping_timeout(beat));
        let mut polling = Polling::open(server.addr());
        // The answer is ok unless the machine is so slow that the session has ended before.
        polling.try_post("4wait");
        // A session that its handler blocks is kept longer, but not without limit.
        polling.try_post(format!("4{}", "x".repeat(200)));
        polling.assert_unknown();
        drop(polling);
        server.wait_until_empty();
    });
}

#[test]
fn concurrent_messages_do_not_wait_for_each_other() {
    for_each_config(|config| {
        let server = waiting(config.dispatch(Dispatch::Concurrent));
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4wait\x1e41\x1e42");
        assert_eq!(polling.poll(), "41\x1e42");
        let (mut socket, _) = WebSocket::open(server.addr());
        socket.send("4wait");
        socket.assert_alive();
        go(&server);
        assert_eq!(polling.poll(), "4wait");
        assert_eq!(socket.text(), "4wait");
    });
}

#[test]
fn concurrent_messages_are_bounded() {
    for_each_config(|config| {
        let config = config.dispatch(Dispatch::Concurrent).inbound_high_water(10_000);
        let server = waiting(config);
        let packets = vec!["4wait"; 1000];
        let mut polling = Polling::open(server.addr());
        polling.post.send(&Request::post(&target(&polling.sid), packets.join("\x1e")));
        let (mut socket, sid) = WebSocket::open(server.addr());
        packets.iter().for_each(|packet| socket.send(packet));
        polling.post.expect_silence(Duration::from_millis(50));
        for sid in [&polling.sid, &sid] {
            let begun = server.log.messages(sid).len();
            // Each message costs a task, even a short one.
            assert!((1..=100).contains(&begun), "{begun} handlers run");
        }
        go(&server);
        let mut echoed = 0;
        while echoed < packets.len() {
            echoed += polling.poll().split('\x1e').count();
        }
        polling.post.response().assert(200, "ok");
        (0..packets.len()).for_each(|_| assert_eq!(socket.text(), "4wait"));
    });
}

#[test]
fn upgraded_socket_of_a_busy_handler_is_bounded() {
    for_each_config(|config| {
        let server = waiting(config);
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4wait");
        let mut socket = WebSocket::attach(server.addr(), &polling.sid);
        socket.probe();
        socket.send("5");
        let message =
            crate::support::websocket::frame(crate::support::websocket::BINARY, &vec![0; 500_000]);
        let stream = socket.conn.stream();
        stream.set_write_timeout(Some(Duration::from_millis(300))).expect("a write timeout");
        // More than the socket buffers of both sides hold.
        let taken = (0..100).take_while(|_| socket.conn.try_write(&message).is_ok()).count();
        assert!(taken < 100, "the server read all of it");
    });
}

/// Answers every message with 300 messages, as fast as the queue has room.
struct Flood;

impl Handler for Flood {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        _: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        let socket = socket.clone();
        async move {
            for n in 0..300 {
                socket.drained().await;
                assert!(socket.queued() < 1000, "{} bytes are queued", socket.queued());
                socket.send(format!("{n:0100}").as_str()).await.expect("a session");
            }
        }
    }
}

#[test]
fn handler_that_awaits_room_loses_nothing() {
    for_each_config(|config| {
        let server = TestServer::run(config.outbound_high_water(1000), |_| Flood);
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4go");
        let mut packets = Vec::new();
        while packets.len() < 300 {
            packets.extend(polling.poll().split('\x1e').map(str::to_owned));
        }
        assert_eq!(packets, (0..300).map(|n| format!("4{n:0100}")).collect::<Vec<_>>());
        let (mut socket, _) = WebSocket::open(server.addr());
        socket.send("4go");
        for n in 0..300 {
            assert_eq!(socket.text(), format!("4{n:0100}"));
        }
    });
}

#[test]
fn busy_sender_does_not_delay_the_upgrade() {
    for_each_config(|config| {
        let server = TestServer::run(config.outbound_high_water(1000), |_| Flood);
        let mut polling = Polling::open(server.addr());
        // From here on the queue is full, and filled again as soon as there is room.
        polling.post_ok("4go");
        let mut packets: Vec<_> = polling.poll().split('\x1e').map(str::to_owned).collect();
        let mut socket = WebSocket::attach(server.addr(), &polling.sid);
        socket.probe();
        socket.send("5");
        packets.resize_with(300, || socket.text());
        assert_eq!(packets, (0..300).map(|n| format!("4{n:0100}")).collect::<Vec<_>>());
    });
}

#[test]
fn pending_handler_does_not_block_shutdown() {
    let server = waiting(default_config());
    let mut polling = Polling::open(server.addr());
    polling.post_ok("4wait\x1e4next");
    let begun = Instant::now();
    // Shuts down and waits for the end: 100 ms, and more on a busy machine.
    drop(server);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
