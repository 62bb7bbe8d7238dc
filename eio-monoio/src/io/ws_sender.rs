//! [`WsSender`]: the way out of one WebSocket connection, shared by its task and its session.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};

use eio_core::packet::{Frame, Message};
use eio_core::ws::{Opcode, encode};

use crate::deflate::Outward;
use crate::io::send_buffer::{Batch, SendBuffer};
use crate::message::{Encoded, OutBuf, never_full};
use crate::worker::pool::Pool;

/// Frames appended by anyone on this core; the connection's task sends all of them at once.
#[derive(Default)]
pub(crate) struct WsSender {
    out: RefCell<SendBuffer>,
    /// What compresses messages, if that was agreed.
    deflate: Option<Box<Outward>>,
    /// Bytes the running write operation holds.
    in_flight: Cell<usize>,
    /// The connection's own reader waits for something to be sent.
    wants_room: Cell<bool>,
    ending: Cell<CloseMode>,
    close_timer_started: Cell<bool>,
    /// The connection's task is in its turn and looks at `out` before the turn ends: no need to wake it.
    being_polled: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// How far a link is from its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CloseMode {
    #[default]
    Open,
    /// What is queued is sent, then the write direction is closed and the peer has a moment to do the same.
    Flush,
    /// The peer is not expected to read: what the kernel takes at once is sent, then the socket is cut.
    Cut,
}

impl WsSender {
    /// A link that first sends `out`.
    pub(crate) fn new(out: OutBuf, deflate: Option<Box<Outward>>) -> Self {
        Self { out: RefCell::new(SendBuffer::new(out)), deflate, ..Self::default() }
    }

    /// Appends a message, compressed if that was agreed and is worth while.
    #[inline]
    pub(crate) fn message(&self, pool: &Pool, frame: Frame<'_>, mask: Option<[u8; 4]>) {
        self.write(pool, |out| match &self.deflate {
            Some(deflate) if deflate.write(frame, mask, out) => {}
            _ => out.frame(frame, mask),
        });
    }

    /// The same for a message that is already a frame.
    pub(crate) fn encoded(&self, pool: &Pool, message: &Encoded) {
        let open = self.ending.get() == CloseMode::Open;
        if open && self.deflate.is_none() && self.out.borrow_mut().share(message) {
            return self.wake();
        }
        self.write(pool, |out| match &self.deflate {
            Some(deflate) if deflate.write_encoded(message, out) => {}
            _ => out.0.extend_from_slice(message.frame()),
        });
    }

    /// The same for a message that is not Engine.IO's.
    pub(crate) fn plain(&self, pool: &Pool, message: Message<'_>, mask: Option<[u8; 4]>) {
        let (binary, data) = match message {
            Message::Text(text) => (false, text.as_bytes()),
            Message::Binary(bytes) => (true, bytes),
        };
        let opcode = if binary { Opcode::Binary } else { Opcode::Text };
        self.write(pool, |out| match &self.deflate {
            Some(deflate) if deflate.write(Frame { binary, prefix: b"", data }, mask, out) => {}
            _ => never_full(encode(out, opcode, b"", data, mask)),
        });
    }

    /// Appends a frame to what will be sent, in memory of the pool, unless the link is ending.
    #[inline]
    pub(crate) fn write(&self, pool: &Pool, encode: impl FnOnce(&mut OutBuf)) {
        if self.ending.get() != CloseMode::Open {
            return;
        }
        encode(self.out.borrow_mut().bytes_mut(pool));
        self.wake();
    }

    /// Begins the end, after what is queued. The first call decides, but [`CloseMode::Cut`] overrules.
    pub(crate) fn end(&self, ending: CloseMode) {
        if self.ending.get() == CloseMode::Open || ending == CloseMode::Cut {
            self.ending.set(ending);
            self.wake();
        }
    }

    pub(crate) fn ending(&self) -> CloseMode {
        self.ending.get()
    }

    /// Bytes queued and in flight.
    pub(crate) fn queued(&self) -> usize {
        self.out.borrow().len() + self.in_flight.get()
    }

    /// Takes everything queued, with its memory: an idle connection owns none.
    pub(crate) fn take(&self) -> Batch {
        let batch = self.out.borrow_mut().take();
        self.in_flight.set(batch.len());
        batch
    }

    /// Whether a write operation holds bytes.
    pub(crate) fn is_sending(&self) -> bool {
        self.in_flight.get() > 0
    }

    /// The taken bytes are sent.
    pub(crate) fn sent(&self) {
        self.in_flight.set(0);
        if self.wants_room.take()
            && let Some(waker) = &*self.waker.borrow()
        {
            // Also in a turn: the reader had its part of that already.
            waker.wake_by_ref();
        }
    }

    /// Ready when less than `mark` bytes wait, or the link is ending.
    pub(crate) fn poll_room(&self, mark: usize) -> Poll<()> {
        let full = self.queued() >= mark && self.ending.get() == CloseMode::Open;
        self.wants_room.set(full);
        if full { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Whether there is something to send or an end to make. To be asked in a [`while_polled`](Self::while_polled).
    pub(crate) fn has_work(&self) -> bool {
        !self.out.borrow().is_empty() || self.ending.get() != CloseMode::Open
    }

    /// True once: the link has begun to end and its last moments are to be timed.
    pub(crate) fn start_close_timer(&self) -> bool {
        !self.close_timer_started.replace(true)
    }

    /// Runs one turn of the connection's task, during which appending wakes nobody.
    ///
    /// Whatever the task waits for at the end of it, be it only the peer that takes its time with what is in
    /// flight, it hears when the link begins to end.
    pub(crate) fn while_polled<R>(
        &self,
        cx: &mut Context<'_>,
        run: impl FnOnce(&mut Context<'_>) -> R,
    ) -> R {
        self.listen(cx);
        self.being_polled.set(true);
        let result = run(cx);
        self.being_polled.set(false);
        result
    }

    fn listen(&self, cx: &mut Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &*waker {
            Some(known) if known.will_wake(cx.waker()) => {}
            _ => *waker = Some(cx.waker().clone()),
        }
    }

    fn wake(&self) {
        if !self.being_polled.get()
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }
}
