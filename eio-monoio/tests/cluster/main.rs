//! Three nodes of a cluster, with a real NATS server.

#[path = "../support/mod.rs"]
mod support;

mod balancer;
mod engine;
mod failures;
mod forwarding;
mod messages;
mod nats_server;
mod nodes;
