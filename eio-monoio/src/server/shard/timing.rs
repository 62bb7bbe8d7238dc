//! [`MessageTiming`]: measures the handlers of a sample of the messages.

use std::cell::Cell;
use std::time::Instant;

/// The sample of one worker. Its state is not that of a session, of which there are many.
pub(crate) struct MessageTiming {
    /// See [`time_messages`](crate::Config::time_messages).
    one_of: usize,
    /// Messages until the next one that is measured.
    left: Cell<usize>,
    /// The start of the handler that is called now, if it is measured.
    started: Cell<Option<Instant>>,
}

impl MessageTiming {
    pub(crate) fn new(one_of: usize) -> Self {
        // A number of messages that no worker reaches.
        let left = if one_of == 0 { usize::MAX } else { 0 };
        Self { one_of, left: Cell::new(left), started: Cell::new(None) }
    }

    /// A handler is about to be called. The time, if it is measured.
    #[inline]
    pub(crate) fn sample(&self) -> Option<Instant> {
        let left = self.left.get();
        self.left.set(left.wrapping_sub(1));
        if left == 0 { self.start() } else { None }
    }

    #[cold]
    fn start(&self) -> Option<Instant> {
        self.left.set(self.one_of.saturating_sub(1));
        (self.one_of > 0).then(Instant::now)
    }

    /// As [`sample`](Self::sample), until [`take`](Self::take) within the same poll.
    #[inline]
    pub(crate) fn begin(&self) {
        if let Some(started) = self.sample() {
            self.started.set(Some(started));
        }
    }

    /// The start of the handler that was called last, if it is measured.
    #[inline]
    pub(crate) fn take(&self) -> Option<Instant> {
        self.started.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_n_is_measured() {
        let measured = |one_of, messages| {
            let timing = MessageTiming::new(one_of);
            (0..messages).filter(|_| timing.sample().is_some()).count()
        };
        assert_eq!((measured(0, 1000), measured(1, 1000), measured(64, 640)), (0, 1000, 10));
        let timing = MessageTiming::new(2);
        timing.begin();
        assert!(timing.take().is_some() && timing.take().is_none());
        timing.begin();
        assert!(timing.take().is_none());
    }
}
