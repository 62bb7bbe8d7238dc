//! Engine.IO v4 without I/O.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod buffer;
pub mod http;
mod list;
pub mod open;
pub mod packet;
pub mod payload;
pub mod request;
pub mod session;
pub mod sid;
pub mod time;
pub mod transport;
pub mod ws;
