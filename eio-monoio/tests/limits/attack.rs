//! Attacks that a server on the open internet must resist; another client is served at once after each.
//!
//! Others are elsewhere: slow heads and bodies and unread responses in `timeouts.rs`, request smuggling in
//! `http/framing.rs`, paths in `http/files.rs`, leaks in the test `memory`.

use std::time::Duration;

use eio_monoio::CloseReason;

use crate::support::configs::for_each_config;
use crate::support::connection::Connection;
use crate::support::polling::{Polling, sid_of};
use crate::support::refusals::UNKNOWN_SID;
use crate::support::request::{POLLING, Request, WEBSOCKET, target, upgrade_target};
use crate::support::test_server::TestServer;
use crate::support::websocket::{BINARY, CLOSE, PING, PONG, TEXT, WebSocket, frame};

/// Other clients, old and new, are served at once.
#[track_caller]
fn assert_serves(server: &TestServer, bystander: &mut Polling) {
    bystander.assert_alive();
    WebSocket::open(server.addr()).0.assert_alive();
}

/// Frames that violate RFC 6455, each with its section and the close code of the answer.
fn invalid_frames() -> Vec<(String, Vec<u8>, u16)> {
    let mut all = Vec::new();
    let mut add = |what: String, bytes: Vec<u8>, code: u16| all.push((what, bytes, code));
    for reserved in 1..8_u8 {
        let first = TEXT | (reserved << 4);
        add(format!("5.2: reserved bits {reserved:03b}"), frame(first, b"4a"), 1002);
    }
    for opcode in (0x3..=0x7).chain(0xb..=0xf) {
        add(format!("5.2: opcode {opcode:#x}"), frame(0x80 | opcode, b""), 1002);
    }
    for (first, name) in [(TEXT, "text"), (BINARY, "binary"), (PING, "ping"), (CLOSE, "close")] {
        add(format!("5.1: an unmasked {name}"), vec![first, 0], 1002);
    }
    for (first, name) in [(CLOSE, "close"), (PING, "ping"), (PONG, "pong")] {
        add(format!("5.5: a fragmented {name}"), frame(first & 0x7f, b""), 1002);
        add(format!("5.5: a {name} of 126 bytes"), frame(first, &[0; 126]), 1002);
    }
    for (what, length, code) in [
        ("5.2: 125 in two bytes", &[0xfe, 0, 125][..], 1002),
        ("5.2: 65535 in eight bytes", &[0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], 1002),
        ("5.2: the top bit of a length", &[0xff, 0x80, 0, 0, 0, 0, 0, 0, 1], 1002),
        ("10.4: a length beyond any memory", &[0xff, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0], 1009),
    ] {
        // With a mask, so that the head is complete.
        add(what.into(), [&[BINARY], length, &[0; 4]].concat(), code);
    }
    add("5.4: a continuation without a start".into(), frame(0x80, b"4a"), 1002);
    let twice = [frame(0x01, b"4"), frame(0x02, b"a")].concat();
    add("5.4: a message inside a message".into(), twice, 1002);
    let late = [frame(0x01, b"4\xe2"), frame(0x80, b"\x28\xa1")].concat();
    add("8.1: invalid UTF-8 across fragments".into(), late, 1007);
    add("8.1: invalid UTF-8 without a packet type".into(), frame(TEXT, b"\xfe\xff"), 1007);
    add("5.5.1: half a code".into(), frame(CLOSE, b"\x03"), 1002);
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        add(format!("7.4: code {code}"), frame(CLOSE, &code.to_be_bytes()), 1002);
    }
    add("5.5.1: a reason of invalid UTF-8".into(), frame(CLOSE, b"\x03\xe8\xc3\x28"), 1007);
    all
}

#[test]
fn invalid_frames_close_only_their_own_session() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut bystander = Polling::open(server.addr());
        for (what, bytes, code) in invalid_frames() {
            let (mut socket, sid) = WebSocket::open(server.addr());
            // After a message: the connection is active.
            socket.conn.write([frame(TEXT, b"4before"), bytes].concat());
            assert_eq!(socket.text(), "4before", "{what}");
            assert_eq!(socket.expect_close(), Some(code), "{what}");
            drop(socket);
            let reason = server.log.close_reason(&sid);
            let expected = match code {
                1009 => CloseReason::PayloadTooLarge,
                _ => CloseReason::ParseError,
            };
            assert_eq!(reason, expected, "{what}");
        }
        assert_serves(&server, &mut bystander);
        server.wait_for_counts(1, 2);
    });
}

#[test]
fn invalid_websocket_handshakes_are_refused() {
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut bystander = Polling::open(server.addr());
        let ask = |lines: &[(&str, &str)]| {
            lines
                .iter()
                .fold(Request::get(WEBSOCKET), |request, (name, value)| request.header(name, value))
        };
        let upgrade = ("Upgrade", "websocket");
        let connection = ("Connection", "Upgrade");
        let version = ("Sec-WebSocket-Version", "13");
        let key = ("Sec-WebSocket-Key", KEY);
        for (what, lines) in [
            ("no Upgrade", &[connection, version, key][..]),
            ("another protocol", &[("Upgrade", "h2c"), connection, version, key]),
            ("no Connection", &[upgrade, version, key]),
            ("Connection without Upgrade", &[upgrade, ("Connection", "close"), version, key]),
            ("no version", &[upgrade, connection, key]),
            ("version 8", &[upgrade, connection, ("Sec-WebSocket-Version", "8"), key]),
            ("no key", &[upgrade, connection, version]),
            ("two keys", &[upgrade, connection, version, key, key]),
            (
                "15 bytes",
                &[upgrade, connection, version, ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25j")],
            ),
            (
                "a key that is not base64",
                &[upgrade, connection, version, ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25j!Q==")],
            ),
        ] {
            let mut conn = Connection::open(server.addr());
            let response = conn.request(&ask(lines));
            assert!((400..500).contains(&response.status), "{what}: {response:?}");
            // Frames after the refusal are not parsed.
            _ = conn.try_write(frame(TEXT, b"4a"));
        }
        assert_serves(&server, &mut bystander);
        server.wait_for_counts(1, 2);
    });
}

/// Complete conversations of every kind, for a session over polling.
fn conversations(sid: &str) -> Vec<Vec<u8>> {
    let frames = [frame(TEXT, b"4hello"), frame(PING, b"x"), frame(CLOSE, b"\x03\xe8")].concat();
    let probe = [frame(TEXT, b"2probe"), frame(TEXT, b"5")].concat();
    vec![
        [Request::upgrade(WEBSOCKET).bytes(), frames].concat(),
        [Request::upgrade(&upgrade_target(sid)).bytes(), probe].concat(),
        Request::post(&target(sid), "4hello").bytes(),
        Request::chunked(&target(sid), [b"4he".as_slice(), b"llo"]).bytes(),
        [Request::get(POLLING).bytes(), Request::get(&target(sid)).bytes()].concat(),
    ]
}

#[test]
fn resets_at_any_byte_leave_no_session_or_connection() {
    for_each_config(|config| {
        let beat = Duration::from_secs(1);
        let server = TestServer::start(config.ping_interval(beat).ping_timeout(beat));
        for kind in 0..5 {
            let mut n = 0;
            loop {
                let mut first = Connection::open(server.addr());
                let sid = sid_of(first.request(&Request::get(POLLING)).text());
                let bytes = conversations(&sid).swap_remove(kind);
                let mut conn = Connection::open(server.addr());
                conn.reset_on_close();
                conn.write(&bytes[..n.min(bytes.len())]);
                drop(conn);
                if n >= bytes.len() {
                    break;
                }
                // Every fifth byte: every byte would take minutes.
                n += 5;
            }
            WebSocket::open(server.addr()).0.assert_alive();
        }
        server.wait_until_empty();
        Polling::open(server.addr()).assert_alive();
    });
}

#[test]
fn half_closed_connections_are_closed() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut bystander = Polling::open(server.addr());
        // A client that has closed its sending direction cannot send again.
        let (mut socket, sid) = WebSocket::open(server.addr());
        socket.conn.shutdown_write();
        assert_eq!(server.log.close_reason(&sid), CloseReason::TransportClose);
        socket.conn.expect_closed();
        let mut polling = Polling::open(server.addr());
        let rest = polling.begin_post("4incomplete");
        assert!(!rest.is_empty());
        polling.post.shutdown_write();
        assert_eq!(server.log.close_reason(&polling.sid), CloseReason::TransportError);
        polling.post.expect_closed();
        let mut half = Connection::open(server.addr());
        half.write("GET /engine.io/?EIO=4");
        half.shutdown_write();
        half.expect_closed();
        drop(polling);
        assert_serves(&server, &mut bystander);
        server.wait_for_counts(1, 2);
    });
}

#[test]
fn ten_thousand_abandoned_polling_sessions_are_removed() {
    for_each_config(|config| {
        let beat = Duration::from_secs(2);
        let server = TestServer::start(config.ping_interval(beat).ping_timeout(beat));
        let handshakes = Request::get(POLLING).bytes().repeat(100);
        let mut conn = Connection::open(server.addr());
        for _ in 0..100 {
            conn.write(&handshakes);
            for _ in 0..100 {
                assert_eq!(conn.response().status, 200);
            }
        }
        WebSocket::open(server.addr()).0.assert_alive();
        drop(conn);
        server.wait_until_empty();
        Polling::open(server.addr()).assert_alive();
    });
}

#[test]
fn concurrent_upgrades_do_not_harm_the_session() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut bystander = Polling::open(server.addr());
        let mut polling = Polling::open(server.addr());
        let mut first = WebSocket::attach(server.addr(), &polling.sid);
        // All at once; each is closed, because a session has one probe.
        let upgrade = Request::upgrade(&upgrade_target(&polling.sid));
        let mut flood: Vec<_> = (0..100)
            .map(|_| {
                let mut conn = Connection::open(server.addr());
                conn.send(&upgrade);
                conn
            })
            .collect();
        polling.assert_alive();
        for mut conn in flood.drain(..) {
            assert_eq!(conn.response().status, 101);
            WebSocket { conn }.expect_close();
        }
        // The first is not affected.
        first.probe();
        first.send("5");
        first.assert_alive();
        drop(polling);
        assert_serves(&server, &mut bystander);
    });
}

#[test]
fn forged_sids_are_unknown() {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        let mut others: Vec<_> = (0..8).map(|_| Polling::open(server.addr())).collect();
        let mut tried = 0;
        // Every single bit: another worker, another slot, another secret.
        for at in 0..polling.sid.len() {
            for bit in 0..6 {
                let mut forged = polling.sid.clone().into_bytes();
                let digit =
                    ALPHABET.iter().position(|digit| *digit == forged[at]).expect("a digit");
                forged[at] = ALPHABET[digit ^ (1 << bit)];
                let forged = String::from_utf8(forged).expect("ASCII");
                let request = match tried % 3 {
                    0 => Request::get(&target(&forged)),
                    1 => Request::post(&target(&forged), "1"),
                    _ => Request::upgrade(&upgrade_target(&forged)),
                };
                // A refused POST ends its connection, because its body is not read.
                Connection::open(server.addr()).request(&request).assert(400, UNKNOWN_SID);
                tried += 1;
            }
        }
        // The slot of one session with the secret of another.
        for other in &others {
            let forged = format!("{}{}", &polling.sid[..8], &other.sid[8..]);
            let request = Request::post(&target(&forged), "1");
            Connection::open(server.addr()).request(&request).assert(400, UNKNOWN_SID);
        }
        polling.assert_alive();
        others.iter_mut().for_each(Polling::assert_alive);
    });
}

#[test]
fn compressed_request_bodies_are_refused() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut bystander = Polling::open(server.addr());
        // A gzip member of `4` and 100,000 times `x`, which must not reach the application.
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut gzip, format!("4{}", "x".repeat(100_000)).as_bytes())
            .expect("memory");
        let gzip = gzip.finish().expect("memory");
        for coding in ["gzip", "deflate", "br", "identity, gzip"] {
            let mut polling = Polling::open(server.addr());
            let request = Request::post(&target(&polling.sid), &gzip);
            let response = polling.post.request(&request.header("Content-Encoding", coding));
            assert!((400..500).contains(&response.status), "{coding}: {response:?}");
            assert_eq!(server.log.messages(&polling.sid), [], "{coding}");
        }
        assert_serves(&server, &mut bystander);
    });
}
