//! [`HeadRanges`]: a parsed request head as positions in its bytes.

use eio_core::http::{Header, Headers, RequestHead};

use crate::server::conn::header_slots::FieldSlots;

/// A parsed request head that borrows nothing, so that it can be passed on together with the connection that owns the
/// bytes. The head is parsed once only.
pub(crate) struct HeadRanges {
    len: usize,
    method: Range,
    target: Range,
    minor_version: u8,
    fields: Box<[(Range, Range)]>,
}

/// The position of a part of the head. A head has at most 1 MiB.
#[derive(Clone, Copy)]
struct Range {
    start: u32,
    len: u32,
}

impl Range {
    /// The position of `part` in `head`.
    fn new(head: &[u8], part: &[u8]) -> Self {
        let start = (part.as_ptr() as usize).wrapping_sub(head.as_ptr() as usize);
        // The pointer of an empty part is arbitrary.
        let start = if part.is_empty() { 0 } else { start };
        debug_assert!(start + part.len() <= head.len(), "a part of the head");
        Self { start: start as u32, len: part.len() as u32 }
    }

    fn of<'b>(&self, head: &'b [u8]) -> &'b [u8] {
        let start = self.start as usize;
        head.get(start..start + self.len as usize).unwrap_or_default()
    }

    fn text<'b>(&self, head: &Bytes<'b>) -> &'b str {
        match head.text {
            Some(text) => {
                let start = self.start as usize;
                text.get(start..start + self.len as usize).unwrap_or_default()
            }
            None => str::from_utf8(self.of(head.bytes)).unwrap_or_default(),
        }
    }
}

/// The bytes of a head.
struct Bytes<'b> {
    bytes: &'b [u8],
    /// The same, if all of it is UTF-8, as mostly: one check takes the place of one for each name.
    text: Option<&'b str>,
}

impl HeadRanges {
    /// The positions of `parsed`, which was parsed from `head`.
    pub(crate) fn new(head: &[u8], parsed: &RequestHead<'_, '_>) -> Self {
        let range = |part: &[u8]| Range::new(head, part);
        Self {
            len: head.len(),
            method: range(parsed.method.as_bytes()),
            target: range(parsed.target.as_bytes()),
            minor_version: parsed.minor_version,
            fields: parsed
                .headers
                .iter()
                .map(|(name, value)| (range(name.as_bytes()), range(value)))
                .collect(),
        }
    }

    /// The length of the head in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The head. `unread` must begin with the bytes from which it was parsed.
    pub(crate) fn head<'h, 'b>(
        &self,
        unread: &'b [u8],
        slots: &'h mut FieldSlots<'b>,
    ) -> RequestHead<'h, 'b> {
        let bytes = unread.get(..self.len).unwrap_or_default();
        let head = Bytes { bytes, text: str::from_utf8(bytes).ok() };
        let fields = self
            .fields
            .iter()
            .map(|(name, value)| Header { name: name.text(&head), value: value.of(bytes) });
        RequestHead {
            method: self.method.text(&head),
            target: self.target.text(&head),
            minor_version: self.minor_version,
            headers: Headers::new(slots.fill(fields)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::conn::header_slots::HeaderSlots;

    #[test]
    fn head_is_equal_after_its_bytes_have_moved() {
        let fields = "A: b\r\nEmpty:\r\nObs: \u{e9}\r\n".to_owned() + &"X: y\r\n".repeat(40);
        let text = format!("GET /a?b=c HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        assert_equal_after_move(text.into_bytes());
        // "A recipient SHOULD treat other allowed octets in field content (i.e., obs-text) as opaque data" (RFC 9110
        // section 5.5).
        assert_equal_after_move(
            b"GET /a?b=c HTTP/1.1\r\nHost: a\r\nObs: \xe9\r\nX: y\r\n\r\n".to_vec(),
        );
    }

    fn assert_equal_after_move(bytes: Vec<u8>) {
        let mut slots = HeaderSlots::new();
        let parsed = slots.parse(&bytes, 128).unwrap();
        let (ranges, headers) = (HeadRanges::new(&bytes, &parsed), parsed.headers.iter());
        let expected: Vec<_> = headers.map(|(n, v)| (n.to_owned(), v.to_vec())).collect();
        let moved = [&*bytes, b"POST / HTTP/1.1"].concat();
        let mut slots = FieldSlots::new();
        let head = ranges.head(&moved, &mut slots);
        assert_eq!((head.method, head.target, head.minor_version), ("GET", "/a?b=c", 1));
        let headers: Vec<_> =
            head.headers.iter().map(|(n, v)| (n.to_owned(), v.to_vec())).collect();
        assert_eq!(headers, expected);
        assert_eq!(ranges.len(), bytes.len());
    }
}
