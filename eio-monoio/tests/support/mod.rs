//! What the integration tests share: the server under test, and clients written by others.

#![allow(dead_code, reason = "each test binary uses its own part of this module")]

pub(crate) mod foreign;
pub(crate) mod server;
