//! Busy peers, from which the server receives in another way: they must not notice the difference.

use std::time::Duration;

use eio_core::sid::Sid;
use eio_monoio::CloseReason;

use crate::support::configs::for_each_config;
use crate::support::test_server::TestServer;
use crate::support::wait::eventually;
use crate::support::websocket::{BINARY, CLOSE, TEXT, WebSocket, frame};

/// More messages than make a peer busy.
const MANY: usize = 40;

#[track_caller]
fn make_busy(socket: &mut WebSocket) {
    for n in 0..MANY {
        let text = format!("4{n}");
        socket.send(&text);
        assert_eq!(socket.text(), text);
    }
}

#[test]
fn busy_peer_gets_every_echo_for_any_fragmentation() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let (mut socket, _) = WebSocket::open(server.addr());
        // Sizes around the length of one receive operation, and far beyond.
        for len in [4087, 4088, 4089, 4096, 8191, 70_000] {
            make_busy(&mut socket);
            let bytes = vec![b'x'; len];
            socket.send_binary(&bytes);
            assert_eq!(socket.binary(), bytes, "{len}");
        }
        // Byte by byte, and in pieces that end within a frame.
        make_busy(&mut socket);
        for byte in frame(TEXT, b"4slowly") {
            socket.conn.write([byte]);
        }
        assert_eq!(socket.text(), "4slowly");
        make_busy(&mut socket);
        let both = [frame(TEXT, b"4one"), frame(BINARY, &[7; 5000])].concat();
        for piece in both.chunks(1111) {
            socket.conn.write(piece);
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(socket.text(), "4one");
        assert_eq!(socket.binary(), [7; 5000]);
        // After a pause, and once more.
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(250));
            make_busy(&mut socket);
        }
    });
}

#[test]
fn busy_peer_closes_like_an_idle_one() {
    for_each_config(|config| {
        let server = TestServer::start(config.close_timeout(Duration::from_millis(300)));
        let busy = || {
            let (mut socket, sid) = WebSocket::open(server.addr());
            make_busy(&mut socket);
            (socket, sid)
        };
        // By the server: the peer answers, continues to send, or sends nothing.
        let answers: [&[u8]; 3] =
            [&frame(CLOSE, &1000_u16.to_be_bytes()), &frame(TEXT, b"4too late"), b""];
        for answer in answers {
            let (mut socket, sid) = busy();
            server.remote().disconnect(&Sid::new(&sid).expect("a valid sid"));
            assert_eq!(socket.text(), "1");
            assert_eq!(socket.expect_close(), Some(1000));
            _ = socket.conn.try_write(answer);
            socket.conn.expect_eof();
            assert_eq!(server.log.close_reason(&sid), CloseReason::ServerDisconnect);
        }
        // By the peer: with a close frame, without one, by a violation.
        let (mut socket, sid) = busy();
        socket.conn.write(frame(CLOSE, &1001_u16.to_be_bytes()));
        assert_eq!(socket.expect_close(), Some(1001));
        socket.conn.expect_eof();
        assert_eq!(server.log.close_reason(&sid), CloseReason::TransportClose);
        let (socket, sid) = busy();
        drop(socket);
        assert_eq!(server.log.close_reason(&sid), CloseReason::TransportClose);
        let (mut socket, sid) = busy();
        socket.conn.write([0xff, 0xff]);
        assert_eq!(socket.expect_close(), Some(1002));
        assert_eq!(server.log.close_reason(&sid), CloseReason::ParseError);
        drop(socket);
        server.wait_until_empty();
    });
}

#[test]
fn busy_peer_that_stops_times_out() {
    for_each_config(|config| {
        let interval = Duration::from_millis(300);
        let config = config.ping_interval(interval).ping_timeout(interval);
        let server = TestServer::start(config);
        let (mut socket, sid) = WebSocket::open(server.addr());
        make_busy(&mut socket);
        assert_eq!(socket.text(), "2");
        socket.send("3");
        assert_eq!(socket.text(), "2");
        assert_eq!(server.log.close_reason(&sid), CloseReason::PingTimeout);
        eventually("the end of the connection", || server.remote().connections() == 0);
    });
}

#[test]
fn more_busy_peers_than_receive_operations_are_served() {
    for_each_config(|config| {
        // No ping among the echoes, however slow the machine is.
        let config = config.workers(1).ping_interval(Duration::from_secs(300));
        let server = TestServer::start(config);
        let mut sockets: Vec<_> = (0..600).map(|_| WebSocket::open(server.addr()).0).collect();
        for n in 0..MANY {
            let text = format!("4{n}");
            sockets.iter_mut().for_each(|socket| socket.send(&text));
            sockets.iter_mut().for_each(|socket| assert_eq!(socket.text(), text));
        }
        // A later peer gets an operation when others have left.
        sockets.truncate(10);
        make_busy(&mut WebSocket::open(server.addr()).0);
        sockets.iter_mut().for_each(make_busy);
        drop(sockets);
        server.wait_until_empty();
    });
}
