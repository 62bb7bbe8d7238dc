//! [`poll_once`]: one step of a future, without waiting.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;

/// Polls `future` once, with the waker of the task that awaits this, and drops it. The result is ready at once.
///
/// `embassy_futures::poll_once` polls with a waker that belongs to no task. A timer in the timer queue of the executor
/// panics on such a waker.
pub(crate) async fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}
