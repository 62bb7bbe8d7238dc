//! The head of a forwarded request: the client's, with the framing of a body that was received whole.

use eio_core::http::RequestHead;

/// Writes `head`, whose bytes are `bytes`, for a body of `body` bytes. `None`: the bytes are copied as they are, since
/// there is no body. `closes`: the client's connection closes after the response, so that its next request goes to another
/// node.
///
/// The node that owns the session decides about the request by these bytes, so they stay as the client sent them, but
/// for fields that are about the body or about this hop.
pub(super) fn write(
    out: &mut Vec<u8>,
    bytes: &[u8],
    head: &RequestHead<'_, '_>,
    body: Option<u64>,
    closes: bool,
) {
    const DROPPED: [&str; 4] = ["content-length", "transfer-encoding", "expect", "trailer"];
    let is_dropped = |name: &str| {
        DROPPED.iter().any(|dropped| name.eq_ignore_ascii_case(dropped))
            || (closes && name.eq_ignore_ascii_case("connection"))
    };
    if body.is_none() && !closes && !head.headers.iter().any(|(name, _)| is_dropped(name)) {
        return out.extend_from_slice(bytes);
    }
    let line_end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
    out.extend_from_slice(&bytes[..line_end]);
    for (name, value) in head.headers.iter().filter(|(name, _)| !is_dropped(name)) {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    if let Some(body) = body {
        out.extend_from_slice(format!("Content-Length: {body}\r\n").as_bytes());
    }
    if closes {
        out.extend_from_slice(b"Connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use eio_core::http::EMPTY;

    use super::*;

    fn rewritten(bytes: &str, body: Option<u64>, closes: bool) -> String {
        let mut slots = [EMPTY; 8];
        let head = RequestHead::parse(bytes.as_bytes(), &mut slots).unwrap();
        let mut out = Vec::new();
        write(&mut out, bytes.as_bytes(), &head, body, closes);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_head_without_a_body_stays_as_it_is() {
        let head = "GET /engine.io/?sid=a HTTP/1.1\r\nhost:a\r\nX-Odd:  b \r\n\r\n";
        assert_eq!(rewritten(head, None, false), head);
        let closing =
            "GET /engine.io/?sid=a HTTP/1.1\r\nhost: a\r\nX-Odd: b\r\nConnection: close\r\n\r\n";
        assert_eq!(rewritten(head, None, true), closing);
        let kept = closing.replace("close", "keep-alive");
        assert_eq!(rewritten(&kept, None, true), closing);
    }

    #[test]
    fn the_framing_is_a_length_whatever_it_was() {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: b\r\n\
                    Expect: 100-continue\r\nCookie: c\r\n\r\n";
        let expected = "POST / HTTP/1.1\r\nHost: a\r\nCookie: c\r\nContent-Length: 7\r\n\r\n";
        assert_eq!(rewritten(head, Some(7), false), expected);
        let get = "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(rewritten(get, None, false), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
}
