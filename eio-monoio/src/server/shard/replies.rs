//! Answers that come by mail, for tasks that wait for them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Replies of one kind that tasks of a shard wait for.
pub(crate) struct Replies<R> {
    /// Never used twice: a reply that comes after its asker is gone must not find another.
    last: Cell<u64>,
    waiting: RefCell<HashMap<u64, PendingReply<R>>>,
}

struct PendingReply<R> {
    reply: Option<R>,
    waker: Option<Waker>,
}

impl<R> Default for Replies<R> {
    fn default() -> Self {
        Self { last: Cell::default(), waiting: RefCell::default() }
    }
}

impl<R> Replies<R> {
    /// A place for one reply. Whoever is asked says its number when the reply [arrives](Self::arrive).
    pub(crate) fn expect(&self) -> Expected<'_, R> {
        let number = self.last.get() + 1;
        self.last.set(number);
        self.waiting.borrow_mut().insert(number, PendingReply { reply: None, waker: None });
        Expected { replies: self, number }
    }

    /// A reply came by mail. It is dropped if nobody waits for it any more.
    pub(crate) fn arrive(&self, number: u64, reply: R) {
        let mut waiting = self.waiting.borrow_mut();
        let Some(waiting) = waiting.get_mut(&number) else { return };
        waiting.reply = Some(reply);
        if let Some(waker) = waiting.waker.take() {
            waker.wake();
        }
    }
}

/// A reply to come.
pub(crate) struct Expected<'r, R> {
    replies: &'r Replies<R>,
    pub(crate) number: u64,
}

impl<R> Expected<'_, R> {
    pub(crate) async fn reply(self) -> R {
        poll_fn(|cx| {
            let mut waiting = self.replies.waiting.borrow_mut();
            // The entry is there for as long as `self` is.
            let Some(waiting) = waiting.get_mut(&self.number) else { return Poll::Pending };
            match waiting.reply.take() {
                Some(reply) => Poll::Ready(reply),
                None => {
                    waiting.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl<R> Drop for Expected<'_, R> {
    fn drop(&mut self) {
        self.replies.waiting.borrow_mut().remove(&self.number);
    }
}
