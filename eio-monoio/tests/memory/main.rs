//! Allocations, memory and descriptors. These are measured for a process, so each test runs in processes of its own.

#[path = "../support/mod.rs"]
mod support;

mod allocations;
mod allocator;
mod churn;
mod client;
mod footprint;
#[cfg(feature = "tls")]
mod tls;
