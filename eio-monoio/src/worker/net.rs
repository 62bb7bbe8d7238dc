//! Sockets, time and tasks of one core: the only module that names the runtime, and the only one with `unsafe`.
//!
//! What the rest of the crate may rely on, and why it is narrow: a pending read or accept operation that is
//! dropped loses data or leaks a descriptor on io_uring. So reading and accepting wait for readiness
//! ([`Socket::poll_readable`]) and then make a system call that does not block. Writing is an operation that
//! owns its buffer ([`Socket::write_all`]). Where a peer sends all the time, reading may be one, too
//! ([`Socket::poll_recv_op`]): it belongs to the stream, so that ceasing to ask loses nothing.
#![allow(unsafe_code)]

use std::cell::{Cell, UnsafeCell};
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::TcpStream;
use monoio::time::TimeDriver;
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};
use pin_project_lite::pin_project;
use socket2::{Domain, Protocol, Type};

use crate::worker::future_pool::{FuturePool, Pooled};
use crate::worker::yield_now;

/// Which kernel interface carries the I/O.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Driver {
    /// io_uring where the kernel, seccomp and the locked-memory limit allow it, else epoll.
    #[default]
    Auto,
    /// io_uring, or an error at start.
    IoUring,
    /// epoll.
    Epoll,
}

impl std::fmt::Display for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::IoUring => "io-uring",
            Self::Epoll => "epoll",
        })
    }
}

impl std::str::FromStr for Driver {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "io-uring" => Ok(Self::IoUring),
            "epoll" => Ok(Self::Epoll),
            _ => Err("expected auto, io-uring or epoll"),
        }
    }
}

/// A runtime, to be built on the thread that runs it: SINGLE_ISSUER binds a ring to its thread.
pub(crate) enum Runtime {
    IoUring(monoio::Runtime<TimeDriver<IoUringDriver>>),
    Epoll(monoio::Runtime<TimeDriver<LegacyDriver>>),
}

impl Runtime {
    /// Tries the ring set-ups in order of preference and keeps the first that holds. The runtime's own
    /// fallback does not cover a locked-memory limit that is only just too small.
    pub(crate) fn build(driver: Driver) -> io::Result<Self> {
        if driver == Driver::Epoll {
            return epoll();
        }
        let wake_owner = io_uring_with(true, 1024).or_else(|_| io_uring_with(false, 256));
        match (driver, wake_owner) {
            (_, Ok(runtime)) => Ok(runtime),
            (Driver::Auto, Err(error)) => {
                tracing::debug!(%error, "io_uring refused, falling back to epoll");
                epoll()
            }
            (_, Err(error)) => {
                let why = "no io_uring; the kernel, seccomp or the locked-memory limit refuses it";
                Err(io::Error::new(error.kind(), format!("{why}: {error}")))
            }
        }
    }

    /// The interface in use, never [`Driver::Auto`].
    pub(crate) fn driver(&self) -> Driver {
        match self {
            Self::IoUring(_) => Driver::IoUring,
            Self::Epoll(_) => Driver::Epoll,
        }
    }

    pub(crate) fn block_on<F: Future>(&mut self, future: F) -> F::Output {
        match self {
            Self::IoUring(runtime) => runtime.block_on(future),
            Self::Epoll(runtime) => runtime.block_on(future),
        }
    }
}

/// COOP_TASKRUN (Linux 5.19) spares an interrupt per completion, about a fifth of the cost of a small echo.
fn io_uring_with(flags: bool, entries: u32) -> io::Result<Runtime> {
    let mut wake_owner = io_uring::IoUring::builder();
    if flags {
        wake_owner.setup_coop_taskrun().setup_single_issuer();
    }
    let builder = RuntimeBuilder::<IoUringDriver>::new();
    let runtime = builder.uring_builder(wake_owner).with_entries(entries).enable_timer().build()?;
    Ok(Runtime::IoUring(runtime))
}

fn epoll() -> io::Result<Runtime> {
    let builder = RuntimeBuilder::<LegacyDriver>::new();
    Ok(Runtime::Epoll(builder.with_entries(1024).enable_timer().build()?))
}

/// Runs `future` as a task of this core.
pub(crate) fn spawn(future: impl Future<Output = ()> + 'static) {
    drop(monoio::spawn(future));
}

/// Completes after `duration`. About 640 bytes while it lives: the timer wheel holds one for a whole core.
pub(crate) fn sleep(duration: Duration) -> impl Future<Output = ()> {
    monoio::time::sleep(duration)
}

/// A connected stream socket, TCP or Unix.
///
/// Reading and writing may overlap; there is one reader and one writer at a time.
pub(crate) struct Socket {
    /// Made when it is waited for first.
    readiness: Cell<Option<Pin<Box<dyn Readiness>>>>,
    /// In a box: most streams never have it.
    recv_op: Cell<Option<Box<RecvOps>>>,
    socket: Rc<SocketState>,
}

/// What became of a write, and its buffer.
pub(crate) type Written = (io::Result<()>, Vec<u8>);

/// Where to, and what.
type ToWrite = (Rc<SocketState>, Vec<u8>);

/// A write operation, until it is done.
pub(crate) type Write = Pooled<ToWrite, Written>;

thread_local! {
    static WRITERS: Rc<FuturePool<ToWrite, Written>> = FuturePool::new(1024);
}

pub(crate) struct SocketState {
    stream: UnsafeCell<TcpStream>,
    /// A write operation is in flight.
    writing: Cell<bool>,
    /// A receive operation is.
    recv_op: Cell<bool>,
    /// Receives, and requests beside, in a row that did not have to wait.
    steps: Cell<u8>,
}

impl SocketState {
    fn get(&self) -> &TcpStream {
        // SAFETY: exclusive references are made in `write_all` and `recv_into` only, and end before those calls await.
        unsafe { &*self.stream.get() }
    }

    /// Only for [`Socket::write_all`], which sees to it that there is one at a time.
    async fn write_all((socket, buf): ToWrite) -> Written {
        // SAFETY: exclusive use is only needed while the operation is submitted; `writing` rules out a
        // second writer, and a reader's shared reference is not used during that call. This is the contract
        // under which the runtime splits a stream into halves of its own.
        let stream = unsafe { &mut *socket.stream.get() };
        let (result, buf) = stream.write_all(buf).await;
        socket.writing.set(false);
        (result.map(|_| ()), buf)
    }

    /// Only for [`RecvOps`], which sees to it that there is one at a time. `buf` comes back no shorter than it was.
    async fn recv_into(self: Rc<Self>, buf: Vec<u8>) -> RecvOutcome {
        let len = buf.len();
        // SAFETY: as in `write_all`, for the one reader.
        let stream = unsafe { &mut *self.stream.get() };
        let (result, mut buf) = stream.read(buf).await;
        // The kernel may fill the whole capacity, and the runtime says by the length how far it came.
        if buf.len() < len {
            // SAFETY: so many bytes were initialised before, and what was received is written over them.
            unsafe { buf.set_len(len) };
        }
        (result, buf)
    }

    fn duplicate(&self) -> io::Result<OwnedFd> {
        // SAFETY: the descriptor is open for as long as `self` lives.
        unsafe { BorrowedFd::borrow_raw(self.get().as_raw_fd()) }.try_clone_to_owned()
    }
}

impl Socket {
    /// Takes over a connected socket.
    pub(crate) fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        // io_uring waits inside an operation only for blocking sockets, epoll must never meet one.
        socket2::SockRef::from(&fd).set_nonblocking(monoio::utils::is_legacy())?;
        Self::adopt(fd)
    }

    /// Connects over TCP. Dropped before it is done, it leaves no descriptor behind.
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::new(TcpStream::connect_addr(address).await?))
    }

    fn adopt(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self::new(TcpStream::from_std(StdStream::from(fd))?))
    }

    fn new(stream: TcpStream) -> Self {
        let socket = Rc::new(SocketState {
            stream: UnsafeCell::new(stream),
            writing: Cell::new(false),
            recv_op: Cell::new(false),
            steps: Cell::new(0),
        });
        Self { readiness: Cell::default(), recv_op: Cell::default(), socket }
    }

    /// Sends small writes at once or not, and has the kernel probe a silent peer after `keepalive`.
    pub(crate) fn set_options(&self, nodelay: bool, keepalive: Option<Duration>) -> io::Result<()> {
        // SAFETY: the descriptor is open for as long as `self` lives.
        let fd = unsafe { BorrowedFd::borrow_raw(self.fd()) };
        let socket = socket2::SockRef::from(&fd);
        socket.set_nodelay(nodelay)?;
        if let Some(time) = keepalive {
            socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(time))?;
        }
        Ok(())
    }

    /// Gives the socket up, to be moved to another core. No write may be in flight.
    pub(crate) fn into_fd(self) -> io::Result<OwnedFd> {
        let readiness = self.readiness.take();
        if readiness.as_ref().is_some_and(|readiness| readiness.is_armed()) {
            // The runtime does not part with a descriptor it waits on; another one for the same socket will do.
            return self.socket.duplicate();
        }
        drop(readiness);
        match Rc::try_unwrap(self.socket) {
            Ok(socket) => {
                let fd = socket.stream.into_inner().into_raw_fd();
                // SAFETY: `into_raw_fd` hands over the only owner of an open descriptor.
                Ok(unsafe { OwnedFd::from_raw_fd(fd) })
            }
            Err(socket) => socket.duplicate(),
        }
    }

    fn fd(&self) -> RawFd {
        self.socket.get().as_raw_fd()
    }

    /// Ready when a receive would not block. What it waits for is kept from call to call: asking again costs
    /// nothing, and ceasing to ask loses nothing.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut readiness = self.readiness.take().unwrap_or_else(|| rearmed(self.socket.clone()));
        let ready = readiness.as_mut().poll(cx);
        self.readiness.set(Some(readiness));
        if ready.is_pending() {
            self.socket.steps.set(0);
        }
        ready
    }

    /// Whether a receive operation is under way. What it receives is to be had by [`poll_recv_op`](Self::poll_recv_op)
    /// only.
    pub(crate) fn has_recv_op(&self) -> bool {
        self.socket.recv_op.get()
    }

    /// Whether there may be one: there are not too many, and operations are of use here.
    pub(crate) fn may_recv_op(&self) -> bool {
        RECV_OPS.get() < MAX_RECV_OPS && !monoio::utils::is_legacy()
    }

    /// Frees what is kept from one operation to the next. One that is under way is seen to its end.
    pub(crate) fn drop_recv_op(&self) {
        if !self.has_recv_op() {
            self.recv_op.take();
        }
    }

    /// Receives by an operation, which is one call to the kernel less than readiness and a receive: `Ok(0)` is the
    /// end of the stream. A `buffer` is asked for when one begins, and waits with it.
    pub(crate) fn poll_recv_op(
        &self,
        cx: &mut Context<'_>,
        buffer: impl FnOnce() -> Vec<u8>,
    ) -> Poll<RecvOutcome> {
        let mut recv_op = self.recv_op.take().unwrap_or_else(|| RecvOps::new(self.socket.clone()));
        self.socket.steps.set(0);
        let fetched = recv_op.poll(cx, buffer);
        self.recv_op.set(Some(recv_op));
        fetched
    }

    /// Counts something that takes its time, beside receives: many requests may come with one.
    pub(crate) fn count_step(&self) {
        let steps = &self.socket.steps;
        steps.set(steps.get().saturating_add(1));
    }

    /// Lets others have their turn if this peer has had a long one. On epoll a socket into which somebody writes
    /// all the time is ready all the time, and its task would never end its turn; worth asking before each
    /// receive in a loop.
    pub(crate) fn poll_budget(&self, cx: &Context<'_>) -> Poll<()> {
        /// After so many steps without a wait others get their turn.
        const MAX_STEPS: u8 = 8;
        if self.socket.steps.get() < MAX_STEPS {
            return Poll::Ready(());
        }
        self.socket.steps.set(0);
        yield_now::park(cx)
    }

    /// Receives what is there: `None` if nothing is, `Some(0)` at the end of the stream.
    pub(crate) fn try_recv(&self, into: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            // SAFETY: the pointer and length are those of a live, exclusively borrowed slice.
            let n = unsafe {
                libc::recv(self.fd(), into.as_mut_ptr().cast(), into.len(), libc::MSG_DONTWAIT)
            };
            if let Ok(n) = usize::try_from(n) {
                self.count_step();
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

    /// Sends what the kernel takes at once: for refusals on sockets nobody waits for.
    pub(crate) fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the pointer and length are those of a live slice.
        let n = unsafe { libc::send(self.fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
        usize::try_from(n).map_err(|_| io::Error::last_os_error())
    }

    /// Sends all of `buf` and gives it back.
    ///
    /// # Panics
    /// If another write is in flight.
    pub(crate) fn write_all(&self, buf: Vec<u8>) -> Write {
        assert!(!self.socket.writing.replace(true), "one write at a time");
        WRITERS.with(|writers| writers.run((self.socket.clone(), buf), SocketState::write_all))
    }

    /// Ends both directions; whatever waits on the socket completes. The descriptor stays open.
    pub(crate) fn shutdown_both(&self) {
        shutdown(self.fd(), libc::SHUT_RDWR);
    }

    /// Tells the peer that nothing more comes.
    pub(crate) fn shutdown_write(&self) {
        shutdown(self.fd(), libc::SHUT_WR);
    }

    /// A handle that can end both directions from elsewhere on this core for as long as the stream lives.
    pub(crate) fn raw(&self) -> RawFd {
        self.fd()
    }
}

/// Waiting for readiness, again and again, in one allocation.
trait Readiness {
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    fn is_armed(&self) -> bool;
}

pin_project! {
    struct Rearmed<M, F> {
        make: M,
        #[pin]
        waiting: Option<F>,
    }
}

fn rearmed(socket: Rc<SocketState>) -> Pin<Box<dyn Readiness>> {
    let make = move || {
        let socket = socket.clone();
        // The strict form on epoll asks poll(2) and clears stale readiness: the runtime never learns that
        // `try_recv` met WouldBlock.
        async move { socket.get().readable(!monoio::utils::is_legacy()).await }
    };
    Box::pin(Rearmed { make, waiting: None })
}

impl<M: Fn() -> F, F: Future<Output = io::Result<()>>> Readiness for Rearmed<M, F> {
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut this = self.project();
        if this.waiting.is_none() {
            this.waiting.set(Some((this.make)()));
        }
        let Some(waiting) = this.waiting.as_mut().as_pin_mut() else { return Poll::Pending };
        let result = waiting.poll(cx);
        if result.is_ready() {
            this.waiting.set(None);
        }
        result
    }

    fn is_armed(&self) -> bool {
        self.waiting.is_some()
    }
}

/// What became of a receive operation, and its buffer.
pub(crate) type RecvOutcome = (io::Result<usize>, Vec<u8>);

/// Receive operations one after the other, in one allocation.
struct RecvOps {
    socket: Rc<SocketState>,
    operations: Pin<Box<dyn Operations>>,
}

/// So many receive operations of a core may wait at a time, each with its buffer, until something comes. A session
/// that has nothing to say has a heartbeat all the same; a WebSocket that is not Engine.IO's may keep its place.
const MAX_RECV_OPS: u16 = 512;

thread_local! {
    /// How many do.
    static RECV_OPS: Cell<u16> = const { Cell::new(0) };
}

impl RecvOps {
    fn new(socket: Rc<SocketState>) -> Box<Self> {
        let receiver = socket.clone();
        let make = move |buf| receiver.clone().recv_into(buf);
        Box::new(Self { socket, operations: Box::pin(Repeated { make, running: None }) })
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        buffer: impl FnOnce() -> Vec<u8>,
    ) -> Poll<RecvOutcome> {
        if !self.socket.recv_op.get() {
            self.operations.as_mut().begin(buffer());
            self.count(true);
        }
        let fetched = ready!(self.operations.as_mut().poll(cx));
        self.count(false);
        Poll::Ready(fetched)
    }

    fn count(&self, waits: bool) {
        let waited = self.socket.recv_op.replace(waits);
        RECV_OPS.set(RECV_OPS.get() - u16::from(waited) + u16::from(waits));
    }
}

impl Drop for RecvOps {
    fn drop(&mut self) {
        self.count(false);
    }
}

trait Operations {
    fn begin(self: Pin<&mut Self>, buf: Vec<u8>);
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<RecvOutcome>;
}

pin_project! {
    struct Repeated<M, F> {
        make: M,
        #[pin]
        running: Option<F>,
    }
}

impl<M: Fn(Vec<u8>) -> F, F: Future<Output = RecvOutcome>> Operations for Repeated<M, F> {
    fn begin(self: Pin<&mut Self>, buf: Vec<u8>) {
        let mut this = self.project();
        this.running.set(Some((this.make)(buf)));
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<RecvOutcome> {
        let mut this = self.project();
        let Some(running) = this.running.as_mut().as_pin_mut() else { return Poll::Pending };
        let fetched = ready!(running.poll(cx));
        this.running.set(None);
        Poll::Ready(fetched)
    }
}

/// Frees what this core keeps for writes, and has the allocator give back what it does not use, all of it: also what
/// lies between what is used.
pub(crate) fn trim() {
    WRITERS.with(|writers| writers.empty());
    // SAFETY: takes no pointer, and moves nothing that is in use.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Ends both directions of the socket `fd`; an error means that it is closed already.
pub(crate) fn abort(fd: RawFd) {
    shutdown(fd, libc::SHUT_RDWR);
}

fn shutdown(fd: RawFd, how: libc::c_int) {
    // SAFETY: takes no pointer; a descriptor that is not a connected socket makes it fail, nothing else.
    unsafe { libc::shutdown(fd, how) };
}

/// A listening socket.
pub(crate) struct Listener {
    /// The runtime's stream type is used for its readiness only; see the module.
    stream: Socket,
}

impl Listener {
    pub(crate) fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        // Always non-blocking: only readiness goes through the runtime, accept4 is our own call.
        socket2::SockRef::from(&fd).set_nonblocking(true)?;
        Ok(Self { stream: Socket::adopt(fd)? })
    }

    /// Ready when a connection is there to be taken.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_readable(cx)
    }

    /// Takes one waiting connection, if there is one.
    pub(crate) fn try_accept(&self) -> io::Result<Option<(Socket, Option<SocketAddr>)>> {
        let mut flags = libc::SOCK_CLOEXEC;
        if monoio::utils::is_legacy() {
            flags |= libc::SOCK_NONBLOCK;
        }
        let accept = |storage: *mut libc::sockaddr_storage, len: *mut libc::socklen_t| {
            // SAFETY: socket2 lends storage and its length for the duration of the call.
            let fd = unsafe { libc::accept4(self.stream.fd(), storage.cast(), len, flags) };
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: accept4 returned a new descriptor that nothing else owns.
            Ok(unsafe { OwnedFd::from_raw_fd(fd) })
        };
        // SAFETY: on success accept4 has written an address of the length it stored.
        match unsafe { socket2::SockAddr::try_init(accept) } {
            Ok((fd, address)) => Ok(Some((Socket::adopt(fd)?, address.as_socket()))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Binds and listens; the options are inherited by every accepted connection, which saves a call for each.
pub(crate) fn listen(address: SocketAddr, backlog: u32, shared: bool) -> io::Result<StdListener> {
    let socket =
        socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// The first `count` descriptors behind standard error, which whoever started this process has left to it. To be
/// called once. An error if one of them is not open; then none is taken.
pub(crate) fn inherited(count: u16) -> io::Result<Vec<OwnedFd>> {
    // sd_listen_fds(3): SD_LISTEN_FDS_START.
    let fds = 3..3 + RawFd::from(count);
    for fd in fds.clone() {
        // SAFETY: takes no pointer; a descriptor that is not open makes it fail, nothing else.
        if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: they are open, and by the caller's word nothing else of this process owns them.
    Ok(fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect())
}

/// The most descriptors this process may have open, after raising the soft limit to the hard one.
pub(crate) fn descriptor_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a pointer to a live rlimit.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return 1024;
        }
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raised) == 0 {
            raised.rlim_cur
        } else {
            limit.rlim_cur
        }
    }
}

/// Whether a signal does what the kernel has it do by default.
pub(crate) fn is_default(signal: libc::c_int) -> io::Result<bool> {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a null action changes nothing, and the old one is written to memory that lives.
    if unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it has written the action.
    Ok(unsafe { action.assume_init() }.sa_sigaction == libc::SIG_DFL)
}
