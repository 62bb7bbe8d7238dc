//! Memory goes back to the operating system when a burst is over.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use crate::worker::context::WorkerContext;
use crate::worker::deadline::Deadline;
use crate::worker::net;
use crate::worker::pool::TRIM_THRESHOLD;

/// A burst is over when so long less than [`TRIM_THRESHOLD`] was freed.
const CALM: Duration = Duration::from_secs(1);

/// Has a core look after its memory until its background tasks are aborted.
pub(crate) fn trim_after_bursts(worker: &Rc<WorkerContext>) {
    let owned = worker.clone();
    worker.background.spawn(async move { _ = owned.background.run(watch(&owned)).await });
}

/// Waits for bursts to end. The allocator keeps what it gets back in pieces, and the pool what it has room for: after
/// a large message on each of many connections that is more than all their sessions need.
async fn watch(worker: &Rc<WorkerContext>) {
    let deadline = Deadline::new(worker.clone());
    loop {
        poll_fn(|cx| worker.pool.poll_freed(cx)).await;
        while worker.pool.take_freed() >= TRIM_THRESHOLD {
            deadline.set(CALM);
            deadline.elapsed().await;
        }
        worker.pool.empty();
        net::trim();
    }
}
