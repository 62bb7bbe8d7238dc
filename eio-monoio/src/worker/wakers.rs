//! [`Wakers`] and [`WakerSlot`]: the tasks that wait for one event.

use std::cell::Cell;
use std::task::{Context, Waker};

/// Any number of waiting tasks. Allocates when the first task waits, and keeps that memory for the next one.
#[derive(Default)]
#[expect(clippy::box_collection, reason = "for most events no task ever waits: one word each")]
pub(crate) struct Wakers(Cell<Option<Box<Vec<Waker>>>>);

impl Wakers {
    /// Wakes the task of `cx` at the next [`wake_all`](Self::wake_all).
    pub(crate) fn add(&self, cx: &Context<'_>) {
        let mut wakers = self.0.take().unwrap_or_default();
        if !wakers.iter().any(|known| known.will_wake(cx.waker())) {
            wakers.push(cx.waker().clone());
        }
        self.0.set(Some(wakers));
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        let wakers = self.0.take();
        let empty = wakers.as_ref().is_none_or(|wakers| wakers.is_empty());
        self.0.set(wakers);
        empty
    }

    pub(crate) fn wake_all(&self) {
        if let Some(mut wakers) = self.0.take() {
            wakers.drain(..).for_each(Waker::wake);
            // A waker of the application may do more than schedule its task: a new one may be added here.
            wakers.extend(self.0.take().into_iter().flat_map(|newer| *newer));
            self.0.set(Some(wakers));
        }
    }

    /// Removes the task of `cx` without waking it: a waker keeps the memory of its task.
    pub(crate) fn remove(&self, cx: &Context<'_>) {
        if let Some(mut wakers) = self.0.take() {
            wakers.retain(|known| !known.will_wake(cx.waker()));
            self.0.set(Some(wakers));
        }
    }

    /// Removes every task without waking it.
    pub(crate) fn clear(&self) {
        self.0.take();
    }
}

/// At most one waiting task, the last one that registered.
#[derive(Default)]
pub(crate) struct WakerSlot(Cell<Option<Waker>>);

impl WakerSlot {
    /// Wakes the task of `cx` at the next [`wake`](Self::wake).
    pub(crate) fn register(&self, cx: &Context<'_>) {
        let known = self.0.take().filter(|known| known.will_wake(cx.waker()));
        self.0.set(Some(known.unwrap_or_else(|| cx.waker().clone())));
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = self.0.take() {
            waker.wake();
        }
    }

    /// Wakes the task, and again at the next call.
    #[inline]
    pub(crate) fn wake_each_time(&self) {
        if let Some(waker) = self.0.take() {
            waker.wake_by_ref();
            self.0.set(Some(waker));
        }
    }

    /// Removes the task without waking it.
    pub(crate) fn clear(&self) {
        self.0.take();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn task() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (count.clone(), Waker::from(count))
    }

    #[test]
    fn each_waiting_task_is_woken_once() {
        let (wakers, tasks) = (Wakers::default(), [task(), task()]);
        assert!(wakers.is_empty());
        for (_, waker) in tasks.iter().chain(&tasks) {
            wakers.add(&Context::from_waker(waker));
        }
        assert!(!wakers.is_empty());
        wakers.wake_all();
        wakers.wake_all();
        assert!(wakers.is_empty());
        assert!(tasks.iter().all(|(count, _)| count.0.load(Ordering::Relaxed) == 1));
        for (_, waker) in &tasks {
            wakers.add(&Context::from_waker(waker));
        }
        wakers.remove(&Context::from_waker(&tasks[0].1));
        assert!(!wakers.is_empty());
        wakers.remove(&Context::from_waker(&tasks[1].1));
        assert!(wakers.is_empty());
        wakers.add(&Context::from_waker(&tasks[0].1));
        wakers.clear();
        assert!(wakers.is_empty());
    }

    #[test]
    fn a_slot_wakes_the_last_task_that_registered() {
        let (slot, first, last) = (WakerSlot::default(), task(), task());
        for waker in [&first.1, &last.1, &last.1] {
            slot.register(&Context::from_waker(waker));
        }
        slot.wake();
        slot.wake();
        assert_eq!(first.0.0.load(Ordering::Relaxed), 0);
        assert_eq!(last.0.0.load(Ordering::Relaxed), 1);
        slot.register(&Context::from_waker(&first.1));
        slot.wake_each_time();
        slot.wake_each_time();
        assert_eq!(first.0.0.load(Ordering::Relaxed), 2);
    }
}
