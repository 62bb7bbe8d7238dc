//! [`Next`]: what the loop of a connection does after a request; [`Accept`]: the parameters of a 101 response.

use std::rc::Rc;

use eio_core::ws::deflate::Terms;

use crate::server::conn::Conn;
use crate::server::handler::Handler;
use crate::server::shard::Shard;
use crate::web::persistence::Persistence;

/// How a connection continues after a request.
pub(crate) enum Next<T> {
    /// The response is written: flush it and read the next request.
    Continue(Box<Conn<T>>, Persistence),
    /// The connection has ended, or continues in another task or on another worker.
    Gone,
}

/// The number of unused futures of handshakes, and of POSTs, that a worker keeps for later ones.
pub(crate) const POOLED: usize = 64;

/// Continues a connection whose last request was answered, in a task of its own. Passed to code that answers a request
/// while the handler still runs.
pub(crate) type Resume<H> = fn(Rc<Shard<H>>, Box<Conn<<H as Handler>::Session>>);

/// The parameters of a 101 response, from the opening handshake.
#[derive(Default)]
pub(crate) struct Accept {
    /// `Sec-WebSocket-Accept`.
    pub(crate) key: [u8; 28],
    /// The first subprotocol that the client offers, if any, as engine.io chooses. Browsers fail the connection if the
    /// server chooses none, and nothing here depends on it.
    pub(crate) protocol: Option<Box<str>>,
    /// The negotiated terms of permessage-deflate.
    pub(crate) deflate: Option<Terms>,
}
