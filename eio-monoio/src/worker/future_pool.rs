//! [`FuturePool`]: boxed futures that are reused for one job after another.
//!
//! An operation that a connection needs occasionally would add its size to the connection's future permanently if it
//! were part of it, and would cost an allocation each time if it were boxed.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// Idle futures for one kind of job, `I` to `O`.
pub(crate) struct FuturePool<I, O> {
    #[expect(
        clippy::vec_box,
        reason = "a job in progress is one pointer, and begins without an allocation"
    )]
    idle: RefCell<Vec<Box<ReusableFuture<I, O>>>>,
    max_idle: usize,
}

impl<I: 'static, O: 'static> FuturePool<I, O> {
    pub(crate) fn new(max_idle: usize) -> Rc<Self> {
        Rc::new(Self { idle: RefCell::default(), max_idle })
    }

    /// Runs `work` with `input`. Every call on one pool must pass the same `work`.
    pub(crate) fn run<F>(self: &Rc<Self>, input: I, work: impl Fn(I) -> F + 'static) -> Pooled<I, O>
    where
        F: Future<Output = O> + 'static,
    {
        let idle = self.idle.borrow_mut().pop();
        let mut future = idle.unwrap_or_else(|| Box::new(ReusableFuture::new(work)));
        future.job.input.set(Some(input));
        future.pool = Some(self.clone());
        Pooled(Some(future))
    }

    /// Frees the idle futures.
    pub(crate) fn clear(&self) {
        drop(self.idle.take());
    }
}

/// A job in progress. When it completes, its future returns to the pool; when this is dropped before, it is freed.
///
/// One pointer: each connection has room for one.
pub(crate) struct Pooled<I, O>(Option<Box<ReusableFuture<I, O>>>);

impl<I, O> Future for Pooled<I, O> {
    type Output = O;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<O> {
        let Some(future) = &mut self.0 else { return Poll::Pending };
        let output = ready!(future.poll(cx));
        if let Some(mut future) = self.0.take()
            && let Some(pool) = future.pool.take()
            && let mut idle = pool.idle.borrow_mut()
            && idle.len() < pool.max_idle
        {
            idle.push(future);
        }
        Poll::Ready(output)
    }
}

struct ReusableFuture<I, O> {
    /// The pool to return to, while a job is in progress.
    pool: Option<Rc<FuturePool<I, O>>>,
    job: Rc<Job<I, O>>,
    running: Pin<Box<dyn Future<Output = Infallible>>>,
}

struct Job<I, O> {
    input: Cell<Option<I>>,
    output: Cell<Option<O>>,
}

impl<I: 'static, O: 'static> ReusableFuture<I, O> {
    fn new<F>(work: impl Fn(I) -> F + 'static) -> Self
    where
        F: Future<Output = O> + 'static,
    {
        let job = Rc::new(Job { input: Cell::new(None), output: Cell::new(None) });
        Self { pool: None, running: Box::pin(run_jobs(job.clone(), work)), job }
    }
}

impl<I, O> ReusableFuture<I, O> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<O> {
        match self.running.as_mut().poll(cx) {
            Poll::Pending => self.job.output.take().map_or(Poll::Pending, Poll::Ready),
            Poll::Ready(never) => match never {},
        }
    }
}

// `work` is generic and not a pointer, so that its future is constructed in place.
async fn run_jobs<I, O, F: Future<Output = O>>(
    job: Rc<Job<I, O>>,
    work: impl Fn(I) -> F,
) -> Infallible {
    loop {
        let input = poll_fn(|_| job.input.take().map_or(Poll::Pending, Poll::Ready)).await;
        job.output.set(Some(work(input).await));
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Completes when the flag is set.
    async fn wait((name, flag): (&'static str, Rc<Cell<bool>>)) -> &'static str {
        poll_fn(|_| if flag.get() { Poll::Ready(()) } else { Poll::Pending }).await;
        name
    }

    #[test]
    fn an_idle_future_is_reused_and_holds_no_input() {
        let pool = FuturePool::new(1);
        let mut cx = Context::from_waker(Waker::noop());
        let flag = Rc::new(Cell::new(false));
        let mut first = pool.run(("first", flag.clone()), wait);
        let mut second = pool.run(("second", flag.clone()), wait);
        assert_eq!(Pin::new(&mut second).poll(&mut cx), Poll::Pending);
        flag.set(true);
        assert_eq!(Pin::new(&mut second).poll(&mut cx), Poll::Ready("second"));
        assert_eq!(Pin::new(&mut first).poll(&mut cx), Poll::Ready("first"));
        // One was kept, without its input.
        assert_eq!(pool.idle.borrow().len(), 1);
        assert_eq!(Rc::strong_count(&flag), 1);
        let mut third = pool.run(("third", flag.clone()), wait);
        assert!(pool.idle.borrow().is_empty());
        assert_eq!(Pin::new(&mut third).poll(&mut cx), Poll::Ready("third"));
        pool.clear();
        assert!(pool.idle.borrow().is_empty());
        // A future that is dropped before it completes is not reused.
        flag.set(false);
        drop(pool.run(("fourth", flag.clone()), wait));
        assert!(pool.idle.borrow().is_empty());
        assert_eq!(Rc::strong_count(&flag), 1);
    }
}
