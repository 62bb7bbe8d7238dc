//! Bounded waiting.

use std::thread;
use std::time::{Duration, Instant};

/// The limit for any single step on a busy machine. Only a test that fails waits this long.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// Polls a condition that another thread brings about; fails after [`TIMEOUT`].
#[track_caller]
pub(crate) fn eventually(condition: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !holds() {
        assert!(Instant::now() < deadline, "timed out waiting for {condition}");
        thread::sleep(Duration::from_millis(2));
    }
}
