//! The heartbeat over WebSocket: the server pings, only pongs count, and silence ends the session in time
//! (protocol 2.5).

use std::time::{Duration, Instant};

use eio_monoio::CloseReason;

use crate::support::app::{Entry, Host};
use crate::support::matrix::everywhere;
use crate::support::wire::{POLLING, Request, WebSocket, Wire};

const INTERVAL: Duration = Duration::from_millis(200);
const TIMEOUT: Duration = Duration::from_millis(300);

#[test]
fn the_first_ping_does_not_come_at_once_and_the_next_not_before_the_pong() {
    everywhere(|config| {
        let host = Host::start(config.ping_interval(INTERVAL).ping_timeout(TIMEOUT));
        let (mut socket, _) = WebSocket::open(host.addr());
        let opened = Instant::now();
        assert_eq!(socket.text(), "2");
        // Time goes on while the open packet travels: a little less than the interval is right.
        assert!(opened.elapsed() > INTERVAL / 2, "pinged at once");
        socket.wire.expect_silence(TIMEOUT / 2);
        for _ in 0..4 {
            socket.send("3");
            let pong = Instant::now();
            assert_eq!(socket.text(), "2");
            assert!(pong.elapsed() > INTERVAL / 2, "pinged at once");
        }
    });
}

#[test]
fn a_client_that_falls_silent_is_let_go_in_time() {
    everywhere(|config| {
        let host = Host::start(config.ping_interval(INTERVAL).ping_timeout(TIMEOUT));
        let opened = Instant::now();
        let (mut socket, sid) = WebSocket::open(host.addr());
        assert_eq!(socket.text(), "2");
        // RFC 6455 7.4.1: a peer that is gone hears nothing of it, one that is not hears that we go.
        assert_eq!(socket.expect_close(), Some(1001));
        socket.wire.expect_gone();
        assert!(opened.elapsed() > INTERVAL + TIMEOUT - Duration::from_millis(50));
        assert_eq!(host.log.close_reason(&sid), CloseReason::PingTimeout);
        // The connection does not linger for a closing handshake that nobody will answer.
        host.empties();
    });
}

#[test]
fn an_early_pong_and_pong_data_are_harmless() {
    everywhere(|config| {
        let host = Host::start(config.ping_interval(INTERVAL).ping_timeout(TIMEOUT));
        let (mut socket, sid) = WebSocket::open(host.addr());
        // rust_engineio sends one right after the handshake.
        socket.send("3");
        socket.send("3probe");
        assert_eq!(socket.text(), "2");
        socket.send("3data nobody asked for");
        assert_eq!(socket.text(), "2");
        // An early pong does not answer the ping that follows it.
        assert_eq!(host.log.close_reason(&sid), CloseReason::PingTimeout);
    });
}

#[test]
fn messages_do_not_stand_in_for_pongs() {
    everywhere(|config| {
        let host = Host::start(config.ping_interval(INTERVAL).ping_timeout(TIMEOUT));
        let (mut socket, sid) = WebSocket::open(host.addr());
        assert_eq!(socket.text(), "2");
        let pinged = Instant::now();
        while host.log.of(&sid).last() != Some(&Entry::Closed(CloseReason::PingTimeout)) {
            assert!(pinged.elapsed() < Duration::from_secs(5), "messages kept it alive");
            _ = socket
                .wire
                .try_write(crate::support::wire::frame(crate::support::wire::TEXT, b"4a"));
            std::thread::sleep(Duration::from_millis(20));
        }
    });
}

#[test]
fn the_grace_is_announced_and_never_waited_for() {
    everywhere(|config| {
        let config = config.ping_interval(INTERVAL).ping_timeout(Duration::from_secs(5));
        let host = Host::start(config.ping_grace(Duration::from_secs(3600)));
        let opened = Wire::connect(host.addr()).request(&Request::get(POLLING));
        let announced = format!("\"pingInterval\":{}", 3_600_000 + INTERVAL.as_millis());
        assert!(opened.text().contains(&announced), "{opened:?}");
        let (mut socket, _) = WebSocket::open(host.addr());
        for _ in 0..3 {
            assert_eq!(socket.text(), "2");
            socket.send("3");
        }
    });
}
