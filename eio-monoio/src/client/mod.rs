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
//! Every future here may be dropped at any time. A [`Client`] that is dropped ends its session at once, and its
//! sockets and tasks are gone at the next turn of the core.

mod backoff;
mod cookies;
mod dial;
mod error;
mod event;
mod handler;
mod inbox;
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
use std::future::{IntoFuture, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use eio_core::packet::Message;
use eio_core::session::CloseReason;
use eio_core::sid::Sid;
use eio_core::transport::Transport;

use crate::local::Local;
use session::Session;
use settings::{Options, Settings};

pub use backoff::Backoff;
pub use error::{Closed, ConnectError, Fault, SendError};
pub use event::{Event, Received};
pub use handler::ClientHandler;
pub use remote::Remote;
pub use runtime::{block_on, sleep, spawn};

/// A connected client. Its methods take `&self`: in an [`Rc`] it serves several tasks of its core.
pub struct Client {
    local: Rc<Local>,
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
        let new = open(&self.local, &self.settings).await?;
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
            runtime::sleep_on(&self.local, pause).await;
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

    /// Waits until nothing is queued: all of it was taken by the kernel, or over polling by the server; or the
    /// session has ended.
    pub async fn flush(&self) {
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
    pub async fn wait(&self) -> Closed {
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

    /// The largest packet the server takes, in bytes; `usize::MAX` if it did not say.
    pub fn max_payload(&self) -> usize {
        self.session().max_payload()
    }

    /// A handle to this session for other threads. It does not keep the session alive.
    ///
    /// # Errors
    /// No descriptors are left for it, as it takes two until the session has ended; or the core has ended.
    pub fn remote(&self) -> std::io::Result<Remote> {
        self.check_core().map_err(std::io::Error::other)?;
        remote::remote(&self.local, &self.session())
    }

    /// A client belongs to the core it was connected on.
    fn check_core(&self) -> Result<(), ConnectError> {
        let here = Local::current().is_some_and(|local| Rc::ptr_eq(&local, &self.local));
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

/// A session that nobody waits for any more is cut.
struct Begun(Option<Rc<Session>>);

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(session) = &self.0 {
            session.cut();
        }
    }
}

/// Opens a session over the first transport that works.
async fn open(local: &Rc<Local>, settings: &Rc<Settings>) -> Result<Rc<Session>, ConnectError> {
    let options = &settings.options;
    let mut order = options.transports.clone();
    let both = order.contains(&Transport::WebSocket);
    if options.remember_upgrade && settings.upgraded_before.get() && both {
        order.sort_by_key(|transport| *transport == Transport::Polling);
    }
    if !options.try_all_transports {
        order.truncate(1);
    }
    let mut last = ConnectError::Failed(Fault::OpenTimeout);
    for transport in order {
        let upgrade = options.upgrade && both && transport == Transport::Polling;
        let session = Session::start(local.clone(), settings.clone(), transport, upgrade);
        let mut begun = Begun(Some(session.clone()));
        if poll_fn(|cx| session.poll_open(cx)).await {
            begun.0 = None;
            return Ok(session);
        }
        last = match (session.fault(), session.closed()) {
            (Some(fault), _) => ConnectError::Failed(fault),
            (None, Some(CloseReason::ClientDisconnect)) => ConnectError::Cancelled,
            (None, Some(CloseReason::ServerDisconnect)) => ConnectError::Failed(Fault::NotOpened),
            (None, _) => ConnectError::Failed(Fault::OpenTimeout),
        };
        // Another attempt may go better over the next transport, and without what this one remembers.
        settings.upgraded_before.set(false);
    }
    Err(last)
}

/// Options of a connection; awaited, it connects and is done when the server has opened a session.
///
/// An upgrade goes on meanwhile ([`Event::Upgraded`]). Dropped before it is done, nothing is left of it.
///
/// ```no_run
/// # use eio_monoio::{Transport, client::{Client, ConnectError}};
/// # async fn f() -> Result<(), ConnectError> {
/// let client = Client::connect("http://localhost:3000")
///     .path("/engine.io/")
///     .header("X-Token", "abc")
///     .transports([Transport::WebSocket])
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "it connects when awaited"]
pub struct Connect {
    options: Options,
}

/// Setters, each with its default. JS: engine.io-client's name; Py: python-engineio's, where they have one.
impl Connect {
    /// The path, instead of the URL's. JS `path`, Py `engineio_path`.
    pub fn path(mut self, path: &str) -> Self {
        self.options.path = Some(path.into());
        self
    }

    /// A header of every request; may be repeated. A `Cookie` is sent together with the cookies the server sets,
    /// `User-Agent` and `Authorization` replace our own. JS `extraHeaders`, Py `headers`.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.options.headers.push((name.into(), value.into()));
        self
    }

    /// Which transports may be used; the first one begins. Polling, then an upgrade to WebSocket, by default.
    /// JS `transports`, Py `transports`.
    pub fn transports(mut self, transports: impl IntoIterator<Item = Transport>) -> Self {
        self.options.transports = transports.into_iter().collect();
        self
    }

    /// Whether a session that begins over polling goes on over a WebSocket, if both are allowed and the server
    /// offers it. On by default. JS `upgrade`.
    pub fn upgrade(mut self, upgrade: bool) -> Self {
        self.options.upgrade = upgrade;
        self
    }

    /// Whether a [reconnection](Client::reconnect) begins over a WebSocket if the last upgrade worked. Off by
    /// default. JS `rememberUpgrade`.
    pub fn remember_upgrade(mut self, remember: bool) -> Self {
        self.options.remember_upgrade = remember;
        self
    }

    /// Whether the other transport is tried when the first cannot open a session. Off by default.
    /// JS `tryAllTransports`.
    pub fn try_all_transports(mut self, all: bool) -> Self {
        self.options.try_all_transports = all;
        self
    }

    /// How long it may take to resolve the host and to connect, through a proxy if there is one. 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.connect_timeout = timeout;
        self
    }

    /// How long a request may take from when it is sent to the end of its response. 20 s. A GET that waits for
    /// messages is bounded by the server's `pingInterval` and `pingTimeout` instead. JS `requestTimeout`,
    /// Py `request_timeout`.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.options.request_timeout = timeout;
        self
    }

    /// From the start to the open packet, all included. 20 s.
    pub fn open_timeout(mut self, timeout: Duration) -> Self {
        self.options.open_timeout = timeout;
        self
    }

    /// How long an upgrade may take. 10 s; not more than the server allows.
    pub fn upgrade_timeout(mut self, timeout: Duration) -> Self {
        self.options.upgrade_timeout = timeout;
        self
    }

    /// How long [`Client::disconnect`] goes on sending what is queued, and how long a server may take to close a
    /// WebSocket after that. 10 s each.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.options.close_timeout = timeout;
        self
    }

    /// The largest message, and polling body, that is received, in bytes. 16 MiB. More ends the session
    /// ([`CloseReason::PayloadTooLarge`], or a transport error over polling).
    pub fn max_receive(mut self, bytes: usize) -> Self {
        self.options.max_receive = bytes;
        self
    }

    /// How many bytes may wait to be sent before [`Client::send`] waits too. 1 MiB.
    pub fn outbound_high_water(mut self, bytes: usize) -> Self {
        self.options.outbound_high_water = bytes;
        self
    }

    /// How many bytes of messages may wait to be [taken](Client::next) before nothing more is received. 1 MiB.
    /// An application that takes none for long loses its session, as its pongs cannot be sent.
    pub fn inbound_high_water(mut self, bytes: usize) -> Self {
        self.options.inbound_high_water = bytes;
        self
    }

    /// The query parameter that makes every GET another one to caches, or none. `t`. JS `timestampParam`,
    /// `timestampRequests`, Py `timestamp_requests`.
    pub fn timestamp(mut self, parameter: Option<&str>) -> Self {
        self.options.timestamp = parameter.map(Into::into);
        self
    }

    /// Whether small messages leave at once (TCP_NODELAY). On by default.
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.options.nodelay = nodelay;
        self
    }

    /// After how much silence the kernel begins to probe the connection (SO_KEEPALIVE). Off by default: the
    /// server's pings do the same.
    pub fn keepalive(mut self, time: Option<Duration>) -> Self {
        self.options.keepalive = time;
        self
    }

    /// A proxy (`http://user:password@host:port`) to go through by CONNECT. None by default; no environment
    /// variable is looked at.
    pub fn proxy(mut self, url: &str) -> Self {
        self.options.proxy = Some(url.into());
        self
    }

    /// Certificates of authorities (PEM) to believe, instead of the system's; may be repeated. Only used with the
    /// feature `tls`.
    pub fn certificate_authority(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.options.tls.authorities.push(pem.into());
        self
    }

    /// A certificate (with those between it and its authority) and its key, PEM each, by which the server knows
    /// us. None by default. Only used with the feature `tls`.
    pub fn identity(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.options.tls.identity = Some((chain.into(), key.into()));
        self
    }

    /// Whether any certificate is believed: whoever is between us and the server can then read and change
    /// everything. Off by default. Only used with the feature `tls`. JS `rejectUnauthorized`, Py `ssl_verify`.
    pub fn danger_accept_any_certificate(mut self, accept: bool) -> Self {
        self.options.tls.insecure = accept;
        self
    }

    /// Whether SIGINT [disconnects](Client::disconnect) the client; a second one ends the process with status
    /// 130. Off by default. Py `handle_sigint`.
    pub fn handle_sigint(mut self, handle: bool) -> Self {
        self.options.handle_sigint = handle;
        self
    }
}

impl IntoFuture for Connect {
    type Output = Result<Client, ConnectError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let settings = Rc::new(Settings::new(self.options)?);
            let local = Local::current().ok_or(ConnectError::NoRuntime)?;
            let session = open(&local, &settings).await?;
            let client = Client { local, settings, session: RefCell::new(session) };
            if client.settings.options.handle_sigint {
                signal::watch(&client.local, &client.session());
            }
            Ok(client)
        })
    }
}

/// Ready with the first of two.
fn either<A, B>(a: Poll<A>, b: impl FnOnce() -> Poll<B>) -> Poll<Result<A, B>> {
    match a {
        Poll::Ready(a) => Poll::Ready(Ok(a)),
        Poll::Pending => b().map(Err),
    }
}
