//! [`Backoff`]: pauses between attempts to reconnect.

use std::time::Duration;

/// Pauses that grow, with jitter, so that the clients of a server that restarts do not all come back at once.
///
/// The pause before attempt `n` (from 0) is `first * factor^n`, at most `longest`, made longer or shorter at
/// random by up to `jitter` of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Backoff {
    /// Before the first attempt. 1 s.
    pub first: Duration,
    /// What no pause exceeds before jitter. 5 s.
    pub longest: Duration,
    /// By how much each pause is longer than the one before. 2.
    pub factor: f64,
    /// 0 to 1. A half.
    pub jitter: f64,
    /// How many attempts there are. No limit.
    pub attempts: Option<u32>,
}

impl Default for Backoff {
    /// The figures of socket.io-client.
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
    /// The pause before attempt number `attempt`; `None`: there is no such attempt.
    pub(crate) fn pause(&self, attempt: u32) -> Option<Duration> {
        let mut random = [0; 4];
        // Without randomness there is no jitter, but there is a pause.
        let known = getrandom::fill(&mut random).is_ok();
        let random =
            if known { f64::from(u32::from_ne_bytes(random)) / f64::from(u32::MAX) } else { 0.5 };
        self.pause_with(attempt, random)
    }

    /// The same for a random number from 0 to 1.
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
    fn pauses_grow_to_the_longest_and_no_further() {
        let backoff = Backoff { jitter: 0.0, ..Backoff::default() };
        let seconds: Vec<_> =
            (0..5).map(|n| backoff.pause_with(n, 0.7).unwrap().as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 5, 5]);
        assert_eq!(backoff.pause_with(u32::MAX, 0.0).unwrap().as_secs(), 5);
    }

    #[test]
    fn jitter_stays_within_its_share() {
        let backoff = Backoff::default();
        assert_eq!(backoff.pause_with(0, 0.0), Some(Duration::from_millis(500)));
        assert_eq!(backoff.pause_with(0, 1.0), Some(Duration::from_millis(1500)));
        assert_ne!(backoff.pause(0), backoff.pause(0));
    }

    #[test]
    fn attempts_come_to_an_end() {
        let backoff = Backoff { attempts: Some(2), ..Backoff::default() };
        assert!(backoff.pause_with(1, 0.5).is_some());
        assert_eq!(backoff.pause_with(2, 0.5), None);
    }
}
