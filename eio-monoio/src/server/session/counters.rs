//! The part of a worker's counters that one session maintains.

use eio_core::session::{CloseReason, Lane};
use eio_core::transport::Transport;

use crate::error::SendError;
use crate::metrics::{DropReason, MESSAGES_RECEIVED, QUEUED, by};
use crate::server::session::Session;
use crate::worker::budget;

impl<T> Session<T> {
    pub(super) fn count_received(&self, lane: Lane) {
        let transport =
            if lane == Lane::WebSocket { Transport::WebSocket } else { Transport::Polling };
        self.env.counters.add(MESSAGES_RECEIVED, by(transport), 1);
    }

    pub(super) fn count_queued(&self, queued: usize) {
        let before = self.counted_queued.get();
        if queued != before {
            self.counted_queued.set(queued);
            budget::hold(queued);
            budget::release(before);
            self.env.counters.add(QUEUED, 0, (queued as u64).wrapping_sub(before as u64));
        }
    }

    /// Updates the counter after bytes were sent or discarded.
    pub(crate) fn recount_queued(&self) {
        if self.closed.get().is_none() {
            self.count_queued(self.queued());
        }
    }

    pub(super) fn count_upgrade(&self) {
        self.counted_transport.set(Transport::WebSocket);
        self.env.counters.upgraded();
    }

    /// Counts a message that is not queued.
    #[inline]
    pub(crate) fn counted(&self, sent: Result<(), SendError>) -> Result<(), SendError> {
        if let Err(error) = sent
            && let Some(reason) = DropReason::of(error)
        {
            self.env.counters.dropped(reason, 1);
        }
        sent
    }

    pub(super) fn count_closed(&self, reason: CloseReason) {
        let undelivered = self.outgoing.queue().borrow().count();
        if undelivered > 0 {
            self.env.counters.undelivered(reason, undelivered as u64);
        }
        self.count_queued(0);
        self.env.counters.closed(self.counted_transport.get(), reason);
    }
}
