//! Log events that cannot end a thread. `tracing_subscriber::fmt`, for example, panics if standard error is closed or its
//! disk is full; such a panic ends the log call, and the event is lost.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls `log`, and catches a panic of the application's subscriber.
#[inline]
pub(crate) fn guard(log: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(log));
}

macro_rules! error {
    ($($event:tt)*) => { $crate::log::guard(|| ::tracing::error!($($event)*)) };
}

// `warn` is also a built-in attribute, so the macro has another name until it is imported.
macro_rules! warning {
    ($($event:tt)*) => { $crate::log::guard(|| ::tracing::warn!($($event)*)) };
}

macro_rules! info {
    ($($event:tt)*) => { $crate::log::guard(|| ::tracing::info!($($event)*)) };
}

macro_rules! debug {
    ($($event:tt)*) => { $crate::log::guard(|| ::tracing::debug!($($event)*)) };
}

macro_rules! trace {
    ($($event:tt)*) => { $crate::log::guard(|| ::tracing::trace!($($event)*)) };
}

pub(crate) use {debug, error, info, trace, warning as warn};
