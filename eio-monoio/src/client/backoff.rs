//! [`Backoff`]: the pauses between attempts to reconnect.

use std::time::Duration;

/// Growing pauses with jitter, so that the clients of a server that restarts do not all reconnect at once.
///
/// The pause before attempt `n` (from 0) is `first * factor^n`, at most `longest`, and then longer or shorter at random
/// by up to `jitter` of itself. Values outside a range count as its nearest bound.
///
/// ```
/// use std::time::Duration;
/// use eio_monoio::client::Backoff;
///
/// let mut backoff = Backoff::default();
/// backoff.longest = Duration::from_secs(30);
/// backoff.attempts = Some(10);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Backoff {
    /// The pause before the first attempt.
    ///
    /// **Default:** 1 s. **Range:** 0 to [`longest`](Self::longest). With 0 there are no pauses.
    ///
    /// socket.io-client: `reconnectionDelay`.
    pub first: Duration,
    /// The longest pause before jitter.
    ///
    /// **Default:** 5 s. **Range:** 0 to 49 days, jitter included.
    ///
    /// socket.io-client: `reconnectionDelayMax`.
    pub longest: Duration,
    /// The factor by which each pause is longer than the previous one.
    ///
    /// **Default:** 2. **Range:** 1 or more.
    pub factor: f64,
    /// The share of a pause by which it is at most longer or shorter at random.
    ///
    /// **Default:** 0.5. **Range:** 0 to 1.
    ///
    /// socket.io-client: `randomizationFactor`.
    pub jitter: f64,
    /// The number of attempts, after which the error of the last one is returned.
    ///
    /// **Default:** no limit. **Range:** 1 or more. `Some(0)` counts as one attempt, without a pause.
    ///
    /// socket.io-client: `reconnectionAttempts`.
    pub attempts: Option<u32>,
}

impl Default for Backoff {
    /// The defaults of socket.io-client.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(5),
            factor: 2.0,
            jitter: 0.5,
            attempts: None,
        }
    }
}

impl Backoff {
    /// The pause before attempt number `attempt`; `None` if there is no such attempt.
    pub(crate) fn pause(&self, attempt: u32) -> Option<Duration> {
        let mut random = [0; 4];
        // Without a random number there is no jitter, but still a pause.
        let known = getrandom::fill(&mut random).is_ok();
        let random =
            if known { f64::from(u32::from_ne_bytes(random)) / f64::from(u32::MAX) } else { 0.5 };
        self.pause_with(attempt, random)
    }

    /// [`pause`](Self::pause) with a random number from 0 to 1.
    fn pause_with(&self, attempt: u32, random: f64) -> Option<Duration> {
        if self.attempts.is_some_and(|attempts| attempt >= attempts) {
            return None;
        }
        let grown = self.first.as_secs_f64() * self.factor.max(1.0).powf(f64::from(attempt));
        let pause = grown.min(self.longest.as_secs_f64());
        let jitter = self.jitter.clamp(0.0, 1.0);
        let pause = pause * (1.0 - jitter + 2.0 * jitter * random);
        Some(Duration::try_from_secs_f64(pause).unwrap_or(self.longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let backoff = Backoff { jitter: 0.0, ..Backoff::default() };
        let seconds: Vec<_> =
            (0..5).map(|n| backoff.pause_with(n, 0.7).unwrap().as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 5, 5]);
        assert_eq!(backoff.pause_with(u32::MAX, 0.0).unwrap().as_secs(), 5);
    }

    #[test]
    fn jitter_is_at_most_its_share_of_the_pause() {
        let backoff = Backoff::default();
        assert_eq!(backoff.pause_with(0, 0.0), Some(Duration::from_millis(500)));
        assert_eq!(backoff.pause_with(0, 1.0), Some(Duration::from_millis(1500)));
        assert_ne!(backoff.pause(0), backoff.pause(0));
    }

    #[test]
    fn a_value_out_of_range_counts_as_the_nearest_bound() {
        let pause = |backoff: Backoff| backoff.pause_with(1, 1.0).unwrap().as_secs_f64();
        let backoff = Backoff::default();
        assert_eq!(pause(Backoff { factor: 0.5, ..backoff }), 1.5);
        assert_eq!(pause(Backoff { factor: f64::NAN, ..backoff }), 1.5);
        assert_eq!(pause(Backoff { jitter: -1.0, ..backoff }), 2.0);
        assert_eq!(pause(Backoff { jitter: 9.0, ..backoff }), 4.0);
        assert_eq!(pause(Backoff { first: Duration::from_secs(60), ..backoff }), 7.5);
        let longest = Backoff { first: Duration::MAX, longest: Duration::MAX, ..backoff };
        assert_eq!(longest.pause_with(0, 1.0), Some(Duration::MAX));
    }

    #[test]
    fn the_number_of_attempts_is_limited() {
        let backoff = Backoff { attempts: Some(2), ..Backoff::default() };
        assert!(backoff.pause_with(1, 0.5).is_some());
        assert_eq!(backoff.pause_with(2, 0.5), None);
    }
}
