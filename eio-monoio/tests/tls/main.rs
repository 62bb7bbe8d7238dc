//! The server and the client over TLS.

#[path = "../support/mod.rs"]
mod support;

mod busy;
mod certificates;
mod client;
mod connections;
mod crafted;
mod flood;
mod foreign_clients;
mod records;
