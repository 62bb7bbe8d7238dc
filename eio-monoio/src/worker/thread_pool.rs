//! [`ThreadPool`]: threads for work that blocks. They start when there is work, and end after a time without.

use std::any::Any;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How long a thread without work waits for more.
const IDLE: Duration = Duration::from_secs(5);

/// At most `max_threads` threads. Further work waits for them, in order.
pub(crate) struct ThreadPool {
    max_threads: usize,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Box<dyn FnOnce() + Send>>,
    threads: usize,
    idle: usize,
}

/// The most threads of a pool, unless an option says otherwise.
pub(crate) const DEFAULT_THREADS: usize = 8;

/// The pool of everything that belongs to no server.
pub(crate) fn shared_pool() -> Arc<ThreadPool> {
    static POOL: OnceLock<Arc<ThreadPool>> = OnceLock::new();
    POOL.get_or_init(|| ThreadPool::new(DEFAULT_THREADS)).clone()
}

impl ThreadPool {
    pub(crate) fn new(max_threads: usize) -> Arc<Self> {
        let (state, work) = (Mutex::default(), Condvar::new());
        Arc::new(Self { max_threads, state, work })
    }

    /// Calls `work` on a thread of the pool. Dropped before that, the future takes `work` back; dropped later, it drops
    /// the output. The future may be polled on any thread, with a waker that any thread may use.
    ///
    /// # Errors
    /// The operating system starts no thread.
    pub(crate) fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Output<T>> {
        let slot = Arc::new(Mutex::new(Slot { output: None, waker: None }));
        let shared = Arc::downgrade(&slot);
        self.submit(Box::new(move || {
            if shared.strong_count() == 0 {
                return;
            }
            let output = catch_unwind(AssertUnwindSafe(work));
            let Some(slot) = shared.upgrade() else { return };
            let waker = {
                let mut slot = lock(&slot);
                slot.output = Some(output);
                slot.waker.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }))?;
        Ok(Output { slot })
    }

    fn submit(self: &Arc<Self>, job: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.jobs.push_back(job);
        if state.idle < state.jobs.len() && state.threads < self.max_threads {
            let pool = self.clone();
            let thread = std::thread::Builder::new().name("eio-blocking".into());
            match thread.spawn(move || pool.work()) {
                Ok(_) => state.threads += 1,
                Err(error) if state.threads == 0 => {
                    state.jobs.pop_back();
                    return Err(error);
                }
                // The threads there are get to it.
                Err(_) => {}
            }
        }
        self.work.notify_one();
        Ok(())
    }

    fn work(&self) {
        let mut state = lock(&self.state);
        loop {
            while let Some(job) = state.jobs.pop_front() {
                drop(state);
                // A panic of the work is part of its output. This is one of its destructor.
                if catch_unwind(AssertUnwindSafe(job)).is_err() {
                    crate::log::error!("blocking work panicked while it was dropped");
                }
                state = lock(&self.state);
            }
            state.idle += 1;
            let waited = self.work.wait_timeout(state, IDLE);
            let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && state.jobs.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that can panic runs under the locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Slot<T> {
    output: Option<Result<T, Box<dyn Any + Send>>>,
    waker: Option<Waker>,
}

/// The output of work on a pool, or its panic.
pub(crate) struct Output<T> {
    slot: Arc<Mutex<Slot<T>>>,
}

impl<T> Future for Output<T> {
    type Output = Result<T, Box<dyn Any + Send>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = lock(&self.slot);
        match slot.output.take() {
            Some(output) => Poll::Ready(output),
            None => {
                slot.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::task::Wake;
    use std::thread;

    use super::*;

    struct Unpark(thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    fn wait<F: Future>(future: F) -> F::Output {
        let (waker, mut future) = (Waker::from(Arc::new(Unpark(thread::current()))), pin!(future));
        loop {
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(output) => return output,
                Poll::Pending => thread::park(),
            }
        }
    }

    #[test]
    fn no_more_threads_than_allowed_work_at_once() {
        let pool = ThreadPool::new(2);
        let (at_once, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let outputs: Vec<_> = (0..20)
            .map(|n| {
                let (at_once, most) = (at_once.clone(), most.clone());
                let work = move || {
                    most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(1));
                    at_once.fetch_sub(1, Ordering::SeqCst);
                    n
                };
                pool.run(work).unwrap()
            })
            .collect();
        for (n, output) in outputs.into_iter().enumerate() {
            assert_eq!(wait(output).unwrap(), n);
        }
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_panic_is_the_output_and_ends_no_thread() {
        let pool = ThreadPool::new(1);
        let panicked = pool.run(|| panic!("expected: this test panics")).unwrap();
        assert!(wait(panicked).is_err());
        assert_eq!(wait(pool.run(|| 7).unwrap()).unwrap(), 7);
    }

    #[test]
    fn work_that_is_given_up_before_it_begins_never_begins() {
        let pool = ThreadPool::new(1);
        let (begin, begun) = mpsc::channel::<()>();
        let first = pool.run(move || begun.recv().unwrap()).unwrap();
        let ran = Arc::new(AtomicUsize::new(0));
        let counted = ran.clone();
        drop(pool.run(move || counted.fetch_add(1, Ordering::SeqCst)).unwrap());
        begin.send(()).unwrap();
        wait(first).unwrap();
        wait(pool.run(|| ()).unwrap()).unwrap();
        assert_eq!(ran.load(Ordering::SeqCst), 0);
    }
}
