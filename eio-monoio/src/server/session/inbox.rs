//! Messages on their way to the handler.

use std::task::{Context, Poll};

use eio_core::packet::Message;

use crate::io::message_queue::MessageQueue;
use crate::server::session::Session;

impl<T> Session<T> {
    /// Whether the handler has not finished with an earlier message.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.get()
    }

    pub(crate) fn set_busy(&self) {
        self.busy.set(true);
    }

    /// The handler has finished with everything. True: the session ended meanwhile, say goodbye now.
    pub(crate) fn set_idle(&self) -> bool {
        self.busy.set(false);
        self.closed.get().is_some()
    }

    /// Keeps a message for when the handler has time.
    pub(crate) fn push_inbox(&self, message: Message<'_>) {
        self.inbox.borrow_mut().push(message);
    }

    /// Whether so much waits for the handler that nothing more should be read.
    pub(crate) fn is_inbox_full(&self) -> bool {
        self.inbox.borrow().bytes() + self.taken.get() >= self.env.config.inbound_high_water
    }

    /// Everything that waits for the handler. It still counts, until [`remove_in_progress`](Self::remove_in_progress).
    pub(crate) fn take_inbox(&self) -> MessageQueue {
        let inbox = std::mem::take(&mut *self.inbox.borrow_mut());
        self.add_in_progress(inbox.bytes());
        inbox
    }

    /// So many bytes wait for the handler, outside of the inbox.
    pub(crate) fn add_in_progress(&self, bytes: usize) {
        self.taken.set(self.taken.get() + bytes);
    }

    /// So many of them do not any more.
    pub(crate) fn remove_in_progress(&self, bytes: usize) {
        self.taken.set(self.taken.get().saturating_sub(bytes));
        if !self.is_inbox_full() {
            self.waiters.wake_all();
        }
    }

    /// Ready when the inbox is not full, or the session has ended.
    pub(crate) fn poll_inbox(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.closed.get().is_some() || !self.is_inbox_full() {
            return Poll::Ready(());
        }
        self.waiters.add(cx);
        Poll::Pending
    }
}
