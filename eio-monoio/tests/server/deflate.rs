//! permessage-deflate of the server on the wire, RFC 7692.

use std::net::SocketAddr;

use eio_monoio::{CloseReason, PerMessageDeflate, Server};

use crate::commands::Commands;
use crate::support::app::App;
use crate::support::configs::{default_config, for_each_config};
use crate::support::connection::Connection;
use crate::support::deflate::{DeflatePeer, RSV1};
use crate::support::log::Log;
use crate::support::polling::{Polling, sid_of};
use crate::support::request::{Request, WEBSOCKET, target};
use crate::support::response::Response;
use crate::support::test_server::TestServer;
use crate::support::websocket::{BINARY, CLOSE, PING, PONG, TEXT, WebSocket, frame};

fn deflate() -> PerMessageDeflate {
    PerMessageDeflate::new()
}

fn ask(addr: SocketAddr, target: &str, offer: &str) -> (Connection, Response) {
    let mut conn = Connection::open(addr);
    let response =
        conn.request(&Request::upgrade(target).header("Sec-WebSocket-Extensions", offer));
    (conn, response)
}

/// A session over a WebSocket that is compressed.
#[track_caller]
fn open(server: &TestServer, offer: &str) -> (WebSocket, String) {
    let (conn, response) = ask(server.addr(), WEBSOCKET, offer);
    assert_eq!(response.status, 101);
    assert!(response.header("Sec-WebSocket-Extensions").is_some(), "{response:?}");
    let mut socket = WebSocket { conn };
    // The open packet is never compressed.
    let sid = sid_of(&socket.text());
    (socket, sid)
}

#[test]
fn offer_is_answered_according_to_the_configuration() {
    let alone = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    let takeover = || deflate().server_no_context_takeover(false).client_no_context_takeover(false);
    for (configured, offer, answer) in [
        (None, "permessage-deflate; client_max_window_bits", None),
        // Without the extension the offer is not parsed.
        (None, "permessage-deflate;;;", None),
        (Some(deflate()), "permessage-deflate; client_max_window_bits", Some(alone)),
        (Some(deflate()), "x, permessage-deflate;bad, permessage-deflate", Some(alone)),
        (Some(deflate()), "x-webkit-deflate-frame", None),
        (Some(deflate()), "permessage-deflate; server_max_window_bits=7", None),
        (Some(takeover()), "permessage-deflate", Some("permessage-deflate")),
        (
            Some(takeover().server_max_window_bits(10).client_max_window_bits(11)),
            "permessage-deflate; client_max_window_bits; server_max_window_bits=\"12\"",
            Some("permessage-deflate; server_max_window_bits=10; client_max_window_bits=11"),
        ),
        (Some(takeover().client_max_window_bits(11)), "permessage-deflate", None),
    ] {
        let config = default_config().workers(1);
        let config = match configured {
            Some(deflate) => config.per_message_deflate(deflate),
            None => config,
        };
        let server = TestServer::start(config);
        let (conn, response) = ask(server.addr(), WEBSOCKET, offer);
        assert_eq!(response.status, 101, "{offer}");
        assert_eq!(response.header("Sec-WebSocket-Extensions"), answer, "{offer}");
        WebSocket { conn }.text();
        // An upgrade is answered in the same way.
        let session = Polling::open(server.addr());
        let target = format!("{WEBSOCKET}&sid={}", session.sid);
        let (_wire, response) = ask(server.addr(), &target, offer);
        assert_eq!(response.status, 101, "{offer}");
        assert_eq!(response.header("Sec-WebSocket-Extensions"), answer, "{offer}");
    }
}

#[test]
fn malformed_offer_is_refused() {
    let server = TestServer::start(default_config().per_message_deflate(deflate()));
    for offer in ["permessage-deflate;", "permessage-deflate, ;", "a b", "a;b=\"c d\""] {
        let (_wire, response) = ask(server.addr(), WEBSOCKET, offer);
        assert_eq!(response.status, 400, "{offer}");
    }
    server.wait_until_empty();
}

#[test]
fn messages_above_the_threshold_are_compressed() {
    for_each_config(|config| {
        let server = TestServer::start(config.per_message_deflate(deflate()));
        let (mut socket, sid) = open(&server, "permessage-deflate; client_max_window_bits");
        for len in [1, 1022, 1023, 1024, 70_000, 999_999] {
            let text = format!(
                "4{}",
                "\u{e9}t\u{e9} ".repeat(len).chars().take(len / 2).collect::<String>()
            );
            let compressed = DeflatePeer::new().compress(text.as_bytes());
            // A client may compress any message, or none.
            for conn in [frame(TEXT | RSV1, &compressed), frame(TEXT, text.as_bytes())] {
                socket.conn.write(conn);
                let echo = socket.frame();
                if text.len() < 1024 {
                    assert_eq!((echo.first, &*echo.payload), (TEXT, text.as_bytes()));
                } else {
                    assert!(echo.payload.len() < text.len() / 10);
                    assert!(DeflatePeer::new().read(&echo, TEXT) == text.as_bytes());
                }
            }
        }
        let bytes = vec![7; 5000];
        socket.conn.write(frame(BINARY | RSV1, &DeflatePeer::new().compress(&bytes)));
        let echo = socket.frame();
        assert!(DeflatePeer::new().read(&echo, BINARY) == bytes);
        assert_eq!(server.log.messages(&sid).len(), 13);
        // A message that does not become smaller is sent uncompressed.
        let mut noise = vec![0; 5000];
        getrandom::fill(&mut noise).expect("random bytes");
        socket.conn.write(frame(BINARY | RSV1, &DeflatePeer::new().compress(&noise)));
        assert!(socket.binary() == noise);
    });
}

#[test]
fn message_can_be_sent_uncompressed_over_both_transports() {
    for_each_config(|config| {
        let server = Commands::start(config.per_message_deflate(deflate()));
        let text = "x".repeat(5000);
        let command = format!("4uncompressed {text}");
        // A connection whose messages refer to earlier ones, too.
        for offer in ["permessage-deflate; server_no_context_takeover", "permessage-deflate"] {
            let (mut socket, _) = open(&server, offer);
            socket.send(&format!("4broadcast {text}"));
            assert_eq!(socket.frame().first, TEXT | RSV1);
            socket.send(&command);
            assert_eq!(socket.text(), format!("4{text}"));
        }
        // Over polling it is queued; a response with other messages is sent uncompressed, too.
        let mut polling = Polling::open(server.addr());
        let gzip = |polling: &Polling| {
            Request::get(&target(&polling.sid)).header("Accept-Encoding", "gzip")
        };
        for (body, uncompressed) in [
            (command.clone(), true),
            (format!("4broadcast {text}"), false),
            (format!("4broadcast {text}\x1e{command}"), true),
        ] {
            polling.post_ok(&body);
            let response = polling.get.request(&gzip(&polling));
            assert_eq!(response.status, 200);
            assert_eq!(
                response.header("Content-Encoding").is_none(),
                uncompressed,
                "{}",
                &body[..20]
            );
        }
        // One that was queued before an upgrade keeps its option.
        polling.post_ok(&command);
        let target = format!("{WEBSOCKET}&sid={}", polling.sid);
        let (conn, response) = ask(server.addr(), &target, "permessage-deflate");
        assert_eq!(response.status, 101);
        let mut socket = WebSocket { conn };
        socket.probe();
        socket.send("5");
        assert_eq!(socket.text(), format!("4{text}"));
    });
}

#[test]
fn compressed_message_may_be_fragmented_around_control_frames() {
    for_each_config(|config| {
        let server = TestServer::start(config.per_message_deflate(deflate()));
        let (mut socket, _) = open(&server, "permessage-deflate");
        let text = format!("4{}", "hello ".repeat(1000));
        let compressed = DeflatePeer::new().compress(text.as_bytes());
        for size in [1, 7, compressed.len() / 2 + 1] {
            let mut conn = Vec::new();
            for (n, piece) in compressed.chunks(size).enumerate() {
                let fin = if (n + 1) * size >= compressed.len() { 0x80 } else { 0 };
                let opcode = if n == 0 { 0x01 | RSV1 } else { 0 };
                conn.extend(frame(fin | opcode, piece));
                if fin == 0 {
                    conn.extend(frame(PING, b"between"));
                }
            }
            let pings = compressed.len().div_ceil(size) - 1;
            socket.conn.write(conn);
            for _ in 0..pings {
                let pong = socket.frame();
                assert_eq!((pong.first, &*pong.payload), (PONG, &b"between"[..]));
            }
            let echo = socket.frame();
            assert_eq!(DeflatePeer::new().read(&echo, TEXT), text.as_bytes());
        }
    });
}

#[test]
fn context_takeover_is_used_when_agreed() {
    for_each_config(|config| {
        let deflate = deflate()
            .server_no_context_takeover(false)
            .client_no_context_takeover(false)
            .threshold(10);
        let server = TestServer::start(config.per_message_deflate(deflate));
        let (mut socket, _) = open(&server, "permessage-deflate");
        let mut peer = DeflatePeer::new();
        let mut sizes = Vec::new();
        for n in 0..20 {
            let text =
                format!("4{{\"user\":\"someone\",\"text\":\"this is message {n} of twenty\"}}");
            let compressed = peer.compress(text.as_bytes());
            socket.conn.write(frame(TEXT | RSV1, &compressed));
            let echo = socket.frame();
            assert_eq!(peer.read(&echo, TEXT), text.as_bytes());
            sizes.push((compressed.len(), echo.payload.len()));
        }
        assert!(sizes[19].0 < 20 && sizes[19].1 < 20, "{sizes:?}");
        // A client may ask the server for no context takeover.
        let (mut socket, _) = open(&server, "permessage-deflate; server_no_context_takeover");
        let text = format!("4{}", "a".repeat(65));
        for _ in 0..3 {
            socket.send(&text);
            let echo = socket.frame();
            assert_eq!(DeflatePeer::new().read(&echo, TEXT), text.as_bytes());
        }
    });
}

/// Sends `bytes` and expects a close frame with this code; the session ends for this reason.
#[track_caller]
fn expect_end(server: &TestServer, bytes: &[u8], code: u16, reason: CloseReason) {
    let (mut socket, sid) = open(server, "permessage-deflate; client_max_window_bits");
    socket.conn.write(bytes);
    let close = socket.frame();
    let shown = bytes[..bytes.len().min(40)].escape_ascii();
    assert_eq!((close.first, &*close.payload), (CLOSE, &code.to_be_bytes()[..]), "{shown}");
    socket.conn.shutdown_write();
    socket.conn.expect_eof();
    assert_eq!(server.log.close_reason(&sid), reason, "{shown}");
    assert_eq!(server.log.messages(&sid), [], "{shown}");
}

#[test]
fn inflated_message_above_the_limit_closes_with_1009() {
    let large = [100_001, 100_000_000].map(|size| DeflatePeer::new().compress(&vec![0; size]));
    for_each_config(|config| {
        let server = TestServer::start(config.max_payload(100_000).per_message_deflate(deflate()));
        let (mut socket, _) = open(&server, "permessage-deflate");
        let limit = vec![0; 100_000];
        socket.conn.write(frame(BINARY | RSV1, &DeflatePeer::new().compress(&limit)));
        let echo = socket.frame();
        assert!(DeflatePeer::new().read(&echo, BINARY) == limit);
        // Also random bytes, which compression makes larger.
        let mut noise = limit.clone();
        getrandom::fill(&mut noise).expect("random bytes");
        let compressed = DeflatePeer::new().compress(&noise);
        assert!(compressed.len() > noise.len());
        socket.conn.write(frame(BINARY | RSV1, &compressed));
        assert!(socket.binary() == noise);
        for data in &large {
            let reason = CloseReason::PayloadTooLarge;
            expect_end(&server, &frame(BINARY | RSV1, data), 1009, reason);
            let (front, back) = data.split_at(data.len() / 2);
            let halves = [frame(0x02 | RSV1, front), frame(0x80, back)].concat();
            expect_end(&server, &halves, 1009, reason);
        }
    });
}

#[test]
fn invalid_deflate_data_or_utf8_closes_with_1007() {
    for_each_config(|config| {
        let server = TestServer::start(config.per_message_deflate(deflate()));
        let reason = CloseReason::ParseError;
        for payload in [&b"4not compressed"[..], b"\xff\xff\xff", b"", b"\x00\x05\x00\xfa\xff"] {
            expect_end(&server, &frame(TEXT | RSV1, payload), 1007, reason);
        }
        let complete = DeflatePeer::new().compress(&[b'4'; 1000]);
        expect_end(&server, &frame(TEXT | RSV1, &complete[..complete.len() - 3]), 1007, reason);
        for text in [&b"4\xff"[..], b"4abc\xe2\x82"] {
            expect_end(
                &server,
                &frame(TEXT | RSV1, &DeflatePeer::new().compress(text)),
                1007,
                reason,
            );
        }
        // Without context takeover a message must not refer to an earlier one.
        let mut peer = DeflatePeer::new();
        let text = b"4the same again and again";
        let first = frame(TEXT | RSV1, &peer.compress(text));
        let second = frame(TEXT | RSV1, &peer.compress(text));
        let (mut socket, sid) = open(&server, "permessage-deflate");
        socket.conn.write([first, second].concat());
        assert_eq!(socket.text().as_bytes(), text);
        assert_eq!(socket.expect_close(), Some(1007));
        drop(socket);
        assert_eq!(server.log.close_reason(&sid), reason);
    });
}

#[test]
fn unexpected_rsv1_closes_with_1002() {
    for_each_config(|config| {
        let server = TestServer::start(config.per_message_deflate(deflate()));
        let hello = DeflatePeer::new().compress(b"4hello");
        for bytes in [
            frame(PING | RSV1, b""),
            frame(CLOSE | RSV1, b""),
            [frame(0x01 | RSV1, &hello[..2]), frame(0x80 | RSV1, &hello[2..])].concat(),
            [frame(0x01, b"4a"), frame(0x80 | RSV1, b"b")].concat(),
            frame(TEXT | 0x20, b"4a"),
            frame(TEXT | RSV1 | 0x10, &hello),
        ] {
            expect_end(&server, &bytes, 1002, CloseReason::ParseError);
        }
        // Nor without the extension.
        let (mut socket, _) = WebSocket::open(server.addr());
        socket.conn.write(frame(TEXT | RSV1, &hello));
        assert_eq!(socket.expect_close(), Some(1002));
    });
}

#[test]
fn broadcast_reaches_compressed_and_uncompressed_sessions() {
    for_each_config(|config| {
        let server = TestServer::start(
            config.per_message_deflate(deflate().server_no_context_takeover(false)),
        );
        let mut compressed: Vec<_> = (0..4)
            .map(|n| {
                let suffix = if n % 2 == 0 { "; server_no_context_takeover" } else { "" };
                open(&server, &format!("permessage-deflate{suffix}")).0
            })
            .collect();
        let (mut plain, _) = WebSocket::open(server.addr());
        let text = "to everyone ".repeat(500);
        let expected = format!("4{text}");
        server.remote().broadcast(text.as_str()).expect("the server runs");
        for socket in &mut compressed {
            let frame = socket.frame();
            assert_eq!(DeflatePeer::new().read(&frame, TEXT), expected.as_bytes());
        }
        assert_eq!(plain.text(), expected);
    });
}

#[test]
fn upgraded_session_is_compressed() {
    for_each_config(|config| {
        let server = TestServer::start(config.per_message_deflate(deflate()));
        let mut session = Polling::open(server.addr());
        let target = format!("{WEBSOCKET}&sid={}", session.sid);
        let (conn, response) = ask(server.addr(), &target, "permessage-deflate");
        assert!(response.header("Sec-WebSocket-Extensions").is_some());
        let mut socket = WebSocket { conn };
        socket.probe();
        assert_eq!(session.poll(), "6");
        socket.send("5");
        let text = format!("4{}", "x".repeat(5000));
        socket.conn.write(frame(TEXT | RSV1, &DeflatePeer::new().compress(text.as_bytes())));
        let echo = socket.frame();
        assert_eq!(DeflatePeer::new().read(&echo, TEXT), text.as_bytes());
    });
}

#[test]
fn raw_websocket_is_compressed() {
    let log = Log::default();
    let running = Server::new(move || App::new(&log))
        .config(default_config().per_message_deflate(deflate()))
        .plain_websockets(|socket, message| socket.send(message))
        .bind("127.0.0.1:0")
        .expect("the server starts");
    let (conn, response) = ask(running.local_addr(), "/chat", "permessage-deflate");
    assert_eq!(response.status, 101);
    let mut socket = WebSocket { conn };
    let text = "x".repeat(5000);
    socket.conn.write(frame(TEXT | RSV1, &DeflatePeer::new().compress(text.as_bytes())));
    let echo = socket.frame();
    assert_eq!(DeflatePeer::new().read(&echo, TEXT), text.as_bytes());
    socket.conn.write(frame(TEXT | RSV1, &DeflatePeer::new().compress(b"\xff")));
    assert_eq!(socket.expect_close(), Some(1007));
}
