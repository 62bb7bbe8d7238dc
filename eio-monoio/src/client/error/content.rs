//! [`Content`]: the content of a response with status 200 that is not of an Engine.IO 4 server.

use std::fmt;

/// The kind of a response that is no payload of Engine.IO 4, as far as its beginning shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// An HTML page: of a login, a captive portal, a proxy, or a web server that answers every path with its page.
    Html,
    /// A compressed body, although the client asks for `identity`: a proxy or the server ignores `Accept-Encoding`.
    Compressed,
    /// The open packet of Engine.IO 3, with its length before it. The server is one of Socket.IO 2 or before.
    EngineIo3,
}

impl Content {
    /// The kind of a response, by its fields and the beginning of its body: `is_coded` if it has a `Content-Encoding`
    /// other than `identity`, `is_html` if its type is `text/html`.
    pub(crate) fn classify(is_coded: bool, is_html: bool, body: &[u8]) -> Option<Self> {
        let body = body.trim_ascii_start();
        if is_coded || body.starts_with(&[0x1f, 0x8b]) {
            return Some(Self::Compressed);
        }
        // A POST of engine.io is answered with `ok` as text/html.
        if body.starts_with(b"<") && (is_html || is_page(body)) {
            return Some(Self::Html);
        }
        let digits = body.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let framed = body.get(digits..).unwrap_or_default();
        (digits > 0 && framed.starts_with(b":0{")).then_some(Self::EngineIo3)
    }
}

/// Whether a text begins as an HTML page does.
pub(super) fn is_page(text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    let begins = |tag: &str| {
        text.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag.as_bytes()))
    };
    begins("<!doctype html") || begins("<html") || begins("<head") || begins("<?xml")
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Html => {
                "the response is an HTML page: a login, a portal or another web server answers in place of Engine.IO"
            }
            Self::Compressed => {
                "the response is compressed, although the client accepts only the identity coding"
            }
            Self::EngineIo3 => "the server speaks Engine.IO 3 (Socket.IO 2), and the client 4",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_of_other_servers_are_classified() {
        for (is_coded, is_html, body, expected) in [
            (false, true, &b" <!DOCTYPE html><title>Log in"[..], Some(Content::Html)),
            (false, false, b"<HTML>", Some(Content::Html)),
            (false, true, b"<p>", Some(Content::Html)),
            (true, false, b"0{", Some(Content::Compressed)),
            (false, false, b"\x1f\x8b\x08", Some(Content::Compressed)),
            (false, false, b"96:0{\"sid\"", Some(Content::EngineIo3)),
            (false, true, b"ok", None),
            (false, false, b"<p>", None),
            (false, false, b"0{\"sid\"", None),
            (false, false, b"", None),
        ] {
            assert_eq!(Content::classify(is_coded, is_html, body), expected, "{body:?}");
        }
    }
}
