//! The end of sessions: close, abort, panics and other threads (`docs/protocol.md` 2.8).

use std::time::Duration;

use eio_monoio::{
    CloseReason, Config, ConnectRequest, Handler, Message, Refusal, SendError, Sid, Socket,
    Transport,
};

use crate::support::configs::for_each_config;
use crate::support::log::{Entry, Log};
use crate::support::polling::Polling;
use crate::support::test_server::TestServer;
use crate::support::wait::eventually;
use crate::support::websocket::WebSocket;

/// Longer than other tasks of a worker need to run.
const PAUSE: Duration = Duration::from_millis(50);

/// Ends its session from a callback, and then runs for a while.
struct SelfClosing {
    log: Log,
    at_open: bool,
}

impl SelfClosing {
    fn start(config: Config, at_open: bool) -> TestServer {
        TestServer::run(config, move |log| Self { log: log.clone(), at_open })
    }
}

impl Handler for SelfClosing {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    async fn open(&self, socket: &Socket<()>) {
        if self.at_open {
            socket.abort();
            eio_monoio::sleep(PAUSE).await;
        }
        self.log.push(socket, Entry::Opened);
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        socket.disconnect();
        let (socket, message) = (socket.clone(), message.into());
        async move {
            eio_monoio::sleep(PAUSE).await;
            self.log.push(&socket, Entry::Message(message));
        }
    }

    async fn disconnect(&self, socket: &Socket<()>, reason: CloseReason) {
        self.log.push(socket, Entry::Closed(reason));
    }
}

/// The log of a session after its end, with time for a second disconnect callback.
fn log_after_end(server: &TestServer, sid: &str) -> Vec<Entry> {
    eventually("the disconnect callback", || {
        server.log.of(sid).iter().any(|entry| matches!(entry, Entry::Closed(_)))
    });
    std::thread::sleep(3 * PAUSE);
    server.log.of(sid)
}

#[test]
fn disconnect_callback_runs_once_after_the_handler_returns() {
    for_each_config(|config| {
        let server = SelfClosing::start(config, false);
        let message = Entry::Message(Message::Text("end").into());
        let expected = [Entry::Opened, message, Entry::Closed(CloseReason::ServerDisconnect)];

        let (mut socket, sid) = WebSocket::open(server.addr());
        socket.send("4end");
        assert_eq!(log_after_end(&server, &sid), expected, "WebSocket");

        let mut polling = Polling::open(server.addr());
        polling.start_poll();
        polling.try_post("4end");
        assert_eq!(log_after_end(&server, &polling.sid), expected, "polling");
    });
}

#[test]
fn disconnect_callback_follows_the_open_callback() {
    for_each_config(|config| {
        let server = SelfClosing::start(config, true);
        let expected = [Entry::Opened, Entry::Closed(CloseReason::ServerDisconnect)];
        let (_socket, sid) = WebSocket::open(server.addr());
        assert_eq!(log_after_end(&server, &sid), expected, "WebSocket");
        let polling = Polling::open(server.addr());
        assert_eq!(log_after_end(&server, &polling.sid), expected, "polling");
    });
}

/// Opens a session over each transport, and an upgraded one.
fn open_three(server: &TestServer) -> (WebSocket, Polling, (Polling, WebSocket), [Sid; 3]) {
    let (socket, direct) = WebSocket::open(server.addr());
    let polling = Polling::open(server.addr());
    let before = Polling::open(server.addr());
    let mut after = WebSocket::attach(server.addr(), &before.sid);
    after.send("5");
    after.assert_alive();
    let sids = [&direct, &polling.sid, &before.sid].map(|sid| Sid::new(sid).expect("a valid sid"));
    (socket, polling, (before, after), sids)
}

/// Expects `1` and a close frame.
#[track_caller]
fn expect_orderly_close(socket: &mut WebSocket) {
    assert_eq!(socket.text(), "1");
    assert_eq!(socket.expect_close(), Some(1000));
}

#[test]
fn polling_client_receives_close_at_its_next_poll() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        // `docs/protocol.md` 2.8: with a held GET, ...
        let mut held = Polling::open(server.addr());
        held.start_poll();
        held.get.expect_silence(Duration::from_millis(20));
        held.post_ok("4!close");
        assert_eq!(held.poll_response(), "1");
        held.assert_unknown();
        // ... without one, ...
        let mut none = Polling::open(server.addr());
        none.post_ok("4!close");
        // Later messages are discarded.
        none.post_ok("4late");
        assert_eq!(none.poll(), "1");
        none.assert_unknown();
        // ... after queued messages, in as many responses as they need, ...
        let mut queued = Polling::open(server.addr());
        queued.post_ok("4!burst 20\u{1e}4!close");
        let (first, second) = (queued.poll(), queued.poll());
        assert_eq!((first.split('\u{1e}').count(), second.split('\u{1e}').count()), (16, 5));
        assert!(second.ends_with("\u{1e}1"));
        queued.assert_unknown();
        // ... and at once.
        let mut aborted = Polling::open(server.addr());
        aborted.post_ok("4!burst 20\u{1e}4!abort");
        aborted.assert_unknown();
        for polling in [&held, &none, &queued, &aborted] {
            assert_eq!(server.log.close_reason(&polling.sid), CloseReason::ServerDisconnect);
        }
        assert!(!server.log.messages(&none.sid).contains(&Message::Text("late").into()));
    });
}

#[test]
fn close_of_a_polling_session_times_out() {
    for_each_config(|config| {
        let server = TestServer::start(config.close_timeout(Duration::from_millis(150)));
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4!burst 3\u{1e}4!close");
        assert_eq!(server.log.close_reason(&polling.sid), CloseReason::ServerDisconnect);
        polling.assert_unknown();
    });
}

#[test]
fn abort_discards_the_queue_but_performs_the_closing_handshake() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let (mut socket, sid) = WebSocket::open(server.addr());
        socket.send("4!abort");
        expect_orderly_close(&mut socket);
        assert_eq!(server.log.close_reason(&sid), CloseReason::ServerDisconnect);
        let mut held = Polling::open(server.addr());
        held.start_poll();
        held.get.expect_silence(Duration::from_millis(20));
        held.post_ok("4!abort");
        assert_eq!(held.poll_response(), "1");
    });
}

#[test]
fn panic_ends_only_its_session() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let (mut bystander, _) = WebSocket::open(server.addr());
        let (mut socket, sid) = WebSocket::open(server.addr());
        socket.send("4!panic");
        assert_eq!(socket.text(), "1");
        // RFC 6455 7.4.1: "an unexpected condition".
        assert_eq!(socket.expect_close(), Some(1011));
        let mut polling = Polling::open(server.addr());
        polling.hold_poll();
        polling.try_post("4!panic");
        assert_eq!(polling.poll_response(), "1");
        for sid in [sid, polling.sid.clone()] {
            assert_eq!(server.log.close_reason(&sid), CloseReason::HandlerPanicked);
        }
        bystander.assert_alive();
    });
}

#[test]
fn remote_reaches_sessions_of_every_worker() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let remote = server.remote();
        let (mut socket, mut polling, (_, mut after), sids) = open_three(&server);
        assert_eq!(remote.sessions(), 3);
        let carried = [Transport::WebSocket, Transport::Polling, Transport::WebSocket];
        assert_eq!(sids.each_ref().map(|sid| remote.transport(sid)), carried.map(Some));

        let mut expect = |packet: &str| {
            assert_eq!((socket.text(), after.text()), (packet.into(), packet.into()));
            assert_eq!(polling.poll(), packet);
        };
        sids.iter().for_each(|sid| remote.send(sid, "to each").expect("the queue has room"));
        expect("4to each");
        remote.send_many(sids.clone(), "to many").expect("the queue has room");
        expect("4to many");
        remote.broadcast("to all").expect("the queue has room");
        expect("4to all");
        // The order is kept, and binary messages stay binary.
        remote.broadcast(Message::Binary(&[1, 2])).expect("the queue has room");
        (0..50).for_each(|n| remote.broadcast(n.to_string().as_str()).expect("the queue has room"));
        assert_eq!((socket.binary(), after.binary()), (vec![1, 2], vec![1, 2]));
        for n in 0..50 {
            assert_eq!((socket.text(), after.text()), (format!("4{n}"), format!("4{n}")));
        }
        let polled =
            [polling.poll(), polling.poll(), polling.poll(), polling.poll()].join("\u{1e}");
        let numbers = (0..50).map(|n| format!("4{n}"));
        let all: Vec<_> = ["bAQI=".to_owned()].into_iter().chain(numbers).collect();
        assert_eq!(polled, all.join("\u{1e}"));
    });
}

#[test]
fn remote_disconnects_one_session_or_all() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let remote = server.remote();
        let (mut socket, mut polling, (_before, mut after), sids) = open_three(&server);
        polling.start_poll();
        remote.disconnect(&sids[0]);
        expect_orderly_close(&mut socket);
        after.assert_alive();
        eventually("one session less", || remote.sessions() == 2);
        remote.disconnect_all();
        expect_orderly_close(&mut after);
        assert_eq!(polling.poll_response(), "1");
        for sid in &sids {
            assert_eq!(server.log.close_reason(sid.as_str()), CloseReason::ServerDisconnect);
            assert_eq!(remote.transport(sid), None);
            // The session has ended: no effect.
            _ = remote.send(sid, "too late");
            remote.disconnect(sid);
        }
        // A sid that was never issued, and one that has another form.
        for foreign in ["AAAAAAAAAAAAAAAAAAAAAAAA", "x"] {
            let sid = Sid::new(foreign).expect("a valid sid");
            let sent = remote.send(&sid, "unknown");
            assert!(foreign.len() > 1 || sent == Err(SendError::Closed));
            assert_eq!(remote.transport(&sid), None);
        }
        WebSocket::open(server.addr()).0.assert_alive();
    });
}
