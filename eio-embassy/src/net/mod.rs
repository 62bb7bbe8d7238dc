//! Connections: the trait [`Connector`](connector::Connector) and its implementations.

pub(crate) mod backoff;
pub(crate) mod connector;
#[cfg(feature = "edge-nal")]
pub mod edge;
#[cfg(feature = "embassy-net")]
pub mod tcp;
pub(crate) mod transfer;
