//! [`RequestInfo`]: the head of a request, as the application sees it.

use std::fmt;
use std::net::SocketAddr;

use eio_core::http::RequestHead;

/// The head of a request for Engine.IO's path, where it was received.
pub struct RequestInfo<'r> {
    pub(crate) head: RequestHead<'r, 'r>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) secure: bool,
    pub(crate) certificate: Option<&'r [u8]>,
}

impl RequestInfo<'_> {
    /// `GET`, `POST` or whatever it is.
    pub fn method(&self) -> &str {
        self.head.method
    }

    /// The value of a header, by its name in any case; `None` if it is absent or not UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.text(name)
    }

    /// The request target as it came: path and query.
    pub fn target(&self) -> &str {
        self.head.target
    }

    /// The first value of a query parameter, not percent-decoded.
    pub fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target().split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// The client: the other end of the connection, or whom a proxy named that is trusted
    /// ([`trusted_proxies`](crate::Config::trusted_proxies)); its port is 0 if the proxy left it out. `None`
    /// for a Unix-domain socket.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Whether it came over TLS of this server's; a proxy's does not count.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The certificate by which the client has proved who it is, in DER: its own, without those between it and its
    /// authority. `None` without TLS, or if it has shown none.
    pub fn client_certificate(&self) -> Option<&[u8]> {
        self.certificate
    }

    /// The whole head in the vocabulary of the `http` crate. Header fields it cannot hold are left out.
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
    request
}
