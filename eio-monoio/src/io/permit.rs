//! [`ConnectionPermit`]: limits the number of open connections of a server.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of open connections.
#[derive(Clone, Default)]
pub(crate) struct ConnectionCount(Arc<Counted>);

/// What a permit keeps: one pointer for each connection, so that another limit costs nothing unless it is used.
#[derive(Default)]
struct Counted {
    open: Arc<AtomicUsize>,
    /// Dropped with the permit.
    _other_limit: Option<Box<dyn Any + Send + Sync>>,
}

/// Counts one connection against [`max_connections`](crate::Config::max_connections), until it is dropped.
pub(crate) struct ConnectionPermit(Arc<Counted>);

impl ConnectionCount {
    pub(crate) fn open(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// `None` if `max` connections are open.
    pub(crate) fn take(&self, max: usize) -> Option<ConnectionPermit> {
        let open = &self.0.open;
        if open.fetch_add(1, Ordering::Relaxed) < max {
            return Some(ConnectionPermit(self.0.clone()));
        }
        open.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl ConnectionPermit {
    /// Keeps the permit of another limit as well.
    pub(crate) fn with(self, permit: impl Any + Send + Sync) -> Self {
        let open = self.0.open.clone();
        // The drop of `self` subtracts one.
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::new(Counted { open, _other_limit: Some(Box::new(permit)) }))
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_counts_one_connection_and_keeps_another_permit() {
        let count = ConnectionCount::default();
        let other = Arc::new(());
        let permit = count.take(2).unwrap().with(other.clone());
        let second = count.take(2).unwrap();
        assert_eq!((count.open(), Arc::strong_count(&other)), (2, 2));
        assert!(count.take(2).is_none());
        drop(permit);
        assert_eq!((count.open(), Arc::strong_count(&other)), (1, 1));
        drop(second);
        assert_eq!(count.open(), 0);
    }
}
