//! Returning memory to the operating system after a burst.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use crate::worker::context::WorkerContext;
use crate::worker::deadline::Deadline;
use crate::worker::net;
use crate::worker::pool::TRIM_THRESHOLD;

/// A burst is over after a period of this length in which less than [`TRIM_THRESHOLD`] was freed.
const QUIET: Duration = Duration::from_secs(1);

/// Spawns the task that trims unused memory. It runs until the worker's background tasks are aborted.
pub(crate) fn trim_after_bursts(worker: &Rc<WorkerContext>) {
    let owned = worker.clone();
    worker.background.spawn(async move { _ = owned.background.run(watch(&owned)).await });
}

/// Trims after each burst. The allocator keeps freed memory in pieces, and the pool keeps buffers up to its limit: after
/// a large message on each of many connections, that is more memory than all their sessions need.
async fn watch(worker: &Rc<WorkerContext>) {
    let deadline = Deadline::new(worker.clone());
    loop {
        poll_fn(|cx| worker.pool.poll_freed(cx)).await;
        while worker.pool.take_freed() >= TRIM_THRESHOLD {
            deadline.set(QUIET);
            deadline.elapsed().await;
        }
        worker.pool.clear();
        net::trim();
    }
}
