//! SIGINT closes the sessions of clients.

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

/// Closes the session on SIGINT, until it has ended.
pub(crate) fn close_on_sigint(worker: &Rc<WorkerContext>, session: &Rc<Session>) {
    let session = session.clone();
    // Registered here and not in the task, so that it takes effect before the task is polled.
    let handlers = match SigintHandlers::new() {
        Ok(handlers) => handlers,
        Err(error) => return crate::log::warn!(%error, "cannot handle SIGINT"),
    };
    worker.tasks.spawn(async move {
        let interrupted = poll_fn(|cx| match handlers.wake_rx.poll_readable(cx) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending => session.poll_finished(cx).map(|()| false),
        });
        if interrupted.await {
            session.close();
            // Until the session has ended, a second SIGINT ends the process.
            poll_fn(|cx| session.poll_finished(cx)).await;
        }
    });
}

/// The handlers of SIGINT, removed when dropped.
struct SigintHandlers {
    wake_rx: Socket,
    ids: Vec<SigId>,
    _guard: SignalGuard,
}

impl SigintHandlers {
    fn new() -> std::io::Result<Self> {
        let guard = SignalGuard::new()?;
        let (wake_rx, wake_tx) = UnixStream::pair()?;
        let wake_rx = Socket::from_fd(OwnedFd::from(wake_rx))?;
        let mut handlers = Self { wake_rx, ids: Vec::new(), _guard: guard };
        // The order matters: the first SIGINT finds the flag unset and sets it, the second one ends the process.
        let interrupted = Arc::new(AtomicBool::new(false));
        let end = flag::register_conditional_shutdown(SIGINT, 130, interrupted.clone())?;
        handlers.ids.push(end);
        handlers.ids.push(flag::register(SIGINT, interrupted)?);
        handlers.ids.push(low_level::pipe::register(SIGINT, wake_tx)?);
        Ok(handlers)
    }
}

impl Drop for SigintHandlers {
    fn drop(&mut self) {
        self.ids.drain(..).for_each(|id| {
            low_level::unregister(id);
        });
    }
}
