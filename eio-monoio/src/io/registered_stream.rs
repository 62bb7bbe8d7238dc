//! [`RegisteredStream`]: a stream in its worker's list of connections, and the two ways to receive from it.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::io::limits::{ConnEnv, Limits};
use crate::io::permit::ConnectionPermit;
use crate::io::recv_mode::RecvMode;
use crate::io::stream::Stream;
use crate::metrics::{BYTES_RECEIVED, OVER_BUDGET};
use crate::worker::budget::{RecvBytes, RecvStorage, SMALL_BUFFER};
use crate::worker::context::{Activity, ConnectionId, WorkerContext};
use crate::worker::net::Received;
use crate::worker::pool::SCRATCH;

/// The size in bytes of the buffer of a receive operation.
const RECV_OP: usize = 4096;

/// A socket in its worker's list of connections, by which a shutdown finds it.
pub(crate) struct RegisteredStream {
    pub(crate) stream: Stream,
    entry: Entry,
    pub(crate) permit: Option<ConnectionPermit>,
    recv_mode: RecvMode,
}

/// An entry in the worker's list of connections, removed when dropped.
struct Entry {
    env: Rc<ConnEnv>,
    id: ConnectionId,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.env.worker.remove_connection(self.id);
    }
}

impl RegisteredStream {
    pub(crate) fn new(env: Rc<ConnEnv>, stream: Stream, permit: Option<ConnectionPermit>) -> Self {
        let entry = Entry { id: env.worker.add_connection(stream.raw()), env };
        Self { stream, entry, permit, recv_mode: RecvMode::default() }
    }

    pub(crate) fn worker(&self) -> &WorkerContext {
        &self.entry.env.worker
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.entry.env
    }

    pub(crate) fn set_activity(&self, activity: Activity) {
        self.worker().set_activity(self.entry.id, activity);
    }

    /// Everything was sent, and the peer has to close. Returns the time for that: `usual`, but a shutdown that has
    /// stopped waiting leaves only the time in which the peer can receive the last bytes.
    pub(crate) fn begin_linger(&self, usual: Duration) -> Duration {
        const SHORT: Duration = Duration::from_millis(100);
        if self.worker().has_stopped_waiting() {
            return usual.min(SHORT);
        }
        self.set_activity(Activity::Receiving);
        usual
    }

    /// Removes the socket from the worker's list.
    pub(crate) fn into_parts(self) -> (Stream, Option<ConnectionPermit>) {
        (self.stream, self.permit)
    }
}

/// Why no byte was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecvFailure {
    /// The peer closed the connection, or it was lost.
    Closed,
    /// The process holds [`memory_budget`](crate::Config::memory_budget) bytes.
    OverBudget,
}

/// Receiving: by readiness and a system call, or from a peer that sends continuously by an operation, which owns a buffer
/// while it waits.
impl RegisteredStream {
    /// Receives available bytes. Returns false if no bytes are available.
    pub(crate) fn try_receive(
        &self,
        rx: &mut RecvBytes,
        wanted: usize,
    ) -> Result<bool, RecvFailure> {
        debug_assert!(!self.stream.socket().has_recv_op(), "it receives the next bytes");
        let Some(room) = make_room(self.worker(), rx, wanted, self.limits()) else {
            return Err(self.over_budget());
        };
        let received = self.stream.try_recv(rx.spare_mut(room));
        self.take_received(received.ok(), rx)
    }

    /// Whether the next bytes are to be received by an operation. `is_empty`: no received bytes are unread.
    pub(crate) fn uses_recv_op(&self, is_empty: bool) -> bool {
        let socket = self.stream.socket();
        if socket.has_recv_op() {
            return true;
        }
        if self.recv_mode.is_continuous(self.worker().cached_now()) {
            return is_empty && self.stream.may_recv_op();
        }
        if self.recv_mode.has_paused() {
            socket.drop_recv_op();
        }
        false
    }

    /// Whether the receive buffer is needed during a wait for input: an operation receives into its memory. Over TLS,
    /// bytes are decrypted from a buffer of the operation's own.
    pub(crate) fn wait_needs_rx(&self, uses_recv_op: bool) -> bool {
        uses_recv_op && !self.stream.is_secure()
    }

    /// Receives by an operation; [`take_recv_op`](Self::take_recv_op) must follow. `rx` is called if the operation can
    /// have its memory.
    pub(crate) fn poll_recv_op<'r>(
        &self,
        cx: &mut Context<'_>,
        rx: impl FnOnce() -> &'r mut RecvBytes,
    ) -> Poll<Received> {
        let pool = &self.worker().pool;
        self.stream.socket().poll_recv_op(cx, || {
            if !self.wait_needs_rx(true) {
                return pool.take_receive(RECV_OP);
            }
            // Mostly the buffer of the previous operation.
            let storage = std::mem::replace(rx(), RecvBytes::new(RecvStorage::default()))
                .into_storage()
                .into_vec();
            if storage.len() == RECV_OP {
                return storage;
            }
            if !storage.is_empty() {
                pool.give_receive(storage);
            }
            pool.take_receive(RECV_OP)
        })
    }

    /// Takes the bytes of an operation into `rx`, which has none. False over TLS only: they were records without
    /// application data.
    pub(crate) fn take_recv_op(
        &self,
        (result, storage): Received,
        rx: &mut RecvBytes,
    ) -> Result<bool, RecvFailure> {
        let n = result.unwrap_or(0);
        #[cfg(feature = "tls")]
        if let Stream::Tls(tls) = &self.stream {
            let mut storage = storage;
            self.note_size(n);
            let room = make_room(self.worker(), rx, n, self.limits());
            let into = room.map_or(&mut [][..], |room| rx.spare_mut(room));
            let received = tls.decrypt_received(&mut storage[..n], into);
            self.worker().pool.give_receive(storage);
            if room.is_none() {
                return Err(self.over_budget());
            }
            return self.take_received(received.ok(), rx);
        }
        *rx = RecvBytes::new(RecvStorage::new(storage));
        self.take_received(Some(Some(n)), rx)
    }

    /// The outcome of a receive into `rx`; `None` if it failed.
    #[inline]
    fn take_received(
        &self,
        received: Option<Option<usize>>,
        rx: &mut RecvBytes,
    ) -> Result<bool, RecvFailure> {
        match received {
            None | Some(Some(0)) => Err(RecvFailure::Closed),
            Some(None) => Ok(false),
            Some(Some(n)) => {
                self.note_size(n);
                self.limits().count(BYTES_RECEIVED, n);
                rx.fill(n);
                Ok(true)
            }
        }
    }

    /// A large amount of input is received cheaper by a system call, into a large buffer.
    #[inline]
    fn note_size(&self, received: usize) {
        if received >= RECV_OP {
            self.recv_mode.restart();
        }
    }

    fn over_budget(&self) -> RecvFailure {
        self.limits().count(OVER_BUDGET, 1);
        RecvFailure::OverBudget
    }
}

/// Makes room for `wanted` bytes and returns the number to receive at once, which is at most [`SCRATCH`]. Memory doubles
/// as it grows, so that a message in a thousand fragments is not copied a thousand times. `None`: the budget is used up.
fn make_room(
    worker: &WorkerContext,
    rx: &mut RecvBytes,
    wanted: usize,
    limits: &Limits,
) -> Option<usize> {
    const MIN: usize = 1024;
    let wanted = wanted.max(MIN);
    if rx.capacity() == 0 {
        let size = if limits.is_over_budget() { SMALL_BUFFER } else { wanted.max(SCRATCH) };
        *rx = RecvBytes::new(RecvStorage::new(worker.pool.take_receive(size)));
    } else if rx.room() < wanted.max(rx.len() / 4) {
        let size = rx.len() + wanted.max(rx.len());
        if size <= SMALL_BUFFER || !limits.is_over_budget() {
            move_to(worker, rx, size);
        } else if rx.room() == 0 {
            return None;
        }
    }
    Some(wanted.min(SCRATCH).min(rx.room()))
}

/// Returns an empty receive buffer to the pool, or shrinks a large one with few bytes.
pub(crate) fn shrink_rx(worker: &WorkerContext, rx: &mut RecvBytes) {
    if rx.is_empty() {
        if rx.capacity() > 0 {
            let empty = std::mem::replace(rx, RecvBytes::new(RecvStorage::default()));
            worker.pool.give_receive(empty.into_storage().into_vec());
        }
    } else if rx.capacity() >= SCRATCH && rx.len() <= SCRATCH / 8 {
        move_to(worker, rx, rx.len() * 2);
    }
}

fn move_to(worker: &WorkerContext, rx: &mut RecvBytes, size: usize) {
    let old = std::mem::replace(rx, RecvBytes::new(RecvStorage::default()));
    match old.transfer(RecvStorage::new(worker.pool.take_receive(size))) {
        Ok((new, storage)) => {
            *rx = new;
            worker.pool.give_receive(storage.into_vec());
        }
        // Only storage smaller than the content is refused; `size` is not.
        Err((old, _)) => *rx = old,
    }
}
