//! [`Persistence`]: whether a connection persists after a response (RFC 9112 section 9.3).

use std::time::Duration;

/// Whether the connection persists after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    KeepAlive,
    Close,
}

impl Persistence {
    pub(crate) const fn new(keep_alive: bool) -> Self {
        if keep_alive { Self::KeepAlive } else { Self::Close }
    }

    /// The header lines of the response that say so.
    pub(crate) fn lines(self, keep_alive: &KeepAlive) -> &[u8] {
        match self {
            Self::KeepAlive => &keep_alive.0,
            Self::Close => b"Connection: close\r\n",
        }
    }
}

/// The header lines of a response after which the connection persists: they announce for how long, so that a client does
/// not send a POST on a connection that the server is about to close. RFC 9112 section 9.3.1 forbids to repeat it.
///
/// HTTP/1.0 needs the confirmation (RFC 9112 appendix C.2.2), and RFC 9110 section 7.6.1 requires the connection option
/// for a field about the connection.
pub(crate) struct KeepAlive(Box<[u8]>);

impl KeepAlive {
    /// Whole seconds, rounded down: the connection is open at least that long.
    pub(crate) fn new(idle_timeout: Duration) -> Self {
        let seconds = idle_timeout.as_secs();
        let lines = format!("Connection: keep-alive\r\nKeep-Alive: timeout={seconds}\r\n");
        Self(lines.into_bytes().into())
    }
}
