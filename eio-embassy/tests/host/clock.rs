//! Time that passes when nobody has anything else to do: each test's thread has its own, so a test of a
//! minute takes no time and does the same every time.

use std::cell::RefCell;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use embassy_time_driver::Driver;

/// Longer than any test should take, in microseconds of its own time.
const LIMIT: u64 = 3_600 * 1_000_000;

thread_local! {
    static CLOCK: RefCell<(u64, Vec<(u64, Waker)>)> = const { RefCell::new((0, Vec::new())) };
}

#[derive(Debug)]
struct VirtualClock;

embassy_time_driver::time_driver_impl!(static DRIVER: VirtualClock = VirtualClock);

impl Driver for VirtualClock {
    fn now(&self) -> u64 {
        CLOCK.with_borrow(|(now, _)| *now)
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        CLOCK.with_borrow_mut(|(_, alarms)| {
            if !alarms.iter().any(|(when, who)| *when == at && who.will_wake(waker)) {
                alarms.push((at, waker.clone()));
            }
        });
    }
}

/// Runs `future` to its end.
///
/// Panics if it waits for nothing at all.
pub(crate) fn run<F: Future>(future: F) -> F::Output {
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            CLOCK.with_borrow_mut(|(_, alarms)| alarms.clear());
            return output;
        }
        if woken.0.swap(false, Ordering::Relaxed) {
            continue;
        }
        let due: Vec<Waker> = CLOCK.with_borrow_mut(|(now, alarms)| {
            let next =
                alarms.iter().map(|(at, _)| *at).min().expect("everybody waits, for nothing");
            *now = next.max(*now);
            assert!(*now < LIMIT, "this takes for ever");
            alarms.extract_if(.., |(at, _)| *at <= *now).map(|(_, waker)| waker).collect()
        });
        due.into_iter().for_each(Waker::wake);
        woken.0.store(false, Ordering::Relaxed);
    }
}
