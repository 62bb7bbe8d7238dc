//! [`Queue`] and [`Reply`]: queues between a [`Handle`](super::Handle) and its thread, for futures of any runtime.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Items from any thread to any thread.
pub(super) struct Queue<T>(Mutex<State<T>>);

struct State<T> {
    items: VecDeque<T>,
    /// No more items are accepted.
    closed: bool,
    /// Tasks that wait for any change.
    wakers: Vec<Waker>,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State { items: VecDeque::new(), closed: false, wakers: Vec::new() }))
    }

    /// Appends an item; drops it if the queue is closed.
    pub(super) fn push(&self, item: T) {
        self.change(|state| {
            if !state.closed {
                state.items.push_back(item);
            }
        });
    }

    /// Accepts no more items. Those in the queue can still be taken.
    pub(super) fn close(&self) {
        self.change(|state| state.closed = true);
    }

    /// Discards all items and accepts items again.
    pub(super) fn reopen(&self) {
        self.change(|state| {
            state.items.clear();
            state.closed = false;
        });
    }

    /// Takes the first item; `None` if the queue is closed and empty.
    pub(super) async fn pop(&self) -> Option<T> {
        poll_fn(|cx| {
            let mut state = self.lock();
            match state.items.pop_front() {
                Some(item) => Poll::Ready(Some(wake_all(state, item))),
                None if state.closed => Poll::Ready(None),
                None => wait(&mut state, cx),
            }
        })
        .await
    }

    /// Takes the first item, if there is one.
    pub(super) fn try_pop(&self) -> Option<T> {
        self.lock().items.pop_front()
    }

    /// Waits until fewer than `limit` items are in the queue. Returns false if it is closed.
    pub(super) async fn room(&self, limit: usize) -> bool {
        poll_fn(|cx| {
            let mut state = self.lock();
            match state.closed || state.items.len() < limit {
                true => Poll::Ready(!state.closed),
                false => wait(&mut state, cx),
            }
        })
        .await
    }

    /// Ready when the queue is closed.
    pub(super) fn poll_closed(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.closed { Poll::Ready(()) } else { wait(&mut state, cx) }
    }

    fn change(&self, change: impl FnOnce(&mut State<T>)) {
        let mut state = self.lock();
        change(&mut state);
        wake_all(state, ());
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait<T, O>(state: &mut State<T>, cx: &Context<'_>) -> Poll<O> {
    if !state.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
        state.wakers.push(cx.waker().clone());
    }
    Poll::Pending
}

/// Wakes all waiting tasks, without the lock: a waker may run code of any runtime.
fn wake_all<T, O>(mut state: MutexGuard<'_, State<T>>, output: O) -> O {
    let wakers = std::mem::take(&mut state.wakers);
    drop(state);
    wakers.into_iter().for_each(Waker::wake);
    output
}

/// The answer to a command: sent at most once. Dropped without an answer, it ends the wait.
pub(super) struct Reply<T>(Arc<Queue<T>>);

/// The side of a [`Reply`] that waits. Dropped, it cancels the command.
pub(super) struct Answer<T>(Arc<Queue<T>>);

pub(super) fn reply<T>() -> (Reply<T>, Answer<T>) {
    let queue = Arc::new(Queue::new());
    (Reply(queue.clone()), Answer(queue))
}

impl<T> Reply<T> {
    pub(super) fn send(self, answer: T) {
        self.0.push(answer);
    }

    /// Ready when nothing waits for the answer any more.
    pub(super) fn poll_cancelled(&self, cx: &Context<'_>) -> Poll<()> {
        self.0.poll_closed(cx)
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<T> Answer<T> {
    /// Waits for the answer; `None` if the other side was dropped without one.
    pub(super) async fn wait(self) -> Option<T> {
        self.0.pop().await
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}
