//! [`Config`]: shares of each address, and refused networks.

use super::Config;

/// # Fair shares
///
/// What one address may use, so that others keep their service. An address is an IPv4 address or the /64 network of an
/// IPv6 address: that of the [PROXY protocol](Self::proxy_protocol) or of the connection; for handshakes that which
/// [trusted proxies](Self::trusted_proxies) forward. The trusted proxies themselves and Unix-domain sockets are not
/// limited. All limits are off by default, because many users may share one address (NAT, mobile networks).
impl Config {
    /// The largest number of connections of one address, of all workers together. An HTTP proxy uses its connections for
    /// many clients, so it must be one of the [trusted proxies](Self::trusted_proxies).
    ///
    /// **Default:** no limit. **Range:** 1 to 2^31. One more connection is answered 429 with `Retry-After: 5` and closed;
    /// over TLS it is closed without an answer. A browser may open six over polling, and one for each WebSocket.
    #[must_use]
    pub fn max_connections_per_address(mut self, connections: usize) -> Self {
        self.max_connections_per_address = Some(connections);
        self
    }

    /// The largest number of handshakes of one address in each second since the start of the server, of all workers
    /// together. Handshakes that are refused later count too.
    ///
    /// **Default:** no limit. **Range:** 1 to 2^31. One more is answered 429 with `Retry-After: 1`;
    /// [`Handler::connect`](crate::Handler::connect) is not called, and it does not count for
    /// [`max_handshakes_per_second`](Self::max_handshakes_per_second).
    #[must_use]
    pub fn max_handshakes_per_address(mut self, handshakes: usize) -> Self {
        self.max_handshakes_per_address = Some(handshakes);
        self
    }

    /// The size of the table of addresses for these two limits, which is allocated at the start if one of them is set.
    /// An address takes 24 bytes while it has a connection, and for a second after a handshake.
    ///
    /// **Default:** 1 MiB, 43,600 addresses. **Range:** 3 KiB to 2 GiB. In a full table an address without a connection,
    /// of those with the fewest handshakes in this second, is forgotten; a connection for whose address there is still no
    /// room is not limited.
    #[must_use]
    pub fn address_table_bytes(mut self, bytes: usize) -> Self {
        self.address_table_bytes = bytes;
        self
    }

    /// Addresses (`192.0.2.7`) and networks (`192.0.2.0/24`, `2001:db8::/32`) whose connections are closed when they are
    /// accepted, without an answer. A request that a [trusted proxy](Self::trusted_proxies) forwards for such a client is
    /// answered 403.
    ///
    /// **Default:** none. **Range:** addresses, networks with a prefix length of at most 32 bits (IPv6: 128).
    #[must_use]
    pub fn refused_networks<S: AsRef<str>>(
        mut self,
        networks: impl IntoIterator<Item = S>,
    ) -> Self {
        self.refused_networks = networks.into_iter().map(|net| net.as_ref().parse()).collect();
        self
    }

    /// The number of bytes that the process may hold for its peers: receive buffers of unfinished messages and requests,
    /// and queues in both directions, of all servers and clients of the process together. It is exact to 256 KiB for each
    /// worker. Not counted are buffers of at most 8 KiB, messages in mailboxes
    /// ([`mailbox_high_water`](Self::mailbox_high_water)) and the memory of the application.
    ///
    /// **Default:** no budget: each client may use what its own limits permit. **Range:** 4 MiB to 1 TiB. While that many
    /// bytes are held, what would grow is refused and the rest is served: a request above 8 KiB that is not complete is
    /// answered 503 with `Retry-After: 1` and its session ends; a WebSocket whose message is above 8 KiB and not complete
    /// is closed with code 1013 (try again later); and the high-water marks of sessions are 64 KiB, so that sending
    /// returns [`SendError::Full`](crate::SendError::Full) there. Messages up to 8 KiB are received and sent as before.
    #[must_use]
    pub fn memory_budget(mut self, bytes: usize) -> Self {
        self.memory_budget = Some(bytes);
        self
    }
}
