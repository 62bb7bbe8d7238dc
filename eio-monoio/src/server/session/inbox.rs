//! The inbox of a session: messages that wait for a busy handler.

use std::task::{Context, Poll};

use eio_core::packet::Message;

use crate::io::message_queue::MessageQueue;
use crate::server::session::Session;
use crate::worker::budget;

impl<T> Session<T> {
    /// Whether the handler has not finished with an earlier message.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.get()
    }

    pub(crate) fn set_busy(&self) {
        self.busy.set(true);
    }

    /// The handler has finished. True if the session has ended in the meantime: its disconnect callback is due.
    pub(crate) fn set_idle(&self) -> bool {
        self.busy.set(false);
        self.closed.get().is_some()
    }

    /// Ready when the session has ended; else the task, whose handler is pending, is woken then.
    pub(crate) fn poll_closed_in_handler(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.closed.get().is_some() {
            return Poll::Ready(());
        }
        self.make_extras().handlers.add(cx);
        Poll::Pending
    }

    /// The handler of this task is not pending any more.
    pub(crate) fn forget_handler(&self, cx: &Context<'_>) {
        if let Some(extras) = self.extras.get() {
            extras.handlers.remove(cx);
        }
    }

    /// Queues a copy of a message for the handler.
    pub(crate) fn push_inbox(&self, message: Message<'_>) {
        self.make_extras().with_inbox(|inbox| {
            let before = inbox.bytes();
            inbox.push(message);
            budget::hold(inbox.bytes() - before);
        });
    }

    /// Whether the bytes that wait for the handler have reached the high-water mark.
    pub(crate) fn is_inbox_full(&self) -> bool {
        let unhandled = self.unhandled();
        unhandled > 0 && unhandled >= self.high_water(self.env.config.inbound_high_water)
    }

    /// Takes all messages. Their bytes count until [`remove_in_progress`](Self::remove_in_progress).
    pub(crate) fn take_inbox(&self) -> MessageQueue {
        let Some(extras) = self.extras.get() else { return MessageQueue::default() };
        let inbox = extras.inbox.take();
        budget::release(inbox.bytes());
        self.add_in_progress(inbox.bytes());
        inbox
    }

    /// Counts bytes that wait for the handler outside of the inbox.
    pub(crate) fn add_in_progress(&self, bytes: usize) {
        budget::hold(bytes);
        if bytes > 0 {
            let in_progress = &self.make_extras().in_progress;
            in_progress.set(in_progress.get() + bytes);
        }
    }

    /// Counts bytes that wait no more.
    pub(crate) fn remove_in_progress(&self, bytes: usize) {
        let Some(extras) = self.extras.get() else { return };
        let bytes = bytes.min(extras.in_progress.get());
        budget::release(bytes);
        extras.in_progress.set(extras.in_progress.get() - bytes);
        if !self.is_inbox_full() {
            extras.waiters.wake_all();
        }
    }

    /// Ready when the inbox is not full, or the session has ended.
    pub(crate) fn poll_inbox(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.closed.get().is_some() || !self.is_inbox_full() {
            return Poll::Ready(());
        }
        self.make_extras().waiters.add(cx);
        Poll::Pending
    }
}
