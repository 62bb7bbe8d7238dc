//! Messages and control frames of sessions over WebSocket (`docs/protocol.md` 2.6).

use std::time::Duration;

use eio_monoio::{CloseReason, Message};

use crate::support::configs::for_each_config;
use crate::support::connection::Connection;
use crate::support::polling::{Polling, sid_of};
use crate::support::request::{Request, WEBSOCKET};
use crate::support::test_server::TestServer;
use crate::support::websocket::{BINARY, PING, PONG, TEXT, WebSocket, frame};

#[test]
fn messages_are_echoed_unchanged() {
    for_each_config(|config| {
        let server = TestServer::start(config.separator_over_websocket(true));
        let (mut socket, sid) = WebSocket::open(server.addr());
        for text in ["4", "4a", "4\u{20ac}\u{1f600}", "44", "4\0"] {
            socket.send(text);
            assert_eq!(socket.text(), text);
        }
        let long = "\u{e9}".repeat(40_000);
        for bytes in [b"".as_slice(), &[0], &[0xff; 125], &[4; 126], long.as_bytes()] {
            socket.send_binary(bytes);
            assert_eq!(socket.binary(), bytes);
        }
        assert_eq!(server.log.messages(&sid).len(), 10);
        assert_eq!(server.log.messages(&sid)[5], Message::Binary(b"").into());
        // One message: docs/protocol.md 1.9.
        socket.send("4\u{1e}4not another packet");
        assert_eq!(socket.text(), "4\u{1e}4not another packet");
        let text = Message::Text("\u{1e}4not another packet");
        assert_eq!(server.log.messages(&sid)[10], text.into());
    });
}

#[test]
fn base64_text_is_a_binary_message() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let (mut socket, sid) = WebSocket::open(server.addr());
        for (text, bytes) in
            [("bAAEC/w==", &[0, 1, 2, 0xff][..]), ("bAAEC/w", &[0, 1, 2, 0xff]), ("b", &[])]
        {
            socket.send(text);
            assert_eq!(socket.binary(), bytes, "{text}");
        }
        assert_eq!(server.log.messages(&sid)[0], Message::Binary(&[0, 1, 2, 0xff]).into());
        // `b64=1`: this client cannot take binary frames.
        let mut socket = WebSocket::connect(server.addr(), &format!("{WEBSOCKET}&b64=1"));
        sid_of(&socket.text());
        socket.send("bAAEC/w==");
        assert_eq!(socket.text(), "bAAEC/w==");
        socket.send_binary(&[0, 1, 2, 0xff]);
        assert_eq!(socket.text(), "bAAEC/w==");
        // Also after the upgrade of a session that asked for it at its handshake.
        let polling = Polling::open_with(server.addr(), "&b64=1");
        let mut socket = WebSocket::attach(server.addr(), &polling.sid);
        socket.send("5");
        socket.send_binary(&[0, 1, 2, 0xff]);
        assert_eq!(socket.text(), "bAAEC/w==");
    });
}

#[test]
fn ping_frame_is_answered_and_is_no_heartbeat() {
    for_each_config(|config| {
        let server = TestServer::start(
            config
                .ping_interval(Duration::from_millis(200))
                .ping_timeout(Duration::from_millis(300)),
        );
        let (mut socket, sid) = WebSocket::open(server.addr());
        for data in [b"".as_slice(), b"are you there", &[0xff; 125]] {
            socket.conn.write(frame(PING, data));
            let pong = socket.frame();
            assert_eq!((pong.first, pong.payload.as_slice()), (PONG, data));
        }
        // An unsolicited pong is ignored.
        socket.conn.write(frame(PONG, b"unsolicited"));
        socket.assert_alive();
        assert_eq!(socket.text(), "2");
        // Control frames and messages continue, but no `3`.
        let mut out = socket.conn.stream().try_clone().expect("a second handle");
        let sender = std::thread::spawn(move || {
            let frames = [frame(PING, b""), frame(PONG, b""), frame(TEXT, b"4a")].concat();
            while std::io::Write::write_all(&mut out, &frames).is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        assert_eq!(server.log.close_reason(&sid), CloseReason::PingTimeout);
        socket.conn.expect_closed();
        sender.join().expect("it ends with the connection");
    });
}

#[test]
fn control_frames_are_allowed_between_fragments() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let (mut socket, _) = WebSocket::open(server.addr());
        let frames = [
            frame(0x01, b""),
            frame(0x00, b"4in"),
            frame(PING, b"now"),
            frame(0x00, b" three \xe2"),
            frame(PONG, b""),
            frame(0x80, b"\x82\xac"),
        ];
        socket.conn.write(frames.concat());
        assert_eq!(socket.frame().payload, b"now");
        assert_eq!(socket.text(), "4in three \u{20ac}");
        socket.conn.write([frame(0x02, b"4"), frame(0x80, b"a")].concat());
        assert_eq!(socket.binary(), b"4a");
    });
}

/// The frames of the splitting tests, and the payloads of the answers.
fn conversation() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let long = "x".repeat(200);
    let frames = vec![
        frame(TEXT, b"4a"),
        frame(BINARY, b""),
        frame(PING, b"ping"),
        frame(0x01, b"4frag"),
        frame(0x80, b"ments"),
        frame(TEXT, format!("4{long}").as_bytes()),
        frame(TEXT, b"bAAE="),
    ];
    let echoes = [
        b"4a".to_vec(),
        Vec::new(),
        b"ping".to_vec(),
        b"4fragments".to_vec(),
        format!("4{long}").into_bytes(),
        vec![0, 1],
    ];
    (frames, echoes.into())
}

#[test]
fn frames_may_be_split_at_any_byte() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let (frames, echoes) = conversation();
        let bytes = frames.concat();
        let (mut socket, _) = WebSocket::open(server.addr());
        // Byte by byte, and split at every byte.
        for byte in &bytes {
            socket.conn.write([*byte]);
        }
        echoes.iter().for_each(|echo| assert_eq!(&socket.frame().payload, echo));
        for split in 1..bytes.len() {
            socket.conn.write(&bytes[..split]);
            // Most pieces then arrive separately.
            std::thread::yield_now();
            socket.conn.write(&bytes[split..]);
            for echo in &echoes {
                assert_eq!(&socket.frame().payload, echo, "split at {split}");
            }
        }
    });
}

#[test]
fn frames_in_the_segment_of_the_request_are_read() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let (frames, echoes) = conversation();
        let mut conn = Connection::open(server.addr());
        conn.write([Request::upgrade(WEBSOCKET).bytes(), frames.concat().repeat(50)].concat());
        assert_eq!(conn.response().status, 101);
        let mut socket = WebSocket { conn };
        sid_of(&socket.text());
        for _ in 0..50 {
            echoes.iter().for_each(|echo| assert_eq!(&socket.frame().payload, echo));
        }
    });
}

#[test]
fn extensions_are_declined_and_the_first_subprotocol_is_selected() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let offer = "permessage-deflate; client_max_window_bits, x-webkit-deflate-frame";
        let request = Request::upgrade(WEBSOCKET)
            .header("Sec-WebSocket-Extensions", offer)
            .header("Sec-WebSocket-Protocol", "chat, superchat");
        let mut conn = Connection::open(server.addr());
        let response = conn.request(&request);
        assert_eq!(response.status, 101);
        assert_eq!(response.header("Sec-WebSocket-Extensions"), None);
        // A browser fails the connection if it offers subprotocols and gets none; engine.io selects the first.
        assert_eq!(response.header("Sec-WebSocket-Protocol"), Some("chat"));
        let mut socket = WebSocket { conn };
        sid_of(&socket.text());
        socket.assert_alive();
        let plain = Connection::open(server.addr()).request(&Request::upgrade(WEBSOCKET));
        assert_eq!(plain.header("Sec-WebSocket-Protocol"), None);
    });
}
