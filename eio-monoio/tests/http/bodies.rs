//! Bodies of requests for other paths, as the application receives them.

use std::borrow::Cow;
use std::time::Duration;

use eio_monoio::{
    AsyncHandler, BodyError, Config, OwnedMessage, RequestBody, RequestInfo, Socket, sleep,
};

use crate::support::configs::{default_config, for_each_config};
use crate::support::connection::Connection;
use crate::support::request::Request;
use crate::support::test_server::TestServer;

type Response = http::Response<Cow<'static, [u8]>>;

/// Answers according to the path.
struct Uploads;

impl AsyncHandler for Uploads {
    type Session = ();

    async fn message(&self, _: Socket<()>, _: OwnedMessage) {}

    async fn respond(&self, request: &RequestInfo<'_>, mut body: RequestBody<'_>) -> Response {
        let text = match request.target().split_once('?').map_or(request.target(), |(p, _)| p) {
            "/who" => {
                let peer = request.peer_addr().map(|peer| peer.ip().to_string());
                let name = request.query("name").unwrap_or_default();
                let (peer, secure) = (peer.unwrap_or_default(), request.is_secure());
                format!("{peer} {name} {secure}")
            }
            "/large" => {
                body.set_limit(1 << 30);
                measure(&mut body).await
            }
            "/measure" => measure(&mut body).await,
            "/announced" => format!("{:?}", body.announced_len()),
            "/first" => match body.chunk().await {
                Ok(chunk) => format!("{:?}", chunk.map(<[u8]>::len)),
                Err(error) => error.to_string(),
            },
            "/slow" => {
                // Longer than `connect_timeout` in total, but not between two reads.
                for _ in 0..4 {
                    sleep(Duration::from_millis(60)).await;
                    _ = body.chunk().await;
                }
                "slow".into()
            }
            "/stuck" => std::future::pending().await,
            path => panic!("unknown path {path}"),
        };
        Response::new(text.into_bytes().into())
    }
}

/// The length and the sum of a body, and the size of its largest chunk.
async fn measure(body: &mut RequestBody<'_>) -> String {
    let (mut len, mut sum, mut largest) = (0, 0, 0);
    loop {
        match body.chunk().await {
            Ok(Some(chunk)) => {
                len += chunk.len();
                sum += chunk.iter().map(|byte| u64::from(*byte)).sum::<u64>();
                largest = largest.max(chunk.len());
            }
            Ok(None) => break,
            Err(error) => {
                assert_eq!(body.chunk().await, Err(error), "errors are final");
                return error.to_string();
            }
        }
    }
    assert!(largest <= 256 * 1024, "a chunk of {largest} bytes");
    assert_eq!(body.chunk().await, Ok::<_, BodyError>(None), "the end is final");
    format!("{len} {sum}")
}

fn uploads(config: Config) -> TestServer {
    TestServer::run(config, |_| Uploads)
}

#[test]
fn body_is_received_in_chunks_of_bounded_size() {
    for_each_config(|config| {
        let server = uploads(config.max_payload(1000));
        let mut conn = Connection::open(server.addr());
        let body = vec![7; 5_000_000];
        conn.request(&Request::post("/large", &body)).assert(200, "5000000 35000000");
        let pieces = body.chunks(70_001);
        conn.request(&Request::chunked("/large", pieces)).assert(200, "5000000 35000000");
        conn.request(&Request::post("/large", "")).assert(200, "0 0");
        conn.request(&Request::post("/measure", vec![1; 1000])).assert(200, "1000 1000");
        conn.request(&Request::get("/measure")).assert(200, "0 0");
        conn.request(&Request::post("/announced", "")).assert(200, "Some(0)");
        // The request that follows on the connection is not part of the body.
        let post = Request::post("/measure", "abc").bytes();
        conn.write([&*post, &*Request::get("/who?name=a%20b").bytes()].concat());
        conn.response().assert(200, "3 294");
        conn.response().assert(200, "127.0.0.1 a b false");
    });
}

#[test]
fn body_beyond_the_limit_is_answered_413() {
    for_each_config(|config| {
        let server = uploads(config.max_payload(1000));
        for request in [
            Request::post("/measure", vec![1; 1001]),
            Request::chunked("/measure", [&[1; 900][..], &[1; 900]]),
        ] {
            let mut conn = Connection::open(server.addr());
            let response = conn.request(&request);
            response.assert(413, "");
            assert_eq!(response.header("Connection"), Some("close"));
        }
        let mut conn = Connection::open(server.addr());
        conn.request(
            &Request::new("POST", "/measure").header("Transfer-Encoding", "chunked").body("x\r\n"),
        )
        .assert(400, "");
    });
}

#[test]
fn connection_closes_after_a_body_that_was_not_read() {
    for_each_config(|config| {
        let server = uploads(config);
        for (path, answer) in [("/announced", "Some(300000)"), ("/who", "127.0.0.1  false")] {
            let mut conn = Connection::open(server.addr());
            let response = conn.request(&Request::post(path, vec![b'x'; 300_000]));
            response.assert(200, answer);
            assert_eq!(response.header("Connection"), Some("close"));
        }
        let mut conn = Connection::open(server.addr());
        conn.request(&Request::post("/first", "abc")).assert(200, "Some(3)");
        // It was read to its end.
        conn.request(&Request::get("/who")).assert(200, "127.0.0.1  false");
    });
}

#[test]
fn handler_has_its_time_between_two_reads() {
    let config = default_config().connect_timeout(Duration::from_millis(200));
    let server = uploads(config.body_timeout(Duration::from_millis(100)));
    let mut conn = Connection::open(server.addr());
    conn.request(&Request::post("/slow", "abc")).assert(200, "slow");
    conn.request(&Request::post("/stuck", "")).assert(503, "");
    // The client's time is that of the body.
    let begun = Request::new("POST", "/measure").header("Content-Length", "10").body("abc");
    let mut conn = Connection::open(server.addr());
    conn.request(&begun).assert(408, "");
}

#[test]
fn client_that_waits_is_asked_to_continue() {
    let server = uploads(default_config());
    let mut conn = Connection::open(server.addr());
    let head = Request::new("POST", "/measure")
        .header("Content-Length", "3")
        .header("Expect", "100-continue");
    conn.send(&head);
    assert_eq!(conn.response_to_head().status, 100);
    conn.write(b"abc");
    conn.response().assert(200, "3 294");
    // A handler that does not read does not ask.
    conn.send(
        &Request::new("POST", "/who")
            .header("Content-Length", "3")
            .header("Expect", "100-continue"),
    );
    conn.response().assert(200, "127.0.0.1  false");
}
