//! The heartbeat over WebSocket: the server pings, only pongs count, and a missing pong ends the session
//! (`docs/protocol.md` 2.5).

use std::time::{Duration, Instant};

use eio_monoio::CloseReason;

use crate::commands::{Commands, results};
use crate::support::configs::for_each_config;
use crate::support::connection::Connection;
use crate::support::log::Entry;
use crate::support::request::{POLLING, Request};
use crate::support::test_server::TestServer;
use crate::support::websocket::WebSocket;

const INTERVAL: Duration = Duration::from_millis(200);
const TIMEOUT: Duration = Duration::from_millis(300);

#[test]
fn first_ping_waits_for_the_interval_and_the_next_for_the_pong() {
    for_each_config(|config| {
        let server = TestServer::start(config.ping_interval(INTERVAL).ping_timeout(TIMEOUT));
        let (mut socket, _) = WebSocket::open(server.addr());
        let opened = Instant::now();
        assert_eq!(socket.text(), "2");
        // The interval begins before the client has received the open packet: a little less is right.
        assert!(opened.elapsed() > INTERVAL / 2, "pinged at once");
        socket.conn.expect_silence(TIMEOUT / 2);
        for _ in 0..4 {
            socket.send("3");
            let pong = Instant::now();
            assert_eq!(socket.text(), "2");
            assert!(pong.elapsed() > INTERVAL / 2, "pinged at once");
        }
    });
}

#[test]
fn silent_client_times_out() {
    for_each_config(|config| {
        let server = TestServer::start(config.ping_interval(INTERVAL).ping_timeout(TIMEOUT));
        let opened = Instant::now();
        let (mut socket, sid) = WebSocket::open(server.addr());
        assert_eq!(socket.text(), "2");
        // RFC 6455 7.4.1: 1001 is "going away"; a client that is still connected receives it.
        assert_eq!(socket.expect_close(), Some(1001));
        socket.conn.expect_closed();
        assert!(opened.elapsed() > INTERVAL + TIMEOUT - Duration::from_millis(50));
        assert_eq!(server.log.close_reason(&sid), CloseReason::PingTimeout);
        // The server does not wait for the answer to its close frame.
        server.wait_until_empty();
    });
}

#[test]
fn early_pong_and_pong_data_are_ignored() {
    for_each_config(|config| {
        let server = TestServer::start(config.ping_interval(INTERVAL).ping_timeout(TIMEOUT));
        let (mut socket, sid) = WebSocket::open(server.addr());
        // rust_engineio sends one right after the handshake.
        socket.send("3");
        socket.send("3probe");
        assert_eq!(socket.text(), "2");
        socket.send("3unexpected data");
        assert_eq!(socket.text(), "2");
        // An early pong does not answer the next ping.
        assert_eq!(server.log.close_reason(&sid), CloseReason::PingTimeout);
    });
}

#[test]
fn messages_do_not_replace_pongs() {
    for_each_config(|config| {
        let server = TestServer::start(config.ping_interval(INTERVAL).ping_timeout(TIMEOUT));
        let (mut socket, sid) = WebSocket::open(server.addr());
        assert_eq!(socket.text(), "2");
        let pinged = Instant::now();
        while server.log.of(&sid).last() != Some(&Entry::Closed(CloseReason::PingTimeout)) {
            assert!(pinged.elapsed() < Duration::from_secs(5), "messages keep the session alive");
            _ = socket.conn.try_write(crate::support::websocket::frame(
                crate::support::websocket::TEXT,
                b"4a",
            ));
            std::thread::sleep(Duration::from_millis(20));
        }
    });
}

#[test]
fn grace_is_announced_and_does_not_delay_pings() {
    for_each_config(|config| {
        let config = config.ping_interval(INTERVAL).ping_timeout(Duration::from_secs(5));
        let server = TestServer::start(config.ping_grace(Duration::from_secs(3600)));
        let opened = Connection::open(server.addr()).request(&Request::get(POLLING));
        let announced = format!("\"pingInterval\":{}", 3_600_000 + INTERVAL.as_millis());
        assert!(opened.text().contains(&announced), "{opened:?}");
        let (mut socket, _) = WebSocket::open(server.addr());
        for _ in 0..3 {
            assert_eq!(socket.text(), "2");
            socket.send("3");
        }
    });
}

/// The two times in a report of the application, in milliseconds.
#[track_caller]
fn times(report: &str) -> (u64, Option<u64>) {
    let (seen, round_trip) = report[1..].split_once(' ').expect("two times");
    let ms = |text: &str| text.parse().expect("a number");
    let round_trip = round_trip.strip_prefix("Some(").and_then(|text| text.strip_suffix(')'));
    (ms(seen), round_trip.map(ms))
}

#[test]
fn handler_learns_the_round_trip_and_when_the_client_was_last_seen() {
    for_each_config(|config| {
        let server = Commands::start(config.ping_interval(INTERVAL).ping_timeout(20 * TIMEOUT));
        let (mut socket, sid) = WebSocket::open(server.addr());
        socket.send("4times");
        assert_eq!(times(&socket.text()).1, None);
        assert_eq!(socket.text(), "2");
        let pause = INTERVAL / 2;
        std::thread::sleep(pause);
        let answered = Instant::now();
        socket.send("3");
        socket.send("4times");
        let (seen, round_trip) = times(&socket.text());
        // The server reads its clock for the pong, and rounds down to milliseconds.
        assert!(seen <= answered.elapsed().as_millis() as u64 + 1, "{seen}");
        let round_trip = round_trip.expect("one round trip");
        assert!(round_trip >= pause.as_millis() as u64 - 2, "{round_trip}");
        socket.send("4silence");
        assert_eq!(results(&server, &sid, 1), ["silent: true"]);
    });
}
