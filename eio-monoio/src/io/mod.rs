//! Connections of servers and clients: sockets with or without TLS, buffered HTTP connections, WebSocket connections.

pub(crate) mod http_conn;
pub(crate) mod limits;
pub(crate) mod message_queue;
pub(crate) mod outgoing;
#[cfg(feature = "tls")]
pub(crate) mod pem;
pub(crate) mod permit;
pub(crate) mod raw_websocket;
pub(crate) mod receipt;
mod recv_mode;
pub(crate) mod registered_stream;
pub(crate) mod send_buffer;
pub(crate) mod stream;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod tls_session;
pub(crate) mod unsent;
#[cfg(feature = "tls")]
pub(crate) mod validity;
pub(crate) mod ws_conn;
pub(crate) mod ws_reader;
pub(crate) mod ws_sender;
