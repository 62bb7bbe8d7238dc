//! [`RefusedConnection`]: why a connection was closed before its first request.

/// Why a connection was closed before its first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusedConnection {
    /// [`max_connections`](crate::Config::max_connections) were open.
    TooMany,
    /// With [`proxy_protocol`](crate::Config::proxy_protocol): it did not come from one of the
    /// [`trusted_proxies`](crate::Config::trusted_proxies).
    UntrustedProxy,
    /// With [`proxy_protocol`](crate::Config::proxy_protocol): the header was missing, malformed, too long or too late.
    ProxyHeader,
}

impl RefusedConnection {
    pub(crate) const ALL: [Self; 3] = [Self::TooMany, Self::UntrustedProxy, Self::ProxyHeader];

    /// The value of the label `reason`.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::TooMany => "max_connections",
            Self::UntrustedProxy => "untrusted_proxy",
            Self::ProxyHeader => "proxy_header",
        }
    }
}
