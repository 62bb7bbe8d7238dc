//! [`RecvOps`]: receive operations of a socket, one at a time, in one allocation.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::shared::{Received, SharedStream};

/// The most receive operations of a worker that may be in flight. Each holds its buffer until bytes arrive. A session
/// without messages still has its heartbeat, and an HTTP connection its idle timeout; a raw WebSocket may hold its
/// operation indefinitely.
const MAX_IN_FLIGHT: u16 = 512;

thread_local! {
    static IN_FLIGHT: Cell<u16> = const { Cell::new(0) };
}

/// Whether an operation may begin: the worker has fewer than [`MAX_IN_FLIGHT`], and the driver is io_uring, where one
/// saves a system call.
pub(super) fn may_begin() -> bool {
    IN_FLIGHT.get() < MAX_IN_FLIGHT && !monoio::utils::is_legacy()
}

pub(super) struct RecvOps {
    shared: Rc<SharedStream>,
    operation: Pin<Box<dyn Operation>>,
}

impl RecvOps {
    pub(super) fn new(shared: Rc<SharedStream>) -> Box<Self> {
        let receiver = shared.clone();
        let make = move |buf| receiver.clone().recv_into(buf);
        Box::new(Self { shared, operation: Box::pin(Repeated { make, running: None }) })
    }

    /// Polls the operation in flight, or begins one with `buffer`.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        buffer: impl FnOnce() -> Vec<u8>,
    ) -> Poll<Received> {
        if !self.shared.receiving.get() {
            self.operation.as_mut().begin(buffer());
            self.set_in_flight(true);
        }
        let received = ready!(self.operation.as_mut().poll(cx));
        self.set_in_flight(false);
        Poll::Ready(received)
    }

    fn set_in_flight(&self, now: bool) {
        let before = self.shared.receiving.replace(now);
        IN_FLIGHT.set(IN_FLIGHT.get() - u16::from(before) + u16::from(now));
    }
}

impl Drop for RecvOps {
    fn drop(&mut self) {
        // The runtime still refers to the descriptor.
        let cancelled = self.shared.receiving.get();
        self.set_in_flight(false);
        self.shared.receiving.set(cancelled);
    }
}

trait Operation {
    fn begin(self: Pin<&mut Self>, buf: Vec<u8>);
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Received>;
}

pin_project! {
    struct Repeated<M, F> {
        make: M,
        #[pin]
        running: Option<F>,
    }
}

impl<M: Fn(Vec<u8>) -> F, F: Future<Output = Received>> Operation for Repeated<M, F> {
    fn begin(self: Pin<&mut Self>, buf: Vec<u8>) {
        let mut this = self.project();
        this.running.set(Some((this.make)(buf)));
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Received> {
        let mut this = self.project();
        let Some(running) = this.running.as_mut().as_pin_mut() else { return Poll::Pending };
        let received = ready!(running.poll(cx));
        this.running.set(None);
        Poll::Ready(received)
    }
}
