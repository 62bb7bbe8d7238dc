//! The upgrade from polling to WebSocket: no message is lost, duplicated or reordered (`docs/protocol.md` 2.7).

use std::time::{Duration, Instant};

use eio_monoio::{CloseReason, Message, Sid, Transport};

use crate::support::configs::for_each_config;
use crate::support::connection::Connection;
use crate::support::polling::Polling;
use crate::support::refusals::BAD_REQUEST;
use crate::support::request::{Request, target, upgrade_target};
use crate::support::test_server::TestServer;
use crate::support::websocket::{TEXT, WebSocket, frame, open_probed, open_upgraded};

/// A GET that is answered with a noop.
#[track_caller]
fn poll_noop(polling: &mut Polling) {
    assert_eq!(polling.poll(), "6");
}

#[test]
fn every_poll_during_a_probe_is_answered_with_noop() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        polling.start_poll();
        let mut socket = WebSocket::attach(server.addr(), &polling.sid);
        // `docs/protocol.md` 2.7.1: nothing is sent on it before the probe, and the GET stays held.
        socket.conn.expect_silence(Duration::from_millis(50));
        polling.get.expect_silence(Duration::from_millis(50));
        socket.probe();
        assert_eq!(polling.poll_response(), "6");
        for _ in 0..5 {
            poll_noop(&mut polling);
        }
        socket.send("5");
        socket.assert_alive();
    });
}

#[test]
fn unfetched_noop_is_not_sent_on_the_websocket() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        // No GET during the probe, as the Python and Rust clients do (`docs/protocol.md` 2.7.3).
        let (_polling, mut socket) = open_probed(server.addr());
        socket.send("5");
        socket.conn.expect_silence(Duration::from_millis(100));
        socket.assert_alive();
    });
}

#[test]
fn messages_queued_during_an_upgrade_arrive_exactly_once_and_in_order() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        let mut numbers = Vec::new();
        let mut take = |payload: &str| {
            let packets = payload.split('\u{1e}').filter(|packet| *packet != "6");
            numbers.extend(packets.map(|packet| packet[1..].parse::<usize>().expect("a number")));
        };
        // 100 messages are queued, and a response holds 16: some are sent over polling, the rest over the WebSocket.
        polling.post_ok("4!burst 100");
        take(&polling.poll());
        let mut socket = WebSocket::attach(server.addr(), &polling.sid);
        take(&polling.poll());
        socket.probe();
        take(&polling.poll());
        // A POST between the probe and the upgrade is an ordinary POST.
        polling.post_ok("4100");
        socket.send("5");
        // The remaining messages are the first frames on the WebSocket.
        for _ in 48..=100 {
            take(&socket.text());
        }
        assert_eq!(numbers, (0..=100).collect::<Vec<_>>());
        socket.assert_alive();
    });
}

#[test]
fn full_queue_does_not_prevent_the_upgrade() {
    for_each_config(|config| {
        // The queue is above its mark, and no GET takes any of it (python-engineio#16).
        let server = TestServer::start(config.outbound_high_water(1000));
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4!fill 3");
        let mut socket = WebSocket::attach(server.addr(), &polling.sid);
        socket.probe();
        socket.send("5");
        assert_eq!(socket.text().len(), 1001);
        socket.assert_alive();
    });
}

#[test]
fn probe_and_upgrade_sent_together_answer_a_poll() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        let mut socket = WebSocket::attach(server.addr(), &polling.sid);
        socket.conn.write([frame(TEXT, b"2probe"), frame(TEXT, b"5")].concat());
        // Like the protocol test suite: at once. The GET arrives before or after the `5`.
        let response = polling.get.request(&Request::get(&target(&polling.sid)));
        match response.status {
            200 => assert_eq!(response.text(), "6"),
            _ => response.assert(400, BAD_REQUEST),
        }
        assert_eq!(socket.text(), "3probe");
        socket.assert_alive();
    });
}

#[test]
fn polling_is_refused_after_the_upgrade() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let (mut polling, mut socket) = open_upgraded(server.addr());
        let poll = Request::get(&target(&polling.sid));
        polling.get.request(&poll).assert(400, BAD_REQUEST);
        polling.try_post("4late").assert(400, BAD_REQUEST);
        Connection::open(server.addr()).request(&poll).assert(400, BAD_REQUEST);
        assert!(!server.log.messages(&polling.sid).contains(&Message::Text("late").into()));
        socket.assert_alive();
    });
}

#[test]
fn upgrade_packet_without_a_probe_is_accepted() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let polling = Polling::open(server.addr());
        let mut socket = WebSocket::attach(server.addr(), &polling.sid);
        socket.send("5");
        socket.assert_alive();
        let sid = Sid::new(&polling.sid).expect("a valid sid");
        assert_eq!(server.remote().transport(&sid), Some(Transport::WebSocket));
    });
}

#[test]
fn upgrade_packet_without_a_probe_answers_a_held_poll() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        polling.start_poll();
        let mut socket = WebSocket::attach(server.addr(), &polling.sid);
        socket.send("5");
        assert_eq!(polling.poll_response(), "6");
        socket.assert_alive();
    });
}

#[test]
fn probe_does_not_pause_the_heartbeat() {
    for_each_config(|config| {
        // `docs/protocol.md` 2.7.9: a WebSocket that never probes, open while the client does not poll.
        let server = TestServer::start(
            config
                .ping_interval(Duration::from_millis(100))
                .ping_timeout(Duration::from_millis(100)),
        );
        let polling = Polling::open(server.addr());
        let mut socket = WebSocket::attach(server.addr(), &polling.sid);
        assert_eq!(server.log.close_reason(&polling.sid), CloseReason::PingTimeout);
        socket.conn.expect_closed();
        polling.assert_unknown();
    });
}

#[test]
fn ping_during_a_probe_reaches_the_polling_client() {
    for_each_config(|config| {
        let server = TestServer::start(config.ping_interval(Duration::from_millis(150)));
        let (mut polling, mut socket) = open_probed(server.addr());
        let deadline = Instant::now() + Duration::from_secs(5);
        while polling.poll() != "2" {
            assert!(Instant::now() < deadline, "no ping over polling");
            std::thread::sleep(Duration::from_millis(5));
        }
        polling.post_ok("3");
        socket.send("5");
        // `docs/protocol.md` 2.5.6: "timers must not be lost at the switch".
        assert_eq!(socket.text(), "2");
        socket.send("3");
        assert_eq!(socket.text(), "2");
    });
}

#[test]
fn upgrade_packets_in_the_segment_of_the_request_are_read() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let polling = Polling::open(server.addr());
        let request = Request::upgrade(&upgrade_target(&polling.sid)).bytes();
        let mut conn = Connection::open(server.addr());
        let frames = [frame(TEXT, b"2probe"), frame(TEXT, b"5"), frame(TEXT, b"4first")];
        // The connection may move to another worker between the request and the frames.
        conn.write([request, frames.concat()].concat());
        assert_eq!(conn.response().status, 101);
        let mut socket = WebSocket { conn };
        assert_eq!([socket.text(), socket.text()], ["3probe", "4first"]);
        socket.assert_alive();
    });
}
