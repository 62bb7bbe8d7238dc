//! [`spawn`] and [`sleep`]: what an application runs beside its handlers.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::worker::context::WorkerContext;
use crate::worker::deadline::Deadline;
use crate::worker::deadline::millis;
use crate::worker::tasks::Stopped;
use crate::worker::wakers::WakerSlot;

/// Runs `future` as a task of this core, beside everything else there: from a handler, from what
/// [`Server::new`](crate::Server::new) calls on each worker, from another task, or in a
/// [`client::block_on`](crate::client::block_on). From other threads: [`Remote::spawn`](crate::Remote::spawn).
///
/// It holds nothing up and ends with its core: a shutdown waits for requests, sessions and their handlers, then
/// drops what is left of the tasks. A panic ends the task and nothing else; it is logged.
///
/// Only its own core can wake a task: await [`sleep`], sockets' methods or channels that stay on the core. What
/// another thread has to say it says through a [`Remote`](crate::Remote).
///
/// ```
/// use std::time::Duration;
/// use eio_monoio::{Socket, sleep, spawn};
///
/// /// Tells the time until its session ends.
/// fn tick(socket: Socket<()>) {
///     spawn(async move {
///         while socket.closed().is_none() {
///             sleep(Duration::from_secs(1)).await;
///             socket.send_volatile("tick");
///         }
///     });
/// }
/// ```
///
/// # Panics
/// On a thread that is no core.
pub fn spawn<F>(future: F) -> Task<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let worker = current_worker();
    let task = Task { shared: Rc::new(Shared::new()) };
    let (shared, tasks) = (task.shared.clone(), worker.clone());
    tasks.background.spawn(async move {
        let outcome = worker.background.run(until_cancelled(future, &shared)).await;
        if matches!(outcome, Err(Stopped::Panicked)) {
            tracing::error!("a spawned task panicked");
        }
        shared.finish(outcome.ok().flatten());
    });
    task
}

/// Completes after `duration`, to within 10 ms; at most 49 days.
///
/// # Panics
/// On a thread that is no core; see [`spawn`].
pub async fn sleep(duration: Duration) {
    sleep_on(&current_worker(), duration).await;
}

pub(crate) async fn sleep_on(worker: &Rc<WorkerContext>, duration: Duration) {
    let deadline = Deadline::new(worker.clone());
    deadline.set_millis(millis(duration));
    deadline.elapsed().await;
}

fn current_worker() -> Rc<WorkerContext> {
    WorkerContext::current().expect("no core runs on this thread: see eio_monoio::spawn")
}

/// A task that was [spawned](spawn). Dropping this lets it run on. As a future it completes when the task has
/// ended, with what it made: `None` if it panicked, was cancelled or ended with its core.
pub struct Task<T> {
    shared: Rc<Shared<T>>,
}

impl<T> Task<T> {
    /// Drops what is left of the task, soon.
    pub fn cancel(&self) {
        self.shared.cancelled.set(true);
        self.shared.task.wake();
    }

    /// Whether the task has ended, in whatever way.
    pub fn is_finished(&self) -> bool {
        self.shared.finished.get()
    }
}

impl<T> Future for Task<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        if self.shared.finished.get() {
            return Poll::Ready(self.shared.output.take());
        }
        self.shared.awaiting.register(cx);
        Poll::Pending
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("is_finished", &self.is_finished()).finish()
    }
}

/// What a task and its handle have in common. Holds no waker once the task has ended: a handle may outlive the core.
struct Shared<T> {
    cancelled: Cell<bool>,
    finished: Cell<bool>,
    output: Cell<Option<T>>,
    /// Wakes the task, to be cancelled.
    task: WakerSlot,
    /// Wakes whoever awaits its end.
    awaiting: WakerSlot,
}

impl<T> Shared<T> {
    fn new() -> Self {
        Self {
            cancelled: Cell::new(false),
            finished: Cell::new(false),
            output: Cell::new(None),
            task: WakerSlot::default(),
            awaiting: WakerSlot::default(),
        }
    }

    fn finish(&self, output: Option<T>) {
        self.output.set(output);
        self.finished.set(true);
        self.task.clear();
        self.awaiting.wake();
    }
}

async fn until_cancelled<F: Future>(future: F, shared: &Shared<F::Output>) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if shared.cancelled.get() {
            return Poll::Ready(None);
        }
        let polled = future.as_mut().poll(cx);
        if polled.is_pending() {
            shared.task.register(cx);
        }
        // By its own hand, in this very poll.
        if polled.is_pending() && shared.cancelled.get() {
            return Poll::Ready(None);
        }
        polled.map(Some)
    })
    .await
}
