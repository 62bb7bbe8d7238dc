//! [`Config`]: HTTP requests and connections.

use std::time::Duration;

use super::Config;

/// # HTTP
///
/// The path of Engine.IO, and how long and how large a request may be.
impl Config {
    /// The path of Engine.IO. Requests are served with and without its trailing slash.
    ///
    /// **Default:** `/engine.io/`. **Range:** begins with `/`; visible ASCII without `?`, `#` and `%`. Requests for
    /// other paths are the application's: [`Server::plain_websockets`](crate::Server::plain_websockets),
    /// [`Server::files`](crate::Server::files), [`Handler::request`](crate::Handler::request).
    ///
    /// Engine.IO: `path`. python-engineio: `engineio_path`.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// The time to receive a request head: from when the connection is accepted (over TLS: from the end of the TLS
    /// handshake), and later from the head's first byte.
    ///
    /// **Default:** 10 s. **Range:** 10 ms to 24 h. After it a part of a head is answered 408 and the connection is
    /// closed; without a byte it is closed without an answer.
    #[must_use]
    pub fn head_timeout(mut self, timeout: Duration) -> Self {
        self.head_timeout = timeout;
        self
    }

    /// The time to receive a request body.
    ///
    /// **Default:** 30 s. **Range:** 10 ms to 24 h. After it the request is answered 408 and the connection is closed;
    /// a session whose POST it was ends with [`CloseReason::TransportError`](crate::CloseReason::TransportError).
    #[must_use]
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.body_timeout = timeout;
        self
    }

    /// The time that a connection may be idle between two requests. Responses announce it, in whole seconds
    /// (`Keep-Alive: timeout=65`), so that clients and proxies do not send a POST on a connection that is about to close.
    ///
    /// **Default:** 65 s. **Range:** 10 ms to 24 h. After it the connection is closed without an answer.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// The time that a peer may take to receive an HTTP response.
    ///
    /// **Default:** 30 s. **Range:** 10 ms to 24 h. After it the connection is closed; a session whose GET it was ends
    /// with [`CloseReason::TransportError`](crate::CloseReason::TransportError). A WebSocket that is not read ends by
    /// its heartbeat instead.
    #[must_use]
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// The largest request head, in bytes.
    ///
    /// **Default:** 16 KiB, as in Node.js. **Range:** 256 bytes to 1 MiB. A larger head is answered 431, or 414 if its
    /// first line alone is larger, and the connection is closed.
    #[must_use]
    pub fn max_head_size(mut self, bytes: usize) -> Self {
        self.max_head_size = bytes;
        self
    }

    /// The largest number of header fields in a request.
    ///
    /// **Default:** 100: a request of a browser through two proxies may have 70. **Range:** 1 to 128. A request with more is answered 431 and the connection is closed.
    #[must_use]
    pub fn max_headers(mut self, fields: usize) -> Self {
        self.max_headers = fields;
        self
    }
}
