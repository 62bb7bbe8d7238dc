use super::*;
use crate::http::EMPTY;
use std::string::String;

/// A request with these header lines, each with its CRLF.
fn with(lines: &str) -> String {
    std::format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

fn request_error(head: &str) -> Option<Error> {
    RequestHead::parse(head.as_bytes(), &mut [EMPTY; 8]).err()
}

fn request_framing(lines: &str) -> Result<Framing, Error> {
    RequestHead::parse(with(lines).as_bytes(), &mut [EMPTY; 8]).unwrap().framing()
}

#[test]
fn request_head_is_parsed() {
    let bytes = b"\r\nOPTIONS * HTTP/1.0\r\nA:b\r\nC: \t d e \t\r\nF:\r\n\r\n";
    let mut slots = [EMPTY; 3];
    let head = RequestHead::parse(bytes, &mut slots).unwrap();
    assert_eq!((head.method, head.target, head.minor_version), ("OPTIONS", "*", 0));
    let lines: std::vec::Vec<_> = head.headers.iter().collect();
    assert_eq!(lines, [("A", &b"b"[..]), ("C", b"d e"), ("F", b"")]);
}

#[test]
fn invalid_request_lines_are_rejected() {
    for (line, error) in [
        ("", Error::NotOneHead),
        ("GET", Error::BadRequestLine),
        ("GET /", Error::BadRequestLine),
        ("GET  / HTTP/1.1", Error::BadRequestLine),
        ("GET /  HTTP/1.1", Error::BadRequestLine),
        ("GET / HTTP/1.1 ", Error::BadRequestLine),
        (" GET / HTTP/1.1", Error::BadRequestLine),
        ("G(T / HTTP/1.1", Error::BadRequestLine),
        ("GET /\t HTTP/1.1", Error::BadRequestLine),
        ("GET /\u{e9} HTTP/1.1", Error::BadTarget),
        ("GET / HTTP/11", Error::BadRequestLine),
        ("GET / http/1.1", Error::BadRequestLine),
        ("GET / HTTPS/1.1", Error::BadRequestLine),
        ("GET / HTTP/1.2", Error::UnsupportedVersion),
        ("GET / HTTP/0.9", Error::UnsupportedVersion),
        ("PRI * HTTP/2.0", Error::UnsupportedVersion),
    ] {
        let head = std::format!("{line}\r\nHost: a\r\n\r\n");
        let head = if line.is_empty() { "\r\n\r\n" } else { &head };
        assert_eq!(request_error(head), Some(error), "{line:?}");
    }
}

#[test]
fn input_must_be_exactly_one_head() {
    let head = with("");
    assert_eq!(request_error(&head), None);
    for len in 0..head.len() {
        assert!(request_error(&head[..len]).is_some(), "{len}");
    }
    assert_eq!(request_error(&(head + "G")), Some(Error::NotOneHead));
}

#[test]
fn scanned_head_is_parsed_alike() {
    for lines in ["", "A: b\r\nC:d\r\n", "A : b\r\n", "A: b\x7f\r\n", " A: b\r\n", "Host: b\r\n"] {
        let head = with(lines);
        let scanned = super::super::HeadScanner::new().poll(head.as_bytes(), 1000);
        assert_eq!(scanned, Ok(Some(head.len())));
        let (mut slots, mut uninit) = ([EMPTY; 3], [const { MaybeUninit::uninit() }; 3]);
        let text = |head: RequestHead<'_, '_>| std::format!("{head:?}");
        let parsed = RequestHead::parse(head.as_bytes(), &mut slots).map(text);
        let scanned = RequestHead::parse_scanned(head.as_bytes(), &mut uninit).map(text);
        assert_eq!(parsed, scanned, "{lines:?}");
    }
    let many = with(&"A: b\r\n".repeat(3));
    let mut few = [MaybeUninit::uninit(); 3];
    let parsed = RequestHead::parse_scanned(many.as_bytes(), &mut few);
    assert_eq!(parsed.err(), Some(Error::TooManyHeaders));
}

#[test]
fn invalid_header_lines_are_rejected() {
    for (line, error) in [
        ("A : b", Error::SpaceBeforeColon),
        // The first error is reported, and a second one does not hide it.
        (": a\r\nb : c", Error::BadHeaderName),
        ("A: b\nC: d\n", Error::BareLf),
        ("A\t: b", Error::SpaceBeforeColon),
        (" A: b", Error::ObsFold),
        ("\tb", Error::ObsFold),
        ("A: b\r\n c", Error::ObsFold),
        ("A: b\r\n\t", Error::ObsFold),
        ("A B: c", Error::BadHeaderName),
        ("A", Error::BadHeaderName),
        (": b", Error::BadHeaderName),
        ("A(: b", Error::BadHeaderName),
        ("A( : b", Error::BadHeaderName),
        ("\u{e9}: b", Error::BadHeaderName),
        ("A: b\u{1}", Error::BadHeaderValue),
        ("A: b\u{7f}", Error::BadHeaderValue),
        ("A: b\0", Error::BadHeaderValue),
        ("A: b\rc", Error::BadHeaderValue),
        ("A: b\nC: d", Error::BareLf),
        ("A: b\n", Error::BareLf),
    ] {
        assert_eq!(request_error(&with(&std::format!("{line}\r\n"))), Some(error), "{line:?}");
    }
    assert_eq!(request_error("GET / HTTP/1.1\nHost: a\r\n\r\n"), Some(Error::BareLf));
    assert_eq!(request_error("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), Some(Error::BareLf));
}

#[test]
fn more_headers_than_slots_are_rejected() {
    assert_eq!(request_error(&with(&"A: b\r\n".repeat(7))), None);
    assert_eq!(request_error(&with(&"A: b\r\n".repeat(8))), Some(Error::TooManyHeaders));
    assert_eq!(Error::TooManyHeaders.status(), 431);
}

#[test]
fn request_has_exactly_one_valid_host() {
    for (version, lines, error) in [
        ("1.1", "", Some(Error::MissingHost)),
        ("1.0", "", None),
        ("1.1", "Host:\r\n", None),
        ("1.1", "host: a.b:80\r\n", None),
        ("1.1", "Host: [::1]:80\r\n", None),
        ("1.1", "Host: a\r\nhost: a\r\n", Some(Error::RepeatedHost)),
        ("1.0", "Host: a\r\nHost: b\r\n", Some(Error::RepeatedHost)),
        ("1.1", "Host: a b\r\n", Some(Error::BadHost)),
        ("1.1", "Host: a/b\r\n", Some(Error::BadHost)),
        ("1.1", "Host: u@a\r\n", Some(Error::BadHost)),
        ("1.0", "Host: a:b\r\n", Some(Error::BadHost)),
        ("1.1", "Host: \u{e9}\r\n", Some(Error::BadHost)),
    ] {
        let head = std::format!("GET / HTTP/{version}\r\n{lines}\r\n");
        assert_eq!(request_error(&head), error, "{head:?}");
    }
}

#[test]
fn request_framing_follows_its_headers() {
    assert_eq!(request_framing(""), Ok(Framing::None));
    assert_eq!(request_framing("Content-Length: 0\r\n"), Ok(Framing::Length(0)));
    assert_eq!(
        request_framing("content-length: 18446744073709551615\r\n"),
        Ok(Framing::Length(u64::MAX))
    );
    assert_eq!(request_framing("TRANSFER-ENCODING: Chunked\r\n"), Ok(Framing::Chunked));
}

#[test]
fn ambiguous_framing_is_rejected() {
    for (lines, error) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Error::LengthAndTransferEncoding),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Error::LengthAndTransferEncoding),
        ("Transfer-Encoding: x\r\nContent-Length: 5\r\n", Error::LengthAndTransferEncoding),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", Error::RepeatedContentLength),
        ("Content-Length: 5\r\ncontent-length: 5\r\n", Error::RepeatedContentLength),
        ("Content-Length: 5, 5\r\n", Error::BadContentLength),
        ("Content-Length: +5\r\n", Error::BadContentLength),
        ("Content-Length: -5\r\n", Error::BadContentLength),
        ("Content-Length: 0x5\r\n", Error::BadContentLength),
        ("Content-Length: 5 5\r\n", Error::BadContentLength),
        ("Content-Length: 5.0\r\n", Error::BadContentLength),
        ("Content-Length: 5_0\r\n", Error::BadContentLength),
        ("Content-Length: \u{665}\r\n", Error::BadContentLength),
        ("Content-Length:\r\n", Error::BadContentLength),
        ("Content-Length: 18446744073709551616\r\n", Error::BadContentLength),
        ("Transfer-Encoding: gzip\r\n", Error::UnknownTransferEncoding),
        ("Transfer-Encoding: gzip, chunked\r\n", Error::UnknownTransferEncoding),
        ("Transfer-Encoding: chunked, chunked\r\n", Error::UnknownTransferEncoding),
        ("Transfer-Encoding: chunked\u{b}\r\n", Error::BadHeaderValue),
        ("Transfer-Encoding: xchunked\r\n", Error::UnknownTransferEncoding),
        ("Transfer-Encoding: \"chunked\"\r\n", Error::UnknownTransferEncoding),
        ("Transfer-Encoding:\r\n", Error::UnknownTransferEncoding),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            Error::UnknownTransferEncoding,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            Error::UnknownTransferEncoding,
        ),
    ] {
        let head = with(lines);
        let mut slots = [EMPTY; 8];
        let framing = RequestHead::parse(head.as_bytes(), &mut slots).and_then(|h| h.framing());
        assert_eq!(framing, Err(error), "{lines:?}");
    }
    assert_eq!(Error::UnknownTransferEncoding.status(), 501);
    let head = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    let framing = RequestHead::parse(head, &mut [EMPTY; 8]).unwrap().framing();
    assert_eq!(framing, Err(Error::TransferEncodingInHttp10));
}

#[test]
fn keep_alive_follows_version_and_connection_header() {
    for (version, lines, lasts) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: Upgrade, Close\r\n", false),
        ("1.1", "Connection: x\r\nConnection: close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let request = std::format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n");
        let mut slots = [EMPTY; 4];
        let head = RequestHead::parse(request.as_bytes(), &mut slots).unwrap();
        assert_eq!(head.keep_alive(), lasts, "{request:?}");
        let response = std::format!("HTTP/{version} 200 OK\r\n{lines}\r\n");
        let mut slots = [EMPTY; 4];
        let head = ResponseHead::parse(response.as_bytes(), &mut slots).unwrap();
        assert_eq!(head.keep_alive(), lasts, "{response:?}");
    }
}

#[test]
fn http_1_0_has_no_upgrade_and_no_expect() {
    for (version, lines, upgrade, expects) in [
        ("1.1", "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n", true, false),
        ("1.0", "Upgrade: websocket\r\nConnection: Upgrade\r\n", false, false),
        ("1.1", "Upgrade: websocket\r\n", false, false),
        ("1.1", "Connection: Upgrade\r\n", false, false),
        ("1.1", "Expect: 100-Continue\r\n", false, true),
        ("1.0", "Expect: 100-continue\r\n", false, false),
        ("1.1", "Expect: 200-ok\r\n", false, false),
    ] {
        let request = std::format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n");
        let mut slots = [EMPTY; 4];
        let head = RequestHead::parse(request.as_bytes(), &mut slots).unwrap();
        assert_eq!((head.is_upgrade(), head.expects_continue()), (upgrade, expects), "{lines:?}");
    }
}

#[test]
fn response_framing_follows_status_method_and_headers() {
    let length = "Content-Length: 5\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (status, method, lines, framing) in [
        (200, "GET", length, Ok(Framing::Length(5))),
        (200, "GET", chunked, Ok(Framing::Chunked)),
        (200, "GET", "", Ok(Framing::UntilClose)),
        (200, "HEAD", length, Ok(Framing::None)),
        (200, "CONNECT", length, Ok(Framing::None)),
        (404, "CONNECT", length, Ok(Framing::Length(5))),
        (100, "GET", length, Ok(Framing::None)),
        (101, "GET", "", Ok(Framing::None)),
        (199, "GET", "", Ok(Framing::None)),
        (204, "GET", chunked, Ok(Framing::None)),
        (304, "GET", length, Ok(Framing::None)),
        (
            200,
            "GET",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            Err(Error::RepeatedContentLength),
        ),
        (200, "GET", "Transfer-Encoding: gzip\r\n", Err(Error::UnknownTransferEncoding)),
    ] {
        let head = std::format!("HTTP/1.1 {status} X\r\n{lines}\r\n");
        let mut slots = [EMPTY; 4];
        let head = ResponseHead::parse(head.as_bytes(), &mut slots).unwrap();
        assert_eq!((head.status, head.framing(method)), (status, framing), "{method} {lines:?}");
    }
}

#[test]
fn invalid_status_lines_are_rejected() {
    for (line, error) in [
        ("HTTP/1.1 200", None),
        ("HTTP/1.1 200 ", None),
        ("HTTP/1.0 599 Not \u{e9}", None),
        ("HTTP/1.1  200 OK", Some(Error::BadStatusLine)),
        ("HTTP/1.1 20 OK", Some(Error::BadStatusLine)),
        ("HTTP/1.1 2000 OK", Some(Error::BadStatusLine)),
        ("HTTP/1.1 +20 OK", Some(Error::BadStatusLine)),
        ("HTTP/1.1 099 OK", Some(Error::BadStatusLine)),
        ("HTTP/1.1 600 OK", Some(Error::BadStatusLine)),
        ("HTTP/1.1 200 O\u{1}K", Some(Error::BadStatusLine)),
        ("HTTP/2.0 200 OK", Some(Error::UnsupportedVersion)),
        ("ICY 200 OK", Some(Error::BadStatusLine)),
        ("\r\nHTTP/1.1 200 OK", Some(Error::BadStatusLine)),
        ("HTTP/1.1 200 OK\nA: b", Some(Error::BareLf)),
        ("HTTP/1.1 200 OK\r\nA : b", Some(Error::SpaceBeforeColon)),
    ] {
        let head = std::format!("{line}\r\n\r\n");
        let outcome = ResponseHead::parse(head.as_bytes(), &mut [EMPTY; 4]).err();
        assert_eq!(outcome, error, "{line:?}");
    }
}
