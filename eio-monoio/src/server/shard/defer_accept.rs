//! [`DeferAccept`]: whether the kernel hands the connections of a worker over only with their first bytes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use eio_core::time::Instant;

use crate::worker::net::Listener;

/// The listeners of a worker, and the [`Policy`] that decides about their `TCP_DEFER_ACCEPT`.
///
/// It saves the first wait of each connection. But a connection without bytes is not seen by limits, metrics and
/// deadlines while it is deferred, so it is on only where such connections are rare.
#[derive(Default)]
pub(crate) struct DeferAccept {
    policy: Cell<Policy>,
    /// Empty if nothing is deferred: the option is off, or the worker leaves its listeners.
    listeners: RefCell<Vec<Rc<Listener>>>,
}

impl DeferAccept {
    /// How often the policy is asked while connections are deferred.
    pub(crate) const INTERVAL: Duration = Duration::from_secs(1);
    /// The time after which the kernel repeats its SYN-ACK and then hands over a connection without bytes, in seconds.
    const SECONDS: i32 = 1;

    /// From now on the policy applies to this listener too.
    pub(crate) fn add(&self, listener: &Rc<Listener>) {
        match listener.defer_accept() {
            Ok(0) => {}
            // A process that was killed has left it on a socket that outlives it.
            Ok(Self::SECONDS) if listener.set_defer_accept(0).is_ok() => {}
            // The owner of the socket has decided, or it is not a TCP socket.
            Ok(_) | Err(_) => return,
        }
        self.listeners.borrow_mut().push(listener.clone());
    }

    /// Counts an accepted connection. Returns true if connections are deferred from now on.
    #[inline]
    pub(crate) fn count_accepted(&self, now: impl FnOnce() -> Instant) -> bool {
        let mut policy = self.policy.get();
        policy.accepted = policy.accepted.saturating_add(1);
        self.policy.set(policy);
        policy.is_due() && self.review(now())
    }

    /// Counts the first request of an accepted connection.
    #[inline]
    pub(crate) fn count_first_request(&self) {
        let mut policy = self.policy.get();
        policy.answered = policy.answered.saturating_add(1);
        self.policy.set(policy);
    }

    /// Applies the policy. Returns whether connections are deferred from now on.
    pub(crate) fn review(&self, now: Instant) -> bool {
        let mut policy = self.policy.get();
        let was_on = policy.is_on;
        policy.review(now);
        policy.is_on &= !self.listeners.borrow().is_empty();
        self.policy.set(policy);
        if policy.is_on != was_on {
            crate::log::debug!(deferred = policy.is_on, "TCP_DEFER_ACCEPT");
        }
        // Also if it was on: another worker or process may share the socket, and have turned it off.
        if policy.is_on || was_on {
            self.apply(policy.is_on);
        }
        self.policy.get().is_on
    }

    /// The worker leaves its listeners: turns the option off, for other processes that share them.
    pub(crate) fn end(&self) {
        let mut policy = self.policy.get();
        let was_on = std::mem::take(&mut policy.is_on);
        self.policy.set(policy);
        if was_on {
            self.apply(false);
        }
        self.listeners.take();
    }

    fn apply(&self, is_on: bool) {
        let seconds = if is_on { Self::SECONDS } else { 0 };
        let set = |listener: &Rc<Listener>| listener.set_defer_accept(seconds);
        let result = self.listeners.borrow().iter().try_for_each(set);
        if let Err(error) = result {
            crate::log::warn!(%error, "the kernel refused TCP_DEFER_ACCEPT; connections are not deferred");
            // Not tried again.
            let listeners = self.listeners.take();
            listeners.iter().for_each(|listener| _ = listener.set_defer_accept(0));
            self.policy.set(Policy::default());
        }
    }
}

/// Decides by the connections that a worker has accepted since `since`.
#[derive(Clone, Copy, Debug, Default)]
struct Policy {
    is_on: bool,
    since: Instant,
    accepted: u32,
    /// First requests, also of connections that were accepted before `since`.
    answered: u32,
}

impl Policy {
    /// While connections are not deferred, the policy is asked after this number of them.
    const BATCH: u32 = 256;
    /// From this number of connections a second they are deferred. A batch takes at most 250 ms then.
    const BEGIN: u64 = 1024;
    /// Below this number they are not deferred any more.
    const END: u64 = 512;

    fn is_due(&self) -> bool {
        !self.is_on && self.accepted >= Self::BATCH
    }

    /// Decides, and begins to count again.
    fn review(&mut self, now: Instant) {
        let least = if self.is_on { Self::END } else { Self::BEGIN };
        let elapsed_ms = now.millis_since(self.since);
        let are_many = u64::from(self.accepted) * 1000 >= least.saturating_mul(elapsed_ms);
        // Three quarters, so that a flood of connections without a request does not count as clients.
        let are_clients = u64::from(self.answered) * 4 >= u64::from(self.accepted) * 3;
        let is_on = self.accepted > 0 && are_many && are_clients;
        *self = Self { is_on, since: now, accepted: 0, answered: 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A policy on a virtual clock, in milliseconds.
    #[derive(Default)]
    struct Worker {
        policy: Policy,
        now: u64,
    }

    impl Worker {
        fn review(&mut self) -> bool {
            self.policy.review(Instant::from_millis(self.now));
            self.policy.is_on
        }

        /// Connections that arrive evenly, of which some send a request at once. Returns whether they are deferred.
        fn accept(&mut self, connections: u64, time: u64, is_client: impl Fn(u64) -> bool) -> bool {
            let begun = self.now;
            for number in 1..=connections {
                self.now = begun + time * number / connections;
                self.policy.accepted += 1;
                self.policy.answered += u32::from(is_client(number));
                if self.policy.is_due() {
                    self.review();
                }
            }
            self.policy.is_on
        }

        /// A worker that defers.
        fn deferring() -> Self {
            let mut worker = Self::default();
            assert!(worker.accept(256, 100, |_| true));
            worker
        }
    }

    #[test]
    fn many_clients_turn_it_on_and_few_do_not() {
        for (time, is_on) in [(0, true), (250, true), (251, false), (60_000, false)] {
            assert_eq!(Worker::default().accept(256, time, |_| true), is_on, "{time} ms");
        }
        assert!(!Worker::default().accept(255, 0, |_| true));
    }

    #[test]
    fn a_burst_after_a_calm_turns_it_on() {
        let mut worker = Worker::default();
        worker.accept(200, 10_000, |_| true);
        assert!(worker.accept(56 + 256, 100, |_| true));
    }

    #[test]
    fn connections_without_a_request_do_not_turn_it_on() {
        assert!(!Worker::default().accept(100_000, 1_000, |_| false));
        // Three of ten are silent, then two of ten.
        assert!(!Worker::default().accept(100_000, 1_000, |number| number % 10 >= 3));
        assert!(Worker::default().accept(100_000, 1_000, |number| number % 10 >= 2));
    }

    #[test]
    fn it_stays_on_while_half_as_many_arrive() {
        for (connections, stays) in [(512, true), (511, false), (0, false)] {
            let mut worker = Worker::deferring();
            worker.accept(connections, 1_000, |_| true);
            worker.now = 1_100;
            assert_eq!(worker.review(), stays, "{connections}");
        }
    }

    #[test]
    fn connections_without_a_request_turn_it_off() {
        let mut worker = Worker::deferring();
        worker.accept(10_000, 1_000, |number| number % 10 >= 3);
        assert!(!worker.review());
        // And not on again.
        assert!(!worker.accept(10_000, 1_000, |number| number % 10 >= 3));
        assert!(worker.accept(10_000, 1_000, |_| true));
    }

    #[test]
    fn the_count_of_a_very_long_calm_does_not_overflow() {
        let mut worker = Worker::deferring();
        worker.policy.accepted = u32::MAX;
        worker.policy.answered = u32::MAX;
        worker.now = u64::MAX;
        assert!(!worker.review());
    }
}
