//! [`Backoff`]: when to connect again.

use core::fmt;

use embassy_time::{Duration, Timer};
use rand_core::RngCore;

use crate::fmt::debug;

/// How long to wait before the next attempt: twice as long as before the last one, up to a limit, and of
/// that a random part, so that a thousand devices do not come back in the same second.
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
/// let waits: Vec<_> = (0..4).map(|_| backoff.next(&mut Half).as_millis()).collect();
/// assert_eq!(waits, [749, 1499, 2999, 3749]);
/// backoff.reset();
/// assert_eq!(backoff.next(&mut Half).as_millis(), 749);
/// ```
#[derive(Clone, Copy)]
pub struct Backoff {
    first: u32,
    limit: u32,
    next: u32,
}

impl Backoff {
    /// At first up to `first`, never more than `limit`. Half of each is certain, the rest is chance. Both
    /// are taken as at least a millisecond and at most 49 days.
    pub const fn new(first: Duration, limit: Duration) -> Self {
        let (first, limit) = (millis(first), millis(limit));
        Self { first, limit, next: first }
    }

    /// The connection came about: the next failure begins at the first wait again.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }

    /// How long to wait now.
    pub fn next(&mut self, rng: &mut impl RngCore) -> Duration {
        let most = self.next.min(self.limit);
        self.next = most.saturating_mul(2);
        // A part of 2^32: no division.
        let chance = (u64::from(most / 2 + most % 2) * u64::from(rng.next_u32())) >> 32;
        Duration::from_millis(u64::from(most / 2) + chance)
    }

    /// Waits so long.
    pub async fn wait(&mut self, rng: &mut impl RngCore) {
        let wait = self.next(rng);
        debug!("next attempt in {} ms", wait.as_millis());
        Timer::after(wait).await;
    }
}

impl Default for Backoff {
    /// From 1 s to 30 s: a device may be one of many, and nobody watches it reconnect.
    fn default() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(30))
    }
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Backoff {{ next: {} ms, limit: {} ms }}", self.next, self.limit)
    }
}

const fn millis(duration: Duration) -> u32 {
    let millis = duration.as_millis();
    if millis == 0 {
        1
    } else if millis > u32::MAX as u64 {
        u32::MAX
    } else {
        millis as u32
    }
}
