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
        add_below(&self.0.open, max).then(|| ConnectionPermit(self.0.clone()))
    }
}

/// Adds one, unless `count` is `max`.
fn add_below(count: &AtomicUsize, max: usize) -> bool {
    let added = count.fetch_add(1, Ordering::Relaxed) < max;
    if !added {
        count.fetch_sub(1, Ordering::Relaxed);
    }
    added
}

impl ConnectionPermit {
    /// A permit of another count; `None` if that is `max`.
    #[cfg(feature = "nats")]
    pub(crate) fn take(count: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let counted = || Counted { open: count.clone(), _other_limit: None };
        add_below(count, max).then(|| Self(Arc::new(counted())))
    }

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
