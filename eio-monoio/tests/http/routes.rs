//! Requests for other paths: what the application is given, and that its answer is framed by us alone.

use std::borrow::Cow;
use std::time::Duration;

use crate::support::app::Host;
use crate::support::matrix::{everywhere, somewhere};
use crate::support::wire::{POLLING, Request, WEBSOCKET, Wire, opening};
use eio_monoio::{Config, ConnectRequest, Handler, Message, Refusal, Socket};

/// Answers as the path says.
struct Routes;

impl Handler for Routes {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn message<'s>(&'s self, _: &Socket<()>, _: Message<'_>) -> impl Future<Output = ()> + use<'s> {
        async {}
    }

    async fn request(&self, request: http::Request<Vec<u8>>) -> http::Response<Cow<'static, [u8]>> {
        let builder = http::Response::builder();
        let path = request.uri().path();
        let response = match path.trim_start_matches('/').split_once('/') {
            // What came, to be looked at.
            Some(("mirror", _)) => {
                let mut lines = format!("{} {}\n", request.method(), request.uri());
                for (name, value) in request.headers() {
                    lines += &format!("{name}: {}\n", value.to_str().unwrap_or("?"));
                }
                let body = [lines.as_bytes(), b"\n", request.body()].concat();
                builder.header("X-Mirror", "yes").body(body.into())
            }
            Some(("status", code)) => {
                builder.status(code.parse::<u16>().expect("a code")).body(b"body"[..].into())
            }
            Some(("large", size)) => builder.body(vec![b'x'; size.parse().expect("a size")].into()),
            // Framing is not the application's: this would desynchronise the connection.
            Some(("lies", _)) => builder
                .header("Content-Length", "1")
                .header("Transfer-Encoding", "chunked")
                .header("Connection", "close")
                .header("Set-Cookie", "a=1")
                .header("Set-Cookie", "b=2")
                .body(b"the whole truth"[..].into()),
            Some(("opaque", _)) => builder
                .header("X", http::HeaderValue::from_bytes(b"\xff").expect("opaque bytes"))
                .body(b""[..].into()),
            _ => builder.status(404).body(b"nothing here"[..].into()),
        };
        response.expect("a response")
    }
}

fn routes(config: Config) -> Host {
    Host::run(config, |_| Routes)
}

#[test]
fn nothing_of_a_request_is_ever_kept_from_the_application() {
    everywhere(|config| {
        let host = routes(config);
        let mut wire = Wire::connect(host.addr());
        let body = "not changed: \x1e 4 b \r\n\r\n";
        let request = Request::post("/mirror/a%20b?q=%34&r", body);
        let response = wire.request(&request.header("X-Twice", "1").header("X-Twice", "2"));
        assert_eq!(response.status, 200);
        assert_eq!(response.header("X-Mirror"), Some("yes"));
        let (head, mirrored) = response.text().split_once("\n\n").expect("head and body");
        assert!(head.starts_with("POST /mirror/a%20b?q=%34&r\n"), "{head}");
        assert!(head.contains("\nhost: test\n"), "{head}");
        assert!(head.contains("\nx-twice: 1\nx-twice: 2"), "{head}");
        assert_eq!(mirrored, body);

        let chunked = Request::chunked("/mirror/", [&b"in "[..], b"chunks"]);
        assert!(wire.request(&chunked).text().ends_with("\n\nin chunks"));
        for method in ["PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND"] {
            let response = wire.request(&Request::new(method, "/mirror/"));
            assert!(response.text().starts_with(&format!("{method} /mirror/\n")), "{response:?}");
        }
        wire.request(&Request::get("/x")).assert(404, "nothing here");
    });
}

#[test]
fn a_bodiless_answer_never_has_a_body() {
    everywhere(|config| {
        let host = routes(config);
        let mut wire = Wire::connect(host.addr());
        for (status, length) in [(200, Some("4")), (404, Some("4")), (204, None), (304, None)] {
            wire.send(&Request::new("HEAD", &format!("/status/{status}")));
            let response = wire.response_to_head();
            assert_eq!((response.status, response.header("Content-Length")), (status, length));
        }
        for status in [204, 304] {
            let response = wire.request(&Request::get(&format!("/status/{status}")));
            assert_eq!((response.status, response.header("Content-Length")), (status, None));
        }
        // A body sent all the same would be taken for this answer.
        wire.request(&Request::get("/status/200")).assert(200, "body");
    });
}

#[test]
fn an_interim_status_is_never_sent_for_an_answer() {
    let host = routes(somewhere());
    // RFC 9110 15.2: the client would go on waiting for the final one, and read it from our body.
    for status in [100, 101, 103, 199] {
        let mut wire = Wire::connect(host.addr());
        wire.request(&Request::get(&format!("/status/{status}"))).assert(500, "");
        wire.request(&Request::get("/status/200")).assert(200, "body");
    }
}

#[test]
fn the_application_never_frames_its_answer_itself() {
    everywhere(|config| {
        let host = routes(config);
        let mut wire = Wire::connect(host.addr());
        for _ in 0..2 {
            let response = wire.request(&Request::get("/lies/"));
            response.assert(200, "the whole truth");
            assert_eq!(response.header("Content-Length"), Some("15"));
            assert_eq!(response.header("Transfer-Encoding"), None);
            let cookies = response.headers.iter().filter(|(name, _)| name == "set-cookie");
            assert_eq!(cookies.count(), 2);
        }
        // What cannot be sent is an error of ours, not half an answer.
        wire.request(&Request::get("/opaque/")).assert(500, "");
        wire.request(&Request::get("/status/200")).assert(200, "body");
    });
}

#[test]
fn a_large_answer_is_never_cut_short() {
    everywhere(|config| {
        let host = routes(config);
        let mut wire = Wire::connect(host.addr());
        for size in [0, 1, 65_535, 65_536, 5_000_000] {
            let response = wire.request(&Request::get(&format!("/large/{size}")));
            assert_eq!((response.status, response.body.len()), (200, size));
        }
    });
}

#[test]
fn the_body_of_any_route_is_never_unlimited() {
    everywhere(|config| {
        let host = routes(config.max_payload(100).body_timeout(Duration::from_millis(200)));
        let largest = "x".repeat(100);
        let mut wire = Wire::connect(host.addr());
        assert_eq!(wire.request(&Request::post("/mirror/", &largest)).status, 200);
        let larger = format!("{largest}x");
        for request in
            [Request::post("/mirror/", &larger), Request::chunked("/mirror/", [larger.as_bytes()])]
        {
            let mut wire = Wire::connect(host.addr());
            wire.request(&request).assert(413, "");
            wire.expect_eof();
        }
        let mut slow = Wire::connect(host.addr());
        slow.send(&Request::new("POST", "/mirror/").header("Content-Length", "2").body("x"));
        slow.response().assert(408, "");
        drop((wire, slow));
        host.empties();
    });
}

#[test]
fn a_client_that_waits_for_100_continue_never_waits_in_vain() {
    everywhere(|config| {
        let host = routes(config);
        let mut wire = Wire::connect(host.addr());
        let request = Request::new("POST", "/mirror/").header("Expect", "100-continue");
        let request = request.header("Content-Length", "5");
        wire.send(&request);
        assert_eq!(wire.response().status, 100);
        wire.write("hello");
        assert!(wire.response().text().ends_with("\n\nhello"));
        // Who does not wait is not told to go on.
        assert!(wire.request(&request.body("again")).text().ends_with("\n\nagain"));
    });
}

#[test]
fn an_upgrade_elsewhere_is_never_granted() {
    let host = routes(somewhere());
    let mut wire = Wire::connect(host.addr());
    wire.request(&opening("/socket")).assert(404, "nothing here");
    // RFC 9110 7.8: it may be ignored, and the connection is still HTTP.
    assert_eq!(wire.request(&opening(WEBSOCKET)).status, 101);
}

#[test]
fn pipelined_routes_and_sessions_are_never_answered_out_of_order() {
    everywhere(|config| {
        let host = routes(config);
        let mut wire = Wire::connect(host.addr());
        let mut all = Vec::new();
        for n in 0..20 {
            all.extend(Request::post("/mirror/", n.to_string()).bytes());
            all.extend(Request::get(POLLING).bytes());
            all.extend(Request::get(&format!("/large/{n}")).bytes());
        }
        wire.write(all);
        for n in 0..20 {
            assert!(wire.response().text().ends_with(&format!("\n\n{n}")));
            assert!(wire.response().text().starts_with("0{"));
            assert_eq!(wire.response().body.len(), n);
        }
        drop(wire);
        host.settles_at(20, 0);
    });
}
