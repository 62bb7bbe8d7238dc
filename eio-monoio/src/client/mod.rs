//! An Engine.IO client: polling, WebSocket, and the upgrade from one to the other.
//!
//! ```no_run
//! use eio_monoio::Driver;
//! use eio_monoio::client::{self, Client, Event};
//!
//! client::block_on(Driver::Auto, async {
//!     let client = Client::connect("https://example.org/engine.io/?token=abc").await?;
//!     client.send("hello").await?;
//!     while let Some(event) = client.next().await {
//!         match event {
//!             Event::Message(message) => println!("{message:?}"),
//!             Event::Closed(closed) => println!("{closed}"),
//!             _ => {}
//!         }
//!     }
//!     Ok::<(), Box<dyn std::error::Error>>(())
//! })??;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A client lives on one core, in [`block_on`] or in a [`Handler`](crate::Handler) of a server. Its work goes on
//! in tasks of that core while nobody waits for it: pings are answered, messages received and sent. What came
//! waits in an inbox of [bounded](Connect::inbound_high_water) size.
//!
//! # What it costs
//!
//! Over a WebSocket no message allocates once queues and pools have grown to what the traffic needs. An idle client
//! takes 3.7 KB of heap over a WebSocket and 4.8 KB over polling (x86-64; `tests/client_footprint.rs` measures it),
//! plus what rustls keeps of a TLS connection, and one descriptor. Beside that it holds at most
//! [`inbound_high_water`](Connect::inbound_high_water), [`outbound_high_water`](Connect::outbound_high_water) and one
//! message of [`max_payload`](Connect::max_payload); a server that causes more is not read from.
//!
//! Every future here may be dropped at any time. A [`Client`] that is dropped ends its session at once, and its
//! sockets and tasks are gone at the next turn of the core.

mod backoff;
mod connect;
mod cookies;
mod dial;
mod error;
mod event;
mod handler;
mod http;
mod inbox;
mod lanes;
mod options;
mod plain;
mod polling;
mod remote;
mod resolve;
mod runtime;
mod session;
mod settings;
mod signal;
mod tls;
mod websocket;

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;

use eio_core::packet::Message;
use eio_core::session::CloseReason;
use eio_core::sid::Sid;
use eio_core::transport::Transport;

use crate::worker::context::WorkerContext;
use connect::open;
use options::Options;
use session::Session;
use settings::Settings;

pub use crate::error::SendError;
pub use crate::worker::task::{sleep, spawn};
pub use backoff::Backoff;
pub use connect::Connect;
pub use eio_core::session::UpgradeFailure;
pub use error::{Closed, ConnectError, Fault};
pub use event::{Event, Received};
pub use handler::ClientHandler;
pub use remote::Remote;
pub use runtime::block_on;

/// A connected client. Its methods take `&self`: in an [`Rc`] it serves several tasks of its core.
pub struct Client {
    worker: Rc<WorkerContext>,
    settings: Rc<Settings>,
    session: RefCell<Rc<Session>>,
}

/// How far a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// Messages can be sent.
    Connected,
    /// [`Client::disconnect`] was called; what is queued is on its way.
    Closing,
    /// The session has ended; [`Client::reconnect`] begins another.
    Closed,
}

/// Connecting.
impl Client {
    /// Options of a connection to `url`; awaited, it connects. See [`Connect`].
    ///
    /// `http`, `https`, `ws` and `wss` mean the same but for TLS. Userinfo becomes Basic authorization, the query
    /// is kept, and a path of `/` means `/engine.io/`.
    pub fn connect(url: &str) -> Connect {
        Connect { options: Options::new(url) }
    }

    /// Begins another session after the end of this one, with the same options. Nothing is left of the old one:
    /// no message that was queued, no event that was not taken, no cookie its server set.
    ///
    /// # Errors
    /// [`ConnectError::Connected`] unless the session has ended; then as for the first connection.
    pub async fn reconnect(&self) -> Result<(), ConnectError> {
        self.check_core()?;
        let old = self.session();
        if old.closed().is_none() {
            return Err(ConnectError::Connected);
        }
        // A last word still under way is not waited for.
        old.cut();
        let new = open(&self.worker, &self.settings).await?;
        let replaced = self.session.replace(new);
        if !Rc::ptr_eq(&old, &replaced) {
            // Another task was faster: its session is the one that goes.
            replaced.cut();
        }
        Ok(())
    }

    /// [Reconnects](Self::reconnect) with pauses between the attempts, until one succeeds.
    ///
    /// # Errors
    /// That of the last attempt `backoff` allows. An error that no repetition can help ends it at once.
    pub async fn reconnect_with(&self, backoff: &Backoff) -> Result<(), ConnectError> {
        let mut attempt = 0;
        self.check_core()?;
        loop {
            let Some(pause) = backoff.pause(attempt) else {
                return self.reconnect().await;
            };
            attempt += 1;
            crate::worker::task::sleep_on(&self.worker, pause).await;
            match self.reconnect().await {
                Err(ConnectError::Failed(fault)) => {
                    tracing::debug!(attempt, %fault, "not reconnected");
                    if backoff.pause(attempt).is_none() {
                        return Err(ConnectError::Failed(fault));
                    }
                }
                outcome => return outcome,
            }
        }
    }
}

/// Sending.
impl Client {
    /// Queues a message, waiting while [too much](Connect::outbound_high_water) is queued. Dropped before it is
    /// done, the message is not sent.
    ///
    /// # Errors
    /// [`SendError`], but never [`SendError::Full`].
    pub async fn send<'m>(&self, message: impl Into<Message<'m>>) -> Result<(), SendError> {
        let (session, message) = (self.session(), message.into());
        loop {
            match session.try_send(message) {
                Err(SendError::Full) => poll_fn(|cx| session.poll_room(cx)).await,
                outcome => return outcome,
            }
        }
    }

    /// Queues a message at once or not at all.
    ///
    /// # Errors
    /// [`SendError`]
    pub fn try_send<'m>(&self, message: impl Into<Message<'m>>) -> Result<(), SendError> {
        self.session().try_send(message.into())
    }

    /// The same with a value as JSON text, as python-engineio sends dicts and lists.
    ///
    /// # Errors
    /// [`SendError`], but never [`SendError::Full`]; [`SendError::NotJson`] if that cannot be made of the value.
    #[cfg(feature = "json")]
    pub async fn send_json<T: serde::Serialize + ?Sized>(
        &self,
        value: &T,
    ) -> Result<(), SendError> {
        let message = crate::json::to_message(value).map_err(|_| SendError::NotJson)?;
        self.send(&message).await
    }

    /// Waits until nothing is queued: all of it was taken by the kernel, or over polling by the server; or the
    /// session has ended.
    pub async fn flushed(&self) {
        let session = self.session();
        poll_fn(|cx| session.poll_flushed(cx)).await;
    }

    /// Bytes that wait to be sent.
    pub fn queued(&self) -> usize {
        self.session().queued()
    }
}

/// Receiving.
impl Client {
    /// The next event; `None` after [`Event::Closed`]. Dropped before it is done, it takes none.
    pub async fn next(&self) -> Option<Event> {
        let session = self.session();
        poll_fn(|cx| session.poll_next(cx)).await
    }

    /// Waits for the end of the session. Events that nobody [takes](Self::next) stay where they are, and hold the
    /// server up once they are [too many](Connect::inbound_high_water).
    pub async fn ended(&self) -> Closed {
        let session = self.session();
        poll_fn(|cx| session.poll_gone(cx)).await;
        closed(&session)
    }
}

/// The end, and what there is to know.
impl Client {
    /// Ends the session: what is queued goes first, within
    /// [`close_timeout`](Connect::close_timeout). Done when nothing of the session is left on this core;
    /// dropped before, it goes on by itself.
    pub async fn disconnect(&self) {
        let session = self.session();
        session.close();
        poll_fn(|cx| session.poll_gone(cx)).await;
    }

    /// Ends the session at once. What is queued is not sent; the server is told as far as that works without
    /// waiting for it.
    pub fn abort(&self) {
        self.session().abort();
    }

    /// The identifier the server gave the session.
    pub fn sid(&self) -> Sid {
        // There is no client before its session was opened.
        self.session().sid().unwrap_or_else(unopened)
    }

    /// What carries the session now.
    pub fn transport(&self) -> Transport {
        self.session().transport()
    }

    /// Whether messages can be sent.
    pub fn state(&self) -> State {
        let session = self.session();
        if session.closed().is_some() {
            State::Closed
        } else if session.is_closing() {
            State::Closing
        } else {
            State::Connected
        }
    }

    /// The largest packet that the server receives, in bytes, as its open packet says; `usize::MAX` if it does not.
    pub fn server_max_payload(&self) -> usize {
        self.session().max_payload()
    }

    /// A handle to this session for other threads. It does not keep the session alive.
    ///
    /// # Errors
    /// No descriptors are left for it, as it takes two until the session has ended; or the core has ended.
    pub fn remote(&self) -> std::io::Result<Remote> {
        self.check_core().map_err(std::io::Error::other)?;
        remote::remote(&self.worker, &self.session())
    }

    /// A client belongs to the core it was connected on.
    fn check_core(&self) -> Result<(), ConnectError> {
        let here = WorkerContext::current().is_some_and(|worker| Rc::ptr_eq(&worker, &self.worker));
        if here { Ok(()) } else { Err(ConnectError::NoRuntime) }
    }

    fn session(&self) -> Rc<Session> {
        self.session.borrow().clone()
    }
}

#[cold]
fn unopened() -> Sid {
    unreachable!("a session without an open packet has no client")
}

fn closed(session: &Session) -> Closed {
    let reason = session.closed().unwrap_or(CloseReason::TransportClose);
    Closed { reason, detail: session.fault() }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.session.borrow().cut();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("state", &self.state())
            .field("transport", &self.transport())
            .finish_non_exhaustive()
    }
}
