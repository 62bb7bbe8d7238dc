//! Requests for other paths: the application receives the complete request, and the server frames the response.

use std::borrow::Cow;
use std::time::Duration;

use eio_monoio::{Config, ConnectRequest, Handler, Message, Refusal, Socket};

use crate::support::configs::{default_config, for_each_config};
use crate::support::connection::Connection;
use crate::support::request::{POLLING, Request, WEBSOCKET};
use crate::support::test_server::TestServer;

/// Answers according to the path.
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
            // The request itself.
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
            // The application does not control framing: these headers would desynchronise the connection.
            Some(("framing", _)) => builder
                .header("Content-Length", "1")
                .header("Transfer-Encoding", "chunked")
                .header("Connection", "close")
                .header("Set-Cookie", "a=1")
                .header("Set-Cookie", "b=2")
                .body(b"the complete body"[..].into()),
            Some(("opaque", _)) => builder
                .header("X", http::HeaderValue::from_bytes(b"\xff").expect("opaque bytes"))
                .body(b""[..].into()),
            _ => builder.status(404).body(b"nothing here"[..].into()),
        };
        response.expect("a response")
    }
}

fn routes(config: Config) -> TestServer {
    TestServer::run(config, |_| Routes)
}

#[test]
fn application_receives_the_complete_request() {
    for_each_config(|config| {
        let server = routes(config);
        let mut conn = Connection::open(server.addr());
        let body = "not changed: \x1e 4 b \r\n\r\n";
        let request = Request::post("/mirror/a%20b?q=%34&r", body);
        let response = conn.request(&request.header("X-Twice", "1").header("X-Twice", "2"));
        assert_eq!(response.status, 200);
        assert_eq!(response.header("X-Mirror"), Some("yes"));
        let (head, mirrored) = response.text().split_once("\n\n").expect("head and body");
        assert!(head.starts_with("POST /mirror/a%20b?q=%34&r\n"), "{head}");
        assert!(head.contains("\nhost: test\n"), "{head}");
        assert!(head.contains("\nx-twice: 1\nx-twice: 2"), "{head}");
        assert_eq!(mirrored, body);

        let chunked = Request::chunked("/mirror/", [&b"in "[..], b"chunks"]);
        assert!(conn.request(&chunked).text().ends_with("\n\nin chunks"));
        for method in ["PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND"] {
            let response = conn.request(&Request::new(method, "/mirror/"));
            assert!(response.text().starts_with(&format!("{method} /mirror/\n")), "{response:?}");
        }
        conn.request(&Request::get("/x")).assert(404, "nothing here");
    });
}

#[test]
fn bodiless_response_has_no_body() {
    for_each_config(|config| {
        let server = routes(config);
        let mut conn = Connection::open(server.addr());
        for (status, length) in [(200, Some("4")), (404, Some("4")), (204, None), (304, None)] {
            conn.send(&Request::new("HEAD", &format!("/status/{status}")));
            let response = conn.response_to_head();
            assert_eq!((response.status, response.header("Content-Length")), (status, length));
        }
        for status in [204, 304] {
            let response = conn.request(&Request::get(&format!("/status/{status}")));
            assert_eq!((response.status, response.header("Content-Length")), (status, None));
        }
        // The client would parse a body as this response.
        conn.request(&Request::get("/status/200")).assert(200, "body");
    });
}

#[test]
fn interim_status_is_replaced_by_500() {
    let server = routes(default_config());
    // RFC 9110 15.2: the client would wait for the final response and parse the body as that.
    for status in [100, 101, 103, 199] {
        let mut conn = Connection::open(server.addr());
        conn.request(&Request::get(&format!("/status/{status}"))).assert(500, "");
        conn.request(&Request::get("/status/200")).assert(200, "body");
    }
}

#[test]
fn framing_headers_of_the_application_are_replaced() {
    for_each_config(|config| {
        let server = routes(config);
        let mut conn = Connection::open(server.addr());
        for _ in 0..2 {
            let response = conn.request(&Request::get("/framing/"));
            response.assert(200, "the complete body");
            assert_eq!(response.header("Content-Length"), Some("17"));
            assert_eq!(response.header("Transfer-Encoding"), None);
            let cookies = response.headers.iter().filter(|(name, _)| name == "set-cookie");
            assert_eq!(cookies.count(), 2);
        }
        // A response that cannot be sent is replaced by 500.
        conn.request(&Request::get("/opaque/")).assert(500, "");
        conn.request(&Request::get("/status/200")).assert(200, "body");
    });
}

#[test]
fn large_response_is_complete() {
    for_each_config(|config| {
        let server = routes(config);
        let mut conn = Connection::open(server.addr());
        for size in [0, 1, 65_535, 65_536, 5_000_000] {
            let response = conn.request(&Request::get(&format!("/large/{size}")));
            assert_eq!((response.status, response.body.len()), (200, size));
        }
    });
}

#[test]
fn request_body_is_limited_on_every_route() {
    for_each_config(|config| {
        let server = routes(config.max_payload(100).body_timeout(Duration::from_millis(200)));
        let largest = "x".repeat(100);
        let mut conn = Connection::open(server.addr());
        assert_eq!(conn.request(&Request::post("/mirror/", &largest)).status, 200);
        let larger = format!("{largest}x");
        for request in
            [Request::post("/mirror/", &larger), Request::chunked("/mirror/", [larger.as_bytes()])]
        {
            let mut conn = Connection::open(server.addr());
            conn.request(&request).assert(413, "");
            conn.expect_eof();
        }
        let mut slow = Connection::open(server.addr());
        slow.send(&Request::new("POST", "/mirror/").header("Content-Length", "2").body("x"));
        slow.response().assert(408, "");
        drop((conn, slow));
        server.wait_until_empty();
    });
}

#[test]
fn expect_100_continue_is_answered() {
    for_each_config(|config| {
        let server = routes(config);
        let mut conn = Connection::open(server.addr());
        let request = Request::new("POST", "/mirror/").header("Expect", "100-continue");
        let request = request.header("Content-Length", "5");
        conn.send(&request);
        assert_eq!(conn.response().status, 100);
        conn.write("hello");
        assert!(conn.response().text().ends_with("\n\nhello"));
        // A client that does not wait gets no 100.
        assert!(conn.request(&request.body("again")).text().ends_with("\n\nagain"));
    });
}

#[test]
fn upgrade_on_another_path_is_not_granted() {
    let server = routes(default_config());
    let mut conn = Connection::open(server.addr());
    conn.request(&Request::upgrade("/socket")).assert(404, "nothing here");
    // RFC 9110 7.8: the server may ignore it, and the connection is still HTTP.
    assert_eq!(conn.request(&Request::upgrade(WEBSOCKET)).status, 101);
}

#[test]
fn pipelined_routes_and_sessions_are_answered_in_order() {
    for_each_config(|config| {
        let server = routes(config);
        let mut conn = Connection::open(server.addr());
        let mut all = Vec::new();
        for n in 0..20 {
            all.extend(Request::post("/mirror/", n.to_string()).bytes());
            all.extend(Request::get(POLLING).bytes());
            all.extend(Request::get(&format!("/large/{n}")).bytes());
        }
        conn.write(all);
        for n in 0..20 {
            assert!(conn.response().text().ends_with(&format!("\n\n{n}")));
            assert!(conn.response().text().starts_with("0{"));
            assert_eq!(conn.response().body.len(), n);
        }
        drop(conn);
        server.wait_for_counts(20, 0);
    });
}
