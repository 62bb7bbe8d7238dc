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
mod tests;
