//! [`ResponseLines`]: the head of a response with any number of header lines, for clients without room for all of them.

use httparse::Status;

use super::head::{announced_framing, check_line_ends, classify_error, keep_alive};
use super::headers::is_field_char;
use super::{EMPTY, Error, Framing};
use crate::bytes::{find, split_once, trim};

/// The head of a response, as [`ResponseHead`](super::ResponseHead), whose header lines are found again at each use: it
/// needs no memory for them, so their number has no limit. A client reads few of them, and a server of a content
/// delivery network sends thirty.
///
/// ```
/// use eio_core::http::{Framing, ResponseLines};
///
/// let head = ResponseLines::parse(b"HTTP/1.1 200 OK\r\nVia: a\r\nContent-Length: 2\r\n\r\n")?;
/// assert_eq!((head.status, head.framing("GET")?), (200, Framing::Length(2)));
/// assert!(head.iter().eq([("Via", &b"a"[..]), ("Content-Length", b"2")]));
/// # Ok::<(), eio_core::http::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ResponseLines<'b> {
    /// The status code, 100 to 599.
    pub status: u16,
    /// 1 for HTTP/1.1, 0 for HTTP/1.0.
    pub minor_version: u8,
    /// The valid header lines, and the empty line at the end.
    lines: &'b [u8],
}

impl<'b> ResponseLines<'b> {
    /// Parses `head`, whose length [`HeadScanner`](super::HeadScanner) found.
    ///
    /// # Errors
    /// Those of the status line, header lines and version.
    #[cfg_attr(not(feature = "std"), inline(never))]
    pub fn parse(head: &'b [u8]) -> Result<Self, Error> {
        check_line_ends(head)?;
        let (line, lines) = split_once(b'\n', head);
        let (status, minor_version) = status_line(line)
            .ok_or_else(|| classify_error(httparse::Error::Version, head, Error::BadStatusLine))?;
        let mut rest = lines;
        // With one slot it stops at the second line, so each line is parsed.
        let end = loop {
            match httparse::parse_headers(rest, &mut [EMPTY]) {
                Ok(Status::Complete((len, _))) => break rest.get(len..),
                Ok(Status::Partial) => break None,
                Err(httparse::Error::TooManyHeaders) => rest = split_once(b'\n', rest).1,
                Err(error) => return Err(classify_error(error, head, Error::BadStatusLine)),
            }
        };
        match end {
            Some([]) => Ok(Self { status, minor_version, lines }),
            _ => Err(Error::NotOneHead),
        }
    }

    /// The names and values of the header lines, in the order received.
    pub fn iter(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> + Clone + use<'b> {
        Lines { rest: self.lines }
    }

    /// As [`ResponseHead::framing`](super::ResponseHead::framing).
    ///
    /// # Errors
    /// Those of Content-Length and Transfer-Encoding.
    pub fn framing(&self, request_method: &str) -> Result<Framing, Error> {
        response_framing(self.status, request_method, self.minor_version, self.iter())
    }

    /// As [`ResponseHead::keep_alive`](super::ResponseHead::keep_alive).
    pub fn keep_alive(&self) -> bool {
        keep_alive(self.iter(), self.minor_version)
    }
}

/// How the body is delimited in a response to `request_method`.
pub(super) fn response_framing<'b>(
    status: u16,
    request_method: &str,
    minor_version: u8,
    headers: impl Iterator<Item = (&'b str, &'b [u8])>,
) -> Result<Framing, Error> {
    // RFC 9112 section 6.3, rules 1 and 2: these responses have no body, regardless of their headers.
    match (status, request_method) {
        (100..=199 | 204 | 304, _) | (_, "HEAD") | (200..=299, "CONNECT") => Ok(Framing::None),
        _ => Ok(announced_framing(headers, minor_version)?.unwrap_or(Framing::UntilClose)),
    }
}

/// The status and the minor version of `status-line = HTTP-version SP status-code SP [ reason-phrase ]` (RFC 9112
/// section 4). The space after the status may be missing, as in httparse, whose parser of responses would take 800 B of a
/// firmware: it contains a second copy of the parser of header lines.
fn status_line(line: &[u8]) -> Option<(u16, u8)> {
    let rest = line.strip_suffix(b"\r")?.strip_prefix(b"HTTP/1.")?;
    let [minor @ (b'0' | b'1'), b' ', a @ b'1'..=b'5', b, c, reason @ ..] = rest else {
        return None;
    };
    let valid = b.is_ascii_digit()
        && c.is_ascii_digit()
        && matches!(reason, [] | [b' ', ..])
        && reason.iter().all(|byte| is_field_char(*byte));
    let digit = |byte: &u8| u16::from(byte & 0xf);
    valid.then(|| (digit(a) * 100 + digit(b) * 10 + digit(c), minor & 1))
}

/// Iterates over valid header lines.
#[derive(Clone)]
struct Lines<'b> {
    rest: &'b [u8],
}

impl<'b> Iterator for Lines<'b> {
    type Item = (&'b str, &'b [u8]);

    #[cfg_attr(not(feature = "std"), inline(never))]
    fn next(&mut self) -> Option<Self::Item> {
        // The empty line at the end has no colon.
        let colon = find(b':', self.rest)?;
        let (name, value) = self.rest.split_at_checked(colon)?;
        let (value, rest) = split_once(b'\n', value.get(1..)?);
        self.rest = rest;
        // A name is a token, so it is ASCII.
        Some((core::str::from_utf8(name).ok()?, trim(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::ResponseHead;
    use std::string::String;
    use std::vec::Vec;

    type Head<'h> = (u16, u8, Vec<(&'h str, &'h [u8])>);

    /// Status, version and header lines, or the error: of [`ResponseLines`], after a comparison with [`ResponseHead`].
    fn parse(head: &str) -> Result<Head<'_>, Error> {
        let lines = ResponseLines::parse(head.as_bytes());
        let mut slots = [EMPTY; 16];
        let slots = ResponseHead::parse(head.as_bytes(), &mut slots);
        let lines = lines.map(|head| {
            let framing = [head.framing("GET"), head.framing("HEAD")];
            ((head.status, head.minor_version, head.iter().collect()), head.keep_alive(), framing)
        });
        let slots = slots.map(|head| {
            let framing = [head.framing("GET"), head.framing("HEAD")];
            let all = head.headers.iter().collect();
            ((head.status, head.minor_version, all), head.keep_alive(), framing)
        });
        // Which of two violations is reported may differ.
        match (&lines, &slots) {
            (Err(_), Err(_)) => {}
            _ => assert_eq!(lines, slots, "{head:?}"),
        }
        lines.map(|(head, ..)| head)
    }

    #[test]
    fn header_lines_are_found_without_slots() {
        let head = "HTTP/1.0 204 a b\r\nA:b\r\nC: \t d:e \t\r\nF:\r\nG: \r\n\r\n";
        let lines = [("A", &b"b"[..]), ("C", b"d:e"), ("F", b""), ("G", b"")].to_vec();
        assert_eq!(parse(head), Ok((204, 0, lines)));
        let many: String = (0..1_000).map(|n| std::format!("X-{n}: {n}\r\n")).collect();
        let many = std::format!("HTTP/1.1 101 Switching\r\n{many}\r\n");
        assert_eq!(ResponseLines::parse(many.as_bytes()).unwrap().iter().count(), 1_000);
    }

    #[test]
    fn outcome_is_that_of_a_head_with_slots() {
        for line in [
            "HTTP/1.1 200 OK",
            "HTTP/1.1 200",
            "HTTP/1.1 200 ",
            "HTTP/1.1 200 \u{e9}\t!",
            "HTTP/1.0 599 x",
            "HTTP/1.1 200  two",
            "HTTP/1.1 200OK",
            "HTTP/1.1  200 OK",
            "HTTP/1.1 20 OK",
            "HTTP/1.1 2000",
            "HTTP/1.1 099 x",
            "HTTP/1.1 600 x",
            "HTTP/1.1 2x0",
            "HTTP/1.1 200 \u{1}",
            "HTTP/1.1\t200 OK",
            "HTTP/1.2 200 OK",
            "HTTP/2.0 200 OK",
            "HTTP/1.11 200 OK",
            "http/1.1 200 OK",
            " HTTP/1.1 200 OK",
            "HTTPS/1.1 200 OK",
            "ICY 200 OK",
            "",
        ] {
            for fields in [
                "",
                "A: b\r\n",
                "Connection: close\r\n",
                "Connection: x, Keep-Alive\r\nconnection: y\r\n",
                "Content-Length: 5\r\n",
                "Content-Length: 5\r\ncontent-length: 5\r\n",
                "Content-Length: x\r\n",
                "Transfer-Encoding: chunked\r\n",
                "Transfer-Encoding: gzip\r\n",
                "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                "A : b\r\n",
                "A: b\r\n c\r\n",
                " A: b\r\n",
                "A: b\r\nC\r\n",
                "A: b\r\n: c\r\n",
                "A: b\r\nC: \u{7f}\r\n",
                "A: b\nC: d\r\n",
                "A: b\r\n\r\nC: d\r\n",
            ] {
                let head = std::format!("{line}\r\n{fields}\r\n");
                let outcome = parse(&head);
                if line == "HTTP/1.1 200 OK" || fields.is_empty() {
                    let slots = ResponseHead::parse(head.as_bytes(), &mut [EMPTY; 4]).err();
                    assert_eq!(outcome.as_ref().err(), slots.as_ref(), "{head:?}");
                }
                // A head that is cut or continued is never a head.
                for end in 0..head.len() {
                    if let Some(part) = head.get(..end) {
                        let part = parse(part);
                        assert!(outcome.is_err() || part.is_err() || fields.contains("\r\n\r\n"));
                    }
                }
                let _ = parse(&(head + "H"));
            }
        }
    }
}
