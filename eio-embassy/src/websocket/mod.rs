//! A session on a WebSocket: its state machine, the connection it runs on, and the client.

pub(crate) mod client;
pub(crate) mod io;
pub(crate) mod machine;
