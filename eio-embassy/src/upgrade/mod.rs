//! Sessions that begin by polling and move to a WebSocket, on one connection or on two.

pub(crate) mod one;
pub(crate) mod two;
