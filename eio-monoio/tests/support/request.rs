//! HTTP requests as bytes.

use std::fmt::Write as _;

/// The target of a polling handshake.
pub(crate) const POLLING: &str = "/engine.io/?EIO=4&transport=polling";
/// The target of a WebSocket handshake.
pub(crate) const WEBSOCKET: &str = "/engine.io/?EIO=4&transport=websocket";

/// A builder for a request. It sends exactly what the test asks for, also what no library would send, and adds `Host`.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    head: String,
    body: Vec<u8>,
}

impl Request {
    /// A request without a body.
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self { head: format!("{method} {target} HTTP/1.1\r\nHost: test\r\n"), body: Vec::new() }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A POST with a Content-Length.
    pub(crate) fn post(target: &str, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let mut request = Self::new("POST", target);
        request = request.header("Content-Type", "text/plain;charset=UTF-8");
        request.header("Content-Length", &body.len().to_string()).body(body)
    }

    /// A chunked POST.
    pub(crate) fn chunked<'c>(target: &str, chunks: impl IntoIterator<Item = &'c [u8]>) -> Self {
        let mut body = Vec::new();
        for chunk in chunks {
            body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n\r\n");
        Self::new("POST", target).header("Transfer-Encoding", "chunked").body(body)
    }

    /// The request for a WebSocket, with the key of RFC 6455 1.3.
    pub(crate) fn upgrade(target: &str) -> Self {
        Self::get(target)
            .header("Upgrade", "websocket")
            .header("Connection", "Upgrade")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        _ = write!(self.head, "{name}: {value}\r\n");
        self
    }

    /// Adds a body, but no header that announces it.
    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        [self.head.as_bytes(), b"\r\n", &self.body].concat()
    }
}

/// The target of a session's polling requests.
pub(crate) fn target(sid: &str) -> String {
    format!("{POLLING}&sid={sid}")
}

/// The target of the WebSocket that a session is upgraded to.
pub(crate) fn upgrade_target(sid: &str) -> String {
    format!("{WEBSOCKET}&sid={sid}")
}
