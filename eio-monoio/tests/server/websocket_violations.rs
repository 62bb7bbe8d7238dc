//! Violations of RFC 6455 and of the Engine.IO protocol on a WebSocket: each ends its session with the right close code.

use eio_monoio::{CloseReason, Config};

use crate::support::configs::for_each_config;
use crate::support::test_server::TestServer;
use crate::support::websocket::{BINARY, CLOSE, PING, TEXT, WebSocket, frame};

const PROTOCOL_ERROR: u16 = 1002;

const INVALID_PAYLOAD: u16 = 1007;

const TOO_BIG: u16 = 1009;

/// Sends `bytes` and expects a close frame with this code and nothing else; the session ends for this reason.
#[track_caller]
fn expect_end(server: &TestServer, bytes: &[u8], code: u16, reason: CloseReason) {
    let (mut socket, sid) = WebSocket::open(server.addr());
    socket.conn.write(bytes);
    let close = socket.frame();
    let shown = bytes[..bytes.len().min(40)].escape_ascii();
    assert_eq!(close.first, CLOSE, "{shown}: {close:?}");
    // A code and an empty reason: the server does not repeat bytes of the peer.
    assert_eq!(close.payload, code.to_be_bytes(), "{shown}");
    socket.conn.shutdown_write();
    socket.conn.expect_eof();
    assert_eq!(server.log.close_reason(&sid), reason, "{shown}");
}

#[test]
fn message_size_limit_is_exact() {
    for_each_config(|config| {
        let server = TestServer::start(config.max_payload(70_000));
        let mut limit = vec![b'x'; 70_000];
        let (mut socket, _) = WebSocket::open(server.addr());
        socket.send_binary(&limit);
        assert_eq!(socket.binary(), limit);
        limit.push(b'x');
        // The announced length is enough, the payload does not have to arrive. Fragments count together.
        let reason = CloseReason::PayloadTooLarge;
        expect_end(&server, &frame(BINARY, &limit)[..14], TOO_BIG, reason);
        let halves = [frame(0x02, &limit[..40_000]), frame(0x80, &limit[..30_001])].concat();
        expect_end(&server, &halves[..40_008 + 8], TOO_BIG, reason);
        expect_end(
            &server,
            &[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
            TOO_BIG,
            reason,
        );
    });
}

#[test]
fn invalid_packet_ends_the_session() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        for text in ["", "7", "x", "hello", "\u{20ac}", "b%%%%", "bA"] {
            expect_end(
                &server,
                &frame(TEXT, text.as_bytes()),
                PROTOCOL_ERROR,
                CloseReason::ParseError,
            );
        }
    });
}

#[test]
fn invalid_utf8_closes_with_1007() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        for text in [
            b"4\xff".as_slice(),
            b"4\xc0\x80",
            b"4\xed\xa0\x80",
            b"4abc\xe2\x82",
            b"\xff",
            b"x\xff",
        ] {
            expect_end(&server, &frame(TEXT, text), INVALID_PAYLOAD, CloseReason::ParseError);
        }
        // At the first invalid byte, before the rest of the message.
        let begun = frame(0x01, b"4\xff");
        expect_end(&server, &begun, INVALID_PAYLOAD, CloseReason::ParseError);
    });
}

#[test]
fn invalid_framing_closes_with_1002() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let unmasked = [TEXT, 2, b'4', b'a'];
        let cases: [(&str, Vec<u8>); 14] = [
            ("a frame without a mask", unmasked.to_vec()),
            ("RSV1", frame(0xc1, b"4a")),
            ("RSV2", frame(0xa1, b"4a")),
            ("RSV3", frame(0x91, b"4a")),
            ("opcode 3", frame(0x83, b"4a")),
            ("opcode 11", frame(0x8b, b"")),
            ("a fragmented ping", frame(0x09, b"")),
            ("a long ping", frame(PING, &[0; 126])),
            ("a continuation of nothing", frame(0x80, b"4a")),
            ("a message inside a message", [frame(0x01, b"4"), frame(TEXT, b"4a")].concat()),
            ("a length with its top bit set", vec![BINARY, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]),
            ("half a close code", frame(CLOSE, b"\x03")),
            ("a reserved close code", frame(CLOSE, &1005_u16.to_be_bytes())),
            ("a close code below 1000", frame(CLOSE, &999_u16.to_be_bytes())),
        ];
        for (what, bytes) in cases {
            let (mut socket, sid) = WebSocket::open(server.addr());
            socket.conn.write(bytes);
            assert_eq!(socket.expect_close(), Some(PROTOCOL_ERROR), "{what}");
            drop(socket);
            assert_eq!(server.log.close_reason(&sid), CloseReason::ParseError, "{what}");
        }
        let reason = [&1000_u16.to_be_bytes()[..], b"\xff"].concat();
        expect_end(&server, &frame(CLOSE, &reason), INVALID_PAYLOAD, CloseReason::ParseError);
        server.wait_until_empty();
    });
}

#[test]
fn ping_packet_from_the_client_ends_the_session() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        for text in ["2", "2probe"] {
            let (mut socket, sid) = WebSocket::open(server.addr());
            socket.send(text);
            assert_eq!(socket.expect_close(), Some(PROTOCOL_ERROR));
            assert_eq!(server.log.close_reason(&sid), CloseReason::TransportError);
        }
        // Other packets without a meaning are ignored, as the JavaScript server does.
        let (mut socket, _) = WebSocket::open(server.addr());
        ["3", "3early", "0{}", "5", "6"].iter().for_each(|text| socket.send(text));
        socket.assert_alive();
    });
}

#[test]
fn invalid_input_harms_no_other_connection() {
    for_each_config(|config: Config| {
        let server = TestServer::start(config);
        let mut good: Vec<_> = (0..8).map(|_| WebSocket::open(server.addr()).0).collect();
        for _ in 0..20 {
            let (mut bad, _) = WebSocket::open(server.addr());
            bad.conn.write(frame(0xf7, &[0xff; 100]));
            assert_eq!(bad.expect_close(), Some(PROTOCOL_ERROR));
        }
        good.iter_mut().for_each(WebSocket::assert_alive);
        server.wait_for_counts(8, 8);
    });
}
