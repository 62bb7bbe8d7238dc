//! [`block_on`]: a core for clients alone.

use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use crate::worker::context::Local;
use crate::worker::deadline::Deadline;
use crate::worker::mailbox::{Bell, Mailbox};
use crate::worker::net::{Driver, Runtime};
use crate::worker::trim::keep_lean;

/// Makes this thread a core and runs `future` on it. Done when `future` is: then whatever else still runs on the
/// core is cut off.
///
/// # Errors
/// The kernel refused a runtime, or this thread is a core already.
///
/// # Panics
/// If `future` does.
pub fn block_on<F: Future>(driver: Driver, future: F) -> io::Result<F::Output> {
    if Local::current().is_some() {
        return Err(io::Error::other("this thread runs a core already"));
    }
    let mut runtime = Runtime::build(driver)?;
    let output = runtime.block_on(async {
        let local = Rc::new(Local::default());
        let _current = local.enter();
        let clock = local.clone();
        local.services.spawn(async move { clock.keep_time(|_, _| ()).await });
        keep_lean(&local);
        if let Err(error) = listen(&local) {
            end(&local).await;
            return Err(error);
        }
        let output = guarded(future).await;
        end(&local).await;
        Ok(output)
    });
    match output? {
        Ok(output) => Ok(output),
        Err(panic) => resume_unwind(panic),
    }
}

/// Sets up what wakes those who step back on this core: a mailbox that gets no mail.
fn listen(local: &Rc<Local>) -> io::Result<()> {
    let (mailbox, ear) = Mailbox::<()>::new()?;
    let bell = Bell::of_core(ear, &mailbox)?;
    let core = local.clone();
    local.services.spawn(async move {
        let mut none = Vec::new();
        let mut mail = pin!(mailbox.recv(&bell, &mut none));
        poll_fn(|cx| {
            if core.poll_finished(cx).is_ready() {
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
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// Ends every task of the core.
async fn end(local: &Rc<Local>) {
    /// What cut-off tasks get to unwind; they only have to be polled once.
    const UNWIND: Duration = Duration::from_secs(2);
    local.begin_shutdown();
    local.shut();
    local.cut_off();
    let deadline = Deadline::new(local.clone());
    deadline.set(UNWIND);
    let ended = poll_fn(|cx| {
        if local.tasks.poll_none(cx).is_ready() && local.background.poll_none(cx).is_ready() {
            return Poll::Ready(true);
        }
        deadline.poll(cx).map(|()| false)
    });
    if !ended.await {
        tracing::error!("a task would not end; its sockets are left to the process");
    }
    drop(deadline);
    local.finish();
    poll_fn(|cx| local.services.poll_none(cx)).await;
}
