//! SIGINT ends clients in good order.

use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::Poll;

use signal_hook::consts::SIGINT;
use signal_hook::{SigId, flag, low_level};

use crate::client::session::Session;
use crate::worker::context::WorkerContext;
use crate::worker::net::Socket;
use crate::worker::signal::SignalGuard;

/// Closes the session when SIGINT comes, for as long as there is one.
pub(crate) fn watch(worker: &Rc<WorkerContext>, session: &Rc<Session>) {
    let session = session.clone();
    // Here and not in the task: from now on, not from its first turn on.
    let registered = match SigintHandlers::new() {
        Ok(registered) => registered,
        Err(error) => return tracing::warn!(%error, "SIGINT cannot be watched"),
    };
    worker.tasks.spawn(async move {
        let interrupted = poll_fn(|cx| match registered.wake_rx.poll_readable(cx) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending => session.poll_gone(cx).map(|()| false),
        });
        if interrupted.await {
            session.close();
            // Until then a second SIGINT ends the process.
            poll_fn(|cx| session.poll_gone(cx)).await;
        }
    });
}

/// The handlers, taken away again when dropped.
struct SigintHandlers {
    wake_rx: Socket,
    ids: Vec<SigId>,
    _claim: SignalGuard,
}

impl SigintHandlers {
    fn new() -> std::io::Result<Self> {
        let claim = SignalGuard::new()?;
        let (wake_rx, bell) = UnixStream::pair()?;
        let wake_rx = Socket::from_fd(OwnedFd::from(wake_rx))?;
        let mut this = Self { wake_rx, ids: Vec::new(), _claim: claim };
        // In this order: the first SIGINT finds the flag down, and raises it.
        let again = Arc::new(AtomicBool::new(false));
        this.ids.push(flag::register_conditional_shutdown(SIGINT, 130, again.clone())?);
        this.ids.push(flag::register(SIGINT, again)?);
        this.ids.push(low_level::pipe::register(SIGINT, bell)?);
        Ok(this)
    }
}

impl Drop for SigintHandlers {
    fn drop(&mut self) {
        self.ids.drain(..).for_each(|id| {
            low_level::unregister(id);
        });
    }
}
