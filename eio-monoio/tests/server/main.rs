//! The server: sessions, transports, handlers, shutdown and metrics.

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/awaits.rs"]
mod awaits;

mod async_handlers;
mod closing;
mod commands;
mod deflate;
mod draining;
mod ends;
mod handlers;
mod handshake;
mod heartbeat;
mod listeners;
mod logging;
mod losses;
mod metrics;
mod observability;
mod other_threads;
mod polling_get;
mod polling_post;
mod raw_websocket;
mod reach;
mod receipts;
mod sessions;
mod shutdown;
mod sockets;
mod tasks;
mod upgrade;
mod upgrade_failures;
mod websocket;
mod websocket_closing;
mod websocket_violations;
