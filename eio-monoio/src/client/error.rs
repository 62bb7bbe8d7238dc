//! Errors of a client: [`Fault`], [`ConnectError`] and [`Closed`].

use std::fmt;
use std::io;

use eio_core::http::{self, UrlError};
use eio_core::request::Reject;
use eio_core::session::CloseReason;
use eio_core::ws::handshake::Mismatch;
use eio_core::{open, packet, ws};

/// A fault on the wire: the cause of a [`ConnectError::Failed`], or the [detail](Closed::detail) of a [`Closed`].
///
/// [`Client::reconnect_with`](crate::client::Client::reconnect_with) tries again after any of them. Some are not cured by
/// another attempt:
///
/// ```
/// use eio_monoio::client::Fault;
///
/// /// Whether another attempt with the same options may succeed.
/// fn is_temporary(fault: &Fault) -> bool {
///     match fault {
///         Fault::Status { status, .. } => *status == 429 || *status >= 500,
///         Fault::Tls(_) | Fault::Handshake(_) | Fault::NotOpened | Fault::Open(_) => false,
///         _ => true,
///     }
/// }
///
/// assert!(is_temporary(&Fault::ConnectTimeout));
/// assert!(!is_temporary(&Fault::NotOpened));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The host has no address, or the resolver failed with this message. Nothing was sent. Check the host of the URL, or
    /// that of the proxy.
    Resolve(String),
    /// No address of the host accepted a TCP connection; this is the error of the last attempt. Check host and port, and
    /// whether the server (or the proxy) runs.
    Connect(io::ErrorKind),
    /// A connection was not established within [`connect_timeout`](crate::client::Connect::connect_timeout). A firewall
    /// may discard packets, or a name server does not answer.
    ConnectTimeout,
    /// The proxy answered CONNECT with this status. 407: its URL needs a user and a password; 403: it does not permit the
    /// server's host or port; 502 and 504: it does not reach the server.
    Proxy(u16),
    /// The TLS handshake failed with this message. If the certificate is not trusted, see
    /// [`certificate_authority`](crate::client::Connect::certificate_authority); if the server requires one of the client,
    /// [`identity`](crate::client::Connect::identity).
    Tls(String),
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
    },
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
    /// The server sent data that is not a packet. In the first response, the server may be one of Engine.IO 3 or of
    /// another protocol.
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
            Self::Connect(kind) => write!(f, "cannot connect: {kind}"),
            Self::ConnectTimeout => f.write_str("connection timed out"),
            Self::Proxy(status) => write!(f, "the proxy answered CONNECT with status {status}"),
            Self::Tls(why) => write!(f, "TLS handshake failed: {why}"),
            Self::OpenTimeout => f.write_str("no open packet in time"),
            Self::RequestTimeout => f.write_str("no response in time"),
            Self::Status { status, body } if body.is_empty() => write!(f, "status {status}"),
            Self::Status { status, body } => write!(f, "status {status}: {}", body.escape_debug()),
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

impl Fault {
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

/// Why no session was opened.
///
/// ```no_run
/// use eio_monoio::client::{Client, ConnectError};
///
/// # async fn f() {
/// match Client::connect("http://localhost:3000").await {
///     Ok(client) => println!("session {}", client.sid()),
///     Err(ConnectError::Failed(fault)) => println!("not connected: {fault}"),
///     Err(error) => println!("not attempted: {error}"),
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL cannot be parsed, or has a scheme other than `http`, `https`, `ws` and `wss`.
    Url(UrlError),
    /// An option cannot be used: its name, and the reason.
    Option(&'static str, String),
    /// No worker runs on this thread, or it is not the client's: await the future in a
    /// [`block_on`](crate::client::block_on) or in a handler of a server.
    NoRuntime,
    /// The session of the client has not ended.
    Connected,
    /// The worker shut down during the attempt.
    Cancelled,
    /// The attempt failed, or the server refused it.
    Failed(Fault),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => error.fmt(f),
            Self::Option(name, why) => write!(f, "{name}: {why}"),
            Self::NoRuntime => {
                f.write_str("a client runs in client::block_on or on a worker of a server")
            }
            Self::Connected => f.write_str("the client is connected already"),
            Self::Cancelled => f.write_str("cancelled before a session was opened"),
            Self::Failed(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Url(error) => Some(error),
            Self::Failed(fault) => Some(fault),
            _ => None,
        }
    }
}

impl From<UrlError> for ConnectError {
    fn from(error: UrlError) -> Self {
        Self::Url(error)
    }
}

impl ConnectError {
    /// The fault on the wire, if the attempt was begun.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Failed(fault) => Some(fault),
            _ => None,
        }
    }
}

/// The end of a session, from [`Event::Closed`](crate::client::Event::Closed) or
/// [`Client::ended`](crate::client::Client::ended).
///
/// ```
/// use eio_monoio::CloseReason;
/// use eio_monoio::client::Closed;
///
/// /// Whether to reconnect.
/// fn is_unintended(closed: &Closed) -> bool {
///     let intended = [CloseReason::ClientDisconnect, CloseReason::ServerDisconnect];
///     !intended.contains(&closed.reason)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closed {
    /// The reason. It prints as in engine.io and python-engineio, for example `ping timeout`.
    pub reason: CloseReason,
    /// The fault on the wire that caused the end, if there was one.
    pub detail: Option<Fault>,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => write!(f, "{} ({detail})", self.reason),
            None => self.reason.fmt(f),
        }
    }
}
