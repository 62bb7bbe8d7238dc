//! Turns: how the tasks of a core let others go first.

use std::cell::RefCell;
use std::future::poll_fn;
use std::os::unix::net::UnixStream;
use std::task::{Context, Poll, Waker};

use crate::worker::mailbox::ring;

/// Lets everything else of this core go first: tasks that are ready, the kernel, and timers, which the runtime
/// looks at only when no task is ready. A task that wakes itself, or waits for another, would keep those out; so
/// this one is woken by the kernel, by way of the core's [`Bell`](crate::worker::mailbox::Bell).
pub(crate) async fn step_back() {
    let mut stepped = false;
    poll_fn(|cx| if std::mem::replace(&mut stepped, true) { Poll::Ready(()) } else { sit(cx) })
        .await;
}

/// Steps back, if there is a bell to be woken by: to be polled again without asking.
pub(crate) fn sit(cx: &Context<'_>) -> Poll<()> {
    if BENCH.with(|bench| bench.sit(cx.waker())) { Poll::Pending } else { Poll::Ready(()) }
}

/// Work that needs no input of its own to go on: counts its pieces, and steps back after so many.
#[derive(Default)]
pub(crate) struct Turn(u16);

impl Turn {
    pub(crate) async fn count(&mut self) {
        const PIECES: u16 = 1024;
        self.0 += 1;
        if self.0 >= PIECES {
            self.0 = 0;
            step_back().await;
        }
    }
}

thread_local! {
    static BENCH: Bench = const { Bench { sitting: RefCell::new(Vec::new()), bell: RefCell::new(None) } };
}

/// The tasks of this core that stepped back.
struct Bench {
    sitting: RefCell<Vec<Waker>>,
    /// The sending end of the core's bell, while there is one.
    bell: RefCell<Option<UnixStream>>,
}

impl Bench {
    /// Says whether there is somebody to wake `waker`.
    fn sit(&self, waker: &Waker) -> bool {
        let bell = self.bell.borrow();
        let Some(bell) = &*bell else { return false };
        let mut sitting = self.sitting.borrow_mut();
        sitting.push(waker.clone());
        if sitting.len() == 1 {
            ring(bell);
        }
        true
    }

    fn wake_all(&self) {
        self.sitting.borrow_mut().drain(..).for_each(Waker::wake);
    }
}

/// The core of this thread has a bell; `bell` is its sending end.
pub(crate) fn set_bell(bell: UnixStream) {
    BENCH.with(|bench| bench.bell.replace(Some(bell)));
}

/// The bell was heard.
pub(crate) fn wake_all() {
    BENCH.with(Bench::wake_all);
}

/// Nobody hears the bell any more.
pub(crate) fn end() {
    BENCH.with(|bench| {
        bench.bell.take();
        bench.wake_all();
    });
}
