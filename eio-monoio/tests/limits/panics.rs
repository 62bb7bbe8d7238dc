//! A panic of the application ends the session it was for, and nothing else.

use std::borrow::Cow;

use crate::support::app::{Entry, Host, Log, eventually};
use crate::support::matrix::everywhere;
use crate::support::wire::{CLOSE, POLLING, Polling, Request, WEBSOCKET, WebSocket, Wire, opening};
use eio_monoio::{
    CloseReason, Config, ConnectRequest, Dispatch, Handler, Message, Refusal, Socket,
};

/// Panics where the session's data says, for messages at the text `fatal`; echoes the rest.
struct Fragile {
    log: Log,
}

impl Handler for Fragile {
    type Session = String;

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<String, Refusal> {
        let place = request.query("panic").unwrap_or_default();
        assert_ne!(place, "connect", "as told");
        Ok(place.to_owned())
    }

    async fn open(&self, socket: &Socket<String>) {
        assert_ne!(socket.data(), "open", "as told");
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<String>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        let fatal = message == Message::Text("fatal");
        assert!(!fatal || socket.data() != "message", "as told");
        _ = socket.try_send(message);
        let socket = socket.clone();
        async move {
            socket.drained().await;
            assert!(!fatal || socket.data() != "future", "as told");
        }
    }

    async fn disconnect(&self, socket: &Socket<String>, reason: CloseReason) {
        self.log.push(socket, Entry::Closed(reason));
        assert_ne!(socket.data(), "disconnect", "as told");
    }

    async fn request(&self, request: http::Request<Vec<u8>>) -> http::Response<Cow<'static, [u8]>> {
        assert_ne!(request.uri().path(), "/panic", "as told");
        http::Response::new(Cow::Borrowed(b"fine"))
    }
}

fn fragile(config: Config) -> Host {
    Host::run(config, |log| Fragile { log: log.clone() })
}

#[test]
fn a_panic_in_connect_never_opens_a_session() {
    everywhere(|config| {
        let host = fragile(config);
        let mut bystander = Polling::open(host.addr());
        let mut wire = Wire::connect(host.addr());
        for request in [
            Request::get(&format!("{POLLING}&panic=connect")),
            opening(&format!("{WEBSOCKET}&panic=connect")),
        ] {
            wire.request(&request).assert(500, r#""Internal Server Error""#);
        }
        bystander.assert_alive();
        drop(wire);
        host.settles_at(1, 2);
    });
}

#[test]
fn a_panic_never_ends_more_than_its_own_session() {
    everywhere(|config| {
        let host = fragile(config);
        let mut bystander = Polling::open(host.addr());
        for place in ["open", "message", "future"] {
            let mut polling = Polling::open_with(host.addr(), &format!("&panic={place}"));
            if place != "open" {
                polling.say("4fatal\x1e4behind");
            }
            assert_eq!(
                host.log.close_reason(&polling.sid),
                CloseReason::HandlerPanicked,
                "{place}"
            );
            polling.assert_unknown();

            let target = format!("{WEBSOCKET}&panic={place}");
            let mut socket = WebSocket::connect(host.addr(), &target);
            let sid = crate::support::wire::sid_of(&socket.text());
            socket.send("4fatal");
            if place == "future" {
                // Its echo was sent before.
                assert_eq!(socket.text(), "4fatal");
            }
            assert_eq!(socket.text(), "1", "{place}");
            let close = socket.frame();
            // RFC 6455 7.4.1: 1011, "an unexpected condition".
            assert_eq!((close.first, &*close.payload), (CLOSE, &1011_u16.to_be_bytes()[..]));
            assert_eq!(host.log.close_reason(&sid), CloseReason::HandlerPanicked, "{place}");
        }
        bystander.assert_alive();
        host.settles_at(1, 2);
    });
}

#[test]
fn a_held_get_never_outlives_a_panic() {
    everywhere(|config| {
        let host = fragile(config);
        let mut polling = Polling::open_with(host.addr(), "&panic=message");
        polling.hold_poll_behind("4x", "4x");
        polling.say("4fatal");
        assert_eq!(polling.polled(), "1");
        polling.assert_unknown();
    });
}

#[test]
fn a_panic_in_a_concurrent_message_never_passes_unnoticed() {
    everywhere(|config| {
        let host = fragile(config.dispatch(Dispatch::Concurrent));
        for place in ["message", "future"] {
            let mut polling = Polling::open_with(host.addr(), &format!("&panic={place}"));
            polling.say("4fatal");
            assert_eq!(host.log.close_reason(&polling.sid), CloseReason::HandlerPanicked);
        }
        host.empties();
    });
}

#[test]
fn a_panic_in_disconnect_never_keeps_anything() {
    everywhere(|config| {
        let host = fragile(config);
        for _ in 0..10 {
            let mut polling = Polling::open_with(host.addr(), "&panic=disconnect");
            polling.say("1");
            assert_eq!(host.log.close_reason(&polling.sid), CloseReason::ClientDisconnect);
        }
        Polling::open(host.addr()).assert_alive();
        host.settles_at(1, 0);
    });
}

#[test]
fn a_panic_in_request_never_ends_the_connection() {
    everywhere(|config| {
        let host = fragile(config);
        let mut wire = Wire::connect(host.addr());
        for _ in 0..3 {
            wire.request(&Request::get("/panic")).assert(500, "");
            wire.request(&Request::get("/")).assert(200, "fine");
        }
    });
}

/// Panics when it is dropped.
struct Bomb(Log, String);

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.note(&self.1);
        panic!("as told");
    }
}

/// Keeps what panics when it is dropped in sessions, in futures that do not end, and in itself.
struct Mined {
    log: Log,
    _own: Bomb,
}

impl Handler for Mined {
    type Session = Bomb;

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<Bomb, Refusal> {
        Ok(Bomb(self.log.clone(), request.query("name").unwrap_or_default().to_owned()))
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<Bomb>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        _ = socket.try_send(message);
        let held = (message == Message::Text("hold"))
            .then(|| Bomb(self.log.clone(), "a future".to_owned()));
        async move {
            if held.is_some() {
                std::future::pending::<()>().await;
            }
        }
    }
}

#[test]
fn a_panic_while_data_is_dropped_never_takes_a_core_down() {
    everywhere(|config| {
        let host = Host::run(config, |log| Mined {
            log: log.clone(),
            _own: Bomb(log.clone(), "the handler".to_owned()),
        });
        let mut bystander = Polling::open_with(host.addr(), "&name=bystander");
        let (log, remote) = (host.log.clone(), host.remote());
        let noted = |what: &str| log.notes().iter().filter(|note| *note == what).count();
        for _ in 0..3 {
            Polling::open_with(host.addr(), "&name=polling").say("1");
            let mut socket = WebSocket::connect(host.addr(), &format!("{WEBSOCKET}&name=socket"));
            socket.text();
            drop(socket);
        }
        eventually("the sessions' ends", || noted("polling") == 3 && noted("socket") == 3);
        bystander.assert_alive();
        assert_eq!(noted("bystander"), 0);
        Polling::open_with(host.addr(), "&name=stuck").say("4hold");
        // Cuts off what does not end.
        drop(host);
        assert_eq!((noted("a future"), noted("stuck"), noted("bystander")), (1, 1, 1));
        assert!(noted("the handler") >= 1);
        assert_eq!((remote.sessions(), remote.connections()), (0, 0));
    });
}
