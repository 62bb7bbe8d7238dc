//! Errors of the public API: starting a server, an option, sending a message, a job for a session.

use std::fmt;
use std::io;

/// Why a server did not start: the error of [`serve`](crate::serve) and [`Server::bind`](crate::Server::bind).
///
/// ```
/// use std::time::Duration;
/// use eio_monoio::{Config, ServeError};
///
/// let error = ServeError::from(Config::new().ping_timeout(Duration::ZERO).check().unwrap_err());
/// assert!(error.to_string().starts_with("configuration: ping_timeout"));
/// ```
#[non_exhaustive]
pub enum ServeError {
    /// An option is outside its range.
    Config(ConfigError),
    /// The server cannot listen on the address, or the kernel refused a runtime or a thread.
    Io(io::Error),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => write!(f, "configuration: {error}"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

/// The same text as [`Display`](fmt::Display): it is what a program prints whose `main` returns this error.
impl fmt::Debug for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::Io(error) => Some(error),
        }
    }
}

impl From<ConfigError> for ServeError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<io::Error> for ServeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// An option outside its range. The message has the option's name and the range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    option: &'static str,
    problem: String,
}

impl ConfigError {
    pub(crate) fn new(option: &'static str, problem: String) -> Self {
        Self { option, problem }
    }

    /// The name of the option's setter.
    pub fn option(&self) -> &'static str {
        self.option
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.option, self.problem)
    }
}

impl std::error::Error for ConfigError {}

/// Why a message was not queued, by a server or by a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The queue is full: [`outbound_high_water`](crate::Config::outbound_high_water) bytes wait (of a client:
    /// [`Connect::outbound_high_water`](crate::client::Connect::outbound_high_water)), or for a
    /// [`Remote`](crate::Remote) [`mailbox_high_water`](crate::Config::mailbox_high_water).
    Full,
    /// The session has ended or is closing.
    Closed,
    /// The message is larger than the peer or the queue accepts.
    TooLarge {
        /// Bytes that the packet takes on the current transport: over polling, binary is base64.
        len: usize,
        /// The limit in bytes: the server's `maxPayload`, and 4 GiB - 1 for a server's own messages.
        max: usize,
    },
    /// The session sends a packet of this type by itself, when it is due; see
    /// [`Socket::try_send_packet`](crate::Socket::try_send_packet).
    Reserved,
    /// Text with U+001E. That character separates packets in a polling body, so the text would become two packets. Send it
    /// as bytes, or over WebSockets only: `separator_over_websocket` of [`Config`](crate::Config::separator_over_websocket)
    /// and [`Connect`](crate::client::Connect::separator_over_websocket).
    Separator,
    /// The value has no JSON form: a map has a key that is not a string or number, or its `Serialize` fails.
    NotJson,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the queue is full"),
            Self::Closed => f.write_str("the session has ended"),
            Self::TooLarge { len, max } => {
                write!(f, "a packet of {len} bytes; the limit is {max}")
            }
            Self::Reserved => f.write_str("the session itself sends packets of this type"),
            Self::Separator => f.write_str("text with U+001E, which polling cannot carry"),
            Self::NotJson => f.write_str("the value has no JSON form"),
        }
    }
}

impl std::error::Error for SendError {}

/// Why a job was not sent to the worker of a session: the error of [`Remote::spawn_at`](crate::Remote::spawn_at).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpawnError {
    /// The server cannot have issued this sid, or, with sids of the application, no session has it.
    Closed,
    /// The closure takes a `Socket` of another type than the sessions of the handler have.
    SessionType {
        /// The handler's `Session`.
        expected: &'static str,
        /// The closure's.
        found: &'static str,
    },
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("no session has this id"),
            Self::SessionType { expected, found } => {
                write!(
                    f,
                    "the handler has sessions of type {expected}, the job takes Socket<{found}>"
                )
            }
        }
    }
}

impl std::error::Error for SpawnError {}
