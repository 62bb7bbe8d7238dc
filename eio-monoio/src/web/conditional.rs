//! [`Conditions`]: conditional requests and ranges (RFC 9110 sections 13 and 14).

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use eio_core::http::Headers;

/// The preconditions and the range of a request. It owns its bytes, because another thread evaluates it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions {
    if_match: Option<Vec<u8>>,
    if_none_match: Option<Vec<u8>>,
    if_modified_since: Option<SystemTime>,
    if_unmodified_since: Option<SystemTime>,
    range: Option<Vec<u8>>,
    if_range: Option<Vec<u8>>,
}

/// The validators of a representation (RFC 9110 section 8.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Validators {
    /// A strong entity tag, with its quotes.
    pub(crate) etag: String,
    /// Whole seconds, the resolution of HTTP dates.
    pub(crate) modified: SystemTime,
}

/// The response that the conditions lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// 200
    Whole,
    /// 206 with this range, which is not empty.
    Part(Range<u64>),
    /// 304
    NotModified,
    /// 412
    Failed,
    /// 416
    NotSatisfiable,
}

impl Conditions {
    pub(crate) fn new(headers: &Headers<'_, '_>) -> Self {
        // A list may span several header lines (RFC 9110 section 5.3).
        let list = |name| {
            let mut lines = headers.all(name).peekable();
            lines.peek()?;
            Some(lines.collect::<Vec<_>>().join(&b','))
        };
        let date = |name| headers.text(name).and_then(date);
        Self {
            if_match: list("if-match"),
            if_none_match: list("if-none-match"),
            if_modified_since: date("if-modified-since"),
            if_unmodified_since: date("if-unmodified-since"),
            range: list("range"),
            if_range: headers.get("if-range").map(<[u8]>::to_vec),
        }
    }

    /// Whether the request has a `Range`.
    pub(crate) fn asks_for_range(&self) -> bool {
        self.range.is_some()
    }

    /// Evaluates the conditions by RFC 9110 section 13.2.2, for GET and HEAD of a file of `len` bytes.
    pub(crate) fn decide(&self, validators: &Validators, len: u64, is_get: bool) -> Decision {
        let modified = validators.modified;
        let fails = match (&self.if_match, self.if_unmodified_since) {
            (Some(tags), _) => !matches(tags, &validators.etag, Comparison::Strong),
            (None, Some(date)) => modified > date,
            (None, None) => false,
        };
        if fails {
            return Decision::Failed;
        }
        let unchanged = match (&self.if_none_match, self.if_modified_since) {
            (Some(tags), _) => matches(tags, &validators.etag, Comparison::Weak),
            (None, Some(date)) => modified <= date,
            (None, None) => false,
        };
        if unchanged {
            return Decision::NotModified;
        }
        match &self.range {
            // > A server MUST ignore a Range header field received with a request method that is unrecognized or for
            // > which range handling is not defined. (RFC 9110 section 14.2)
            Some(range) if is_get && self.range_applies(validators) => satisfy(range, len),
            _ => Decision::Whole,
        }
    }

    /// Whether the representation is the one in `If-Range` (RFC 9110 section 13.1.5): a part of another representation
    /// would not match the part that the client has.
    fn range_applies(&self, validators: &Validators) -> bool {
        let Some(value) = &self.if_range else { return true };
        match str::from_utf8(value).ok().and_then(date) {
            Some(date) => date == validators.modified,
            None => value == validators.etag.as_bytes(),
        }
    }
}

/// A time in whole seconds. A time before 1970, or after 9999, becomes 1970.
pub(crate) fn whole_seconds(time: SystemTime) -> SystemTime {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    /// 9999-12-31: the format has four digits for the year.
    const LAST: u64 = 253_402_300_799;
    UNIX_EPOCH + Duration::from_secs(if seconds > LAST { 0 } else { seconds })
}

fn date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether a list of entity tags (RFC 9110 8.8.3), or `*`, holds `etag`, which is strong.
fn matches(mut list: &[u8], etag: &str, comparison: Comparison) -> bool {
    if list.trim_ascii() == b"*" {
        return true;
    }
    loop {
        list = list.trim_ascii_start();
        while let Some(rest) = list.strip_prefix(b",") {
            list = rest.trim_ascii_start();
        }
        let (weak, rest) = match list.strip_prefix(b"W/") {
            Some(rest) => (true, rest),
            None => (false, list),
        };
        // An entity tag may contain a comma, but no quote.
        let Some(opened) = rest.strip_prefix(b"\"") else { return false };
        let Some(end) = opened.iter().position(|b| *b == b'"') else { return false };
        let tag = &rest[..end + 2];
        if tag == etag.as_bytes() && (comparison == Comparison::Weak || !weak) {
            return true;
        }
        list = &rest[end + 2..];
    }
}

/// Evaluates a single range of bytes. Several ranges, and ranges that do not parse, are answered with the whole file.
///
/// > A server MAY ignore the Range header field. (RFC 9110 section 14.2)
fn satisfy(range: &[u8], len: u64) -> Decision {
    let Some((unit, set)) = str::from_utf8(range).ok().and_then(|text| text.split_once('=')) else {
        return Decision::Whole;
    };
    let Some((first, last)) = set.trim().split_once('-') else { return Decision::Whole };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !unit.trim().eq_ignore_ascii_case("bytes") || !digits(first) || !digits(last) {
        return Decision::Whole;
    }
    // A number that exceeds 64 bits is beyond the end of any file.
    let number = |text: &str| text.parse().unwrap_or(u64::MAX);
    let range = match (first, last) {
        ("", "") => return Decision::Whole,
        ("", suffix) => len.saturating_sub(number(suffix))..len,
        (first, "") => number(first)..len,
        (first, last) if number(last) < number(first) => return Decision::Whole,
        (first, last) => number(first)..number(last).saturating_add(1).min(len),
    };
    if range.is_empty() { Decision::NotSatisfiable } else { Decision::Part(range) }
}

#[cfg(test)]
mod tests {
    use eio_core::http::{EMPTY, RequestHead};

    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT
    const MODIFIED: u64 = 784_111_777;

    fn decide(lines: &str, len: u64, is_get: bool) -> Decision {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let mut slots = [EMPTY; 8];
        let head = RequestHead::parse(head.as_bytes(), &mut slots).unwrap();
        let modified = UNIX_EPOCH + Duration::from_secs(MODIFIED);
        let validators = Validators { etag: "\"a,b\"".into(), modified };
        Conditions::new(&head.headers).decide(&validators, len, is_get)
    }

    #[test]
    fn preconditions_decide_the_response() {
        use Decision::{Failed, NotModified, Whole};
        const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
        for (lines, expected) in [
            (String::new(), Whole),
            ("If-None-Match: \"a,b\"\r\n".into(), NotModified),
            ("If-None-Match: W/\"a,b\"\r\n".into(), NotModified),
            ("If-None-Match: \"x\", \"a,b\"\r\n".into(), NotModified),
            ("If-None-Match: \"x\"\r\nIf-None-Match: \"a,b\"\r\n".into(), NotModified),
            ("If-None-Match: *\r\n".into(), NotModified),
            ("If-None-Match: \"a\", \"b\"\r\n".into(), Whole),
            ("If-None-Match: \"x,\"a,b\"\r\n".into(), Whole),
            ("If-None-Match: a,b\r\n".into(), Whole),
            ("If-None-Match: \"\r\n".into(), Whole),
            (format!("If-Modified-Since: {SAME}\r\n"), NotModified),
            (format!("If-Modified-Since: {BEFORE}\r\n"), Whole),
            ("If-Modified-Since: yesterday\r\n".into(), Whole),
            (format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {SAME}\r\n"), Whole),
            (format!("If-Unmodified-Since: {BEFORE}\r\n"), Failed),
            (format!("If-Unmodified-Since: {SAME}\r\n"), Whole),
            ("If-Match: \"x\"\r\n".into(), Failed),
            ("If-Match: W/\"a,b\"\r\n".into(), Failed),
            ("If-Match: \"x\", \"a,b\"\r\n".into(), Whole),
            (format!("If-Match: *\r\nIf-Unmodified-Since: {BEFORE}\r\n"), Whole),
        ] {
            assert_eq!(decide(&lines, 10, true), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_range_applies_if_it_is_single_valid_and_of_the_same_representation() {
        use Decision::{NotModified, NotSatisfiable, Part, Whole};
        for (lines, expected) in [
            ("Range: bytes=0-0\r\n", Part(0..1)),
            ("Range: bytes=2-5\r\n", Part(2..6)),
            ("Range: bytes=2-\r\n", Part(2..10)),
            ("Range: bytes=2-100\r\n", Part(2..10)),
            ("Range: bytes=-3\r\n", Part(7..10)),
            ("Range: bytes=-300\r\n", Part(0..10)),
            ("Range: BYTES=0-99999999999999999999999\r\n", Part(0..10)),
            ("Range: bytes=-0\r\n", NotSatisfiable),
            ("Range: bytes=10-\r\n", NotSatisfiable),
            ("Range: bytes=99999999999999999999999-\r\n", NotSatisfiable),
            ("Range: bytes=5-2\r\n", Whole),
            ("Range: bytes=-\r\n", Whole),
            ("Range: bytes=a-b\r\n", Whole),
            ("Range: bytes=+1-2\r\n", Whole),
            ("Range: bytes=0-1,4-5\r\n", Whole),
            ("Range: bytes=0-1\r\nRange: bytes=4-5\r\n", Whole),
            ("Range: lines=0-1\r\n", Whole),
            ("Range: 0-1\r\n", Whole),
            ("Range: bytes=0-1\r\nIf-Range: \"a,b\"\r\n", Part(0..2)),
            ("Range: bytes=0-1\r\nIf-Range: \"x\"\r\n", Whole),
            ("Range: bytes=0-1\r\nIf-Range: W/\"a,b\"\r\n", Whole),
            ("Range: bytes=0-1\r\nIf-Range: Sun, 06 Nov 1994 08:49:37 GMT\r\n", Part(0..2)),
            ("Range: bytes=0-1\r\nIf-Range: Sun, 06 Nov 1994 08:49:38 GMT\r\n", Whole),
            ("Range: bytes=0-1\r\nIf-None-Match: *\r\n", NotModified),
        ] {
            assert_eq!(decide(lines, 10, true), expected, "{lines:?}");
        }
        assert_eq!(decide("Range: bytes=0-1\r\n", 10, false), Whole);
        assert_eq!(decide("Range: bytes=0-1\r\n", 0, true), NotSatisfiable);
        assert_eq!(decide("Range: bytes=-1\r\n", 0, true), NotSatisfiable);
    }
}
