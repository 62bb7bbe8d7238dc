//! [`Config`]: the end of a server.

use std::time::Duration;

use super::Config;

/// # Shutdown
///
/// How long a shutdown or drain waits, and whether signals begin one.
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
    /// and idle connections are closed; 250 ms later, so are incomplete requests, sessions that only a poll or an upgrade
    /// could close, and handlers of sessions that have ended are dropped; a handshake whose `connect` or middleware is
    /// pending is answered 503.
    ///
    /// What is complete may take longer, up to [`shutdown_timeout`](Self::shutdown_timeout): messages that a client reads
    /// slowly, `request` and `respond`, `disconnect`, and tasks of [`spawn`](crate::spawn).
    #[must_use]
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.shutdown_grace = grace;
        self
    }

    /// The time for which a [drain](crate::Running::drain) only says that the server is not ready, before sessions
    /// close: as long as a load balancer needs to notice.
    ///
    /// **Default:** 0. **Range:** 0 to 24 h.
    #[must_use]
    pub fn drain_wait(mut self, wait: Duration) -> Self {
        self.drain_wait = wait;
        self
    }

    /// The time over which a [drain](crate::Running::drain) closes the sessions evenly. Their clients connect again, each
    /// with a handshake: the longer this is, the fewer at a time.
    ///
    /// **Default:** 5 s. **Range:** 0 to 24 h. After it the shutdown begins; it begins sooner when no session is left.
    #[must_use]
    pub fn drain_time(mut self, time: Duration) -> Self {
        self.drain_time = time;
        self
    }

    /// Whether SIGINT and SIGTERM shut the server down. A second signal, after
    /// [`signal_window`](Self::signal_window), ends the process at once, with status 128 plus the number of the signal.
    /// SIGHUP does not end the process; see [`reload_on_hangup`](Self::reload_on_hangup).
    ///
    /// **Default:** false for a [`Server`](crate::Server), true for [`serve`](crate::serve).
    #[must_use]
    pub fn handle_signals(mut self, handle: bool) -> Self {
        self.handle_signals = handle;
        self
    }

    /// The time after a signal in which further ones count as the same. `timeout(1)` sends two at once: to the process
    /// and to its group.
    ///
    /// **Default:** 1 s. **Range:** 0 to 24 h. Signals within this time are ignored.
    #[must_use]
    pub fn signal_window(mut self, window: Duration) -> Self {
        self.signal_window = window;
        self
    }

    /// Whether the first SIGINT or SIGTERM [drains](crate::Running::drain) the server. Then the second one shuts it down,
    /// and the third one ends the process.
    ///
    /// **Default:** false.
    #[must_use]
    pub fn drain_on_signal(mut self, drain: bool) -> Self {
        self.drain_on_signal = drain;
        self
    }

    /// Whether SIGHUP reads the files of [`Server::tls`](crate::Server) again, as `Remote::reload_tls` does. Only with
    /// [`handle_signals`](Self::handle_signals); without that, SIGHUP ends the process.
    ///
    /// **Default:** true. With false, SIGHUP is ignored.
    #[must_use]
    pub fn reload_on_hangup(mut self, reload: bool) -> Self {
        self.reload_on_hangup = reload;
        self
    }
}
