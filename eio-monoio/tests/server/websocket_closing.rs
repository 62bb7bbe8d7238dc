//! The end of sessions over WebSocket: close packets, the closing handshake and lost connections.

use std::time::Duration;

use eio_monoio::{CloseReason, Message};

use crate::support::configs::for_each_config;
use crate::support::test_server::TestServer;
use crate::support::wait::eventually;
use crate::support::websocket::{CLOSE, TEXT, WebSocket, frame};

#[test]
fn close_packet_ends_the_session_at_once() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let (mut socket, sid) = WebSocket::open(server.addr());
        // The message before the close packet is delivered, the message after it is not.
        let frames = [frame(TEXT, b"4a"), frame(TEXT, b"1"), frame(TEXT, b"4b")];
        socket.conn.write(frames.concat());
        assert_eq!(socket.text(), "4a");
        assert_eq!(socket.expect_close(), Some(1000));
        assert_eq!(server.log.close_reason(&sid), CloseReason::ClientDisconnect);
        assert_eq!(server.log.messages(&sid), [Message::Text("a").into()]);
    });
}

#[test]
fn close_frame_is_echoed_and_the_connection_closed() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        for (code, reason) in [(1000_u16, ""), (1001, "leaving"), (3000, ""), (4999, "\u{20ac}")] {
            let (mut socket, sid) = WebSocket::open(server.addr());
            socket.send("4first");
            socket.conn.write(frame(CLOSE, &[&code.to_be_bytes(), reason.as_bytes()].concat()));
            assert_eq!(socket.text(), "4first");
            assert_eq!(socket.expect_close(), Some(code));
            // RFC 6455 7.1.1: the server ends TCP first.
            socket.conn.expect_eof();
            assert_eq!(server.log.close_reason(&sid), CloseReason::TransportClose);
        }
        // Without a code the echo has none.
        let (mut socket, _) = WebSocket::open(server.addr());
        socket.conn.write(frame(CLOSE, b""));
        assert_eq!(socket.frame().payload, b"");
        socket.conn.expect_eof();
        drop(socket);
        server.wait_until_empty();
    });
}

#[test]
fn server_closes_tcp_after_the_closing_handshake() {
    for_each_config(|config| {
        // Longer than any wait of this test.
        let server = TestServer::start(config.close_timeout(Duration::from_secs(60)));
        let (mut socket, _) = WebSocket::open(server.addr());
        socket.conn.write(frame(CLOSE, &1000_u16.to_be_bytes()));
        assert_eq!(socket.expect_close(), Some(1000));
        // RFC 6455 5.5.1: "The server MUST close the underlying TCP connection immediately".
        eventually("the end of the connection", || server.remote().connections() == 0);
        socket.conn.expect_eof();
    });
}

#[test]
fn server_close_waits_for_the_answer_until_the_timeout() {
    for_each_config(|config| {
        let server = TestServer::start(config.close_timeout(Duration::from_millis(200)));
        // `docs/protocol.md` 2.6.6: `1` and then the close frame, as python-engineio does.
        let (mut socket, sid) = WebSocket::open(server.addr());
        socket.send("4!close");
        assert_eq!(socket.text(), "1");
        assert_eq!(socket.expect_close(), Some(1000));
        socket.conn.write(frame(CLOSE, &1000_u16.to_be_bytes()));
        socket.conn.expect_eof();
        assert_eq!(server.log.close_reason(&sid), CloseReason::ServerDisconnect);
        // A client that does not answer the close frame, keeps its connection open and continues to send.
        let (mut silent, _) = WebSocket::open(server.addr());
        silent.send("4!close");
        assert_eq!(silent.text(), "1");
        silent.expect_close();
        _ = silent.conn.try_write(frame(TEXT, b"4a"));
        server.wait_until_empty();
    });
}

#[test]
fn dropped_connection_ends_the_session() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let (socket, closed) = WebSocket::open(server.addr());
        drop(socket);
        let (mut socket, half) = WebSocket::open(server.addr());
        socket.conn.shutdown_write();
        let (socket, reset) = WebSocket::open(server.addr());
        let linger = Some(Duration::ZERO);
        socket2::SockRef::from(socket.conn.stream()).set_linger(linger).expect("a reset");
        drop(socket);
        let (mut socket, amid) = WebSocket::open(server.addr());
        socket.conn.write(&frame(TEXT, b"4hello")[..5]);
        drop(socket);
        for sid in [closed, half, reset, amid] {
            assert_eq!(server.log.close_reason(&sid), CloseReason::TransportClose);
        }
        server.wait_until_empty();
    });
}
