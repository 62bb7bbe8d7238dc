//! [`RefusedConnection`]: why a connection was closed before its first request.

/// Why a connection was closed before its first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusedConnection {
    /// [`max_connections`](crate::Config::max_connections) were open.
    TooMany,
    /// [`max_connections_per_address`](crate::Config::max_connections_per_address) of its address were open.
    AddressLimit,
    /// Its address is in one of the [`refused_networks`](crate::Config::refused_networks).
    RefusedNetwork,
    /// With [`proxy_protocol`](crate::Config::proxy_protocol): it did not come from one of the
    /// [`trusted_proxies`](crate::Config::trusted_proxies).
    UntrustedProxy,
    /// With [`proxy_protocol`](crate::Config::proxy_protocol): the header was missing, malformed, too long or too late.
    ProxyHeader,
}

impl RefusedConnection {
    pub(crate) const ALL: [Self; 5] = [
        Self::TooMany,
        Self::AddressLimit,
        Self::RefusedNetwork,
        Self::UntrustedProxy,
        Self::ProxyHeader,
    ];

    /// The value of the label `reason`.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::TooMany => "max_connections",
            Self::AddressLimit => "address_limit",
            Self::RefusedNetwork => "refused_network",
            Self::UntrustedProxy => "untrusted_proxy",
            Self::ProxyHeader => "proxy_header",
        }
    }
}
