//! [`ConnectionPermit`]: one of the connections that a server may have.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A place among [`max_connections`](crate::Config::max_connections); given back when dropped.
pub(crate) struct ConnectionPermit(Arc<AtomicUsize>);

impl ConnectionPermit {
    /// Takes a place if fewer than `max` are taken in `connections`.
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
