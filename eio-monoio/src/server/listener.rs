//! [`Listener`]: where clients come in, made here or by somebody else.

use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use crate::worker::net;

/// A socket that listens already, for [`Server::listen`](crate::Server::listen): one that systemd holds, one that was
/// made before privileges were given up, one that a test or another service in this process made.
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
    /// Somebody else holds it, too, and will see to whom we do not accept.
    shared: bool,
}

impl Listener {
    /// What the service manager passed to this process, by the rules of sd_listen_fds(3): `LISTEN_FDS` sockets from
    /// descriptor 3 on, if `LISTEN_PID` is this process. Empty if there is nothing, and when it is called again. The
    /// environment stays as it is; children have another process id.
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
    /// If `LISTEN_FDS` is not a number, or one of so many descriptors is not a stream socket that listens.
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

    /// What the service manager calls it (`FileDescriptorName=`), if it was [inherited](Self::inherited).
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Where it listens.
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

/// A descriptor from elsewhere; an error if it is not a TCP or Unix-domain stream socket that listens.
impl TryFrom<OwnedFd> for Listener {
    type Error = io::Error;

    fn try_from(fd: OwnedFd) -> io::Result<Self> {
        let socket = SockRef::from(&fd);
        let family = [Domain::IPV4, Domain::IPV6, Domain::UNIX].contains(&socket.domain()?);
        if !family || socket.r#type()? != Type::STREAM || !socket.is_listener()? {
            return Err(invalid("not a stream socket that listens"));
        }
        Ok(Self { fd, name: None, shared: false })
    }
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Endpoint {
    /// An address, with the port the kernel chose if 0 was asked for.
    Tcp(SocketAddr),
    /// A Unix-domain socket; `None` if it has no place in the file system.
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

/// Where a server listens, before its workers run.
pub(crate) struct Sockets {
    pub(crate) endpoints: Vec<Endpoint>,
    /// For each worker.
    pub(crate) listening: Vec<Vec<Listening>>,
    pub(crate) file: Option<SocketFile>,
}

/// One worker's descriptor of a socket that listens.
pub(crate) struct Listening {
    pub(crate) fd: OwnedFd,
    /// Nobody else accepts what waits in it when the server ends.
    pub(crate) drain: bool,
}

impl Sockets {
    /// The first address of a name that can be had, with a socket of its own for each worker.
    pub(crate) fn tcp(
        addresses: impl ToSocketAddrs,
        backlog: u32,
        workers: usize,
    ) -> io::Result<Self> {
        let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses.to_socket_addrs()? {
            match listen(address, backlog, workers) {
                Ok(fds) => {
                    return Ok(Self {
                        endpoints: fds.first().map(endpoint).into_iter().collect(),
                        listening: fds
                            .into_iter()
                            .map(|fd| vec![Listening { fd, drain: true }])
                            .collect(),
                        file: None,
                    });
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// One socket in the file system, which all workers share.
    pub(crate) fn unix(
        path: &Path,
        mode: Option<u32>,
        backlog: u32,
        workers: usize,
    ) -> io::Result<Self> {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let (fd, file) = listen_at(path, mode, backlog).map_err(named)?;
        let listener = Listener { fd, name: None, shared: false };
        Ok(Self { file: Some(file), ..Self::given([listener], workers)? })
    }

    /// Sockets of others, which all workers share.
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
            if let Endpoint::Tcp(_) = endpoint {
                // Every accepted connection inherits it.
                SockRef::from(&fd).set_nodelay(true)?;
            }
            sockets.endpoints.push(endpoint);
            for listening in &mut sockets.listening {
                listening.push(Listening { fd: fd.try_clone()?, drain: !shared });
            }
        }
        if sockets.endpoints.is_empty() {
            return Err(invalid("nothing to listen on"));
        }
        Ok(sockets)
    }
}

/// One listener a worker, all on the same address.
fn listen(address: SocketAddr, backlog: u32, workers: usize) -> io::Result<Vec<OwnedFd>> {
    if workers == 1 {
        return Ok(vec![net::listen(address, backlog, false)?.into()]);
    }
    if address.port() != 0 {
        // SO_REUSEPORT would let a second server take the same address without a word: see that it is free.
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
        // Before anybody can connect.
        fs::set_permissions(&file.path, fs::Permissions::from_mode(mode))?;
    }
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok((socket.into(), file))
}

/// Whether a server that is gone has left its socket behind.
fn is_abandoned(path: &Path, address: &SockAddr) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let connect = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // A server that does not keep up would keep us waiting, too.
        socket.set_nonblocking(true)?;
        socket.connect(address)
    };
    is_socket && connect().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// A socket's place in the file system; removed when dropped, unless somebody else has taken it meanwhile.
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
            tracing::warn!(%error, "a socket is left in the file system");
        }
    }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}
