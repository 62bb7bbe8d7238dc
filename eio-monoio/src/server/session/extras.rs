//! [`Extras`]: state of a session that most sessions never have.

use std::cell::Cell;

use crate::io::message_queue::MessageQueue;
use crate::server::request::KeptRequest;
use crate::server::session::Session;
use crate::worker::wakers::Wakers;

#[derive(Default)]
pub(super) struct Extras {
    /// Tasks that wait for room in a queue, for the upgrade or for the end.
    pub(super) waiters: Wakers,
    /// Messages that arrived while the handler was busy.
    pub(super) inbox: Cell<MessageQueue>,
    /// Bytes of messages that wait for the handler outside of the inbox.
    pub(super) in_progress: Cell<usize>,
    /// Tasks whose handler is pending, which the end of the session concerns.
    pub(super) handlers: Wakers,
    /// With [`keep_request`](crate::Config::keep_request).
    pub(super) request: Option<Box<KeptRequest>>,
}

impl Extras {
    /// Uses the inbox, which nothing else does in the meantime.
    pub(super) fn with_inbox<R>(&self, call: impl FnOnce(&mut MessageQueue) -> R) -> R {
        let mut inbox = self.inbox.take();
        let result = call(&mut inbox);
        self.inbox.set(inbox);
        result
    }

    /// Bytes that wait for the handler.
    pub(super) fn unhandled(&self) -> usize {
        self.with_inbox(|inbox| inbox.bytes()) + self.in_progress.get()
    }
}

impl<T> Session<T> {
    /// Made when it is first needed.
    pub(super) fn make_extras(&self) -> &Extras {
        self.extras.get_or_init(Box::default)
    }

    /// Bytes that wait for the handler.
    #[inline]
    pub(super) fn unhandled(&self) -> usize {
        self.extras.get().map_or(0, |extras| extras.unhandled())
    }

    pub(super) fn wake_waiters(&self) {
        if let Some(extras) = self.extras.get() {
            extras.waiters.wake_all();
        }
    }

    pub(crate) fn kept_request(&self) -> Option<&KeptRequest> {
        self.extras.get()?.request.as_deref()
    }
}
