//! An Engine.IO v4 server and client for Linux.
//!
//! Each worker is a thread with a runtime of its own: io_uring, or epoll where the kernel does not permit it. A session
//! stays on one worker, so handlers need no locks. The protocol (framing, heartbeat, upgrade) is that of `eio-core`;
//! this crate moves bytes, wakes tasks and owns queues.
//!
//! ```no_run
//! eio_monoio::serve("127.0.0.1:3000", async |socket, message| {
//!     socket.send(message).await.ok(); // an error means that the session has ended
//! })?;
//! # Ok::<(), eio_monoio::ServeError>(())
//! ```
//!
//! [`serve`] is the smallest server. Others implement [`AsyncHandler`], or [`Handler`] where no message may be copied, and
//! start it with a [`Server`] and its [`Config`]. A
//! [`Socket`] is a session on its worker; a [`Remote`] reaches sessions from any thread. The client is in [`client`].
//!
//! # Awaiting
//! A handler, and every task of a worker, may await anything that any thread completes: channels, `handle.spawn(..)` of
//! a tokio runtime next to the server, work that blocks by [`blocking`]. Timers and sockets of tokio work only on the
//! threads of its runtime: awaited directly in a handler, they panic, and that ends the session. A call that blocks
//! (`thread::sleep`, `Runtime::block_on`, a database driver) stops all sessions of the worker: pass it to [`blocking`].
//! `docs/guide.md` in the repository, and the crate in `examples/apps`, have programs with databases, HTTP clients and
//! axum.
//!
//! A panic in a handler ends its session only. With `panic = "abort"` in `Cargo.toml` it ends the process.
//!
//! # Logging
//! Events are those of the crate `tracing`. A subscriber that panics ends only the call that logs;
//! `tracing_subscriber::fmt` does so if it cannot write. A subscriber that blocks stops its thread, so a server needs a
//! writer that does not; the examples have one. At TRACE and on epoll, mio logs too, by the crate `log`: its calls are not
//! guarded, so limit that level to the target `eio_monoio`.
//!
//! # Map
//! The public items are at the top of the crate, except those of [`client`] and `json`. The source is divided into
//! folders; `docs/ARCHITECTURE.md` in the repository states which may use which.
//!
//! | folder | responsibility | public items |
//! |---|---|---|
//! | `server` | the application, its options, start and shutdown; below it the sessions of a worker and its connections | [`Server`], [`Running`], [`AsyncHandler`], [`Handler`], [`OnMessage`], [`Config`], [`Socket`], [`Compress`], [`ServerRef`], [`Remote`], [`ConnectRequest`], [`KeptRequest`], [`RequestBody`], [`BodyError`], [`Refusal`], [`Refused`], [`ConnectionError`], [`AccessEntry`], [`Listener`], [`Endpoint`], `Tls` |
//! | [`client`] | connecting, the session of a client, its events | [`client::Client`], [`client::Connect`] and others |
//! | `io` | sockets and TLS, buffered HTTP connections, WebSocket connections, queues of messages | [`PlainSocket`], [`Receipt`] |
//! | `web` | pure functions over request heads: CORS, cookies, compression, files, proxies | [`Cors`], [`OriginPredicate`], [`Cookie`], [`SameSite`], [`Files`], [`ForwardedBy`], [`ProxyProtocol`], [`RequestInfo`], [`PeerAddr`] |
//! | `deflate` | permessage-deflate (RFC 7692) | [`PerMessageDeflate`] |
//! | `worker` | one thread: runtime, timers, buffers, tasks, mailbox | [`Driver`], [`spawn`], [`sleep`], [`timeout`], [`Elapsed`], [`Task`], [`blocking`] |
//! | top | errors, messages, messages as JSON | [`ServeError`], [`ConfigError`], [`SendError`], [`SpawnError`], [`OwnedMessage`], [`AsMessage`], `json` |
//! | `metrics` | counters, gauges, histograms, figures of the process | [`Metrics`], [`WorkerMetrics`], [`Histogram`], [`HandlerCall`], [`DropReason`], [`LimitMetrics`], [`ProcessMetrics`], [`RefusedConnection`] |
//!
//! [`Message`], [`Packet`], [`CloseReason`], [`Sid`], [`InvalidSid`] and [`Transport`] are those of `eio-core`.
//!
//! # Features
//! None is enabled by default.
//!
//! - `tls`: `https` and `wss` for the client and the server, with rustls.
//! - `nats`: several servers as one, by NATS: `Server::cluster`, `Cluster`, `Emitter`.
//! - `json`: messages from and to types of serde, in the module `json`; `Client::send_json`, `Received::json`.
//! - `server-bin`: the program `eio-server`, with its dependencies.
//!
//! # Memory
//! Every queue, buffer and count has a limit, which is an option of [`Config`]. A connection owns a buffer only while it
//! has unsent messages or an incomplete one, or receives without pause. The heap is at most:
//!
//! | each | bytes |
//! |---|---|
//! | idle connection, with the future of its task | 3 KiB |
//! | TLS connection, in addition | 8 KiB, and a copy of the bytes being sent |
//! | TLS connection with an incomplete record or handshake message, in addition | 128 KiB |
//! | session | 2 KiB, and the application's [`Handler::Session`]; an idle WebSocket with its session has 1.25 KiB |
//! | message being received | 2 x [`max_payload`](Config::max_payload): the size of a buffer is a power of two |
//! | outgoing queue | 2 x ([`outbound_high_water`](Config::outbound_high_water) + one message) |
//! | queue of messages for a busy handler | 2 x ([`inbound_high_water`](Config::inbound_high_water) + one message or polling body) |
//! | connection that receives without pause, on io_uring, in addition | 5 KiB, for at most 512 of a worker |
//! | worker | 128 KiB of receive buffer, with TLS 150 KiB in addition, and up to 11 MiB of pooled buffers |
//!
//! With `sent` for the largest message that the application sends, a server needs at most
//! `connections * 3 KiB + sessions * (2 KiB + 2 * (max_payload + outbound_high_water + sent + inbound_high_water +
//! max_payload))`, even if every client keeps its handler busy, reads nothing and leaves its largest message
//! incomplete. With the defaults that is about 10 MiB for each such client. For a server that is open to the internet,
//! lower the three options to the application's needs and set [`max_connections`](Config::max_connections).
//! [`memory_budget`](Config::memory_budget) bounds what all clients together may hold.
//!
//! Pooled buffers and free memory return to the operating system one second after a burst, or after 4,096 connections and
//! sessions of a worker have left, if the allocator is glibc's. Socket buffers of the kernel, and [`PerMessageDeflate`], need memory in addition. A test compares a server
//! with this table.
#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod client;
mod deflate;
mod error;
mod io;
#[cfg(feature = "json")]
pub mod json;
mod log;
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
pub use error::{ConfigError, SendError, ServeError, SpawnError};
/// The version of the crate `http` whose types [`Refusal`], [`Handler::request`] and the hooks use.
pub use http;
pub use io::raw_websocket::PlainSocket;
pub use io::receipt::Receipt;
pub use message::{AsMessage, OwnedMessage};
#[cfg(feature = "nats")]
pub use metrics::cluster::ClusterMetrics;
pub use metrics::{
    DropReason, HandlerCall, Histogram, LimitMetrics, Metrics, ProcessMetrics, RefusedConnection,
    WorkerMetrics,
};
pub use server::access::AccessEntry;
pub use server::async_handler::{AsyncHandler, OnMessage};
#[cfg(feature = "nats")]
pub use server::cluster::emitter::Emitter;
#[cfg(feature = "nats")]
pub use server::cluster::engine::{Answer, Delivery, Engine, Port, Publication};
#[cfg(feature = "nats")]
pub use server::cluster::nats::Nats;
#[cfg(feature = "nats")]
pub use server::cluster::node::{ClusterNode, ClusterView};
#[cfg(feature = "nats")]
pub use server::cluster::options::Cluster;
pub use server::config::{Config, Dispatch};
pub use server::connection_error::{ConnectionError, Refused};
pub use server::handler::Handler;
pub use server::listener::{Endpoint, Listener};
pub use server::refusal::Refusal;
pub use server::remote::Remote;
pub use server::request::{ConnectRequest, KeptRequest};
pub use server::request_body::{BodyError, RequestBody};
pub use server::running::Running;
pub use server::server_ref::ServerRef;
pub use server::socket::{Compress, Socket};
#[cfg(feature = "tls")]
pub use server::tls::Tls;
pub use server::{Server, serve};
pub use web::cookie::{Cookie, SameSite};
pub use web::cors::{Cors, OriginPredicate};
pub use web::files::Files;
pub use web::proxy::{ForwardedBy, ProxyProtocol};
pub use web::request::{PeerAddr, RequestInfo};
pub use worker::blocking::blocking;
pub use worker::deadline::Elapsed;
pub use worker::net::Driver;
pub use worker::task::{Task, sleep, spawn, timeout};
