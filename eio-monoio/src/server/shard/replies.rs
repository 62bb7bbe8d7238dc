//! [`Replies`]: replies from other threads, for the tasks of a shard that wait for them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::task::Poll;

use crate::worker::wakers::WakerSlot;

/// Replies of one kind that tasks of a shard wait for.
pub(crate) struct Replies<R> {
    /// The last number given. Numbers are not reused: a reply that arrives after its task has stopped waiting must not
    /// reach another task.
    last: Cell<u64>,
    pending: RefCell<HashMap<u64, PendingReply<R>>>,
}

struct PendingReply<R> {
    reply: Option<R>,
    waiter: WakerSlot,
}

impl<R> Default for Replies<R> {
    fn default() -> Self {
        Self { last: Cell::default(), pending: RefCell::default() }
    }
}

impl<R> Replies<R> {
    /// Registers one reply. The request must contain its number, for [`arrive`](Self::arrive).
    pub(crate) fn expect(&self) -> Expected<'_, R> {
        let number = self.last.get() + 1;
        self.last.set(number);
        let pending = PendingReply { reply: None, waiter: WakerSlot::default() };
        self.pending.borrow_mut().insert(number, pending);
        Expected { replies: self, number }
    }

    /// Delivers a reply. It is dropped if no task waits for it.
    pub(crate) fn arrive(&self, number: u64, reply: R) {
        let mut pending = self.pending.borrow_mut();
        let Some(pending) = pending.get_mut(&number) else { return };
        pending.reply = Some(reply);
        pending.waiter.wake();
    }
}

/// A reply that has not been received yet.
pub(crate) struct Expected<'r, R> {
    replies: &'r Replies<R>,
    pub(crate) number: u64,
}

impl<R> Expected<'_, R> {
    pub(crate) async fn reply(self) -> R {
        poll_fn(|cx| {
            let mut pending = self.replies.pending.borrow_mut();
            // The entry exists for as long as `self`.
            let Some(pending) = pending.get_mut(&self.number) else { return Poll::Pending };
            match pending.reply.take() {
                Some(reply) => Poll::Ready(reply),
                None => {
                    pending.waiter.register(cx);
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl<R> Drop for Expected<'_, R> {
    fn drop(&mut self) {
        self.replies.pending.borrow_mut().remove(&self.number);
    }
}
