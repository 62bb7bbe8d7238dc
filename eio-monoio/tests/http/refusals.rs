//! Protocol 2.2: requests that are refused, row by row, and that nothing else suffers by it.

use std::io::ErrorKind;
use std::time::Duration;

use crate::support::app::Host;
use crate::support::matrix::{everywhere, somewhere};
use crate::support::wire::{
    POLLING, Polling, Request, UNKNOWN_SID, WEBSOCKET, WebSocket, Wire, opening, target,
};

const UNKNOWN_TRANSPORT: &str = r#"{"code":0,"message":"Transport unknown"}"#;
const BAD_METHOD: &str = r#"{"code":2,"message":"Bad handshake method"}"#;
const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;
const BAD_VERSION: &str = r#"{"code":5,"message":"Unsupported protocol version"}"#;

/// The target of a query.
fn at(query: &str) -> String {
    format!("/engine.io/?{query}")
}

#[test]
fn no_refusal_differs_from_its_row() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut bystander = Polling::open(host.addr());
        let sid = bystander.sid.clone();
        let with = |query: &str| at(&format!("{query}&sid={sid}"));
        let get = |query: &str| Request::get(&at(query));
        for (request, status, body) in [
            // `EIO` missing or not 4
            (get("transport=polling"), 400, BAD_VERSION),
            (get("EIO=&transport=polling"), 400, BAD_VERSION),
            (get("EIO=3&transport=polling"), 400, BAD_VERSION),
            (get("EIO=44&transport=polling"), 400, BAD_VERSION),
            (opening(&at("transport=websocket")), 400, BAD_VERSION),
            (opening(&at("EIO=3&transport=websocket")), 400, BAD_VERSION),
            // `transport` missing
            (get("EIO=4"), 400, UNKNOWN_TRANSPORT),
            (Request::get("/engine.io/"), 400, UNKNOWN_TRANSPORT),
            (Request::get("/engine.io"), 400, UNKNOWN_TRANSPORT),
            (opening(&at("EIO=4")), 400, UNKNOWN_TRANSPORT),
            // unknown transport
            (get("EIO=4&transport=constructor"), 400, UNKNOWN_TRANSPORT),
            (get("EIO=4&transport=__proto__"), 400, UNKNOWN_TRANSPORT),
            (get("EIO=4&transport=webtransport"), 400, UNKNOWN_TRANSPORT),
            (opening(&at("EIO=4&transport=abc")), 400, UNKNOWN_TRANSPORT),
            (Request::get(&with("EIO=4&transport=abc")), 400, UNKNOWN_TRANSPORT),
            // `transport=websocket` without an upgrade
            (Request::get(WEBSOCKET), 400, BAD_REQUEST),
            (Request::get(&with("EIO=4&transport=websocket")), 400, BAD_REQUEST),
            // and polling with one, which JS answers 101
            (opening(POLLING), 400, BAD_REQUEST),
            (opening(&target(&sid)), 400, BAD_REQUEST),
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
            (opening(&format!("{WEBSOCKET}&sid=zzz")), 400, UNKNOWN_SID),
            // other methods with a sid
            (Request::new("PUT", &target(&sid)), 405, ""),
            (Request::new("DELETE", &target(&sid)), 405, ""),
            (Request::new("PATCH", &target(&sid)), 405, ""),
            // JSONP, which nobody asks for any more
            (get("EIO=4&transport=polling&j=0"), 400, BAD_REQUEST),
            (get("EIO=4&transport=polling&j=x"), 400, BAD_REQUEST),
        ] {
            let mut wire = Wire::connect(host.addr());
            let response = wire.request(&request);
            let what = format!("{request:?}: {response:?}");
            assert_eq!((response.status, response.text()), (status, body), "{what}");
            let kind = (!body.is_empty()).then_some("application/json");
            assert_eq!(response.header("Content-Type"), kind, "{what}");
            // RFC 9110 15.5.6: "The origin server MUST generate an Allow header field in a 405".
            let allow = (status == 405).then_some("GET, POST, OPTIONS");
            assert_eq!(response.header("Allow"), allow, "{what}");
            // A refusal costs a client its request and not its connection.
            let next = wire.request(&get("EIO=4"));
            next.assert(400, UNKNOWN_TRANSPORT);
        }
        bystander.assert_alive();
        host.settles_at(1, 2);
    });
}

#[test]
fn a_refusal_never_has_a_body_in_answer_to_head() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        for (target, status) in [(POLLING, 400), (&*target(&polling.sid), 405), ("/other", 404)] {
            polling.post.send(&Request::new("HEAD", target));
            assert_eq!(polling.post.response_to_head().status, status, "{target}");
            // A body would be taken for the next response.
            polling.post.request(&Request::get(&at("EIO=4"))).assert(400, UNKNOWN_TRANSPORT);
        }
        polling.assert_alive();
    });
}

#[test]
fn an_unknown_sid_never_opens_a_session() {
    everywhere(|config| {
        let host = Host::start(config);
        for sid in ["%", "a/b", "\"", "a%0d%0ab", "%00"] {
            let response = Wire::connect(host.addr()).request(&Request::get(&target(sid)));
            response.assert(400, UNKNOWN_SID);
        }
        assert_eq!(host.remote().sessions(), 0);
        host.empties();
    });
}

#[test]
fn a_polling_request_never_reaches_an_upgraded_session() {
    everywhere(|config| {
        let host = Host::start(config);
        let polling = Polling::open(host.addr());
        let mut socket = WebSocket::attach(host.addr(), &polling.sid);
        socket.send("2probe");
        assert_eq!(socket.text(), "3probe");
        socket.send("5");
        // Its echo shows that the `5` took effect.
        socket.assert_alive();
        for request in
            [Request::get(&target(&polling.sid)), Request::post(&target(&polling.sid), "4lost")]
        {
            Wire::connect(host.addr()).request(&request).assert(400, BAD_REQUEST);
        }
        socket.assert_alive();
    });
}

#[test]
fn the_application_never_refuses_in_vain() {
    everywhere(|config| {
        let host = Host::start(config);
        for (why, status, body) in [
            ("unauthorized", 401, r#""Unauthorized""#),
            ("json", 401, r#"{"why":"not today"}"#),
            ("forbidden", 403, r#"{"code":4,"message":"Forbidden"}"#),
            ("unavailable", 503, r#""Service Unavailable""#),
        ] {
            // Over WebSocket, too: before the 101, not after it.
            for request in [
                Request::get(&format!("{POLLING}&refuse={why}")),
                opening(&format!("{WEBSOCKET}&refuse={why}")),
            ] {
                let mut wire = Wire::connect(host.addr());
                let response = wire.request(&request);
                response.assert(status, body);
                assert_eq!(response.header("Content-Type"), Some("application/json"));
                assert_eq!(wire.request(&Request::get(POLLING)).status, 200);
            }
        }
        assert!(
            host.log.all().iter().all(|(_, entry)| *entry == crate::support::app::Entry::Opened)
        );
        host.settles_at(8, 0);
    });
}

#[test]
fn the_body_of_a_refused_request_is_never_taken_for_a_request() {
    let smuggled = Request::get(POLLING).bytes();
    everywhere(|config| {
        let host = Host::start(config);
        let polling = Polling::open(host.addr());
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
            let mut wire = Wire::connect(host.addr());
            let response = wire.request(&request);
            assert_eq!(response.status, status, "{request:?}");
            // Read to its end or closed, but not understood as a second request.
            match wire.try_response(Duration::from_millis(50)) {
                Err(error) if error.kind() == ErrorKind::TimedOut => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
                other => panic!("{request:?}: {other:?}"),
            }
        }
        host.settles_at(2, 2);
    });
}

#[test]
fn the_body_of_a_get_is_never_taken_for_the_next_request() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        let smuggled = Request::post(&target(&polling.sid), "4smuggled").bytes();
        let length = smuggled.len().to_string();
        let request = Request::get(&target(&polling.sid)).header("Content-Length", &length);
        polling.get.send(&request.body(&smuggled));
        polling.say("4mine");
        assert_eq!(polling.polled(), "4mine");
        polling.get.expect_gone();
        assert_eq!(host.log.messages(&polling.sid).len(), 1);
        polling.get = Wire::connect(host.addr());
        polling.assert_alive();
    });
}

#[test]
fn the_body_of_an_upgrade_is_never_taken_for_frames() {
    let host = Host::start(somewhere());
    let polling = Polling::open(host.addr());
    let frame = crate::support::wire::frame(crate::support::wire::TEXT, b"5");
    for target in [WEBSOCKET, &*format!("{WEBSOCKET}&sid={}", polling.sid)] {
        let request = opening(target).header("Content-Length", &frame.len().to_string());
        let mut wire = Wire::connect(host.addr());
        wire.request(&request.body(&frame)).assert(400, BAD_REQUEST);
        wire.expect_gone();
    }
    host.settles_at(1, 2);
}
