//! The client against our own server and against servers that break the protocol.

#[path = "../support/mod.rs"]
mod support;

mod hostile;
mod sessions;
mod sigint;
