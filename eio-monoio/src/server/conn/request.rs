//! What a request leads to: [`Next`] for its connection, and [`Accept`] of a WebSocket.

use std::rc::Rc;

use eio_core::ws::deflate::Terms;

use crate::server::conn::Conn;
use crate::server::handler::Handler;
use crate::server::shard::Shard;
use crate::web::persistence::Persistence;

/// What became of the connection after a request.
pub(crate) enum Next<T> {
    /// The answer is written; flush it and read on.
    Continue(Box<Conn<T>>, Persistence),
    /// It ended, or went on in another task or shard.
    Gone,
}

/// How many futures of handshakes, and of POSTs, a worker keeps for later ones, besides those in progress.
pub(crate) const KEPT: usize = 64;

/// Continues a connection whose last request was answered, in a task of its own. The loop that serves connections
/// gives it to code that answers a request while the handler still runs.
pub(crate) type Resume<H> = fn(Rc<Shard<H>>, Box<Conn<<H as Handler>::Session>>);

/// What a 101 says about the request it answers.
#[derive(Default)]
pub(crate) struct Accept {
    /// `Sec-WebSocket-Accept`.
    pub(crate) key: [u8; 28],
    /// The first subprotocol offered, if any is: engine.io's choice. To choose none would fail the connection in
    /// browsers, and nothing here depends on it.
    pub(crate) protocol: Option<Box<str>>,
    /// How messages are compressed.
    pub(crate) deflate: Option<Terms>,
}
