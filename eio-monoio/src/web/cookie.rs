//! [`Cookie`]: the cookie that identifies the session, for load balancers that route by it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use eio_core::http::header_line;
use eio_core::sid::Sid;

use crate::message::OutBuf;

/// A cookie for [`Config::cookie`](crate::Config::cookie) that identifies the session (RFC 6265).
///
/// Only the response to a polling handshake sets it. Browsers accept cookies from a WebSocket handshake too, but neither
/// engine.io nor python-engineio sets one there.
///
/// [`Config::check`](crate::Config::check) reports names and attributes that RFC 6265 section 4.1.1 does not allow, and
/// combinations that browsers reject.
///
/// ```
/// use eio_monoio::{Config, Cookie, SameSite};
///
/// // Set-Cookie: io=<sid>; Path=/; HttpOnly; SameSite=Lax
/// let config = Config::new().cookie(Cookie::new("io"));
/// assert!(config.check().is_ok());
///
/// let cookie = Cookie::new("io").same_site(SameSite::None);
/// assert_eq!(
///     Config::new().cookie(cookie).check().unwrap_err().to_string(),
///     "cookie: SameSite=None needs Secure, or browsers drop the cookie",
/// );
/// ```
#[derive(Clone)]
pub struct Cookie {
    name: String,
    value: Value,
    /// Empty: no `Path` attribute.
    path: String,
    domain: Option<String>,
    secure: bool,
    http_only: bool,
    same_site: Option<SameSite>,
    max_age: Option<Duration>,
    /// Name and value, or a bare name.
    attributes: Vec<(String, Option<String>)>,
}

type Value = Arc<dyn Fn(&Sid) -> String + Send + Sync>;

/// Whether browsers send a cookie with requests that another site initiates: see [`Cookie::same_site`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SameSite {
    /// Never.
    Strict,
    /// With top-level navigation only.
    Lax,
    /// Always. Browsers accept it only with [`Cookie::secure`].
    None,
}

impl Cookie {
    /// A cookie with this name, the session id as value, and `Path=/; HttpOnly; SameSite=Lax`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: Arc::new(|sid| sid.to_string()),
            path: "/".into(),
            domain: None,
            secure: false,
            http_only: true,
            same_site: Some(SameSite::Lax),
            max_age: None,
            attributes: Vec::new(),
        }
    }

    /// Computes the value from the session id.
    ///
    /// **Default:** the session id. If the value has a character that RFC 6265 does not allow, no cookie is set, and an
    /// error is logged.
    #[must_use]
    pub fn value(mut self, value: impl Fn(&Sid) -> String + Send + Sync + 'static) -> Self {
        self.value = Arc::new(value);
        self
    }

    /// The `Path` attribute: the paths that browsers send the cookie to.
    ///
    /// **Default:** `/`. Empty: no attribute, and browsers use the path of the request.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// The `Domain` attribute: browsers send the cookie to this domain and its subdomains.
    ///
    /// **Default:** no attribute; browsers send the cookie to this host only.
    #[must_use]
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// The `Secure` attribute: browsers send the cookie over TLS only.
    ///
    /// **Default:** false.
    #[must_use]
    pub fn secure(mut self, secure: bool) -> Self {
        self.secure = secure;
        self
    }

    /// The `HttpOnly` attribute: scripts of the page cannot read the cookie.
    ///
    /// **Default:** true.
    #[must_use]
    pub fn http_only(mut self, http_only: bool) -> Self {
        self.http_only = http_only;
        self
    }

    /// The `SameSite` attribute.
    ///
    /// **Default:** [`SameSite::Lax`]. The option `None`: no attribute.
    #[must_use]
    pub fn same_site(mut self, same_site: impl Into<Option<SameSite>>) -> Self {
        self.same_site = same_site.into();
        self
    }

    /// The `Max-Age` attribute: the lifetime, in whole seconds.
    ///
    /// **Default:** no attribute; the cookie lasts until the browser session ends.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Adds another attribute, such as `Priority=High`.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.push((name.into(), Some(value.into())));
        self
    }

    /// Adds another attribute without a value, such as `Partitioned`.
    #[must_use]
    pub fn flag(mut self, name: impl Into<String>) -> Self {
        self.attributes.push((name.into(), None));
        self
    }

    /// Checks the syntax of RFC 6265 section 4.1.1, and the rules by which browsers reject cookies (RFC 6265bis sections
    /// 4.1.3 and 5.7).
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.name.is_empty() || !self.name.bytes().all(is_token) {
            return Err("the name must be a token".into());
        }
        let attributes = self.attributes.iter();
        let values = attributes.clone().filter_map(|(_, value)| value.as_deref());
        if attributes.clone().any(|(name, _)| name.is_empty() || !name.bytes().all(is_token)) {
            return Err("the name of an attribute must be a token".into());
        }
        let mut values = values.chain([&*self.path]).chain(self.domain.as_deref());
        if !values.all(|value| value.bytes().all(is_attribute)) {
            return Err("attributes must be visible ASCII without semicolons".into());
        }
        if !self.path.is_empty() && !self.path.starts_with('/') {
            return Err("the path must begin with /".into());
        }
        if self.same_site == Some(SameSite::None) && !self.secure {
            return Err("SameSite=None needs Secure, or browsers drop the cookie".into());
        }
        let prefixed = |prefix: &str| {
            self.name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        if (prefixed("__Secure-") || prefixed("__Host-")) && !self.secure {
            return Err("a name with __Secure- or __Host- needs Secure".into());
        }
        if prefixed("__Host-") && (self.domain.is_some() || self.path != "/") {
            return Err("a name with __Host- needs the path / and no domain".into());
        }
        Ok(())
    }

    /// Appends the header line for a session. Returns false, with `lines` unchanged, if the value is not legal.
    pub(crate) fn write(&self, lines: &mut Vec<u8>, sid: &Sid) -> bool {
        let value = (self.value)(sid);
        if !value.bytes().all(is_value) {
            return false;
        }
        let mut out = OutBuf(std::mem::take(lines));
        let start = out.0.len();
        let written = header_line(
            &mut out,
            "Set-Cookie",
            &[&self.name, "=", &value, &self.attributes_text()],
        )
        .is_ok();
        if !written {
            out.0.truncate(start);
        }
        *lines = out.0;
        written
    }

    /// The attributes, as they follow the value.
    fn attributes_text(&self) -> String {
        let mut text = String::new();
        let mut add = |name: &str, value: Option<&str>| {
            text.push_str("; ");
            text.push_str(name);
            if let Some(value) = value {
                text.push('=');
                text.push_str(value);
            }
        };
        if !self.path.is_empty() {
            add("Path", Some(&self.path));
        }
        if let Some(domain) = &self.domain {
            add("Domain", Some(domain));
        }
        if let Some(age) = self.max_age {
            add("Max-Age", Some(&age.as_secs().to_string()));
        }
        if self.secure {
            add("Secure", None);
        }
        if self.http_only {
            add("HttpOnly", None);
        }
        if let Some(same_site) = self.same_site {
            let value = match same_site {
                SameSite::Strict => "Strict",
                SameSite::Lax => "Lax",
                SameSite::None => "None",
            };
            add("SameSite", Some(value));
        }
        self.attributes.iter().for_each(|(name, value)| add(name, value.as_deref()));
        text
    }
}

/// The value depends on the session, so it is not shown.
impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cookie")
            .field(&format_args!("{}=..{}", self.name, self.attributes_text()))
            .finish()
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// RFC 6265 section 4.1.1, `av-octet`, without the spaces that browsers trim.
fn is_attribute(b: u8) -> bool {
    b.is_ascii_graphic() && b != b';'
}

/// RFC 6265 section 4.1.1, `cookie-octet`.
fn is_value(b: u8) -> bool {
    b.is_ascii_graphic() && !b"\",;\\".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(cookie: &Cookie) -> String {
        assert_eq!(cookie.check(), Ok(()));
        let mut lines = b"Vary: Origin\r\n".to_vec();
        assert!(cookie.write(&mut lines, &Sid::new("abc").unwrap()));
        let text = String::from_utf8(lines).unwrap();
        text.strip_prefix("Vary: Origin\r\nSet-Cookie: ").unwrap().trim_end().to_owned()
    }

    #[test]
    fn the_header_line_has_every_attribute_that_is_set() {
        let cookie = || Cookie::new("io");
        for (cookie, expected) in [
            (cookie(), "io=abc; Path=/; HttpOnly; SameSite=Lax"),
            (cookie().http_only(false).same_site(None).path(""), "io=abc"),
            (
                cookie().path("/chat").secure(true).same_site(SameSite::None),
                "io=abc; Path=/chat; Secure; HttpOnly; SameSite=None",
            ),
            (
                cookie().max_age(Duration::from_millis(3_600_900)).same_site(SameSite::Strict),
                "io=abc; Path=/; Max-Age=3600; HttpOnly; SameSite=Strict",
            ),
            (
                cookie().domain("a.example").flag("Partitioned").attribute("Priority", "High"),
                "io=abc; Path=/; Domain=a.example; HttpOnly; SameSite=Lax; Partitioned; \
                 Priority=High",
            ),
            (
                cookie().value(|sid| format!("{sid}.shard-1")),
                "io=abc.shard-1; Path=/; HttpOnly; SameSite=Lax",
            ),
        ] {
            assert_eq!(line(&cookie), expected);
        }
    }

    #[test]
    fn invalid_headers_and_cookies_that_browsers_reject_are_refused() {
        let cookie = || Cookie::new("io");
        for bad in [
            Cookie::new(""),
            Cookie::new("a b"),
            Cookie::new("a=b"),
            cookie().path("chat"),
            cookie().path("/; Domain=evil"),
            cookie().domain("a\r\nSet-Cookie: x=y"),
            cookie().attribute("a b", "c"),
            cookie().attribute("a", "b;c"),
            cookie().flag(""),
            cookie().same_site(SameSite::None),
            Cookie::new("__Secure-io"),
            Cookie::new("__Host-io").secure(true).path("/x"),
            Cookie::new("__Host-io").secure(true).domain("a.example"),
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
        assert_eq!(Cookie::new("__Host-io").secure(true).check(), Ok(()));
    }

    #[test]
    fn an_illegal_value_sets_no_cookie() {
        for bad in ["a;b", "a b", "a\r\nX: y", "a,b", "\"", "é"] {
            let mut lines = b"Vary: Origin\r\n".to_vec();
            let cookie = Cookie::new("io").value(move |_| bad.to_owned());
            assert!(!cookie.write(&mut lines, &Sid::new("abc").unwrap()), "{bad:?}");
            assert_eq!(lines, b"Vary: Origin\r\n");
        }
    }
}
