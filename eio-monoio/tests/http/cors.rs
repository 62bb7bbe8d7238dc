//! Cross-origin requests: which origins are refused, and the CORS headers of the others.

use std::time::Duration;

use eio_monoio::Cors;

use crate::support::configs::{default_config, for_each_config};
use crate::support::connection::Connection;
use crate::support::polling::{Polling, sid_of};
use crate::support::refusals::{BAD_METHOD, BAD_REQUEST, UNKNOWN_SID};
use crate::support::request::{POLLING, Request, WEBSOCKET, target, upgrade_target};
use crate::support::response::Response;
use crate::support::test_server::TestServer;
use crate::support::websocket::WebSocket;

const FOREIGN: &str = "http://elsewhere.example";
/// The requests of these tests all have `Host: test`.
const SAME: &str = "http://test";

fn from(origin: &str, request: Request) -> Request {
    request.header("Origin", origin)
}

#[track_caller]
fn assert_allowed(response: &Response, origin: &str) {
    assert_eq!(response.header("Access-Control-Allow-Origin"), Some(origin), "{response:?}");
    assert_eq!(response.header("Access-Control-Allow-Credentials"), Some("true"), "{response:?}");
    // Without it a cache would use the response for another origin.
    assert_eq!(response.header("Vary"), Some("Origin"), "{response:?}");
}

#[track_caller]
fn assert_no_cors(response: &Response) {
    let named = response.headers.iter().any(|(name, _)| name.starts_with("Access-Control"));
    assert!(!named, "{response:?}");
}

#[test]
fn foreign_origin_is_refused() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        polling.hold_poll();
        let sid = polling.sid.clone();
        for origin in [FOREIGN, "http://test.evil", "http://test:8080", "null", "file://"] {
            for request in [
                Request::get(POLLING),
                Request::upgrade(WEBSOCKET),
                Request::upgrade(&upgrade_target(&sid)),
                Request::get(&target(&sid)),
                Request::post(&target(&sid), "1"),
                Request::new("OPTIONS", POLLING),
                Request::new("PUT", &target(&sid)),
                // The origin is checked first, so a foreign page cannot probe for sids.
                Request::get(&target("unknown")),
            ] {
                let response = Connection::open(server.addr()).request(&from(origin, request));
                response.assert(400, BAD_REQUEST);
                assert_no_cors(&response);
            }
        }
        // Not ended by the second GET or the close packet.
        polling.post_ok("4mine");
        assert_eq!(polling.poll_response(), "4mine");
        server.wait_for_counts(1, 2);
    });
}

#[test]
fn same_origin_gets_cors_headers_on_every_response() {
    for_each_config(|config| {
        let server =
            TestServer::start(config.max_payload(100).body_timeout(Duration::from_millis(200)));
        let addr = server.addr();
        let once = |request: Request| Connection::open(addr).request(&from(SAME, request));
        let opened = once(Request::get(POLLING));
        assert_allowed(&opened, SAME);
        let sid = sid_of(opened.text());
        // A browser hides every response without these headers from its page, also refusals.
        for (request, status) in [
            (Request::post(&target(&sid), "4x"), 200),
            (Request::get(&target(&sid)), 200),
            (Request::post(&target(&sid), "x".repeat(101)), 413),
            (Request::new("PUT", &target(&sid)), 405),
            (Request::get(&target("unknown")), 400),
            (Request::get(&format!("{POLLING}&refuse=forbidden")), 403),
            (Request::get("/engine.io/"), 400),
            (Request::new("OPTIONS", &target(&sid)), 204),
            (Request::upgrade(&upgrade_target(&sid)), 101),
            (Request::upgrade(WEBSOCKET), 101),
            (Request::new("POST", &target(&sid)).header("Content-Length", "2"), 408),
        ] {
            let response = once(request);
            assert_eq!(response.status, status);
            assert_allowed(&response, SAME);
        }
    });
}

#[test]
fn request_without_origin_gets_no_cors_headers() {
    let server = TestServer::start(default_config());
    let response = Connection::open(server.addr()).request(&Request::get(POLLING));
    assert_eq!(response.status, 200);
    assert_no_cors(&response);
    // Behind a proxy the next request on a connection may have another origin.
    let mut conn = Connection::open(server.addr());
    assert_allowed(&conn.request(&from(SAME, Request::get(POLLING))), SAME);
    assert_no_cors(&conn.request(&Request::get(POLLING)));
    assert_allowed(&conn.request(&from(SAME, Request::get(POLLING))), SAME);
    conn.write("no request\r\n\r\n");
    let response = conn.response();
    assert_eq!(response.status, 400);
    assert_no_cors(&response);
}

#[test]
fn held_get_keeps_its_own_cors_headers() {
    for_each_config(|config| {
        let server = TestServer::start(config.cors(Cors::Any));
        let mut polling = Polling::open(server.addr());
        let other = "http://other.example";
        polling.get.send(&from(FOREIGN, Request::get(&target(&polling.sid))));
        let post = from(other, Request::post(&target(&polling.sid), "4x"));
        assert_allowed(&polling.post.request(&post), other);
        assert_allowed(&polling.get.response(), FOREIGN);
    });
}

#[test]
fn preflight_needs_no_session_and_disturbs_none() {
    for_each_config(|config| {
        let server = TestServer::start(config.cors(Cors::origins([FOREIGN])));
        let mut polling = Polling::open(server.addr());
        polling.hold_poll();
        for target in [POLLING, "/engine.io/", &target("unknown"), &target(&polling.sid)] {
            let request = Request::new("OPTIONS", target)
                .header("Access-Control-Request-Method", "POST")
                .header("Access-Control-Request-Headers", "content-type, x-token");
            let mut conn = Connection::open(server.addr());
            let response = conn.request(&from(FOREIGN, request));
            response.assert(204, "");
            assert_allowed(&response, FOREIGN);
            let methods = response.header("Access-Control-Allow-Methods").expect("methods");
            assert!(methods.contains("GET") && methods.contains("POST"), "{methods}");
            let headers = response.header("Access-Control-Allow-Headers");
            assert_eq!(headers, Some("content-type, x-token"));
            // RFC 9110 8.6: "MUST NOT send a Content-Length header field in any response with a status code of
            // 1xx (Informational) or 204 (No Content)".
            assert_eq!(response.header("Content-Length"), None);
            assert_eq!(conn.request(&Request::get(POLLING)).status, 200);
        }
        polling.post_ok("4undisturbed");
        assert_eq!(polling.poll_response(), "4undisturbed");
    });
}

#[test]
fn invalid_preflight_headers_are_not_repeated() {
    let server = TestServer::start(default_config().cors(Cors::Any));
    for wanted in ["x\u{e9}", "<script>", "a;b", "\"", "x\ty"] {
        let request = Request::new("OPTIONS", POLLING)
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", wanted);
        let response = Connection::open(server.addr()).request(&from(FOREIGN, request));
        response.assert(204, "");
        assert_eq!(response.header("Access-Control-Allow-Headers"), None, "{wanted}");
    }
}

#[test]
fn invalid_origin_is_refused_and_not_repeated() {
    let server = TestServer::start(default_config().cors(Cors::Any));
    for origin in ["http://a b", "http://\u{e9}", "http://a\tb", "http://a\u{7f}"] {
        let response =
            Connection::open(server.addr()).request(&from(origin, Request::get(POLLING)));
        assert_eq!(response.status, 400, "{origin:?}: {response:?}");
        assert_no_cors(&response);
    }
    let twice = from(FOREIGN, from(SAME, Request::get(POLLING)));
    Connection::open(server.addr()).request(&twice).assert(400, BAD_REQUEST);
    assert_eq!(server.remote().sessions(), 0);
}

#[test]
fn only_listed_origins_are_allowed() {
    let listed = "https://app.example:8443";
    let server = TestServer::start(default_config().cors(Cors::origins([listed, FOREIGN])));
    for (origin, status) in [
        (listed, 200),
        ("HTTPS://APP.EXAMPLE:8443", 200),
        (FOREIGN, 200),
        (SAME, 200),
        ("https://app.example", 400),
        ("http://app.example:8443", 400),
        ("https://app.example:84430", 400),
        ("https://evil.app.example:8443", 400),
        ("null", 400),
    ] {
        let response =
            Connection::open(server.addr()).request(&from(origin, Request::get(POLLING)));
        assert_eq!(response.status, status, "{origin}");
        if status == 200 {
            assert_allowed(&response, origin);
        }
    }
    // A WebSocket has no preflight: the origin is all there is.
    Connection::open(server.addr())
        .request(&from("https://evil.example", Request::upgrade(WEBSOCKET)))
        .assert(400, BAD_REQUEST);
}

#[test]
fn disabled_cors_checks_nothing_and_sends_no_headers() {
    let server = TestServer::start(default_config().cors(Cors::Off));
    let response = Connection::open(server.addr()).request(&from(FOREIGN, Request::get(POLLING)));
    assert_eq!(response.status, 200);
    assert_no_cors(&response);
    let preflight = from(FOREIGN, Request::new("OPTIONS", POLLING));
    let response = Connection::open(server.addr()).request(&preflight);
    response.assert(400, BAD_METHOD);
    assert_no_cors(&response);
    let unknown = from(FOREIGN, Request::get(&target("unknown")));
    Connection::open(server.addr()).request(&unknown).assert(400, UNKNOWN_SID);
    WebSocket::open(server.addr()).0.assert_alive();
}

#[test]
fn origin_predicate_decides() {
    let cors = Cors::predicate(|origin, request| match origin {
        "http://panic.example" => panic!("expected: this test panics"),
        origin => origin.ends_with(".example") && request.query("tenant").as_deref() == Some("a"),
    });
    let server = TestServer::start(default_config().cors(cors));
    let mut conn = Connection::open(server.addr());
    for (origin, query, status) in [
        (FOREIGN, "&tenant=a", 200),
        (FOREIGN, "&tenant=b", 400),
        // The predicate decides also about the same origin.
        (SAME, "&tenant=a", 400),
        ("http://panic.example", "&tenant=a", 400),
    ] {
        let target = format!("{POLLING}{query}");
        let response = conn.request(&from(origin, Request::get(&target)));
        assert_eq!(response.status, status, "{origin}{query}");
        if status == 200 {
            assert_allowed(&response, origin);
        }
        let opened = Connection::open(server.addr())
            .request(&from(origin, Request::upgrade(&format!("{WEBSOCKET}{query}"))));
        assert_eq!(opened.status, if status == 200 { 101 } else { 400 }, "{origin}{query}");
    }
    // A request without an origin is not from a page.
    Polling::open(server.addr()).assert_alive();
}

#[test]
fn credentials_header_can_be_disabled() {
    let server = TestServer::start(default_config().cors(Cors::Any).cors_credentials(false));
    for request in [Request::get(POLLING), Request::new("OPTIONS", POLLING)] {
        let response = Connection::open(server.addr()).request(&from(FOREIGN, request));
        assert_eq!(response.header("Access-Control-Allow-Origin"), Some(FOREIGN), "{response:?}");
        assert_eq!(response.header("Access-Control-Allow-Credentials"), None, "{response:?}");
        assert_eq!(response.header("Vary"), Some("Origin"), "{response:?}");
    }
}

#[test]
fn other_routes_get_no_cors_headers() {
    let server = TestServer::start(default_config().cors(Cors::Any));
    let response = Connection::open(server.addr()).request(&from(FOREIGN, Request::get("/other")));
    response.assert(404, "Not Found");
    assert_no_cors(&response);
}
