//! [`FuturePool`]: futures in whose memory one piece of work is done after another.
//!
//! An operation that a connection needs at times would, as a part of the connection's own future, cost it its size at
//! all times; in a box of its own, an allocation each time.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// Idle workers for one kind of work, `I` to `O`.
pub(crate) struct FuturePool<I, O> {
    idle: RefCell<Vec<Worker<I, O>>>,
    /// How many are kept.
    most: usize,
}

impl<I: 'static, O: 'static> FuturePool<I, O> {
    pub(crate) fn new(most: usize) -> Rc<Self> {
        Rc::new(Self { idle: RefCell::default(), most })
    }

    /// Does `work` with `input`; the same work in each call.
    pub(crate) fn run<F>(self: &Rc<Self>, input: I, work: impl Fn(I) -> F + 'static) -> Pooled<I, O>
    where
        F: Future<Output = O> + 'static,
    {
        let idle = self.idle.borrow_mut().pop();
        let worker = idle.unwrap_or_else(|| Worker::new(work));
        worker.job.input.set(Some(input));
        Pooled { worker: Some(worker), home: self.clone() }
    }

    /// Frees those that are idle.
    pub(crate) fn empty(&self) {
        drop(self.idle.take());
    }
}

/// A piece of work, until it is done.
pub(crate) struct Pooled<I, O> {
    worker: Option<Worker<I, O>>,
    home: Rc<FuturePool<I, O>>,
}

impl<I, O> Future for Pooled<I, O> {
    type Output = O;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<O> {
        let Some(worker) = &mut self.worker else { return Poll::Pending };
        let output = ready!(worker.poll(cx));
        let worker = self.worker.take();
        let mut idle = self.home.idle.borrow_mut();
        if idle.len() < self.home.most {
            idle.extend(worker);
        }
        Poll::Ready(output)
    }
}

struct Worker<I, O> {
    job: Rc<Job<I, O>>,
    working: Pin<Box<dyn Future<Output = Infallible>>>,
}

struct Job<I, O> {
    input: Cell<Option<I>>,
    output: Cell<Option<O>>,
}

impl<I: 'static, O: 'static> Worker<I, O> {
    fn new<F>(work: impl Fn(I) -> F + 'static) -> Self
    where
        F: Future<Output = O> + 'static,
    {
        let job = Rc::new(Job { input: Cell::new(None), output: Cell::new(None) });
        Self { working: Box::pin(go_on(job.clone(), work)), job }
    }
}

impl<I, O> Worker<I, O> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<O> {
        match self.working.as_mut().poll(cx) {
            Poll::Pending => self.job.output.take().map_or(Poll::Pending, Poll::Ready),
            Poll::Ready(never) => match never {},
        }
    }
}

// The work is a type of its own and no pointer: a future that is made where it is known is made in its place.
async fn go_on<I, O, F: Future<Output = O>>(
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

    /// Done when the flag is set.
    async fn wait((name, flag): (&'static str, Rc<Cell<bool>>)) -> &'static str {
        poll_fn(|_| if flag.get() { Poll::Ready(()) } else { Poll::Pending }).await;
        name
    }

    #[test]
    fn memory_is_used_again_and_holds_nothing_meanwhile() {
        let workers = FuturePool::new(1);
        let mut cx = Context::from_waker(Waker::noop());
        let flag = Rc::new(Cell::new(false));
        let mut first = workers.run(("first", flag.clone()), wait);
        let mut second = workers.run(("second", flag.clone()), wait);
        assert_eq!(Pin::new(&mut second).poll(&mut cx), Poll::Pending);
        flag.set(true);
        assert_eq!(Pin::new(&mut second).poll(&mut cx), Poll::Ready("second"));
        assert_eq!(Pin::new(&mut first).poll(&mut cx), Poll::Ready("first"));
        // One was kept, without what it was given.
        assert_eq!(workers.idle.borrow().len(), 1);
        assert_eq!(Rc::strong_count(&flag), 1);
        let mut third = workers.run(("third", flag.clone()), wait);
        assert!(workers.idle.borrow().is_empty());
        assert_eq!(Pin::new(&mut third).poll(&mut cx), Poll::Ready("third"));
        workers.empty();
        assert!(workers.idle.borrow().is_empty());
        // Given up, a worker is not used again.
        flag.set(false);
        drop(workers.run(("fourth", flag.clone()), wait));
        assert!(workers.idle.borrow().is_empty());
        assert_eq!(Rc::strong_count(&flag), 1);
    }
}
