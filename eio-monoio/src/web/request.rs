//! [`RequestInfo`]: the head of a request, as the application reads it, and the values that it attaches.

use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::net::SocketAddr;

use eio_core::http::RequestHead;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue};

use crate::web::query;

/// The head of a request, borrowed from the receive buffer.
///
/// [`ConnectRequest`](crate::ConnectRequest) dereferences to it; hooks of [`Server`](crate::Server) and the predicate of
/// [`Cors`](crate::Cors::predicate) receive it directly.
///
/// ```
/// # use eio_monoio::{Refusal, Server};
/// # fn server<H: eio_monoio::Handler, F: Fn() -> H + Send + Sync + 'static>(make: F) -> Server<F> {
/// Server::new(make).middleware(|request| match (request.method(), request.query("token").as_deref()) {
///     ("OPTIONS", _) | (_, Some("open sesame")) => Ok(()),
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
    pub(crate) attached: Attached,
}

/// The address of the client, [`RequestInfo::peer_addr`], as an extension of the request that
/// [`Handler::request`](crate::Handler::request) receives. It is absent for a Unix-domain socket.
///
/// ```
/// # use std::borrow::Cow;
/// use eio_monoio::PeerAddr;
/// use http::{Request, Response, StatusCode};
///
/// // In `Handler::request`: only from this machine.
/// fn request(request: Request<Vec<u8>>) -> Response<Cow<'static, [u8]>> {
///     let mut response = Response::new(Cow::Borrowed(&b""[..]));
///     if !request.extensions().get().is_some_and(|PeerAddr(peer)| peer.ip().is_loopback()) {
///         *response.status_mut() = StatusCode::FORBIDDEN;
///     }
///     response
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// Values and header fields that the application attaches to a request. It needs no memory until it is used.
#[derive(Default)]
pub(crate) struct Attached(RefCell<Option<Box<Attachments>>>);

#[derive(Default)]
struct Attachments {
    values: Extensions,
    headers: HeaderMap,
}

impl Attached {
    /// Takes the header fields for the response.
    pub(crate) fn take_headers(&self) -> Option<HeaderMap> {
        let mut attached = self.0.borrow_mut();
        let headers = &mut attached.as_mut()?.headers;
        (!headers.is_empty()).then(|| std::mem::take(headers))
    }
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

    /// The value of a query parameter, decoded: `%3A` is a colon, `+` a space. The last of equal keys counts, as in
    /// engine.io; a key without a value is `Some("")`; `None` if it is absent.
    ///
    /// Bytes that are not UTF-8 become U+FFFD, and an invalid escape is kept as it is. To compare or match,
    /// `.as_deref()` borrows the text: `request.query("token").as_deref() == Some("sesame")`.
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        query::last(self.raw_query(), name)
    }

    /// All query parameters in their order, decoded as by [`query`](Self::query).
    pub fn query_pairs(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        query::pairs(self.raw_query())
    }

    /// The query as received: the part of the [`target`](Self::target) after `?`, or an empty string.
    pub fn raw_query(&self) -> &str {
        self.target().split_once('?').map_or("", |(_, query)| query)
    }

    /// Attaches a value to this request. A value of the same type is replaced.
    ///
    /// Later [middlewares](crate::Server::middleware), [`Handler::connect`](crate::Handler::connect) and hooks for the
    /// same request read it by [`get`](Self::get); [`Socket::request`](crate::Socket::request) contains it as an
    /// extension, if it is kept.
    pub fn insert<V: Clone + Send + Sync + 'static>(&self, value: V) {
        self.attached.0.borrow_mut().get_or_insert_default().values.insert(value);
    }

    /// A copy of the attached value of this type.
    pub fn get<V: Clone + Send + Sync + 'static>(&self) -> Option<V> {
        self.attached.0.borrow().as_ref()?.values.get().cloned()
    }

    /// Adds a header field to the response to this request, whether it is accepted or refused: for example a cookie at
    /// log-in. Several fields with one name are all sent.
    ///
    /// For [middlewares](crate::Server::middleware), [`Server::generate_id`](crate::Server::generate_id) and
    /// [`Handler::connect`](crate::Handler::connect); elsewhere it has no effect. A field that is not legal or
    /// [reserved](crate::Server::headers) is left out, and that is logged.
    ///
    /// ```
    /// # use eio_monoio::{ConnectRequest, Refusal};
    /// /// The body of a `Handler::connect`.
    /// fn connect(request: &ConnectRequest<'_>) -> Result<(), Refusal> {
    ///     let visitor = request.query("visitor").ok_or(Refusal::unauthorized())?;
    ///     request.add_response_header("set-cookie", format!("visitor={visitor}; HttpOnly"));
    ///     Ok(())
    /// }
    /// ```
    pub fn add_response_header(
        &self,
        name: impl TryInto<HeaderName>,
        value: impl TryInto<HeaderValue>,
    ) {
        let (Ok(name), Ok(value)) = (name.try_into(), value.try_into()) else {
            crate::log::warn!("a response header of the application is not valid; it is left out");
            return;
        };
        self.attached.0.borrow_mut().get_or_insert_default().headers.append(name, value);
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

    /// The head as a request of the `http` crate, with the [attached](Self::insert) values as its extensions. Header
    /// fields that it cannot represent are left out.
    pub fn to_http(&self) -> http::Request<()> {
        let mut request = to_http(&self.head, ());
        if let Some(attached) = &*self.attached.0.borrow() {
            *request.extensions_mut() = attached.values.clone();
        }
        request
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
