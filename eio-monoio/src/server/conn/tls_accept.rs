//! The TLS handshake of an accepted connection.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::io::stream::{Stream, TlsStream};
use crate::metrics::{TLS_FAILURES, TLS_HANDSHAKE};
use crate::server::cause::Cause;
use crate::server::conn::{Conn, http};
use crate::server::handler::Handler;
use crate::server::shard::Shard;
use crate::worker::deadline::Elapsed;

/// Performs the handshake within `timeout`, then serves the connection.
pub(crate) fn start<H: Handler>(
    shard: Rc<Shard<H>>,
    conn: Box<Conn<H::Session>>,
    timeout: Duration,
) {
    let tasks = shard.clone();
    tasks.state.tasks.spawn(async move {
        let Stream::Tls(tls) = conn.stream() else { return };
        let started = Instant::now();
        match handshake(&conn, tls, timeout).await {
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

async fn handshake<T>(conn: &Conn<T>, tls: &TlsStream, timeout: Duration) -> io::Result<()> {
    // A write in progress owns its buffer until the kernel releases it: end the socket, not the future.
    match conn.limit_or_cut(timeout, tls.handshake()).await {
        (_, Err(Elapsed)) => Err(io::ErrorKind::TimedOut.into()),
        (result, Ok(())) => result,
    }
}
