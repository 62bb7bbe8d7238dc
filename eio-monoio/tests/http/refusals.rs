//! Refused requests, row by row, and their effect on other sessions: none (`docs/protocol.md` 2.2).

use std::io::ErrorKind;
use std::time::Duration;

use crate::support::configs::{default_config, for_each_config};
use crate::support::connection::Connection;
use crate::support::polling::Polling;
use crate::support::refusals::{
    BAD_METHOD, BAD_REQUEST, BAD_VERSION, FORBIDDEN, UNKNOWN_SID, UNKNOWN_TRANSPORT,
};
use crate::support::request::{POLLING, Request, WEBSOCKET, target};
use crate::support::test_server::TestServer;
use crate::support::websocket::WebSocket;

/// The target of a query.
fn at(query: &str) -> String {
    format!("/engine.io/?{query}")
}

#[test]
fn refusals_match_the_protocol_table() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut bystander = Polling::open(server.addr());
        let sid = bystander.sid.clone();
        let with = |query: &str| at(&format!("{query}&sid={sid}"));
        let get = |query: &str| Request::get(&at(query));
        for (request, status, body) in [
            // `EIO` missing or not 4
            (get("transport=polling"), 400, BAD_VERSION),
            (get("EIO=&transport=polling"), 400, BAD_VERSION),
            (get("EIO=3&transport=polling"), 400, BAD_VERSION),
            (get("EIO=44&transport=polling"), 400, BAD_VERSION),
            (Request::upgrade(&at("transport=websocket")), 400, BAD_VERSION),
            (Request::upgrade(&at("EIO=3&transport=websocket")), 400, BAD_VERSION),
            // `transport` missing
            (get("EIO=4"), 400, UNKNOWN_TRANSPORT),
            (Request::get("/engine.io/"), 400, UNKNOWN_TRANSPORT),
            (Request::get("/engine.io"), 400, UNKNOWN_TRANSPORT),
            (Request::upgrade(&at("EIO=4")), 400, UNKNOWN_TRANSPORT),
            // unknown transport
            (get("EIO=4&transport=constructor"), 400, UNKNOWN_TRANSPORT),
            (get("EIO=4&transport=__proto__"), 400, UNKNOWN_TRANSPORT),
            (get("EIO=4&transport=webtransport"), 400, UNKNOWN_TRANSPORT),
            (Request::upgrade(&at("EIO=4&transport=abc")), 400, UNKNOWN_TRANSPORT),
            (Request::get(&with("EIO=4&transport=abc")), 400, UNKNOWN_TRANSPORT),
            // `transport=websocket` without an upgrade
            (Request::get(WEBSOCKET), 400, BAD_REQUEST),
            (Request::get(&with("EIO=4&transport=websocket")), 400, BAD_REQUEST),
            // polling with an upgrade, which the JavaScript server answers with 101
            (Request::upgrade(POLLING), 400, BAD_REQUEST),
            (Request::upgrade(&target(&sid)), 400, BAD_REQUEST),
            // handshake with another method
            (Request::post(POLLING, ""), 400, BAD_METHOD),
            (Request::new("PUT", POLLING), 400, BAD_METHOD),
            (Request::new("DELETE", POLLING), 400, BAD_METHOD),
            (Request::new("get", POLLING), 400, BAD_METHOD),
            // unknown sid
            (Request::get(&target("zzz")), 400, UNKNOWN_SID),
            (Request::post(&target("zzz"), ""), 400, UNKNOWN_SID),
            (Request::get(&target("__proto__")), 400, UNKNOWN_SID),
            (Request::get(&target("a%20b")), 400, UNKNOWN_SID),
            (Request::get(&target("lv_VI97HAXpY6yYWAAAC")), 400, UNKNOWN_SID),
            (Request::get(&target(&"a".repeat(5000))), 400, UNKNOWN_SID),
            (Request::upgrade(&format!("{WEBSOCKET}&sid=zzz")), 400, UNKNOWN_SID),
            // other methods with a sid
            (Request::new("PUT", &target(&sid)), 405, ""),
            (Request::new("DELETE", &target(&sid)), 405, ""),
            (Request::new("PATCH", &target(&sid)), 405, ""),
            // JSONP, which is not supported
            (get("EIO=4&transport=polling&j=0"), 400, BAD_REQUEST),
            (get("EIO=4&transport=polling&j=x"), 400, BAD_REQUEST),
        ] {
            let mut conn = Connection::open(server.addr());
            let response = conn.request(&request);
            let what = format!("{request:?}: {response:?}");
            assert_eq!((response.status, response.text()), (status, body), "{what}");
            let kind = (!body.is_empty()).then_some("application/json");
            assert_eq!(response.header("Content-Type"), kind, "{what}");
            // RFC 9110 15.5.6: "The origin server MUST generate an Allow header field in a 405".
            let allow = (status == 405).then_some("GET, POST, OPTIONS");
            assert_eq!(response.header("Allow"), allow, "{what}");
            // A refusal keeps the connection.
            let next = conn.request(&get("EIO=4"));
            next.assert(400, UNKNOWN_TRANSPORT);
        }
        bystander.assert_alive();
        server.wait_for_counts(1, 2);
    });
}

#[test]
fn refusal_of_head_has_no_body() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        for (target, status) in [(POLLING, 400), (&*target(&polling.sid), 405), ("/other", 404)] {
            polling.post.send(&Request::new("HEAD", target));
            assert_eq!(polling.post.response_to_head().status, status, "{target}");
            // The client would parse a body as the next response.
            polling.post.request(&Request::get(&at("EIO=4"))).assert(400, UNKNOWN_TRANSPORT);
        }
        polling.assert_alive();
    });
}

#[test]
fn malformed_sid_opens_no_session() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        for sid in ["%", "a/b", "\"", "a%0d%0ab", "%00"] {
            let response = Connection::open(server.addr()).request(&Request::get(&target(sid)));
            response.assert(400, UNKNOWN_SID);
        }
        assert_eq!(server.remote().sessions(), 0);
        server.wait_until_empty();
    });
}

#[test]
fn polling_request_for_an_upgraded_session_is_refused() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let polling = Polling::open(server.addr());
        let mut socket = WebSocket::attach(server.addr(), &polling.sid);
        socket.probe();
        socket.send("5");
        // Its echo shows that the `5` took effect.
        socket.assert_alive();
        for request in
            [Request::get(&target(&polling.sid)), Request::post(&target(&polling.sid), "4lost")]
        {
            Connection::open(server.addr()).request(&request).assert(400, BAD_REQUEST);
        }
        socket.assert_alive();
    });
}

#[test]
fn application_can_refuse_on_every_transport() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        for (kind, status, body) in [
            ("unauthorized", 401, r#""Unauthorized""#),
            ("json", 401, r#"{"why":"not today"}"#),
            ("forbidden", 403, FORBIDDEN),
            ("unavailable", 503, r#""Service Unavailable""#),
        ] {
            // Over WebSocket the refusal replaces the 101.
            for request in [
                Request::get(&format!("{POLLING}&refuse={kind}")),
                Request::upgrade(&format!("{WEBSOCKET}&refuse={kind}")),
            ] {
                let mut conn = Connection::open(server.addr());
                let response = conn.request(&request);
                response.assert(status, body);
                assert_eq!(response.header("Content-Type"), Some("application/json"));
                assert_eq!(conn.request(&Request::get(POLLING)).status, 200);
            }
        }
        assert!(
            server.log.all().iter().all(|(_, entry)| *entry == crate::support::log::Entry::Opened)
        );
        server.wait_for_counts(8, 0);
    });
}

#[test]
fn body_of_a_refused_request_is_not_parsed_as_a_request() {
    let smuggled = Request::get(POLLING).bytes();
    for_each_config(|config| {
        let server = TestServer::start(config);
        let polling = Polling::open(server.addr());
        let with_body = |method: &str, target: &str| {
            let length = smuggled.len().to_string();
            Request::new(method, target).header("Content-Length", &length).body(&smuggled)
        };
        for (request, status) in [
            (with_body("POST", POLLING), 400),
            (with_body("POST", &target("zzz")), 400),
            (with_body("PUT", &target(&polling.sid)), 405),
            (with_body("OPTIONS", POLLING), 204),
            (with_body("GET", POLLING), 200),
            (with_body("GET", &at("EIO=4")), 400),
            (Request::chunked(&target("zzz"), [&*smuggled]), 400),
        ] {
            let mut conn = Connection::open(server.addr());
            let response = conn.request(&request);
            assert_eq!(response.status, status, "{request:?}");
            // The body is read or the connection closed, but the body is not parsed as a request.
            match conn.try_response(Duration::from_millis(50)) {
                Err(error) if error.kind() == ErrorKind::TimedOut => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
                other => panic!("{request:?}: {other:?}"),
            }
        }
        server.wait_for_counts(2, 2);
    });
}

#[test]
fn body_of_a_get_is_not_parsed_as_a_request() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        let smuggled = Request::post(&target(&polling.sid), "4smuggled").bytes();
        let length = smuggled.len().to_string();
        let request = Request::get(&target(&polling.sid)).header("Content-Length", &length);
        polling.get.send(&request.body(&smuggled));
        polling.post_ok("4mine");
        assert_eq!(polling.poll_response(), "4mine");
        polling.get.expect_closed();
        assert_eq!(server.log.messages(&polling.sid).len(), 1);
        polling.get = Connection::open(server.addr());
        polling.assert_alive();
    });
}

#[test]
fn upgrade_with_a_body_is_refused() {
    let server = TestServer::start(default_config());
    let polling = Polling::open(server.addr());
    let frame = crate::support::websocket::frame(crate::support::websocket::TEXT, b"5");
    for target in [WEBSOCKET, &*format!("{WEBSOCKET}&sid={}", polling.sid)] {
        let request = Request::upgrade(target).header("Content-Length", &frame.len().to_string());
        let mut conn = Connection::open(server.addr());
        conn.request(&request.body(&frame)).assert(400, BAD_REQUEST);
        conn.expect_closed();
    }
    server.wait_for_counts(1, 2);
}
