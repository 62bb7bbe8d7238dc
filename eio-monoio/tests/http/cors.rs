//! Cross-origin requests on the wire: who is refused, and what a browser hears.

use std::time::Duration;

use crate::support::app::Host;
use crate::support::matrix::{everywhere, somewhere};
use crate::support::wire::{
    POLLING, Polling, Request, Response, UNKNOWN_SID, WEBSOCKET, WebSocket, Wire, opening, sid_of,
    target,
};
use eio_monoio::Cors;

const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;
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
    // Without it a cache would hand the answer for one origin to another.
    assert_eq!(response.header("Vary"), Some("Origin"), "{response:?}");
}

#[track_caller]
fn assert_silent(response: &Response) {
    let named = response.headers.iter().any(|(name, _)| name.starts_with("Access-Control"));
    assert!(!named, "{response:?}");
}

#[test]
fn a_foreign_page_never_touches_a_session() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        polling.hold_poll();
        let sid = polling.sid.clone();
        for origin in [FOREIGN, "http://test.evil", "http://test:8080", "null", "file://"] {
            for request in [
                Request::get(POLLING),
                opening(WEBSOCKET),
                opening(&format!("{WEBSOCKET}&sid={sid}")),
                Request::get(&target(&sid)),
                Request::post(&target(&sid), "1"),
                Request::new("OPTIONS", POLLING),
                Request::new("PUT", &target(&sid)),
                // Before anything else is looked at: nothing is learned about sids either.
                Request::get(&target("nobody")),
            ] {
                let response = Wire::connect(host.addr()).request(&from(origin, request));
                response.assert(400, BAD_REQUEST);
                assert_silent(&response);
            }
        }
        // Not ended by the second GET or the close packet.
        polling.say("4mine");
        assert_eq!(polling.polled(), "4mine");
        host.settles_at(1, 2);
    });
}

#[test]
fn a_page_of_the_same_origin_never_misses_a_header() {
    everywhere(|config| {
        let host = Host::start(config.max_payload(100).body_timeout(Duration::from_millis(200)));
        let addr = host.addr();
        let once = |request: Request| Wire::connect(addr).request(&from(SAME, request));
        let opened = once(Request::get(POLLING));
        assert_allowed(&opened, SAME);
        let sid = sid_of(opened.text());
        // A browser hides every response without these from its page, refusals included.
        for (request, status) in [
            (Request::post(&target(&sid), "4x"), 200),
            (Request::get(&target(&sid)), 200),
            (Request::post(&target(&sid), "x".repeat(101)), 413),
            (Request::new("PUT", &target(&sid)), 405),
            (Request::get(&target("nobody")), 400),
            (Request::get(&format!("{POLLING}&refuse=forbidden")), 403),
            (Request::get("/engine.io/"), 400),
            (Request::new("OPTIONS", &target(&sid)), 204),
            (opening(&format!("{WEBSOCKET}&sid={sid}")), 101),
            (opening(WEBSOCKET), 101),
            (Request::new("POST", &target(&sid)).header("Content-Length", "2"), 408),
        ] {
            let response = once(request);
            assert_eq!(response.status, status);
            assert_allowed(&response, SAME);
        }
    });
}

#[test]
fn who_names_no_origin_never_hears_of_any() {
    let host = Host::start(somewhere());
    let response = Wire::connect(host.addr()).request(&Request::get(POLLING));
    assert_eq!(response.status, 200);
    assert_silent(&response);
    // The next request on a connection may be somebody else's, behind a proxy.
    let mut wire = Wire::connect(host.addr());
    assert_allowed(&wire.request(&from(SAME, Request::get(POLLING))), SAME);
    assert_silent(&wire.request(&Request::get(POLLING)));
    assert_allowed(&wire.request(&from(SAME, Request::get(POLLING))), SAME);
    wire.write("no request\r\n\r\n");
    let response = wire.response();
    assert_eq!(response.status, 400);
    assert_silent(&response);
}

#[test]
fn the_lines_of_a_held_get_are_never_those_of_another_request() {
    everywhere(|config| {
        let host = Host::start(config.cors(Cors::Any));
        let mut polling = Polling::open(host.addr());
        let other = "http://other.example";
        polling.get.send(&from(FOREIGN, Request::get(&target(&polling.sid))));
        let post = from(other, Request::post(&target(&polling.sid), "4x"));
        assert_allowed(&polling.post.request(&post), other);
        assert_allowed(&polling.get.response(), FOREIGN);
    });
}

#[test]
fn a_preflight_never_needs_a_session_nor_disturbs_one() {
    everywhere(|config| {
        let host = Host::start(config.cors(Cors::origins([FOREIGN])));
        let mut polling = Polling::open(host.addr());
        polling.hold_poll();
        for target in [POLLING, "/engine.io/", &target("nobody"), &target(&polling.sid)] {
            let request = Request::new("OPTIONS", target)
                .header("Access-Control-Request-Method", "POST")
                .header("Access-Control-Request-Headers", "content-type, x-token");
            let mut wire = Wire::connect(host.addr());
            let response = wire.request(&from(FOREIGN, request));
            response.assert(204, "");
            assert_allowed(&response, FOREIGN);
            let methods = response.header("Access-Control-Allow-Methods").expect("methods");
            assert!(methods.contains("GET") && methods.contains("POST"), "{methods}");
            let headers = response.header("Access-Control-Allow-Headers");
            assert_eq!(headers, Some("content-type, x-token"));
            // RFC 9110 8.6: "MUST NOT send a Content-Length header field in any response with a status code of
            // 1xx (Informational) or 204 (No Content)".
            assert_eq!(response.header("Content-Length"), None);
            assert_eq!(wire.request(&Request::get(POLLING)).status, 200);
        }
        polling.say("4undisturbed");
        assert_eq!(polling.polled(), "4undisturbed");
    });
}

#[test]
fn what_a_preflight_says_is_never_repeated_unseen() {
    let host = Host::start(somewhere().cors(Cors::Any));
    for wanted in ["x\u{e9}", "<script>", "a;b", "\"", "x\ty"] {
        let request = Request::new("OPTIONS", POLLING)
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", wanted);
        let response = Wire::connect(host.addr()).request(&from(FOREIGN, request));
        response.assert(204, "");
        assert_eq!(response.header("Access-Control-Allow-Headers"), None, "{wanted}");
    }
}

#[test]
fn an_origin_that_is_none_is_never_written_back() {
    let host = Host::start(somewhere().cors(Cors::Any));
    for origin in ["http://a b", "http://\u{e9}", "http://a\tb", "http://a\u{7f}"] {
        let response = Wire::connect(host.addr()).request(&from(origin, Request::get(POLLING)));
        assert_eq!(response.status, 400, "{origin:?}: {response:?}");
        assert_silent(&response);
    }
    let twice = from(FOREIGN, from(SAME, Request::get(POLLING)));
    Wire::connect(host.addr()).request(&twice).assert(400, BAD_REQUEST);
    assert_eq!(host.remote().sessions(), 0);
}

#[test]
fn only_listed_origins_are_ever_let_in() {
    let listed = "https://app.example:8443";
    let host = Host::start(somewhere().cors(Cors::origins([listed, FOREIGN])));
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
        let response = Wire::connect(host.addr()).request(&from(origin, Request::get(POLLING)));
        assert_eq!(response.status, status, "{origin}");
        if status == 200 {
            assert_allowed(&response, origin);
        }
    }
    // A WebSocket has no preflight: the origin is all there is.
    Wire::connect(host.addr())
        .request(&from("https://evil.example", opening(WEBSOCKET)))
        .assert(400, BAD_REQUEST);
}

#[test]
fn switched_off_it_never_says_or_checks_anything() {
    let host = Host::start(somewhere().cors(Cors::Off));
    let response = Wire::connect(host.addr()).request(&from(FOREIGN, Request::get(POLLING)));
    assert_eq!(response.status, 200);
    assert_silent(&response);
    let preflight = from(FOREIGN, Request::new("OPTIONS", POLLING));
    let response = Wire::connect(host.addr()).request(&preflight);
    response.assert(400, r#"{"code":2,"message":"Bad handshake method"}"#);
    assert_silent(&response);
    let unknown = from(FOREIGN, Request::get(&target("nobody")));
    Wire::connect(host.addr()).request(&unknown).assert(400, UNKNOWN_SID);
    WebSocket::open(host.addr()).0.assert_alive();
}

#[test]
fn the_application_s_word_about_an_origin_is_never_overruled() {
    let cors = Cors::predicate(|origin, request| match origin {
        "http://panic.example" => panic!("as told"),
        origin => origin.ends_with(".example") && request.query("tenant") == Some("a"),
    });
    let host = Host::start(somewhere().cors(cors));
    let mut wire = Wire::connect(host.addr());
    for (origin, query, status) in [
        (FOREIGN, "&tenant=a", 200),
        (FOREIGN, "&tenant=b", 400),
        // The same origin is none of its own accord.
        (SAME, "&tenant=a", 400),
        ("http://panic.example", "&tenant=a", 400),
    ] {
        let target = format!("{POLLING}{query}");
        let response = wire.request(&from(origin, Request::get(&target)));
        assert_eq!(response.status, status, "{origin}{query}");
        if status == 200 {
            assert_allowed(&response, origin);
        }
        let opened = Wire::connect(host.addr())
            .request(&from(origin, opening(&format!("{WEBSOCKET}{query}"))));
        assert_eq!(opened.status, if status == 200 { 101 } else { 400 }, "{origin}{query}");
    }
    // Who names no origin is no page.
    Polling::open(host.addr()).assert_alive();
}

#[test]
fn without_credentials_they_are_never_spoken_of() {
    let host = Host::start(somewhere().cors(Cors::Any).cors_credentials(false));
    for request in [Request::get(POLLING), Request::new("OPTIONS", POLLING)] {
        let response = Wire::connect(host.addr()).request(&from(FOREIGN, request));
        assert_eq!(response.header("Access-Control-Allow-Origin"), Some(FOREIGN), "{response:?}");
        assert_eq!(response.header("Access-Control-Allow-Credentials"), None, "{response:?}");
        assert_eq!(response.header("Vary"), Some("Origin"), "{response:?}");
    }
}

#[test]
fn other_routes_never_get_the_lines_of_engine_io() {
    let host = Host::start(somewhere().cors(Cors::Any));
    let response = Wire::connect(host.addr()).request(&from(FOREIGN, Request::get("/other")));
    response.assert(404, "Not Found");
    assert_silent(&response);
}
