//! What the integration tests share: the server under test (in this process or one of its own), a client of raw
//! bytes, our own client, and peers written by others.

#![allow(dead_code, reason = "each test binary uses its own part of this module")]

pub(crate) mod app;
pub(crate) mod client;
pub(crate) mod foreign;
pub(crate) mod matrix;
pub(crate) mod server;
#[cfg(feature = "tls")]
pub(crate) mod tls;
pub(crate) mod wire;
