//! [`Backoff`]: delays between attempts to connect.

use core::fmt;

use eio_core::time::Instant;
use embassy_time::{Duration, Timer};

use crate::fmt::debug;
use crate::time::{clamp_ms, now};

/// Delays between attempts to connect: each is twice as long as the one before, up to a limit. Half of a delay is
/// random, so that a thousand devices do not reconnect in the same second.
///
/// A session that [`opened`](Self::opened) and lived for [`stable_after`](Self::stable_after) makes the next delay the
/// first one again. One that ends sooner does not: a server that accepts each session and closes it, for example because
/// it refuses the first message, is not called every second for ever.
///
/// ```no_run
/// # use eio_embassy::Backoff;
/// # use embassy_time::Duration;
/// let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
/// let mut half = || u32::MAX / 2;
/// let delays: Vec<_> = (0..4).map(|_| backoff.next(&mut half).as_millis()).collect();
/// assert_eq!(delays, [749, 1499, 2999, 3749]);
/// backoff.reset();
/// assert_eq!(backoff.next(&mut half).as_millis(), 749);
/// ```
#[derive(Clone, Copy)]
pub struct Backoff {
    first_ms: u32,
    longest_ms: u32,
    stable_ms: u32,
    next_ms: u32,
    sessions: u32,
    /// When the session opened that has not ended yet.
    opened: Option<Instant>,
}

impl Backoff {
    /// The first delay is at most `first`, no delay is longer than `longest`, and none is shorter than half of its
    /// maximum.
    ///
    /// **Range:** 1 ms to 49 days each. Shorter and longer durations count as that limit.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        let (first_ms, longest_ms) = (clamp_ms(first), clamp_ms(longest));
        let (stable_ms, next_ms) = (30_000, first_ms);
        Self { first_ms, longest_ms, stable_ms, next_ms, sessions: 0, opened: None }
    }

    /// How long a session has to live until the first delay follows its end.
    ///
    /// **Default:** 30 s, longer than the `pingInterval` of most servers. **Range:** 1 ms to 49 days; durations beyond
    /// count as that limit. After a session that ends sooner the delays continue to grow.
    #[must_use]
    pub const fn stable_after(mut self, life: Duration) -> Self {
        self.stable_ms = clamp_ms(life);
        self
    }

    /// A session is open: counts it, and measures its life until the next delay.
    pub fn opened(&mut self) {
        self.sessions = self.sessions.saturating_add(1);
        self.opened = Some(now());
    }

    /// How many sessions opened after the first one.
    pub const fn reconnections(&self) -> u32 {
        self.sessions.saturating_sub(1)
    }

    /// Begins with the first delay again, whatever happened before.
    pub const fn reset(&mut self) {
        self.next_ms = self.first_ms;
    }

    /// The delay before the next attempt: a session that [`opened`](Self::opened) has ended now.
    pub fn next(&mut self, random: &mut impl FnMut() -> u32) -> Duration {
        if let Some(opened) = self.opened.take()
            && now() >= opened.after(self.stable_ms)
        {
            self.reset();
        }
        let max_ms = self.next_ms.min(self.longest_ms);
        self.next_ms = max_ms.saturating_mul(2);
        // A 2^32th of the product: no division.
        let random_ms = (u64::from(max_ms / 2 + max_ms % 2) * u64::from(random())) >> 32;
        Duration::from_millis(u64::from(max_ms / 2) + random_ms)
    }

    /// Waits for the [next](Self::next) delay.
    pub async fn wait(&mut self, random: &mut impl FnMut() -> u32) {
        let delay = self.next(random);
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
