//! [`Tasks`]: counted tasks of a worker, and user code that can neither end the worker by a panic nor outlive it.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::num::NonZeroU32;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;
use slab::Slab;

use crate::worker::clock;
use crate::worker::net;
use crate::worker::task_waker::TaskWaker;
use crate::worker::wakers::WakerSlot;

/// The tasks of a worker. A runtime that is dropped with live tasks leaks its ring and their sockets, so a worker ends
/// only when this count is zero.
#[derive(Default)]
pub(crate) struct Tasks {
    live: Rc<Live>,
    aborting: Cell<bool>,
    /// Pending user futures, which an abort wakes.
    pending: RefCell<Slab<Waker>>,
}

#[derive(Default)]
struct Live {
    count: Cell<usize>,
    waiter: WakerSlot,
}

pin_project! {
    /// A future, and a guard that is dropped with it. An async block would take twice the memory: it has separate room
    /// for the future as it was captured and as it is awaited.
    pub(crate) struct WithGuard<F, G> {
        #[pin]
        pub(crate) future: F,
        pub(crate) guard: G,
    }
}

impl<F: Future, G> Future for WithGuard<F, G> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _poll = clock::begin_poll();
        self.project().future.poll(cx)
    }
}

/// Why user code did not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    Panicked,
    /// The shutdown timeout has passed.
    Aborted,
}

impl Tasks {
    // Inlined: the future is constructed in place, not copied.
    #[inline(always)]
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let guard = Counted::new(self.live.clone());
        net::spawn(WithGuard { future, guard });
    }

    /// Polls `future` in the task of the caller, and spawns it if it is pending: most callbacks of the application await
    /// nothing, and need no task.
    pub(crate) async fn run_or_spawn(&self, future: impl Future<Output = ()> + 'static) {
        let guard = Counted::new(self.live.clone());
        let mut task = Box::pin(WithGuard { future, guard });
        if poll_fn(|cx| Poll::Ready(task.as_mut().poll(cx))).await.is_pending() {
            net::spawn(task);
        }
    }

    /// Ready when no task is left. The task of `cx` is woken each time the count becomes zero, even if this returned
    /// ready before.
    pub(crate) fn poll_none(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.live.waiter.register(cx);
        if self.live.count.get() == 0 { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The number of user futures that are pending.
    pub(crate) fn pending(&self) -> usize {
        self.pending.borrow().len()
    }

    /// Frees the memory of entries of user futures that have ended.
    pub(crate) fn shrink(&self) {
        self.pending.borrow_mut().shrink_to_fit();
    }

    /// Whether user futures are dropped after their next poll.
    pub(crate) fn is_aborting(&self) -> bool {
        self.aborting.get()
    }

    /// Wakes all user futures, and drops each after its next poll.
    pub(crate) fn abort(&self) {
        self.aborting.set(true);
        self.pending.borrow().iter().for_each(|(_, waker)| waker.wake_by_ref());
    }

    /// Calls user code that returns a future.
    #[inline]
    pub(crate) fn call<F>(&self, call: impl FnOnce() -> F) -> Result<F, Stopped> {
        clock::in_application(|| catch_unwind(AssertUnwindSafe(call)))
            .map_err(|_| Stopped::Panicked)
    }

    /// Runs a user future.
    pub(crate) fn run<F: Future>(&self, future: F) -> Run<'_, F> {
        let registered = AbortRegistration { tasks: self, key: None };
        Run {
            future: GuardedFuture { future: Some(future) },
            registered,
            waker: TaskWaker::default(),
        }
    }

    /// Calls user code that returns a future, and runs that future.
    #[inline(always)]
    pub(crate) fn start<F: Future>(&self, call: impl FnOnce() -> F) -> Run<'_, F> {
        let registered = AbortRegistration { tasks: self, key: None };
        Run {
            future: GuardedFuture { future: self.call(call).ok() },
            registered,
            waker: TaskWaker::default(),
        }
    }
}

pin_project! {
    /// See [`Tasks::run`]. Not an async block, which would have room for the future twice.
    pub(crate) struct Run<'t, F> {
        #[pin]
        future: GuardedFuture<F>,
        registered: AbortRegistration<'t>,
        // Other threads may wake the future, and it may hand its waker to any of them.
        waker: TaskWaker,
    }
}

impl<F: Future> Future for Run<'_, F> {
    type Output = Result<F::Output, Stopped>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().project().future.as_pin_mut() else {
            // The call that should have returned the future panicked.
            return Poll::Ready(Err(Stopped::Panicked));
        };
        let poll = AssertUnwindSafe(|| this.waker.poll(cx, |cx| future.poll(cx)));
        let polled = clock::in_application(|| catch_unwind(poll));
        let outcome = match polled {
            Ok(Poll::Ready(output)) => Ok(output),
            // Not before the first poll: a disconnect callback that awaits nothing completes during an abort too.
            Ok(Poll::Pending) if this.registered.tasks.aborting.get() => Err(Stopped::Aborted),
            Ok(Poll::Pending) => {
                this.registered.set(cx.waker());
                return Poll::Pending;
            }
            Err(_) => Err(Stopped::Panicked),
        };
        Poll::Ready(if this.future.clear() { outcome } else { Err(Stopped::Panicked) })
    }
}

pin_project! {
    /// A user future. Dropping it runs user code too, whose panic must not end the worker.
    struct GuardedFuture<F> {
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for GuardedFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            this.clear();
        }
    }
}

impl<F> GuardedFuture<F> {
    /// Drops the future. Returns false if that panicked.
    fn clear(self: Pin<&mut Self>) -> bool {
        let mut future = self.project().future;
        catch_unwind(AssertUnwindSafe(|| future.set(None))).is_ok()
    }
}

/// A user value whose `Drop` may panic: the panic is caught and logged.
pub(crate) struct Guarded<T>(Option<T>);

impl<T> Guarded<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T> Deref for Guarded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().unwrap_or_else(|| unreachable!("only `drop` takes the value"))
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        if catch_unwind(AssertUnwindSafe(|| drop(value))).is_err() {
            crate::log::error!("the application panicked while its data was dropped");
        }
    }
}

struct AbortRegistration<'a> {
    tasks: &'a Tasks,
    key: Option<PendingKey>,
}

/// An index in [`Tasks::pending`], plus one.
#[derive(Clone, Copy)]
struct PendingKey(NonZeroU32);

impl PendingKey {
    fn new(index: usize) -> Self {
        Self(NonZeroU32::MIN.saturating_add(index as u32))
    }

    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl AbortRegistration<'_> {
    fn set(&mut self, waker: &Waker) {
        let mut pending = self.tasks.pending.borrow_mut();
        match self.key.and_then(|key| pending.get_mut(key.index())) {
            Some(known) if known.will_wake(waker) => {}
            Some(known) => *known = waker.clone(),
            None => self.key = Some(PendingKey::new(pending.insert(waker.clone()))),
        }
    }
}

impl Drop for AbortRegistration<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.tasks.pending.borrow_mut().try_remove(key.index());
        }
    }
}

struct Counted(Rc<Live>);

impl Counted {
    fn new(live: Rc<Live>) -> Self {
        live.count.set(live.count.get() + 1);
        Self(live)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let count = self.0.count.get() - 1;
        self.0.count.set(count);
        if count == 0 {
            self.0.waiter.wake();
        }
    }
}
