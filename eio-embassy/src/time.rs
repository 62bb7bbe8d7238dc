//! The clock of sessions: embassy-time in milliseconds.

use core::future::pending;

use eio_core::time::Instant;
use embassy_time::{Duration, Instant as Clock, Timer};

/// The current time.
#[inline(never)]
pub(crate) fn now() -> Instant {
    Instant::from_millis(Clock::now().as_millis())
}

/// `at` as an instant of embassy-time.
pub(crate) const fn clock(at: Instant) -> Clock {
    Clock::from_millis(at.as_millis())
}

/// Waits until `deadline`; without one, forever.
pub(crate) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => Timer::at(clock(at)).await,
        None => pending().await,
    }
}

/// `duration` in milliseconds, at least 1 and at most `u32::MAX`, which is 49 days.
pub(crate) const fn clamp_ms(duration: Duration) -> u32 {
    let millis = duration.as_millis();
    if millis == 0 {
        1
    } else if millis > u32::MAX as u64 {
        u32::MAX
    } else {
        millis as u32
    }
}
