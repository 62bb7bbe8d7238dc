//! [`RequestInfo`]: the head of a request, as the application reads it.

use std::cell::OnceCell;
use std::fmt;
use std::net::SocketAddr;

use eio_core::http::RequestHead;

/// The head of a request, borrowed from the receive buffer.
///
/// [`ConnectRequest`](crate::ConnectRequest) dereferences to it; hooks of [`Server`](crate::Server) and the predicate of
/// [`Cors`](crate::Cors::predicate) receive it directly.
///
/// ```
/// # use eio_monoio::{Refusal, Server};
/// # fn server<H: eio_monoio::Handler, F: Fn() -> H + Send + Sync + 'static>(make: F) -> Server<F> {
/// Server::new(make).middleware(|request| match (request.method(), request.query("token")) {
///     ("OPTIONS", _) | (_, Some("opensesame")) => Ok(()),
///     _ => Err(Refusal::forbidden()),
/// })
/// # }
/// ```
pub struct RequestInfo<'r> {
    pub(crate) head: RequestHead<'r, 'r>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) secure: bool,
    pub(crate) certificate: Option<&'r [u8]>,
    /// The joined value of several `Cookie` lines, once it was asked for.
    pub(crate) cookies: OnceCell<String>,
}

impl RequestInfo<'_> {
    /// The method, such as `GET` or `POST`.
    pub fn method(&self) -> &str {
        self.head.method
    }

    /// The value of the first header field with this name, in any case; `None` if it is absent or not UTF-8.
    ///
    /// Several `Cookie` fields are joined: clients of HTTP/2 may split the field, and not every proxy joins it again as
    /// RFC 9113 section 8.2.3 requires.
    pub fn header(&self, name: &str) -> Option<&str> {
        if name.eq_ignore_ascii_case(COOKIE) && self.head.headers.all(COOKIE).nth(1).is_some() {
            return Some(self.cookies.get_or_init(|| join_cookies(&self.head)));
        }
        self.head.headers.text(name)
    }

    /// The request target as received: path and query.
    pub fn target(&self) -> &str {
        self.head.target
    }

    /// The first value of a query parameter, not percent-decoded; `None` if it is absent.
    pub fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target().split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// The address of the client: the remote address of the connection or, if that is a
    /// [trusted proxy](crate::Config::trusted_proxies), the address that the proxy forwarded. The port is 0 if the proxy
    /// did not forward it. `None` for a Unix-domain socket.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Whether the request was received over this server's TLS. TLS of a proxy does not count.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The verified certificate of the client in DER, without intermediate certificates (see
    /// `Tls::client_authorities`). `None` without TLS, or if the client sent no certificate.
    pub fn client_certificate(&self) -> Option<&[u8]> {
        self.certificate
    }

    /// The head as a request of the `http` crate. Header fields that it cannot represent are left out.
    pub fn to_http(&self) -> http::Request<()> {
        to_http(&self.head, ())
    }
}

impl fmt::Debug for RequestInfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestInfo")
            .field("method", &self.head.method)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

const COOKIE: &str = "cookie";

/// The `Cookie` fields of a request as one.
///
/// > these MUST be concatenated into a single octet string using the two-octet delimiter of 0x3b, 0x20 (the ASCII
/// > string "; ") (RFC 9113 section 8.2.3)
fn join_cookies(head: &RequestHead<'_, '_>) -> String {
    let lines = head.headers.all(COOKIE).filter_map(|line| str::from_utf8(line).ok());
    lines.collect::<Vec<_>>().join("; ")
}

pub(crate) fn to_http<B>(head: &RequestHead<'_, '_>, body: B) -> http::Request<B> {
    let mut request = http::Request::new(body);
    *request.method_mut() = head.method.parse().unwrap_or_default();
    *request.uri_mut() = head.target.parse().unwrap_or_default();
    *request.version_mut() =
        if head.minor_version == 0 { http::Version::HTTP_10 } else { http::Version::HTTP_11 };
    for (name, value) in head.headers.iter() {
        if let (Ok(name), Ok(value)) =
            (http::HeaderName::from_bytes(name.as_bytes()), http::HeaderValue::from_bytes(value))
        {
            request.headers_mut().append(name, value);
        }
    }
    if head.headers.all(COOKIE).nth(1).is_some()
        && let Ok(cookies) = http::HeaderValue::from_str(&join_cookies(head))
    {
        request.headers_mut().insert(http::header::COOKIE, cookies);
    }
    request
}
