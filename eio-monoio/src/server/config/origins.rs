//! [`Config`]: origins, cookies and proxies.

use super::Config;
use crate::web::cookie::Cookie;
use crate::web::cors::Cors;
use crate::web::proxy::{ForwardedBy, ProxyProtocol};

/// # Origins and proxies
///
/// From which origins pages may connect, the cookie with the sid, and which proxies are trusted.
impl Config {
    /// The origins whose pages may connect.
    ///
    /// **Default:** [`Cors::SameOrigin`]. **Range:** each origin is `scheme://host` or `scheme://host:port`. A request
    /// of another origin is answered 400 with code 3; a WebSocket handshake on another path is answered 403.
    ///
    /// Engine.IO: `cors`. python-engineio: `cors_allowed_origins`.
    #[must_use]
    pub fn cors(mut self, cors: Cors) -> Self {
        self.cors = cors;
        self
    }

    /// Whether pages of other origins may send the user's cookies (`Access-Control-Allow-Credentials`).
    ///
    /// **Default:** true.
    ///
    /// Engine.IO: `cors.credentials`, false there. python-engineio: `cors_credentials`.
    #[must_use]
    pub fn cors_credentials(mut self, allow: bool) -> Self {
        self.cors_credentials = allow;
        self
    }

    /// A cookie with the sid, which the response to a polling handshake sets.
    ///
    /// **Default:** none. **Range:** the rules of RFC 6265 and of browsers, see [`Cookie`]. If its computed value is
    /// not legal, the cookie is not set, and an error is logged.
    ///
    /// Engine.IO, python-engineio: `cookie`.
    #[must_use]
    pub fn cookie(mut self, cookie: Cookie) -> Self {
        self.cookie = Some(cookie);
        self
    }

    /// The proxies whose header about the client's address is trusted: each an address (`10.0.0.7`), a network
    /// (`10.0.0.0/8`), or `unix` for the peers of a Unix-domain socket. The client is the nearest hop that is not one
    /// of them.
    ///
    /// **Default:** none. **Range:** addresses, networks with a prefix length of at most 32 bits (IPv6: 128), `unix`.
    #[must_use]
    pub fn trusted_proxies<S: AsRef<str>>(mut self, proxies: impl IntoIterator<Item = S>) -> Self {
        self.trusted_proxies = proxies.into_iter().map(|proxy| proxy.as_ref().parse()).collect();
        self
    }

    /// The header in which the [trusted proxies](Self::trusted_proxies) give the client's address.
    ///
    /// **Default:** [`ForwardedBy::XForwardedFor`].
    #[must_use]
    pub fn forwarded_by(mut self, header: ForwardedBy) -> Self {
        self.forwarded_by = header;
        self
    }

    /// Whether connections begin with the header of the PROXY protocol, by which a TCP balancer states the client's address:
    /// HAProxy `send-proxy` and `send-proxy-v2`, nginx `proxy_protocol on` in a `stream` block, AWS Network Load Balancer.
    /// The header precedes TLS. The address in it is that of [`RequestInfo::peer_addr`](crate::RequestInfo::peer_addr), of
    /// the log and of the limits by address. A header of the proxy itself (`LOCAL`), or of no known address, leaves the
    /// address of the proxy.
    ///
    /// **Default:** [`ProxyProtocol::Off`]: the header is answered 400, as any other request that is not HTTP. **Range:**
    /// [`ProxyProtocol::Required`] needs [`trusted_proxies`](Self::trusted_proxies). A connection that does not come from
    /// one of them, or whose header is malformed, longer than [`max_head_size`](Self::max_head_size) or not complete within
    /// [`head_timeout`](Self::head_timeout), is closed without an answer, logged and counted
    /// ([`WorkerMetrics::connections_refused`](crate::WorkerMetrics::connections_refused)).
    #[must_use]
    pub fn proxy_protocol(mut self, protocol: ProxyProtocol) -> Self {
        self.proxy_protocol = protocol;
        self
    }
}
