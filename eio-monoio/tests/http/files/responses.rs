//! The response for a file: methods, conditional requests, ranges and codings.

use std::fs;
use std::io::Read;
use std::time::Duration;

use super::site;
use flate2::read::GzDecoder;

use crate::support::connection::Connection;
use crate::support::request::Request;

#[test]
fn only_get_and_head_are_allowed() {
    let (_site, running) = site();
    let mut conn = Connection::open(running.local_addr());
    let complete = conn.request(&Request::get("/static/a.css"));
    conn.send(&Request::new("HEAD", "/static/a.css"));
    let head = conn.response_to_head();
    for name in ["Content-Length", "Content-Type", "ETag", "Last-Modified", "Accept-Ranges"] {
        assert_eq!(head.header(name), complete.header(name), "{name}");
        assert!(head.header(name).is_some(), "{name}");
    }
    for method in ["DELETE", "OPTIONS", "PUT"] {
        let response = conn.request(&Request::new(method, "/static/a.css"));
        assert_eq!((response.status, response.header("Allow")), (405, Some("GET, HEAD")));
    }
    // A body that is not read must not be parsed as the next request.
    let with_body = Request::post("/static/a.css", "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let response = conn.request(&with_body);
    assert_eq!((response.status, response.header("Connection")), (405, Some("close")));
    conn.expect_eof();
    let mut conn = Connection::open(running.local_addr());
    conn.send(&Request::new("HEAD", "/static/missing"));
    assert_eq!(conn.response_to_head().status, 404);
}

#[test]
fn unchanged_file_is_answered_with_304() {
    let (site, running) = site();
    let mut conn = Connection::open(running.local_addr());
    let first = conn.request(&Request::get("/static/a.css"));
    let etag = first.header("ETag").expect("a tag").to_owned();
    let modified = first.header("Last-Modified").expect("a date").to_owned();
    assert!(etag.starts_with('"'), "{etag}");
    for (name, value) in [
        ("If-None-Match", &etag),
        ("If-None-Match", &format!("W/{etag}")),
        ("If-Modified-Since", &modified),
    ] {
        let again = conn.request(&Request::get("/static/a.css").header(name, value));
        assert_eq!((again.status, again.header("ETag")), (304, Some(&*etag)), "{name}");
        assert_eq!(again.header("Content-Length"), None);
    }
    let failed = conn.request(&Request::get("/static/a.css").header("If-Match", "\"x\""));
    assert_eq!(failed.status, 412);
    site.write("public/a.css", "b{}");
    let file = fs::File::options().write(true).open(site.join("public/a.css")).expect("the file");
    let earlier = std::time::SystemTime::now() - Duration::from_secs(3600);
    file.set_modified(earlier).expect("another time");
    let changed = conn.request(&Request::get("/static/a.css").header("If-None-Match", &etag));
    changed.assert(200, "b{}");
    assert_ne!(changed.header("ETag"), Some(&*etag));
}

#[test]
fn single_range_is_served() {
    let (site, running) = site();
    site.write("public/digits", "0123456789");
    let mut conn = Connection::open(running.local_addr());
    let mut range =
        |value: &str| conn.request(&Request::get("/static/digits").header("Range", value));
    for (value, body, content_range) in [
        ("bytes=0-3", "0123", "bytes 0-3/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=5-5", "5", "bytes 5-5/10"),
    ] {
        let part = range(value);
        part.assert(206, body);
        assert_eq!(part.header("Content-Range"), Some(content_range));
    }
    range("bytes=0-1,3-4").assert(200, "0123456789");
    let beyond = range("bytes=10-");
    beyond.assert(416, "");
    assert_eq!(beyond.header("Content-Range"), Some("bytes */10"));
}

#[test]
fn precompressed_files_are_preferred_to_compression() {
    let (site, running) = site();
    let text = "some text, ".repeat(1000);
    site.write("public/made.txt", &text);
    site.write("public/short.txt", "short");
    site.write("public/made.png", &text);
    site.write("public/large.txt", text.repeat(100));
    site.write("public/stored.js", "plain");
    site.write("public/stored.js.gz", "pretend this is gzip");
    site.write("public/stored.js.br", "pretend this is brotli");
    let mut conn = Connection::open(running.local_addr());
    let mut get = |path: &str, accept: &str| {
        conn.request(&Request::get(path).header("Accept-Encoding", accept))
    };
    let mut tags = std::collections::HashSet::new();
    for (accept, coding, body) in [
        ("gzip, br", Some("br"), "pretend this is brotli"),
        ("gzip, br;q=0.5", Some("gzip"), "pretend this is gzip"),
        ("deflate", None, "plain"),
        ("identity, br;q=0.1", None, "plain"),
    ] {
        let response = get("/static/stored.js", accept);
        response.assert(200, body);
        assert_eq!(response.header("Content-Encoding"), coding);
        assert_eq!(response.header("Vary"), Some("Accept-Encoding"));
        assert_eq!(response.header("Content-Type"), Some("text/javascript; charset=utf-8"));
        tags.insert(response.header("ETag").expect("a tag").to_owned());
    }
    assert_eq!(tags.len(), 3);
    let made = get("/static/made.txt", "gzip");
    assert_eq!(made.header("Content-Encoding"), Some("gzip"));
    let mut plain = String::new();
    GzDecoder::new(&*made.body).read_to_string(&mut plain).expect("gzip");
    assert_eq!(plain, text);
    let tag = made.header("ETag").expect("a tag");
    assert_ne!(get("/static/made.txt", "").header("ETag"), Some(tag));
    let request = Request::get("/static/made.txt").header("Accept-Encoding", "gzip");
    let again = Connection::open(running.local_addr())
        .request(&request.clone().header("If-None-Match", tag));
    assert_eq!(again.status, 304);
    let part =
        Connection::open(running.local_addr()).request(&request.header("Range", "bytes=0-3"));
    part.assert(206, "some");
    for path in ["/static/short.txt", "/static/made.png", "/static/large.txt"] {
        let response = get(path, "gzip");
        assert_eq!((response.status, response.header("Content-Encoding")), (200, None), "{path}");
        assert_eq!(response.header("Vary"), None, "{path}");
    }
}
