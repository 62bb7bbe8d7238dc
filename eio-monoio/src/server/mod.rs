//! [`Server`]: an application and its options, and how a server is started.

pub(crate) mod access;
pub(crate) mod addresses;
pub(crate) mod async_handler;
pub(crate) mod cause;
#[cfg(feature = "nats")]
pub(crate) mod cluster;
pub(crate) mod config;
pub(crate) mod conn;
pub(crate) mod connection_error;
pub(crate) mod handler;
mod hook_setters;
pub(crate) mod hooks;
pub(crate) mod listener;
pub(crate) mod refusal;
pub(crate) mod remote;
pub(crate) mod request;
pub(crate) mod request_body;
pub(crate) mod running;
pub(crate) mod server_ref;
pub(crate) mod session;
pub(crate) mod shard;
mod signals;
pub(crate) mod socket;
mod start;
#[cfg(feature = "tls")]
pub(crate) mod tls;
pub(crate) mod via;
mod watch;

use std::fmt;
use std::net::ToSocketAddrs;
use std::path::Path;
use std::sync::Arc;

use eio_core::packet::Message;

use crate::error::ServeError;
use crate::io::raw_websocket::PlainSocket;
use crate::message::OwnedMessage;
use crate::server::async_handler::OnMessage;
#[cfg(feature = "nats")]
use crate::server::cluster::options::Cluster;
use crate::server::config::Config;
use crate::server::handler::Handler;
use crate::server::hooks::{Hooks, OnRawWebSocket};
use crate::server::listener::{Listener, Sockets};
use crate::server::running::Running;
use crate::server::socket::Socket;
#[cfg(feature = "tls")]
use crate::server::tls::Tls;
use crate::web::files::Files;

/// Runs a server until SIGINT or SIGTERM. Every client may connect, and `on_message` is called with each message.
///
/// This is [`Server::on_message`] with default options, except that signals [are handled](Config::handle_signals).
///
/// ```no_run
/// eio_monoio::serve("127.0.0.1:3000", async |socket, message| {
///     socket.send(message).await.ok(); // an error means that the session has ended
/// })?;
/// # Ok::<(), eio_monoio::ServeError>(())
/// ```
///
/// # Errors
/// Those of [`Server::bind`] and [`Running::join`].
pub fn serve<F>(address: impl ToSocketAddrs, on_message: F) -> Result<(), ServeError>
where
    F: AsyncFn(Socket<()>, OwnedMessage) + Send + Sync + 'static,
{
    let server = Server::on_message(on_message);
    server.config(Config::new().handle_signals(true)).bind(address)?.join()
}

/// A server that is not running yet: the application, its options, its hooks.
///
/// [`bind`](Self::bind), [`bind_unix`](Self::bind_unix) and [`listen`](Self::listen) start it.
///
/// ```
/// use eio_monoio::{Config, ConnectRequest, Handler, Message, Refusal, Server, Socket};
///
/// struct Echo;
///
/// impl Handler for Echo {
///     type Session = ();
///
///     async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
///         Ok(())
///     }
///
///     fn message<'s>(
///         &'s self,
///         socket: &Socket<()>,
///         message: Message<'_>,
///     ) -> impl Future<Output = ()> + use<'s> {
///         socket.try_send(message).ok();
///         async {}
///     }
/// }
///
/// let running = Server::new(|| Echo).config(Config::new().workers(1)).bind("127.0.0.1:0")?;
/// assert_ne!(running.local_addr().port(), 0);
/// running.shutdown();
/// running.join()?;
/// # Ok::<(), eio_monoio::ServeError>(())
/// ```
///
/// # Hooks
/// [`headers`](Self::headers), [`initial_headers`](Self::initial_headers), [`middleware`](Self::middleware),
/// [`on_connection_error`](Self::on_connection_error) and [`generate_id`](Self::generate_id) set functions of the
/// application that run on every request for Engine.IO's path, or on every one of its kind. Such a function is called
/// on the worker that answers the request, and all sessions of that worker wait until it returns: it must not block.
/// All workers share it. A panic is caught and logged; each setter says what becomes of the request.
#[must_use = "a server runs from `bind`, `bind_unix` or `listen` on"]
pub struct Server<F> {
    new_handler: F,
    config: Config,
    on_raw_websocket: Option<OnRawWebSocket>,
    hooks: Hooks,
    files: Option<Files>,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    #[cfg(feature = "nats")]
    cluster: Option<Cluster>,
}

impl Server<()> {
    /// A server that accepts every session and calls `on_message`, mostly an async closure, with each message. All
    /// options are those of [`new`](Self::new); workers share the closure.
    ///
    /// Messages of a session arrive in order: the next one when the future is complete. Write `async |socket, message|`:
    /// of a closure without `async` rustc asks for the types of its parameters, and it has to return a future.
    ///
    /// ```
    /// use eio_monoio::{Config, Files, Server};
    ///
    /// let server = Server::on_message(async |socket, message| {
    ///     socket.send(message).await.ok();
    /// });
    /// let files = Files::new().route("/", "index.html");
    /// let running = server.config(Config::new().workers(1)).files(files).bind("127.0.0.1:0")?;
    /// running.shutdown();
    /// running.join()?;
    /// # Ok::<(), eio_monoio::ServeError>(())
    /// ```
    pub fn on_message<F>(on_message: F) -> Server<impl Fn() -> OnMessage<F> + Send + Sync>
    where
        F: AsyncFn(Socket<()>, OwnedMessage) + Send + Sync + 'static,
    {
        let on_message = Arc::new(on_message);
        Server::new(move || OnMessage::new(&on_message))
    }
}

impl<H, F> Server<F>
where
    H: Handler,
    F: Fn() -> H + Send + Sync + 'static, // called on each worker: it may create state that is not `Send`
{
    /// A server of a type that implements [`AsyncHandler`](crate::AsyncHandler) or [`Handler`], with the default
    /// options. A closure that handles messages is for [`on_message`](Server::on_message) instead.
    ///
    /// `new_handler` is called once on each worker, before the worker accepts connections; it may
    /// [`spawn`](crate::spawn) tasks and take a [`Remote::current`](crate::Remote::current). A periodic task that is
    /// spawned here runs once per worker; [`Remote::spawn`](crate::Remote::spawn) runs it once per server.
    pub fn new(new_handler: F) -> Self {
        Self {
            new_handler,
            config: Config::new(),
            on_raw_websocket: None,
            hooks: Hooks::default(),
            files: None,
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "nats")]
            cluster: None,
        }
    }

    /// Sets all options.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Accepts WebSockets on paths other than Engine.IO's and calls `on_message` with each of their messages.
    ///
    /// The message is lent for the call. These WebSockets have no session, heartbeat or upgrade; the limits and the
    /// [`cors`](Config::cors) policy of [`Config`] apply. A panic of `on_message` closes the WebSocket with code 1011.
    ///
    /// **Default:** such requests go to [`files`](Self::files) and [`Handler::request`].
    ///
    /// ```
    /// # use eio_monoio::Server;
    /// # fn server<H: eio_monoio::Handler>(new_handler: impl Fn() -> H + Send + Sync + 'static) {
    /// Server::new(new_handler).plain_websockets(|socket, message| socket.send(message));
    /// # }
    /// ```
    pub fn plain_websockets(
        mut self,
        on_message: impl Fn(&PlainSocket, Message<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.on_raw_websocket = Some(Arc::new(on_message));
        self
    }

    /// Serves static files on paths other than Engine.IO's. A request that matches no file goes to
    /// [`Handler::request`].
    ///
    /// ```
    /// # use eio_monoio::{Files, Server};
    /// # fn server<H: eio_monoio::Handler>(new_handler: impl Fn() -> H + Send + Sync + 'static) {
    /// let files = Files::new().route("/", "index.html").route("/static", "./public");
    /// Server::new(new_handler).files(files);
    /// # }
    /// ```
    pub fn files(mut self, files: Files) -> Self {
        self.files = Some(files);
        self
    }

    /// Requires TLS on all TCP listeners: `https` and `wss`. Unix-domain sockets stay without TLS.
    ///
    /// Only with the feature `tls`.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Makes the server a node of a cluster: each node answers requests for the sessions of all, and messages of a
    /// [`Remote`](crate::Remote) and of handlers reach the sessions of all.
    ///
    /// Only with the feature `nats`.
    #[cfg(feature = "nats")]
    pub fn cluster(mut self, cluster: Cluster) -> Self {
        self.cluster = Some(cluster);
        self
    }

    /// Starts the server on a TCP address: the first one of `address` that can be bound. Returns when all workers
    /// accept connections.
    ///
    /// Each worker has a listening socket of its own, so the kernel distributes connections evenly.
    ///
    /// # Errors
    /// - [`ServeError::Config`]: an option is outside its range, a rule of [`Files`] is wrong, or a file of `Tls` is
    ///   unusable.
    /// - [`ServeError::Io`]: no address can be bound, the kernel refuses the chosen
    ///   [`driver`](Config::driver), or a worker ended at its start, for example because `new_handler` panicked.
    pub fn bind(self, address: impl ToSocketAddrs) -> Result<Running, ServeError> {
        self.start(|config, workers| Sockets::tcp(address, config, workers))
    }

    /// Starts the server on a Unix-domain socket at `path`, which all workers share.
    ///
    /// The socket of a server that no longer runs is replaced. The end of this server removes its socket. See also
    /// [`unix_socket_mode`](Config::unix_socket_mode).
    ///
    /// # Errors
    /// As [`bind`](Self::bind). A file that is not an abandoned socket is never touched.
    pub fn bind_unix(self, path: impl AsRef<Path>) -> Result<Running, ServeError> {
        self.start(|config, workers| Sockets::unix(path.as_ref(), config, workers))
    }

    /// Starts the server on sockets that listen already, which all workers share.
    ///
    /// Connections are distributed less evenly than with [`bind`](Self::bind), and [`backlog`](Config::backlog) has no
    /// effect.
    ///
    /// # Errors
    /// As [`bind`](Self::bind), and if there is no socket.
    pub fn listen(
        self,
        listeners: impl IntoIterator<Item = Listener>,
    ) -> Result<Running, ServeError> {
        self.start(|_, workers| Sockets::given(listeners, workers))
    }
}

impl<F> fmt::Debug for Server<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("config", &self.config).finish_non_exhaustive()
    }
}
