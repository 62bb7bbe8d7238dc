#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod buffers;
mod config;
mod early;
mod error;
mod fmt;
mod net;
mod polling;
mod session;
mod time;
mod upgrade;
mod websocket;

pub use buffers::Buffers;
pub use config::Config;
pub use eio_core::open::Open;
pub use eio_core::packet::Message;
pub use eio_core::session::client::ClientTiming;
pub use error::{Closed, Error, IoError, Waiting};
pub use net::backoff::Backoff;
pub use net::connector::Connector;
#[cfg(feature = "edge-nal")]
pub use net::edge;
#[cfg(feature = "embassy-net")]
pub use net::tcp;
pub use polling::client::PollingClient;
pub use upgrade::client::{AnyClient, dial_any};
pub use upgrade::one::dial_by_polling;

pub use websocket::client::{Client, dial};
