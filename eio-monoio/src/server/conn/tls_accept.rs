//! The TLS handshake of an accepted connection.

use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::metrics::{TLS_FAILURES, TLS_HANDSHAKE};
use crate::server::cause::Cause;
use crate::server::conn::{Conn, http};
use crate::server::handler::Handler;
use crate::server::shard::Shard;

/// Performs the handshake within `timeout`, then serves the connection.
pub(crate) fn start<H: Handler>(
    shard: Rc<Shard<H>>,
    conn: Box<Conn<H::Session>>,
    timeout: Duration,
) {
    let tasks = shard.clone();
    tasks.state.tasks.spawn(async move {
        let started = Instant::now();
        match conn.tls_handshake(timeout).await {
            Ok(()) => {
                shard.state.counters.observe(TLS_HANDSHAKE, 0, started.elapsed());
                // In a task of its own, so that the memory of the handshake is freed.
                http::start(shard, conn);
            }
            Err(error) => {
                shard.state.counters.add(TLS_FAILURES, 0, 1);
                conn.log(Cause::TlsFailed, error);
            }
        }
    });
}
