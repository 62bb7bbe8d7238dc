//! [`Config`]: the end of a server.

use std::time::Duration;

use super::Config;

/// # Shutdown
///
/// How long a shutdown waits, and whether signals begin one.
impl Config {
    /// The time that a shutdown waits for clients and handlers.
    ///
    /// **Default:** 10 s. **Range:** 0 to 24 h. After it sessions end, their queued messages are dropped, and
    /// connections and handlers are cut off.
    #[must_use]
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.shutdown_timeout = timeout;
        self
    }

    /// The time for which a shutdown still accepts connections, so that the next GET of a client that is between two
    /// polls receives the close packet.
    ///
    /// **Default:** 1 s. **Range:** 0 to 24 h. It is over sooner when no session is left. After it nothing is accepted
    /// and idle connections are closed.
    #[must_use]
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.shutdown_grace = grace;
        self
    }

    /// Whether SIGINT and SIGTERM shut the server down. A second signal ends the process at once, with status 128 plus
    /// the number of the signal.
    ///
    /// **Default:** false for a [`Server`](crate::Server), true for [`serve`](crate::serve).
    #[must_use]
    pub fn handle_signals(mut self, handle: bool) -> Self {
        self.handle_signals = handle;
        self
    }
}
