//! A session over HTTP long-polling: requests and responses on a connection, state machine, client.

pub(crate) mod client;
pub(crate) mod http;
pub(crate) mod machine;
mod requests;
