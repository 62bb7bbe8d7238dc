//! [`WsSender`]: the sending side of a WebSocket connection, shared by its task and its session.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll};

use eio_core::packet::{Frame, Message};
use eio_core::ws::{Opcode, encode};

use crate::deflate::{Inward, Outward};
use crate::io::receipt::{Confirm, WriteConfirms};
use crate::io::send_buffer::{Batch, SendBuffer};
use crate::io::unsent;
use crate::message::{Encoded, OutBuf, never_full};
use crate::worker::context::WorkerContext;
use crate::worker::pool::Pool;
use crate::worker::wakers::WakerSlot;

/// Frames that any task of the worker appends. The connection's task sends all of them at once.
#[derive(Default)]
pub(crate) struct WsSender {
    out: RefCell<SendBuffer>,
    /// Made when one of them is first needed.
    extras: OnceCell<Box<Extras>>,
    /// Bytes that the running write operation holds.
    in_flight: Cell<usize>,
    /// The connection's reader waits until fewer bytes are queued.
    reader_waits: Cell<bool>,
    state: Cell<SendState>,
    close_timer_started: Cell<bool>,
    /// The connection's task is being polled and looks at `out` before the poll ends: it needs no wake.
    being_polled: Cell<bool>,
    /// Frames that cannot be sent are kept for [`take_unsent`](Self::take_unsent).
    keeps_unsent: Cell<bool>,
    /// Nothing is sent any more.
    finished: Cell<bool>,
    /// The connection's task.
    task: WakerSlot,
}

/// Memory that most connections never need.
#[derive(Default)]
struct Extras {
    /// The compressor of messages, if compression was negotiated.
    deflate: Option<Box<Outward>>,
    /// The receipts.
    confirms: RefCell<WriteConfirms>,
}

/// Whether frames can be appended, and how the connection ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum SendState {
    #[default]
    Open,
    /// Queued bytes are sent, then the write direction is shut down, and the peer has time to do the same.
    Closing,
    /// The peer is not expected to read: the kernel receives the bytes that it accepts at once, then the socket is shut
    /// down.
    Aborted,
}

impl WsSender {
    /// A sender that first sends `out`.
    pub(crate) fn new(out: OutBuf, deflate: Option<Box<Outward>>) -> Self {
        let this = Self { out: RefCell::new(SendBuffer::new(out)), ..Self::default() };
        if deflate.is_some() {
            this.extras.get_or_init(|| Box::new(Extras { deflate, ..Extras::default() }));
        }
        this
    }

    #[inline]
    fn deflate(&self) -> Option<&Outward> {
        self.extras.get()?.deflate.as_deref()
    }

    #[inline]
    fn confirms(&self) -> Option<&RefCell<WriteConfirms>> {
        self.extras.get().map(|extras| &extras.confirms)
    }
}

/// Appending frames.
impl WsSender {
    /// Appends a message, compressed if that was negotiated and makes it smaller.
    #[inline]
    pub(crate) fn message(&self, pool: &Pool, frame: Frame<'_>, mask: Option<[u8; 4]>) {
        self.write(pool, |out| match self.deflate() {
            Some(deflate) if deflate.write(frame, mask, out) => {}
            _ => out.frame(frame, mask),
        });
    }

    /// Appends a message, not compressed.
    pub(crate) fn plain_message(&self, pool: &Pool, frame: Frame<'_>, mask: Option<[u8; 4]>) {
        self.write(pool, |out| out.frame(frame, mask));
    }

    /// The message that was appended last is confirmed when it is sent.
    pub(crate) fn confirm(&self, confirm: Confirm) {
        if self.is_open() {
            let end = self.out.borrow().len();
            self.extras.get_or_init(Box::default).confirms.borrow_mut().add(end, confirm);
        }
    }

    /// Appends a message that is encoded already.
    pub(crate) fn encoded(&self, pool: &Pool, message: &Encoded) {
        if self.is_open() && self.deflate().is_none() && self.out.borrow_mut().share(message) {
            return self.wake();
        }
        self.write(pool, |out| match self.deflate() {
            Some(deflate) if deflate.write_encoded(message, out) => {}
            _ => out.0.extend_from_slice(message.frame()),
        });
    }

    /// Appends a message without Engine.IO's framing.
    pub(crate) fn raw_message(&self, pool: &Pool, message: Message<'_>, mask: Option<[u8; 4]>) {
        let (binary, data) = match message {
            Message::Text(text) => (false, text.as_bytes()),
            Message::Binary(bytes) => (true, bytes),
        };
        let opcode = if binary { Opcode::Binary } else { Opcode::Text };
        self.write(pool, |out| match self.deflate() {
            Some(deflate) if deflate.write(Frame { binary, prefix: b"", data }, mask, out) => {}
            _ => never_full(encode(out, opcode, b"", data, mask)),
        });
    }

    /// Appends a frame, in memory of the pool, unless the sender is closed.
    #[inline]
    pub(crate) fn write(&self, pool: &Pool, encode: impl FnOnce(&mut OutBuf)) {
        if !self.is_open() {
            return;
        }
        encode(self.out.borrow_mut().bytes_mut(pool));
        self.wake();
    }
}

/// Closing.
impl WsSender {
    /// Closes the connection after the queued bytes are sent.
    pub(crate) fn close(&self) {
        if self.is_open() {
            self.state.set(SendState::Closing);
            self.wake();
        }
    }

    /// Closes the connection at once, also while [`close`](Self::close) takes effect.
    pub(crate) fn abort(&self) {
        self.state.set(SendState::Aborted);
        self.wake();
    }

    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.state.get() == SendState::Open
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.state.get() == SendState::Aborted
    }

    /// Returns true once, for the timer of the closing handshake.
    pub(crate) fn start_close_timer(&self) -> bool {
        !self.close_timer_started.replace(true)
    }
}

/// Sending, by the connection's task.
impl WsSender {
    /// Bytes queued and in flight.
    pub(crate) fn queued(&self) -> usize {
        self.out.borrow().len() + self.in_flight.get()
    }

    /// Takes all queued bytes with their memory: an idle connection owns none.
    pub(crate) fn take(&self) -> Batch {
        let batch = self.out.borrow_mut().take();
        self.in_flight.set(batch.len());
        if let Some(confirms) = self.confirms() {
            confirms.borrow_mut().begin();
        }
        batch
    }

    /// The kernel has accepted the first `sent` bytes of the batch.
    pub(crate) fn confirm_sent(&self, sent: usize) {
        if let Some(confirms) = self.confirms() {
            // Each without a borrow: it wakes tasks of the application.
            let next = || confirms.borrow_mut().pop(sent);
            std::iter::from_fn(next).for_each(Confirm::sent);
        }
    }

    /// No more bytes are sent.
    pub(crate) fn finish(&self) {
        self.finished.set(true);
        if let Some(confirms) = self.confirms() {
            let unsent = confirms.borrow_mut().take_unsent();
            drop(unsent);
        }
    }

    /// The kernel has accepted the first `sent` bytes of a batch, and no more bytes are sent.
    pub(crate) fn finish_with_unsent(&self, batch: Vec<u8>, sent: usize, pool: &Pool) {
        self.in_flight.set(0);
        self.confirm_sent(sent);
        if self.keeps_unsent.get() {
            let mut frames = batch;
            frames.drain(..unsent::first_unsent(&frames, sent).min(frames.len()));
            self.out.borrow_mut().put_back(frames, pool);
        } else {
            pool.give_send(batch);
        }
        self.finish();
    }

    /// A session asks for frames that cannot be sent.
    pub(crate) fn keep_unsent(&self) {
        self.keeps_unsent.set(true);
    }

    /// Drops the frames that cannot be sent, now and later.
    pub(crate) fn discard_unsent(&self, pool: &Pool) {
        self.keeps_unsent.set(false);
        if self.finished.get() {
            self.out.borrow_mut().take().free(pool);
        }
    }

    /// Whether no byte is, or will be, in flight.
    pub(crate) fn has_stopped(&self) -> bool {
        !self.is_sending() && (self.finished.get() || self.out.borrow().is_empty())
    }

    /// Takes the frames that are not sent, except for those in flight. Also the decompressor for them; without one, the
    /// first compressed frame is the end.
    pub(crate) fn take_unsent(&self, worker: &Rc<WorkerContext>) -> (Vec<u8>, Option<Box<Inward>>) {
        let frames = self.out.borrow_mut().take().into_bytes(&worker.pool);
        let alone = self.deflate().is_some_and(|deflate| !deflate.has_context());
        let inflater = alone.then(|| Box::new(Inward::new(worker, u32::MAX as usize, None)));
        (frames, inflater)
    }

    /// Whether a write operation holds bytes.
    pub(crate) fn is_sending(&self) -> bool {
        self.in_flight.get() > 0
    }

    /// The taken bytes are sent, or will never be.
    pub(crate) fn finish_batch(&self) {
        self.in_flight.set(0);
        if self.reader_waits.take() {
            // Also during a poll of the task: it has polled the reader already.
            self.task.wake_each_time();
        }
    }

    /// Ready when fewer than `mark` bytes are queued, or the sender is closed.
    pub(crate) fn poll_room(&self, mark: usize) -> Poll<()> {
        let full = self.queued() >= mark && self.is_open();
        self.reader_waits.set(full);
        if full { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Whether there are bytes to send or the connection is to be closed. Call it within
    /// [`poll_task`](Self::poll_task).
    pub(crate) fn has_work(&self) -> bool {
        !self.out.borrow().is_empty() || !self.is_open()
    }

    /// Polls the connection's task by `poll`, during which appending does not wake the task.
    ///
    /// Each poll registers the task, so that closing wakes it even while it only waits for the peer to read the bytes in
    /// flight.
    pub(crate) fn poll_task<R>(
        &self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> R,
    ) -> R {
        self.task.register(cx);
        self.being_polled.set(true);
        let result = poll(cx);
        self.being_polled.set(false);
        result
    }

    fn wake(&self) {
        if !self.being_polled.get() {
            self.task.wake_each_time();
        }
    }
}
