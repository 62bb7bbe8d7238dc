#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(test)]
extern crate std;

// Imports have one direction: `upgrade` uses `websocket` and `polling`, which do not use each other. Both use `net`.
// All use the files below, which use no folder.
mod net;
mod polling;
mod upgrade;
mod websocket;

mod buffers;
mod config;
mod early;
mod error;
mod fmt;
mod poll;
mod session;
mod time;
#[cfg(feature = "tls")]
mod tls_error;

pub use buffers::Buffers;
pub use config::Config;
pub use eio_core::http::Url;
pub use eio_core::open::Open;
pub use eio_core::packet::Message;
pub use eio_core::sid::Sid;
pub use eio_core::transport::Transport;
pub use error::{Closed, Error, IoError, Timeout};
pub use net::backoff::Backoff;
pub use net::connector::Connector;
#[cfg(feature = "edge-nal")]
pub use net::edge;
#[cfg(feature = "embassy-net")]
pub use net::tcp;
#[cfg(feature = "tls")]
pub use net::tls;
pub use polling::client::PollingClient;
pub use upgrade::client::{AnyClient, connect_any};
pub use upgrade::one::connect_and_upgrade;
pub use websocket::client::{Client, connect};
