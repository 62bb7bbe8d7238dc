//! Ambiguous framing (RFC 9112), malformed requests and random bytes.

use std::io::ErrorKind;

use crate::support::configs::for_each_config;
use crate::support::connection::Connection;
use crate::support::polling::Polling;
use crate::support::request::{POLLING, Request, target};
use crate::support::test_server::TestServer;

/// The request that would open a session if the bytes after a refused request were parsed.
fn smuggled() -> Vec<u8> {
    Request::get(POLLING).bytes()
}

/// Sends `bytes` and expects one response with this status, and then the end.
#[track_caller]
fn expect_refusal(server: &TestServer, bytes: &[u8], status: u16) {
    let mut conn = Connection::open(server.addr());
    // The server may have closed before all of it was sent.
    _ = conn.try_write(bytes);
    let shown = bytes[..bytes.len().min(300)].escape_ascii();
    let response = conn.response();
    assert_eq!(response.status, status, "{shown}: {response:?}");
    assert_eq!(response.text(), "", "{shown}");
    assert_eq!(response.header("Connection"), Some("close"), "{shown}");
    match conn.try_response(crate::support::wait::TIMEOUT) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
        other => panic!("{shown}: {other:?}"),
    }
}

#[test]
fn ambiguous_framing_is_refused() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut bystander = Polling::open(server.addr());
        let sid = Polling::open(server.addr()).sid;
        let post = |lines: &str, body: &str| {
            let head = format!("POST {} HTTP/1.1\r\nHost: a\r\n{lines}\r\n{body}", target(&sid));
            [head.into_bytes(), smuggled()].concat()
        };
        for (lines, status) in [
            ("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", 400),
            ("Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", 400),
            ("Content-Length: 2\r\nContent-Length: 3\r\n", 400),
            ("Content-Length: 2\r\nContent-Length: 2\r\n", 400),
            ("Content-Length: 2, 2\r\n", 400),
            ("Content-Length: +2\r\n", 400),
            ("Content-Length: -2\r\n", 400),
            ("Content-Length: 0x2\r\n", 400),
            ("Content-Length: 2 \x0b\r\n", 400),
            ("Content-Length: \r\n", 400),
            ("Content-Length: 18446744073709551616\r\n", 400),
            ("Content-Length : 2\r\n", 400),
            ("Content-Length: 2\n", 400),
            ("Content-Length: 2\rX: y\r\n", 400),
            ("X: y\r\n Content-Length: 2\r\n", 400),
            ("X: y\r\n\tz\r\n", 400),
            (" X: y\r\n", 400),
            ("X\0: y\r\n", 400),
            ("X: \0\r\n", 400),
            ("X y\r\n", 400),
            (": y\r\n", 400),
            ("Host: b\r\n", 400),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 501),
            ("Transfer-Encoding: chunked, chunked\r\n", 501),
            ("Transfer-Encoding: gzip, chunked\r\n", 501),
            ("Transfer-Encoding: identity\r\n", 501),
            ("Transfer-Encoding: xchunked\r\n", 501),
            ("Transfer-Encoding: \x0bchunked\r\n", 400),
        ] {
            expect_refusal(&server, &post(lines, "4a"), status);
        }
        // A refused head does not affect the session that it names.
        Connection::open(server.addr())
            .request(&Request::post(&target(&sid), "4a"))
            .assert(200, "ok");
        bystander.assert_alive();
        server.wait_for_counts(2, 2);
    });
}

#[test]
fn malformed_chunk_is_refused() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut bystander = Polling::open(server.addr());
        for body in [
            "g\r\n4a\r\n0\r\n\r\n",
            "\r\n4a\r\n0\r\n\r\n",
            "2\n4a\r\n0\r\n\r\n",
            "2\r\n4ab\r\n0\r\n\r\n",
            "2\r\n4a0\r\n\r\n",
            "2\r\n4a\n0\r\n\r\n",
            "+2\r\n4a\r\n0\r\n\r\n",
            "0x2\r\n4a\r\n0\r\n\r\n",
            "2 \r\n4a\r\n0\r\n\r\n",
            "00000000000000002\r\n4a\r\n0\r\n\r\n",
            "2;\0\r\n4a\r\n0\r\n\r\n",
            "2\r\n4a\r\n0\r\nX y\r\n\r\n",
            "2\r\n4a\r\n0\r\nX: y\n\r\n",
        ] {
            let polling = Polling::open(server.addr());
            let request = Request::new("POST", &target(&polling.sid));
            let request = request.header("Transfer-Encoding", "chunked").body(body);
            expect_refusal(&server, &[request.bytes(), smuggled()].concat(), 400);
            // The body was never complete.
            let reason = server.log.close_reason(&polling.sid);
            assert_eq!(reason, eio_monoio::CloseReason::TransportError, "{body:?}");
            assert_eq!(server.log.messages(&polling.sid), [], "{body:?}");
            polling.assert_unknown();
        }
        bystander.assert_alive();
        server.wait_for_counts(1, 2);
    });
}

#[test]
fn malformed_request_is_refused() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut bystander = Polling::open(server.addr());
        for (bytes, status) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], 400),
            (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
            (b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            (b"GET /\r\n\r\n", 400),
            (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            (b"GET / HTTP/1.1\nHost: a\n\n", 400),
            (b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
            (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
            (b"GET http:// HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            (b"GET engine.io HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            (b"\r\n\r\n\r\n\r\n", 400),
            (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", 400),
            (b"\0\0\0\0", 400),
            (b"\xff\xfe\xfd\r\n\r\n", 400),
            (b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\r\n\r\n", 400),
        ] {
            expect_refusal(&server, bytes, status);
        }
        // Empty lines before a request are ignored: RFC 9112 2.2.
        let mut conn = Connection::open(server.addr());
        conn.write([b"\r\n".to_vec(), smuggled()].concat());
        assert_eq!(conn.response().status, 200);
        drop(conn);
        bystander.assert_alive();
        server.wait_for_counts(2, 2);
    });
}

#[test]
fn random_bytes_do_not_stop_a_worker() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut bystander = Polling::open(server.addr());
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for len in 1..200 {
            let bytes: Vec<u8> = (0..len)
                .map(|_| {
                    // xorshift64: the same bytes in every run.
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state as u8
                })
                .collect();
            let mut conn = Connection::open(server.addr());
            _ = conn.try_write(&bytes);
            conn.shutdown_write();
            conn.expect_closed();
        }
        bystander.assert_alive();
        server.wait_for_counts(1, 2);
    });
}

#[test]
fn disconnects_at_any_byte_leave_no_connection() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut bystander = Polling::open(server.addr());
        let bytes = Request::get("/engine.io/?EIO=4&transport=polling&sid=unknown").bytes();
        for n in 0..=bytes.len() {
            let mut conn = Connection::open(server.addr());
            conn.write(&bytes[..n]);
            if n % 2 == 0 {
                conn.reset_on_close();
            }
        }
        bystander.assert_alive();
        server.wait_for_counts(1, 2);
    });
}
