//! [`Config`]: the heartbeat.

use std::time::Duration;

use super::Config;

/// # Heartbeat
///
/// The server sends a ping after each interval, and a session ends whose pong does not arrive in time.
impl Config {
    /// The time from the handshake, and then from each pong, to the next ping.
    ///
    /// **Default:** 25 s. **Range:** 10 ms to 24 h.
    ///
    /// Engine.IO: `pingInterval`. python-engineio: `ping_interval`.
    #[must_use]
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.ping_interval = interval;
        self
    }

    /// The time that is added to [`ping_interval`](Self::ping_interval) in the open packet: clients do not miss a ping
    /// that a slow link delays by at most this time.
    ///
    /// **Default:** 0. **Range:** 0 to 24 h.
    ///
    /// python-engineio: the second part of `ping_interval`.
    #[must_use]
    pub fn ping_grace(mut self, grace: Duration) -> Self {
        self.ping_grace = grace;
        self
    }

    /// The time from when a ping is due to the arrival of its pong.
    ///
    /// **Default:** 20 s. **Range:** 10 ms to 24 h. After it the session ends with
    /// [`CloseReason::PingTimeout`](crate::CloseReason::PingTimeout) and its WebSocket is closed with 1001. While the
    /// session's handler or a full queue keeps the server from reading, the time is extended, at most five times in a
    /// row.
    ///
    /// Engine.IO: `pingTimeout`. python-engineio: `ping_timeout`.
    #[must_use]
    pub fn ping_timeout(mut self, timeout: Duration) -> Self {
        self.ping_timeout = timeout;
        self
    }
}
