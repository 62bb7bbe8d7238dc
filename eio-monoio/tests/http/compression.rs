//! HTTP compression of polling responses and of the responses of the application.

use std::borrow::Cow;
use std::io::Read;

use eio_monoio::{ConnectRequest, Handler, Message, Refusal, Socket};
use flate2::read::{GzDecoder, ZlibDecoder};
use http::header;

use crate::support::configs::{default_config, for_each_config};
use crate::support::connection::Connection;
use crate::support::polling::Polling;
use crate::support::request::{Request, target};
use crate::support::response::Response;
use crate::support::test_server::TestServer;

fn plain(response: &Response) -> Vec<u8> {
    let mut plain = Vec::new();
    match response.header("Content-Encoding") {
        None => plain.extend(&response.body),
        Some("gzip") => _ = GzDecoder::new(&*response.body).read_to_end(&mut plain).expect("gzip"),
        Some("deflate") => {
            _ = ZlibDecoder::new(&*response.body).read_to_end(&mut plain).expect("zlib");
        }
        other => panic!("{other:?}"),
    }
    plain
}

/// A poll whose answer is `4` and `len - 1` bytes of text.
fn poll(session: &mut Polling, len: usize, accept: Option<&str>) -> Response {
    let text = format!("4{}", "abcdefgh".repeat(len).split_at(len - 1).0);
    session.post_ok(&text);
    let mut request = Request::get(&target(&session.sid));
    if let Some(accept) = accept {
        request = request.header("Accept-Encoding", accept);
    }
    let response = session.get.request(&request);
    assert_eq!(response.status, 200);
    assert_eq!(plain(&response), text.as_bytes());
    assert_eq!(response.header("Content-Type"), Some("text/plain; charset=UTF-8"));
    response
}

#[test]
fn poll_is_compressed_on_request_above_the_threshold() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let session = &mut Polling::open(server.addr());
        for (len, accept, expected) in [
            (1024, Some("gzip, deflate, br"), Some("gzip")),
            (1023, Some("gzip, deflate, br"), None),
            (100_000, Some("deflate"), Some("deflate")),
            (100_000, Some("gzip;q=0.1, deflate;q=0.2"), Some("deflate")),
            (100_000, Some("gzip"), Some("gzip")),
            (100_000, Some("br, zstd"), None),
            (100_000, Some("gzip;q=0"), None),
            (100_000, None, None),
            (10, Some("gzip"), None),
            (2000, Some("gzip"), Some("gzip")),
        ] {
            let response = poll(session, len, accept);
            assert_eq!(response.header("Content-Encoding"), expected, "{len} {accept:?}");
            let vary = expected.map(|_| "Accept-Encoding");
            assert_eq!(response.header("Vary"), vary, "{len} {accept:?}");
            assert!(expected.is_none() || response.body.len() < len / 2);
        }
    });
}

#[test]
fn held_poll_is_compressed() {
    let server = TestServer::start(default_config());
    let mut session = Polling::open(server.addr());
    session.get.send(&Request::get(&target(&session.sid)).header("Accept-Encoding", "gzip"));
    session.get.expect_silence(std::time::Duration::from_millis(50));
    let text = format!("4{}", "x".repeat(5000));
    session.post_ok(&text);
    let response = session.get.response();
    assert_eq!(response.header("Content-Encoding"), Some("gzip"));
    assert_eq!(plain(&response), text.as_bytes());
    // The next request on the connection does not accept it.
    session.post_ok(&text);
    assert_eq!(session.poll(), text);
}

#[test]
fn compression_can_be_disabled_and_has_a_threshold() {
    let server = TestServer::start(default_config().workers(1).http_compression(false));
    let mut session = Polling::open(server.addr());
    assert_eq!(poll(&mut session, 5000, Some("gzip")).header("Content-Encoding"), None);

    let server = TestServer::start(default_config().workers(1).compression_threshold(100));
    let mut session = Polling::open(server.addr());
    assert_eq!(poll(&mut session, 100, Some("gzip")).header("Content-Encoding"), Some("gzip"));
    assert_eq!(poll(&mut session, 99, Some("gzip")).header("Content-Encoding"), None);
}

#[test]
fn incompressible_response_is_sent_uncompressed() {
    let server = TestServer::start(default_config().workers(1).compression_threshold(0));
    let mut session = Polling::open(server.addr());
    for len in [1, 2, 20] {
        let response = poll(&mut session, len, Some("gzip, deflate"));
        assert_eq!((response.header("Content-Encoding"), response.body.len()), (None, len));
    }
}

struct Pages;

impl Handler for Pages {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn message<'s>(&'s self, _: &Socket<()>, _: Message<'_>) -> impl Future<Output = ()> + use<'s> {
        async {}
    }

    async fn request(&self, request: http::Request<Vec<u8>>) -> http::Response<Cow<'static, [u8]>> {
        let response = http::Response::builder().header(header::ETAG, "\"tag\"");
        let response = match request.uri().path() {
            "/page" => response.header(header::CONTENT_TYPE, "text/html"),
            "/image" => response.header(header::CONTENT_TYPE, "image/png"),
            "/own" => response
                .header(header::CONTENT_TYPE, "text/html")
                .header(header::CONTENT_ENCODING, "x-own"),
            "/keep" => response
                .header(header::CONTENT_TYPE, "text/html")
                .header(header::CACHE_CONTROL, "public, No-Transform"),
            _ => response.status(404).header(header::CONTENT_TYPE, "text/html"),
        };
        response.body(Cow::Owned(vec![b'x'; 4096])).expect("a response")
    }
}

#[test]
fn application_responses_are_compressed_where_permitted() {
    let server = TestServer::run(default_config().workers(1), |_| Pages);
    let mut conn = Connection::open(server.addr());
    let mut get = |path: &str, accept: &str| {
        conn.request(&Request::get(path).header("Accept-Encoding", accept))
    };
    let page = get("/page", "gzip");
    assert_eq!(page.header("Content-Encoding"), Some("gzip"));
    assert_eq!(page.header("Vary"), Some("Accept-Encoding"));
    assert_eq!(page.header("ETag"), Some("W/\"tag\""));
    assert_eq!(plain(&page), [b'x'; 4096]);
    // A cache must know that the response varies, also when it was sent uncompressed.
    let page = get("/page", "br");
    assert_eq!((page.header("Content-Encoding"), page.body.len()), (None, 4096));
    assert_eq!(page.header("Vary"), Some("Accept-Encoding"));
    assert_eq!(page.header("ETag"), Some("\"tag\""));
    for (path, expected) in
        [("/image", None), ("/own", Some("x-own")), ("/keep", None), ("/missing", None)]
    {
        let page = get(path, "gzip");
        assert_eq!((page.header("Content-Encoding"), page.body.len()), (expected, 4096), "{path}");
        assert_eq!(page.header("Vary"), None, "{path}");
    }
    let head = Request::new("HEAD", "/page").header("Accept-Encoding", "gzip");
    conn.send(&head);
    assert_eq!(conn.response_to_head().header("Content-Encoding"), Some("gzip"));
}
