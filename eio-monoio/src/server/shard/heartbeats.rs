//! [`Heartbeats`]: since when each worker has not handled a message of the thread that watches it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub(crate) struct Heartbeats {
    origin: Instant,
    /// For each worker the time of the message that waits for it, in nanoseconds since `origin`, plus one; 0 if none waits.
    waiting: Vec<AtomicU64>,
}

impl Heartbeats {
    pub(crate) fn new(workers: usize) -> Self {
        Self { origin: Instant::now(), waiting: (0..workers).map(|_| AtomicU64::new(0)).collect() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A message to the worker is about to be sent.
    pub(crate) fn begin(&self, worker: usize) {
        if let Some(waiting) = self.waiting.get(worker) {
            waiting.store(self.now() + 1, Ordering::Release);
        }
    }

    /// The worker has received the message: the time that it took.
    pub(crate) fn answer(&self, worker: usize) -> Option<Duration> {
        let since = self.waiting.get(worker)?.swap(0, Ordering::AcqRel).checked_sub(1)?;
        Some(Duration::from_nanos(self.now().saturating_sub(since)))
    }

    /// For how long a message has waited for the worker, if one waits.
    pub(crate) fn waiting(&self, worker: usize) -> Option<Duration> {
        let since = self.waiting.get(worker)?.load(Ordering::Acquire).checked_sub(1)?;
        Some(Duration::from_nanos(self.now().saturating_sub(since)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_waits_until_it_is_answered() {
        let heartbeats = Heartbeats::new(2);
        assert_eq!((heartbeats.waiting(0), heartbeats.answer(0)), (None, None));
        heartbeats.begin(1);
        assert_eq!(heartbeats.waiting(0), None);
        let before = heartbeats.waiting(1).expect("it waits");
        assert!(heartbeats.answer(1).expect("it has waited") >= before);
        assert_eq!((heartbeats.waiting(1), heartbeats.answer(1)), (None, None));
        heartbeats.begin(7);
        assert_eq!(heartbeats.waiting(7), None);
    }
}
