//! [`Headers`]: access to the header lines of a head.

use crate::bytes::{eq_ignore_case, split_once, trim};
use crate::list;
use crate::text::utf8;

pub use httparse::{EMPTY_HEADER as EMPTY, Header};

/// The header lines of one head, in the order received. Names match in any case.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'h, 'b>(&'h [Header<'b>]);

impl<'h, 'b> Headers<'h, 'b> {
    /// Access to `lines`.
    pub const fn new(lines: &'h [Header<'b>]) -> Self {
        Self(lines)
    }

    /// The value of the first header with this name.
    pub fn get(&self, name: &str) -> Option<&'b [u8]> {
        self.all(name).next()
    }

    /// The value of the first header with this name, if it is UTF-8.
    pub fn text(&self, name: &str) -> Option<&'b str> {
        utf8(self.get(name)?)
    }

    /// The values of all headers with this name.
    pub fn all<'n>(&self, name: &'n str) -> impl Iterator<Item = &'b [u8]> + use<'h, 'b, 'n> {
        self.0
            .iter()
            .filter(move |h| eq_ignore_case(h.name.as_bytes(), name.as_bytes()))
            .map(|h| h.value)
    }

    /// Whether `token` is an element of the list that all headers with this name form together (RFC 9110 section 5.3),
    /// in any case.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name).any(|value| list::has_token(value, token))
    }

    /// All names with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> + Clone + use<'h, 'b> {
        self.0.iter().map(|h| (h.name, h.value))
    }
}

/// The `timeout` of a `Keep-Alive` field in seconds: how long the server keeps an idle connection.
///
/// ```
/// use eio_core::http::keep_alive_timeout;
///
/// assert_eq!(keep_alive_timeout(b"max=100, timeout=5"), Some(5));
/// assert_eq!(keep_alive_timeout(b"max=100"), None);
/// ```
pub fn keep_alive_timeout(value: &[u8]) -> Option<u32> {
    value.split(|byte| *byte == b',').find_map(|parameter| {
        let (name, seconds) = split_once(b'=', parameter);
        let seconds = trim(seconds);
        let seconds =
            seconds.strip_prefix(b"\"").and_then(|s| s.strip_suffix(b"\"")).unwrap_or(seconds);
        let digits = !seconds.is_empty() && seconds.iter().all(u8::is_ascii_digit);
        (eq_ignore_case(trim(name), b"timeout") && digits).then(|| {
            let append =
                |n: u32, digit: &u8| n.saturating_mul(10).saturating_add(u32::from(digit - b'0'));
            seconds.iter().fold(0, append)
        })
    })
}

/// The characters of header values, reason phrases and chunk extensions: HTAB, SP, VCHAR and obs-text (RFC 9110
/// section 5.5).
pub(super) const fn is_field_char(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [Header<'_>; 4] = [
        Header { name: "Connection", value: b"keep-alive" },
        Header { name: "X", value: b"\xff" },
        Header { name: "CONNECTION", value: b"foo, Upgrade" },
        Header { name: "x", value: b"second" },
    ];

    #[test]
    fn names_match_in_any_case_and_the_first_wins() {
        let headers = Headers::new(&LINES);
        assert_eq!(headers.get("connection"), Some(&b"keep-alive"[..]));
        assert_eq!(headers.get("connectio"), None);
        assert_eq!(headers.all("x").count(), 2);
        assert_eq!(headers.iter().count(), 4);
    }

    #[test]
    fn tokens_are_found_in_all_lines() {
        let headers = Headers::new(&LINES);
        assert!(headers.has_token("Connection", "upgrade"));
        assert!(headers.has_token("connection", "Keep-Alive"));
        assert!(!headers.has_token("connection", "close"));
    }

    #[test]
    fn value_that_is_not_utf8_is_not_text() {
        assert_eq!(Headers::new(&LINES).text("x"), None);
        assert_eq!(Headers::new(&LINES).text("connection"), Some("keep-alive"));
    }
}
