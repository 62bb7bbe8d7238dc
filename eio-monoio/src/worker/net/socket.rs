//! [`Socket`]: a connected stream socket, TCP or Unix-domain.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use monoio::net::{TcpStream, UnixStream};

pub(crate) use super::shared::{Received, Written};

use super::readiness::{Readiness, readable};
use super::recv_op::{self, RecvOps};
use super::shared::SharedStream;
use super::sys;
use crate::worker::future_pool::{FuturePool, Pooled};
use crate::worker::yield_now;

/// Receives, and requests counted with them, before the socket's task yields.
const MAX_STEPS: u8 = 8;

/// The most idle write futures that a worker keeps.
const MAX_IDLE_WRITES: usize = 1024;

type WriteInput = (Rc<SharedStream>, Vec<u8>, usize);

/// A write operation, until it completes.
pub(crate) type Write = Pooled<WriteInput, Written>;

thread_local! {
    static WRITES: Rc<FuturePool<WriteInput, Written>> = FuturePool::new(MAX_IDLE_WRITES);
}

/// Frees the idle write futures of this worker.
pub(super) fn clear_write_pool() {
    WRITES.with(|writes| writes.clear());
}

/// A connected stream socket.
///
/// Reading and writing may overlap; there is one reader and one writer at a time.
pub(crate) struct Socket {
    /// Made by the first wait.
    readiness: Cell<Option<Pin<Box<dyn Readiness>>>>,
    /// In a box: most sockets never have it.
    recv_ops: Cell<Option<Box<RecvOps>>>,
    shared: Rc<SharedStream>,
}

/// Making, configuring and detaching.
impl Socket {
    /// Takes over a connected socket.
    pub(crate) fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        // io_uring waits within an operation only for blocking sockets; epoll requires non-blocking ones.
        socket2::SockRef::from(&fd).set_nonblocking(monoio::utils::is_legacy())?;
        Self::adopt(fd)
    }

    /// Connects over TCP. If the future is dropped before it completes, the descriptor is closed.
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let connected = TcpStream::connect_addr(address).await?.into_raw_fd();
        // SAFETY: `into_raw_fd` hands over the only owner of an open descriptor.
        Self::adopt(unsafe { OwnedFd::from_raw_fd(connected) })
    }

    /// Takes over a socket whose blocking mode is right already.
    pub(super) fn adopt(fd: OwnedFd) -> io::Result<Self> {
        let shared = SharedStream::new(UnixStream::from_std(fd.into())?);
        Ok(Self { readiness: Cell::default(), recv_ops: Cell::default(), shared })
    }

    /// Sets TCP_NODELAY and, with a `keepalive`, the idle time before the kernel probes the peer.
    pub(crate) fn set_options(&self, nodelay: bool, keepalive: Option<Duration>) -> io::Result<()> {
        let fd = self.shared.borrow_fd();
        let socket = socket2::SockRef::from(&fd);
        socket.set_tcp_nodelay(nodelay)?;
        if let Some(time) = keepalive {
            socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(time))?;
        }
        Ok(())
    }

    /// The address that it is connected to.
    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        let address = socket2::SockRef::from(&self.shared.borrow_fd()).peer_addr()?;
        address.as_socket().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    /// Limits the bytes that the kernel holds for sending (`SO_SNDBUF`).
    pub(crate) fn set_send_buffer_size(&self, bytes: usize) -> io::Result<()> {
        socket2::SockRef::from(&self.shared.borrow_fd()).set_send_buffer_size(bytes)
    }

    /// Lets a filter (`SO_ATTACH_FILTER`) decide which packets the kernel accepts.
    pub(super) fn attach_filter(&self, filter: &[socket2::SockFilter]) -> io::Result<()> {
        socket2::SockRef::from(&self.shared.borrow_fd()).attach_filter(filter)
    }

    /// Detaches the descriptor, to move it to another worker. No write may be in flight.
    pub(crate) fn into_fd(self) -> io::Result<OwnedFd> {
        let Self { readiness, recv_ops, shared } = self;
        drop((readiness, recv_ops));
        shared.into_fd()
    }

    /// The descriptor. It is valid on this worker for as long as the socket lives.
    pub(crate) fn raw(&self) -> RawFd {
        self.shared.fd()
    }
}

/// Receiving by readiness.
impl Socket {
    /// Ready when a receive would not block. The wait is kept between calls: polling again costs nothing, and a caller
    /// that stops polling loses nothing.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut readiness = self.readiness.take().unwrap_or_else(readable);
        let ready = readiness.as_mut().poll(cx, &self.shared);
        self.readiness.set(Some(readiness));
        if ready.is_pending() {
            self.shared.steps.set(0);
        }
        ready
    }

    /// Receives available bytes: `None` if a receive would block, `Some(0)` at the end of the stream.
    pub(crate) fn try_recv(&self, into: &mut [u8]) -> io::Result<Option<usize>> {
        let received = recv(self.raw(), into)?;
        if received.is_some() {
            self.count_step();
        }
        self.shared.drained.set(received.is_none_or(|n| n < into.len()));
        Ok(received)
    }

    /// Whether the last receive found less than it had room for: the next one would block, unless bytes have arrived since
    /// then, and then [`poll_readable`](Self::poll_readable) is ready at once.
    pub(crate) fn is_drained(&self) -> bool {
        self.shared.drained.get()
    }

    /// Counts a step besides a receive: one receive may bring many requests.
    pub(crate) fn count_step(&self) {
        let steps = &self.shared.steps;
        steps.set(steps.get().saturating_add(1));
    }

    /// Yields to other tasks after [`MAX_STEPS`] steps without a wait; to be called before each receive in a loop. On
    /// epoll, a socket whose peer writes continuously is always ready, so its task would never yield.
    pub(crate) fn poll_budget(&self, cx: &Context<'_>) -> Poll<()> {
        if self.shared.steps.get() < MAX_STEPS {
            return Poll::Ready(());
        }
        self.shared.steps.set(0);
        yield_now::park(cx)
    }
}

/// Receiving by operation.
impl Socket {
    /// Whether a receive operation is in flight. Only [`poll_recv_op`](Self::poll_recv_op) returns the bytes that it
    /// receives.
    pub(crate) fn has_recv_op(&self) -> bool {
        self.shared.receiving.get()
    }

    /// Whether a receive operation may begin: the driver is io_uring, the worker has fewer than the limit, and no wait for
    /// readiness is in flight.
    pub(crate) fn may_recv_op(&self) -> bool {
        !self.shared.waiting.get() && recv_op::may_begin()
    }

    /// Frees the memory kept between operations. An operation in flight is not affected.
    pub(crate) fn drop_recv_op(&self) {
        if !self.has_recv_op() {
            self.recv_ops.take();
        }
    }

    /// Receives by an operation, which saves one system call over readiness and a receive. `Ok(0)` is the end of the
    /// stream. `buffer` is called when an operation begins, which then owns the buffer until it completes.
    pub(crate) fn poll_recv_op(
        &self,
        cx: &mut Context<'_>,
        buffer: impl FnOnce() -> Vec<u8>,
    ) -> Poll<Received> {
        let mut recv_ops =
            self.recv_ops.take().unwrap_or_else(|| RecvOps::new(self.shared.clone()));
        self.shared.steps.set(0);
        let received = recv_ops.poll(cx, buffer);
        self.recv_ops.set(Some(recv_ops));
        received
    }
}

/// Sending and shutting down.
impl Socket {
    /// Sends as many bytes as the kernel accepts without blocking.
    pub(crate) fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        send(self.raw(), bytes, 0)
    }

    /// Sends the last bytes as [`try_send`](Self::try_send) does, and shuts down the sending direction if the kernel accepts
    /// all of them: they leave in the segment of the FIN (`MSG_MORE`). Otherwise the rest must follow.
    pub(crate) fn try_send_last(&self, bytes: &[u8]) -> io::Result<usize> {
        let sent = send(self.raw(), bytes, libc::MSG_MORE)?;
        if sent == bytes.len() {
            self.shutdown_write();
        }
        Ok(sent)
    }

    /// Sends all of `buf` after its first `sent` bytes, and returns it.
    ///
    /// # Panics
    /// If another write is in flight.
    pub(crate) fn write_all(&self, buf: Vec<u8>, sent: usize) -> Write {
        assert!(!self.shared.writing.replace(true), "one write at a time");
        let input = (self.shared.clone(), buf, sent);
        WRITES.with(|writes| writes.run(input, SharedStream::write_all))
    }

    /// Shuts down both directions, which completes every operation in flight. The descriptor stays open.
    pub(crate) fn shutdown_both(&self) {
        sys::shutdown(self.raw(), libc::SHUT_RDWR);
    }

    /// Shuts down the sending direction: the peer receives the end of the stream.
    pub(crate) fn shutdown_write(&self) {
        sys::shutdown(self.raw(), libc::SHUT_WR);
    }
}

/// Receives available bytes; see [`Socket::try_recv`].
#[inline]
pub(super) fn recv(fd: RawFd, into: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        if let Ok(n) = usize::try_from(sys::recv(fd, into, libc::MSG_DONTWAIT)) {
            return Ok(Some(n));
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::WouldBlock => return Ok(None),
            io::ErrorKind::Interrupted => {}
            _ => return Err(error),
        }
    }
}

/// Sends as many bytes as the kernel accepts; see [`Socket::try_send`].
#[inline]
pub(super) fn send(fd: RawFd, bytes: &[u8], flags: libc::c_int) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | flags;
    usize::try_from(sys::send(fd, bytes, flags)).map_err(|_| io::Error::last_os_error())
}
