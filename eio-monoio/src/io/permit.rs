//! [`ConnectionPermit`]: limits the number of open connections of a server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts one connection against [`max_connections`](crate::Config::max_connections), until it is dropped.
pub(crate) struct ConnectionPermit(Arc<AtomicUsize>);

impl ConnectionPermit {
    /// `None` if `connections` counts `max` connections already.
    pub(crate) fn take(connections: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        if connections.fetch_add(1, Ordering::Relaxed) < max {
            return Some(Self(connections.clone()));
        }
        connections.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
