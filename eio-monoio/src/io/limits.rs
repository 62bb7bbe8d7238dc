//! [`Limits`]: timeouts and sizes of a connection.

use std::sync::Arc;

use crate::metrics::{CounterRange, Counters};

/// How much a line bears with its peer.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Until what was written is taken, in milliseconds.
    pub(crate) write_timeout: u32,
    /// From our last word on a WebSocket to the peer's, in milliseconds.
    pub(crate) close_timeout: u32,
    /// Bytes that may wait to be sent on a WebSocket before nothing more is read from it.
    pub(crate) high_water: usize,
    /// Bytes a refused peer may go on sending into the void.
    pub(crate) linger: usize,
    /// Where a server counts what passes.
    pub(crate) counters: Option<Arc<Counters>>,
}

impl Limits {
    #[inline]
    pub(crate) fn count(&self, what: CounterRange, bytes: usize) {
        if let Some(counters) = &self.counters {
            counters.add(what, 0, bytes as u64);
        }
    }
}
