#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod any;
mod buffers;
mod client;
mod config;
mod connector;
mod early;
#[cfg(feature = "edge-nal")]
pub mod edge;
mod error;
mod exchange;
mod fmt;
mod io;
mod link;
mod poller;
mod polling;
#[cfg(feature = "embassy-net")]
pub mod tcp;
mod upgrade;

pub use any::{AnyClient, dial_any};
pub use buffers::Buffers;
pub use client::Client;
pub use config::Config;
pub use connector::{Backoff, Connector, dial};
pub use eio_core::open::Open;
pub use eio_core::packet::Message;
pub use eio_core::session::client::ClientTiming;
pub use error::{Closed, Error, IoError, Waiting};
pub use polling::PollingClient;
pub use upgrade::dial_by_polling;
