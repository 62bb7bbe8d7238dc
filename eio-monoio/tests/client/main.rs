//! The client against our own server, and against servers that break the protocol.

#[path = "../support/mod.rs"]
mod support;

mod connecting;
mod deflate;
mod hostile_http;
mod hostile_polling;
mod hostile_websocket;
mod lifecycle;
mod messages;
mod other_threads;
mod raw_websocket;
mod remote;
mod requests;
mod sigint;
