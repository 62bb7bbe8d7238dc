//! Peers that send all the time: they may be received from otherwise, and must not notice.

use std::time::Duration;

use eio_core::sid::Sid;
use eio_monoio::CloseReason;

use crate::support::app::{Host, eventually};
use crate::support::matrix::everywhere;
use crate::support::wire::{BINARY, CLOSE, TEXT, WebSocket, frame};

/// More messages than it takes to be one of them.
const MANY: usize = 40;

#[track_caller]
fn be_busy(socket: &mut WebSocket) {
    for n in 0..MANY {
        let text = format!("4{n}");
        socket.send(&text);
        assert_eq!(socket.text(), text);
    }
}

#[test]
fn whatever_a_busy_peer_sends_comes_back_however_it_is_cut() {
    everywhere(|config| {
        let host = Host::start(config);
        let (mut socket, _) = WebSocket::open(host.addr());
        // Around what an operation brings at a time, and far beyond.
        for len in [4087, 4088, 4089, 4096, 8191, 70_000] {
            be_busy(&mut socket);
            let bytes = vec![b'x'; len];
            socket.send_binary(&bytes);
            assert_eq!(socket.binary(), bytes, "{len}");
        }
        // Byte by byte, and from inside of one frame to inside of the next.
        be_busy(&mut socket);
        for byte in frame(TEXT, b"4slowly") {
            socket.wire.write([byte]);
        }
        assert_eq!(socket.text(), "4slowly");
        be_busy(&mut socket);
        let both = [frame(TEXT, b"4one"), frame(BINARY, &[7; 5000])].concat();
        for piece in both.chunks(1111) {
            socket.wire.write(piece);
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(socket.text(), "4one");
        assert_eq!(socket.binary(), [7; 5000]);
        // After a pause, too, and again.
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(250));
            be_busy(&mut socket);
        }
    });
}

#[test]
fn a_busy_peer_is_closed_like_any_other() {
    everywhere(|config| {
        let host = Host::start(config.close_timeout(Duration::from_millis(300)));
        let busy = || {
            let (mut socket, sid) = WebSocket::open(host.addr());
            be_busy(&mut socket);
            (socket, sid)
        };
        // By the server, while it waits for the peer: who answers, who goes on talking, who says nothing.
        let answers: [&[u8]; 3] =
            [&frame(CLOSE, &1000_u16.to_be_bytes()), &frame(TEXT, b"4too late"), b""];
        for answer in answers {
            let (mut socket, sid) = busy();
            host.remote().disconnect(&Sid::new(&sid).expect("a sid"));
            assert_eq!(socket.text(), "1");
            assert_eq!(socket.expect_close(), Some(1000));
            _ = socket.wire.try_write(answer);
            socket.wire.expect_eof();
            assert_eq!(host.log.close_reason(&sid), CloseReason::ServerDisconnect);
        }
        // By the peer: with a close frame, without one, by breaking a rule.
        let (mut socket, sid) = busy();
        socket.wire.write(frame(CLOSE, &1001_u16.to_be_bytes()));
        assert_eq!(socket.expect_close(), Some(1001));
        socket.wire.expect_eof();
        assert_eq!(host.log.close_reason(&sid), CloseReason::TransportClose);
        let (socket, sid) = busy();
        drop(socket);
        assert_eq!(host.log.close_reason(&sid), CloseReason::TransportClose);
        let (mut socket, sid) = busy();
        socket.wire.write([0xff, 0xff]);
        assert_eq!(socket.expect_close(), Some(1002));
        assert_eq!(host.log.close_reason(&sid), CloseReason::ParseError);
        drop(socket);
        host.empties();
    });
}

#[test]
fn a_busy_peer_that_falls_silent_is_found_out_by_its_heartbeat() {
    everywhere(|config| {
        let interval = Duration::from_millis(300);
        let config = config.ping_interval(interval).ping_timeout(interval);
        let host = Host::start(config);
        let (mut socket, sid) = WebSocket::open(host.addr());
        be_busy(&mut socket);
        assert_eq!(socket.text(), "2");
        socket.send("3");
        assert_eq!(socket.text(), "2");
        assert_eq!(host.log.close_reason(&sid), CloseReason::PingTimeout);
        eventually("the connection's end", || host.remote().connections() == 0);
    });
}

#[test]
fn more_busy_peers_than_there_are_operations_for_are_all_served() {
    everywhere(|config| {
        let host = Host::start(config.workers(1));
        let mut sockets: Vec<_> = (0..600).map(|_| WebSocket::open(host.addr()).0).collect();
        for n in 0..MANY {
            let text = format!("4{n}");
            sockets.iter_mut().for_each(|socket| socket.send(&text));
            sockets.iter_mut().for_each(|socket| assert_eq!(socket.text(), text));
        }
        // Who comes later finds room when some have gone.
        sockets.truncate(10);
        be_busy(&mut WebSocket::open(host.addr()).0);
        sockets.iter_mut().for_each(be_busy);
        drop(sockets);
        host.empties();
    });
}
