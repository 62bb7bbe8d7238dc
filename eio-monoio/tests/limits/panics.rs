//! Panics of the application: each ends the session that it belongs to, and nothing else.

use std::borrow::Cow;

use eio_monoio::{
    CloseReason, Config, ConnectRequest, Dispatch, Handler, Message, Refusal, Socket,
};

use crate::support::configs::for_each_config;
use crate::support::connection::Connection;
use crate::support::log::{Entry, Log};
use crate::support::polling::Polling;
use crate::support::request::{POLLING, Request, WEBSOCKET};
use crate::support::test_server::TestServer;
use crate::support::wait::eventually;
use crate::support::websocket::{CLOSE, WebSocket};

/// Panics in the callback that the session's data names, for messages at the text `fatal`; echoes the others.
struct Fragile {
    log: Log,
}

impl Handler for Fragile {
    type Session = String;

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<String, Refusal> {
        let place = request.query("panic").unwrap_or_default();
        assert_ne!(place, "connect", "expected: this test panics");
        Ok(place.into_owned())
    }

    async fn open(&self, socket: &Socket<String>) {
        assert_ne!(socket.data(), "open", "expected: this test panics");
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<String>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        let fatal = message == Message::Text("fatal");
        assert!(!fatal || socket.data() != "message", "expected: this test panics");
        _ = socket.try_send(message);
        let socket = socket.clone();
        async move {
            socket.drained().await;
            assert!(!fatal || socket.data() != "future", "expected: this test panics");
        }
    }

    async fn disconnect(&self, socket: &Socket<String>, reason: CloseReason) {
        self.log.push(socket, Entry::Closed(reason));
        assert_ne!(socket.data(), "disconnect", "expected: this test panics");
    }

    async fn request(&self, request: http::Request<Vec<u8>>) -> http::Response<Cow<'static, [u8]>> {
        assert_ne!(request.uri().path(), "/panic", "expected: this test panics");
        http::Response::new(Cow::Borrowed(b"fine"))
    }
}

fn fragile(config: Config) -> TestServer {
    TestServer::run(config, |log| Fragile { log: log.clone() })
}

#[test]
fn panic_in_connect_opens_no_session() {
    for_each_config(|config| {
        let server = fragile(config);
        let mut bystander = Polling::open(server.addr());
        let mut conn = Connection::open(server.addr());
        for request in [
            Request::get(&format!("{POLLING}&panic=connect")),
            Request::upgrade(&format!("{WEBSOCKET}&panic=connect")),
        ] {
            conn.request(&request).assert(500, r#""Internal Server Error""#);
        }
        bystander.assert_alive();
        drop(conn);
        server.wait_for_counts(1, 2);
    });
}

#[test]
fn panic_ends_only_its_own_session() {
    for_each_config(|config| {
        let server = fragile(config);
        let mut bystander = Polling::open(server.addr());
        for place in ["open", "message", "future"] {
            let mut polling = Polling::open_with(server.addr(), &format!("&panic={place}"));
            if place != "open" {
                polling.post_ok("4fatal\x1e4next");
            }
            assert_eq!(
                server.log.close_reason(&polling.sid),
                CloseReason::HandlerPanicked,
                "{place}"
            );
            polling.assert_unknown();

            let target = format!("{WEBSOCKET}&panic={place}");
            let mut socket = WebSocket::connect(server.addr(), &target);
            let sid = crate::support::polling::sid_of(&socket.text());
            socket.send("4fatal");
            if place == "future" {
                // The echo precedes the panic.
                assert_eq!(socket.text(), "4fatal");
            }
            assert_eq!(socket.text(), "1", "{place}");
            let close = socket.frame();
            // RFC 6455 7.4.1: 1011, "an unexpected condition".
            assert_eq!((close.first, &*close.payload), (CLOSE, &1011_u16.to_be_bytes()[..]));
            assert_eq!(server.log.close_reason(&sid), CloseReason::HandlerPanicked, "{place}");
        }
        bystander.assert_alive();
        server.wait_for_counts(1, 2);
    });
}

#[test]
fn held_get_is_answered_after_a_panic() {
    for_each_config(|config| {
        let server = fragile(config);
        let mut polling = Polling::open_with(server.addr(), "&panic=message");
        polling.hold_poll_after("4x", "4x");
        polling.post_ok("4fatal");
        assert_eq!(polling.poll_response(), "1");
        polling.assert_unknown();
    });
}

#[test]
fn panic_in_a_concurrent_message_ends_the_session() {
    for_each_config(|config| {
        let server = fragile(config.dispatch(Dispatch::Concurrent));
        for place in ["message", "future"] {
            let mut polling = Polling::open_with(server.addr(), &format!("&panic={place}"));
            polling.post_ok("4fatal");
            assert_eq!(server.log.close_reason(&polling.sid), CloseReason::HandlerPanicked);
        }
        server.wait_until_empty();
    });
}

#[test]
fn panic_in_disconnect_leaks_no_session() {
    for_each_config(|config| {
        let server = fragile(config);
        for _ in 0..10 {
            let mut polling = Polling::open_with(server.addr(), "&panic=disconnect");
            polling.post_ok("1");
            assert_eq!(server.log.close_reason(&polling.sid), CloseReason::ClientDisconnect);
        }
        Polling::open(server.addr()).assert_alive();
        server.wait_for_counts(1, 0);
    });
}

#[test]
fn panic_in_request_keeps_the_connection() {
    for_each_config(|config| {
        let server = fragile(config);
        let mut conn = Connection::open(server.addr());
        for _ in 0..3 {
            conn.request(&Request::get("/panic")).assert(500, "");
            conn.request(&Request::get("/")).assert(200, "fine");
        }
    });
}

/// Panics when it is dropped.
struct PanicOnDrop(Log, String);

impl Drop for PanicOnDrop {
    fn drop(&mut self) {
        self.0.note(&self.1);
        panic!("expected: this test panics");
    }
}

/// Keeps values that panic on drop in sessions, in futures that do not end, and in itself.
struct PanicsOnDrop {
    log: Log,
    _own: PanicOnDrop,
}

impl Handler for PanicsOnDrop {
    type Session = PanicOnDrop;

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<PanicOnDrop, Refusal> {
        Ok(PanicOnDrop(self.log.clone(), request.query("name").unwrap_or_default().into_owned()))
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<PanicOnDrop>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        _ = socket.try_send(message);
        let held = (message == Message::Text("hold"))
            .then(|| PanicOnDrop(self.log.clone(), "a future".to_owned()));
        async move {
            if held.is_some() {
                std::future::pending::<()>().await;
            }
        }
    }
}

#[test]
fn panic_in_a_destructor_does_not_stop_a_worker() {
    for_each_config(|config| {
        let server = TestServer::run(config, |log| PanicsOnDrop {
            log: log.clone(),
            _own: PanicOnDrop(log.clone(), "the handler".to_owned()),
        });
        let mut bystander = Polling::open_with(server.addr(), "&name=bystander");
        let (log, remote) = (server.log.clone(), server.remote());
        let noted = |what: &str| log.notes().iter().filter(|note| *note == what).count();
        for _ in 0..3 {
            Polling::open_with(server.addr(), "&name=polling").post_ok("1");
            let mut socket = WebSocket::connect(server.addr(), &format!("{WEBSOCKET}&name=socket"));
            socket.text();
            drop(socket);
        }
        eventually("the end of the sessions", || noted("polling") == 3 && noted("socket") == 3);
        bystander.assert_alive();
        assert_eq!(noted("bystander"), 0);
        Polling::open_with(server.addr(), "&name=stuck").post_ok("4hold");
        // The shutdown cancels the future that does not end.
        drop(server);
        assert_eq!((noted("a future"), noted("stuck"), noted("bystander")), (1, 1, 1));
        assert!(noted("the handler") >= 1);
        assert_eq!((remote.sessions(), remote.connections()), (0, 0));
    });
}
