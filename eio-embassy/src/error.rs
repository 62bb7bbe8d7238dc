//! [`Error`]: why there is no session, why it ended, or why a message was not sent.

use core::fmt;

use eio_core::http::{self, WriteError};
use eio_core::session::CloseReason;
use eio_core::session::client::ClientSession;
use eio_core::ws::handshake::Mismatch;
use eio_core::ws::{self, CloseCode};
use eio_core::{open, packet};
use embedded_io_async::ErrorKind;

#[cfg(feature = "tls")]
use crate::tls_error::TlsError;

/// Why there is no session, why it ended, or why a message was not sent.
///
/// [`TooLarge`](Self::TooLarge), [`Unfinished`](Self::Unfinished) and [`Separator`](Self::Separator) refuse one
/// message: nothing was sent and the session continues. Every other error ends the session: all later calls return the
/// same error. The buffers are free for the next session as soon as the client is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// A half of the connection returned an error.
    Io(IoError),
    /// The host name could not be resolved.
    Resolve,
    /// The connection could not be established: refused, no route, or reset.
    Connect,
    /// A timeout expired.
    TimedOut(Timeout),
    /// The server answered a request with this status instead of 101 or 200.
    Status {
        /// The HTTP status.
        status: u16,
        /// The `code` of Engine.IO in the body, if there is one: 0 unknown transport, 1 unknown session, 2 bad method,
        /// 3 bad request, 4 forbidden.
        code: Option<u8>,
    },
    /// The server does not support revision 4 of the protocol: it says so (`code` 5), or answers a GET in revision 3.
    UnsupportedVersion,
    /// The response to the WebSocket request does not open a WebSocket.
    Handshake(Mismatch),
    /// A response is not valid HTTP/1.1, or its head is larger than the receive buffer. [`Tls`](http::Error::Tls): the port
    /// is for TLS.
    Http(http::Error),
    /// The first packet is not an open packet.
    NotOpened,
    /// The open packet is invalid.
    Open(open::Error),
    /// The request cannot be written: the host, path, query or a header contains an invalid character
    /// ([`IllegalValue`](WriteError::IllegalValue)), or the request is larger than the send buffer
    /// ([`Overflow`](WriteError::Overflow)).
    Request(WriteError),
    /// The session was closed.
    Closed(Closed),
    /// The server violated the WebSocket protocol.
    WebSocket(ws::Error),
    /// The server sent an invalid packet.
    Packet(packet::Error),
    /// The server sent more than the receive buffer holds. Over a WebSocket the client closes with code 1009.
    ReceivedTooLarge,
    /// The message is larger than the server accepts (`maxPayload`), or over polling than the send buffer holds. The
    /// session continues.
    TooLarge {
        /// The limit in bytes, which includes the packet type.
        max: u32,
    },
    /// The future of another `send` was dropped after it had written a part of its message. Send that message again:
    /// it continues where it stopped. The session continues.
    Unfinished,
    /// Text with U+001E. Over polling that character separates packets, so no transport sends it: send it as bytes. The
    /// session continues.
    Separator,
    /// The server did not upgrade the session to a WebSocket, and without a second connection the session cannot
    /// continue by polling.
    UpgradeFailed,
    /// TLS could not be established.
    #[cfg(feature = "tls")]
    Tls(TlsError),
}

/// Which timeout expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Timeout {
    /// No response of a name server within the connector's `connect_timeout`.
    Resolve,
    /// No connection within the connector's `connect_timeout`.
    Connect,
    /// No TLS connection within the `timeout` of `tls::TlsConfig`.
    #[cfg(feature = "tls")]
    Tls,
    /// No open packet within [`Config::open_timeout`](crate::Config::open_timeout).
    Open,
    /// No ping of the server within its `pingInterval + pingTimeout`.
    Ping,
    /// The server never sent a ping. If it is alive, it is of revision 3 of the protocol (Socket.IO 2), where the client
    /// sends the pings.
    FirstPing,
    /// The server did not close its side within [`Config::close_timeout`](crate::Config::close_timeout).
    Close,
}

/// How a session was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Closed {
    /// The server sent a close packet.
    ServerDisconnect,
    /// The server sent a WebSocket close frame, with this code if it has one.
    CloseFrame(Option<CloseCode>),
    /// The connection ended without a close packet or a close frame.
    TransportClose,
    /// The client disconnected.
    ClientDisconnect,
}

/// The kind of an error that a half of the connection returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoError(pub ErrorKind);

#[cfg(feature = "defmt")]
impl defmt::Format for IoError {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Io({})", defmt::Debug2Format(&self.0));
    }
}

impl Error {
    pub(crate) fn io<E: embedded_io_async::Error>(error: &E) -> Self {
        Self::Io(IoError(error.kind()))
    }

    /// The error for the end of `session`.
    pub(crate) const fn ended(reason: CloseReason, session: &ClientSession) -> Self {
        match reason {
            CloseReason::ServerDisconnect => Self::Closed(Closed::ServerDisconnect),
            CloseReason::PingTimeout if !session.is_pinged() => Self::TimedOut(Timeout::FirstPing),
            CloseReason::PingTimeout => Self::TimedOut(Timeout::Ping),
            CloseReason::ClientDisconnect => Self::Closed(Closed::ClientDisconnect),
            CloseReason::ParseError => Self::NotOpened,
            _ if !session.is_open() => Self::TimedOut(Timeout::Open),
            _ => Self::Closed(Closed::TransportClose),
        }
    }

    /// The error for a response with another status than expected.
    pub(crate) const fn status(status: u16, code: Option<u8>) -> Self {
        match code {
            Some(5) => Self::UnsupportedVersion,
            code => Self::Status { status, code },
        }
    }
}

impl From<WriteError> for Error {
    fn from(error: WriteError) -> Self {
        Self::Request(error)
    }
}

impl From<http::Error> for Error {
    fn from(error: http::Error) -> Self {
        Self::Http(error)
    }
}

impl From<ws::Error> for Error {
    fn from(error: ws::Error) -> Self {
        match error {
            ws::Error::TooBig => Self::ReceivedTooLarge,
            error => Self::WebSocket(error),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(IoError(kind)) => write!(f, "connection error: {kind:?}"),
            Self::Resolve => f.write_str("the host name could not be resolved"),
            Self::Connect => f.write_str("the connection could not be established"),
            Self::TimedOut(timeout) => timeout.fmt(f),
            Self::Status { status, code: None } => {
                write!(f, "the server answered with status {status}")
            }
            Self::Status { status, code: Some(code) } => {
                write!(f, "the server answered with status {status}, code {code}")
            }
            Self::UnsupportedVersion => {
                f.write_str("the server does not support revision 4 of the protocol")
            }
            Self::Handshake(error) => error.fmt(f),
            Self::Http(error) => error.fmt(f),
            Self::NotOpened => f.write_str("the first packet is not an open packet"),
            Self::Open(error) => error.fmt(f),
            Self::Request(error) => error.fmt(f),
            Self::Closed(closed) => closed.fmt(f),
            Self::WebSocket(error) => error.fmt(f),
            Self::Packet(error) => error.fmt(f),
            Self::ReceivedTooLarge => {
                f.write_str("a received message is larger than the receive buffer")
            }
            Self::TooLarge { max } => write!(f, "the message is larger than {max} bytes"),
            Self::Unfinished => f.write_str("another message is partly sent"),
            Self::Separator => f.write_str("text with U+001E, which polling cannot carry"),
            Self::UpgradeFailed => f.write_str("the server did not upgrade the session"),
            #[cfg(feature = "tls")]
            Self::Tls(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for Error {}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "no name server answered in time",
            Self::Connect => "the connection was not established in time",
            #[cfg(feature = "tls")]
            Self::Tls => "the server did not complete the TLS handshake in time",
            Self::Open => "the server did not open a session in time",
            Self::Ping => "the server sent no ping in time",
            Self::FirstPing => {
                "the server never sent a ping; it may be of revision 3 (Socket.IO 2)"
            }
            Self::Close => "the server did not close its side in time",
        })
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServerDisconnect => f.write_str("the server closed the session"),
            Self::CloseFrame(Some(code)) => {
                write!(f, "the server closed the connection with code {code}")
            }
            Self::CloseFrame(None) => {
                f.write_str("the server closed the connection without a code")
            }
            Self::TransportClose => f.write_str("the connection was lost"),
            Self::ClientDisconnect => f.write_str("the client disconnected"),
        }
    }
}
