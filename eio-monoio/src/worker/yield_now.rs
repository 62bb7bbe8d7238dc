//! Turns: how the tasks of a core let others go first.

use std::cell::RefCell;
use std::future::poll_fn;
use std::os::unix::net::UnixStream;
use std::task::{Context, Poll, Waker};

use crate::worker::mailbox::wake_owner;

/// Lets everything else of this core go first: tasks that are ready, the kernel, and timers, which the runtime
/// looks at only when no task is ready. A task that wakes itself, or waits for another, would keep those out; so
/// this one is woken by the kernel, by way of the core's [`MailboxReceiver`](crate::worker::mailbox::MailboxReceiver).
pub(crate) async fn yield_now() {
    let mut stepped = false;
    poll_fn(|cx| if std::mem::replace(&mut stepped, true) { Poll::Ready(()) } else { park(cx) })
        .await;
}

/// Steps back, if there is a bell to be woken by: to be polled again without asking.
pub(crate) fn park(cx: &Context<'_>) -> Poll<()> {
    if PARKED.with(|bench| bench.park(cx.waker())) { Poll::Pending } else { Poll::Ready(()) }
}

/// Work that needs no input of its own to go on: counts its pieces, and steps back after so many.
#[derive(Default)]
pub(crate) struct YieldBudget(u16);

impl YieldBudget {
    pub(crate) async fn count(&mut self) {
        const PIECES: u16 = 1024;
        self.0 += 1;
        if self.0 >= PIECES {
            self.0 = 0;
            yield_now().await;
        }
    }
}

thread_local! {
    static PARKED: Parked = const { Parked { wakers: RefCell::new(Vec::new()), bell: RefCell::new(None) } };
}

/// The tasks of this core that stepped back.
struct Parked {
    wakers: RefCell<Vec<Waker>>,
    /// The sending end of the core's bell, while there is one.
    bell: RefCell<Option<UnixStream>>,
}

impl Parked {
    /// Says whether there is somebody to wake `waker`.
    fn park(&self, waker: &Waker) -> bool {
        let bell = self.bell.borrow();
        let Some(bell) = &*bell else { return false };
        let mut wakers = self.wakers.borrow_mut();
        wakers.push(waker.clone());
        if wakers.len() == 1 {
            wake_owner(bell);
        }
        true
    }

    fn wake_all(&self) {
        self.wakers.borrow_mut().drain(..).for_each(Waker::wake);
    }
}

/// The core of this thread has a bell; `bell` is its sending end.
pub(crate) fn set_bell(bell: UnixStream) {
    PARKED.with(|bench| bench.bell.replace(Some(bell)));
}

/// The bell was heard.
pub(crate) fn wake_all() {
    PARKED.with(Parked::wake_all);
}

/// Nobody hears the bell any more.
pub(crate) fn end() {
    PARKED.with(|bench| {
        bench.bell.take();
        bench.wake_all();
    });
}
