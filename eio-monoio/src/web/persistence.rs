//! [`Persistence`]: whether a connection persists after a response (RFC 9112 section 9.3).

/// Whether the connection persists after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// The default of HTTP/1.1.
    KeepAlive,
    /// HTTP/1.0 asked for it; the response must confirm it.
    KeepAliveHttp10,
    Close,
}

impl Persistence {
    pub(crate) fn new(keep_alive: bool, minor_version: u8) -> Self {
        match (keep_alive, minor_version) {
            (false, _) => Self::Close,
            (true, 0) => Self::KeepAliveHttp10,
            (true, _) => Self::KeepAlive,
        }
    }

    /// The `Connection` header line of the response.
    pub(crate) const fn line(self) -> &'static [u8] {
        match self {
            Self::KeepAlive => b"",
            Self::KeepAliveHttp10 => b"Connection: keep-alive\r\n",
            Self::Close => b"Connection: close\r\n",
        }
    }
}
