//! Upgrades that fail, stall or are disabled, and closes during a probe: the polling session continues or ends in an
//! orderly way (`docs/protocol.md` 2.7).

use std::time::Duration;

use eio_monoio::{CloseReason, Message, OwnedMessage};

use crate::support::configs::for_each_config;
use crate::support::connection::Connection;
use crate::support::polling::{Polling, sid_of};
use crate::support::refusals::BAD_REQUEST;
use crate::support::request::{Request, WEBSOCKET};
use crate::support::test_server::TestServer;
use crate::support::wait::eventually;
use crate::support::websocket::{TEXT, WebSocket, frame, open_probed};

#[test]
fn invalid_probe_closes_only_the_websocket() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        let wrong: [&[Vec<u8>]; 10] = [
            &[frame(TEXT, b"4hello")],
            &[frame(TEXT, b"3probe")],
            &[frame(TEXT, b"2")],
            &[frame(TEXT, b"2prob")],
            &[frame(TEXT, b"1")],
            &[frame(TEXT, b"x")],
            &[frame(TEXT, b"")],
            &[frame(0x82, b"binary")],
            &[frame(TEXT, b"2probe"), frame(TEXT, b"4hello")],
            &[frame(TEXT, b"2probe"), frame(TEXT, b"2probe")],
        ];
        for frames in wrong {
            let mut socket = WebSocket::attach(server.addr(), &polling.sid);
            socket.conn.write(frames.concat());
            if frames.len() > 1 {
                assert_eq!(socket.text(), "3probe", "{frames:?}");
            }
            socket.expect_close();
            polling.assert_alive();
        }
        // A failed probe does not prevent another.
        let mut socket = WebSocket::attach(server.addr(), &polling.sid);
        socket.conn.write([frame(TEXT, b"2probe"), frame(TEXT, b"5")].concat());
        assert_eq!(socket.text(), "3probe");
        socket.assert_alive();
        let hello = OwnedMessage::from(Message::Text("hello"));
        assert!(!server.log.messages(&polling.sid).contains(&hello), "a probe carried a message");
        server.wait_for_counts(1, 3);
    });
}

#[test]
fn stalled_upgrade_closes_only_the_websocket() {
    for_each_config(|config| {
        let server = TestServer::start(config.upgrade_timeout(Duration::from_millis(100)));
        // A WebSocket that never probes, and one that stops after the probe.
        let mut polling = Polling::open(server.addr());
        let mut idle = WebSocket::attach(server.addr(), &polling.sid);
        idle.expect_close();
        let mut stuck = WebSocket::attach(server.addr(), &polling.sid);
        stuck.probe();
        stuck.expect_close();
        polling.assert_alive();
        // Polls are held again instead of being answered with noops.
        polling.start_poll();
        polling.get.expect_silence(Duration::from_millis(100));
        drop((idle, stuck));
        server.wait_for_counts(1, 2);
    });
}

#[test]
fn dropped_probe_does_not_prevent_the_next() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        for frames in [vec![], frame(TEXT, b"2probe"), frame(0x88, &1000_u16.to_be_bytes())] {
            let mut socket = WebSocket::attach(server.addr(), &polling.sid);
            socket.conn.write(frames);
            drop(socket);
            polling.assert_alive();
        }
        // A probe that arrives before the server has noticed the end of the previous one is refused; a later one is not.
        eventually("an accepted WebSocket", || {
            let mut socket = WebSocket::attach(server.addr(), &polling.sid);
            socket.conn.write([frame(TEXT, b"2probe"), frame(TEXT, b"5")].concat());
            let accepted = socket.frame().payload == b"3probe";
            if accepted {
                socket.assert_alive();
            }
            accepted
        });
    });
}

#[test]
fn second_websocket_does_not_disturb_the_first() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let (polling, mut first) = open_probed(server.addr());
        // During the probe of the first, ...
        WebSocket::attach(server.addr(), &polling.sid).expect_close();
        first.send("5");
        first.assert_alive();
        // ... when it is the transport, and for a session that began over WebSocket.
        WebSocket::attach(server.addr(), &polling.sid).expect_close();
        first.assert_alive();
        let (mut direct, sid) = WebSocket::open(server.addr());
        let mut second = WebSocket::attach(server.addr(), &sid);
        second.conn.write(frame(TEXT, b"2probe"));
        second.expect_close();
        direct.assert_alive();
        assert_eq!(server.log.messages(&sid).len(), 1);
    });
}

#[test]
fn disabled_upgrades_are_neither_announced_nor_granted() {
    for_each_config(|config| {
        let server = TestServer::start(config.allow_upgrades(false));
        let mut conn = Connection::open(server.addr());
        let open = conn.request(&Request::get("/engine.io/?EIO=4&transport=polling"));
        assert!(open.text().contains(r#""upgrades":[]"#), "{}", open.text());
        let target = format!("{WEBSOCKET}&sid={}", sid_of(open.text()));
        let refused = Connection::open(server.addr()).request(&Request::upgrade(&target));
        refused.assert(400, BAD_REQUEST);
        // A session may still begin over WebSocket.
        WebSocket::open(server.addr()).0.assert_alive();
    });
}

#[test]
fn server_close_during_a_probe_closes_both_transports() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        // engine.io#284: queued messages are sent first, on the current transport.
        let (mut polling, mut socket) = open_probed(server.addr());
        polling.post_ok("4last message\u{1e}4!close");
        assert_eq!(polling.poll(), "4last message\u{1e}1");
        socket.expect_close();
        polling.assert_unknown();

        // With a GET held.
        let mut polling = Polling::open(server.addr());
        let mut socket = WebSocket::attach(server.addr(), &polling.sid);
        polling.start_poll();
        polling.get.expect_silence(Duration::from_millis(30));
        polling.post_ok("4!close");
        assert_eq!(polling.poll_response(), "1");
        socket.expect_close();

        // The upgrade completes before the close, which is then sent over the WebSocket.
        let (mut polling, mut socket) = open_probed(server.addr());
        polling.post_ok("4last message\u{1e}4!close");
        socket.send("5");
        assert_eq!([socket.text(), socket.text()], ["4last message", "1"]);
        assert_eq!(socket.expect_close(), Some(1000));
        assert_eq!(server.log.close_reason(&polling.sid), CloseReason::ServerDisconnect);
    });
}

#[test]
fn client_close_during_a_probe_ends_the_session() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let (mut polling, mut socket) = open_probed(server.addr());
        polling.post_ok("1");
        socket.expect_close();
        polling.assert_unknown();
        assert_eq!(server.log.close_reason(&polling.sid), CloseReason::ClientDisconnect);
        drop((polling, socket));
        server.wait_until_empty();
    });
}
