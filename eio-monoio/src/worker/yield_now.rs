//! [`yield_now`]: how a task lets the rest of its worker run.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use crate::worker::mailbox_waker::MailboxWaker;

/// Lets everything else on this worker run first: ready tasks, the kernel, and timers, which the runtime polls only
/// when no task is ready. A task that wakes itself, or waits for another task, would starve those. Therefore the
/// kernel wakes this one, through the socket of the worker's
/// [`MailboxReceiver`](crate::worker::mailbox::MailboxReceiver).
pub(crate) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| if std::mem::replace(&mut yielded, true) { Poll::Ready(()) } else { park(cx) })
        .await;
}

/// Parks the task of `cx` until the kernel wakes the worker. Ready at once if the worker has no waker. The caller may
/// continue when it is polled again, without calling this again.
pub(crate) fn park(cx: &Context<'_>) -> Poll<()> {
    if park_task(cx.waker()) { Poll::Pending } else { Poll::Ready(()) }
}

/// Wakes `task` when the kernel wakes the worker. Returns false if the worker has no waker.
pub(crate) fn park_task(task: &Waker) -> bool {
    PARKED.try_with(|parked| parked.park(task)).unwrap_or(false)
}

/// Counts the steps of work that waits for no input, and yields after each 1,024 of them.
#[derive(Default)]
pub(crate) struct YieldBudget(u16);

impl YieldBudget {
    pub(crate) async fn count(&mut self) {
        const STEPS: u16 = 1024;
        self.0 += 1;
        if self.0 >= STEPS {
            self.0 = 0;
            yield_now().await;
        }
    }
}

thread_local! {
    static PARKED: Parked =
        const { Parked { tasks: RefCell::new(Vec::new()), waker: RefCell::new(None) } };
}

/// The tasks of this worker that have yielded.
struct Parked {
    tasks: RefCell<Vec<Waker>>,
    /// Wakes this worker, while its mailbox is read.
    waker: RefCell<Option<MailboxWaker>>,
}

impl Parked {
    /// Returns false, and does not park the task, if nothing would wake it.
    fn park(&self, task: &Waker) -> bool {
        let waker = self.waker.borrow();
        let Some(waker) = &*waker else { return false };
        let mut tasks = self.tasks.borrow_mut();
        tasks.push(task.clone());
        if tasks.len() == 1 {
            waker.wake();
        }
        true
    }

    fn wake_all(&self) {
        self.tasks.borrow_mut().drain(..).for_each(Waker::wake);
    }
}

/// Tasks of this worker may park from now on: `waker` wakes it.
pub(crate) fn set_waker(waker: MailboxWaker) {
    PARKED.with(|parked| parked.waker.replace(Some(waker)));
}

/// Wakes the parked tasks: the worker has received a wake-up.
pub(crate) fn wake_all() {
    PARKED.with(Parked::wake_all);
}

/// The worker no longer receives wake-ups: wakes the parked tasks, and none parks from now on.
pub(crate) fn clear_waker() {
    PARKED.with(|parked| {
        parked.waker.take();
        parked.wake_all();
    });
}
