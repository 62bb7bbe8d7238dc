//! [`spawn`] and [`sleep`]: tasks and timers of the application besides its handlers.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::worker::context::WorkerContext;
use crate::worker::deadline::{Deadline, Elapsed, millis};
use crate::worker::task_waker;
use crate::worker::tasks::Stopped;
use crate::worker::wakers::WakerSlot;
use crate::worker::yield_now::yield_now;

/// Runs `future` as a task of the current worker, concurrently with its handlers.
///
/// It may be called in a handler, in the function passed to [`Server::new`](crate::Server::new), in another task, or in
/// a [`client::block_on`](crate::client::block_on). From other threads, use
/// [`Remote::spawn`](crate::Remote::spawn).
///
/// The task ends with its worker at the latest. A shutdown does not wait for it: after requests, sessions and their
/// handlers have ended, remaining tasks are dropped. A panic ends this task only, and is logged.
///
/// Any thread may wake the task: besides [`sleep`] and methods of sockets, it may await channels whose sender is on
/// another thread. Timers and sockets of another runtime do not work here: they need that runtime on this thread.
///
/// ```
/// use std::time::Duration;
/// use eio_monoio::{Socket, sleep, spawn};
///
/// /// Sends a message each second until the session ends.
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
/// If no worker runs on this thread.
pub fn spawn<F>(future: F) -> Task<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let worker = current_worker();
    let task = Task { shared: Rc::new(Shared::new()) };
    let (shared, tasks) = (task.shared.clone(), worker.clone());
    let may_start = task_waker::may_start();
    tasks.background.spawn(async move {
        if !may_start {
            yield_now().await;
        }
        let outcome = worker.background.run(until_cancelled(future, &shared)).await;
        if matches!(outcome, Err(Stopped::Panicked)) {
            crate::log::error!("a spawned task panicked");
        }
        shared.finish(outcome.ok().flatten());
    });
    task
}

/// Completes after `duration`, at most 10 ms late. A duration of more than 49 days counts as 49 days.
///
/// ```
/// use std::time::Duration;
/// use eio_monoio::{Driver, client, sleep};
///
/// client::block_on(Driver::Auto, async {
///     sleep(Duration::from_millis(20)).await;
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Panics
/// If no worker runs on this thread; see [`spawn`].
pub async fn sleep(duration: Duration) {
    sleep_on(&current_worker(), duration).await;
}

/// Runs `future` for at most `duration`, with the precision of [`sleep`], and drops it then.
///
/// ```
/// use std::time::Duration;
/// use eio_monoio::{Driver, client, sleep, timeout};
///
/// client::block_on(Driver::Auto, async {
///     assert_eq!(timeout(Duration::from_secs(9), async { 7 }).await, Ok(7));
///     let slow = sleep(Duration::from_secs(9));
///     assert!(timeout(Duration::from_millis(20), slow).await.is_err());
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// [`Elapsed`] if the time has passed before `future` is ready.
///
/// # Panics
/// If no worker runs on this thread; see [`spawn`].
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    let deadline = Deadline::new(current_worker());
    deadline.set(duration);
    deadline.limit(future).await
}

pub(crate) async fn sleep_on(worker: &Rc<WorkerContext>, duration: Duration) {
    let deadline = Deadline::new(worker.clone());
    deadline.set_millis(millis(duration));
    deadline.elapsed().await;
}

fn current_worker() -> Rc<WorkerContext> {
    WorkerContext::current().expect("no worker runs on this thread: see eio_monoio::spawn")
}

/// The handle of a task that was [spawned](spawn).
///
/// Dropping the handle does not affect the task. Awaiting it returns the task's output, or `None` if the task panicked,
/// was cancelled or ended with its worker.
///
/// ```
/// use std::time::Duration;
/// use eio_monoio::{Driver, client, sleep, spawn};
///
/// client::block_on(Driver::Auto, async {
///     let answer = spawn(async { 6 * 7 });
///     assert_eq!(answer.await, Some(42));
///
///     let endless = spawn(std::future::pending::<()>());
///     endless.cancel();
///     assert_eq!(endless.await, None);
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Task<T> {
    shared: Rc<Shared<T>>,
}

impl<T> Task<T> {
    /// Cancels the task: it is woken and its future dropped without another poll. Has no effect on a task that has
    /// ended.
    pub fn cancel(&self) {
        self.shared.cancelled.set(true);
        self.shared.task.wake();
    }

    /// Whether the task has completed, panicked or been cancelled.
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

/// The state shared by a task and its handle. It holds no waker after the task has ended: a handle may outlive the
/// worker.
struct Shared<T> {
    cancelled: Cell<bool>,
    finished: Cell<bool>,
    output: Cell<Option<T>>,
    /// Wakes the task, to cancel it.
    task: WakerSlot,
    /// Wakes the task that awaits the handle.
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
        // The future cancelled its own task in this poll.
        if polled.is_pending() && shared.cancelled.get() {
            return Poll::Ready(None);
        }
        polled.map(Some)
    })
    .await
}
