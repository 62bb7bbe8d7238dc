//! [`RequestHead`] and [`ResponseHead`]: parsed heads and the rules about their headers.

use core::mem::MaybeUninit;

use nom::Parser;
use nom::character::complete::u64 as decimal;
use nom::combinator::all_consuming;

use super::lines::response_framing;
use super::url::is_authority;
use super::{Error, Framing, Header, Headers};
use crate::bytes::{eq_ignore_case, split_once, trim};
use crate::list::{has_token, is_tchar};

/// The head of a request. [`parse`](Self::parse) accepts only valid ones.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'h, 'b> {
    /// The method, in the case it was sent.
    pub method: &'b str,
    /// The request target, see [`Target`](super::Target).
    pub target: &'b str,
    /// 1 for HTTP/1.1, 0 for HTTP/1.0.
    pub minor_version: u8,
    /// The header lines.
    pub headers: Headers<'h, 'b>,
}

impl<'h, 'b> RequestHead<'h, 'b> {
    /// Parses `head`, whose length [`HeadScanner`](super::HeadScanner) found. It can have as many headers as `slots`.
    ///
    /// # Errors
    /// Those of the request line, header lines, version and Host; [`Error::TooManyHeaders`].
    pub fn parse(head: &'b [u8], slots: &'h mut [Header<'b>]) -> Result<Self, Error> {
        check_line_ends(head)?;
        let mut parsed = httparse::Request::new(slots);
        let len = parsed.parse(head);
        Self::accept(head, len, parsed)
    }

    /// As [`parse`](Self::parse), for a head in which [`HeadScanner`](super::HeadScanner) found no error: that no LF is
    /// without its CR is not checked again. The slots need not be initialised, which takes as long as to parse a short
    /// head.
    ///
    /// # Errors
    /// Those of [`parse`](Self::parse), except [`Error::BareLf`].
    pub fn parse_scanned(
        head: &'b [u8],
        slots: &'h mut [MaybeUninit<Header<'b>>],
    ) -> Result<Self, Error> {
        debug_assert!(check_line_ends(head).is_ok(), "the scanner rejects it");
        let mut parsed = httparse::Request::new(&mut []);
        let len = parsed.parse_with_uninit_headers(head, slots);
        Self::accept(head, len, parsed)
    }

    fn accept(
        head: &'b [u8],
        len: httparse::Result<usize>,
        parsed: httparse::Request<'h, 'b>,
    ) -> Result<Self, Error> {
        let len = len.map_err(|e| classify_error(e, head, Error::BadRequestLine))?;
        let httparse::Request {
            method: Some(method),
            path: Some(target),
            version: Some(minor_version),
            headers,
        } = parsed
        else {
            return Err(Error::NotOneHead);
        };
        if len != httparse::Status::Complete(head.len()) {
            return Err(Error::NotOneHead);
        }
        if !target.is_ascii() {
            return Err(Error::BadTarget);
        }
        let headers = Headers::new(headers);
        check_host(headers, minor_version)?;
        Ok(Self { method, target, minor_version, headers })
    }

    /// How the body is delimited.
    ///
    /// # Errors
    /// Those of Content-Length and Transfer-Encoding.
    pub fn framing(&self) -> Result<Framing, Error> {
        // "If this is a request message and none of the above are true, then the message body length is
        // zero" (RFC 9112 section 6.3).
        Ok(announced_framing(self.headers.iter(), self.minor_version)?.unwrap_or(Framing::None))
    }

    /// Whether the client keeps the connection open after the response (RFC 9112 section 9.3).
    pub fn keep_alive(&self) -> bool {
        keep_alive(self.headers.iter(), self.minor_version)
    }

    /// Whether the client waits for `100 Continue` before it sends the body.
    pub fn expects_continue(&self) -> bool {
        // "A server that receives a 100-continue expectation in an HTTP/1.0 request MUST ignore that
        // expectation" (RFC 9110 section 10.1.1).
        self.minor_version > 0 && self.headers.has_token("expect", "100-continue")
    }

    /// Whether the client asks for another protocol on this connection (RFC 9110 section 7.8).
    pub fn is_upgrade(&self) -> bool {
        // "A server MUST ignore an Upgrade header field that is received in an HTTP/1.0 request" (RFC 9110
        // section 7.8).
        self.minor_version > 0
            && self.headers.get("upgrade").is_some()
            && self.headers.has_token("connection", "upgrade")
    }
}

/// The head of a response. [`parse`](Self::parse) accepts only valid ones.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'h, 'b> {
    /// The status code, 100 to 599.
    pub status: u16,
    /// 1 for HTTP/1.1, 0 for HTTP/1.0.
    pub minor_version: u8,
    /// The header lines.
    pub headers: Headers<'h, 'b>,
}

impl<'h, 'b> ResponseHead<'h, 'b> {
    /// Parses `head`, whose length [`HeadScanner`](super::HeadScanner) found. It can have as many headers as `slots`.
    ///
    /// # Errors
    /// Those of the status line, header lines and version; [`Error::TooManyHeaders`].
    pub fn parse(head: &'b [u8], slots: &'h mut [Header<'b>]) -> Result<Self, Error> {
        check_line_ends(head)?;
        // Leading empty lines are accepted from clients only.
        if head.first() == Some(&b'\r') {
            return Err(Error::BadStatusLine);
        }
        let mut parsed = httparse::Response::new(slots);
        let len = parsed.parse(head).map_err(|e| classify_error(e, head, Error::BadStatusLine))?;
        let httparse::Response {
            code: Some(status), version: Some(minor_version), headers, ..
        } = parsed
        else {
            return Err(Error::NotOneHead);
        };
        if len != httparse::Status::Complete(head.len()) {
            return Err(Error::NotOneHead);
        }
        // "Values outside the range 100..599 are invalid" (RFC 9110 section 15).
        if !(100..=599).contains(&status) {
            return Err(Error::BadStatusLine);
        }
        Ok(Self { status, minor_version, headers: Headers::new(headers) })
    }

    /// How the body is delimited in a response to `request_method`.
    ///
    /// # Errors
    /// Those of Content-Length and Transfer-Encoding.
    pub fn framing(&self, request_method: &str) -> Result<Framing, Error> {
        response_framing(self.status, request_method, self.minor_version, self.headers.iter())
    }

    /// Whether the server keeps the connection open (RFC 9112 section 9.3).
    pub fn keep_alive(&self) -> bool {
        keep_alive(self.headers.iter(), self.minor_version)
    }
}

/// RFC 9112 section 9.3.
#[inline]
pub(super) fn keep_alive<'b>(
    headers: impl Iterator<Item = (&'b str, &'b [u8])>,
    minor_version: u8,
) -> bool {
    let mut keep = minor_version > 0;
    for (name, value) in headers {
        // Few names have its length: most need no comparison.
        if name.len() == 10 && eq_ignore_case(name.as_bytes(), b"connection") {
            if eq_ignore_case(value, b"keep-alive") {
                keep = true;
                continue;
            }
            if has_token(value, "close") {
                return false;
            }
            keep = keep || has_token(value, "keep-alive");
        }
    }
    keep
}

/// The framing that the headers announce, if any: RFC 9112 section 6.3, rules 3 to 6. Where these leave a choice, the
/// message is rejected.
pub(super) fn announced_framing<'b>(
    headers: impl Iterator<Item = (&'b str, &'b [u8])>,
    minor_version: u8,
) -> Result<Option<Framing>, Error> {
    let (mut length, mut coding) = (None, None);
    for (name, value) in headers {
        if eq_ignore_case(name.as_bytes(), b"content-length") {
            if length.replace(value).is_some() {
                return Err(Error::RepeatedContentLength);
            }
        } else if eq_ignore_case(name.as_bytes(), b"transfer-encoding")
            && coding.replace(value).is_some()
        {
            return Err(Error::UnknownTransferEncoding);
        }
    }
    match (length, coding) {
        (None, None) => Ok(None),
        // "Such a message might indicate an attempt to perform request smuggling or response splitting and
        // ought to be handled as an error."
        (Some(_), Some(_)) => Err(Error::LengthAndTransferEncoding),
        // "A server or client that receives an HTTP/1.0 message containing a Transfer-Encoding header field
        // MUST treat the message as if the framing is faulty" (section 6.1).
        (None, Some(_)) if minor_version == 0 => Err(Error::TransferEncodingInHttp10),
        (None, Some(coding)) if eq_ignore_case(coding, b"chunked") => Ok(Some(Framing::Chunked)),
        (None, Some(_)) => Err(Error::UnknownTransferEncoding),
        // `Content-Length = 1*DIGIT` (RFC 9110 section 8.6): no sign, no list, no overflow.
        (Some(length), None) => all_consuming(decimal::<_, ()>)
            .parse(length)
            .map(|(_, length)| Some(Framing::Length(length)))
            .map_err(|_| Error::BadContentLength),
    }
}

/// "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message that lacks a
/// Host header field and to any request message that contains more than one Host header field line or a
/// Host header field with an invalid field value" (RFC 9112 section 3.2).
fn check_host(headers: Headers<'_, '_>, minor_version: u8) -> Result<(), Error> {
    let mut hosts = headers.all("host");
    match (hosts.next(), hosts.next()) {
        (None, _) if minor_version > 0 => Err(Error::MissingHost),
        (None, _) => Ok(()),
        (Some(_), Some(_)) => Err(Error::RepeatedHost),
        // A request to a target without an authority has an empty Host.
        (Some(host), None) if host.is_empty() || is_authority(host) => Ok(()),
        (Some(_), None) => Err(Error::BadHost),
    }
}

/// Rejects bare LF: the only leniency of httparse that cannot be disabled. It rejects bare CR and NUL itself.
pub(super) fn check_line_ends(head: &[u8]) -> Result<(), Error> {
    // No early exit, so that the loop is vectorized: nearly every head is valid.
    let begins = head.first() == Some(&b'\n');
    let pairs = head.iter().zip(head.get(1..).unwrap_or_default());
    let bare = |before: u8, byte: u8| (byte == b'\n') & (before != b'\r');
    match pairs.fold(begins, |found, (before, byte)| found | bare(*before, *byte)) {
        true => Err(Error::BareLf),
        false => Ok(()),
    }
}

/// The error for a head that httparse rejected.
#[cold]
pub(super) fn classify_error(error: httparse::Error, head: &[u8], start_line: Error) -> Error {
    let head = head.trim_ascii_start();
    match error {
        httparse::Error::TooManyHeaders => Error::TooManyHeaders,
        httparse::Error::HeaderValue => Error::BadHeaderValue,
        httparse::Error::HeaderName => classify_name_error(head),
        httparse::Error::Version if names_other_version(head) => Error::UnsupportedVersion,
        _ => start_line,
    }
}

/// The error for the first header name that is not a token.
fn classify_name_error(head: &[u8]) -> Error {
    let (_, mut lines) = split_once(b'\n', head);
    while !lines.is_empty() {
        let (line, rest) = split_once(b'\n', lines);
        let (name, _) = split_once(b':', line);
        let token = name.iter().position(|byte| !is_tchar(*byte)).unwrap_or(name.len());
        match name.get(token..) {
            Some([]) if token > 0 && token < line.len() => lines = rest,
            Some([b' ' | b'\t', ..]) if token == 0 => return Error::ObsFold,
            Some(rest @ [.., b' ' | b'\t']) if trim(rest).is_empty() => {
                return Error::SpaceBeforeColon;
            }
            _ => return Error::BadHeaderName,
        }
    }
    Error::BadHeaderName
}

/// Whether a word of the first line is `HTTP/x.y`, so that the version is unsupported rather than malformed.
fn names_other_version(head: &[u8]) -> bool {
    let (mut line, _) = split_once(b'\r', head);
    while !line.is_empty() {
        let (word, rest) = split_once(b' ', line);
        if let [b'H', b'T', b'T', b'P', b'/', x, b'.', y] = word
            && x.is_ascii_digit()
            && y.is_ascii_digit()
            && !(*x == b'1' && matches!(y, b'0' | b'1'))
        {
            return true;
        }
        line = rest;
    }
    false
}

#[cfg(test)]
mod tests {
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
        for lines in
            ["", "A: b\r\nC:d\r\n", "A : b\r\n", "A: b\x7f\r\n", " A: b\r\n", "Host: b\r\n"]
        {
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
            (
                "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                Error::LengthAndTransferEncoding,
            ),
            (
                "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                Error::LengthAndTransferEncoding,
            ),
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
            assert_eq!(
                (head.is_upgrade(), head.expects_continue()),
                (upgrade, expects),
                "{lines:?}"
            );
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
            assert_eq!(
                (head.status, head.framing(method)),
                (status, framing),
                "{method} {lines:?}"
            );
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
}
