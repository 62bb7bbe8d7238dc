//! [`Limits`]: timeouts and sizes of a connection; [`ConnEnv`]: the limits with the worker.

use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use crate::metrics::{CounterRange, Counters};
use crate::worker::budget;
use crate::worker::context::WorkerContext;

/// The timeouts and sizes of a connection, and the counters for its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// The time in milliseconds until the kernel must accept written bytes.
    pub(crate) write_timeout: u32,
    /// The time in milliseconds from our close frame to the end of the closing handshake.
    pub(crate) close_timeout: u32,
    /// The number of bytes queued for sending on a WebSocket at which nothing more is read from it.
    pub(crate) high_water: usize,
    /// The most bytes that are read and discarded from a refused peer before its connection is closed.
    pub(crate) linger: usize,
    /// The number of [held bytes](crate::worker::budget::held) from which unfinished messages do not grow.
    pub(crate) budget: usize,
    /// The counters of a server's worker. `None` for a client.
    pub(crate) counters: Option<Arc<Counters>>,
}

/// The limits and the worker of many connections, of which each has one pointer.
pub(crate) struct ConnEnv {
    pub(crate) worker: Rc<WorkerContext>,
    limits: Limits,
}

impl ConnEnv {
    pub(crate) fn new(worker: Rc<WorkerContext>, limits: Limits) -> Rc<Self> {
        Rc::new(Self { worker, limits })
    }
}

impl Deref for ConnEnv {
    type Target = Limits;

    #[inline]
    fn deref(&self) -> &Limits {
        &self.limits
    }
}

impl Limits {
    #[inline]
    pub(crate) fn is_over_budget(&self) -> bool {
        budget::held() >= self.budget
    }

    #[inline]
    pub(crate) fn count(&self, range: CounterRange, bytes: usize) {
        if let Some(counters) = &self.counters {
            counters.add(range, 0, bytes as u64);
        }
    }
}
