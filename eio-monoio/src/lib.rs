//! An Engine.IO v4 server and client for Linux: one thread per core, io_uring first and epoll where it must.
//!
//! ```no_run
//! eio_monoio::serve("127.0.0.1:3000", |socket, message| {
//!     socket.try_send(message).ok();
//!     async {}
//! })?;
//! # Ok::<(), eio_monoio::ServeError>(())
//! ```
//!
//! A real application implements [`Handler`] and is run by a [`Server`] with a [`Config`]. Its sessions are
//! [`Socket`]s on the core they live on, and a [`Remote`] reaches them from any other thread.
//!
//! The protocol itself (framing, heartbeat, upgrade) is `eio-core`'s; this crate moves bytes, wakes tasks and
//! owns queues.
//!
//! The other end is [`client`].
//!
//! # Features
//! - `tls`: `https` and `wss` for the client and the server, by rustls.
//! - `json`: messages from and to what serde knows: the module `json`, `Client::send_json`, `Received::json`.
//!
//! # What is bounded
//! Every limit is an option of [`Config`] with its default and what happens when it is reached. A connection
//! that owns no unfinished message and nothing to send owns no buffer.
#![deny(unsafe_code)]

mod carrier;
pub mod client;
mod config;
mod conn;
mod error;
mod handler;
mod interrupt;
#[cfg(feature = "json")]
pub mod json;
mod line;
mod listener;
mod local;
mod message;
mod net;
mod remote;
mod server;
mod session;
mod shard;
mod socket;
mod task;
#[cfg(feature = "tls")]
mod tls;
mod web;

pub use config::{Config, ConfigError, Dispatch};
pub use conn::plain::PlainSocket;
pub use eio_core::packet::Message;
pub use eio_core::session::CloseReason;
pub use eio_core::sid::Sid;
pub use eio_core::transport::Transport;
pub use error::{SendError, ServeError};
pub use handler::{ConnectRequest, Handler, Refusal, RequestInfo};
pub use listener::{Endpoint, Listener};
pub use message::OwnedMessage;
pub use net::Driver;
pub use remote::Remote;
pub use server::{Running, Server, serve};
pub use socket::{ServerRef, Socket};
pub use task::{Task, sleep, spawn};
#[cfg(feature = "tls")]
pub use tls::Tls;
pub use web::cookie::{Cookie, SameSite};
pub use web::cors::Cors;
pub use web::files::Files;
pub use web::proxy::ForwardedBy;
