//! [`Error`]: what happened, by name.

use core::fmt;

use eio_core::http::{self, WriteError};
use eio_core::session::CloseReason;
use eio_core::ws::handshake::Mismatch;
use eio_core::ws::{self, CloseCode};
use eio_core::{open, packet};
use embedded_io_async::ErrorKind;

/// Why there is no connection, or no longer.
///
/// All but [`MessageTooLong`](Self::MessageTooLong), [`Unfinished`](Self::Unfinished) and
/// [`HoldsSeparator`](Self::HoldsSeparator), which refuse one message, end the session: whatever is called
/// after one of them answers the same. The buffers are free for the next connection once the client is
/// dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// The transport below failed.
    Io(IoError),
    /// The name could not be resolved.
    Dns,
    /// No connection came about: refused, no route, or reset.
    Connect,
    /// It took too long.
    TimedOut(Waiting),
    /// The server refused the handshake: HTTP status, and the `code` Engine.IO gives in the body if it gave
    /// one (0 transport unknown, 1 session unknown, 2 bad method, 3 bad request, 4 forbidden).
    Refused {
        /// The HTTP status.
        status: u16,
        /// Engine.IO's number.
        code: Option<u8>,
    },
    /// The server does not speak revision 4 of the protocol (code 5).
    WrongVersion,
    /// What answers is not a WebSocket server.
    Handshake(Mismatch),
    /// What answers is not an HTTP server, or its head is larger than the receive buffer.
    Http(http::Error),
    /// The session does not begin with an open packet.
    NotOpened,
    /// The open packet cannot be read.
    Open(open::Error),
    /// The host, path, query or a header holds a character that must not stand there
    /// ([`IllegalValue`](WriteError::IllegalValue)), or the request is larger than the send buffer.
    Request(WriteError),
    /// The server closed the session.
    Closed(Closed),
    /// The server broke the WebSocket protocol.
    WebSocket(ws::Error),
    /// The server sent something that is not a packet.
    Packet(packet::Error),
    /// The server sent more than the receive buffer holds. It was told so (close code 1009).
    TooLarge,
    /// The message is longer than the server takes, in bytes with its type (`maxPayload`), or over polling
    /// than the send buffer holds. Nothing was sent; the session goes on.
    MessageTooLong {
        /// How long it may be.
        limit: u32,
    },
    /// A longer message was sent in part when its `send` was dropped. Send that one again: it goes on where
    /// it stopped. Nothing was sent; the session goes on.
    Unfinished,
    /// Text with the character U+001E cannot travel over polling. Nothing was sent; the session goes on.
    HoldsSeparator,
    /// The server did not let the session move from polling to a WebSocket, and without a second connection
    /// it cannot go on by polling.
    UpgradeFailed,
}

/// What was waited for in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Waiting {
    /// The answer of a name server.
    Dns,
    /// A connection.
    Connect,
    /// The handshake, from the first byte of the request to the open packet.
    Handshake,
    /// The server's ping, which is due every `pingInterval` and may be late by `pingTimeout`: it is gone.
    Ping,
    /// The server's side of the close.
    Close,
}

/// How the server closed the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Closed {
    /// By a close packet: its application wanted it.
    ByPacket,
    /// By a WebSocket close frame, with this code if it had one.
    ByFrame(Option<CloseCode>),
    /// By ending the connection without a word.
    Silently,
    /// We closed it.
    ByUs,
}

/// What kind of failure the transport below reported.
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

    /// What the end of a session, `open` or not, is to the application.
    pub(crate) const fn ended(reason: CloseReason, open: bool) -> Self {
        match reason {
            CloseReason::ServerDisconnect => Self::Closed(Closed::ByPacket),
            CloseReason::PingTimeout => Self::TimedOut(Waiting::Ping),
            CloseReason::ClientDisconnect => Self::Closed(Closed::ByUs),
            CloseReason::ParseError => Self::NotOpened,
            _ if !open => Self::TimedOut(Waiting::Handshake),
            _ => Self::Closed(Closed::Silently),
        }
    }

    /// What the answer to a handshake says that is no handshake.
    pub(crate) const fn refused(status: u16, code: Option<u8>) -> Self {
        match code {
            Some(5) => Self::WrongVersion,
            code => Self::Refused { status, code },
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
            ws::Error::TooBig => Self::TooLarge,
            error => Self::WebSocket(error),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(IoError(kind)) => write!(f, "the connection failed: {kind:?}"),
            Self::Dns => f.write_str("the name of the server could not be resolved"),
            Self::Connect => f.write_str("no connection to the server"),
            Self::TimedOut(Waiting::Dns) => f.write_str("no name server answered in time"),
            Self::TimedOut(Waiting::Connect) => f.write_str("no connection in time"),
            Self::TimedOut(Waiting::Handshake) => f.write_str("no handshake in time"),
            Self::TimedOut(Waiting::Ping) => f.write_str("the server is silent for too long"),
            Self::TimedOut(Waiting::Close) => {
                f.write_str("the server did not close its side in time")
            }
            Self::Refused { status, code: None } => write!(f, "refused with status {status}"),
            Self::Refused { status, code: Some(code) } => {
                write!(f, "refused with status {status}, code {code}")
            }
            Self::WrongVersion => f.write_str("the server does not speak protocol revision 4"),
            Self::Handshake(error) => error.fmt(f),
            Self::Http(error) => error.fmt(f),
            Self::NotOpened => f.write_str("the session does not begin with an open packet"),
            Self::Open(error) => error.fmt(f),
            Self::Request(error) => error.fmt(f),
            Self::Closed(Closed::ByPacket) => f.write_str("the server closed the session"),
            Self::Closed(Closed::ByFrame(Some(code))) => {
                write!(f, "the server closed the connection with code {code}")
            }
            Self::Closed(Closed::ByFrame(None)) => f.write_str("the server closed the connection"),
            Self::Closed(Closed::Silently) => f.write_str("the server hung up"),
            Self::Closed(Closed::ByUs) => f.write_str("the session was closed"),
            Self::WebSocket(error) => error.fmt(f),
            Self::Packet(error) => error.fmt(f),
            Self::TooLarge => f.write_str("a message is larger than the receive buffer"),
            Self::MessageTooLong { limit } => write!(f, "the message is longer than {limit} bytes"),
            Self::Unfinished => f.write_str("another message has to be finished first"),
            Self::HoldsSeparator => f.write_str("the text cannot travel over polling"),
            Self::UpgradeFailed => f.write_str("the server does not upgrade the session"),
        }
    }
}

impl core::error::Error for Error {}
