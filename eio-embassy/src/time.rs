//! The clock of sessions: embassy-time in milliseconds.

use core::future::pending;

use eio_core::time::Instant;
use embassy_time::{Instant as Clock, Timer};

/// The current time.
#[inline(never)]
pub(crate) fn now() -> Instant {
    Instant::from_millis(Clock::now().as_millis())
}

/// Waits until `deadline`; without one, forever.
pub(crate) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => Timer::at(Clock::from_millis(at.as_millis())).await,
        None => pending().await,
    }
}
