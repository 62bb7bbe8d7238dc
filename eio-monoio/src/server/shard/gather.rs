//! [`Gather`]: one answer that several threads contribute to.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The values of all parts, when each [`Part`] is dropped.
pub(crate) struct Gather<R>(Arc<Mutex<Gathered<R>>>);

struct Gathered<R> {
    values: Vec<R>,
    /// Parts that exist.
    parts: usize,
    waker: Option<Waker>,
}

impl<R> Default for Gather<R> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Gathered { values: Vec::new(), parts: 0, waker: None })))
    }
}

impl<R> Gather<R> {
    /// A part for another thread.
    pub(crate) fn part(&self) -> Part<R> {
        lock(&self.0).parts += 1;
        Part(self.0.clone())
    }
}

impl<R> Future for Gather<R> {
    type Output = Vec<R>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Vec<R>> {
        let mut gathered = lock(&self.0);
        if gathered.parts == 0 {
            return Poll::Ready(std::mem::take(&mut gathered.values));
        }
        gathered.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The contribution of one thread. One that is dropped without a value, for example in the mailbox of a worker that
/// has ended, contributes nothing.
pub(crate) struct Part<R>(Arc<Mutex<Gathered<R>>>);

impl<R> Part<R> {
    pub(crate) fn add(self, values: Vec<R>) {
        lock(&self.0).values.extend(values);
    }
}

impl<R> Drop for Part<R> {
    fn drop(&mut self) {
        let mut gathered = lock(&self.0);
        gathered.parts -= 1;
        let waker = if gathered.parts == 0 { gathered.waker.take() } else { None };
        drop(gathered);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

fn lock<R>(gathered: &Mutex<Gathered<R>>) -> MutexGuard<'_, Gathered<R>> {
    gathered.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[test]
    fn the_answer_is_complete_when_no_part_is_left() {
        let gather = Gather::default();
        let (first, second, lost) = (gather.part(), gather.part(), gather.part());
        let mut gather = pin!(gather);
        let mut poll = || gather.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll().is_pending());
        second.add(vec![2]);
        drop(lost);
        assert!(poll().is_pending());
        first.add(vec![0, 1]);
        assert_eq!(poll(), Poll::Ready(vec![2, 0, 1]));
    }
}
