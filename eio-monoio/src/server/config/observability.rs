//! [`Config`]: measurements.

use std::time::Duration;

use super::Config;

/// # Observability
///
/// How much is measured for [`Metrics`](crate::Metrics), and when a warning is logged.
impl Config {
    /// Of how many messages one has the time of its [`Handler::message`](crate::Handler::message) measured, for
    /// `eio_handler_seconds`. Each worker counts for itself. Reading the clock twice for each message takes about 50 ns.
    ///
    /// **Default:** 64. **Range:** 0 to 2^31. With 1 every message is measured, with 0 none. Other functions of the
    /// handler are always measured.
    #[must_use]
    pub fn time_messages(mut self, one_of: usize) -> Self {
        self.time_messages = one_of;
        self
    }

    /// How often the lag of each worker is measured: the time that it takes to notice a message of another thread, for
    /// `eio_worker_lag_seconds`. One thread does so for all workers.
    ///
    /// **Default:** 1 s. **Range:** 0 to 24 h. With 0 nothing is measured, and blocked workers are not noticed.
    #[must_use]
    pub fn lag_interval(mut self, interval: Duration) -> Self {
        self.lag_interval = interval;
        self
    }

    /// The lag from which a worker is slow.
    ///
    /// **Default:** 1 s. **Range:** 0 to 24 h. A slow worker is logged at WARN, at most once in 10 s for each worker and
    /// within [`lag_interval`](Self::lag_interval) after this time.
    #[must_use]
    pub fn lag_warning(mut self, lag: Duration) -> Self {
        self.lag_warning = lag;
        self
    }
}
