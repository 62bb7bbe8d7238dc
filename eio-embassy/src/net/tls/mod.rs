//! [`TlsConnector`]: TLS 1.3 over another connector, by embedded-tls.
//!
//! ```text
//! connector below ──► records ──► pipe ──► client
//!                 ◄── records ◄── pipe ◄──
//!                 └──── TlsRunner ────┘
//! ```
//!
//! The client drops its `read` future when another event comes first. The `read` of embedded-tls must not be dropped,
//! because the head of a record would be lost with it. So a runner owns that future and passes the plain bytes through a
//! pipe, and a `read` from a pipe may be dropped.

mod config;
mod connector;
mod records;
mod runner;
mod shared;
mod verify;

pub use crate::tls_error::TlsError;
pub use config::TlsConfig;
pub use connector::{TlsConnector, TlsMemory};
pub use runner::TlsRunner;
pub use shared::{TlsReader, TlsWriter};
