//! The heartbeat over WebSocket: the server pings, only pongs count, and a missing pong ends the session
//! (`docs/protocol.md` 2.5).

use std::time::{Duration, Instant};

use eio_monoio::CloseReason;

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
