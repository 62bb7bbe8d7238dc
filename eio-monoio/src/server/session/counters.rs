//! The part of a worker's counters that one session maintains.

use eio_core::session::{CloseReason, Lane};
use eio_core::transport::Transport;

use crate::metrics::{MESSAGES_RECEIVED, QUEUED, by};
use crate::server::session::Session;

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

    pub(super) fn count_closed(&self, reason: CloseReason) {
        self.count_queued(0);
        self.env.counters.closed(self.counted_transport.get(), reason);
    }
}
