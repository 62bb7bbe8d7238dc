//! Connections: the trait that makes them, its implementations, and the transfer of bytes.

pub(crate) mod backoff;
pub(crate) mod connector;
#[cfg(feature = "edge-nal")]
pub mod edge;
#[cfg(feature = "embassy-net")]
pub mod tcp;
#[cfg(feature = "tls")]
pub mod tls;
pub(crate) mod transfer;
