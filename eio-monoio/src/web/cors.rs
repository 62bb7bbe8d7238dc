//! [`Cors`]: which origins may send requests, and the header lines that tell browsers so.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use eio_core::http::{Headers, WriteError, header_line, response};

use crate::message::OutBuf;
use crate::web::request::RequestInfo;

/// The origins from which browsers may send requests: an option of a server, [`Config::cors`](crate::Config::cors).
///
/// A request of another origin for Engine.IO is refused with 400
/// ([`ConnectionError::InvalidOrigin`](crate::ConnectionError::InvalidOrigin)), a raw WebSocket with 403. A
/// request without an `Origin` header is always accepted: it does not come from a page of another origin. An `Origin`
/// that is not visible ASCII, or is sent twice, is refused by every rule but [`Off`](Self::Off).
///
/// **Default:** [`SameOrigin`](Self::SameOrigin).
///
/// ```
/// use eio_monoio::{Config, Cors};
///
/// let config = Config::new().cors(Cors::origins(["https://app.example.org"]));
/// assert!(config.check().is_ok());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cors {
    /// Only pages of the host that the request is sent to. For servers behind a proxy, `X-Forwarded-Host` and
    /// `X-Forwarded-Proto` count as that host too.
    #[default]
    SameOrigin,
    /// Pages of any origin. The response names the origin of the request, never `*`, so that credentials work.
    Any,
    /// Pages of the same origin and of these origins; see [`Cors::origins`].
    Origins(Vec<String>),
    /// Pages of the origins that a function allows; see [`Cors::predicate`]. The same origin is not implied.
    Predicate(OriginPredicate),
    /// No check and no headers.
    Off,
}

/// The function of [`Cors::predicate`]. Equal to its clones only.
#[derive(Clone)]
pub struct OriginPredicate(Arc<Predicate>);

type Predicate = dyn Fn(&str, &RequestInfo<'_>) -> bool + Send + Sync;

impl OriginPredicate {
    /// A panic counts as false.
    pub(crate) fn allows(&self, origin: &str, request: &RequestInfo<'_>) -> bool {
        catch_unwind(AssertUnwindSafe(|| (self.0)(origin, request))).unwrap_or_else(|_| {
            crate::log::error!("the origin predicate panicked; the origin is refused");
            false
        })
    }
}

impl fmt::Debug for OriginPredicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OriginPredicate").finish_non_exhaustive()
    }
}

impl PartialEq for OriginPredicate {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for OriginPredicate {}

impl Cors {
    /// Allows pages of the same origin and of these origins, each `scheme://host` or `scheme://host:port`. They are
    /// compared ignoring case and a default port. [`Config::check`](crate::Config::check) reports a value of another form.
    pub fn origins<S: Into<String>>(origins: impl IntoIterator<Item = S>) -> Self {
        Self::Origins(origins.into_iter().map(Into::into).collect())
    }

    /// Allows pages of the origins for which `allows` returns true. It is called for each request with an `Origin`
    /// header, on the worker that serves the request: it must not block. A panic counts as false, and is logged.
    ///
    /// ```
    /// use eio_monoio::{Config, Cors};
    ///
    /// let config = Config::new().cors(Cors::predicate(|origin, _request| {
    ///     origin.strip_prefix("https://").is_some_and(|host| host.ends_with(".example.org"))
    /// }));
    /// assert!(config.check().is_ok());
    /// ```
    pub fn predicate(
        allows: impl Fn(&str, &RequestInfo<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::Predicate(OriginPredicate(Arc::new(allows)))
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        match self {
            Self::Origins(origins) if !origins.iter().all(|origin| is_origin(origin)) => {
                Err("an origin must be scheme://host or scheme://host:port".into())
            }
            _ => Ok(()),
        }
    }

    /// Decides about a request. `secure`: it was received over TLS. `allows` calls the predicate.
    pub(crate) fn judge<'b>(
        &self,
        headers: &Headers<'_, 'b>,
        secure: bool,
        allows: impl FnOnce(&OriginPredicate, &str) -> bool,
    ) -> Verdict<'b> {
        if matches!(self, Self::Off) {
            return Verdict::Silent;
        }
        let mut origins = headers.all("origin");
        let Some(origin) = origins.next() else { return Verdict::Silent };
        // RFC 6454 section 7.3: a user agent sends at most one Origin. The value is written into a response header.
        let (Ok(origin), None) = (std::str::from_utf8(origin), origins.next()) else {
            return Verdict::Refused;
        };
        if !origin.bytes().all(|b| b.is_ascii_graphic()) {
            return Verdict::Refused;
        }
        let allowed = match self {
            Self::Any | Self::Off => true,
            Self::SameOrigin => same_origin(origin, headers, secure),
            Self::Origins(list) => {
                list.iter().any(|allowed| equal_origins(allowed, origin))
                    || same_origin(origin, headers, secure)
            }
            Self::Predicate(predicate) => allows(predicate, origin),
        };
        if allowed { Verdict::Allowed(origin) } else { Verdict::Refused }
    }
}

/// The decision of [`Cors::judge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict<'b> {
    /// Accepted, without CORS headers in the response.
    Silent,
    /// Accepted; the response names this origin.
    Allowed(&'b str),
    Refused,
}

/// The header lines of a response to an allowed origin. `Vary`, because the response depends on the origin (Fetch, "CORS
/// protocol and HTTP caches").
pub(crate) fn write_allowed(lines: &mut Vec<u8>, origin: &str, credentials: bool) {
    let mut out = OutBuf(std::mem::take(lines));
    let write = |out: &mut OutBuf| {
        header_line(out, "Access-Control-Allow-Origin", &[origin])?;
        if credentials {
            header_line(out, "Access-Control-Allow-Credentials", &["true"])?;
        }
        header_line(out, "Vary", &["Origin"])
    };
    if write(&mut out).is_err() {
        // `judge` lets only visible ASCII through.
        out.0.clear();
    }
    *lines = out.0;
}

/// The response to a preflight request. `requested`: its `Access-Control-Request-Headers`, `None` if the origin is not
/// allowed; `persistence`: the lines about the connection; `extra`: the lines of [`write_allowed`] and other header lines.
pub(crate) fn write_preflight(
    out: &mut OutBuf,
    requested: Option<&[u8]>,
    date: &[u8],
    extra: &[u8],
    persistence: &[u8],
) {
    let start = out.0.len();
    let is_allowed = requested.is_some();
    let requested = requested.unwrap_or_default();
    // Only a list of names is echoed.
    let name = |b: &u8| b.is_ascii_alphanumeric() || b"-_, ".contains(b);
    let requested =
        if requested.iter().all(name) { str::from_utf8(requested).unwrap_or_default() } else { "" };
    let write = |out: &mut OutBuf| -> Result<(), WriteError> {
        let mut head = response(out, 204)?.raw(date)?.raw(persistence)?.raw(extra)?;
        if is_allowed {
            head = head.header("Access-Control-Allow-Methods", "GET, POST, OPTIONS")?;
            if !requested.is_empty() {
                head = head.header("Access-Control-Allow-Headers", requested)?;
            }
        }
        head.end()
    };
    if write(out).is_err() {
        out.0.truncate(start);
    }
}

fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let scheme_ok = !scheme.is_empty()
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    scheme_ok && !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && b != b'/')
}

/// Whether `origin` is the host that the request was sent to, directly or through a proxy. The scheme is compared only
/// if a proxy names it or this server has TLS: otherwise there may be a proxy with TLS that does not name it.
fn same_origin(origin: &str, headers: &Headers<'_, '_>, secure: bool) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let Some(is_secure) = is_secure(scheme) else { return false };
    let matches = |host: Option<&str>, proto: Option<&str>| {
        host.is_some_and(|host| same_authority(authority, host, is_secure))
            && proto.is_none_or(|proto| self::is_secure(proto) == Some(is_secure))
    };
    let proto = first_of_list(headers.text("x-forwarded-proto")).or(secure.then_some("https"));
    matches(headers.text("host"), proto)
        || matches(first_of_list(headers.text("x-forwarded-host")), proto)
}

/// Whether a scheme has TLS; `None` if it is not one of the web. RFC 6455 section 3: `ws` and `wss` have the ports of
/// `http` and `https`, and a proxy may name them for a request that asks for a WebSocket (Traefik does).
fn is_secure(scheme: &str) -> Option<bool> {
    let is = |names: [&str; 2]| names.iter().any(|name| name.eq_ignore_ascii_case(scheme));
    if is(["https", "wss"]) { Some(true) } else { is(["http", "ws"]).then_some(false) }
}

/// Whether two origins are equal, ignoring case and the default port of the scheme (RFC 6454 section 4).
fn equal_origins(a: &str, b: &str) -> bool {
    if a.eq_ignore_ascii_case(b) {
        return true;
    }
    let (Some((scheme, a)), Some((other, b))) = (a.split_once("://"), b.split_once("://")) else {
        return false;
    };
    let secure = is_secure(scheme);
    secure == is_secure(other) && secure.is_some_and(|secure| same_authority(a, b, secure))
}

/// Whether two authorities are equal, ignoring case and the default port of the scheme.
fn same_authority(a: &str, b: &str, is_secure: bool) -> bool {
    let default = if is_secure { ":443" } else { ":80" };
    let strip = |text| str::strip_suffix(text, default).unwrap_or(text).len();
    a[..strip(a)].eq_ignore_ascii_case(&b[..strip(b)])
}

fn first_of_list(value: Option<&str>) -> Option<&str> {
    value.map(|value| value.split(',').next().unwrap_or(value).trim())
}

#[cfg(test)]
mod tests {
    use eio_core::http::RequestHead;

    use super::*;

    fn judge(cors: &Cors, lines: &str) -> &'static str {
        judge_over(false, cors, lines)
    }

    fn judge_over(tls: bool, cors: &Cors, lines: &str) -> &'static str {
        let head = format!("GET / HTTP/1.1\r\n{lines}\r\n");
        let mut slots = [eio_core::http::Header { name: "", value: b"" }; 8];
        let head = RequestHead::parse(head.as_bytes(), &mut slots).unwrap();
        match cors.judge(&head.headers, tls, |_, origin| origin == "http://evil") {
            Verdict::Silent => "silent",
            Verdict::Allowed(_) => "allowed",
            Verdict::Refused => "refused",
        }
    }

    #[test]
    fn same_origin_compares_scheme_host_and_port() {
        for (lines, expected) in [
            ("Host: a.example\r\n", "silent"),
            ("Host: a.example\r\nOrigin: http://a.example\r\n", "allowed"),
            ("Host: A.example:80\r\nOrigin: http://a.example\r\n", "allowed"),
            ("Host: a.example\r\nOrigin: https://a.example\r\n", "allowed"),
            ("Host: a.example:8080\r\nOrigin: http://a.example:8080\r\n", "allowed"),
            ("Host: a.example\r\nOrigin: http://a.example:8080\r\n", "refused"),
            ("Host: a.example\r\nOrigin: http://a.example.evil\r\n", "refused"),
            ("Host: a.example\r\nOrigin: http://evil\r\n", "refused"),
            ("Host: a.example\r\nOrigin: null\r\n", "refused"),
            ("Host: a.example\r\nOrigin: file://a.example\r\n", "refused"),
            ("Host: a.example\r\nOrigin: http://a.example\r\nOrigin: http://evil\r\n", "refused"),
            (
                "Host: inner\r\nX-Forwarded-Host: a.example\r\nOrigin: https://a.example\r\n",
                "allowed",
            ),
            (
                "Host: inner\r\nX-Forwarded-Host: a.example\r\nX-Forwarded-Proto: http\r\n\
                 Origin: https://a.example\r\n",
                "refused",
            ),
            (
                "Host: inner\r\nX-Forwarded-Host: a.example, b\r\nOrigin: http://a.example\r\n",
                "allowed",
            ),
        ] {
            assert_eq!(judge(&Cors::SameOrigin, lines), expected, "{lines:?}");
        }
    }

    /// Traefik writes the scheme of the WebSocket on requests that ask for one.
    #[test]
    fn schemes_of_websockets_are_those_of_http() {
        for (origin, proto, expected) in [
            ("https://a.example", "wss", "allowed"),
            ("https://a.example", "WSS", "allowed"),
            ("http://a.example", "ws", "allowed"),
            ("https://a.example", "ws", "refused"),
            ("http://a.example", "wss", "refused"),
            ("wss://a.example", "https", "allowed"),
            ("ws://a.example", "http", "allowed"),
            ("ws://a.example", "https", "refused"),
            ("https://a.example:443", "wss", "allowed"),
            ("https://a.example", "ftp", "refused"),
        ] {
            let lines =
                format!("Host: a.example\r\nX-Forwarded-Proto: {proto}\r\nOrigin: {origin}\r\n");
            assert_eq!(judge(&Cors::SameOrigin, &lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn origins_of_the_list_have_default_ports() {
        let cors = Cors::origins(["https://good.example:443", "capacitor://localhost"]);
        for (origin, expected) in [
            ("https://good.example", "allowed"),
            ("HTTPS://GOOD.example", "allowed"),
            ("capacitor://localhost", "allowed"),
            ("http://good.example", "refused"),
            ("https://good.example:8443", "refused"),
        ] {
            let lines = format!("Host: a.example\r\nOrigin: {origin}\r\n");
            assert_eq!(judge(&cors, &lines), expected, "{origin}");
        }
    }

    #[test]
    fn an_http_page_is_of_another_origin_than_a_tls_server() {
        let judge = |lines| judge_over(true, &Cors::SameOrigin, lines);
        assert_eq!(judge("Host: a.example\r\nOrigin: https://a.example\r\n"), "allowed");
        assert_eq!(judge("Host: a.example\r\nOrigin: http://a.example\r\n"), "refused");
        let behind = "Host: a.example\r\nX-Forwarded-Proto: http\r\nOrigin: http://a.example\r\n";
        assert_eq!(judge(behind), "allowed");
    }

    #[test]
    fn any_off_origins_and_predicate_decide_as_documented() {
        let evil = "Host: a.example\r\nOrigin: http://evil\r\n";
        assert_eq!(judge(&Cors::Any, evil), "allowed");
        assert_eq!(judge(&Cors::Off, evil), "silent");
        assert_eq!(judge(&Cors::origins(["http://evil"]), evil), "allowed");
        assert_eq!(judge(&Cors::origins(["http://good"]), evil), "refused");
        assert_eq!(judge(&Cors::Any, "Host: a\r\nOrigin: http://e vil\r\n"), "refused");
        // The predicate alone decides, but is not called for an invalid origin.
        let predicate = Cors::predicate(|_, _| unreachable!("the test decides instead"));
        assert_eq!(judge(&predicate, evil), "allowed");
        assert_eq!(judge(&predicate, "Host: b\r\nOrigin: http://b\r\n"), "refused");
        assert_eq!(judge(&predicate, "Host: a.example\r\n"), "silent");
        assert_eq!(judge(&predicate, "Host: a\r\nOrigin: http://e vil\r\n"), "refused");
    }
}
