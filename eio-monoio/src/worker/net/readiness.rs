//! Waiting for readiness repeatedly, in one allocation.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
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
    let make = |shared: Rc<SharedStream>| async move {
        // On epoll the runtime keeps the readiness that an event reported until an operation finds nothing. Its strict
        // form asks poll(2) for that; an event after it needs no second call.
        if monoio::utils::is_legacy() {
            let mut strict = pin!(shared.get().readable(false));
            let first = poll_fn(|cx| Poll::Ready(strict.as_mut().poll(cx))).await;
            if let Poll::Ready(result) = first {
                return result;
            }
        }
        shared.get().readable(true).await
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
        shared.waiting.set(result.is_pending());
        result
    }
}
