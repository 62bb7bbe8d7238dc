//! Wakers that any thread may use.
//!
//! A waker of the runtime may be used, cloned and dropped on the thread of its task only: its reference counts are not
//! shared between threads, and on another thread it panics. Application code may hand a waker to any thread, by a
//! channel, a mutex or a future of another runtime. So a future of the application never sees the waker of its task: it is
//! polled with a waker of this module, which holds no reference to the task. Used on the thread of the task, it wakes the
//! task at once; used on another thread, it posts the key of the task to the worker, which wakes it.
//!
//! A future that is ready at its first poll costs no allocation: the waker it did not clone serves the next one.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use pin_project_lite::pin_project;
use slab::Slab;

use crate::worker::mailbox_waker::MailboxWaker;
use crate::worker::yield_now;

/// The waker of one application future. `poll` runs the future with it.
#[derive(Default)]
pub(crate) struct TaskWaker(Option<Registered>);

/// A future that was pending once.
struct Registered {
    shared: Arc<Shared>,
    waker: Waker,
}

/// The part of a waker that other threads share.
struct Shared {
    queue: Arc<WakeQueue>,
    /// The key of the task in the table of its worker, or [`NO_KEY`].
    key: AtomicUsize,
    /// Woken since the last poll: one wake is enough.
    woken: AtomicBool,
}

const NO_KEY: usize = usize::MAX;

/// The key of a task during a poll: until it is restored, a wake only sets [`Shared::woken`].
struct HiddenKey<'s> {
    shared: &'s Shared,
    key: usize,
}

impl<'s> HiddenKey<'s> {
    fn new(shared: &'s Shared) -> Self {
        let key = shared.key.load(Ordering::SeqCst);
        if key != NO_KEY {
            shared.key.store(NO_KEY, Ordering::SeqCst);
        }
        Self { shared, key }
    }
}

impl Drop for HiddenKey<'_> {
    fn drop(&mut self) {
        if self.key != NO_KEY {
            self.shared.key.store(self.key, Ordering::SeqCst);
        }
    }
}

impl TaskWaker {
    /// Polls by calling `poll` with a waker that any thread may use.
    #[inline]
    pub(crate) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let registered = match &self.0 {
            Some(registered) => {
                // A swap and not a store: the poll sees all that was written before the wakes that this forgets.
                registered.shared.woken.swap(false, Ordering::SeqCst);
                registered
            }
            None => self.0.insert(WORKER.with(Worker::unused)),
        };
        let hidden_key = HiddenKey::new(&registered.shared);
        let result = poll(&mut Context::from_waker(&registered.waker));
        drop(hidden_key);
        if result.is_ready() {
            self.give_back();
        } else {
            WORKER.with(|worker| worker.register(&registered.shared, cx.waker()));
            // A wake during the poll found no key. A future that wakes itself must not starve the others.
            if registered.shared.woken.load(Ordering::SeqCst) && yield_now::park(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        result
    }

    #[inline]
    fn give_back(&mut self) {
        if let Some(registered) = self.0.take() {
            // Without the worker of the thread there is no table to leave.
            let _ = WORKER.try_with(|worker| worker.give_back(registered));
        }
    }
}

impl Drop for TaskWaker {
    fn drop(&mut self) {
        self.give_back();
    }
}

pin_project! {
    /// A future that other threads wake, in a task of this crate. Futures of the application have such a waker already.
    pub(crate) struct AnyThread<F> {
        #[pin]
        future: F,
        waker: TaskWaker,
    }
}

impl<F> AnyThread<F> {
    pub(crate) fn new(future: F) -> Self {
        Self { future, waker: TaskWaker::default() }
    }
}

impl<F: Future> Future for AnyThread<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.waker.poll(cx, |cx| this.future.poll(cx))
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.woken.swap(true, Ordering::SeqCst) {
            return;
        }
        let key = self.key.load(Ordering::SeqCst);
        if key == NO_KEY {
            return;
        }
        let is_here = WORKER.try_with(|worker| worker.wake(&self.queue, key)).unwrap_or(false);
        if !is_here {
            self.queue.post(key);
        }
    }
}

/// Keys of tasks that other threads have woken.
struct WakeQueue {
    keys: Mutex<Vec<usize>>,
    /// Wakes the worker; `None` once it has ended, or before it receives.
    waker: Mutex<Option<MailboxWaker>>,
}

impl WakeQueue {
    fn post(&self, key: usize) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.push(key);
        let is_first = keys.len() == 1;
        drop(keys);
        if is_first && let Some(waker) = &*self.waker.lock().unwrap_or_else(PoisonError::into_inner)
        {
            waker.wake();
        }
    }
}

thread_local! {
    static WORKER: Worker = Worker::default();
}

/// The application futures of this thread's worker that are pending.
struct Worker {
    queue: Arc<WakeQueue>,
    /// The wakers of the runtime, by key. They never leave this thread.
    tasks: RefCell<Slab<Waker>>,
    /// A waker of which there is no clone.
    spare: Cell<Option<Registered>>,
    /// The wakes on this thread since the kernel last woke the worker.
    wakes: Cell<u16>,
}

/// The most wakes on the thread of a worker before the kernel runs. Without a limit, two futures that wake each other
/// would leave no time for I/O and timers.
const MAX_WAKES: u16 = 1024;

impl Default for Worker {
    fn default() -> Self {
        let queue = WakeQueue { keys: Mutex::default(), waker: Mutex::default() };
        Self {
            queue: Arc::new(queue),
            tasks: RefCell::default(),
            spare: Cell::default(),
            wakes: Cell::default(),
        }
    }
}

impl Worker {
    /// A waker of no task.
    #[inline]
    fn unused(&self) -> Registered {
        self.spare.take().unwrap_or_else(|| {
            let shared = Arc::new(Shared {
                queue: self.queue.clone(),
                key: AtomicUsize::new(NO_KEY),
                woken: AtomicBool::new(false),
            });
            Registered { waker: Waker::from(shared.clone()), shared }
        })
    }

    /// Takes a waker back whose future is ready or dropped. One of which there is a clone is not used again: the clone
    /// would wake another task.
    #[inline]
    fn give_back(&self, registered: Registered) {
        let key = registered.shared.key.swap(NO_KEY, Ordering::SeqCst);
        if key != NO_KEY {
            let task = self.tasks.borrow_mut().try_remove(key);
            drop(task);
        }
        // `shared` and `waker`.
        if Arc::strong_count(&registered.shared) == 2 {
            registered.shared.woken.store(false, Ordering::SeqCst);
            self.spare.set(Some(registered));
        }
    }

    /// The future is pending: from now on its waker wakes `task`.
    fn register(&self, shared: &Shared, task: &Waker) {
        let mut tasks = self.tasks.borrow_mut();
        let key = shared.key.load(Ordering::SeqCst);
        match tasks.get_mut(key) {
            Some(known) if known.will_wake(task) => {}
            Some(known) => *known = task.clone(),
            None => shared.key.store(tasks.insert(task.clone()), Ordering::SeqCst),
        }
    }

    /// Wakes the task of `key`, if `queue` is that of this thread.
    fn wake(&self, queue: &Arc<WakeQueue>, key: usize) -> bool {
        let is_here = Arc::ptr_eq(queue, &self.queue);
        if is_here {
            let task = self.tasks.borrow().get(key).cloned();
            if let Some(task) = task
                && (self.may_wake() || !yield_now::park_task(&task))
            {
                task.wake();
            }
        }
        is_here
    }

    /// Counts a wake. False: the kernel must run first.
    fn may_wake(&self) -> bool {
        let wakes = self.wakes.get();
        self.wakes.set(wakes.saturating_add(1));
        wakes < MAX_WAKES
    }
}

/// From now on `waker` wakes the worker of this thread.
pub(crate) fn set_waker(waker: MailboxWaker) {
    WORKER.with(|worker| {
        *worker.queue.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker);
    });
    // Keys that were posted before.
    wake_posted();
}

/// Counts a task that the application spawns, as a wake: each task may spawn the next one. False: the kernel must run
/// before the task.
pub(crate) fn may_start() -> bool {
    WORKER.with(Worker::may_wake)
}

/// Wakes the tasks that other threads have woken: the kernel has woken the worker.
pub(crate) fn wake_posted() {
    WORKER.with(|worker| {
        worker.wakes.set(0);
        let keys =
            std::mem::take(&mut *worker.queue.keys.lock().unwrap_or_else(PoisonError::into_inner));
        for key in keys {
            worker.wake(&worker.queue, key);
        }
    });
}

/// The worker of this thread no longer receives wake-ups.
pub(crate) fn clear_waker() {
    WORKER.with(|worker| {
        worker.queue.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        worker.spare.take();
    });
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::pin::pin;
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// A task of the runtime: counts how often it is woken, and must stay on its thread.
    struct Task {
        thread: thread::ThreadId,
        woken: AtomicUsize,
    }

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            assert_eq!(thread::current().id(), self.thread, "a task is woken on its thread only");
            self.woken.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn task() -> (Arc<Task>, Waker) {
        let task = Arc::new(Task { thread: thread::current().id(), woken: AtomicUsize::new(0) });
        (task.clone(), Waker::from(task))
    }

    fn poll<F: Future>(waker: &mut TaskWaker, task: &Waker, future: F) -> Poll<F::Output> {
        let mut future = pin!(future);
        waker.poll(&mut Context::from_waker(task), |cx| future.as_mut().poll(cx))
    }

    /// The waker that a future is polled with.
    fn waker_of(waker: &mut TaskWaker, task: &Waker) -> Waker {
        let mut seen = None;
        let future = poll_fn(|cx: &mut Context<'_>| {
            seen = Some(cx.waker().clone());
            Poll::<()>::Pending
        });
        assert!(poll(waker, task, future).is_pending());
        seen.unwrap()
    }

    #[test]
    fn any_thread_may_wake_clone_and_drop_a_waker() {
        let ((counted, task), mut waker) = (task(), TaskWaker::default());
        let (clone, received) = (waker_of(&mut waker, &task), MailboxWaker::pair().unwrap());
        set_waker(received.0);
        let other = clone.clone();
        thread::spawn(move || {
            other.wake_by_ref();
            let clone = other.clone();
            clone.wake();
            drop(other);
        })
        .join()
        .unwrap();
        assert_eq!(counted.woken.load(Ordering::SeqCst), 0, "the worker wakes it");
        let mut byte = [0];
        std::io::Read::read_exact(&mut &received.1, &mut byte).unwrap();
        wake_posted();
        assert_eq!(counted.woken.load(Ordering::SeqCst), 1);
        assert!(poll(&mut waker, &task, pending::<()>()).is_pending());
        clone.wake();
        assert_eq!(counted.woken.load(Ordering::SeqCst), 2, "at once on its own thread");
        clear_waker();
    }

    #[test]
    fn a_waker_that_outlives_its_future_wakes_no_other_task() {
        let ((first, task_one), (second, task_two)) = (task(), task());
        let mut waker = TaskWaker::default();
        let clone = waker_of(&mut waker, &task_one);
        drop(waker);
        let mut waker = TaskWaker::default();
        let other = waker_of(&mut waker, &task_two);
        clone.wake_by_ref();
        thread::spawn(move || clone.wake()).join().unwrap();
        wake_posted();
        for counted in [&first, &second] {
            assert_eq!(counted.woken.load(Ordering::SeqCst), 0);
        }
        other.wake();
        assert_eq!(second.woken.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_wake_during_the_poll_is_not_lost() {
        let ((counted, task), mut waker) = (task(), TaskWaker::default());
        for round in 1..=3 {
            let future = poll_fn(|cx: &mut Context<'_>| {
                let waker = cx.waker().clone();
                thread::spawn(move || waker.wake()).join().unwrap();
                Poll::<()>::Pending
            });
            assert!(poll(&mut waker, &task, future).is_pending());
            wake_posted();
            assert!(counted.woken.load(Ordering::SeqCst) >= round);
        }
    }

    #[test]
    fn a_future_that_wakes_itself_lets_the_kernel_run_first() {
        let ((counted, task), mut waker) = (task(), TaskWaker::default());
        let received = MailboxWaker::pair().unwrap();
        yield_now::set_waker(received.0);
        for round in 1..=3 {
            let future = poll_fn(|cx: &mut Context<'_>| {
                cx.waker().wake_by_ref();
                cx.waker().wake_by_ref();
                Poll::<()>::Pending
            });
            assert!(poll(&mut waker, &task, future).is_pending());
            assert_eq!(counted.woken.load(Ordering::SeqCst), round - 1, "not at once");
            std::io::Read::read_exact(&mut &received.1, &mut [0]).unwrap();
            yield_now::wake_all();
            assert_eq!(counted.woken.load(Ordering::SeqCst), round);
        }
        yield_now::clear_waker();
    }

    #[test]
    fn wakes_beyond_the_limit_take_effect_after_the_kernel_has_run() {
        let ((counted, task), mut waker) = (task(), TaskWaker::default());
        let received = MailboxWaker::pair().unwrap();
        yield_now::set_waker(received.0);
        for round in 1..=2 {
            let all = round * (usize::from(MAX_WAKES) + 1);
            for _ in 0..=MAX_WAKES {
                waker_of(&mut waker, &task).wake();
            }
            assert_eq!(counted.woken.load(Ordering::SeqCst), all - 1);
            std::io::Read::read_exact(&mut &received.1, &mut [0]).unwrap();
            yield_now::wake_all();
            wake_posted();
            assert_eq!(counted.woken.load(Ordering::SeqCst), all);
        }
        yield_now::clear_waker();
    }

    #[test]
    fn a_poll_that_panics_leaves_no_key() {
        let ((_, task), mut waker) = (task(), TaskWaker::default());
        let before = WORKER.with(|worker| worker.tasks.borrow().len());
        assert!(poll(&mut waker, &task, pending::<()>()).is_pending());
        let future = poll_fn(|_| -> Poll<()> { panic!("of a test") });
        let panics = std::panic::AssertUnwindSafe(|| poll(&mut waker, &task, future));
        assert!(std::panic::catch_unwind(panics).is_err());
        drop(waker);
        assert_eq!(WORKER.with(|worker| worker.tasks.borrow().len()), before);
    }

    #[test]
    fn the_last_of_many_concurrent_wakes_is_not_lost() {
        const WAKES: usize = 2_000;
        for _ in 0..50 {
            let ((counted, task), mut waker) = (task(), TaskWaker::default());
            let done = Arc::new(AtomicUsize::new(0));
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let (waker, done) = (waker_of(&mut waker, &task), done.clone());
                    thread::spawn(move || {
                        for _ in 0..WAKES {
                            done.fetch_add(1, Ordering::SeqCst);
                            waker.wake_by_ref();
                        }
                    })
                })
                .collect();
            let all_done = || done.load(Ordering::SeqCst) == 2 * WAKES;
            let mut is_ready = false;
            let begun = std::time::Instant::now();
            // Polled only when it is woken, as a runtime does.
            while !is_ready {
                assert!(begun.elapsed() < Duration::from_secs(60), "a wake was lost");
                wake_posted();
                if counted.woken.swap(0, Ordering::SeqCst) > 0 {
                    let future =
                        poll_fn(|_| if all_done() { Poll::Ready(()) } else { Poll::Pending });
                    is_ready = poll(&mut waker, &task, future).is_ready();
                } else {
                    thread::yield_now();
                }
            }
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        }
    }

    #[test]
    fn a_future_that_is_ready_at_once_leaves_its_waker_to_the_next() {
        let ((_, task), mut addresses) = (task(), Vec::new());
        for _ in 0..3 {
            let mut waker = TaskWaker::default();
            let future = poll_fn(|cx: &mut Context<'_>| Poll::Ready(cx.waker().data() as usize));
            addresses.push(poll(&mut waker, &task, future));
        }
        assert!(addresses.windows(2).all(|pair| pair[0] == pair[1]), "{addresses:?}");
    }
}
