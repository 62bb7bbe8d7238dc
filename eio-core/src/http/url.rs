//! [`Url`]: the URL that a client connects to.

use core::net::Ipv6Addr;

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{tag, tag_no_case};
use nom::combinator::value;

use crate::text::{AsciiSet, utf8};

/// An absolute URL (RFC 3986), split into parts. No part is percent-decoded.
///
/// ```
/// use eio_core::http::Url;
///
/// let url = Url::parse("wss://example.org/engine.io/?token=abc")?;
/// assert!(url.secure());
/// assert_eq!((url.host, url.port), ("example.org", 443));
/// assert_eq!((url.path, url.query), ("/engine.io/", "token=abc"));
/// # Ok::<(), eio_core::http::UrlError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Url<'a> {
    /// The scheme.
    pub scheme: Scheme,
    /// The part before `@`.
    pub userinfo: Option<&'a str>,
    /// `host[:port]` as given, with brackets: the value of a Host header.
    pub authority: &'a str,
    /// The host; an IPv6 address without its brackets.
    pub host: &'a str,
    /// Whether the host is an IPv6 address.
    pub ipv6: bool,
    /// The port; the default of the scheme if none was given.
    pub port: u16,
    /// The path, which starts with `/`.
    pub path: &'a str,
    /// The part after the first `?`; empty if there is no `?`.
    pub query: &'a str,
}

/// The schemes that a client supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
    /// `ws`
    Ws,
    /// `wss`
    Wss,
}

/// Why a text is not a [`Url`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum UrlError {
    /// A character that is not visible ASCII.
    IllegalCharacter,
    /// A fragment (`#`), which is never sent to a server.
    Fragment,
    /// Not `http://`, `https://`, `ws://` or `wss://`.
    UnknownScheme,
    /// No host, an invalid host, or a port that is not 1 to 65535.
    BadAuthority,
}

impl<'a> Url<'a> {
    /// Parses `text`.
    ///
    /// # Errors
    /// [`UrlError`]
    pub fn parse(text: &'a str) -> Result<Self, UrlError> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(UrlError::IllegalCharacter);
        }
        if text.contains('#') {
            return Err(UrlError::Fragment);
        }
        let (rest, scheme) = scheme(text).ok_or(UrlError::UnknownScheme)?;
        let (authority, rest) = after_authority(rest);
        let (userinfo, authority) = match authority.split_once('@') {
            Some((userinfo, authority)) => (Some(userinfo), authority),
            None => (None, authority),
        };
        let Host { host, ipv6, port } = host(authority).ok_or(UrlError::BadAuthority)?;
        let port = port.unwrap_or(scheme.default_port());
        if port == 0 {
            return Err(UrlError::BadAuthority);
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self { scheme, userinfo, authority, host, ipv6, port, path, query })
    }

    /// Whether the scheme requires TLS.
    pub const fn secure(&self) -> bool {
        matches!(self.scheme, Scheme::Https | Scheme::Wss)
    }
}

impl Scheme {
    /// 80, or 443 with TLS.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http | Self::Ws => 80,
            Self::Https | Self::Wss => 443,
        }
    }
}

fn scheme(text: &str) -> Option<(&str, Scheme)> {
    let names = alt((
        value(Scheme::Https, tag_no_case("https")),
        value(Scheme::Http, tag_no_case("http")),
        value(Scheme::Wss, tag_no_case("wss")),
        value(Scheme::Ws, tag_no_case("ws")),
    ));
    let mut scheme = (names, tag::<_, _, ()>("://"));
    scheme.parse(text).ok().map(|(rest, (scheme, _))| (rest, scheme))
}

/// The authority at the start of `text`, and the rest.
pub(super) fn after_authority(text: &str) -> (&str, &str) {
    text.split_at_checked(text.find(['/', '?']).unwrap_or(text.len())).unwrap_or((text, ""))
}

/// Whether `text` is `host` or `host:port`.
pub(super) fn is_authority(text: &[u8]) -> bool {
    utf8(text).is_some_and(|text| host(text).is_some())
}

struct Host<'a> {
    host: &'a str,
    ipv6: bool,
    port: Option<u16>,
}

/// `host [ ":" port ]` of RFC 3986 section 3.2, with a host that is not empty ("A sender MUST NOT generate
/// an "http" URI with an empty host identifier", RFC 9110 section 4.2.1).
fn host(authority: &str) -> Option<Host<'_>> {
    let ip = authority.strip_prefix('[').map(|rest| rest.split_once(']'));
    let (host, port) = match ip {
        Some(ip) => ip?,
        None => {
            let end = authority.bytes().position(|byte| !HOST_CHARS.contains(byte));
            authority.split_at_checked(end.unwrap_or(authority.len()))?
        }
    };
    let ipv6 = ip.is_some();
    let legal = if ipv6 { host.parse::<Ipv6Addr>().is_ok() } else { !host.is_empty() };
    legal.then_some(Host { host, ipv6, port: parse_port(port)? })
}

/// `[ ":" *DIGIT ]`: the port may be empty, and the colon may be missing with it.
fn parse_port(text: &str) -> Option<Option<u16>> {
    let Some(digits) = text.strip_prefix(':') else { return text.is_empty().then_some(None) };
    match digits {
        "" => Some(None),
        // The standard library accepts a sign, too.
        _ if digits.starts_with('+') => None,
        _ => digits.parse().ok().map(Some),
    }
}

/// `reg-name` of RFC 3986 section 3.2.2: unreserved, sub-delims, and `%` of percent-encoding.
const HOST_CHARS: AsciiSet = AsciiSet::alphanumeric_and(b"-._~%!$&'()*+,;=");

impl core::fmt::Display for UrlError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::IllegalCharacter => "a URL has a character that is not visible ASCII",
            Self::Fragment => "a URL to connect to has a fragment",
            Self::UnknownScheme => "the scheme is not http, https, ws or wss",
            Self::BadAuthority => "malformed host or port",
        })
    }
}

impl core::error::Error for UrlError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_split_into_parts() {
        let url = Url::parse("HTTP://user:pa%40ss@[2001:db8::1]:8080/a/b?c=d?e/f").unwrap();
        assert_eq!(
            url,
            Url {
                scheme: Scheme::Http,
                userinfo: Some("user:pa%40ss"),
                authority: "[2001:db8::1]:8080",
                host: "2001:db8::1",
                ipv6: true,
                port: 8080,
                path: "/a/b",
                query: "c=d?e/f",
            }
        );
    }

    #[test]
    fn missing_parts_have_defaults() {
        for (text, port, secure) in [
            ("http://a", 80, false),
            ("ws://a?", 80, false),
            ("https://a:", 443, true),
            ("wss://a:/", 443, true),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.port, url.secure(), url.path, url.query), (port, secure, "/", ""));
            assert_eq!((url.host, url.ipv6, url.userinfo), ("a", false, None));
        }
        assert_eq!(Url::parse("ws://a?b=c").unwrap().query, "b=c");
    }

    #[test]
    fn invalid_urls_are_rejected() {
        for (text, error) in [
            ("", UrlError::UnknownScheme),
            ("a", UrlError::UnknownScheme),
            ("ftp://a", UrlError::UnknownScheme),
            ("httpss://a", UrlError::UnknownScheme),
            ("http:/a", UrlError::UnknownScheme),
            ("http://", UrlError::BadAuthority),
            ("http:///a", UrlError::BadAuthority),
            ("http://:80", UrlError::BadAuthority),
            ("http://u@", UrlError::BadAuthority),
            ("http://u@v@w", UrlError::BadAuthority),
            ("http://a:0", UrlError::BadAuthority),
            ("http://a:65536", UrlError::BadAuthority),
            ("http://a:+80", UrlError::BadAuthority),
            ("http://a:8o", UrlError::BadAuthority),
            ("http://a:80:80", UrlError::BadAuthority),
            ("http://::1/", UrlError::BadAuthority),
            ("http://[::1", UrlError::BadAuthority),
            ("http://[]", UrlError::BadAuthority),
            ("http://[1.2.3.4]", UrlError::BadAuthority),
            ("http://[::1]a", UrlError::BadAuthority),
            ("http://a\\b", UrlError::BadAuthority),
            ("http://a/b#c", UrlError::Fragment),
            ("http://a/b c", UrlError::IllegalCharacter),
            ("http://\u{e9}", UrlError::IllegalCharacter),
            ("http://a\r\nb", UrlError::IllegalCharacter),
        ] {
            assert_eq!(Url::parse(text), Err(error), "{text:?}");
        }
    }
}
