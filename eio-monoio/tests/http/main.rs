//! The server as an HTTP/1.1 server: connections, framing, refusals, routes, files and headers.

#[path = "../support/mod.rs"]
mod support;

mod access_log;
mod bodies;
mod busy;
mod compression;
mod connections;
mod cors;
mod files;
mod framing;
mod headers;
mod hooks;
mod refusals;
mod requests;
mod routes;
