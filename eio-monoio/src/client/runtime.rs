//! [`block_on`]: a core for clients alone.

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
use crate::worker::net::{Driver, Runtime};
use crate::worker::task_waker::TaskWaker;
use crate::worker::trim::trim_after_bursts;

/// Makes this thread a core and runs `future` on it. Done when `future` is: then whatever else still runs on the
/// core is cut off.
///
/// # Errors
/// The kernel refused a runtime, or this thread is a core already.
///
/// # Panics
/// If `future` does.
pub fn block_on<F: Future>(driver: Driver, future: F) -> io::Result<F::Output> {
    if WorkerContext::current().is_some() {
        return Err(io::Error::other("this thread runs a core already"));
    }
    let mut runtime = Runtime::build(driver)?;
    let output = runtime.block_on(async {
        let worker = Rc::new(WorkerContext::default());
        let _current = worker.enter();
        let clock = worker.clone();
        worker.services.spawn(async move { clock.keep_time(|_, _| ()).await });
        trim_after_bursts(&worker);
        if let Err(error) = listen(&worker) {
            end(&worker).await;
            return Err(error);
        }
        let output = guarded(future).await;
        end(&worker).await;
        Ok(output)
    });
    match output? {
        Ok(output) => Ok(output),
        Err(panic) => resume_unwind(panic),
    }
}

/// Sets up what wakes those who step back on this core: a mailbox that gets no mail.
fn listen(worker: &Rc<WorkerContext>) -> io::Result<()> {
    let (mailbox, wake_rx) = Mailbox::<()>::new()?;
    let bell = MailboxReceiver::of_worker(wake_rx, &mailbox)?;
    let watched = worker.clone();
    worker.services.spawn(async move {
        let mut none = Vec::new();
        let mut mail = pin!(mailbox.recv(&bell, &mut none));
        poll_fn(|cx| {
            if watched.poll_finished(cx).is_ready() {
                return Poll::Ready(());
            }
            mail.as_mut().poll(cx).map(drop)
        })
        .await;
    });
    Ok(())
}

/// A panic must not unwind through the runtime while tasks live: it would leak them and their sockets.
async fn guarded<F: Future>(future: F) -> std::thread::Result<F::Output> {
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

/// Ends every task of the core.
async fn end(worker: &Rc<WorkerContext>) {
    /// What cut-off tasks get to unwind; they only have to be polled once.
    const UNWIND: Duration = Duration::from_secs(2);
    worker.begin_shutdown();
    worker.stop_accepting();
    worker.cut_off();
    let deadline = Deadline::new(worker.clone());
    deadline.set(UNWIND);
    let ended = poll_fn(|cx| {
        ready!(worker.tasks.poll_none(cx));
        worker.background.poll_none(cx)
    });
    if deadline.limit(ended).await.is_err() {
        tracing::error!("a task would not end; its sockets are left to the process");
    }
    drop(deadline);
    worker.finish();
    poll_fn(|cx| worker.services.poll_none(cx)).await;
}
