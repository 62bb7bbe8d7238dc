//! The access log: a line for each HTTP request.

use std::time::Duration;

use eio_monoio::AccessEntry;

/// The target of its events, which pass at any level of the log.
pub(crate) const TARGET: &str = "access";

/// Logs one request. Its query is left out: that of Engine.IO has the sid, which gives access to the session.
pub(crate) fn log(entry: &AccessEntry) {
    tracing::info!(
        target: TARGET,
        client = entry.peer_addr().map(display),
        method = entry.method(),
        path = entry.path(),
        status = entry.status(),
        ms = milliseconds(entry.duration()),
    );
}

/// With microseconds as decimals.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}
