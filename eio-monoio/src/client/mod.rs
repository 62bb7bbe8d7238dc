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
//! A client stays on one worker: the thread of a [`block_on`], or a worker of a server, where a
//! [`Handler`](crate::Handler) connects it. Its lanes are tasks of that worker, which run while the application does
//! something else: they answer pings, receive messages into an inbox of [limited](Connect::inbound_high_water) size, and
//! send queued messages. All futures of this module may be dropped at any time.
//!
//! # Memory
//!
//! Over a WebSocket no message allocates once queues and pools have grown to what the traffic needs. An idle client
//! takes 3.7 KB of heap over a WebSocket and 4.8 KB over polling (x86-64; `tests/memory/client.rs` measures it),
//! the state of rustls for a TLS connection, and one descriptor. In addition it holds at most
//! [`inbound_high_water`](Connect::inbound_high_water), [`outbound_high_water`](Connect::outbound_high_water) and one
//! message of [`max_payload`](Connect::max_payload). At these limits the client stops receiving from the server.

mod backoff;
mod connect;
mod cookie_date;
mod cookies;
mod dial;
mod error;
mod event;
mod fields;
mod handle;
mod handler;
mod http;
mod inbox;
mod lanes;
mod options;
mod plain;
mod polling;
mod reconnect;
mod redirect;
mod remote;
mod resolve;
mod retry;
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

use eio_core::session::CloseReason;
use eio_core::sid::Sid;
use eio_core::transport::Transport;

use crate::message::{AsMessage, OwnedMessage};
use crate::worker::context::WorkerContext;
use options::Options;
use session::Session;
use settings::Settings;

pub use crate::error::SendError;
pub use crate::worker::task::{sleep, spawn};
pub use backoff::{Backoff, Retry};
pub use connect::Connect;
pub use eio_core::session::UpgradeFailure;
pub use error::{Closed, ConnectError, Content, Fault, OsError, UpgradeFailed};
pub use event::{Event, Received};
pub use handle::Handle;
pub use handler::ClientHandler;
pub use options::ProxySource;
pub use remote::RemoteClient;
pub use runtime::block_on;

/// A client with a session.
///
/// [`connect`](Self::connect) opens the first session. The server, the network, [`disconnect`](Self::disconnect) or
/// [`abort`](Self::abort) ends it; [`reconnect`](Self::reconnect) then opens another one. Dropping the client ends its
/// session at once, and its tasks and sockets when the worker polls them next.
///
/// All methods take `&self`: an [`Rc`] of a client serves several tasks of its worker. Other threads use a [`RemoteClient`].
/// If several tasks wait for [`next`](Self::next), each event is returned to one of them.
///
/// ```no_run
/// use std::rc::Rc;
/// use eio_monoio::client::{self, Client, Event};
///
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Rc::new(Client::connect("http://localhost:3000").await?);
/// let sender = client.clone();
/// client::spawn(async move {
///     for number in 0..1_000 {
///         // Waits while the queue is full.
///         if sender.send(&*number.to_string()).await.is_err() {
///             break;
///         }
///     }
///     sender.disconnect().await;
/// });
/// while let Some(event) = client.next().await {
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
/// Every future may be dropped before it completes:
///
/// | method | effect |
/// |---|---|
/// | [`connect`](Self::connect), [`reconnect`](Self::reconnect), [`reconnect_with`](Self::reconnect_with) | the attempt ends, and its connections are closed |
/// | [`send`](Self::send) and `send_json` | the message is not queued |
/// | [`next`](Self::next) | no event is taken |
/// | [`run`](Self::run) | the call of the handler ends; its event is not returned again |
/// | [`disconnect`](Self::disconnect) | the session still ends, in the same way |
/// | [`flushed`](Self::flushed), [`ended`](Self::ended), [`undelivered`](Self::undelivered) | none |
///
/// # Limits
///
/// | limit | effect |
/// |---|---|
/// | [`Connect::outbound_high_water`] bytes queued | [`send`](Self::send) waits, [`try_send`](Self::try_send) returns [`SendError::Full`] |
/// | [`Connect::inbound_high_water`] bytes in the inbox | nothing is received; the session ends if that lasts for several times the server's `pingTimeout` |
/// | [`Connect::max_payload`] bytes in a message or polling body | the session ends |
/// | [`server_max_payload`](Self::server_max_payload) | a larger message is [`SendError::TooLarge`] |
#[must_use = "dropping a client ends its session"]
pub struct Client {
    worker: Rc<WorkerContext>,
    settings: Rc<Settings>,
    session: RefCell<Rc<Session>>,
}

/// The state of a client's session; see [`Client::state`].
///
/// ```no_run
/// use eio_monoio::client::{Backoff, Client, ConnectError, State};
///
/// # async fn f(client: Client) -> Result<(), ConnectError> {
/// if client.state() == State::Closed {
///     client.reconnect_with(&Backoff::default()).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// Messages can be sent.
    Connected,
    /// [`Client::disconnect`] was called, or SIGINT received: queued messages are sent, further ones are refused.
    Closing,
    /// The session has ended. [`Client::reconnect`] opens another one.
    Closed,
}

/// # Connecting
impl Client {
    /// The options of a connection to `url`. Awaiting them opens a session; see [`Connect`].
    ///
    /// The scheme is `http` or `ws` without TLS, `https` or `wss` with TLS; both of a pair mean the same. `user:password@`
    /// becomes Basic authorization (RFC 7617), the query is sent with every request, and a path of `/` means
    /// `/engine.io/`.
    ///
    /// ```no_run
    /// # use eio_monoio::client::{Client, ConnectError};
    /// # async fn f() -> Result<(), ConnectError> {
    /// let client = Client::connect("wss://user:password@example.org/engine.io/?room=1").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn connect(url: &str) -> Connect {
        Connect { options: Options::new(url) }
    }
}

/// # Sending
impl Client {
    /// Queues a message. Waits while the queue is [full](Connect::outbound_high_water).
    ///
    /// A queued message is sent in order, unless the session ends before; [`flushed`](Self::flushed) waits for that.
    ///
    /// # Errors
    /// [`SendError::Closed`], [`SendError::TooLarge`] and [`SendError::Separator`].
    pub async fn send(&self, message: impl AsMessage) -> Result<(), SendError> {
        let (session, message) = (self.session(), message.as_message());
        loop {
            match session.try_send(message) {
                Err(SendError::Full) => poll_fn(|cx| session.poll_room(cx)).await,
                outcome => return outcome,
            }
        }
    }

    /// Queues a message without waiting.
    ///
    /// # Errors
    /// [`SendError::Full`], and the errors of [`send`](Self::send).
    pub fn try_send(&self, message: impl AsMessage) -> Result<(), SendError> {
        self.session().try_send(message.as_message())
    }

    /// [Sends](Self::send) a value as JSON text, as python-engineio sends dicts and lists.
    ///
    /// # Errors
    /// [`SendError::NotJson`] if the value has no JSON form, and the errors of [`send`](Self::send).
    #[cfg(feature = "json")]
    pub async fn send_json<T: serde::Serialize + ?Sized>(
        &self,
        value: &T,
    ) -> Result<(), SendError> {
        let message = crate::json::to_message(value).map_err(|_| SendError::NotJson)?;
        self.send(&message).await
    }

    /// Waits until all queued messages are sent, or the session has ended.
    ///
    /// Over a WebSocket a message is sent when the kernel has accepted it, over polling when the server has answered its
    /// POST.
    pub async fn flushed(&self) {
        let session = self.session();
        poll_fn(|cx| session.poll_flushed(cx)).await;
    }

    /// Waits until the session and its tasks have ended, and takes the messages that were not sent, in order: to send them
    /// after a [reconnection](Self::reconnect), which drops them.
    ///
    /// Over a WebSocket a message is listed unless the kernel has accepted all of its bytes; over polling, unless the
    /// server has answered its POST, so the server may have received it. What the kernel has accepted counts as sent:
    /// only an answer of the server shows that it has a message. With context takeover
    /// ([`PerMessageDeflate`](crate::PerMessageDeflate)) the first compressed message in the send buffer, and those after
    /// it there, are not listed.
    ///
    /// Engine.IO: `writeBuffer` in the event `close`.
    pub async fn undelivered(&self) -> Vec<OwnedMessage> {
        let session = self.session();
        poll_fn(|cx| session.poll_finished(cx)).await;
        session.take_undelivered().into_messages()
    }

    /// The number of bytes that are queued, with the overhead of the queue.
    pub fn queued(&self) -> usize {
        self.session().queued()
    }
}

/// # Receiving
impl Client {
    /// The next [`Event`]. Returns `None` after [`Event::Closed`].
    ///
    /// An application that does not call this for long stops the client from receiving, pings included; see
    /// [`inbound_high_water`](Connect::inbound_high_water).
    pub async fn next(&self) -> Option<Event> {
        let session = self.session();
        poll_fn(|cx| session.poll_next(cx)).await
    }

    /// Waits until the session and its tasks have ended.
    ///
    /// It takes no events: they stay in the inbox, and at [`inbound_high_water`](Connect::inbound_high_water) the client
    /// stops receiving. Call [`next`](Self::next) in another task if the server sends messages.
    pub async fn ended(&self) -> Closed {
        let session = self.session();
        poll_fn(|cx| session.poll_finished(cx)).await;
        closed(&session)
    }
}

/// # Closing
impl Client {
    /// Ends the session, and waits until it and its tasks have ended.
    ///
    /// Queued messages are sent first, then a close packet, and over a WebSocket the closing handshake follows; see
    /// [`close_timeout`](Connect::close_timeout) for the limits. Further messages are refused from the first poll on.
    pub async fn disconnect(&self) {
        let session = self.session();
        session.close();
        poll_fn(|cx| session.poll_finished(cx)).await;
    }

    /// Ends the session at once, without sending queued messages.
    ///
    /// The close packet is sent in the background: over a WebSocket if the kernel accepts it at once, over polling in a
    /// last POST with a timeout of at most 2 s.
    pub fn abort(&self) {
        self.session().abort();
    }
}

/// # State of the session
impl Client {
    /// The identifier of the session, which the server has chosen.
    pub fn sid(&self) -> Sid {
        // A client exists only after the open packet, which has the sid.
        self.session().sid().unwrap_or_else(no_open_packet)
    }

    /// The transport that carries the session.
    pub fn transport(&self) -> Transport {
        self.session().transport()
    }

    /// Whether messages can be sent, or why not.
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

    /// The largest packet that the server accepts, in bytes, as announced by its open packet (`maxPayload`);
    /// `usize::MAX` if it announces no limit.
    pub fn server_max_payload(&self) -> usize {
        self.session().max_payload()
    }

    /// A handle to this session for other threads.
    ///
    /// It does not keep the session alive, and does not refer to the next session after a
    /// [reconnection](Self::reconnect). Each call takes two descriptors until the session has ended; clone the handle
    /// instead.
    ///
    /// # Errors
    /// An error of the kernel if no descriptors are left, or [`io::ErrorKind::Other`](std::io::ErrorKind::Other) if the
    /// client's worker has ended.
    pub fn remote(&self) -> std::io::Result<RemoteClient> {
        self.check_worker().map_err(std::io::Error::other)?;
        remote::remote(&self.worker, &self.session())
    }
}

impl Client {
    /// Fails if the client's worker does not run on this thread any more.
    fn check_worker(&self) -> Result<(), ConnectError> {
        let current = WorkerContext::current();
        let is_current = current.is_some_and(|worker| Rc::ptr_eq(&worker, &self.worker));
        if is_current { Ok(()) } else { Err(ConnectError::NoRuntime) }
    }

    fn session(&self) -> Rc<Session> {
        self.session.borrow().clone()
    }
}

#[cold]
fn no_open_packet() -> Sid {
    unreachable!("a client has a session that was opened")
}

fn closed(session: &Session) -> Closed {
    let reason = session.closed().unwrap_or(CloseReason::TransportClose);
    Closed { reason, detail: session.fault() }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.session.borrow().terminate();
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
