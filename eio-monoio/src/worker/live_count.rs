//! [`LiveCount`]: how many connections and sessions of a worker have left since their number was largest.

use std::cell::Cell;
use std::task::{Context, Poll};

use crate::worker::wakers::WakerSlot;

/// The number of connections and sessions that have left after which memory is trimmed. Each had 1 KiB or more.
pub(crate) const TRIM_AFTER: usize = 4096;

/// Counts connections and sessions. Where others take the place of those that leave, they also take their memory, and
/// nothing is to be trimmed.
#[derive(Default)]
pub(crate) struct LiveCount {
    live: Cell<usize>,
    /// The largest number since the last [`reset`](Self::reset).
    most: Cell<usize>,
    /// Woken when [`TRIM_AFTER`] have left.
    waiter: WakerSlot,
}

impl LiveCount {
    pub(crate) fn add(&self) {
        self.live.set(self.live.get() + 1);
        self.most.set(self.most.get().max(self.live.get()));
    }

    pub(crate) fn remove(&self) {
        self.live.set(self.live.get().saturating_sub(1));
        if self.left() == TRIM_AFTER {
            self.waiter.wake();
        }
    }

    pub(crate) fn get(&self) -> usize {
        self.live.get()
    }

    fn left(&self) -> usize {
        self.most.get() - self.live.get()
    }

    /// Ready when [`TRIM_AFTER`] have left.
    pub(crate) fn poll_left(&self, cx: &Context<'_>) -> Poll<()> {
        if self.left() >= TRIM_AFTER {
            return Poll::Ready(());
        }
        self.waiter.register(cx);
        Poll::Pending
    }

    /// Memory was trimmed.
    pub(crate) fn reset(&self) {
        self.most.set(self.live.get());
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn sessions_that_others_replace_have_not_left() {
        let live = LiveCount::default();
        let cx = Context::from_waker(Waker::noop());
        (0..2 * TRIM_AFTER).for_each(|_| live.add());
        for _ in 0..10 * TRIM_AFTER {
            live.remove();
            live.add();
        }
        assert_eq!(live.poll_left(&cx), Poll::Pending);
        (0..TRIM_AFTER).for_each(|_| live.remove());
        assert_eq!(live.poll_left(&cx), Poll::Ready(()));
        live.reset();
        assert_eq!(live.poll_left(&cx), Poll::Pending);
        assert_eq!(live.get(), TRIM_AFTER);
    }
}
