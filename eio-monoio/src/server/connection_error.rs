//! [`ConnectionError`] and [`Refused`]: why a request for Engine.IO's path was refused.

use std::fmt;
use std::ops::Deref;

use eio_core::request::Reject;

use crate::server::refusal::Refusal;

/// Why a request for Engine.IO's path was refused: passed to
/// [`Server::on_connection_error`](crate::Server::on_connection_error) in a [`Refused`].
///
/// Codes, messages and contexts are those of engine.io's event `connection_error`.
///
/// ```
/// use eio_monoio::ConnectionError;
///
/// let error = ConnectionError::InvalidOrigin;
/// assert_eq!((error.code(), error.message()), (Some(3), "Bad request"));
/// assert_eq!(error.to_string(), "Bad request (INVALID_ORIGIN)");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionError {
    /// Code 0: the requested transport is unknown or not [enabled](crate::Config::transports).
    UnknownTransport,
    /// Code 1: the requested session does not exist, or has ended.
    UnknownSid,
    /// Code 2: the method of a handshake is not GET.
    BadHandshakeMethod,
    /// Code 3: the parameters and headers of the request contradict each other.
    BadRequest,
    /// Code 3, `INVALID_ORIGIN`: [`Cors`](crate::Cors) does not allow the origin.
    InvalidOrigin,
    /// Code 3, `TRANSPORT_MISMATCH`: a polling request for a session whose transport is WebSocket.
    TransportMismatch,
    /// Code 3, `PROTOCOL_MISMATCH`: another protocol version within a session of version 4.
    ProtocolMismatch,
    /// Code 3, `TRANSPORT_HANDSHAKE_ERROR`: an opening handshake that RFC 6455 does not allow.
    TransportHandshake,
    /// Code 3, `ID_GENERATION_ERROR`: [`Server::generate_id`](crate::Server::generate_id) returned an error or an id in
    /// use.
    IdGeneration,
    /// Code 3, `MIDDLEWARE_FAILURE`: [`Server::middleware`](crate::Server::middleware) refused the request.
    Middleware,
    /// Code 4: [`Handler::connect`](crate::Handler::connect) refused the session.
    Forbidden,
    /// Code 5: the protocol version is not 4.
    UnsupportedVersion,
    /// No code: the method is neither GET nor POST.
    MethodNotAllowed,
    /// No code: too many [handshakes](crate::Config::max_handshakes_per_second), the server is shutting down, or the
    /// application panicked or exceeded its timeout.
    Unavailable,
}

impl ConnectionError {
    /// The error code of engine.io; `None` for errors that engine.io does not have.
    pub const fn code(self) -> Option<u8> {
        Some(match self {
            Self::UnknownTransport => 0,
            Self::UnknownSid => 1,
            Self::BadHandshakeMethod => 2,
            Self::BadRequest
            | Self::InvalidOrigin
            | Self::TransportMismatch
            | Self::ProtocolMismatch
            | Self::TransportHandshake
            | Self::IdGeneration
            | Self::Middleware => 3,
            Self::Forbidden => 4,
            Self::UnsupportedVersion => 5,
            Self::MethodNotAllowed | Self::Unavailable => return None,
        })
    }

    /// The message of engine.io for the code.
    pub const fn message(self) -> &'static str {
        match self {
            Self::UnknownTransport => "Transport unknown",
            Self::UnknownSid => "Session ID unknown",
            Self::BadHandshakeMethod => "Bad handshake method",
            Self::BadRequest
            | Self::InvalidOrigin
            | Self::TransportMismatch
            | Self::ProtocolMismatch
            | Self::TransportHandshake
            | Self::IdGeneration
            | Self::Middleware => "Bad request",
            Self::Forbidden => "Forbidden",
            Self::UnsupportedVersion => "Unsupported protocol version",
            Self::MethodNotAllowed => "Method not allowed",
            Self::Unavailable => "Service unavailable",
        }
    }

    /// The context by which engine.io distinguishes errors with code 3.
    pub const fn context(self) -> Option<&'static str> {
        Some(match self {
            Self::InvalidOrigin => "INVALID_ORIGIN",
            Self::TransportMismatch => "TRANSPORT_MISMATCH",
            Self::ProtocolMismatch => "PROTOCOL_MISMATCH",
            Self::TransportHandshake => "TRANSPORT_HANDSHAKE_ERROR",
            Self::IdGeneration => "ID_GENERATION_ERROR",
            Self::Middleware => "MIDDLEWARE_FAILURE",
            _ => return None,
        })
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())?;
        self.context().map_or(Ok(()), |context| write!(f, " ({context})"))
    }
}

impl std::error::Error for ConnectionError {}

/// A refused request, as [`Server::on_connection_error`](crate::Server::on_connection_error) receives it: a
/// [`ConnectionError`], to which it dereferences, and the answer of the application, if the application refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused<'r> {
    pub(crate) error: ConnectionError,
    pub(crate) refusal: Option<&'r Refusal>,
}

impl<'r> Refused<'r> {
    /// Why the request was refused.
    pub fn error(&self) -> ConnectionError {
        self.error
    }

    /// The answer of a [middleware](crate::Server::middleware) or of [`Handler::connect`](crate::Handler::connect).
    pub fn refusal(&self) -> Option<&'r Refusal> {
        self.refusal
    }

    /// The [reason](Refusal::reason) of the application.
    pub fn reason(&self) -> Option<&'r str> {
        self.refusal.and_then(Refusal::reason)
    }
}

impl Deref for Refused<'_> {
    type Target = ConnectionError;

    fn deref(&self) -> &ConnectionError {
        &self.error
    }
}

impl From<ConnectionError> for Refused<'_> {
    fn from(error: ConnectionError) -> Self {
        Self { error, refusal: None }
    }
}

impl fmt::Display for Refused<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)?;
        self.reason().map_or(Ok(()), |reason| write!(f, ": {reason}"))
    }
}

impl From<Reject> for ConnectionError {
    fn from(reject: Reject) -> Self {
        match reject {
            Reject::UnknownTransport => Self::UnknownTransport,
            Reject::UnknownSid => Self::UnknownSid,
            Reject::BadHandshakeMethod => Self::BadHandshakeMethod,
            Reject::ProtocolMismatch => Self::ProtocolMismatch,
            Reject::Forbidden => Self::Forbidden,
            Reject::UnsupportedVersion => Self::UnsupportedVersion,
            Reject::MethodNotAllowed => Self::MethodNotAllowed,
            _ => Self::BadRequest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_message_are_those_of_the_response() {
        for reject in [
            Reject::UnknownTransport,
            Reject::UnknownSid,
            Reject::BadHandshakeMethod,
            Reject::BadRequest,
            Reject::ProtocolMismatch,
            Reject::Forbidden,
            Reject::UnsupportedVersion,
            Reject::MethodNotAllowed,
        ] {
            let error = ConnectionError::from(reject);
            assert_eq!(error.code(), reject.code());
            if let Some(code) = error.code() {
                let body = format!(r#"{{"code":{code},"message":"{}"}}"#, error.message());
                assert_eq!(body, reject.body());
            }
        }
    }
}
