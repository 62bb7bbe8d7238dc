//! A session over HTTP long-polling: requests on one connection, the state machine of the session, and the client.

pub(crate) mod client;
pub(crate) mod http;
pub(crate) mod machine;
mod requests;
