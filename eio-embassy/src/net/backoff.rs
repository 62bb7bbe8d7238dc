//! [`Backoff`]: delays between attempts to connect.

use core::fmt;

use embassy_time::{Duration, Timer};
use rand_core::RngCore;

use crate::fmt::debug;
use crate::time::clamp_ms;

/// Delays between attempts to connect: each is twice as long as the one before, up to a limit. Half of a delay is
/// random, so that a thousand devices do not reconnect in the same second.
///
/// ```
/// # use eio_embassy::Backoff;
/// # use embassy_time::Duration;
/// # struct Half;
/// # impl rand_core::RngCore for Half {
/// #     fn next_u32(&mut self) -> u32 { u32::MAX / 2 }
/// #     fn next_u64(&mut self) -> u64 { u64::MAX / 2 }
/// #     fn fill_bytes(&mut self, bytes: &mut [u8]) { bytes.fill(0x7f) }
/// # }
/// let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
/// let delays: Vec<_> = (0..4).map(|_| backoff.next(&mut Half).as_millis()).collect();
/// assert_eq!(delays, [749, 1499, 2999, 3749]);
/// backoff.reset();
/// assert_eq!(backoff.next(&mut Half).as_millis(), 749);
/// ```
#[derive(Clone, Copy)]
pub struct Backoff {
    first_ms: u32,
    longest_ms: u32,
    next_ms: u32,
}

impl Backoff {
    /// The first delay is at most `first`, no delay is longer than `longest`, and none is shorter than half of its
    /// maximum.
    ///
    /// **Range:** 1 ms to 49 days each. Shorter and longer durations count as that limit.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        let (first_ms, longest_ms) = (clamp_ms(first), clamp_ms(longest));
        Self { first_ms, longest_ms, next_ms: first_ms }
    }

    /// Begins with the first delay again: call it when a session is open.
    pub const fn reset(&mut self) {
        self.next_ms = self.first_ms;
    }

    /// The delay before the next attempt.
    pub fn next(&mut self, rng: &mut impl RngCore) -> Duration {
        let max_ms = self.next_ms.min(self.longest_ms);
        self.next_ms = max_ms.saturating_mul(2);
        // A 2^32th of the product: no division.
        let random_ms = (u64::from(max_ms / 2 + max_ms % 2) * u64::from(rng.next_u32())) >> 32;
        Duration::from_millis(u64::from(max_ms / 2) + random_ms)
    }

    /// Waits for the [next](Self::next) delay.
    pub async fn wait(&mut self, rng: &mut impl RngCore) {
        let delay = self.next(rng);
        debug!("next attempt in {} ms", delay.as_millis());
        Timer::after(delay).await;
    }
}

impl Default for Backoff {
    /// From 1 s to 30 s, longer than a desktop client waits: a device may be one of many.
    fn default() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(30))
    }
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Backoff {{ next: {} ms, longest: {} ms }}", self.next_ms, self.longest_ms)
    }
}
