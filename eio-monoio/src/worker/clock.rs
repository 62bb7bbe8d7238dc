//! The clock of a thread, which is read at most once in a poll of a task.
//!
//! A task reads it for each deadline, each event of a session and each duration that it measures, and a reading costs about
//! as much as the short functions between two of them. So a reading is used until the poll ends or the application has run.

use std::cell::Cell;
use std::time::Instant;

#[derive(Clone, Copy)]
enum Reading {
    /// No task is polled, or the application runs.
    Outside,
    /// A task is polled, which has not read the clock since then, or since the application ran in it.
    Due,
    /// The current one.
    At(Instant),
}

thread_local! {
    static READING: Cell<Reading> = const { Cell::new(Reading::Outside) };
}

/// A poll of a task begins. It ends when the guard is dropped.
#[inline]
pub(crate) fn begin_poll() -> Poll {
    let ends = matches!(READING.get(), Reading::Outside);
    if ends {
        READING.set(Reading::Due);
    }
    Poll { ends }
}

/// See [`begin_poll`].
pub(crate) struct Poll {
    /// It is not a part of another poll.
    ends: bool,
}

impl Drop for Poll {
    #[inline]
    fn drop(&mut self) {
        if self.ends {
            READING.set(Reading::Outside);
        }
    }
}

/// Runs code of the application, which catches its panics and takes an unknown time: no reading is used in it or after it.
#[inline]
pub(crate) fn in_application<T>(run: impl FnOnce() -> T) -> T {
    let before = READING.replace(Reading::Outside);
    let output = run();
    READING.set(if matches!(before, Reading::Outside) { before } else { Reading::Due });
    output
}

/// The time; at most as old as this poll.
pub(crate) fn now() -> Instant {
    if let Reading::At(at) = READING.get() { at } else { read() }
}

/// Reads the clock.
pub(crate) fn read() -> Instant {
    let at = Instant::now();
    if !matches!(READING.get(), Reading::Outside) {
        READING.set(Reading::At(at));
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a later time than the current one.
    fn wait() -> Instant {
        let start = Instant::now();
        loop {
            let now = Instant::now();
            if now > start {
                return now;
            }
        }
    }

    #[test]
    fn a_reading_is_used_until_the_poll_ends_or_the_application_has_run() {
        let poll = begin_poll();
        let first = now();
        let later = wait();
        assert_eq!(now(), first);
        in_application(|| {
            assert!(now() >= later, "the reading before the application ran");
            let later = wait();
            assert!(now() >= later, "a reading of the application");
        });
        let later = wait();
        let second = now();
        assert!(second >= later);
        let later = wait();
        let inner = begin_poll();
        assert_eq!(now(), second);
        drop(inner);
        assert_eq!(now(), second);
        let third = read();
        assert!(third >= later);
        assert_eq!(now(), third);
        drop(poll);

        let later = wait();
        assert!(now() >= later, "no poll");
        in_application(now);
        let later = wait();
        assert!(now() >= later, "no poll");

        let later = wait();
        let poll = begin_poll();
        assert!(now() >= later, "the reading of another poll");
        drop(poll);
    }
}
