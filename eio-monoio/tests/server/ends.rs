//! The end of sessions and of the server when a handler or a peer never finishes: `disconnect` is called once for each
//! `open`, and a shutdown waits for its grace only.

use std::future::pending;
use std::time::{Duration, Instant};

use eio_monoio::{
    CloseReason, Config, ConnectRequest, Dispatch, Handler, Message, OwnedMessage, Refusal, Server,
    Socket,
};

use crate::support::configs::for_each_config;
use crate::support::connection::Connection;
use crate::support::log::{Entry, Log};
use crate::support::polling::{Polling, sid_of};
use crate::support::request::{POLLING, Request, WEBSOCKET, target};
use crate::support::test_server::TestServer;
use crate::support::wait::{TIMEOUT, eventually};
use crate::support::websocket::WebSocket;

/// Longer than [`TIMEOUT`]: a test that waits this long fails.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(200);

/// `open` never ends with the query `stuck=1`, and `message` never does with the text `stuck`. A future that is dropped
/// before it ends is noted. `disconnect` waits for the messages that were not sent.
struct Stuck {
    log: Log,
}

struct NoteDrop(Log);

impl Drop for NoteDrop {
    fn drop(&mut self) {
        self.0.note("dropped");
    }
}

impl Handler for Stuck {
    type Session = bool;

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<bool, Refusal> {
        if request.query("never").is_some() {
            self.log.note("connecting");
            pending::<()>().await;
        }
        Ok(request.query("stuck").is_some())
    }

    async fn open(&self, socket: &Socket<bool>) {
        self.log.push(socket, Entry::Opened);
        if *socket.data() {
            let _note = NoteDrop(self.log.clone());
            pending::<()>().await;
        }
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<bool>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        self.log.push(socket, Entry::Message(message.into()));
        let stuck = message == Message::Text("stuck");
        async move {
            if stuck {
                let _note = NoteDrop(self.log.clone());
                pending::<()>().await;
            }
        }
    }

    async fn disconnect(&self, socket: &Socket<bool>, reason: CloseReason) {
        socket.undelivered().await;
        self.log.push(socket, Entry::Closed(reason));
    }
}

fn server(config: Config) -> TestServer {
    TestServer::run(config, |log| Stuck { log: log.clone() })
}

/// Waits until the handler of a session is stuck in `message`.
fn wait_for_message(log: &Log, sid: &str) {
    eventually("the message", || log.messages(sid).contains(&OwnedMessage::Text("stuck".into())));
}

/// Fails unless the future was dropped first, and then `disconnect` was called, once.
#[track_caller]
fn expect_dropped_then_closed(log: &Log, sid: &str, reason: CloseReason) {
    assert_eq!(log.close_reason(sid), reason);
    let all = log.all();
    let dropped = all
        .iter()
        .position(|(_, entry)| *entry == Entry::Message(OwnedMessage::Text("dropped".into())));
    let closed = all.iter().position(|(of, entry)| of == sid && matches!(entry, Entry::Closed(_)));
    assert!(dropped.is_some() && dropped < closed, "{all:?}");
}

#[test]
fn handler_of_an_ended_session_is_dropped_after_its_grace() {
    for_each_config(|config| {
        let config = config.handler_grace(SHORT);
        // In `message` over WebSocket, with a message after it that is not handled any more.
        let over_socket = server(config.clone());
        let (mut socket, sid) = WebSocket::open(over_socket.addr());
        socket.send("4stuck");
        socket.send("4next");
        wait_for_message(&over_socket.log, &sid);
        drop(socket);
        expect_dropped_then_closed(&over_socket.log, &sid, CloseReason::TransportClose);
        assert_eq!(over_socket.log.messages(&sid).len(), 1);

        // In `message` over polling.
        let over_polling = server(config.clone());
        let mut polling = Polling::open(over_polling.addr());
        polling.post_ok("4stuck");
        polling.post_ok("1");
        expect_dropped_then_closed(&over_polling.log, &polling.sid, CloseReason::ClientDisconnect);

        // In `open` over both.
        let opening = server(config);
        let (socket, sid) = WebSocket::open_at(opening.addr(), &format!("{WEBSOCKET}&stuck=1"));
        drop(socket);
        expect_dropped_then_closed(&opening.log, &sid, CloseReason::TransportClose);
        let mut polling = Polling::open_with(opening.addr(), "&stuck=1");
        polling.post_ok("1");
        assert_eq!(opening.log.close_reason(&polling.sid), CloseReason::ClientDisconnect);
        opening.wait_for_counts(0, 2);
        assert_eq!(opening.log.notes(), ["dropped", "dropped"]);
    });
}

#[test]
fn handler_that_ends_within_its_grace_is_not_dropped() {
    for_each_config(|config| {
        let server = server(config.handler_grace(LONG));
        let (mut socket, sid) = WebSocket::open(server.addr());
        socket.send("4stuck");
        wait_for_message(&server.log, &sid);
        drop(socket);
        eventually("the end of the session", || server.remote().sessions() == 0);
        // Not yet, by any of the timers of a worker.
        std::thread::sleep(SHORT);
        assert_eq!(server.log.of(&sid).len(), 2, "{:?}", server.log.all());
    });
}

#[test]
fn concurrent_handlers_of_an_ended_session_are_dropped_too() {
    for_each_config(|config| {
        let server = server(config.dispatch(Dispatch::Concurrent).handler_grace(SHORT));
        let (mut socket, sid) = WebSocket::open(server.addr());
        socket.send("4stuck");
        socket.send("4stuck");
        eventually("both messages", || server.log.messages(&sid).len() == 2);
        drop(socket);
        assert_eq!(server.log.close_reason(&sid), CloseReason::TransportClose);
        eventually("both drops", || server.log.notes() == ["dropped", "dropped"]);
    });
}

/// A peer or a handler that never finishes; what it returns is dropped after the shutdown.
type Case = fn(&TestServer) -> Box<dyn std::any::Any>;

const CASES: [(&str, Case); 12] = [
    ("a connection without a request", |server| Box::new(Connection::open(server.addr()))),
    ("half a head", |server| {
        let mut conn = Connection::open(server.addr());
        conn.write("GET /engine.io/?EIO=4&tr");
        Box::new(conn)
    }),
    ("half a head after a request", |server| {
        let mut conn = Connection::open(server.addr());
        assert_eq!(conn.request(&Request::get(POLLING)).status, 200);
        conn.write("GET /engine.io/?EIO=4&tr");
        Box::new(conn)
    }),
    ("half a POST", |server| {
        let mut polling = Polling::open(server.addr());
        polling.begin_post("4unfinished");
        Box::new(polling)
    }),
    ("half a body on another path", |server| {
        let mut conn = Connection::open(server.addr());
        let bytes = Request::post("/other", "a body").bytes();
        conn.write(&bytes[..bytes.len() - 1]);
        Box::new(conn)
    }),
    ("an upgrade that says nothing", |server| {
        let polling = Polling::open(server.addr());
        let socket = WebSocket::attach(server.addr(), &polling.sid);
        Box::new((polling, socket))
    }),
    ("an upgrade after its probe", |server| {
        let polling = Polling::open(server.addr());
        let mut socket = WebSocket::attach(server.addr(), &polling.sid);
        socket.probe();
        Box::new((polling, socket))
    }),
    ("a WebSocket that does not close", |server| Box::new(WebSocket::open(server.addr()))),
    ("a handler in `connect`", |server| {
        let mut conn = Connection::open(server.addr());
        conn.send(&Request::get(&format!("{POLLING}&never=1")));
        eventually("the handler", || server.log.notes() == ["connecting"]);
        Box::new(conn)
    }),
    ("a handler in `open`", |server| {
        Box::new(WebSocket::open_at(server.addr(), &format!("{WEBSOCKET}&stuck=1")))
    }),
    ("a handler of a WebSocket", |server| {
        let (mut socket, sid) = WebSocket::open(server.addr());
        socket.send("4stuck");
        wait_for_message(&server.log, &sid);
        Box::new(socket)
    }),
    ("a handler of a polling session", |server| {
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4stuck");
        wait_for_message(&server.log, &polling.sid);
        Box::new(polling)
    }),
];

/// Shuts a server down while `case` never finishes.
fn shut_down_during(name: &str, case: Case, config: Config) {
    let log = Log::default();
    let shared = log.clone();
    let running = Server::new(move || Stuck { log: shared.clone() }).config(config);
    let server = TestServer::of(running.bind("127.0.0.1:0").expect("the server starts"), log);
    let held = case(&server);
    let begun = Instant::now();
    let log = server.log.clone();
    drop(server);
    // The timeouts of everything but the grace are longer than this.
    assert!(begun.elapsed() < TIMEOUT, "{name}: the shutdown took {:?}", begun.elapsed());
    if std::env::var_os("EIO_TEST_PRINT").is_some() {
        eprintln!("{name}: {:?}", begun.elapsed());
    }
    let count = |is: fn(&Entry) -> bool| log.all().iter().filter(|(_, entry)| is(entry)).count();
    let opened = count(|entry| *entry == Entry::Opened);
    let closed = count(|entry| *entry == Entry::Closed(CloseReason::ServerDisconnect));
    assert_eq!(opened, closed, "{name}: {:?}", log.all());
    drop(held);
}

#[test]
fn shutdown_waits_for_its_grace_only() {
    for dispatch in [Dispatch::InOrder, Dispatch::Concurrent] {
        for_each_config(|config| {
            let config = config
                .dispatch(dispatch)
                .shutdown_grace(SHORT)
                .shutdown_timeout(LONG)
                .handler_grace(LONG)
                .upgrade_timeout(LONG)
                .close_timeout(LONG)
                .connect_timeout(LONG)
                .head_timeout(LONG)
                .body_timeout(LONG);
            for (name, case) in CASES {
                shut_down_during(name, case, config.clone());
            }
        });
    }
}

#[test]
fn pending_connect_is_answered_503_in_a_shutdown() {
    for_each_config(|config| {
        let config = config.shutdown_grace(SHORT).shutdown_timeout(LONG).connect_timeout(LONG);
        let log = Log::default();
        let shared = log.clone();
        let server = Server::new(move || Stuck { log: shared.clone() }).config(config);
        let running = server.bind("127.0.0.1:0").expect("the server starts");
        let mut conn = Connection::open(running.local_addr());
        conn.send(&Request::get(&format!("{POLLING}&never=1")));
        eventually("the handler", || log.notes() == ["connecting"]);
        running.shutdown();
        let response = conn.response();
        assert_eq!((response.status, response.header("Retry-After")), (503, Some("1")));
        drop(conn);
        running.join().expect("a clean shutdown");
    });
}

#[test]
fn lost_post_of_a_closing_session_is_a_server_disconnect() {
    for_each_config(|config| {
        let server = server(config.close_timeout(LONG));
        let mut polling = Polling::open(server.addr());
        let rest = polling.begin_post("4unfinished");
        assert_eq!(rest.len(), 1);
        server.remote().disconnect(&eio_monoio::Sid::new(&polling.sid).expect("a sid"));
        // It is answered after the disconnect, as both go by the same mailbox.
        assert!(server.remote().transport(&eio_monoio::Sid::new(&polling.sid).unwrap()).is_some());
        polling.post.reset_on_close();
        let sid = polling.sid.clone();
        drop(polling);
        assert_eq!(server.log.close_reason(&sid), CloseReason::ServerDisconnect);
    });
}

#[test]
fn unavailable_says_when_to_try_again() {
    for_each_config(|config| {
        let config = config.shutdown_grace(LONG).shutdown_timeout(LONG).close_timeout(LONG);
        let log = Log::default();
        let shared = log.clone();
        let server = Server::new(move || Stuck { log: shared.clone() }).config(config);
        let running = server.bind("127.0.0.1:0").expect("the server starts");
        let mut polling = Polling::open(running.local_addr());
        assert!(running.remote().is_ready());
        running.shutdown();
        assert!(!running.remote().is_ready());
        let ask =
            |target: &str| Connection::open(running.local_addr()).request(&Request::get(target));
        let mut refused = ask(POLLING);
        while refused.status == 200 {
            // The worker has not received the shutdown yet, and has to close this session too.
            let sid = sid_of(refused.text()).to_owned();
            assert_eq!(ask(&target(&sid)).text(), "1");
            refused = ask(POLLING);
        }
        assert_eq!((refused.status, refused.header("Retry-After")), (503, Some("1")));
        assert_eq!(ask(&target(&polling.sid)).text(), "1");
        polling.get.expect_closed();
        drop(polling);
        running.join().expect("a clean shutdown");
    });
}
