//! Returning memory to the operating system after a burst.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use crate::worker::context::WorkerContext;
use crate::worker::deadline::Deadline;
use crate::worker::live_count::TRIM_AFTER;
use crate::worker::net;
use crate::worker::pool::TRIM_THRESHOLD;

/// A burst is over after a period of this length in which less than [`TRIM_THRESHOLD`] was freed, and fewer than
/// [`TRIM_AFTER`] connections and sessions have left.
const QUIET: Duration = Duration::from_secs(1);

/// Spawns the task that trims unused memory, of the worker and by `shrink` of its owner. It runs until the worker's
/// background tasks are aborted.
pub(crate) fn trim_after_bursts(worker: &Rc<WorkerContext>, shrink: impl Fn() + 'static) {
    let owned = worker.clone();
    worker.background.spawn(async move { _ = owned.background.run(watch(&owned, shrink)).await });
}

/// Trims after each burst. The allocator keeps freed memory in pieces, and the pool keeps buffers up to its limit: after
/// a large message on each of many connections, or after many sessions have left, that is more memory than the others
/// need.
async fn watch(worker: &Rc<WorkerContext>, shrink: impl Fn()) {
    let deadline = Deadline::new(worker.clone());
    loop {
        poll_fn(|cx| {
            let (freed, left) = (worker.pool.poll_freed(cx), worker.live.poll_left(cx));
            if freed.is_ready() || left.is_ready() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        worker.pool.take_freed();
        loop {
            let before = worker.live.get();
            deadline.set(QUIET);
            deadline.elapsed().await;
            let left = before.saturating_sub(worker.live.get());
            if worker.pool.take_freed() < TRIM_THRESHOLD && left < TRIM_AFTER {
                break;
            }
        }
        worker.live.reset();
        shrink();
        worker.shrink();
        worker.pool.clear();
        net::trim();
    }
}
