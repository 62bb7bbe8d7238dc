//! The header of the PROXY protocol at the start of a connection.

use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;

use eio_core::proxy_protocol::{Error, Header, Step};

use crate::io::http_conn::RecvError;
use crate::metrics::RefusedConnection;
use crate::server::cause::Cause;
use crate::server::conn::Conn;
use crate::server::conn::reply::TOO_MANY_CONNECTIONS;
use crate::server::conn::start::start_after_header;
use crate::server::handler::Handler;
use crate::server::shard::Shard;
use crate::web::persistence::Persistence;
use crate::worker::context::Activity;

/// Receives the header, then serves the connection of the client that it names. `secure`: TLS follows.
pub(super) fn start<H: Handler>(
    shard: Rc<Shard<H>>,
    mut conn: Box<Conn<H::Session>>,
    secure: bool,
) {
    let tasks = shard.clone();
    tasks.state.tasks.spawn(async move {
        match receive(&mut conn).await {
            Ok(source) => {
                conn.peer = source.or(conn.peer);
                match shard.state.admit(conn.peer) {
                    Ok(None) => {}
                    Ok(Some(share)) => conn.hold(share),
                    Err(RefusedConnection::AddressLimit) if !secure => {
                        conn.reply(TOO_MANY_CONNECTIONS, Persistence::Close);
                        return conn.http.close_lingering().await;
                    }
                    Err(_) => return,
                }
                // In a task of its own, so that the memory of this future is freed.
                start_after_header(shard, conn, secure);
            }
            Err(Fault::Silent) => {}
            Err(error) => {
                shard.state.counters.refused_connection(RefusedConnection::ProxyHeader);
                conn.log(Cause::ProxyHeader, error);
            }
        }
    });
}

/// Why no header was received.
enum Fault {
    /// The peer has closed without a byte, as a health check of TCP does.
    Silent,
    Closed,
    TimedOut,
    Header(Error),
}

impl From<RecvError> for Fault {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::TimedOut => Self::TimedOut,
            RecvError::Closed | RecvError::Bad(_) | RecvError::OverBudget => Self::Closed,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent | Self::Closed => f.write_str("the connection was closed before its end"),
            Self::TimedOut => f.write_str("not complete within Config::head_timeout"),
            Self::Header(error) => error.fmt(f),
        }
    }
}

/// Receives and consumes the header. Returns the address of the client, if the header states it.
async fn receive<T>(conn: &mut Conn<T>) -> Result<Option<SocketAddr>, Fault> {
    let max = conn.state.config.max_head_size;
    conn.set_deadline(conn.state.config.head_timeout);
    // It mostly arrives with the connection. A failure is that of the next receive.
    let _ = conn.try_receive(1);
    loop {
        let wanted = match Header::parse(conn.rx.unread(), max).map_err(Fault::Header)? {
            Step::Need(n) => n,
            Step::Done(header, len) => {
                let source = header.source();
                conn.rx.skip(len);
                return Ok(source.map(|at| SocketAddr::new(at.ip().to_canonical(), at.port())));
            }
        };
        // A client whose connection this process has accepted may still send its first request.
        let begun = !conn.rx.unread().is_empty();
        let may_send = begun || conn.state.shared.shares_listeners;
        conn.set_activity(if may_send { Activity::Receiving } else { Activity::Idle });
        match conn.receive(wanted).await {
            Ok(()) => {}
            Err(RecvError::Closed) if !begun => return Err(Fault::Silent),
            Err(error) => return Err(error.into()),
        }
    }
}
