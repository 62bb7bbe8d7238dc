//! Encoders of heads and chunks.

use super::headers::is_field_char;
use crate::buffer::{Overflow, Sink};
use crate::list::is_tchar;

/// Why a head was not written. A part of it can be in the output: truncate that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum WriteError {
    /// The output is full.
    Overflow,
    /// A method, target, status, name or value with a character that is not allowed in its place, such as CR, LF or
    /// NUL.
    IllegalValue,
}

/// Writes a response head: the status line with the standard reason phrase, then headers.
///
/// If a step fails, truncate `out` to its length before: an incomplete head must not be sent.
///
/// ```
/// use eio_core::buffer::Writer;
/// use eio_core::http::{self, WriteError};
///
/// let mut memory = [0; 128];
/// let mut out = Writer::new(&mut memory);
/// http::response(&mut out, 200)?.header("Content-Type", "text/plain")?.number("Content-Length", 2)?.end()?;
/// assert_eq!(out.written(), b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n");
///
/// let split = http::response(&mut out, 200)?.header("X-Name", "a\r\nSet-Cookie: b");
/// assert_eq!(split.err(), Some(WriteError::IllegalValue));
/// # Ok::<(), WriteError>(())
/// ```
///
/// # Errors
/// [`WriteError`]; a status outside 100 to 599 is illegal.
pub fn response<K: Sink>(out: &mut K, status: u16) -> Result<HeadWriter<'_, K>, WriteError> {
    if !(100..=599).contains(&status) {
        return Err(WriteError::IllegalValue);
    }
    out.put(b"HTTP/1.1 ")?;
    put_number(out, status.into(), 10)?;
    // "A server MUST send the space that separates the status-code from the reason-phrase even when the
    // reason-phrase is absent" (RFC 9112 section 4).
    out.put(b" ")?;
    out.put(reason(status).as_bytes())?;
    out.put(b"\r\n")?;
    Ok(HeadWriter(out))
}

/// Writes a request head: the request line, then headers. See [`response`] for failed steps.
///
/// # Errors
/// [`WriteError`]
pub fn request<'k, K: Sink>(
    out: &'k mut K,
    method: &str,
    target: &str,
) -> Result<HeadWriter<'k, K>, WriteError> {
    request_parts(out, method, &[target])
}

/// Like [`request`], with a target that is the concatenation of `target`, since a client without a heap has no buffer
/// to join the parts first.
///
/// # Errors
/// [`WriteError`]
pub fn request_parts<'k, K: Sink>(
    out: &'k mut K,
    method: &str,
    target: &[&str],
) -> Result<HeadWriter<'k, K>, WriteError> {
    legal(method, is_tchar)?;
    if method.is_empty() || target.iter().all(|part| part.is_empty()) {
        return Err(WriteError::IllegalValue);
    }
    out.put(method.as_bytes())?;
    out.put(b" ")?;
    for part in target {
        legal(part, |byte| byte.is_ascii_graphic())?;
        out.put(part.as_bytes())?;
    }
    out.put(b" HTTP/1.1\r\n")?;
    Ok(HeadWriter(out))
}

/// A head whose first line is written. It is incomplete until [`end`](Self::end) is called.
#[derive(Debug)]
#[must_use = "a head is incomplete without `end`"]
pub struct HeadWriter<'k, K>(&'k mut K);

impl<K: Sink> HeadWriter<'_, K> {
    /// Writes `name: value`.
    ///
    /// # Errors
    /// [`WriteError`]
    pub fn header(self, name: &str, value: &str) -> Result<Self, WriteError> {
        self.header_parts(name, &[value])
    }

    /// Writes `name: value`, with a value that is the concatenation of `parts`.
    ///
    /// # Errors
    /// [`WriteError`]
    pub fn header_parts(self, name: &str, parts: &[&str]) -> Result<Self, WriteError> {
        header_line(self.0, name, parts)?;
        Ok(self)
    }

    /// Writes `name: value` with a decimal value.
    ///
    /// # Errors
    /// [`WriteError`]
    pub fn number(self, name: &str, value: u64) -> Result<Self, WriteError> {
        begin_line(self.0, name)?;
        put_number(self.0, value, 10)?;
        self.0.put(b"\r\n")?;
        Ok(self)
    }

    /// Writes header lines that [`header_line`] made before. Only their end is checked here.
    ///
    /// # Errors
    /// [`WriteError`]; lines that do not end in CRLF are illegal.
    pub fn raw(self, lines: &[u8]) -> Result<Self, WriteError> {
        if !lines.is_empty() && !lines.ends_with(b"\r\n") {
            return Err(WriteError::IllegalValue);
        }
        self.0.put(lines)?;
        Ok(self)
    }

    /// Writes the empty line that ends the head. A body may follow.
    ///
    /// # Errors
    /// [`WriteError::Overflow`]
    pub fn end(self) -> Result<(), WriteError> {
        Ok(self.0.put(b"\r\n")?)
    }
}

/// Writes one complete header line, for [`HeadWriter::raw`]; the value is the concatenation of `parts`.
///
/// # Errors
/// [`WriteError`]
pub fn header_line<K: Sink>(out: &mut K, name: &str, parts: &[&str]) -> Result<(), WriteError> {
    begin_line(out, name)?;
    for part in parts {
        legal(part, is_field_char)?;
        out.put(part.as_bytes())?;
    }
    Ok(out.put(b"\r\n")?)
}

/// Writes one chunk of a chunked body (RFC 9112 section 7.1). Nothing is written for no bytes, since an empty chunk
/// ends the body.
///
/// # Errors
/// [`Overflow`]; a part of the chunk can have been written.
pub fn chunk<K: Sink>(out: &mut K, bytes: &[u8]) -> Result<(), Overflow> {
    if bytes.is_empty() {
        return Ok(());
    }
    put_number(out, bytes.len() as u64, 16)?;
    out.put(b"\r\n")?;
    out.put(bytes)?;
    out.put(b"\r\n")
}

/// Writes the last chunk of a chunked body, without trailers.
///
/// # Errors
/// [`Overflow`], with nothing written.
pub fn last_chunk<K: Sink>(out: &mut K) -> Result<(), Overflow> {
    out.put(b"0\r\n\r\n")
}

/// The reason phrase of RFC 9110 section 15 or RFC 6585; empty for other status codes.
pub const fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        511 => "Network Authentication Required",
        _ => "",
    }
}

fn begin_line<K: Sink>(out: &mut K, name: &str) -> Result<(), WriteError> {
    legal(name, is_tchar)?;
    if name.is_empty() {
        return Err(WriteError::IllegalValue);
    }
    out.put(name.as_bytes())?;
    Ok(out.put(b": ")?)
}

fn legal(text: &str, allowed: impl Fn(u8) -> bool) -> Result<(), WriteError> {
    match text.bytes().all(allowed) {
        true => Ok(()),
        false => Err(WriteError::IllegalValue),
    }
}

fn put_number<K: Sink>(out: &mut K, mut n: u64, radix: u64) -> Result<(), Overflow> {
    // 64 bits have at most 20 decimal digits.
    let mut digits = [0; 20];
    let mut start = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = *b"0123456789abcdef".get((n % radix) as usize).unwrap_or(&b'0');
        start -= 1;
        n /= radix;
        if n == 0 {
            break;
        }
    }
    out.put(digits.get(start..).unwrap_or_default())
}

impl From<Overflow> for WriteError {
    fn from(_: Overflow) -> Self {
        Self::Overflow
    }
}

impl core::fmt::Display for WriteError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Overflow => "the output buffer is full",
            Self::IllegalValue => "a character that is not allowed in a head",
        })
    }
}

impl core::error::Error for WriteError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Writer;
    use std::string::String;
    use std::vec::Vec;

    fn written(write: impl FnOnce(&mut Writer<'_>) -> Result<(), WriteError>) -> String {
        let mut memory = [0; 512];
        let mut out = Writer::new(&mut memory);
        write(&mut out).unwrap();
        std::str::from_utf8(out.written()).unwrap().into()
    }

    #[test]
    fn heads_are_written_line_by_line() {
        let head = written(|out| {
            request(out, "GET", "/engine.io/?EIO=4")?
                .header("Host", "a:1")?
                .header_parts("Cookie", &["io=", "abc", ""])?
                .raw(b"A: b\r\nC: d\r\n")?
                .raw(b"")?
                .number("X", u64::MAX)?
                .end()
        });
        assert_eq!(
            head,
            "GET /engine.io/?EIO=4 HTTP/1.1\r\nHost: a:1\r\nCookie: io=abc\r\nA: b\r\nC: d\r\n\
             X: 18446744073709551615\r\n\r\n"
        );
        assert_eq!(written(|out| response(out, 299)?.end()), "HTTP/1.1 299 \r\n\r\n");
        let parts = ["/x", "", "?y=", "z"];
        let head = written(|out| request_parts(out, "GET", &parts)?.end());
        assert_eq!(head, "GET /x?y=z HTTP/1.1\r\n\r\n");
    }

    /// RFC 9110 section 15 without deprecated and unused codes, and RFC 6585.
    #[rustfmt::skip]
    const NAMED: [u16; 47] = [
        100, 101, 200, 201, 202, 203, 204, 205, 206, 300, 301, 302, 303, 304, 307, 308,
        400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 426,
        428, 429, 431, 500, 501, 502, 503, 504, 505, 511,
    ];

    #[test]
    fn reason_phrases_are_those_of_the_registry() {
        let named: Vec<u16> = (0..=999).filter(|status| !reason(*status).is_empty()).collect();
        assert_eq!(named, NAMED);
        let mut words: Vec<_> = named.iter().map(|status| reason(*status)).collect();
        // > reason-phrase = 1*( HTAB / SP / VCHAR / obs-text ) (RFC 9112 section 4)
        let legal = |c: char| c.is_ascii_alphabetic() || matches!(c, ' ' | '-');
        assert!(words.iter().all(|words| words.chars().all(legal) && words.trim() == *words));
        words.sort();
        words.dedup();
        assert_eq!(words.len(), NAMED.len(), "two phrases are equal");
        assert_eq!((reason(101), reason(404)), ("Switching Protocols", "Not Found"));
    }

    #[test]
    fn illegal_characters_are_rejected() {
        let mut memory = [0; 512];
        let mut out = Writer::new(&mut memory);
        let illegal = Some(WriteError::IllegalValue);
        for bad in ["\r", "\n", "\0", "a\r\nb: c", "a\u{7f}", "\u{1b}[0m"] {
            assert_eq!(response(&mut out, 200).unwrap().header("a", bad).err(), illegal, "{bad:?}");
            let parts = ["ok", bad];
            assert_eq!(response(&mut out, 200).unwrap().header_parts("a", &parts).err(), illegal);
            assert_eq!(response(&mut out, 200).unwrap().header(bad, "a").err(), illegal);
            assert_eq!(response(&mut out, 200).unwrap().number(bad, 1).err(), illegal);
            assert_eq!(request(&mut out, bad, "/").err(), illegal);
            assert_eq!(request(&mut out, "GET", bad).err(), illegal);
            out.truncate(0);
        }
        assert_eq!(response(&mut out, 200).unwrap().header("a:", "b").err(), illegal);
        assert_eq!(response(&mut out, 200).unwrap().header("", "b").err(), illegal);
        assert_eq!(response(&mut out, 200).unwrap().raw(b"a: b").err(), illegal);
        assert_eq!(request(&mut out, "", "/").err(), illegal);
        assert_eq!(request(&mut out, "GET", "").err(), illegal);
        assert_eq!(request_parts(&mut out, "GET", &[]).err(), illegal);
        assert_eq!(request_parts(&mut out, "GET", &["/", " HTTP/1.1"]).err(), illegal);
        assert_eq!(request(&mut out, "GET", "/ HTTP/1.1").err(), illegal);
        assert_eq!(response(&mut out, 99).err(), illegal);
        assert_eq!(response(&mut out, 600).err(), illegal);
    }

    #[test]
    fn overflow_is_reported_at_each_step() {
        for room in 0.."HTTP/1.1 200 OK\r\nA: b\r\nC: 12\r\n\r\n".len() {
            let mut memory = std::vec![0; room];
            let mut out = Writer::new(&mut memory);
            let head = response(&mut out, 200)
                .and_then(|head| head.header("A", "b"))
                .and_then(|head| head.number("C", 12))
                .and_then(HeadWriter::end);
            assert_eq!(head, Err(WriteError::Overflow));
        }
    }

    #[test]
    fn empty_chunk_is_not_written() {
        let body = written(|out| {
            chunk(out, b"")?;
            chunk(out, &[b'x'; 31])?;
            Ok(last_chunk(out)?)
        });
        assert_eq!(body, std::format!("1f\r\n{}\r\n0\r\n\r\n", "x".repeat(31)));
    }
}
