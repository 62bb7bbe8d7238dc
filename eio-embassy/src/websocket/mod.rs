//! A session on a WebSocket: state machine, connection, client.

pub(crate) mod client;
pub(crate) mod io;
pub(crate) mod machine;
