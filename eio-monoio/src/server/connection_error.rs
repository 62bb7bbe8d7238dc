//! [`ConnectionError`]: why a request for Engine.IO's path was refused.

use std::fmt;

use eio_core::request::Reject;

/// Why a request for Engine.IO's path was refused, as told to
/// [`Server::on_connection_error`](crate::Server::on_connection_error). Codes, messages and contexts are those of
/// engine.io's event `connection_error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionError {
    /// Code 0: the transport that is asked for is none, or is not served.
    UnknownTransport,
    /// Code 1: the session that is asked for is not, or no longer, there.
    UnknownSid,
    /// Code 2: a session is opened by GET.
    BadHandshakeMethod,
    /// Code 3: a request that fits together with itself badly.
    BadRequest,
    /// Code 3, `INVALID_ORIGIN`: [`Cors`](crate::Cors) does not let this page in.
    InvalidOrigin,
    /// Code 3, `TRANSPORT_MISMATCH`: polling for a session that a WebSocket carries.
    TransportMismatch,
    /// Code 3, `TRANSPORT_HANDSHAKE_ERROR`: an opening handshake that RFC 6455 does not allow.
    TransportHandshake,
    /// Code 3, `ID_GENERATION_ERROR`: [`Server::generate_id`](crate::Server::generate_id) gave none that is legal
    /// and free.
    IdGeneration,
    /// Code 3, `MIDDLEWARE_FAILURE`: [`Server::middleware`](crate::Server::middleware) refused it.
    Middleware,
    /// Code 4: [`Handler::connect`](crate::Handler::connect) refused the session.
    Forbidden,
    /// Code 5: not version 4 of the protocol.
    UnsupportedVersion,
    /// No code: neither GET nor POST.
    MethodNotAllowed,
    /// No code: too many [handshakes](crate::Config::max_handshakes_per_second), a server that ends, or an
    /// application that panicked or took too long.
    Unavailable,
}

impl ConnectionError {
    /// The number that engine.io gives it; `None` for what engine.io does not know.
    pub const fn code(self) -> Option<u8> {
        Some(match self {
            Self::UnknownTransport => 0,
            Self::UnknownSid => 1,
            Self::BadHandshakeMethod => 2,
            Self::BadRequest
            | Self::InvalidOrigin
            | Self::TransportMismatch
            | Self::TransportHandshake
            | Self::IdGeneration
            | Self::Middleware => 3,
            Self::Forbidden => 4,
            Self::UnsupportedVersion => 5,
            Self::MethodNotAllowed | Self::Unavailable => return None,
        })
    }

    /// The message that engine.io has for the code.
    pub const fn message(self) -> &'static str {
        match self {
            Self::UnknownTransport => "Transport unknown",
            Self::UnknownSid => "Session ID unknown",
            Self::BadHandshakeMethod => "Bad handshake method",
            Self::BadRequest
            | Self::InvalidOrigin
            | Self::TransportMismatch
            | Self::TransportHandshake
            | Self::IdGeneration
            | Self::Middleware => "Bad request",
            Self::Forbidden => "Forbidden",
            Self::UnsupportedVersion => "Unsupported protocol version",
            Self::MethodNotAllowed => "Method not allowed",
            Self::Unavailable => "Service unavailable",
        }
    }

    /// What engine.io names to tell one code 3 from another.
    pub const fn context(self) -> Option<&'static str> {
        Some(match self {
            Self::InvalidOrigin => "INVALID_ORIGIN",
            Self::TransportMismatch => "TRANSPORT_MISMATCH",
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

impl From<Reject> for ConnectionError {
    fn from(reject: Reject) -> Self {
        match reject {
            Reject::UnknownTransport => Self::UnknownTransport,
            Reject::UnknownSid => Self::UnknownSid,
            Reject::BadHandshakeMethod => Self::BadHandshakeMethod,
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
    fn an_error_never_differs_from_what_the_client_is_told() {
        for reject in [
            Reject::UnknownTransport,
            Reject::UnknownSid,
            Reject::BadHandshakeMethod,
            Reject::BadRequest,
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
