//! [`Fault`]: a fault on the wire.

use std::fmt;
use std::time::Duration;

use eio_core::http;
use eio_core::request::Reject;
use eio_core::ws::handshake::Mismatch;
use eio_core::{open, packet, ws};

use crate::client::error::content::{self, Content};
use crate::client::error::os::OsError;

/// A fault on the wire: the cause of a [`ConnectError::Failed`](crate::client::ConnectError::Failed), or the detail of a
/// [`Closed`](crate::client::Closed) or an [`UpgradeFailed`](crate::client::UpgradeFailed).
///
/// [`is_temporary`](Self::is_temporary) says which faults another attempt may cure.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The host has no address, or the resolver failed with this message. Nothing was sent. Check the host of the URL, or
    /// that of the proxy.
    Resolve(String),
    /// No address of the host accepted a TCP connection; this is the error of the last attempt. Check host and port, and
    /// whether the server (or the proxy) runs.
    Connect(OsError),
    /// A connection was not established within [`connect_timeout`](crate::client::Connect::connect_timeout). A firewall
    /// may discard packets, or a name server does not answer.
    ConnectTimeout,
    /// The proxy answered CONNECT with this status. 407: its URL needs a user and a password; 403: it does not permit the
    /// server's host or port; 502 and 504: it does not reach the server.
    Proxy(u16),
    /// The TLS handshake failed with this message. If the certificate is not trusted, see
    /// [`certificate_authority`](crate::client::Connect::certificate_authority); if the server requires one of the client,
    /// [`identity`](crate::client::Connect::identity). An alert of the server is named, also one that arrives after the
    /// handshake.
    Tls(String),
    /// The URL has no TLS, and the server answered with a record of TLS: use `https` or `wss`.
    TlsPort,
    /// The URL asks for TLS, and the server did not answer with TLS: use `http` or `ws`, or another port.
    PlainPort,
    /// The open packet did not arrive within [`open_timeout`](crate::client::Connect::open_timeout), although the server
    /// accepted a connection. It may be overloaded.
    OpenTimeout,
    /// The response did not end within [`request_timeout`](crate::client::Connect::request_timeout) after the request was
    /// sent. The server may be overloaded, or may have stopped.
    RequestTimeout,
    /// The server answered with this status instead of 200, or instead of 101 for a WebSocket. [`code`](Self::code) says
    /// more if the answer is of Engine.IO.
    ///
    /// 404 mostly means a wrong [path](crate::client::Connect::path), 401 and 403 that the application refuses the client.
    /// Code 1 during a session means that the server has ended it or does not know it: a load balancer must route all
    /// requests of a session to one server.
    Status {
        /// 100 to 599.
        status: u16,
        /// The beginning of the body, at most 1 KiB, as text.
        body: String,
        /// The value of `Location`, for a redirection (3xx) that the client does not follow.
        location: Option<String>,
        /// The time for which the server asks the client to wait (`Retry-After`), counted from the response.
        retry_after: Option<Duration>,
    },
    /// The response has status 200, but its content is not that of an Engine.IO 4 server. Check host, port and
    /// [path](crate::client::Connect::path).
    Content(Content),
    /// The connection was closed or reset during a request, or without a close frame of the WebSocket; or a request was
    /// not sent within [`request_timeout`](crate::client::Connect::request_timeout). The network failed, or the server or a
    /// proxy has stopped.
    Lost,
    /// The response is not HTTP/1.1, exceeds a limit of the client or was cut short. The limit of a body is
    /// [`max_payload`](crate::client::Connect::max_payload). For other errors, check that the port is that of an HTTP
    /// server, and whether it uses TLS.
    Http(http::Error),
    /// The response to the opening handshake does not open a WebSocket: a field is missing or wrong, or grants an
    /// extension that was not offered. The server or a proxy does not support WebSockets correctly; without
    /// [WebSocket](crate::client::Connect::transports) polling still works.
    Handshake(Mismatch),
    /// The server violated RFC 6455, or sent a message of more than [`max_payload`](crate::client::Connect::max_payload)
    /// bytes. The client has sent a close frame with [`ws::Error::close_code`].
    WebSocket(ws::Error),
    /// The server sent a close frame without a close packet before it. 1001 means that it shuts down, 1009 that a message
    /// of the client was too long for it.
    CloseFrame {
        /// The code, if the frame had one.
        code: Option<u16>,
        /// The reason, at most 123 bytes.
        reason: String,
    },
    /// The server sent data that is not a packet. In the first response, the server may be one of another protocol.
    Packet(packet::Error),
    /// The server's first packet is not the open packet. With a close packet the server refuses the session; with any
    /// other packet it does not implement Engine.IO 4 correctly.
    NotOpened,
    /// The open packet cannot be parsed. The server does not implement Engine.IO 4 correctly.
    Open(open::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(why) => write!(f, "cannot resolve the host: {why}"),
            Self::Connect(error) => write!(f, "cannot connect: {error}"),
            Self::ConnectTimeout => f.write_str("connection timed out"),
            Self::Proxy(status) => write!(f, "the proxy answered CONNECT with status {status}"),
            Self::Tls(why) => write!(f, "TLS failed: {why}"),
            Self::TlsPort => f.write_str("the server expects TLS on this port: use https or wss"),
            Self::PlainPort => {
                f.write_str("the server does not speak TLS on this port: use http or ws")
            }
            Self::OpenTimeout => f.write_str("no open packet in time"),
            Self::RequestTimeout => f.write_str("no response in time"),
            Self::Status { status, body, location, .. } => {
                write!(f, "status {status}")?;
                if let Some(location) = location {
                    write!(f, ", moved to {}", location.escape_debug())?;
                }
                match body.as_str() {
                    "" => Ok(()),
                    page if content::is_page(page.as_bytes()) => f.write_str(", an HTML page"),
                    text => write!(f, ": {}", text.escape_debug()),
                }
            }
            Self::Content(content) => content.fmt(f),
            Self::Lost => f.write_str("connection lost"),
            Self::Http(error) => error.fmt(f),
            Self::Handshake(mismatch) => mismatch.fmt(f),
            Self::WebSocket(error) => error.fmt(f),
            Self::CloseFrame { code: None, .. } => f.write_str("close frame without a code"),
            Self::CloseFrame { code: Some(code), reason } if reason.is_empty() => {
                write!(f, "close frame with code {code}")
            }
            Self::CloseFrame { code: Some(code), reason } => {
                write!(f, "close frame with code {code}: {}", reason.escape_debug())
            }
            Self::Packet(error) => error.fmt(f),
            Self::NotOpened => f.write_str("the first packet is not an open packet"),
            Self::Open(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Fault {}

impl From<Content> for Fault {
    fn from(content: Content) -> Self {
        Self::Content(content)
    }
}

impl Fault {
    /// A response with this status and nothing else of interest.
    #[cfg(test)]
    pub(crate) fn of_status(status: u16) -> Self {
        Self::Status { status, body: String::new(), location: None, retry_after: None }
    }

    /// Whether another attempt with the same options may succeed; [`Backoff`](crate::client::Backoff) retries these
    /// faults by default.
    ///
    /// | fault | temporary |
    /// |---|---|
    /// | [`Resolve`](Self::Resolve), [`Connect`](Self::Connect), [`ConnectTimeout`](Self::ConnectTimeout), [`OpenTimeout`](Self::OpenTimeout), [`RequestTimeout`](Self::RequestTimeout), [`Lost`](Self::Lost) | yes |
    /// | [`Status`](Self::Status), [`Proxy`](Self::Proxy) | 408, 425, 429, and 5xx but 501 and 505 |
    /// | [`Http`](Self::Http) | a response that was cut short |
    /// | [`CloseFrame`](Self::CloseFrame) | all codes but 1002, 1003, 1007 to 1010 and 1015 |
    /// | all others | no: redirections, 401, 403, 404, code 5, certificates, servers of another protocol |
    ///
    /// ```
    /// use eio_monoio::client::Fault;
    ///
    /// assert!(Fault::ConnectTimeout.is_temporary());
    /// assert!(Fault::Proxy(502).is_temporary());
    /// assert!(!Fault::Proxy(407).is_temporary());
    /// assert!(!Fault::NotOpened.is_temporary());
    /// ```
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Resolve(_)
            | Self::Connect(_)
            | Self::ConnectTimeout
            | Self::OpenTimeout
            | Self::RequestTimeout
            | Self::Lost
            | Self::Http(http::Error::Truncated) => true,
            Self::Status { status, .. } | Self::Proxy(status) => {
                matches!(status, 408 | 425 | 429 | 500 | 502..=504 | 506..)
            }
            Self::CloseFrame { code, .. } => {
                !matches!(code, Some(1002 | 1003 | 1007..=1010 | 1015))
            }
            _ => false,
        }
    }

    /// The time for which the server asks the client to wait, if it does.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The status of the response that caused the fault, if it was one of the server or the proxy.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } | Self::Proxy(status) => Some(*status),
            _ => None,
        }
    }

    /// The `code` with which an Engine.IO server refused a request.
    ///
    /// | code | meaning |
    /// |---|---|
    /// | 0 | the server does not offer the transport |
    /// | 1 | the server has no session with this identifier |
    /// | 2, 3 | the request is not permitted |
    /// | 4 | the application refused the client |
    /// | 5 | the server does not implement Engine.IO 4 |
    pub fn code(&self) -> Option<u8> {
        match self {
            Self::Status { body, .. } => Reject::code_in(body.as_bytes()),
            _ => None,
        }
    }
}
