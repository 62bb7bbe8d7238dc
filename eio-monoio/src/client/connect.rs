//! [`Connect`]: the options of a client, and opening a session with them.

use std::cell::RefCell;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use eio_core::session::CloseReason;
use eio_core::transport::Transport;

use crate::client::cookies::CookieJar;
use crate::client::error::{ConnectError, Fault};
use crate::client::options::{Options, ProxySource};
use crate::client::redirect;
use crate::client::retry::{FirstAttempt, retry};
use crate::client::session::Session;
use crate::client::settings::Settings;
use crate::client::{Backoff, Client, lanes, signal};
use crate::deflate::PerMessageDeflate;
use crate::worker::context::WorkerContext;

/// The options of a [`Client`], from [`Client::connect`]. Awaiting them opens a session.
///
/// The future completes when the server has sent the open packet. An upgrade follows in the background, and
/// [`Event::Upgraded`](crate::client::Event::Upgraded) reports its success. If the future is dropped before it
/// completes, the attempt ends and its connections are closed.
///
/// All values are checked before anything is sent. [`ConnectError::Option`] names the first option that is outside its
/// range, and the range. Where engine.io-client or python-engineio have an option, its documentation gives their name for
/// it.
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

/// # Requests
///
/// The target and the header fields of every request.
impl Connect {
    /// The path of Engine.IO, instead of the URL's. A path without a leading slash gets one at both ends: `engine.io`
    /// means `/engine.io/`.
    ///
    /// **Default:** the path of the URL, or `/engine.io/` if that is `/`. **Range:** visible ASCII without `?` and `#`.
    ///
    /// Engine.IO: `path`. python-engineio: `engineio_path`.
    pub fn path(mut self, path: &str) -> Self {
        self.options.path = Some(path.into());
        self
    }

    /// A header field of every request; may be called repeatedly. `User-Agent` and `Authorization` replace those of the
    /// client; `Cookie` is sent together with the cookies that the server sets. `Host` replaces that of the URL, whose
    /// host still determines the address and the name in the server's certificate. `Sec-WebSocket-Protocol` is a list of
    /// subprotocols, which only the requests for a WebSocket offer; the server may select one of them or none.
    ///
    /// **Default:** none. **Range:** a legal name and value of RFC 9110; none of `Connection`, `Upgrade`,
    /// `Content-Length`, `Content-Type`, `Transfer-Encoding`, `Expect`, `Sec-WebSocket-Key`, `Sec-WebSocket-Version`
    /// and `Sec-WebSocket-Extensions`, which the client controls.
    ///
    /// Engine.IO: `extraHeaders`. python-engineio: `headers`.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.options.headers.push((name.into(), value.into()));
        self
    }

    /// The query parameter whose value differs in every GET, so that caches do not answer; `None` for no parameter.
    ///
    /// **Default:** `t`. **Range:** visible ASCII without `&`, `=` and `#`; not a parameter of the protocol.
    ///
    /// Engine.IO: `timestampParam` and `timestampRequests`. python-engineio: `timestamp_requests`.
    pub fn timestamp(mut self, parameter: Option<&str>) -> Self {
        self.options.timestamp = parameter.map(Into::into);
        self
    }
}

/// # Transports
///
/// Over which transport a session opens, and whether it upgrades.
impl Connect {
    /// The transports that may be used. A session opens over the first one.
    ///
    /// **Default:** polling, then WebSocket. **Range:** at least one.
    ///
    /// Engine.IO, python-engineio: `transports`.
    pub fn transports(mut self, transports: impl IntoIterator<Item = Transport>) -> Self {
        self.options.transports = transports.into_iter().collect();
        self
    }

    /// Whether a session that opens over polling upgrades to WebSocket, if both are [allowed](Self::transports) and the
    /// server announces the upgrade.
    ///
    /// **Default:** true.
    ///
    /// Engine.IO: `upgrade`.
    pub fn upgrade(mut self, upgrade: bool) -> Self {
        self.options.upgrade = upgrade;
        self
    }

    /// Whether a [reconnection](Client::reconnect) opens over WebSocket if the last upgrade succeeded.
    ///
    /// **Default:** false.
    ///
    /// Engine.IO: `rememberUpgrade`.
    pub fn remember_upgrade(mut self, remember: bool) -> Self {
        self.options.remember_upgrade = remember;
        self
    }

    /// Whether the other transport is tried when the first one does not open a session.
    ///
    /// **Default:** false.
    ///
    /// Engine.IO: `tryAllTransports`.
    pub fn try_all_transports(mut self, all: bool) -> Self {
        self.options.try_all_transports = all;
        self
    }
}

/// # Timeouts
impl Connect {
    /// The time for each new connection: to resolve the host, to connect, through a proxy if there is one, and for the
    /// TLS handshake.
    ///
    /// **Default:** 10 s. **Range:** 10 ms to 24 h. After it the request fails with [`Fault::ConnectTimeout`].
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.connect_timeout = timeout;
        self
    }

    /// The time to send a request, and again from then to the end of its response. A GET that waits for messages is
    /// limited by the server's `pingInterval` and `pingTimeout` instead.
    ///
    /// **Default:** 20 s. **Range:** 10 ms to 24 h. After it the request fails: with [`Fault::RequestTimeout`], or with
    /// [`Fault::Lost`] if it was not sent. The session ends, or only its upgrade if the request was for that.
    ///
    /// Engine.IO: `requestTimeout`, unlimited there. python-engineio: `request_timeout`, 5 s there.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.options.request_timeout = timeout;
        self
    }

    /// The time from the start to the open packet, with everything in between; again for each transport that is
    /// [tried](Self::try_all_transports), and for each redirection that is followed, at most five.
    ///
    /// **Default:** 20 s. **Range:** 10 ms to 24 h. After it the attempt fails with [`Fault::OpenTimeout`].
    pub fn open_timeout(mut self, timeout: Duration) -> Self {
        self.options.open_timeout = timeout;
        self
    }

    /// The time from the open packet to the end of an upgrade. It should not exceed the server's: otherwise the server
    /// may give up while the client switches.
    ///
    /// **Default:** 10 s. **Range:** 10 ms to 24 h. After it the WebSocket is closed, the session continues over
    /// polling, and [`Event::UpgradeFailed`](crate::client::Event::UpgradeFailed) reports it.
    pub fn upgrade_timeout(mut self, timeout: Duration) -> Self {
        self.options.upgrade_timeout = timeout;
        self
    }

    /// The time for which [`Client::disconnect`] sends queued messages, and then that for the closing handshake of a
    /// WebSocket.
    ///
    /// **Default:** 10 s each. **Range:** 10 ms to 24 h. After it queued messages are dropped and the connection is
    /// closed.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.options.close_timeout = timeout;
        self
    }
}

/// # Limits and backpressure
///
/// At a high-water mark one more message, or one more polling body, may exceed the mark. The bytes of a queue include
/// its own overhead.
impl Connect {
    /// The largest WebSocket message or polling body that is received, in bytes. The server's limit for messages to it
    /// is [`Client::server_max_payload`].
    ///
    /// **Default:** 16 MiB. **Range:** 1 byte to 2 GiB. More ends the session: over WebSocket with close code 1009 and
    /// [`CloseReason::PayloadTooLarge`], over polling with [`CloseReason::TransportError`].
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.options.max_payload = bytes;
        self
    }

    /// The number of bytes queued for the server from which no more are accepted.
    ///
    /// **Default:** 1 MiB. **Range:** 1 byte to 2 GiB. From there on [`Client::send`] waits and [`Client::try_send`]
    /// returns [`SendError::Full`](crate::client::SendError::Full). A [`RemoteClient`](crate::client::RemoteClient) has a mailbox
    /// of the same size besides.
    pub fn outbound_high_water(mut self, bytes: usize) -> Self {
        self.options.outbound_high_water = bytes;
        self
    }

    /// The number of bytes of messages that wait for [`Client::next`], from which nothing is received.
    ///
    /// **Default:** 1 MiB. **Range:** 1 byte to 2 GiB. An application that takes no messages for long loses its session,
    /// because pings are not received either.
    pub fn inbound_high_water(mut self, bytes: usize) -> Self {
        self.options.inbound_high_water = bytes;
        self
    }
}

/// # Messages
impl Connect {
    /// Whether text with U+001E is sent while a WebSocket carries the session. Polling cannot carry it: that character
    /// separates the packets of a body.
    ///
    /// **Default:** false: [`SendError::Separator`](crate::client::SendError::Separator) over every transport, so that the
    /// answer does not depend on an upgrade.
    ///
    /// Engine.IO: true, and the server receives such text as several packets over polling.
    pub fn separator_over_websocket(mut self, send: bool) -> Self {
        self.options.separator_over_websocket = send;
        self
    }
}

/// # Compression
impl Connect {
    /// Offers the server to compress WebSocket messages by permessage-deflate. [`PerMessageDeflate`] says how much
    /// memory it needs.
    ///
    /// **Default:** none, nothing is offered. **Range:** that of each option of [`PerMessageDeflate`].
    ///
    /// Engine.IO: `perMessageDeflate`, on there.
    pub fn per_message_deflate(mut self, deflate: PerMessageDeflate) -> Self {
        self.options.per_message_deflate = Some(deflate);
        self
    }
}

/// # Network
impl Connect {
    /// Whether small messages are sent without delay (TCP_NODELAY).
    ///
    /// **Default:** true.
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.options.nodelay = nodelay;
        self
    }

    /// The time of silence after which the kernel probes the connection (SO_KEEPALIVE, TCP_KEEPIDLE); `None` for no
    /// probes.
    ///
    /// **Default:** none: the server's pings have the same effect. **Range:** 1 s to 32,767 s, in whole seconds, as
    /// Linux requires. If the probes are not answered, the connection is lost.
    pub fn keepalive(mut self, time: Option<Duration>) -> Self {
        self.options.keepalive = time;
        self
    }

    /// A proxy (`http://user:password@host:port`). Polling requests without TLS are sent to it with the absolute URL of
    /// the server (RFC 9112 section 3.2.2); for TLS and for WebSockets it connects to the server by CONNECT.
    ///
    /// **Default:** none; environment variables are not read. **Range:** a URL of the scheme `http`. A proxy that does
    /// not answer CONNECT with 2xx, or a request with 407, causes [`Fault::Proxy`].
    pub fn proxy(mut self, url: &str) -> Self {
        self.options.proxy = Some(url.into());
        self
    }

    /// Begins each connection with a header of the PROXY protocol, version 2, before TLS: for gateways that connect to a
    /// server for their own clients. The server must [expect](crate::Config::proxy_protocol) it.
    ///
    /// **Default:** none. **Range:** not together with [`proxy`](Self::proxy).
    pub fn proxy_protocol(mut self, source: ProxySource) -> Self {
        self.options.proxy_protocol = Some(source);
        self
    }
}

/// # TLS
///
/// Only used with the feature `tls`. A certificate or key that cannot be used is a [`ConnectError::Option`], a failed
/// handshake a [`Fault::Tls`].
impl Connect {
    /// Certificates (PEM) of authorities to trust instead of the system's; may be called repeatedly. A certificate that
    /// is not one of an authority, or is self-signed as that of `openssl req -x509`, is trusted as the server's own if its
    /// name and dates fit.
    ///
    /// **Default:** the authorities that the system trusts.
    ///
    /// Engine.IO: `ca`.
    pub fn certificate_authority(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.options.tls.authorities.push(pem.into());
        self
    }

    /// The client's certificate, followed by its intermediate certificates, and its private key (PEM each).
    ///
    /// **Default:** none.
    ///
    /// Engine.IO: `cert` and `key`.
    pub fn identity(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.options.tls.identity = Some((chain.into(), key.into()));
        self
    }

    /// Whether every server certificate is accepted. An attacker between client and server can then read and change
    /// everything.
    ///
    /// **Default:** false.
    ///
    /// Engine.IO: `rejectUnauthorized`. python-engineio: `ssl_verify`. Both have the opposite meaning.
    pub fn danger_accept_any_certificate(mut self, accept: bool) -> Self {
        self.options.tls.insecure = accept;
        self
    }
}

/// # Signals
impl Connect {
    /// Whether SIGINT [disconnects](Client::disconnect) the client. A second SIGINT before that is done ends the process
    /// with status 130.
    ///
    /// **Default:** false.
    ///
    /// When the last client with this option has ended, SIGINT has the effect that it had before the first one: an
    /// application with a handler of its own installs it first.
    ///
    /// python-engineio: `handle_sigint`, true there.
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
            let (worker, settings) = self.prepare()?;
            let session = open(&worker, &settings).await?;
            Ok(Client { worker, settings, session: RefCell::new(session) })
        })
    }
}

/// # Repeating attempts
impl Connect {
    /// Opens a session, and tries again with pauses after failures: [`Client::reconnect_with`] for the first session.
    /// The first attempt is made at once.
    ///
    /// ```no_run
    /// # use eio_monoio::client::{Backoff, Client, ConnectError};
    /// # async fn f() -> Result<(), ConnectError> {
    /// let backoff = Backoff::new().on_retry(|retry| eprintln!("{retry}"));
    /// let client = Client::connect("http://localhost:3000").connect_with(&backoff).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ConnectError::Failed`] with the fault of the last attempt that `backoff` allows, and any other error at once.
    pub async fn connect_with(self, backoff: &Backoff) -> Result<Client, ConnectError> {
        let (worker, settings) = self.prepare()?;
        let attempt = async || open(&worker, &settings).await;
        let session = retry(&worker, backoff, FirstAttempt::AtOnce, attempt).await?;
        Ok(Client { worker, settings, session: RefCell::new(session) })
    }

    fn prepare(self) -> Result<(Rc<WorkerContext>, Rc<Settings>), ConnectError> {
        let settings = Rc::new(Settings::new(self.options)?);
        Ok((WorkerContext::current().ok_or(ConnectError::NoRuntime)?, settings))
    }
}

/// Terminates the session of a future that is dropped.
struct TerminateOnDrop(Option<Rc<Session>>);

impl Drop for TerminateOnDrop {
    fn drop(&mut self) {
        if let Some(session) = &self.0 {
            session.terminate();
        }
    }
}

/// Opens a session over the first transport that succeeds.
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
        match open_over(worker, settings, transport, upgrade).await {
            Ok(session) => {
                if options.handle_sigint {
                    signal::close_on_sigint(worker, &session);
                }
                return Ok(session);
            }
            Err(error) => last = error,
        }
        // The next transport may succeed. The next reconnection begins with polling again.
        settings.upgraded_before.set(false);
    }
    Err(last)
}

/// Opens a session over `transport`. Over polling it follows redirections.
async fn open_over(
    worker: &Rc<WorkerContext>,
    settings: &Rc<Settings>,
    transport: Transport,
    upgrade: bool,
) -> Result<Rc<Session>, ConnectError> {
    let (mut settings, mut cookies) = (settings.clone(), CookieJar::default());
    for redirections in 0.. {
        let session =
            Session::start(worker.clone(), settings.clone(), transport, upgrade, lanes::run);
        // The first request is sent when its task is polled.
        session.cookies.replace(cookies);
        let mut guard = TerminateOnDrop(Some(session.clone()));
        if poll_fn(|cx| session.poll_open(cx)).await {
            guard.0 = None;
            return Ok(session);
        }
        let fault = match (session.fault(), session.closed()) {
            (Some(fault), _) => fault,
            (None, Some(CloseReason::ClientDisconnect)) => return Err(ConnectError::Cancelled),
            (None, Some(CloseReason::ServerDisconnect)) => Fault::NotOpened,
            (None, _) => Fault::OpenTimeout,
        };
        let redirect = (transport == Transport::Polling && redirections < redirect::MAX)
            .then(|| redirect::follow(&settings.options, settings.path(), &fault))
            .flatten();
        let Some(redirect) = redirect else { return Err(ConnectError::Failed(fault)) };
        // Without the feature `tls` a redirection to https cannot be followed.
        let Ok(redirected) = settings.redirected(redirect.options) else {
            return Err(ConnectError::Failed(fault));
        };
        settings = Rc::new(redirected);
        cookies = if redirect.same_server { session.cookies.take() } else { CookieJar::default() };
    }
    Err(ConnectError::Failed(Fault::OpenTimeout))
}
