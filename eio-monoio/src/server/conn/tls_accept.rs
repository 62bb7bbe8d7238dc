//! TLS, before the first byte of HTTP.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::io::stream::{Stream, TlsStream};
use crate::metrics::TLS_FAILURES;
use crate::server::conn::{Conn, http};
use crate::server::handler::Handler;
use crate::server::shard::Shard;
use crate::worker::deadline::Elapsed;

/// Agrees with the client on keys, within `time`, and serves it.
pub(crate) fn start<H: Handler>(shard: Rc<Shard<H>>, conn: Box<Conn<H::Session>>, time: Duration) {
    let tasks = shard.clone();
    tasks.state.tasks.spawn(async move {
        let Stream::Tls(tls) = conn.stream() else { return };
        match agree(&conn, tls, time).await {
            // A task of its own: what the handshake needed is freed.
            Ok(()) => http::start(shard, conn),
            Err(error) => {
                shard.state.counters.add(TLS_FAILURES, 0, 1);
                tracing::debug!(%error, "TLS handshake failed");
            }
        }
    });
}

async fn agree<T>(conn: &Conn<T>, tls: &TlsStream, time: Duration) -> io::Result<()> {
    // A write that is under way owns its buffer until the kernel lets go: end the socket, not the future.
    match conn.limit_or_cut(time, tls.handshake()).await {
        (_, Err(Elapsed)) => Err(io::ErrorKind::TimedOut.into()),
        (result, Ok(())) => result,
    }
}
