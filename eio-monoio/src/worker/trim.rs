//! Memory goes back to the operating system when a burst is over.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use crate::worker::context::Local;
use crate::worker::deadline::Deadline;
use crate::worker::net;
use crate::worker::pool::MUCH;

/// A burst is over when so long less than [`MUCH`] was freed.
const CALM: Duration = Duration::from_secs(1);

/// Has a core look after its memory until its background tasks are aborted.
pub(crate) fn keep_lean(local: &Rc<Local>) {
    let core = local.clone();
    local.background.spawn(async move { _ = core.background.run(watch(&core)).await });
}

/// Waits for bursts to end. The allocator keeps what it gets back in pieces, and the pool what it has room for: after
/// a large message on each of many connections that is more than all their sessions need.
async fn watch(local: &Rc<Local>) {
    let deadline = Deadline::new(local.clone());
    loop {
        poll_fn(|cx| local.pool.poll_freed(cx)).await;
        while local.pool.take_freed() >= MUCH {
            deadline.set(CALM);
            poll_fn(|cx| deadline.poll(cx)).await;
        }
        local.pool.empty();
        net::trim();
    }
}
