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
//! The protocol itself (framing, heartbeat, upgrade) is `eio-state`'s; this crate moves bytes, wakes tasks and
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
//! that owns no unfinished message, has nothing to send and does not receive all the time owns no buffer.
//!
//! On the heap, and at most:
//!
//! | each | bytes |
//! |---|---|
//! | idle connection, kept alive | 3 KiB, the future of its task included |
//! | connection over TLS | 8 KiB more, and once more what is being sent |
//! | session | 2 KiB, and what [`Handler::Session`] owns; an idle WebSocket is 2 KiB with its session |
//! | message being received | 2 x [`max_payload`](Config::max_payload): buffers are powers of two |
//! | what waits to be sent | 2 x ([`outbound_high_water`](Config::outbound_high_water) + one message) |
//! | what waits for a handler | 2 x ([`inbound_high_water`](Config::inbound_high_water) + one message or polling body) |
//! | WebSocket that receives all the time, on io_uring | 5 KiB more, for 512 of a core at most, and until a message or heartbeat comes after a pause |
//! | core | 128 KiB to receive into, and up to 11 MiB of buffers that are kept for the next message |
//!
//! So `connections * 3 KiB + sessions * (2 KiB + 2 * (max_payload + outbound_high_water + sent +
//! inbound_high_water + max_payload))` holds even if every client is the worst there can be: one that keeps a
//! handler busy, reads nothing, and leaves its largest message unfinished. With the defaults that is about
//! 10 MiB for each such client; where strangers connect, lower the three figures to what the application needs,
//! and set [`max_connections`](Config::max_connections). A second after a burst what is not needed any more goes
//! back to the operating system, if the allocator is glibc's. Beside that the kernel has its own socket buffers. A
//! test holds a server to these figures. Where messages are compressed, [`PerMessageDeflate`] says what that adds.
#![deny(unsafe_code)]

pub mod client;
mod deflate;
mod error;
mod io;
#[cfg(feature = "json")]
pub mod json;
mod message;
mod metrics;
mod range;
mod server;
mod web;
mod worker;

pub use deflate::PerMessageDeflate;
pub use eio_core::packet::{Message, Packet};
pub use eio_core::session::CloseReason;
pub use eio_core::sid::{InvalidSid, Sid};
pub use eio_core::transport::Transport;
pub use error::{ConfigError, SendError, ServeError};
pub use io::raw_websocket::PlainSocket;
pub use message::OwnedMessage;
pub use metrics::{Metrics, WorkerMetrics};
pub use server::config::{Config, Dispatch};
pub use server::connection_error::ConnectionError;
pub use server::handler::Handler;
pub use server::listener::{Endpoint, Listener};
pub use server::remote::Remote;
pub use server::request::{ConnectRequest, Refusal};
pub use server::running::Running;
pub use server::socket::{ServerRef, Socket};
#[cfg(feature = "tls")]
pub use server::tls::Tls;
pub use server::{Server, serve};
pub use web::cookie::{Cookie, SameSite};
pub use web::cors::{Cors, OriginPredicate};
pub use web::files::Files;
pub use web::proxy::ForwardedBy;
pub use web::request::RequestInfo;
pub use worker::net::Driver;
pub use worker::task::{Task, sleep, spawn};
