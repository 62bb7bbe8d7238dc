//! Three nodes of a cluster, with a real NATS server.

#[path = "../support/mod.rs"]
mod support;

mod balancer;
#[cfg(feature = "tls")]
mod credentials;
mod cuts;
mod engine;
mod exchanges;
mod failures;
mod forwarding;
mod leaving;
#[cfg(feature = "tls")]
mod link_tls;
mod load;
mod messages;
mod nats_server;
mod nodes;
mod processes;
mod recipes;
mod recordings;
