//! [`Reason`]: why a request was refused, for the application and for the log.

use std::fmt;

use eio_core::http::Error as HttpError;
use eio_core::ws::handshake;

use crate::server::cause::{Cause, Subject};
use crate::server::conn::Conn;
use crate::server::connection_error::ConnectionError;
use crate::server::refusal::Refusal;
use crate::server::shard::ShardState;
use crate::web::request::RequestInfo;

/// Why a request was refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reason {
    /// For the application; `None` for a request that is not for Engine.IO's path.
    pub(crate) error: Option<ConnectionError>,
    cause: Cause,
    /// The broken rule of RFC 6455.
    handshake: Option<handshake::Refusal>,
}

impl Reason {
    pub(crate) const fn new(error: ConnectionError, cause: Cause) -> Self {
        Self { error: Some(error), cause, handshake: None }
    }

    /// An opening handshake that breaks `rule`; `None`: its extensions are malformed.
    pub(crate) const fn handshake(rule: Option<handshake::Refusal>) -> Self {
        let error = Some(ConnectionError::TransportHandshake);
        Self { error, cause: Cause::WebSocketHandshake, handshake: rule }
    }

    /// The same, for another path.
    pub(crate) const fn elsewhere(self) -> Self {
        Self { error: None, ..self }
    }

    /// Whether middlewares are not asked about the request.
    pub(crate) fn is_origin(&self) -> bool {
        self.cause == Cause::InvalidOrigin
    }

    /// `refusal`: that of a middleware.
    pub(crate) fn log<T>(
        &self,
        state: &ShardState<T>,
        request: &RequestInfo<'_>,
        refusal: Option<&Refusal>,
    ) {
        let (log, client) = (&state.shared.causes, Subject::Peer(request.peer));
        if let Some(refusal) = refusal {
            return log.write(self.cause, client, refusal);
        }
        match (self.cause, self.handshake) {
            (Cause::InvalidOrigin, _) => log.write(self.cause, client, Origins(request)),
            (Cause::WebSocketHandshake, None) => {
                log.write(self.cause, client, "Sec-WebSocket-Extensions is malformed");
            }
            (_, Some(rule)) => log.write(self.cause, client, rule),
            (_, None) => log.write(self.cause, client, Target(request)),
        }
    }
}

/// The header fields that decide about an origin.
struct Origins<'a>(&'a RequestInfo<'a>);

impl fmt::Display for Origins<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for name in ["Origin", "Host", "X-Forwarded-Host", "X-Forwarded-Proto"] {
            for value in self.0.head.headers.all(name) {
                write!(f, "{separator}{name}: {}", value.escape_ascii())?;
                separator = ", ";
            }
        }
        Ok(())
    }
}

/// Method and target, without the values of the query: they may be secrets, as a sid is.
struct Target<'a>(&'a RequestInfo<'a>);

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, query) = self.0.target().split_once('?').unwrap_or((self.0.target(), ""));
        write!(f, "{} {path}", self.0.method())?;
        for name in ["EIO", "transport"] {
            if let Some(pair) = query.split('&').find(|pair| pair.split('=').next() == Some(name)) {
                write!(f, " {}", pair.get(..32).unwrap_or(pair))?;
            }
        }
        Ok(())
    }
}

/// The log of causes.
impl<T> Conn<T> {
    pub(crate) fn log(&self, cause: Cause, detail: impl fmt::Display) {
        self.state.shared.causes.write(cause, Subject::Peer(self.peer), detail);
    }

    /// Logs why the received bytes are not a request.
    pub(crate) fn log_malformed(&self, error: HttpError) {
        let bytes = self.http.rx.unread();
        let cause = match error {
            HttpError::HeadTooLarge | HttpError::StartLineTooLarge => Cause::HeadTooLarge,
            HttpError::TooManyHeaders => Cause::TooManyHeaders,
            // A handshake record (RFC 8446 section 5.1).
            _ if bytes.starts_with(b"\x16\x03") => Cause::TlsOnPlainPort,
            _ if bytes.starts_with(b"PROXY ") || bytes.starts_with(b"\r\n\r\n\0\r\nQUIT\n") => {
                Cause::ProxyProtocol
            }
            _ => Cause::MalformedRequest,
        };
        self.log(cause, error);
    }
}
