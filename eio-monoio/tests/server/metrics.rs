//! The metrics of a server, in the text format of Prometheus.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use eio_monoio::{
    CloseReason, ConnectRequest, Handler, Message, Metrics, Refusal, Remote, Server, Socket,
    Transport,
};
use http::{Request as HttpRequest, Response, header};

use crate::support::configs::{default_config, for_each_config};
use crate::support::connection::Connection;
use crate::support::polling::Polling;
use crate::support::prometheus::{parse, scrape, sum};
use crate::support::refusals::UNKNOWN_SID;
use crate::support::request::{POLLING, Request, target};
use crate::support::test_server::TestServer;
use crate::support::wait::eventually;
use crate::support::websocket::WebSocket;

/// Echoes; answers `!fill` with 1000 bytes and `!flood` with 32 MiB; serves `/metrics`.
struct Counted;

impl Handler for Counted {
    type Session = ();

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<(), Refusal> {
        match request.query("refuse") {
            Some(_) => Err(Refusal::unauthorized()),
            None => Ok(()),
        }
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        match message {
            Message::Text("!fill") => socket.send_volatile("x".repeat(1000).as_str()),
            // More than any socket buffer holds.
            Message::Text("!flood") => socket.send_volatile(&vec![7; 32 << 20][..]),
            message => socket.send_volatile(message),
        }
        async {}
    }

    async fn request(&self, _: HttpRequest<Vec<u8>>) -> Response<Cow<'static, [u8]>> {
        let server = Remote::current().expect("a handler runs on a worker");
        let text = server.metrics().to_string();
        Response::builder()
            .header(header::CONTENT_TYPE, Metrics::CONTENT_TYPE)
            .body(Cow::Owned(text.into_bytes()))
            .expect("a response")
    }
}

/// The sums of series, by name and label, at the end of `every_event_is_counted_once`.
const EXPECTED: [(&str, &str, f64); 27] = [
    ("eio_sessions", "transport=\"polling\"", 2.0),
    ("eio_sessions", "transport=\"websocket\"", 4.0),
    ("eio_sessions_opened_total", "transport=\"polling\"", 4.0),
    ("eio_sessions_opened_total", "transport=\"websocket\"", 3.0),
    ("eio_sessions_closed_total", "", 1.0),
    ("eio_sessions_closed_total", "reason=\"client_disconnect\"", 1.0),
    ("eio_upgrades_started_total", "", 1.0),
    ("eio_upgrades_total", "result=\"completed\"", 1.0),
    ("eio_upgrades_total", "result=\"failed\"", 0.0),
    ("eio_messages_received_total", "transport=\"polling\"", 5.0),
    ("eio_messages_received_total", "transport=\"websocket\"", 16.0),
    ("eio_messages_sent_total", "", 21.0),
    ("eio_refusals_total", "status=\"400\"", 3.0),
    ("eio_refusals_total", "status=\"401\"", 1.0),
    ("eio_refusals_total", "status=\"503\"", 0.0),
    ("eio_connection_errors_total", "code=\"1\"", 3.0),
    ("eio_connection_errors_total", "", 3.0),
    ("eio_queued_bytes", "", 0.0),
    ("eio_tls_failures_total", "", 0.0),
    ("eio_messages_dropped_total", "", 0.0),
    ("eio_messages_undelivered_total", "", 0.0),
    ("eio_lost_bytes_total", "", 0.0),
    ("eio_handler_seconds_count", "handler=\"open\"", 7.0),
    ("eio_handler_seconds_count", "handler=\"connect\"", 8.0),
    ("eio_handler_seconds_count", "handler=\"disconnect\"", 1.0),
    ("eio_handshake_seconds_count", "transport=\"polling\"", 4.0),
    ("eio_handshake_seconds_count", "transport=\"websocket\"", 3.0),
];

/// The sums that are not as expected.
fn differences(address: SocketAddr) -> Vec<(f64, (&'static str, &'static str, f64))> {
    let series = scrape(address);
    let counted = EXPECTED.iter().map(|(name, label, _)| sum(&series, name, label));
    counted.zip(EXPECTED).filter(|(is, (.., expected))| is != expected).collect()
}

#[test]
fn every_event_is_counted_once() {
    for_each_config(|config| {
        let server = TestServer::run(config, |_| Counted);
        let address = server.addr();
        let mut polling: Vec<_> = (0..4).map(|_| Polling::open(address)).collect();
        let mut sockets: Vec<_> = (0..3).map(|_| WebSocket::open(address).0).collect();
        for session in &mut polling {
            session.try_post("4hello").assert(200, "ok");
            assert_eq!(session.poll(), "4hello");
        }
        for socket in &mut sockets {
            (0..5).for_each(|_| socket.assert_alive());
        }
        let mut upgraded = polling.pop().expect("a session");
        let mut socket = WebSocket::attach(address, &upgraded.sid);
        socket.probe();
        upgraded.start_poll();
        upgraded.get.response().assert(200, "6");
        socket.send("5");
        socket.assert_alive();

        let get = |target: &str| Connection::open(address).request(&Request::get(target));
        (0..3).for_each(|_| get(&target("unknown")).assert(400, UNKNOWN_SID));
        assert_eq!(get(&format!("{POLLING}&refuse=1")).status, 401);
        polling.pop().expect("a session").try_post("1").assert(200, "ok");

        let full = &mut polling[0];
        full.try_post("4!fill").assert(200, "ok");
        eventually("queued bytes", || sum(&scrape(address), "eio_queued_bytes", "") >= 1000.0);
        assert_eq!(full.poll().len(), 1001);

        // The client may receive an answer a moment before the worker counts it.
        eventually("the expected numbers", || differences(address).is_empty());

        // Each message has a frame, each response a head.
        let total = server.remote().metrics().total();
        assert!(total.bytes_received() > 16 * 17 + 1000, "{total:?}");
        assert!(total.bytes_sent() > 16 * 12 + 1000, "{total:?}");
        assert!(total.connections_accepted() >= 15, "{total:?}");
        if server.running().workers() == 1 {
            assert_eq!(total.connections_moved(), 0);
        } else {
            // Sooner or later the kernel gives a connection to another worker.
            eventually("a connection that moves", || {
                Connection::open(address)
                    .request(&Request::post(&target(&polling[0].sid), "4hello"));
                server.remote().metrics().total().connections_moved() > 0
            });
            assert!(polling[0].poll().starts_with("4hello"));
        }

        drop((polling, sockets, socket, upgraded));
        eventually("the end of the WebSockets", || {
            let total = server.remote().metrics().total();
            total.sessions(Transport::WebSocket) == 0
                && total.sessions_closed(CloseReason::TransportClose) == 4
                && total.bytes_queued() == 0
        });
        let metrics = server.remote().metrics();
        assert_eq!(metrics.total().sessions(Transport::Polling), 2);
        assert_eq!(metrics.workers.len(), server.running().workers());
    });
}

#[test]
fn queued_bytes_of_a_slow_client_are_counted_until_its_end() {
    for_each_config(|config| {
        let server = TestServer::run(config, |_| Counted);
        let (mut socket, _) = WebSocket::open(server.addr());
        let queued = || server.remote().metrics().total().bytes_queued();
        socket.send("4!flood");
        eventually("a queue", || queued() >= 16 << 20);
        drop(socket);
        eventually("the end of the queue", || queued() == 0);
        server.wait_until_empty();
    });
}

#[test]
fn refused_connection_is_counted() {
    let server = TestServer::run(default_config().max_connections(2), |_| Counted);
    let _both = Polling::open(server.addr());
    assert_eq!(Connection::open(server.addr()).response().status, 503);
    eventually("the refusal", || server.remote().metrics().total().refusals(503) == 1);
}

#[test]
fn failed_upgrade_is_counted() {
    let config = default_config().upgrade_timeout(Duration::from_millis(50));
    let server = TestServer::run(config, |_| Counted);
    let session = Polling::open(server.addr());
    let _silent = WebSocket::attach(server.addr(), &session.sid);
    eventually("the failure", || server.remote().metrics().total().upgrades_failed() == 1);
    let total = server.remote().metrics().total();
    assert_eq!((total.upgrades_started(), total.upgrades()), (1, 0));
    assert_eq!(total.sessions(Transport::Polling), 1);
}

#[test]
fn thread_outside_the_server_has_no_current_remote() {
    assert!(Remote::current().is_none());
    let running = Server::new(|| Counted).config(default_config()).bind("127.0.0.1:0");
    let metrics = running.expect("the server starts").remote().metrics();
    assert_eq!((metrics.workers.len(), metrics.connections), (2, 0));
    parse(&metrics.to_string());
}
