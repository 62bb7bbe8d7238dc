//! Waiting for readiness repeatedly, in one allocation.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::shared::SharedStream;

/// A wait for readability that can be repeated after it completes.
pub(super) trait Readiness {
    fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        shared: &Rc<SharedStream>,
    ) -> Poll<io::Result<()>>;

    /// Whether a wait has begun and not completed: the runtime holds the descriptor then.
    fn is_armed(&self) -> bool;
}

pin_project! {
    struct Repeated<M, F> {
        make: M,
        #[pin]
        waiting: Option<F>,
    }
}

/// Waits until a receive on a stream would not block. Each poll passes the same stream.
pub(super) fn readable() -> Pin<Box<dyn Readiness>> {
    let make = |shared: Rc<SharedStream>| {
        // The strict form on epoll asks poll(2) and clears stale readiness: the runtime does not learn that
        // `try_recv` returned WouldBlock.
        async move { shared.get().readable(!monoio::utils::is_legacy()).await }
    };
    Box::pin(Repeated { make, waiting: None })
}

impl<M: Fn(Rc<SharedStream>) -> F, F: Future<Output = io::Result<()>>> Readiness
    for Repeated<M, F>
{
    fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        shared: &Rc<SharedStream>,
    ) -> Poll<io::Result<()>> {
        let mut this = self.project();
        if this.waiting.is_none() {
            this.waiting.set(Some((this.make)(shared.clone())));
        }
        let Some(waiting) = this.waiting.as_mut().as_pin_mut() else { return Poll::Pending };
        let result = waiting.poll(cx);
        if result.is_ready() {
            this.waiting.set(None);
        }
        result
    }

    fn is_armed(&self) -> bool {
        self.waiting.is_some()
    }
}
