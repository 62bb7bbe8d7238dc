//! [`Mismatch`]: why a client rejects the response to its opening handshake. In a module of its own, because both
//! [`handshake`](super::handshake) and [`deflate`](super::deflate) return it.

/// Why a response does not open the WebSocket that the client asked for (RFC 6455 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Mismatch {
    /// The status is not 101, so it is an ordinary HTTP response.
    Status,
    /// No `Upgrade: websocket`.
    Upgrade,
    /// No `Connection: upgrade`.
    Connection,
    /// Not exactly one `Sec-WebSocket-Accept` with the value for the key.
    Accept,
    /// An extension that was not offered, or a response that does not match the offer.
    Extension,
    /// A subprotocol that was not offered, or more than one.
    Protocol,
}

impl core::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Status => "the server does not switch protocols",
            Self::Upgrade => "the response has no Upgrade: websocket",
            Self::Connection => "the response has no Connection: upgrade",
            Self::Accept => "the response has no Sec-WebSocket-Accept for the key",
            Self::Extension => "the server uses an extension that was not offered in this form",
            Self::Protocol => "the server chose a subprotocol that was not offered",
        })
    }
}

impl core::error::Error for Mismatch {}
