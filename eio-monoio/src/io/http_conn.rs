//! [`HttpConn`]: a buffered HTTP/1.1 connection, of a server or of a client, with deadlines for reads and writes.

use std::any::Any;
use std::future::{Future, poll_fn};
#[cfg(feature = "tls")]
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use eio_core::http::Error as HttpError;

use crate::io::limits::ConnEnv;
use crate::io::permit::ConnectionPermit;
use crate::io::registered_stream::{RecvFailure, RegisteredStream, shrink_rx};
use crate::io::stream::Stream;
use crate::message::OutBuf;
use crate::metrics::{BYTES_SENT, OVER_BUDGET};
use crate::worker::budget::{RecvBytes, RecvStorage};
use crate::worker::context::{Activity, WorkerContext};
use crate::worker::deadline::{Deadline, Limited};
#[cfg(feature = "tls")]
use crate::worker::deadline::{Elapsed, LimitedOrCut};
use crate::worker::pool::SCRATCH;

/// A socket, its received bytes, and the bytes to be sent on it.
pub(crate) struct HttpConn {
    pub(crate) worker: Rc<WorkerContext>,
    pub(crate) rx: RecvBytes,
    pub(crate) out: OutBuf,
    socket: RegisteredStream,
    deadline: Deadline,
}

/// The parts of a connection that has switched to another protocol.
pub(crate) struct Parts {
    pub(crate) socket: RegisteredStream,
    /// Bytes received after the last HTTP message.
    pub(crate) rx: RecvBytes,
    /// Bytes that are not sent yet.
    pub(crate) out: OutBuf,
}

/// Why no input was received.
#[derive(Debug)]
pub(crate) enum RecvError {
    /// The peer closed the connection, or it was lost.
    Closed,
    TimedOut,
    /// The input is not HTTP, or exceeds a limit.
    Bad(HttpError),
    /// The process holds [`memory_budget`](crate::Config::memory_budget) bytes.
    OverBudget,
}

impl From<RecvFailure> for RecvError {
    fn from(failure: RecvFailure) -> Self {
        match failure {
            RecvFailure::Closed => Self::Closed,
            RecvFailure::OverBudget => Self::OverBudget,
        }
    }
}

impl HttpConn {
    /// `permit`: counts a connection of a server against its limit.
    pub(crate) fn new(
        env: Rc<ConnEnv>,
        stream: impl Into<Stream>,
        permit: Option<ConnectionPermit>,
    ) -> Self {
        Self {
            rx: RecvBytes::new(RecvStorage::default()),
            out: OutBuf::default(),
            deadline: Deadline::new(env.worker.clone()),
            worker: env.worker.clone(),
            socket: RegisteredStream::new(env, stream.into(), permit),
        }
    }

    /// Ends HTTP on this connection.
    pub(crate) fn into_parts(mut self) -> Parts {
        // Many connections may be handed over before their new tasks run: none of them keeps an empty buffer until then.
        self.shrink_rx();
        let Self { socket, rx, out, .. } = self;
        Parts { socket, rx, out }
    }

    /// Takes the socket out. All written bytes must be sent; received bytes are discarded.
    pub(crate) fn into_stream(mut self) -> (Stream, Option<ConnectionPermit>) {
        self.release();
        self.socket.into_parts()
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.socket.stream
    }

    /// Keeps a permit of another limit until the connection ends.
    pub(crate) fn hold(&mut self, permit: impl Any + Send + Sync) {
        self.socket.permit = self.socket.permit.take().map(|own| own.with(permit));
    }

    /// Limits the waits from now on: they end after this time.
    pub(crate) fn set_deadline(&self, after: Duration) {
        self.deadline.set(after);
    }

    /// Removes the limit of waits.
    pub(crate) fn clear_deadline(&self) {
        self.deadline.clear();
    }

    /// Runs `future` for at most `time`, then drops it.
    pub(crate) fn limit<F: Future>(&self, time: Duration, future: F) -> Limited<'_, F> {
        self.deadline.set(time);
        self.deadline.limit(future)
    }

    /// Runs `future` to its end, and shuts the socket down after `time` so that it ends.
    #[cfg(feature = "tls")]
    pub(crate) fn limit_or_cut<F: Future>(
        &self,
        time: Duration,
        future: F,
    ) -> LimitedOrCut<'_, F, impl FnOnce()> {
        self.deadline.set(time);
        self.deadline.limit_or_cut(future, || self.socket.stream.shutdown_both())
    }

    /// Performs the TLS handshake, if the connection has TLS, within `timeout`.
    #[cfg(feature = "tls")]
    pub(crate) async fn tls_handshake(&self, timeout: Duration) -> io::Result<()> {
        let Stream::Tls(tls) = &self.socket.stream else { return Ok(()) };
        // A write in progress owns its buffer until the kernel releases it: end the socket, not the future.
        match self.limit_or_cut(timeout, tls.handshake()).await {
            (_, Err(Elapsed)) => Err(io::ErrorKind::TimedOut.into()),
            (result, Ok(())) => result,
        }
    }

    /// Records what the end of the worker means for this connection.
    pub(crate) fn set_activity(&self, activity: Activity) {
        self.socket.set_activity(activity);
    }

    /// Receives at least one byte, until the deadline. Owns no empty buffer while it waits, unless the peer sends
    /// continuously. `wanted`: the number of bytes that are missing.
    pub(crate) async fn receive(&mut self, wanted: usize) -> Result<(), RecvError> {
        let uses_recv_op = self.uses_recv_op();
        // A wait continues until the socket is readable: a socket with a pending wait cannot move to another worker. A
        // socket that was just emptied is not asked before it is readable: mostly there would be nothing.
        let mut waiting = uses_recv_op || self.socket.stream.is_drained();
        if waiting {
            self.shrink_before_wait(uses_recv_op);
        }
        poll_fn(|cx| {
            ready!(self.socket.stream.poll_budget(cx));
            if !waiting {
                if self.try_receive(wanted)? {
                    return Poll::Ready(Ok(()));
                }
                self.shrink_rx();
                waiting = true;
            }
            match self.poll_input(cx, uses_recv_op, wanted) {
                Poll::Pending => self.deadline.poll(cx).map(|()| Err(RecvError::TimedOut)),
                received => received,
            }
        })
        .await
    }

    /// Whether the next bytes are to be received by an operation. To be called once before each wait for input.
    pub(crate) fn uses_recv_op(&self) -> bool {
        self.socket.uses_recv_op(self.rx.is_empty())
    }

    /// Owns no buffer that the wait does not need.
    pub(crate) fn shrink_before_wait(&mut self, uses_recv_op: bool) {
        if !self.socket.wait_needs_rx(uses_recv_op) {
            self.shrink_rx();
        }
    }

    /// Waits for input, without a deadline, and receives at least one byte. A caller that stops polling loses nothing, but
    /// only this function may receive after that.
    pub(crate) fn poll_input(
        &mut self,
        cx: &mut Context<'_>,
        uses_recv_op: bool,
        wanted: usize,
    ) -> Poll<Result<(), RecvError>> {
        loop {
            ready!(self.socket.stream.poll_budget(cx));
            let received = if uses_recv_op {
                let received = ready!(self.socket.poll_recv_op(cx, || &mut self.rx));
                self.socket.take_recv_op(received, &mut self.rx)?
            } else {
                ready!(self.socket.stream.poll_readable(cx)).map_err(|_| RecvError::Closed)?;
                self.socket.try_receive(&mut self.rx, wanted)?
            };
            if received {
                return Poll::Ready(Ok(()));
            }
            self.shrink_rx();
        }
    }

    /// Receives available bytes. Returns false if no bytes are available.
    pub(crate) fn try_receive(&mut self, wanted: usize) -> Result<bool, RecvError> {
        Ok(self.socket.try_receive(&mut self.rx, wanted)?)
    }

    /// Whether an unfinished message may not grow, which is counted.
    pub(crate) fn is_over_budget(&self) -> bool {
        let is_over = self.socket.limits().is_over_budget();
        if is_over {
            self.socket.limits().count(OVER_BUDGET, 1);
        }
        is_over
    }

    /// Returns the receive buffer to the pool, or shrinks it to the size of an incomplete message.
    pub(crate) fn shrink_rx(&mut self) {
        shrink_rx(&self.worker, &mut self.rx);
    }

    /// Discards received bytes and returns all memory to the pool.
    pub(crate) fn release(&mut self) {
        self.rx.clear();
        self.shrink_rx();
        self.worker.pool.give_send(std::mem::take(&mut self.out.0));
    }

    /// The buffer for the next message, in memory of the pool.
    pub(crate) fn out_mut(&mut self) -> &mut OutBuf {
        if self.out.0.capacity() == 0 {
            self.out.0 = self.worker.pool.take_send();
        }
        &mut self.out
    }

    /// Sends all written bytes. If the peer does not accept them within the write timeout, the connection is shut down.
    /// After an error they are still in `out`.
    pub(crate) async fn flush(&mut self) -> Result<(), RecvError> {
        if self.out.0.is_empty() {
            return Ok(());
        }
        // Most messages fit into the send buffer of the socket: they need neither an operation nor a deadline.
        let sent = self.socket.stream.send_now(&self.out.0);
        let out = std::mem::take(&mut self.out.0);
        if sent == out.len() {
            self.socket.limits().count(BYTES_SENT, sent);
            self.worker.pool.give_send(out);
            return Ok(());
        }
        match self.send(out, sent).await {
            Ok(out) => {
                self.worker.pool.give_send(out);
                Ok(())
            }
            Err((error, unsent)) => {
                self.out.0 = unsent;
                Err(error)
            }
        }
    }

    /// Sends `out` after its first `sent` bytes, and returns its memory. It need not be of the pool. Deadline as for
    /// [`flush`](Self::flush).
    pub(crate) fn send(
        &mut self,
        out: Vec<u8>,
        sent: usize,
    ) -> impl Future<Output = Result<Vec<u8>, (RecvError, Vec<u8>)>> + use<'_> {
        // Other connections can use the memory during the write: the pool holds less than all connections that write.
        self.shrink_rx();
        self.deadline.set_millis(self.socket.limits().write_timeout);
        let conn = &*self;
        let stream = &conn.socket.stream;
        let mut sending =
            conn.deadline.limit_or_cut(stream.write_all(out, sent), || stream.shutdown_both());
        poll_fn(move |cx| {
            let (written, _) = ready!(Pin::new(&mut sending).poll(cx));
            conn.socket.limits().count(BYTES_SENT, written.sent);
            Poll::Ready(match written.result {
                Ok(()) => Ok(written.buf),
                Err(_) => Err((RecvError::Closed, written.buf)),
            })
        })
    }

    /// Sends all written bytes, then reads and discards input before it closes (RFC 9112 9.6): unread bytes in the socket
    /// would turn the close into a reset, by which the peer may lose the response.
    pub(crate) async fn close_lingering(&mut self) {
        if self.flush().await.is_err() {
            return;
        }
        self.socket.stream.shutdown_write();
        self.set_deadline(self.socket.begin_linger(LINGER));
        let mut remaining = self.socket.limits().linger;
        loop {
            self.rx.clear();
            if self.receive(SCRATCH).await.is_err() {
                return;
            }
            remaining = remaining.saturating_sub(self.rx.unread().len());
            if remaining == 0 {
                return;
            }
        }
    }
}

/// The time for which input of a refused peer is discarded.
const LINGER: Duration = Duration::from_secs(2);
