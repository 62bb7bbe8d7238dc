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
use crate::worker::context::Local;
use crate::worker::net::Stream;
use crate::worker::signal::Claim;

/// Closes the session when SIGINT comes, for as long as there is one.
pub(crate) fn watch(local: &Rc<Local>, session: &Rc<Session>) {
    let session = session.clone();
    // Here and not in the task: from now on, not from its first turn on.
    let registered = match Registered::new() {
        Ok(registered) => registered,
        Err(error) => return tracing::warn!(%error, "SIGINT cannot be watched"),
    };
    local.tasks.spawn(async move {
        let interrupted = poll_fn(|cx| match registered.ear.poll_readable(cx) {
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
struct Registered {
    ear: Stream,
    ids: Vec<SigId>,
    _claim: Claim,
}

impl Registered {
    fn new() -> std::io::Result<Self> {
        let claim = Claim::new()?;
        let (ear, bell) = UnixStream::pair()?;
        let ear = Stream::from_fd(OwnedFd::from(ear))?;
        let mut this = Self { ear, ids: Vec::new(), _claim: claim };
        // In this order: the first SIGINT finds the flag down, and raises it.
        let again = Arc::new(AtomicBool::new(false));
        this.ids.push(flag::register_conditional_shutdown(SIGINT, 130, again.clone())?);
        this.ids.push(flag::register(SIGINT, again)?);
        this.ids.push(low_level::pipe::register(SIGINT, bell)?);
        Ok(this)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.ids.drain(..).for_each(|id| {
            low_level::unregister(id);
        });
    }
}
