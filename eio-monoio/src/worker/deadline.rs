//! [`Deadline`]: a time to wait for, as an entry of the worker's timer wheel.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use eio_core::time::Instant;
use pin_project_lite::pin_project;

use crate::worker::context::WorkerContext;
use crate::worker::timers::{Target, TimerId};

/// One deadline, for one waiting task. It has an entry in the timer wheel, except between [`disarm`](Self::disarm) and
/// the next `set`.
pub(crate) struct Deadline {
    worker: Rc<WorkerContext>,
    bare: BareDeadline,
}

impl Deadline {
    pub(crate) fn new(worker: Rc<WorkerContext>) -> Self {
        let id = worker.timers.insert(Target::Task(None));
        Self { worker, bare: BareDeadline(Cell::new(Some(id))) }
    }

    pub(crate) fn set(&self, after: Duration) {
        self.set_millis(millis(after));
    }

    pub(crate) fn set_millis(&self, after: u32) {
        self.bare.set(&self.worker, after);
    }

    pub(crate) fn set_at(&self, due: Instant) {
        self.bare.set_at(&self.worker, due);
    }

    /// Completes when the deadline has passed.
    pub(crate) async fn elapsed(&self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    /// Clears the time. The entry keeps the waker of the task that last polled.
    pub(crate) fn clear(&self) {
        self.bare.clear(&self.worker);
    }

    /// Clears the time and removes the entry with its waker, until the next `set`. A waker keeps the memory of its task
    /// alive.
    pub(crate) fn disarm(&self) {
        self.bare.disarm(&self.worker);
    }

    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.bare.poll(&self.worker, cx)
    }
}

/// A [`Deadline`] whose owner has the worker, and calls [`disarm`](Self::disarm) when it is dropped. It has an entry in
/// the timer wheel from the first `set` on.
#[derive(Default)]
pub(crate) struct BareDeadline(Cell<Option<TimerId>>);

impl BareDeadline {
    /// Sets the time to `after` milliseconds from now.
    pub(crate) fn set(&self, worker: &WorkerContext, after: u32) {
        self.set_at(worker, worker.now().after(after));
    }

    fn set_at(&self, worker: &WorkerContext, due: Instant) {
        let id = self.0.get().unwrap_or_else(|| worker.timers.insert(Target::Task(None)));
        self.0.set(Some(id));
        worker.timers.set(id, due);
    }

    pub(crate) fn clear(&self, worker: &WorkerContext) {
        if let Some(id) = self.0.get() {
            worker.timers.clear(id);
        }
    }

    /// See [`Deadline::disarm`].
    pub(crate) fn disarm(&self, worker: &WorkerContext) {
        if let Some(id) = self.0.take() {
            worker.timers.remove(id);
        }
    }

    pub(crate) fn poll(&self, worker: &WorkerContext, cx: &mut Context<'_>) -> Poll<()> {
        self.0.get().map_or(Poll::Pending, |id| worker.timers.poll_expired(id, cx))
    }
}

/// Futures that a deadline bounds.
impl Deadline {
    /// Runs `future` until the deadline passes, and drops it then.
    pub(crate) fn limit<F: Future>(&self, future: F) -> Limited<'_, F> {
        Limited { deadline: self, future }
    }

    /// Calls `cut` when the deadline passes, and still runs `future` to its end: an operation owns its buffer
    /// until the kernel has completed it. `cut` makes it complete.
    pub(crate) fn limit_or_cut<F: Future, C: FnOnce()>(
        &self,
        future: F,
        cut: C,
    ) -> LimitedOrCut<'_, F, C> {
        LimitedOrCut { deadline: self, future, cut: Some(cut) }
    }
}

/// The time of a [`timeout`](crate::timeout) has passed before its future was ready.
///
/// ```
/// assert_eq!(eio_monoio::Elapsed.to_string(), "the time has passed");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time has passed")
    }
}

impl std::error::Error for Elapsed {}

pin_project! {
    /// See [`Deadline::limit`]. A struct and not an async block, which would reserve the memory of `future` twice.
    pub(crate) struct Limited<'d, F> {
        deadline: &'d Deadline,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Limited<'_, F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.future.poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => this.deadline.poll(cx).map(|()| Err(Elapsed)),
        }
    }
}

pin_project! {
    /// See [`Deadline::limit_or_cut`].
    pub(crate) struct LimitedOrCut<'d, F, C> {
        deadline: &'d Deadline,
        #[pin]
        future: F,
        cut: Option<C>,
    }
}

impl<F: Future, C: FnOnce()> Future for LimitedOrCut<'_, F, C> {
    /// `Err`: `cut` was called before the future was ready.
    type Output = (F::Output, Result<(), Elapsed>);

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            let in_time = if this.cut.is_some() { Ok(()) } else { Err(Elapsed) };
            return Poll::Ready((output, in_time));
        }
        if this.cut.is_some()
            && this.deadline.poll(cx).is_ready()
            && let Some(cut) = this.cut.take()
        {
            cut();
        }
        Poll::Pending
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.bare.disarm(&self.worker);
    }
}

/// Whole milliseconds. A duration of more than 49 days counts as 49 days.
pub(crate) fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;
    use std::task::Waker;

    use super::*;

    /// Polls once, with the clock of the timer wheel at `at` milliseconds.
    fn poll_at<F: Future>(worker: &WorkerContext, at: u64, future: Pin<&mut F>) -> Poll<F::Output> {
        worker.timers.advance(Instant::from_millis(at), &mut Vec::new());
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_future_is_dropped_when_its_deadline_passes() {
        let worker = Rc::new(WorkerContext::default());
        let deadline = Deadline::new(worker.clone());
        deadline.set_at(Instant::from_millis(100));
        assert_eq!(poll_at(&worker, 0, pin!(deadline.limit(ready(7)))), Poll::Ready(Ok(7)));
        let mut limited = pin!(deadline.limit(pending::<()>()));
        assert_eq!(poll_at(&worker, 50, limited.as_mut()), Poll::Pending);
        assert_eq!(poll_at(&worker, 200, limited), Poll::Ready(Err(Elapsed)));
    }

    #[test]
    fn an_operation_is_cut_once_and_awaited_after_its_deadline() {
        let worker = Rc::new(WorkerContext::default());
        let deadline = Deadline::new(worker.clone());
        deadline.set_at(Instant::from_millis(100));
        let cut = Cell::new(0);
        let operation = poll_fn(|_| if cut.get() > 0 { Poll::Ready(7) } else { Poll::Pending });
        let mut limited = pin!(deadline.limit_or_cut(operation, || cut.set(cut.get() + 1)));
        assert_eq!(poll_at(&worker, 50, limited.as_mut()), Poll::Pending);
        assert_eq!(poll_at(&worker, 200, limited.as_mut()), Poll::Pending);
        assert_eq!(poll_at(&worker, 300, limited), Poll::Ready((7, Err(Elapsed))));
        assert_eq!(cut.get(), 1);
    }
}
