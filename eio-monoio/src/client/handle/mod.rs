//! [`Handle`]: a client on a thread of its own, for programs of any other runtime.

mod queue;
mod thread;

use std::fmt;
use std::sync::Arc;

use eio_core::sid::Sid;

use crate::client::{Backoff, Connect, ConnectError, Event};
use crate::error::SendError;
use crate::message::{AsMessage, OwnedMessage};
use crate::worker::net::Driver;
use queue::{Reply, reply};
use thread::{Command, Shared};

/// A client on a thread of its own: its methods may be awaited in tokio or any other runtime, on any thread.
///
/// The thread is a worker with one [`Client`](crate::client::Client), which sends, receives and answers pings. It costs
/// two wake-ups for each call. A program with many sessions runs them on a few threads by
/// [`block_on`](crate::client::block_on) instead. Dropping the handle ends the session at once, and the thread; await
/// [`disconnect`](Self::disconnect) before to send queued messages.
///
/// ```no_run
/// use eio_monoio::Driver;
/// use eio_monoio::client::{Client, Event, Handle};
///
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// let connect = Client::connect("https://example.org/engine.io/?token=abc");
/// let handle = Handle::connect(Driver::Auto, connect).await?;
/// handle.send("hello").await?;
/// while let Some(event) = handle.next().await {
///     match event {
///         Event::Message(message) => println!("{message:?}"),
///         Event::Closed(closed) => println!("{closed}"),
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
///
/// | method | effect if its future is dropped |
/// |---|---|
/// | [`connect`](Self::connect), [`connect_with`](Self::connect_with) | the attempt ends, and the thread |
/// | [`reconnect`](Self::reconnect), [`reconnect_with`](Self::reconnect_with) | the attempt ends; if it has just succeeded, the new session stays |
/// | [`send`](Self::send) | the message may be sent |
/// | [`next`](Self::next) | no event is taken |
/// | [`undelivered`](Self::undelivered) | the messages may be lost |
/// | [`disconnect`](Self::disconnect) | the session still ends |
#[must_use = "dropping a handle ends its session"]
pub struct Handle {
    shared: Arc<Shared>,
}

/// # Connecting
impl Handle {
    /// Starts a thread with this driver, and opens a session on it.
    ///
    /// # Errors
    /// Those of [`Connect`], and [`ConnectError::Thread`] if the system provides no thread or driver.
    pub async fn connect(driver: Driver, connect: Connect) -> Result<Self, ConnectError> {
        Self::start(driver, connect, None).await
    }

    /// [Connects](Self::connect) as [`Connect::connect_with`] does.
    ///
    /// # Errors
    /// Those of [`connect`](Self::connect).
    pub async fn connect_with(
        driver: Driver,
        connect: Connect,
        backoff: &Backoff,
    ) -> Result<Self, ConnectError> {
        Self::start(driver, connect, Some(backoff.clone())).await
    }

    async fn start(
        driver: Driver,
        connect: Connect,
        backoff: Option<Backoff>,
    ) -> Result<Self, ConnectError> {
        // Dropped with this future, it ends the thread.
        let handle = Self { shared: Arc::new(Shared::new()) };
        let (reply, answer) = reply();
        thread::start(driver, connect, backoff, handle.shared.clone(), reply);
        answer.wait().await.unwrap_or(Err(ConnectError::Cancelled))?;
        Ok(handle)
    }

    /// Opens another session after the previous one has ended; see
    /// [`Client::reconnect`](crate::client::Client::reconnect). Events that were not taken are discarded.
    ///
    /// # Errors
    /// Those of [`Client::reconnect`](crate::client::Client::reconnect).
    pub async fn reconnect(&self) -> Result<(), ConnectError> {
        let command = |reply| Command::Reconnect(None, reply);
        self.call(command).await.unwrap_or(Err(ConnectError::Cancelled))
    }

    /// [Reconnects](Self::reconnect) with pauses between the attempts.
    ///
    /// # Errors
    /// Those of [`Client::reconnect_with`](crate::client::Client::reconnect_with).
    pub async fn reconnect_with(&self, backoff: &Backoff) -> Result<(), ConnectError> {
        let command = |reply| Command::Reconnect(Some(backoff.clone()), reply);
        self.call(command).await.unwrap_or(Err(ConnectError::Cancelled))
    }
}

/// # Messages
impl Handle {
    /// Queues a message, and waits while the queue is [full](Connect::outbound_high_water).
    ///
    /// # Errors
    /// Those of [`Client::send`](crate::client::Client::send).
    pub async fn send(&self, message: impl AsMessage) -> Result<(), SendError> {
        let message = message.into_owned_message();
        self.call(|reply| Command::Send(message, reply)).await.unwrap_or(Err(SendError::Closed))
    }

    /// Waits until all queued messages are sent, or the session has ended.
    pub async fn flushed(&self) {
        self.call(Command::Flush).await;
    }

    /// Waits until the session has ended, and takes the messages that were not sent; see
    /// [`Client::undelivered`](crate::client::Client::undelivered).
    pub async fn undelivered(&self) -> Vec<OwnedMessage> {
        self.call(Command::Undelivered).await.unwrap_or_default()
    }

    /// The next event; `None` after [`Event::Closed`], until a [reconnection](Self::reconnect).
    ///
    /// At most 32 events wait for this besides those in the
    /// [session's inbox](Connect::inbound_high_water); from there on nothing is received.
    pub async fn next(&self) -> Option<Event<OwnedMessage>> {
        self.shared.events.pop().await
    }
}

/// # Session
impl Handle {
    /// Ends the session after queued messages are sent, and waits for its end.
    pub async fn disconnect(&self) {
        self.call(Command::Disconnect).await;
    }

    /// The identifier of the session, or of the last one.
    pub fn sid(&self) -> Option<Sid> {
        self.shared.sid()
    }

    /// Gives a command to the thread and waits for its answer; `None` if the thread has ended.
    async fn call<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Option<T> {
        let (reply, answer) = reply();
        self.shared.commands.push(command(reply));
        answer.wait().await
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.commands.close();
        self.shared.events.close();
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("sid", &self.sid()).finish_non_exhaustive()
    }
}
