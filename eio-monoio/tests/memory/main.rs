//! Allocations, memory and descriptors. These are figures of a process, so each test has a process of its own.

#[path = "../support/mod.rs"]
mod support;

mod allocations;
mod allocator;
mod churn;
mod client;
mod footprint;
