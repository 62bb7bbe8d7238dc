//! Errors of a client: [`Fault`], [`ConnectError`], [`UpgradeFailed`] and [`Closed`].

mod content;
mod fault;
mod os;

use std::fmt;

use eio_core::http::UrlError;
use eio_core::session::{CloseReason, UpgradeFailure};

pub use content::Content;
pub use fault::Fault;
pub use os::OsError;

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
    /// The thread of a [`Handle`](crate::client::Handle), or its driver, cannot be started.
    Thread(OsError),
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
            Self::Thread(error) => write!(f, "cannot start a thread: {error}"),
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

/// The end of an upgrade without success, from [`Event::UpgradeFailed`](crate::client::Event::UpgradeFailed).
///
/// It prints both parts: `the WebSocket of the upgrade was lost (status 400)`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpgradeFailed {
    /// The step at which it failed.
    pub reason: UpgradeFailure,
    /// The fault on the wire, if there was one. A proxy that does not forward WebSockets mostly shows as a
    /// [`Fault::Status`].
    pub detail: Option<Fault>,
}

impl fmt::Display for UpgradeFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => write!(f, "{} ({detail})", self.reason),
            None => self.reason.fmt(f),
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
