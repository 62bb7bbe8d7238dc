//! The shared parts of the test binaries: the server under test, clients that show every byte, and foreign programs.

#![allow(dead_code, unused_imports, reason = "each test binary uses its own part of this module")]

pub(crate) mod app;
pub(crate) mod client;
pub(crate) mod configs;
pub(crate) mod connection;
pub(crate) mod counting_relay;
pub(crate) mod deflate;
pub(crate) mod describing;
pub(crate) mod echo;
pub(crate) mod foreign;
pub(crate) mod log;
pub(crate) mod own_process;
pub(crate) mod parallel;
pub(crate) mod polling;
pub(crate) mod process;
pub(crate) mod prometheus;
pub(crate) mod proxy;
pub(crate) mod recipes;
pub(crate) mod refusals;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod restarts;
pub(crate) mod scripted;
pub(crate) mod skip;
pub(crate) mod temp_dir;
pub(crate) mod test_server;
#[cfg(feature = "tls")]
pub(crate) mod tls;
pub(crate) mod wait;
pub(crate) mod websocket;
