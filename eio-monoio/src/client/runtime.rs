//! [`block_on`]: a worker for clients.

use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::worker::context::WorkerContext;
use crate::worker::deadline::Deadline;
use crate::worker::mailbox::{Mailbox, MailboxReceiver};
use crate::worker::net::{Driver, Runtime, Timer};
use crate::worker::task_waker::TaskWaker;
use crate::worker::trim::trim_after_bursts;

/// Makes this thread a worker and runs `future` on it.
///
/// Returns when `future` has completed. All other tasks of the worker are dropped then, and sessions end without sending
/// queued messages: await [`Client::disconnect`](crate::client::Client::disconnect) before.
///
/// A handler of a server does not need this: it runs on a worker already.
///
/// ```no_run
/// use eio_monoio::Driver;
/// use eio_monoio::client::{self, Client, ConnectError};
///
/// client::block_on(Driver::Auto, async {
///     let client = Client::connect("http://localhost:3000").await?;
///     client.send("hello").await.ok();
///     client.disconnect().await;
///     Ok::<(), ConnectError>(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The kernel cannot provide the driver, or this thread is a worker already.
///
/// # Panics
/// If `future` panics.
pub fn block_on<F: Future>(driver: Driver, future: F) -> io::Result<F::Output> {
    if WorkerContext::current().is_some() {
        return Err(io::Error::other("this thread is a worker already"));
    }
    let (mut runtime, _) = Runtime::build(driver)?;
    let output = runtime.block_on(async {
        let timer = Timer::new()?;
        let worker = Rc::new(WorkerContext::default());
        let _current = worker.enter();
        let clock = worker.clone();
        worker.services.spawn(async move { clock.keep_time(timer, |_, _| ()).await });
        trim_after_bursts(&worker, || {});
        if let Err(error) = spawn_yield_waker(&worker) {
            shut_down(&worker).await;
            return Err(error);
        }
        let output = catch_panic(future).await;
        shut_down(&worker).await;
        Ok(output)
    });
    match output? {
        Ok(output) => Ok(output),
        Err(panic) => resume_unwind(panic),
    }
}

/// Spawns the task that wakes tasks of this worker which have yielded: the owner of a mailbox that receives no items.
fn spawn_yield_waker(worker: &Rc<WorkerContext>) -> io::Result<()> {
    let (mailbox, wake_rx) = Mailbox::<()>::new()?;
    let receiver = MailboxReceiver::of_worker(wake_rx, &mailbox)?;
    let context = worker.clone();
    worker.services.spawn(async move {
        let mut items = Vec::new();
        let mut receiving = pin!(mailbox.recv(&receiver, &mut items));
        poll_fn(|cx| {
            if context.poll_finished(cx).is_ready() {
                return Poll::Ready(());
            }
            receiving.as_mut().poll(cx).map(drop)
        })
        .await;
    });
    Ok(())
}

/// A panic must not unwind through the runtime while tasks exist: it would leak them and their sockets.
async fn catch_panic<F: Future>(future: F) -> std::thread::Result<F::Output> {
    let mut future = pin!(future);
    let mut waker = TaskWaker::default();
    let mut poll =
        |cx: &mut Context<'_>| waker.poll(cx, |cx: &mut Context<'_>| future.as_mut().poll(cx));
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// Ends every task of the worker.
async fn shut_down(worker: &Rc<WorkerContext>) {
    /// The time for tasks to end after their sockets are shut down; they only have to be polled once.
    const TIMEOUT: Duration = Duration::from_secs(2);
    worker.begin_shutdown();
    worker.stop_accepting();
    worker.cut_off();
    let deadline = Deadline::new(worker.clone());
    deadline.set(TIMEOUT);
    let ended = poll_fn(|cx| {
        ready!(worker.tasks.poll_none(cx));
        worker.background.poll_none(cx)
    });
    if deadline.limit(ended).await.is_err() {
        crate::log::error!("a task did not end; its sockets stay open until the process ends");
    }
    drop(deadline);
    worker.finish();
    poll_fn(|cx| worker.services.poll_none(cx)).await;
}
