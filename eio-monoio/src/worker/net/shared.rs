//! [`SharedStream`]: the runtime's stream, shared by a socket and its operations in flight.

use std::cell::{Cell, UnsafeCell};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use monoio::buf::IoBuf;
use monoio::io::{AsyncReadRent, AsyncWriteRent};
use monoio::net::UnixStream;

/// The outcome of a write.
pub(crate) struct Written {
    pub(crate) result: io::Result<()>,
    /// How many bytes of the buffer the kernel has accepted, those before the write included.
    pub(crate) sent: usize,
    pub(crate) buf: Vec<u8>,
}

/// The outcome of a receive operation, and its buffer.
pub(crate) type Received = (io::Result<usize>, Vec<u8>);

/// A stream with at most one write and one receive operation in flight.
pub(crate) struct SharedStream {
    /// Also for TCP: the runtime submits the same operations for both, and its type for TCP has room for two addresses,
    /// 72 bytes of every connection.
    ///
    /// Taken once, by `drop` or `into_fd`.
    stream: ManuallyDrop<UnsafeCell<UnixStream>>,
    /// Its descriptor, here to be read without a look at the stream's own memory.
    fd: RawFd,
    /// A write operation is in flight.
    pub(super) writing: Cell<bool>,
    /// A receive operation is in flight.
    pub(super) receiving: Cell<bool>,
    /// A wait for readiness is in flight.
    pub(super) waiting: Cell<bool>,
    /// The last receive returned fewer bytes than it had room for.
    pub(super) drained: Cell<bool>,
    /// Receives, and the requests counted with them, since the last wait.
    pub(super) steps: Cell<u8>,
}

impl SharedStream {
    pub(super) fn new(stream: UnixStream) -> Rc<Self> {
        let fd = stream.as_raw_fd();
        Rc::new(Self {
            stream: ManuallyDrop::new(UnsafeCell::new(stream)),
            fd,
            writing: Cell::new(false),
            receiving: Cell::new(false),
            waiting: Cell::new(false),
            drained: Cell::new(false),
            steps: Cell::new(0),
        })
    }

    pub(super) fn get(&self) -> &UnixStream {
        // SAFETY: exclusive references are made in `write_all` and `recv_into` only, and end before those calls await.
        unsafe { &*self.stream.get() }
    }

    pub(super) fn fd(&self) -> RawFd {
        self.fd
    }

    pub(super) fn borrow_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open for as long as `self` lives.
        unsafe { BorrowedFd::borrow_raw(self.fd()) }
    }

    /// Whether the runtime refers to the descriptor. It then closes the descriptor itself, after the operation, which is
    /// cancelled if nothing awaits it any more.
    fn is_held(&self) -> bool {
        self.writing.get() || self.receiving.get() || self.waiting.get()
    }

    /// Takes the descriptor from the runtime, or returns a duplicate if the runtime still refers to it.
    pub(super) fn into_fd(self: Rc<Self>) -> io::Result<OwnedFd> {
        match Rc::try_unwrap(self) {
            Ok(shared) if !shared.is_held() => {
                let mut shared = ManuallyDrop::new(shared);
                // SAFETY: `shared` is not used again, and is not dropped.
                let stream = unsafe { ManuallyDrop::take(&mut shared.stream) };
                Ok(released(stream.into_inner()))
            }
            Ok(shared) => shared.duplicate(),
            Err(shared) => shared.duplicate(),
        }
    }

    /// A second descriptor of the same socket.
    pub(super) fn duplicate(&self) -> io::Result<OwnedFd> {
        self.borrow_fd().try_clone_to_owned()
    }

    /// Sends all of the buffer after its first `sent` bytes. Only for [`Socket::write_all`](super::Socket::write_all),
    /// which ensures that there is one write at a time.
    pub(super) async fn write_all(
        (shared, mut buf, mut sent): (Rc<Self>, Vec<u8>, usize),
    ) -> Written {
        // SAFETY: exclusive use is only needed while the operation is submitted; `writing` rules out a
        // second writer, and a reader's shared reference is not used during that call. This is the contract
        // under which the runtime splits a stream into its own halves.
        let stream = unsafe { &mut *shared.stream.get() };
        let mut result = Ok(());
        while result.is_ok() && sent < buf.len() {
            let (written, rest) = stream.write(buf.slice(sent..)).await;
            buf = rest.into_inner();
            match written {
                Ok(0) => result = Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => sent += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => result = Err(error),
            }
        }
        shared.writing.set(false);
        Written { result, sent, buf }
    }

    /// Receives into `buf`, which is returned at least as long as it was. Only for
    /// [`RecvOps`](super::recv_op::RecvOps), which ensures that there is one receive at a time.
    pub(super) async fn recv_into(self: Rc<Self>, buf: Vec<u8>) -> Received {
        let len = buf.len();
        // SAFETY: as in `write_all`, for the only reader.
        let stream = unsafe { &mut *self.stream.get() };
        let (result, mut buf) = stream.read(buf).await;
        // The kernel may fill the whole capacity; the runtime sets the length to the number of bytes received.
        if buf.len() < len {
            // SAFETY: `len` bytes were initialised before, and received bytes overwrite some of them.
            unsafe { buf.set_len(len) };
        }
        (result, buf)
    }
}

impl Drop for SharedStream {
    /// Closes the descriptor with `close(2)`. The runtime's own way on io_uring is a close operation that no task awaits, and
    /// its cancellation: two requests to the kernel for each connection.
    fn drop(&mut self) {
        let is_held = self.is_held();
        // SAFETY: `self` is not used again.
        let stream = unsafe { ManuallyDrop::take(&mut self.stream) }.into_inner();
        if !is_held {
            drop(released(stream));
        }
    }
}

/// The descriptor of a stream to which no operation refers.
fn released(stream: UnixStream) -> OwnedFd {
    // SAFETY: `into_raw_fd` hands over the only owner of an open descriptor.
    unsafe { OwnedFd::from_raw_fd(stream.into_raw_fd()) }
}
