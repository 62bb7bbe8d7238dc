//! [`Listener`]: listening sockets, bound by the server or given to it.

use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use crate::server::config::Config;
use crate::worker::net;

/// A listening socket for [`Server::listen`](crate::Server::listen), made outside the server: by systemd, before dropping
/// privileges, by a test or by another service in this process.
///
/// It converts from [`TcpListener`], [`UnixListener`] and [`OwnedFd`]. All workers of the server accept from it.
///
/// ```
/// # use eio_monoio::{Listener, Server};
/// # fn server<H: eio_monoio::Handler>(make: impl Fn() -> H + Send + Sync + 'static) -> Result<(), eio_monoio::ServeError> {
/// let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let running = Server::new(make).listen([Listener::from(socket)])?;
/// # running.shutdown();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    name: Option<String>,
    /// Another process holds it too, and accepts the connections that this server leaves in its backlog.
    shared: bool,
}

impl Listener {
    /// The sockets that the service manager passed to this process, by the rules of sd_listen_fds(3): `LISTEN_FDS`
    /// descriptors from 3 on, if `LISTEN_PID` is the id of this process.
    ///
    /// Empty if no sockets were passed, and when it is called again. The environment is not changed: child processes have
    /// another id.
    ///
    /// ```no_run
    /// # use eio_monoio::{Listener, Server};
    /// # fn server<H: eio_monoio::Handler>(make: impl Fn() -> H + Send + Sync + 'static) -> Result<(), eio_monoio::ServeError> {
    /// let running = Server::new(make).listen(Listener::inherited()?)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If `LISTEN_FDS` is not a number, or one of the descriptors is not a listening stream socket.
    pub fn inherited() -> io::Result<Vec<Self>> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        let variable = |name| std::env::var(name).unwrap_or_default();
        if variable("LISTEN_PID").parse() != Ok(std::process::id()) {
            return Ok(Vec::new());
        }
        let count = variable("LISTEN_FDS").parse::<u16>();
        let count = count.map_err(|_| invalid("LISTEN_FDS is not a number of descriptors"))?;
        if TAKEN.swap(true, Ordering::AcqRel) {
            return Ok(Vec::new());
        }
        let names = variable("LISTEN_FDNAMES");
        let mut names = names.split(':').map(|name| (!name.is_empty()).then(|| name.to_owned()));
        let listeners = net::inherited(count)?.into_iter().map(|fd| {
            Ok(Self { name: names.next().flatten(), shared: true, ..Self::try_from(fd)? })
        });
        listeners.collect()
    }

    /// The name that the service manager gave it (`FileDescriptorName=`), if it was [inherited](Self::inherited).
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The address or path that it listens on.
    pub fn endpoint(&self) -> Endpoint {
        endpoint(&self.fd)
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self { fd: listener.into(), name: None, shared: false }
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self { fd: listener.into(), name: None, shared: false }
    }
}

/// Fails if the descriptor is not a listening TCP or Unix-domain stream socket.
impl TryFrom<OwnedFd> for Listener {
    type Error = io::Error;

    fn try_from(fd: OwnedFd) -> io::Result<Self> {
        let socket = SockRef::from(&fd);
        let family = [Domain::IPV4, Domain::IPV6, Domain::UNIX].contains(&socket.domain()?);
        if !family || socket.r#type()? != Type::STREAM || !socket.is_listener()? {
            return Err(invalid("not a listening stream socket"));
        }
        Ok(Self { fd, name: None, shared: false })
    }
}

/// An address or path that a server listens on; see [`Running::endpoints`](crate::Running::endpoints).
///
/// Its text form is `127.0.0.1:3000` or `unix:/run/app.sock`:
///
/// ```
/// use eio_monoio::{Endpoint, Listener};
///
/// let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let address = socket.local_addr()?;
/// let endpoint = Listener::from(socket).endpoint();
/// assert_eq!(endpoint, Endpoint::Tcp(address));
/// assert_eq!(endpoint.to_string(), address.to_string());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Endpoint {
    /// An IP address and a port. If port 0 was requested, the port that the kernel chose.
    Tcp(SocketAddr),
    /// The path of a Unix-domain socket; `None` if it has no path.
    Unix(Option<PathBuf>),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(Some(path)) => write!(f, "unix:{}", path.display()),
            Self::Unix(None) => f.write_str("unix:"),
        }
    }
}

fn endpoint(fd: &OwnedFd) -> Endpoint {
    match SockRef::from(fd).local_addr() {
        Ok(address) => match address.as_socket() {
            Some(address) => Endpoint::Tcp(address),
            None => Endpoint::Unix(address.as_pathname().map(Path::to_owned)),
        },
        Err(_) => Endpoint::Unix(None),
    }
}

/// The listening sockets of a server, before its workers start.
pub(crate) struct Sockets {
    pub(crate) endpoints: Vec<Endpoint>,
    /// The descriptors of each worker.
    pub(crate) listening: Vec<Vec<Listening>>,
    pub(crate) file: Option<SocketFile>,
}

/// One worker's descriptor of a listening socket.
pub(crate) struct Listening {
    pub(crate) fd: OwnedFd,
    pub(crate) sharing: Sharing,
}

/// Which other processes accept connections of a listener, when this server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// No other process: the server accepts its backlog before it closes the listener.
    No,
    /// Processes that hold the same socket, and so its backlog.
    Socket,
    /// Processes with sockets of their own for the same port (SO_REUSEPORT): the backlog of this one is lost with it.
    Port,
}

impl Sockets {
    /// Binds the first available address of a name, with a separate socket for each worker.
    pub(crate) fn tcp(
        addresses: impl ToSocketAddrs,
        config: &Config,
        workers: usize,
    ) -> io::Result<Self> {
        let addresses: Vec<SocketAddr> = addresses.to_socket_addrs()?.collect();
        let attempt = || {
            let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
            for &address in &addresses {
                match listen(address, config.backlog, workers, config.share_port) {
                    Ok(fds) => return Ok(fds),
                    Err(error) => failure = named(&address, error),
                }
            }
            Err(failure)
        };
        let fds = while_in_use(config.bind_timeout, attempt)?;
        let endpoints = fds.first().map(endpoint).into_iter().collect();
        let sharing = if config.share_port { Sharing::Port } else { Sharing::No };
        let listening = fds.into_iter().map(|fd| vec![Listening { fd, sharing }]).collect();
        Ok(Self { endpoints, listening, file: None })
    }

    /// Binds a Unix-domain socket, which all workers share.
    pub(crate) fn unix(path: &Path, config: &Config, workers: usize) -> io::Result<Self> {
        // Another file there is not going to go away.
        let may_end = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
        let timeout = if may_end { config.bind_timeout } else { Duration::ZERO };
        let attempt = || {
            let listening = listen_at(path, config.unix_socket_mode, config.backlog);
            listening.map_err(|error| named(&path.display(), error))
        };
        let (fd, file) = while_in_use(timeout, attempt)?;
        let listener = Listener { fd, name: None, shared: false };
        Ok(Self { file: Some(file), ..Self::given([listener], workers)? })
    }

    /// Takes over listening sockets, which all workers share.
    pub(crate) fn given(
        listeners: impl IntoIterator<Item = Listener>,
        workers: usize,
    ) -> io::Result<Self> {
        let mut sockets = Self {
            endpoints: Vec::new(),
            listening: (0..workers).map(|_| Vec::new()).collect(),
            file: None,
        };
        for Listener { fd, shared, .. } in listeners {
            let endpoint = endpoint(&fd);
            let mut sharing = if shared { Sharing::Socket } else { Sharing::No };
            if let Endpoint::Tcp(_) = endpoint {
                // Accepted connections inherit it.
                SockRef::from(&fd).set_tcp_nodelay(true)?;
                if !shared && SockRef::from(&fd).reuse_port()? {
                    sharing = Sharing::Port;
                }
            }
            sockets.endpoints.push(endpoint);
            for listening in &mut sockets.listening {
                listening.push(Listening { fd: fd.try_clone()?, sharing });
            }
        }
        if sockets.endpoints.is_empty() {
            return Err(invalid("nothing to listen on"));
        }
        Ok(sockets)
    }
}

/// An error that says which address or path it is about.
fn named(address: &dyn fmt::Display, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{address}: {error}"))
}

/// Repeats `attempt` while the address is in use, for at most `timeout`; see
/// [`Config::bind_timeout`](crate::Config::bind_timeout).
fn while_in_use<T>(timeout: Duration, attempt: impl Fn() -> io::Result<T>) -> io::Result<T> {
    const FIRST_DELAY: Duration = Duration::from_millis(5);
    const LONGEST_DELAY: Duration = Duration::from_millis(100);
    let started = Instant::now();
    let mut delay = FIRST_DELAY;
    loop {
        let result = attempt();
        let waited = started.elapsed();
        match &result {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && waited < timeout => {
                if delay == FIRST_DELAY {
                    crate::log::warn!(
                        %error,
                        ?timeout,
                        "cannot listen yet: another process has the address, or the kernel still \
                         closes the sockets of one that has ended; trying again"
                    );
                }
            }
            Ok(_) if delay > FIRST_DELAY => {
                crate::log::info!(?waited, "the address has become free");
                return result;
            }
            _ => return result,
        }
        thread::sleep(delay.min(timeout - waited));
        delay = (delay * 2).min(LONGEST_DELAY);
    }
}

/// One listener for each worker, all on the same address. `share_port`: other processes may listen there too.
fn listen(
    address: SocketAddr,
    backlog: u32,
    workers: usize,
    share_port: bool,
) -> io::Result<Vec<OwnedFd>> {
    if workers == 1 {
        return Ok(vec![net::listen(address, backlog, share_port)?.into()]);
    }
    if address.port() != 0 && !share_port {
        // With SO_REUSEPORT a second server could bind the same address without an error: check that it is free.
        net::listen(address, backlog, false)?;
    }
    let first = net::listen(address, backlog, true)?;
    let address = first.local_addr()?;
    let others = (1..workers).map(|_| net::listen(address, backlog, true));
    std::iter::once(Ok(first)).chain(others).map(|listener| Ok(listener?.into())).collect()
}

fn listen_at(path: &Path, mode: Option<u32>, backlog: u32) -> io::Result<(OwnedFd, SocketFile)> {
    let path = std::path::absolute(path)?;
    let address = SockAddr::unix(&path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    match socket.bind(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_abandoned(&path, &address) => {
            fs::remove_file(&path)?;
            socket.bind(&address)?;
        }
        bound => bound?,
    }
    let metadata = fs::symlink_metadata(&path)?;
    let file = SocketFile { device: metadata.dev(), inode: metadata.ino(), path };
    if let Some(mode) = mode {
        // Before a client can connect.
        fs::set_permissions(&file.path, fs::Permissions::from_mode(mode))?;
    }
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok((socket.into(), file))
}

/// Whether the path is a socket whose server has ended without removing it.
fn is_abandoned(path: &Path, address: &SockAddr) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let connect = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // With a full backlog, a blocking connect would wait.
        socket.set_nonblocking(true)?;
        socket.connect(address)
    };
    is_socket && connect().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// The file of a Unix-domain socket. Dropping this removes the file, unless another socket has replaced it.
pub(crate) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = |file: fs::Metadata| (file.dev(), file.ino()) == (self.device, self.inode);
        if fs::symlink_metadata(&self.path).is_ok_and(is_ours)
            && let Err(error) = fs::remove_file(&self.path)
        {
            crate::log::warn!(%error, "the socket file could not be removed");
        }
    }
}

fn invalid(problem: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, problem)
}
