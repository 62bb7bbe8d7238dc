//! A virtual clock that advances when every task is idle. Each test thread has its own, so a test of a minute takes no
//! time and is deterministic.

use std::cell::RefCell;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use embassy_time_driver::Driver;

/// The limit of a test in microseconds of virtual time: eleven days.
const LIMIT: u64 = 1_000_000 * 1_000_000;

thread_local! {
    /// The wakers of the tasks that run.
    static TASKS: RefCell<Vec<Waker>> = const { RefCell::new(Vec::new()) };

    static CLOCK: RefCell<(u64, Vec<(u64, Waker)>)> = const { RefCell::new((0, Vec::new())) };
}

#[derive(Debug)]
struct VirtualClock;

embassy_time_driver::time_driver_impl!(static DRIVER: VirtualClock = VirtualClock);

impl Driver for VirtualClock {
    fn now(&self) -> u64 {
        CLOCK.with_borrow(|(now, _)| *now)
    }

    /// Panics on a waker that is not a task's, as the timer queue of the executor does on a board.
    fn schedule_wake(&self, at: u64, waker: &Waker) {
        let is_of_a_task =
            TASKS.with_borrow(|tasks| tasks.iter().any(|task| task.will_wake(waker)));
        assert!(is_of_a_task, "a timer is polled with the waker of its task");
        CLOCK.with_borrow_mut(|(_, alarms)| {
            if !alarms.iter().any(|(when, other)| *when == at && other.will_wake(waker)) {
                alarms.push((at, waker.clone()));
            }
        });
    }
}

/// Time passes while a task is busy.
pub(crate) fn pass(time: embassy_time::Duration) {
    CLOCK.with_borrow_mut(|(now, _)| *now += time.as_micros());
}

/// Runs `future` to completion. Panics if it is pending without a timer.
pub(crate) fn run<F: Future>(future: F) -> F::Output {
    run_with(&mut [], future)
}

/// Runs `future` to completion together with `others`: each is a task of its own, which is polled only after it was
/// woken. (embassy-net wakes its runner whenever a socket is polled; in one task they would wake each other forever.)
///
/// Panics if all of them are pending without a timer.
pub(crate) fn run_with<F: Future>(
    others: &mut [Pin<&mut dyn Future<Output = ()>>],
    future: F,
) -> F::Output {
    let tasks: Vec<Arc<Woken>> = (0..=others.len()).map(|_| Arc::default()).collect();
    let wakers: Vec<Waker> = tasks.iter().map(|task| Waker::from(Arc::clone(task))).collect();
    TASKS.set(wakers.clone());
    let mut future = pin!(future);
    loop {
        let mut idle = true;
        for ((other, task), waker) in others.iter_mut().zip(&tasks[1..]).zip(&wakers[1..]) {
            if task.take() {
                idle = false;
                let _ = other.as_mut().poll(&mut Context::from_waker(waker));
            }
        }
        if tasks[0].take() {
            idle = false;
            let context = &mut Context::from_waker(&wakers[0]);
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                CLOCK.with_borrow_mut(|(_, alarms)| alarms.clear());
                return output;
            }
        }
        if !idle {
            continue;
        }
        let due: Vec<Waker> = CLOCK.with_borrow_mut(|(now, alarms)| {
            let next = alarms
                .iter()
                .map(|(at, _)| *at)
                .min()
                .expect("every task is pending without a timer");
            *now = next.max(*now);
            assert!(*now < LIMIT, "the test exceeds its limit of virtual time");
            alarms.extract_if(.., |(at, _)| *at <= *now).map(|(_, waker)| waker).collect()
        });
        due.into_iter().for_each(Waker::wake);
    }
}

/// Whether a task has to be polled; initially true.
#[derive(Debug)]
struct Woken(AtomicBool);

impl Woken {
    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Default for Woken {
    fn default() -> Self {
        Self(AtomicBool::new(true))
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
