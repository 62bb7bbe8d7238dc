//! What the application adds to the heads of Engine.IO responses.

use std::fmt;
use std::sync::Arc;

use eio_core::http::header_line;
use http::HeaderMap;

use crate::handler::{ConnectRequest, RequestInfo};
use crate::message::OutBuf;

/// The application's functions; see [`Server::headers`](crate::Server::headers).
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) headers: Option<Arc<OnResponse>>,
    pub(crate) initial: Option<Arc<OnFirstResponse>>,
}

type OnResponse = dyn Fn(&RequestInfo<'_>, &mut HeaderMap) + Send + Sync;
type OnFirstResponse = dyn Fn(&ConnectRequest<'_>, &mut HeaderMap) + Send + Sync;

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("headers", &self.headers.is_some())
            .field("initial", &self.initial.is_some())
            .finish()
    }
}

/// Appends what the application wants to say. The framing of the message and of the connection is not its
/// business; that, and what cannot be sent, is left out.
pub(crate) fn write_lines(lines: &mut Vec<u8>, headers: &HeaderMap) {
    const OURS: [http::HeaderName; 8] = [
        http::header::CONTENT_LENGTH,
        http::header::CONTENT_ENCODING,
        http::header::CONTENT_TYPE,
        http::header::TRANSFER_ENCODING,
        http::header::CONNECTION,
        http::header::UPGRADE,
        http::header::SEC_WEBSOCKET_ACCEPT,
        http::header::SEC_WEBSOCKET_EXTENSIONS,
    ];
    let mut out = OutBuf(std::mem::take(lines));
    for (name, value) in headers {
        let start = out.0.len();
        let written = match value.to_str() {
            Ok(value) if !OURS.contains(name) => header_line(&mut out, name.as_str(), &[value]),
            _ => Err(eio_core::http::WriteError::IllegalValue),
        };
        if written.is_err() {
            tracing::warn!(header = %name, "not a header the application can add; left out");
            out.0.truncate(start);
        }
    }
    *lines = out.0;
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_application_cannot_break_the_framing() {
        let mut headers = HeaderMap::new();
        for name in ["content-length", "transfer-encoding", "connection", "upgrade", "x-good"] {
            headers.insert(name, HeaderValue::from_static("1"));
        }
        headers.append("x-good", HeaderValue::from_static("2"));
        headers.insert("x-bad", HeaderValue::from_bytes(b"\xff").unwrap());
        let mut lines = b"Vary: Origin\r\n".to_vec();
        write_lines(&mut lines, &headers);
        assert_eq!(String::from_utf8(lines).unwrap(), "Vary: Origin\r\nx-good: 1\r\nx-good: 2\r\n");
    }
}
