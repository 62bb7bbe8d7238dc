//! What can go wrong at a client, by whom it is read.

use std::fmt;
use std::io;

use eio_core::http::{self, UrlError};
use eio_core::request::Reject;
use eio_core::session::CloseReason;
use eio_core::ws::handshake::Mismatch;
use eio_core::{open, packet, ws};

/// What happened on the wire, beneath a [`CloseReason`] or a [`ConnectError`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The host has no address, or the resolver failed; its words.
    Resolve(String),
    /// No address could be connected to; the last one's error.
    Connect(io::ErrorKind),
    /// [`connect_timeout`](crate::client::Connect::connect_timeout) passed.
    ConnectTimeout,
    /// The proxy answered CONNECT with this status.
    Proxy(u16),
    /// TLS could not be agreed on; why.
    Tls(String),
    /// The open packet did not come within [`open_timeout`](crate::client::Connect::open_timeout).
    OpenTimeout,
    /// [`request_timeout`](crate::client::Connect::request_timeout) passed without a whole response.
    RequestTimeout,
    /// The server answered with this status instead of 200 or 101.
    Status {
        /// 100 to 599.
        status: u16,
        /// The beginning of the body, at most 1 KiB, as text.
        body: String,
    },
    /// The connection broke or ended where it must not.
    Lost,
    /// A response is not HTTP/1.1 as we read it, or was cut short.
    Http(http::Error),
    /// The response to the WebSocket request does not open one.
    Handshake(Mismatch),
    /// The server broke the WebSocket protocol.
    WebSocket(ws::Error),
    /// The server sent a close frame.
    CloseFrame {
        /// Its code, if it had one.
        code: Option<u16>,
        /// Its reason, at most 123 bytes.
        reason: String,
    },
    /// What came is not a packet. So begins, among others, a server that speaks Engine.IO 3.
    Packet(packet::Error),
    /// The first packet is another than the open packet.
    NotOpened,
    /// The open packet cannot be read.
    Open(open::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(why) => write!(f, "the host could not be resolved: {why}"),
            Self::Connect(kind) => write!(f, "no connection: {kind}"),
            Self::ConnectTimeout => f.write_str("connecting took too long"),
            Self::Proxy(status) => write!(f, "the proxy answered with status {status}"),
            Self::Tls(why) => write!(f, "TLS: {why}"),
            Self::OpenTimeout => f.write_str("the server did not open a session in time"),
            Self::RequestTimeout => f.write_str("a request was not answered in time"),
            Self::Status { status, body } if body.is_empty() => write!(f, "status {status}"),
            Self::Status { status, body } => write!(f, "status {status}: {}", body.escape_debug()),
            Self::Lost => f.write_str("the connection was lost"),
            Self::Http(error) => error.fmt(f),
            Self::Handshake(mismatch) => mismatch.fmt(f),
            Self::WebSocket(error) => error.fmt(f),
            Self::CloseFrame { code: None, .. } => f.write_str("closed without a code"),
            Self::CloseFrame { code: Some(code), reason } => {
                write!(f, "closed with code {code} {}", reason.escape_debug())
            }
            Self::Packet(error) => error.fmt(f),
            Self::NotOpened => f.write_str("the first packet is not an open packet"),
            Self::Open(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Fault {}

impl Fault {
    /// The status of the HTTP response this is about, if it is about one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } | Self::Proxy(status) => Some(*status),
            _ => None,
        }
    }

    /// The `code` of a refusal by an Engine.IO server, 0 to 5; 5 is a version it does not speak.
    pub fn code(&self) -> Option<u8> {
        match self {
            Self::Status { body, .. } => Reject::code_in(body.as_bytes()),
            _ => None,
        }
    }
}

/// Why there is no session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL cannot be connected to.
    Url(UrlError),
    /// An option cannot be used: its name, and why.
    Option(&'static str, String),
    /// There is no runtime on this thread: run the future in [`block_on`](crate::client::block_on), or in a
    /// handler of a server.
    NoRuntime,
    /// The client is connected already.
    Connected,
    /// [`disconnect`](crate::client::Client::disconnect) or [`abort`](crate::client::Client::abort) came first.
    Cancelled,
    /// The attempt failed, or was refused by the server.
    Failed(Fault),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => error.fmt(f),
            Self::Option(name, why) => write!(f, "{name}: {why}"),
            Self::NoRuntime => f.write_str("a client runs in client::block_on or in a server"),
            Self::Connected => f.write_str("the client is connected already"),
            Self::Cancelled => f.write_str("closed before there was a session"),
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
    /// What happened on the wire, if it came that far.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Failed(fault) => Some(fault),
            _ => None,
        }
    }
}

/// The end of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closed {
    /// Why, in one word of python-engineio.
    pub reason: CloseReason,
    /// What happened on the wire, if anything did.
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
