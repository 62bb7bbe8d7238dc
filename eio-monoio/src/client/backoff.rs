//! [`Backoff`]: the pauses between attempts to connect, and the faults after which there is another attempt.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::client::error::Fault;

/// Growing pauses with jitter, so that the clients of a server that restarts do not all reconnect at once.
///
/// The pause before retry `n` (from 0) is `first * factor^n`, at most `longest`, and then longer or shorter at random
/// by up to `jitter` of itself; a longer `Retry-After` of the server replaces it, up to
/// [`longest_retry_after`](Self::longest_retry_after). Values outside a range count as its nearest bound.
///
/// ```
/// use std::time::Duration;
/// use eio_monoio::client::Backoff;
///
/// let backoff = Backoff::new()
///     .longest(Duration::from_secs(30))
///     .attempts(10)
///     .on_retry(|retry| eprintln!("{retry}"));
/// ```
#[derive(Clone)]
#[must_use = "it is an argument of `reconnect_with` and `connect_with`"]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    factor: f64,
    jitter: f64,
    attempts: Option<u32>,
    longest_retry_after: Duration,
    retry_if: Option<RetryIf>,
    on_retry: Option<OnRetry>,
}

type RetryIf = Arc<dyn Fn(&Fault) -> bool + Send + Sync>;
type OnRetry = Arc<dyn Fn(&Retry<'_>) + Send + Sync>;

/// A pause before another attempt, reported to [`Backoff::on_retry`].
///
/// It prints as `attempt 3 in 2.1s: status 503`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Retry<'r> {
    /// The number of the attempt that follows the pause, from 1. The attempt that
    /// [`connect_with`](crate::client::Connect::connect_with) makes at once has number 1.
    pub attempt: u32,
    /// The pause.
    pub pause: Duration,
    /// The fault of the previous attempt; `None` before the first attempt to reconnect.
    pub fault: Option<&'r Fault>,
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
            longest_retry_after: Duration::from_secs(300),
            retry_if: None,
            on_retry: None,
        }
    }
}

/// # Pauses
impl Backoff {
    /// The [defaults](Self::default).
    pub fn new() -> Self {
        Self::default()
    }

    /// The first pause.
    ///
    /// **Default:** 1 s. **Range:** 0 to [`longest`](Self::longest). With 0 there are no pauses.
    ///
    /// socket.io-client: `reconnectionDelay`.
    pub fn first(mut self, pause: Duration) -> Self {
        self.first = pause;
        self
    }

    /// The longest pause before jitter.
    ///
    /// **Default:** 5 s. **Range:** 0 to 49 days, jitter included.
    ///
    /// socket.io-client: `reconnectionDelayMax`.
    pub fn longest(mut self, pause: Duration) -> Self {
        self.longest = pause;
        self
    }

    /// The factor by which each pause is longer than the previous one.
    ///
    /// **Default:** 2. **Range:** 1 or more.
    pub fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// The share of a pause by which it is at most longer or shorter at random.
    ///
    /// **Default:** 0.5. **Range:** 0 to 1.
    ///
    /// socket.io-client: `randomizationFactor`.
    pub fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// The longest pause that `Retry-After` of the server causes. With zero `Retry-After` is ignored.
    ///
    /// **Default:** 5 min. **Range:** 0 to 49 days. A longer `Retry-After` counts as this.
    pub fn longest_retry_after(mut self, pause: Duration) -> Self {
        self.longest_retry_after = pause;
        self
    }
}

/// # Attempts
impl Backoff {
    /// The number of attempts, after which the error of the last one is returned.
    ///
    /// **Default:** no limit. **Range:** 1 or more. 0 counts as one attempt, without a pause.
    ///
    /// socket.io-client: `reconnectionAttempts`.
    pub fn attempts(mut self, attempts: impl Into<Option<u32>>) -> Self {
        self.attempts = attempts.into();
        self
    }

    /// Decides after which faults there is another attempt; the others are returned at once.
    ///
    /// **Default:** [`Fault::is_temporary`].
    ///
    /// ```
    /// use eio_monoio::client::{Backoff, Fault};
    ///
    /// /// Retries 401 as well, for a token that becomes valid later.
    /// let backoff = Backoff::new()
    ///     .retry_if(|fault| fault.is_temporary() || fault.status() == Some(401));
    /// ```
    pub fn retry_if(mut self, retry: impl Fn(&Fault) -> bool + Send + Sync + 'static) -> Self {
        self.retry_if = Some(Arc::new(retry));
        self
    }

    /// Is called before each pause, with the number of the next attempt and the fault of the previous one.
    ///
    /// **Default:** nothing is called; an event of `tracing` at the level debug reports the same.
    pub fn on_retry(mut self, call: impl Fn(&Retry<'_>) + Send + Sync + 'static) -> Self {
        self.on_retry = Some(Arc::new(call));
        self
    }
}

impl Backoff {
    /// Whether there is another attempt after `made` attempts, of which the last failed with `fault`.
    pub(crate) fn allows(&self, made: u32, fault: &Fault) -> bool {
        let wanted =
            self.retry_if.as_ref().map_or_else(|| fault.is_temporary(), |retry| retry(fault));
        wanted && self.attempts.is_none_or(|attempts| made < attempts)
    }

    /// The pause before retry `n`, after `fault`.
    pub(crate) fn pause(&self, n: u32, fault: Option<&Fault>) -> Duration {
        if self.attempts == Some(0) {
            return Duration::ZERO;
        }
        let mut random = [0; 4];
        // Without a random number there is no jitter, but still a pause.
        let known = getrandom::fill(&mut random).is_ok();
        let random =
            if known { f64::from(u32::from_ne_bytes(random)) / f64::from(u32::MAX) } else { 0.5 };
        let asked = fault.and_then(Fault::retry_after).unwrap_or_default();
        self.grown(n, random).max(asked.min(self.longest_retry_after))
    }

    /// The pause before retry `n`, with a random number from 0 to 1.
    fn grown(&self, n: u32, random: f64) -> Duration {
        let grown = self.first.as_secs_f64() * self.factor.max(1.0).powf(f64::from(n));
        let pause = grown.min(self.longest.as_secs_f64());
        let jitter = self.jitter.clamp(0.0, 1.0);
        let pause = pause * (1.0 - jitter + 2.0 * jitter * random);
        Duration::try_from_secs_f64(pause).unwrap_or(self.longest)
    }

    pub(crate) fn notify(&self, retry: &Retry<'_>) {
        crate::log::debug!("{retry}");
        if let Some(call) = &self.on_retry {
            call(retry);
        }
    }
}

impl fmt::Display for Retry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attempt {} in {:.1?}", self.attempt, self.pause)?;
        self.fault.map_or(Ok(()), |fault| write!(f, ": {fault}"))
    }
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backoff")
            .field("first", &self.first)
            .field("longest", &self.longest)
            .field("factor", &self.factor)
            .field("jitter", &self.jitter)
            .field("attempts", &self.attempts)
            .field("longest_retry_after", &self.longest_retry_after)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let backoff = Backoff::new().jitter(0.0);
        let seconds: Vec<_> = (0..5).map(|n| backoff.grown(n, 0.7).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 5, 5]);
        assert_eq!(backoff.grown(u32::MAX, 0.0).as_secs(), 5);
    }

    #[test]
    fn jitter_is_at_most_its_share_of_the_pause() {
        let backoff = Backoff::default();
        assert_eq!(backoff.grown(0, 0.0), Duration::from_millis(500));
        assert_eq!(backoff.grown(0, 1.0), Duration::from_millis(1500));
        assert_ne!(backoff.pause(0, None), backoff.pause(0, None));
    }

    #[test]
    fn a_value_out_of_range_counts_as_the_nearest_bound() {
        let pause = |backoff: Backoff| backoff.grown(1, 1.0).as_secs_f64();
        assert_eq!(pause(Backoff::new().factor(0.5)), 1.5);
        assert_eq!(pause(Backoff::new().factor(f64::NAN)), 1.5);
        assert_eq!(pause(Backoff::new().jitter(-1.0)), 2.0);
        assert_eq!(pause(Backoff::new().jitter(9.0)), 4.0);
        assert_eq!(pause(Backoff::new().first(Duration::from_secs(60))), 7.5);
        let longest = Backoff::new().first(Duration::MAX).longest(Duration::MAX);
        assert_eq!(longest.grown(0, 1.0), Duration::MAX);
        assert_eq!(Backoff::new().attempts(0).pause(0, None), Duration::ZERO);
    }

    #[test]
    fn attempts_are_limited_and_only_temporary_faults_are_retried() {
        let backoff = Backoff::new().attempts(2);
        assert!(backoff.allows(1, &Fault::Lost));
        assert!(!backoff.allows(2, &Fault::Lost));
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert!(backoff.allows(1, &Fault::of_status(status)), "{status}");
        }
        for status in [200, 301, 302, 400, 401, 403, 404, 407, 426, 501, 505] {
            assert!(!backoff.allows(1, &Fault::of_status(status)), "{status}");
        }
        let own = backoff.retry_if(|fault| fault.status() == Some(401));
        assert!(own.allows(1, &Fault::of_status(401)));
        assert!(!own.allows(1, &Fault::Lost));
    }

    #[test]
    fn retry_after_lengthens_a_pause_up_to_its_limit() {
        let asks = |seconds| Fault::Status {
            status: 503,
            body: String::new(),
            location: None,
            retry_after: Some(Duration::from_secs(seconds)),
        };
        let backoff = Backoff::new().longest_retry_after(Duration::from_secs(60));
        assert_eq!(backoff.pause(0, Some(&asks(30))), Duration::from_secs(30));
        assert_eq!(backoff.pause(0, Some(&asks(3_000))), Duration::from_secs(60));
        assert!(backoff.pause(0, Some(&asks(0))) >= Duration::from_millis(500));
        let ignores = backoff.longest_retry_after(Duration::ZERO);
        assert!(ignores.pause(0, Some(&asks(30))) <= Duration::from_millis(1500));
    }

    #[test]
    fn retry_prints_attempt_pause_and_fault() {
        let retry = Retry { attempt: 3, pause: Duration::from_millis(2_100), fault: None };
        assert_eq!(retry.to_string(), "attempt 3 in 2.1s");
        let fault = Fault::of_status(503);
        let retry = Retry { fault: Some(&fault), ..retry };
        assert_eq!(retry.to_string(), "attempt 3 in 2.1s: status 503");
    }
}
