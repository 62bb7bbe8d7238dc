//! Limits, hostile peers, backpressure and fairness.

#[path = "../support/mod.rs"]
mod support;

mod addresses;
mod attack;
mod backpressure;
mod budget;
mod busy;
mod deferral;
mod descriptors;
mod fairness;
mod flood;
mod panics;
mod polling_queue;
mod sizes;
mod timeouts;
