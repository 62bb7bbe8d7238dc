//! Sessions that begin by polling and are upgraded to a WebSocket, on one connection or on two.

pub(crate) mod client;
pub(crate) mod one;
mod opening;
mod requests;
mod two;
