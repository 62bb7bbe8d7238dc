//! [`Listener`]: a listening socket, bound here or inherited, and the connections that it [accepts](Accepted).

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::task::{Context, Poll};

use socket2::{Domain, Protocol, Type};

use super::socket::{self, Socket};
use super::sys;

/// A listening socket.
pub(crate) struct Listener {
    /// The runtime's stream type, used for its readiness only: a pending accept operation that is dropped leaks a
    /// descriptor.
    socket: Socket,
}

impl Listener {
    pub(crate) fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        // Always non-blocking: only readiness goes through the runtime, accept4 is called directly.
        socket2::SockRef::from(&fd).set_nonblocking(true)?;
        Ok(Self { socket: Socket::adopt(fd)? })
    }

    /// Ready when a connection can be accepted.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_readable(cx)
    }

    /// From now on no connection attempt arrives here: the kernel drops each SYN, and the client repeats it, by then to a
    /// listener of another process. Connections whose handshake is in progress still arrive.
    pub(crate) fn drop_attempts(&self) -> io::Result<()> {
        use socket2::SockFilter;
        // The flags of the TCP header, where the filter's input begins (linux/filter.h).
        let load_flags = SockFilter::new(0x30, 0, 0, 13);
        let syn_and_ack = SockFilter::new(0x54, 0, 0, 0x12);
        let is_syn = SockFilter::new(0x15, 0, 1, 0x02);
        let (drop, keep) = (SockFilter::new(0x06, 0, 0, 0), SockFilter::new(0x06, 0, 0, u32::MAX));
        self.socket.attach_filter(&[load_flags, syn_and_ack, is_syn, drop, keep])
    }

    /// The value of `TCP_DEFER_ACCEPT` (tcp(7)); an error if it is not a TCP socket.
    pub(crate) fn defer_accept(&self) -> io::Result<i32> {
        let (mut seconds, mut len) = (0, size_of::<i32>() as libc::socklen_t);
        let value = (&raw mut seconds).cast();
        let (level, option) = (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT);
        // SAFETY: the kernel writes at most `len` bytes, which is the size of the live integer.
        let result = unsafe { libc::getsockopt(self.socket.raw(), level, option, value, &mut len) };
        if result == 0 { Ok(seconds) } else { Err(io::Error::last_os_error()) }
    }

    /// With a positive number, the kernel hands a connection over with its first bytes, or without any when it repeats
    /// its SYN-ACK after that time. With 0, at once. Concerns connections whose handshake ends later.
    pub(crate) fn set_defer_accept(&self, seconds: i32) -> io::Result<()> {
        let (value, len) = ((&raw const seconds).cast(), size_of::<i32>() as libc::socklen_t);
        let (level, option) = (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT);
        // SAFETY: the kernel reads `len` bytes, which is the size of the live integer.
        let result = unsafe { libc::setsockopt(self.socket.raw(), level, option, value, len) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Accepts one connection; `None` if the backlog is empty.
    pub(crate) fn try_accept(&self) -> io::Result<Option<Accepted>> {
        let mut flags = libc::SOCK_CLOEXEC;
        if monoio::utils::is_legacy() {
            flags |= libc::SOCK_NONBLOCK;
        }
        let accept = |storage: *mut socket2::SockAddrStorage, len: *mut libc::socklen_t| {
            // SAFETY: socket2 lends storage and its length for the duration of the call.
            let fd = unsafe { sys::accept(self.socket.raw(), storage.cast(), len, flags) };
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: accept4 returned a new descriptor that nothing else owns.
            Ok(unsafe { OwnedFd::from_raw_fd(fd) })
        };
        // SAFETY: on success accept4 has written an address of the length it stored.
        match unsafe { socket2::SockAddr::try_init(accept) } {
            Ok((fd, address)) => {
                Ok(Some(Accepted { fd, peer: address.as_socket().map(canonical) }))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A connection that the runtime does not know yet, so that refusing it costs no allocation and no registration.
/// Dropping it closes it at once, so that a batch of refused connections takes one descriptor of the reserve.
pub(crate) struct Accepted {
    fd: OwnedFd,
    /// `None` for a Unix-domain socket.
    pub(crate) peer: Option<SocketAddr>,
}

impl Accepted {
    pub(crate) fn into_socket(self) -> io::Result<Socket> {
        Socket::adopt(self.fd)
    }

    /// Sends a response without waiting for the request, and closes the connection.
    pub(crate) fn refuse(self, response: &[u8]) {
        // Closing with unread input sends a reset, which may discard the response.
        let _ = socket::recv(self.fd.as_raw_fd(), &mut [0; 4096]);
        let _ = socket::send(self.fd.as_raw_fd(), response, 0);
    }
}

/// A listener on `[::]` gives IPv4 peers as `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2): these become IPv4 addresses.
fn canonical(peer: SocketAddr) -> SocketAddr {
    match peer.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, peer.port()),
        // With its scope.
        IpAddr::V6(_) => peer,
    }
}

/// Binds and listens. Accepted connections inherit the socket options, which saves a call for each. `shared`: the
/// sockets of all workers have the same address (SO_REUSEPORT).
pub(crate) fn listen(address: SocketAddr, backlog: u32, shared: bool) -> io::Result<StdListener> {
    let socket =
        socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// The first `count` descriptors after standard error, which the parent process left open for this one. May be called
/// once only. If one of them is not open, returns an error and takes none.
pub(crate) fn inherited(count: u16) -> io::Result<Vec<OwnedFd>> {
    // sd_listen_fds(3): SD_LISTEN_FDS_START.
    let fds = 3..3 + RawFd::from(count);
    for fd in fds.clone() {
        // SAFETY: takes no pointer; a descriptor that is not open makes it fail, nothing else.
        if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: they are open, and the caller ensures that nothing else in this process owns them.
    Ok(fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect())
}
