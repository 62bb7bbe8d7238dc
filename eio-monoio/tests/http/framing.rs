//! RFC 9112: framing that two readers could understand differently, and bytes that are no HTTP at all.

use std::io::ErrorKind;

use crate::support::app::Host;
use crate::support::matrix::everywhere;
use crate::support::wire::{POLLING, Polling, Request, Wire, target};

/// What would be opened if the bytes behind a refused request were read as another.
fn smuggled() -> Vec<u8> {
    Request::get(POLLING).bytes()
}

/// Sends `bytes` and expects one answer of this status, the end, and nothing in between.
#[track_caller]
fn refused(host: &Host, bytes: &[u8], status: u16) {
    let mut wire = Wire::connect(host.addr());
    // The server may have closed before all of it was sent.
    _ = wire.try_write(bytes);
    let what = bytes[..bytes.len().min(300)].escape_ascii();
    let response = wire.response();
    assert_eq!(response.status, status, "{what}: {response:?}");
    assert_eq!(response.text(), "", "{what}");
    assert_eq!(response.header("Connection"), Some("close"), "{what}");
    match wire.try_response(crate::support::wire::PATIENCE) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn ambiguous_framing_is_never_repaired() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut bystander = Polling::open(host.addr());
        let sid = Polling::open(host.addr()).sid;
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
            refused(&host, &post(lines, "4a"), status);
        }
        // A head that is refused has told nothing about whose it is.
        Wire::connect(host.addr()).request(&Request::post(&target(&sid), "4a")).assert(200, "ok");
        bystander.assert_alive();
        host.settles_at(2, 2);
    });
}

#[test]
fn a_bad_chunk_is_never_repaired() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut bystander = Polling::open(host.addr());
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
            let polling = Polling::open(host.addr());
            let request = Request::new("POST", &target(&polling.sid));
            let request = request.header("Transfer-Encoding", "chunked").body(body);
            refused(&host, &[request.bytes(), smuggled()].concat(), 400);
            // Such a body was never whole.
            let reason = host.log.close_reason(&polling.sid);
            assert_eq!(reason, eio_monoio::CloseReason::TransportError, "{body:?}");
            assert_eq!(host.log.messages(&polling.sid), [], "{body:?}");
            polling.assert_unknown();
        }
        bystander.assert_alive();
        host.settles_at(1, 2);
    });
}

#[test]
fn what_is_not_http_never_gets_more_than_a_refusal() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut bystander = Polling::open(host.addr());
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
            refused(&host, bytes, status);
        }
        // Empty lines before a request are forgiven: RFC 9112 2.2.
        let mut wire = Wire::connect(host.addr());
        wire.write([b"\r\n".to_vec(), smuggled()].concat());
        assert_eq!(wire.response().status, 200);
        drop(wire);
        bystander.assert_alive();
        host.settles_at(2, 2);
    });
}

#[test]
fn garbage_of_any_kind_never_takes_a_core_down() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut bystander = Polling::open(host.addr());
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
            let mut wire = Wire::connect(host.addr());
            _ = wire.try_write(&bytes);
            wire.finish();
            wire.expect_gone();
        }
        bystander.assert_alive();
        host.settles_at(1, 2);
    });
}

#[test]
fn clients_that_vanish_at_any_byte_never_leave_anything() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut bystander = Polling::open(host.addr());
        let whole = Request::get("/engine.io/?EIO=4&transport=polling&sid=nobody").bytes();
        for n in 0..=whole.len() {
            let mut wire = Wire::connect(host.addr());
            wire.write(&whole[..n]);
            if n % 2 == 0 {
                crate::support::wire::reset(&wire);
            }
        }
        bystander.assert_alive();
        host.settles_at(1, 2);
    });
}
