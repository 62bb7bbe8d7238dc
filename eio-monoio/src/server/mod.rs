//! [`Server`]: from an application to running threads.

pub(crate) mod config;
pub(crate) mod conn;
pub(crate) mod connection_error;
pub(crate) mod handler;
pub(crate) mod hooks;
pub(crate) mod listener;
pub(crate) mod remote;
pub(crate) mod request;
pub(crate) mod session;
pub(crate) mod shard;
pub(crate) mod socket;
#[cfg(feature = "tls")]
pub(crate) mod tls;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use eio_core::packet::Message;
use eio_core::sid::{InvalidSid, Sid};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::error::{ConfigError, ServeError};
use crate::io::raw_websocket::PlainSocket;
use crate::server::config::Config;
use crate::server::connection_error::ConnectionError;
use crate::server::handler::{Handler, OnMessage};
use crate::server::hooks::Hooks;
use crate::server::hooks::OnPlain;
use crate::server::listener::{Endpoint, Listener, SocketFile, Sockets};
use crate::server::remote::Remote;
use crate::server::request::{ConnectRequest, Refusal};
use crate::server::shard::disk::Disk;
use crate::server::shard::plan::Plan;
use crate::server::shard::registry::SidKey;
use crate::server::shard::run::run;
use crate::server::shard::shared::{CallSequence, Rate, ServerShared};
use crate::server::socket::Socket;
#[cfg(feature = "tls")]
use crate::server::tls::{Identity, Tls};
use crate::web::files::Files;
use crate::web::request::RequestInfo;
use crate::worker::mailbox::Mailbox;
use crate::worker::net::{self, Driver, Runtime};
use crate::worker::signal::SignalGuard;
use crate::worker::thread_pool::ThreadPool;

/// The smallest server: everyone may connect, every message goes to `on_message`. Runs until SIGINT or SIGTERM.
///
/// ```no_run
/// eio_monoio::serve("127.0.0.1:3000", |socket, message| {
///     socket.try_send(message).ok();
///     async {}
/// })?;
/// # Ok::<(), eio_monoio::ServeError>(())
/// ```
///
/// # Errors
/// If the address cannot be listened on.
pub fn serve<F, R>(address: impl ToSocketAddrs, on_message: F) -> Result<(), ServeError>
where
    F: Fn(&Socket<()>, Message<'_>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = ()> + 'static,
{
    let server = Server::new(move || OnMessage(on_message.clone()));
    server.config(Config::new().handle_signals(true)).bind(address)?.join()
}

/// An application and its options, not running yet.
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
pub struct Server<F> {
    make: F,
    config: Config,
    on_plain: Option<OnPlain>,
    hooks: Hooks,
    files: Option<Files>,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
}

impl<H, F> Server<F>
where
    H: Handler,
    F: Fn() -> H + Send + Sync + 'static,
{
    /// A server whose `make` is called once on each worker's thread.
    pub fn new(make: F) -> Self {
        Self {
            make,
            config: Config::new(),
            on_plain: None,
            hooks: Hooks::default(),
            files: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Sets the options.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Takes WebSockets on paths other than Engine.IO's: each message goes to `on_message`, where it lies. They
    /// share the options of the server, but have no session, no heartbeat and no upgrade. Without this, such a
    /// request goes to [`Handler::request`].
    ///
    /// ```
    /// # use eio_monoio::Server;
    /// # fn server<H: eio_monoio::Handler>(make: impl Fn() -> H + Send + Sync + 'static) {
    /// Server::new(make).plain_websockets(|socket, message| socket.send(message));
    /// # }
    /// ```
    #[must_use]
    pub fn plain_websockets(
        mut self,
        on_message: impl Fn(&PlainSocket, Message<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.on_plain = Some(Arc::new(on_message));
        self
    }

    /// Serves static files on paths other than Engine.IO's, ahead of [`Handler::request`].
    ///
    /// ```
    /// # use eio_monoio::{Files, Server};
    /// # fn server<H: eio_monoio::Handler>(make: impl Fn() -> H + Send + Sync + 'static) {
    /// let files = Files::new().route("/", "index.html").route("/static", "./public");
    /// Server::new(make).files(files);
    /// # }
    /// ```
    #[must_use]
    pub fn files(mut self, files: Files) -> Self {
        self.files = Some(files);
        self
    }

    /// Adds headers to every response of Engine.IO, also to refusals and to the 101 of a WebSocket. Called once
    /// for each request, on the worker that answers it; a panic is logged, and nothing is added. What frames the
    /// message or the connection (such as `Content-Length`) cannot be set. JS the event `headers`.
    ///
    /// ```
    /// # use eio_monoio::Server;
    /// # fn server<H: eio_monoio::Handler>(make: impl Fn() -> H + Send + Sync + 'static) {
    /// use http::{HeaderValue, header};
    ///
    /// Server::new(make).headers(|_request, headers| {
    ///     headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    /// });
    /// # }
    /// ```
    #[must_use]
    pub fn headers(
        mut self,
        add: impl Fn(&RequestInfo<'_>, &mut http::HeaderMap) + Send + Sync + 'static,
    ) -> Self {
        self.hooks.headers = Some(Arc::new(add));
        self
    }

    /// Adds headers to the response that opens a session, over either transport, after
    /// [`Handler::connect`] has let it. JS the event `initial_headers`. See [`headers`](Self::headers).
    #[must_use]
    pub fn initial_headers(
        mut self,
        add: impl Fn(&ConnectRequest<'_>, &mut http::HeaderMap) + Send + Sync + 'static,
    ) -> Self {
        self.hooks.initial = Some(Arc::new(add));
        self
    }

    /// Speaks TLS, `https` and `wss`, and nothing else over TCP; what comes over a Unix-domain socket stays without.
    /// Only with the feature `tls`.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Asks `allows` about every request for Engine.IO's path, handshakes, polls, POSTs and upgrades alike, before
    /// it has an effect; preflights and what [`Cors`](crate::Cors) refuses are left out. Several are asked in the
    /// order they were added. It is called on the core that answers the request and must not block. JS
    /// `engine.use`, whose errors are [`Refusal::bad_request`].
    ///
    /// ```
    /// # use eio_monoio::{Refusal, Server};
    /// # fn server<H: eio_monoio::Handler>(make: impl Fn() -> H + Send + Sync + 'static) {
    /// Server::new(make).middleware(|request| match request.header("x-key") {
    ///     Some("sesame") => Ok(()),
    ///     _ => Err(Refusal::unauthorized()),
    /// });
    /// # }
    /// ```
    #[must_use]
    pub fn middleware(
        mut self,
        allows: impl Fn(&RequestInfo<'_>) -> Result<(), Refusal> + Send + Sync + 'static,
    ) -> Self {
        self.hooks.middlewares.push(Arc::new(allows));
        self
    }

    /// Hears of every request for Engine.IO's path that is refused, and why, on the core that refuses it. What a
    /// session itself does not suffer, such as two polls at once, ends it, and is heard in
    /// [`Handler::disconnect`]. A panic is logged. JS the event `connection_error`.
    ///
    /// ```
    /// # use eio_monoio::Server;
    /// # fn server<H: eio_monoio::Handler>(make: impl Fn() -> H + Send + Sync + 'static) {
    /// Server::new(make).on_connection_error(|request, error| {
    ///     eprintln!("{:?}: {error}, code {:?}", request.peer_addr(), error.code());
    /// });
    /// # }
    /// ```
    #[must_use]
    pub fn on_connection_error(
        mut self,
        hears: impl Fn(&RequestInfo<'_>, ConnectionError) + Send + Sync + 'static,
    ) -> Self {
        self.hooks.refused = Some(Arc::new(hears));
        self
    }

    /// Makes the sids of sessions, once [`Handler::connect`] has let them. One that is in use, illegal, or whose
    /// making panics, is no session: the request is answered 400 with code 3. JS `generateId`, Py `generate_id`.
    ///
    /// A sid is all that a client needs to take part in a session: who can guess it can read along. By default it
    /// has 96 random bits and says which core the session lives on; one that is made here is looked up in a table
    /// that all cores share, at about 150 bytes for each session.
    ///
    /// ```
    /// # use eio_monoio::{Server, Sid};
    /// # fn server<H: eio_monoio::Handler>(make: impl Fn() -> H + Send + Sync + 'static) {
    /// # fn random() -> u128 { 0 }
    /// Server::new(make).generate_id(|_request| Sid::new(&format!("eu-1.{:032x}", random())));
    /// # }
    /// ```
    #[must_use]
    pub fn generate_id(
        mut self,
        make: impl Fn(&ConnectRequest<'_>) -> Result<Sid, InvalidSid> + Send + Sync + 'static,
    ) -> Self {
        self.hooks.ids = Some(Arc::new(make));
        self
    }

    /// Checks the options, listens on `address` and starts the workers.
    ///
    /// # Errors
    /// [`ServeError::Config`] for an option outside its range, or a file of TLS that cannot be used;
    /// [`ServeError::Io`] if the address is taken or cannot be had, or the kernel refuses the chosen driver.
    pub fn bind(self, address: impl ToSocketAddrs) -> Result<Running, ServeError> {
        self.start(|config, workers| Sockets::tcp(address, config.backlog, workers))
    }

    /// The same on a Unix-domain socket at `path`, which all workers share. A socket that a server left behind that
    /// is gone is replaced; the end of this server removes its own. See also
    /// [`unix_socket_mode`](Config::unix_socket_mode).
    ///
    /// # Errors
    /// As [`bind`](Self::bind). A file that is not an abandoned socket is never touched.
    pub fn bind_unix(self, path: impl AsRef<Path>) -> Result<Running, ServeError> {
        self.start(|config, workers| {
            Sockets::unix(path.as_ref(), config.unix_socket_mode, config.backlog, workers)
        })
    }

    /// The same on sockets that listen already, which all workers share: which of them takes a connection is not
    /// as even as with [`bind`](Self::bind), where each has a socket of its own. [`backlog`](Config::backlog) is up to
    /// whoever made them.
    ///
    /// # Errors
    /// As [`bind`](Self::bind), and if there is none.
    pub fn listen(
        self,
        listeners: impl IntoIterator<Item = Listener>,
    ) -> Result<Running, ServeError> {
        self.start(|_, workers| Sockets::given(listeners, workers))
    }

    fn start(
        self,
        sockets: impl FnOnce(&Config, usize) -> io::Result<Sockets>,
    ) -> Result<Running, ServeError> {
        self.config.check()?;
        if let Some(files) = &self.files {
            files.check().map_err(|problem| ConfigError::new("files", problem))?;
        }
        #[cfg(feature = "tls")]
        let identity = self.tls.map(Identity::new).transpose()?;
        let workers = self.config.workers.unwrap_or_else(cores);
        let Sockets { endpoints, listening, file } = sockets(&self.config, workers)?;

        let (mailboxes, wake_rxs): (Vec<_>, Vec<_>) = (0..workers)
            .map(|_| Mailbox::new())
            .collect::<io::Result<Vec<_>>>()?
            .into_iter()
            .unzip();
        let shared = Arc::new(ServerShared {
            mailboxes,
            key: SidKey::new(workers as u16)
                .map_err(|error| io::Error::other(error.to_string()))?,
            directory: self.hooks.ids.is_some().then(Arc::default),
            sessions: AtomicUsize::new(0),
            connections: Arc::default(),
            shutting_down: AtomicBool::new(false),
            handshakes: Rate::new(),
            calls: CallSequence::default(),
            mail_limit: self.config.mailbox_high_water,
            jobs: AtomicUsize::new(0),
            counters: (0..workers).map(|_| Arc::default()).collect(),
            thread_pool: ThreadPool::new(self.config.blocking_threads),
            #[cfg(feature = "tls")]
            identity,
        });
        let max_connections = self.config.max_connections.unwrap_or_else(default_max_connections);
        let config = Arc::new(self.config);
        let signals = if config.handle_signals { Some(watch_signals(&shared)?) } else { None };
        let make = Arc::new(self.make);
        let disk = self.files.map(|files| Disk::start(files, &shared)).transpose()?.map(Arc::new);
        let (ready, started) = mpsc::channel();
        let mut threads = Vec::with_capacity(workers);
        for (id, (listening, wake_rx)) in listening.into_iter().zip(wake_rxs).enumerate() {
            let plan = Plan {
                id: id as u16,
                config: config.clone(),
                shared: shared.clone(),
                wake_rx,
                listening,
                max_connections,
                on_plain: self.on_plain.clone(),
                hooks: self.hooks.clone(),
                disk: disk.clone(),
            };
            let (make, ready, shared) = (make.clone(), ready.clone(), shared.clone());
            let thread = std::thread::Builder::new().name(format!("eio-{id}"));
            threads.push(thread.spawn(move || {
                // A worker that ends, for whatever reason, takes the others with it: half a server is none.
                let _whole = ShutdownOnDrop(shared);
                work(plan, &*make, &ready)
            })?);
        }
        // The threads that read files end with the last worker.
        drop((ready, disk));
        let drivers = Vec::with_capacity(workers);
        let mut running = Running { endpoints, file, drivers, workers, shared, threads, signals };
        for _ in 0..workers {
            match started.recv() {
                Ok(driver) => running.drivers.push(driver),
                Err(_) => {
                    running.shutdown();
                    running.join()?;
                    return Err(io::Error::other("a worker ended at its start").into());
                }
            }
        }
        if running.drivers.iter().any(|driver| *driver != running.driver()) {
            tracing::warn!("some workers have no ring; see `ulimit -l`");
        }
        for endpoint in &running.endpoints {
            tracing::info!(address = %endpoint, driver = %running.driver(), workers, "listening");
        }
        Ok(running)
    }
}

impl<F> fmt::Debug for Server<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("config", &self.config).finish_non_exhaustive()
    }
}

/// One worker, on its own thread from the runtime to the end.
fn work<H: Handler>(
    plan: Plan,
    make: impl Fn() -> H,
    ready: &mpsc::Sender<Driver>,
) -> io::Result<()> {
    let mut runtime = Runtime::build(plan.config.driver)?;
    let driver = runtime.driver();
    tracing::debug!(worker = plan.id, %driver, "worker started");
    runtime.block_on(run(plan, make, || {
        // Nobody waits for it only if the start failed elsewhere.
        let _ = ready.send(driver);
    }))
}

/// The driver of all workers, or the one that any has to do with.
fn common(drivers: &[Driver]) -> Driver {
    match drivers.first() {
        Some(first) if drivers.iter().all(|driver| driver == first) => *first,
        _ => Driver::Epoll,
    }
}

struct ShutdownOnDrop(Arc<ServerShared>);

impl Drop for ShutdownOnDrop {
    fn drop(&mut self) {
        self.0.shut_down();
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// What the descriptor limit leaves after listeners, rings, logs and the application's own files.
fn default_max_connections() -> usize {
    const RESERVE: u64 = 64;
    usize::try_from(net::descriptor_limit().saturating_sub(RESERVE)).unwrap_or(usize::MAX).max(1)
}

/// SIGINT or SIGTERM begins an orderly end; a second one ends the process.
fn watch_signals(shared: &Arc<ServerShared>) -> io::Result<Signalled> {
    let claim = SignalGuard::new()?;
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let handle = signals.handle();
    let shared = shared.clone();
    std::thread::Builder::new().name("eio-signals".into()).spawn(move || {
        for (count, signal) in signals.forever().enumerate() {
            if count > 0 {
                std::process::exit(128 + signal);
            }
            tracing::info!("signal received, shutting down");
            shared.shut_down();
        }
    })?;
    Ok(Signalled { handle, _claim: claim })
}

/// SIGINT and SIGTERM are this server's.
struct Signalled {
    handle: Handle,
    _claim: SignalGuard,
}

/// A server at work. Dropping it shuts the server down and waits for that.
pub struct Running {
    endpoints: Vec<Endpoint>,
    file: Option<SocketFile>,
    drivers: Vec<Driver>,
    workers: usize,
    shared: Arc<ServerShared>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    signals: Option<Signalled>,
}

impl Running {
    /// The address listened on, the first if there are several, with the port the kernel chose if 0 was asked for;
    /// `0.0.0.0:0` if there are only Unix-domain sockets.
    pub fn local_addr(&self) -> SocketAddr {
        let tcp = self.endpoints.iter().find_map(|endpoint| match endpoint {
            Endpoint::Tcp(address) => Some(*address),
            Endpoint::Unix(_) => None,
        });
        tcp.unwrap_or((Ipv4Addr::UNSPECIFIED, 0).into())
    }

    /// Everything listened on.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Which kernel interface carries the I/O. With [`Driver::Auto`] a limit on locked memory may give a ring to
    /// some workers and not to others: [`Driver::Epoll`] then, and a warning in the log.
    pub fn driver(&self) -> Driver {
        common(&self.drivers)
    }

    /// How many threads serve.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// A handle for other threads.
    pub fn remote(&self) -> Remote {
        Remote::new(self.shared.clone())
    }

    /// Begins an orderly end and returns at once: no new sessions; requests at work are answered; every session
    /// gets what is queued for it and a close; handlers finish. Connections are accepted until every session was
    /// told or [`shutdown_grace`](Config::shutdown_grace) is over: a polling client may be between two polls. What
    /// is not done after [`shutdown_timeout`](Config::shutdown_timeout) is cut off.
    pub fn shutdown(&self) {
        self.shared.shut_down();
    }

    /// Waits for the end, which [`shutdown`](Self::shutdown), a [`Remote`] or a signal begins.
    ///
    /// # Errors
    /// The first I/O error that ended a worker.
    pub fn join(mut self) -> Result<(), ServeError> {
        self.wait()
    }

    fn wait(&mut self) -> Result<(), ServeError> {
        let mut result = Ok(());
        for thread in self.threads.drain(..) {
            let ended =
                thread.join().unwrap_or_else(|_| Err(io::Error::other("a worker panicked")));
            result = result.and(ended);
        }
        drop(self.file.take());
        if let Some(signals) = self.signals.take() {
            signals.handle.close();
        }
        result.map_err(ServeError::Io)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown();
        if let Err(error) = self.wait() {
            tracing::error!(%error, "the server ended badly");
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("endpoints", &self.endpoints)
            .field("driver", &self.driver())
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_with_any_worker_on_epoll_never_claims_to_have_rings() {
        use Driver::{Epoll, IoUring};
        for (drivers, expected) in [
            (&[IoUring, IoUring][..], IoUring),
            (&[Epoll, Epoll], Epoll),
            (&[IoUring, Epoll, IoUring], Epoll),
            (&[Epoll, IoUring], Epoll),
        ] {
            assert_eq!(common(drivers), expected, "{drivers:?}");
        }
    }
}
