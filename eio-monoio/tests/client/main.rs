//! The client against our own server, and against servers that break the protocol.

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/awaits.rs"]
mod awaits;

mod causes;
mod connecting;
mod deflate;
mod handle;
mod hostile_http;
mod hostile_polling;
mod hostile_websocket;
mod lifecycle;
mod messages;
mod other_threads;
mod raw_websocket;
mod redirects;
mod remote;
mod requests;
mod retries;
mod sigint;
mod transcripts;
mod undelivered;
