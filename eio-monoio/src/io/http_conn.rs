//! [`HttpConn`]: a connection at either end, before it means anything. Receives, sends and waits.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use eio_core::buffer::RecvBuffer;
use eio_core::http::Error as HttpError;

use crate::io::limits::Limits;
use crate::io::permit::ConnectionPermit;
use crate::io::stream::Stream;
use crate::message::OutBuf;
use crate::metrics::{BYTES_RECEIVED, BYTES_SENT};
use crate::worker::context::{ConnectionId, WorkerContext};
#[cfg(feature = "tls")]
use crate::worker::deadline::LimitedOrCut;
use crate::worker::deadline::{Deadline, Limited};
use crate::worker::pool::SCRATCH;

/// A socket, what came on it and what is to be sent on it.
pub(crate) struct HttpConn {
    pub(crate) worker: Rc<WorkerContext>,
    pub(crate) rx: RecvBuffer<Vec<u8>>,
    pub(crate) out: OutBuf,
    limits: Rc<Limits>,
    socket: RegisteredStream,
    deadline: Deadline,
}

/// A line that is not HTTP any more.
pub(crate) struct Parts {
    pub(crate) socket: RegisteredStream,
    /// Bytes received behind what ended HTTP.
    pub(crate) rx: RecvBuffer<Vec<u8>>,
    /// Written and not sent yet.
    pub(crate) out: OutBuf,
    pub(crate) deadline: Deadline,
    pub(crate) limits: Rc<Limits>,
}

/// Why waiting for input ended without any.
#[derive(Debug)]
pub(crate) enum RecvError {
    /// The peer closed, or the connection broke.
    Closed,
    TimedOut,
    /// What came is not HTTP, or more than is allowed.
    Bad(HttpError),
}

impl HttpConn {
    /// `permit`: a server's leave to have one more connection.
    pub(crate) fn new(
        worker: Rc<WorkerContext>,
        stream: impl Into<Stream>,
        limits: Rc<Limits>,
        permit: Option<ConnectionPermit>,
    ) -> Self {
        Self {
            rx: RecvBuffer::new(Vec::new()),
            out: OutBuf::default(),
            limits,
            deadline: Deadline::new(worker.clone()),
            socket: RegisteredStream::new(worker.clone(), stream.into(), permit),
            worker,
        }
    }

    /// Splits the line into what a WebSocket needs.
    pub(crate) fn into_parts(mut self) -> Parts {
        // Many handshakes of one turn wait for their new tasks: none of them needs an empty buffer for that.
        self.shrink_rx();
        let Self { socket, rx, out, deadline, limits, .. } = self;
        Parts { socket, rx, out, deadline, limits }
    }

    /// Gives the socket up. Nothing must wait to be sent, and what was received is forgotten.
    pub(crate) fn into_stream(mut self) -> (Stream, Option<ConnectionPermit>) {
        self.release();
        self.socket.into_parts()
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.socket.stream
    }

    /// Until when the next wait may last.
    pub(crate) fn set_deadline(&self, after: Duration) {
        self.deadline.set(after);
    }

    /// From here on a wait may last.
    pub(crate) fn clear_deadline(&self) {
        self.deadline.clear();
    }

    /// Runs `future` for at most `time`, and drops it then.
    pub(crate) fn limit<F: Future>(&self, time: Duration, future: F) -> Limited<'_, F> {
        self.deadline.set(time);
        self.deadline.limit(future)
    }

    /// Runs `future` to its end, and shuts the socket down after `time` to bring that about.
    #[cfg(feature = "tls")]
    pub(crate) fn limit_or_cut<F: Future>(
        &self,
        time: Duration,
        future: F,
    ) -> LimitedOrCut<'_, F, impl FnOnce()> {
        self.deadline.set(time);
        self.deadline.limit_or_cut(future, || self.socket.stream.shutdown_both())
    }

    /// Says whether closing the connection now would lose nothing.
    pub(crate) fn set_idle(&self, idle: bool) {
        self.worker.set_connection_idle(self.socket.entry.id, idle);
    }

    /// Receives something: at once if it is there, else waits for it until the deadline, owning no buffer
    /// that is empty. `wanted`: how much is still announced.
    pub(crate) async fn receive(&mut self, wanted: usize) -> Result<(), RecvError> {
        // A wait that has begun is seen to its end: a socket that is waited on cannot change its core.
        let mut waiting = false;
        poll_fn(|cx| {
            ready!(self.socket.stream.poll_budget(cx));
            loop {
                if !waiting {
                    if self.try_receive(wanted)? {
                        return Poll::Ready(Ok(()));
                    }
                    self.shrink_rx();
                    waiting = true;
                }
                if self.socket.stream.poll_readable(cx).map_err(|_| RecvError::Closed)?.is_pending()
                {
                    return self.deadline.poll(cx).map(|()| Err(RecvError::TimedOut));
                }
                waiting = false;
            }
        })
        .await
    }

    /// Receives what is there. False if nothing is.
    pub(crate) fn try_receive(&mut self, wanted: usize) -> Result<bool, RecvError> {
        let wanted = make_room(&self.worker, &mut self.rx, wanted);
        match self.socket.stream.try_recv(self.rx.spare_mut(wanted)) {
            Ok(Some(0)) | Err(_) => Err(RecvError::Closed),
            Ok(Some(n)) => {
                self.limits.count(BYTES_RECEIVED, n);
                self.rx.fill(n);
                Ok(true)
            }
            Ok(None) => Ok(false),
        }
    }

    /// Gives receive memory back, or shrinks it to what an unfinished message needs.
    pub(crate) fn shrink_rx(&mut self) {
        shrink_rx(&self.worker, &mut self.rx);
    }

    /// Gives all memory back.
    pub(crate) fn release(&mut self) {
        self.rx.clear();
        self.shrink_rx();
        self.worker.pool.give_send(std::mem::take(&mut self.out.0));
    }

    /// A buffer to write into.
    pub(crate) fn answer(&mut self) -> &mut OutBuf {
        if self.out.0.capacity() == 0 {
            self.out.0 = self.worker.pool.take_send();
        }
        &mut self.out
    }

    /// Sends what was written. A peer that does not take it in time is cut off.
    pub(crate) async fn flush(&mut self) -> Result<(), RecvError> {
        if self.out.0.is_empty() {
            return Ok(());
        }
        let out = std::mem::take(&mut self.out.0);
        let sent = self.send(out).await?;
        self.worker.pool.give_send(sent);
        Ok(())
    }

    /// The same with bytes that did not come from the pool, which are given back.
    pub(crate) fn send(
        &mut self,
        out: Vec<u8>,
    ) -> impl Future<Output = Result<Vec<u8>, RecvError>> + use<'_> {
        // While the answer is under way others can use the memory: a pool has less than connections that write.
        self.shrink_rx();
        self.deadline.set_millis(self.limits.write_timeout);
        let conn = &*self;
        let stream = &conn.socket.stream;
        let mut sending =
            conn.deadline.limit_or_cut(stream.write_all(out), || stream.shutdown_both());
        poll_fn(move |cx| {
            let ((result, out), _) = ready!(Pin::new(&mut sending).poll(cx));
            conn.limits.count(BYTES_SENT, out.len());
            Poll::Ready(result.map(|()| out).map_err(|_| RecvError::Closed))
        })
    }

    /// Sends what was written, then closes without cutting that off: an unread request in the socket would turn
    /// the close into a reset that overtakes it. RFC 9112 9.6.
    pub(crate) async fn close_lingering(&mut self) {
        if self.flush().await.is_err() {
            return;
        }
        self.socket.stream.shutdown_write();
        self.set_deadline(LINGER);
        let mut allowance = self.limits.linger;
        loop {
            self.rx.clear();
            if self.receive(SCRATCH).await.is_err() {
                return;
            }
            allowance = allowance.saturating_sub(self.rx.unread().len());
            if allowance == 0 {
                return;
            }
        }
    }
}

/// How long a refused peer may go on sending into the void.
const LINGER: Duration = Duration::from_secs(2);

/// Makes sure that what is announced can be received, or else a fair piece, and says how much that is. Memory
/// doubles as it grows, so that a message in a thousand fragments is not copied a thousand times.
pub(crate) fn make_room(
    worker: &WorkerContext,
    rx: &mut RecvBuffer<Vec<u8>>,
    wanted: usize,
) -> usize {
    const FAIR: usize = 1024;
    let wanted = wanted.max(FAIR);
    if rx.capacity() == 0 {
        *rx = RecvBuffer::new(worker.pool.take_receive(wanted.max(SCRATCH)));
    } else if rx.room() < wanted.max(rx.len() / 4) {
        move_to(worker, rx, rx.len() + wanted.max(rx.len()));
    }
    wanted.min(SCRATCH)
}

/// Gives receive memory back when it is empty, or shrinks it to what is in it.
pub(crate) fn shrink_rx(worker: &WorkerContext, rx: &mut RecvBuffer<Vec<u8>>) {
    if rx.is_empty() {
        if rx.capacity() > 0 {
            let empty = std::mem::replace(rx, RecvBuffer::new(Vec::new()));
            worker.pool.give_receive(empty.into_storage());
        }
    } else if rx.capacity() >= SCRATCH && rx.len() <= SCRATCH / 8 {
        move_to(worker, rx, rx.len() * 2);
    }
}

fn move_to(worker: &WorkerContext, rx: &mut RecvBuffer<Vec<u8>>, size: usize) {
    let old = std::mem::replace(rx, RecvBuffer::new(Vec::new()));
    match old.transfer(worker.pool.take_receive(size)) {
        Ok((new, storage)) => {
            *rx = new;
            worker.pool.give_receive(storage);
        }
        // Only storage smaller than its content is refused, and `size` never is.
        Err((old, _)) => *rx = old,
    }
}

/// A socket that a shutdown can find.
pub(crate) struct RegisteredStream {
    pub(crate) stream: Stream,
    entry: Entry,
    permit: Option<ConnectionPermit>,
}

/// A place in the core's list of connections; given back when dropped.
struct Entry {
    worker: Rc<WorkerContext>,
    id: ConnectionId,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.worker.remove_connection(self.id);
    }
}

impl RegisteredStream {
    fn new(worker: Rc<WorkerContext>, stream: Stream, permit: Option<ConnectionPermit>) -> Self {
        let entry = Entry { id: worker.add_connection(stream.raw()), worker };
        Self { stream, entry, permit }
    }

    pub(crate) fn worker(&self) -> &WorkerContext {
        &self.entry.worker
    }

    /// Dissolves it: the core forgets the socket.
    fn into_parts(self) -> (Stream, Option<ConnectionPermit>) {
        (self.stream, self.permit)
    }
}
