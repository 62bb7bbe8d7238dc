//! [`Deadline`]: a time to wait for, as an entry of the worker's timer wheel.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use eio_core::time::Instant;

use crate::worker::context::WorkerContext;
use crate::worker::timers::{Target, TimerId};

/// One deadline, for one waiting task. It has an entry in the timer wheel, except between [`disarm`](Self::disarm) and
/// the next `set`.
pub(crate) struct Deadline {
    worker: Rc<WorkerContext>,
    id: Cell<Option<TimerId>>,
}

impl Deadline {
    pub(crate) fn new(worker: Rc<WorkerContext>) -> Self {
        let id = worker.timers.insert(Target::Task(None));
        Self { worker, id: Cell::new(Some(id)) }
    }

    pub(crate) fn set(&self, after: Duration) {
        self.set_millis(millis(after));
    }

    pub(crate) fn set_millis(&self, after: u32) {
        self.set_at(self.worker.now().after(after));
    }

    pub(crate) fn set_at(&self, due: Instant) {
        let timers = &self.worker.timers;
        let id = self.id.get().unwrap_or_else(|| timers.insert(Target::Task(None)));
        self.id.set(Some(id));
        timers.set(id, due);
    }

    /// Clears the time. The entry keeps the waker of the task that last polled.
    pub(crate) fn clear(&self) {
        if let Some(id) = self.id.get() {
            self.worker.timers.clear(id);
        }
    }

    /// Clears the time and removes the entry with its waker. A waker keeps the memory of its task alive.
    pub(crate) fn disarm(&self) {
        if let Some(id) = self.id.take() {
            self.worker.timers.remove(id);
        }
    }

    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.id.get().map_or(Poll::Pending, |id| self.worker.timers.poll_expired(id, cx))
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.disarm();
    }
}

/// Whole milliseconds. A duration of more than 49 days counts as 49 days.
pub(crate) fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
