//! [`Connect`]: the options of a client, and how a session is opened by them.

use std::cell::RefCell;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use eio_core::session::CloseReason;
use eio_core::transport::Transport;

use crate::client::error::{ConnectError, Fault};
use crate::client::session::Session;
use crate::client::settings::{Options, Settings};
use crate::client::{Client, lanes, signal};
use crate::deflate::PerMessageDeflate;
use crate::worker::context::WorkerContext;

/// Options of a connection; awaited, it connects and is done when the server has opened a session.
///
/// An upgrade goes on meanwhile ([`Event::Upgraded`](crate::client::Event::Upgraded)). Dropped before it is done, nothing is left of it.
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
    pub(super) options: Options,
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

    /// Offers to compress WebSocket messages by permessage-deflate; whether that is done is up to the server. None by
    /// default. What it costs is told at [`PerMessageDeflate`]. JS `perMessageDeflate`, on there.
    pub fn per_message_deflate(mut self, deflate: PerMessageDeflate) -> Self {
        self.options.per_message_deflate = Some(deflate);
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

    /// Whether SIGINT [disconnects](Client::disconnect) the client; a second one meanwhile ends the process with
    /// status 130. Off by default. Py `handle_sigint`.
    ///
    /// When no client is left that wants it, SIGINT does what it did before the first one did: an application that
    /// has a handler of its own installs it first.
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
            let worker = WorkerContext::current().ok_or(ConnectError::NoRuntime)?;
            let session = open(&worker, &settings).await?;
            Ok(Client { worker, settings, session: RefCell::new(session) })
        })
    }
}

/// A session that nobody waits for any more is cut.
struct CutOnDrop(Option<Rc<Session>>);

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        if let Some(session) = &self.0 {
            session.cut();
        }
    }
}

/// Opens a session over the first transport that works.
pub(crate) async fn open(
    worker: &Rc<WorkerContext>,
    settings: &Rc<Settings>,
) -> Result<Rc<Session>, ConnectError> {
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
        let session =
            Session::start(worker.clone(), settings.clone(), transport, upgrade, lanes::run);
        let mut begun = CutOnDrop(Some(session.clone()));
        if poll_fn(|cx| session.poll_open(cx)).await {
            begun.0 = None;
            if options.handle_sigint {
                signal::watch(worker, &session);
            }
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
