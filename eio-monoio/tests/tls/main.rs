//! The server and the client over TLS.

#[path = "../support/mod.rs"]
mod support;

mod client;
mod server;
