//! [`Target`]: the request target.

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{tag, tag_no_case};

use super::Error;
use super::url::{after_authority, is_authority};
use crate::bytes::find_short;

/// The target of a request (RFC 9112 section 3.2). No part is percent-decoded.
///
/// ```
/// use eio_core::http::Target;
///
/// let target = Target::parse("/engine.io/?EIO=4&transport=polling")?;
/// assert_eq!((target.path, target.query), ("/engine.io/", "EIO=4&transport=polling"));
/// # Ok::<(), eio_core::http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'b> {
    /// `host[:port]` of an absolute target. It replaces the Host header ("MUST ignore the received Host header field",
    /// RFC 9112 section 3.2.2).
    pub authority: Option<&'b str>,
    /// The path, which starts with `/`; or `*`, the server as a whole, for OPTIONS.
    pub path: &'b str,
    /// The part after the first `?`; empty if there is no `?`.
    pub query: &'b str,
}

impl<'b> Target<'b> {
    /// Parses a target in origin form, in absolute form with http or https, or `*`.
    ///
    /// # Errors
    /// [`Error::BadTarget`]: another form, a fragment, or a character that is not visible ASCII.
    pub fn parse(target: &'b str) -> Result<Self, Error> {
        // No early exit, so that the loop is vectorized: nearly every target is valid.
        let illegal = |byte: u8| !byte.is_ascii_graphic() | (byte == b'#');
        if target.bytes().fold(false, |found, byte| found | illegal(byte)) {
            return Err(Error::BadTarget);
        }
        let (authority, rest) = match target.as_bytes() {
            [b'/', ..] => (None, target),
            b"*" => return Ok(Self { authority: None, path: target, query: "" }),
            _ => absolute(target)
                .map(|(authority, rest)| (Some(authority), rest))
                .ok_or(Error::BadTarget)?,
        };
        // As bytes: for `str` it is a search for any character.
        let at = find_short(b'?', rest.as_bytes()).unwrap_or(rest.len());
        let (path, query) = rest.split_at_checked(at).unwrap_or((rest, ""));
        let query = query.get(1..).unwrap_or_default();
        // An absolute target may have no path: "an empty path component is equivalent to an absolute
        // path of "/"" (RFC 9110 section 4.2.3).
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self { authority, path, query })
    }
}

/// Splits an absolute target after its authority.
fn absolute(target: &str) -> Option<(&str, &str)> {
    let mut scheme = (alt((tag_no_case("https"), tag_no_case("http"))), tag::<_, _, ()>("://"));
    let (rest, _) = scheme.parse(target).ok()?;
    let (authority, rest) = after_authority(rest);
    is_authority(authority.as_bytes()).then_some((authority, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(target: &str) -> Result<(Option<&str>, &str, &str), Error> {
        Target::parse(target).map(|t| (t.authority, t.path, t.query))
    }

    #[test]
    fn origin_absolute_and_asterisk_form_are_accepted() {
        assert_eq!(parts("/"), Ok((None, "/", "")));
        assert_eq!(parts("/a/b?c=/?d"), Ok((None, "/a/b", "c=/?d")));
        assert_eq!(parts("//a/b?"), Ok((None, "//a/b", "")));
        assert_eq!(parts("*"), Ok((None, "*", "")));
        assert_eq!(parts("http://a:80/b?c"), Ok((Some("a:80"), "/b", "c")));
        assert_eq!(parts("HTTPS://[::1]?c"), Ok((Some("[::1]"), "/", "c")));
    }

    #[test]
    fn other_targets_are_rejected() {
        for bad in [
            "",
            "a",
            "?a",
            "**",
            "*?a",
            "a:443",
            "/a#b",
            "/a b",
            "/a\tb",
            "/\u{e9}",
            "/\u{7f}",
            "/\0",
            "http:/a",
            "http:///a",
            "http://u@a/",
            "http://a:b/",
            "ws://a/",
            "ftp://a/",
        ] {
            assert_eq!(parts(bad), Err(Error::BadTarget), "{bad:?}");
        }
    }
}
