//! Timeouts of connections, requests, responses and callbacks. None affects other clients.

use std::future::pending;
use std::time::{Duration, Instant};

use eio_monoio::{CloseReason, Config, ConnectRequest, Handler, Message, Refusal, Socket};

use crate::support::configs::for_each_config;
use crate::support::connection::Connection;
use crate::support::polling::Polling;
use crate::support::request::{POLLING, Request, WEBSOCKET, target};
use crate::support::test_server::TestServer;
use crate::support::wait::TIMEOUT;

/// Short enough to wait for, long enough for the steps before on a busy machine.
const SHORT: Duration = Duration::from_millis(500);

#[test]
fn silent_connection_is_closed() {
    for_each_config(|config| {
        let server = TestServer::start(config.head_timeout(SHORT));
        let mut bystander = Polling::open(server.addr());
        // Both connections have had a request: their limit is the idle timeout, one minute.
        bystander.assert_alive();
        let begun = Instant::now();
        let mut silent: Vec<_> = (0..5).map(|_| Connection::open(server.addr())).collect();
        // Without a response, because there was no request.
        silent.iter_mut().for_each(Connection::expect_eof);
        assert!(begun.elapsed() >= SHORT, "too soon: {:?}", begun.elapsed());
        server.wait_for_counts(1, 2);
        bystander.assert_alive();
    });
}

#[test]
fn incomplete_head_times_out() {
    for_each_config(|config| {
        let server = TestServer::start(config.head_timeout(SHORT));
        let mut bystander = Polling::open(server.addr());
        // Both connections have had a request: their limit is the idle timeout, one minute.
        bystander.assert_alive();
        let bytes = Request::get(POLLING).bytes();
        let mut first = Connection::open(server.addr());
        first.write(&bytes[..bytes.len() - 1]);
        // The same after a request that was answered; the idle timeout would be a minute.
        let mut second = Connection::open(server.addr());
        second.write([&*bytes, &bytes[..10]].concat());
        assert_eq!(second.response().status, 200);
        // A byte now and then does not extend the timeout.
        let mut trickling = Connection::open(server.addr());
        let deadline = Instant::now() + TIMEOUT;
        // The value of a header without an end.
        trickling.write(&bytes[..bytes.len() - 4]);
        let refused = loop {
            _ = trickling.try_write("x");
            if let Ok(response) = trickling.try_response(Duration::from_millis(20)) {
                break response;
            }
            assert!(Instant::now() < deadline, "kept open by single bytes");
        };
        for (conn, response) in
            [(&mut first, None), (&mut second, None), (&mut trickling, Some(refused))]
        {
            let response = response.unwrap_or_else(|| conn.response());
            response.assert(408, "");
            assert_eq!(response.header("Connection"), Some("close"));
        }
        drop((first, second, trickling));
        server.wait_for_counts(2, 2);
        bystander.assert_alive();
    });
}

#[test]
fn incomplete_body_times_out() {
    for_each_config(|config| {
        let server = TestServer::start(config.body_timeout(SHORT));
        let mut bystander = Polling::open(server.addr());
        let mut polling = Polling::open(server.addr());
        polling.hold_poll();
        polling.begin_post("4incomplete");
        polling.post.response().assert(408, "");
        polling.post.expect_eof();
        assert_eq!(polling.poll_response(), "1");
        assert_eq!(server.log.close_reason(&polling.sid), CloseReason::TransportError);
        assert_eq!(server.log.messages(&polling.sid), []);
        drop(polling);

        // Also after a 100 (Continue).
        let polling = Polling::open(server.addr());
        let request = Request::new("POST", &target(&polling.sid)).header("Expect", "100-continue");
        let mut conn = Connection::open(server.addr());
        conn.send(&request.header("Content-Length", "2"));
        assert_eq!(conn.response().status, 100);
        conn.response().assert(408, "");
        assert_eq!(server.log.close_reason(&polling.sid), CloseReason::TransportError);

        // And for a request to another path.
        let mut other = Connection::open(server.addr());
        let request = Request::new("POST", "/other").header("Expect", "100-continue");
        other.send(&request.header("Content-Length", "2"));
        assert_eq!(other.response().status, 100);
        other.response().assert(408, "");

        drop((polling, conn, other));
        bystander.assert_alive();
        server.wait_for_counts(1, 2);
    });
}

#[test]
fn idle_connection_is_closed_but_a_held_get_is_not_idle() {
    for_each_config(|config| {
        let server = TestServer::start(config.idle_timeout(SHORT).head_timeout(SHORT));
        let mut polling = Polling::open(server.addr());
        polling.hold_poll();
        let mut idle = Connection::open(server.addr());
        assert_eq!(idle.request(&Request::get("/engine.io/")).status, 400);
        idle.expect_eof();
        polling.post.expect_eof();
        // Longer than either timeout in total.
        std::thread::sleep(SHORT / 2);
        polling.post = Connection::open(server.addr());
        polling.post_ok("4still held");
        assert_eq!(polling.poll_response(), "4still held");
        drop(idle);
        server.wait_for_counts(1, 2);
    });
}

#[test]
fn peer_that_does_not_read_its_response_is_disconnected() {
    // More than the socket buffers of both sides hold.
    const LARGE: usize = 24 << 20;
    for_each_config(|config| {
        let config = config.write_timeout(SHORT).max_payload(LARGE).outbound_high_water(LARGE);
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        let sid = eio_monoio::Sid::new(&polling.sid).expect("a valid sid");
        polling.start_poll();
        server.remote().send(&sid, "x".repeat(LARGE).as_str()).expect("the queue has room");
        // The packets are lost, so the session must end.
        assert_eq!(server.log.close_reason(&polling.sid), CloseReason::TransportError);
        polling.assert_unknown();
        server.wait_for_counts(0, 1);
        let mut bystander = Polling::open(server.addr());
        bystander.assert_alive();
        polling.get.expect_closed();
    });
}

/// Never decides about a session or request.
struct Undecided;

impl Handler for Undecided {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        pending().await
    }

    fn message<'s>(&'s self, _: &Socket<()>, _: Message<'_>) -> impl Future<Output = ()> + use<'s> {
        async {}
    }

    async fn request(
        &self,
        _: http::Request<Vec<u8>>,
    ) -> http::Response<std::borrow::Cow<'static, [u8]>> {
        pending().await
    }
}

#[test]
fn pending_connect_callback_times_out() {
    for_each_config(|config: Config| {
        let server = TestServer::run(config.connect_timeout(SHORT), |_| Undecided);
        let mut conns: Vec<_> = [
            Request::get(POLLING),
            Request::upgrade(WEBSOCKET),
            Request::get("/other"),
            Request::post("/other", "x"),
        ]
        .iter()
        .map(|request| {
            let mut conn = Connection::open(server.addr());
            conn.send(request);
            conn
        })
        .collect();
        for conn in &mut conns {
            let response = conn.response();
            assert_eq!(response.status, 503, "{response:?}");
            // The connection stays open.
            assert_eq!(conn.request(&Request::get("/engine.io/")).status, 400);
        }
        drop(conns);
        server.wait_until_empty();
    });
}
