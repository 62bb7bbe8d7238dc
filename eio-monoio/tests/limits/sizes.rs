//! Limits of sizes and numbers: payload, head, headers and connections. Each is exact and affects no other client.

use std::time::Duration;

use eio_monoio::CloseReason;

use crate::support::configs::{default_config, for_each_config};
use crate::support::connection::Connection;
use crate::support::polling::{Polling, sid_of};
use crate::support::request::{POLLING, Request, target};
use crate::support::test_server::TestServer;

#[test]
fn payload_limit_is_exact() {
    for_each_config(|config| {
        let server = TestServer::start(config.max_payload(1000));
        let mut bystander = Polling::open(server.addr());
        let mut polling = Polling::open(server.addr());
        let largest = format!("4{}", "x".repeat(999));
        let larger = format!("{largest}x");
        polling.post_ok(&largest);
        assert_eq!(polling.poll(), largest);
        let target = target(&polling.sid);
        let in_chunks = |body: &str| Request::chunked(&target, body.as_bytes().chunks(100));
        polling.post.request(&in_chunks(&largest)).assert(200, "ok");
        assert_eq!(polling.poll(), largest);

        polling.hold_poll();
        for request in [
            Request::post(&target, &larger),
            in_chunks(&larger),
            // The announced length is enough, no byte of the body has to arrive.
            Request::new("POST", &target).header("Content-Length", "1001"),
            Request::new("POST", &target).header("Content-Length", "18446744073709551615"),
            Request::new("POST", &target).header("Transfer-Encoding", "chunked").body("3e9\r\n"),
            Request::new("POST", &target)
                .header("Transfer-Encoding", "chunked")
                .body("ffffffffffffffff\r\n"),
        ] {
            let mut conn = Connection::open(server.addr());
            let response = conn.request(&request);
            response.assert(413, "");
            assert_eq!(response.header("Connection"), Some("close"));
            conn.expect_eof();
        }
        // `docs/protocol.md` 2.3.10: the session continues, and so does its held GET.
        polling.post_ok("4still here");
        assert_eq!(polling.poll_response(), "4still here");
        bystander.assert_alive();
        drop(polling);
        server.wait_for_counts(2, 2);
    });
}

#[test]
fn default_payload_limit_is_as_announced() {
    let server = TestServer::start(default_config());
    let mut polling = Polling::open(server.addr());
    let largest = format!("4{}", "x".repeat(999_999));
    polling.post_ok(&largest);
    assert_eq!(polling.poll(), largest);
    polling.try_post(format!("{largest}x")).assert(413, "");
}

#[test]
fn endless_chunk_extensions_are_refused() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut bystander = Polling::open(server.addr());
        let polling = Polling::open(server.addr());
        let request = Request::new("POST", &target(&polling.sid));
        let mut conn = Connection::open(server.addr());
        conn.send(&request.header("Transfer-Encoding", "chunked"));
        let chunk = format!("1;{}\r\n4\r\n", "e".repeat(1000));
        while conn.try_write(&chunk).is_ok() {
            if let Ok(response) = conn.try_response(Duration::from_millis(1)) {
                response.assert(413, "");
                break;
            }
        }
        conn.expect_closed();
        assert_eq!(server.log.close_reason(&polling.sid), CloseReason::TransportError);
        bystander.assert_alive();
        drop((polling, conn));
        server.wait_for_counts(1, 2);
    });
}

#[test]
fn head_size_limit_is_exact() {
    for_each_config(|config| {
        let server = TestServer::start(config.max_head_size(512));
        let mut bystander = Polling::open(server.addr());
        let bare = Request::get(POLLING).header("X", "").bytes().len();
        let of = |size: usize| Request::get(POLLING).header("X", &"x".repeat(size - bare));
        assert_eq!(of(512).bytes().len(), 512);
        assert_eq!(Connection::open(server.addr()).request(&of(512)).status, 200);
        for (bytes, status) in [
            (of(513).bytes(), 431),
            // An incomplete head above the limit.
            (of(2000).bytes()[..600].to_vec(), 431),
            (Request::get(&format!("{POLLING}&x={}", "x".repeat(600))).bytes(), 414),
            (b"x".repeat(600), 414),
        ] {
            let mut conn = Connection::open(server.addr());
            conn.write(bytes);
            let response = conn.response();
            response.assert(status, "");
            assert_eq!(response.header("Connection"), Some("close"));
            conn.expect_eof();
        }
        bystander.assert_alive();
        server.wait_for_counts(2, 2);
    });
}

#[test]
fn too_many_headers_are_refused() {
    let server = TestServer::start(default_config().max_headers(10));
    // Host is one.
    let of = |count: usize| {
        (1..count).fold(Request::get(POLLING), |request, n| request.header(&format!("X{n}"), "x"))
    };
    assert_eq!(Connection::open(server.addr()).request(&of(10)).status, 200);
    let mut conn = Connection::open(server.addr());
    conn.request(&of(11)).assert(431, "");
    conn.expect_eof();
    // The same for a request that opens no session.
    let post = (0..10).fold(Request::post("/other", ""), |request, _| request.header("X", "x"));
    Connection::open(server.addr()).request(&post).assert(431, "");
    drop(conn);
    server.wait_for_counts(1, 0);
}

#[test]
fn connection_limit_is_exact_and_recovers() {
    for_each_config(|config| {
        let server = TestServer::start(config.max_connections(5));
        let mut polling = Polling::open(server.addr());
        let others: Vec<_> = (0..3).map(|_| Connection::open(server.addr())).collect();
        server.wait_for_counts(1, 5);
        for _ in 0..3 {
            let mut refused = Connection::open(server.addr());
            let response = refused.response();
            response.assert(503, "");
            assert_eq!(response.header("Connection"), Some("close"));
            let seconds = response.header("Retry-After").expect("a Retry-After");
            assert!(seconds.parse::<u32>().is_ok(), "{response:?}");
            refused.expect_eof();
        }
        polling.assert_alive();
        drop(others);
        server.wait_for_counts(1, 2);
        Polling::open(server.addr()).assert_alive();
        polling.assert_alive();
    });
}

#[test]
fn sessions_without_connections_need_no_descriptor() {
    let server = TestServer::start(default_config().max_connections(3));
    let mut conn = Connection::open(server.addr());
    let sids: Vec<_> =
        (0..100).map(|_| sid_of(conn.request(&Request::get(POLLING)).text())).collect();
    for sid in &sids {
        conn.request(&Request::post(&target(sid), "4x")).assert(200, "ok");
        conn.request(&Request::get(&target(sid))).assert(200, "4x");
    }
    server.wait_for_counts(100, 1);
}
