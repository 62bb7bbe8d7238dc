//! Errors of the public API: starting a server, an option, sending a message.

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
#[derive(Debug)]
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

/// Why a message was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// [`outbound_high_water`](crate::Config::outbound_high_water) bytes wait already, or for a
    /// [`Remote`](crate::Remote) [`mailbox_high_water`](crate::Config::mailbox_high_water).
    Full,
    /// The session has ended, or is closing.
    Closed,
    /// 4 GiB or more.
    TooLarge,
    /// A packet that the session sends by itself, when it is due; see
    /// [`Socket::try_send_packet`](crate::Socket::try_send_packet).
    Reserved,
    /// Text with U+001E, which separates packets over polling, where it would become another packet.
    Separator,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "too much is queued",
            Self::Closed => "the session has ended",
            Self::TooLarge => "a message cannot have 4 GiB",
            Self::Reserved => "a packet of this kind is sent by the session itself",
            Self::Separator => "text with U+001E cannot be carried by polling",
        })
    }
}

impl std::error::Error for SendError {}
