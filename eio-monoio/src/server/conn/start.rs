//! Starts to serve an accepted connection: by the PROXY protocol, TLS or HTTP.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::io::permit::ConnectionPermit;
#[cfg(feature = "tls")]
use crate::io::stream::{Stream, TlsStream};
use crate::metrics::RefusedConnection;
use crate::server::addresses::{AddressKey, AddressPermit, AddressTable, TooMany};
use crate::server::cause::{Cause, Subject};
#[cfg(feature = "tls")]
use crate::server::conn::tls_accept;
use crate::server::conn::{Conn, http, proxy_header};
use crate::server::handler::Handler;
use crate::server::shard::{Shard, ShardState};
use crate::web::proxy::{self, ProxyProtocol};
use crate::worker::net::{Accepted, Socket};

/// What became of an accepted connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Served,
    Refused,
}

/// Serves a connection, unless a limit refuses it. An error is one of the kernel, and the connection is closed.
pub(crate) fn start<H: Handler>(
    shard: &Rc<Shard<H>>,
    accepted: Accepted,
    max_connections: usize,
) -> io::Result<Outcome> {
    let state = &shard.state;
    let peer = accepted.peer;
    let Some(permit) = state.shared.connections.take(max_connections) else {
        state.counters.refused(503, None);
        state.counters.refused_connection(RefusedConnection::TooMany);
        state.shared.causes.write(Cause::TooManyConnections, Subject::Peer(peer), "");
        return Ok(refuse(accepted, state.is_secure(peer), FULL));
    };
    let expects_header = state.config.proxy_protocol == ProxyProtocol::Required;
    let share = if expects_header {
        if !proxy::contains(&state.trusted, peer) {
            state.counters.refused_connection(RefusedConnection::UntrustedProxy);
            state.shared.causes.write(Cause::UntrustedProxy, Subject::Peer(peer), "");
            return Ok(Outcome::Refused);
        }
        None
    } else {
        match state.admit(peer) {
            Ok(share) => share,
            Err(RefusedConnection::AddressLimit) => {
                return Ok(refuse(accepted, state.is_secure(peer), ADDRESS_LIMIT));
            }
            Err(_) => return Ok(Outcome::Refused),
        }
    };
    let permit = match share {
        Some(share) => permit.with(share),
        None => permit,
    };
    let socket = accepted.into_socket()?;
    if let Some(bytes) = state.config.send_buffer_size
        && let Err(error) = socket.set_send_buffer_size(bytes)
    {
        crate::log::debug!(%error, "the kernel refused send_buffer_size");
    }
    serve(shard, socket, peer, permit, expects_header);
    Ok(Outcome::Served)
}

/// Serves a connection that no limit refuses. `peer` is `None` for a Unix-domain socket.
fn serve<H: Handler>(
    shard: &Rc<Shard<H>>,
    socket: Socket,
    peer: Option<SocketAddr>,
    permit: ConnectionPermit,
    expects_header: bool,
) {
    let state = &shard.state;
    #[cfg(feature = "tls")]
    if state.is_secure(peer) && !expects_header {
        return start_tls(shard, socket, peer, Some(permit), Vec::new());
    }
    let conn = Box::new(Conn::new(state.clone(), socket, peer, Some(permit)));
    if expects_header {
        proxy_header::start(shard.clone(), conn, state.is_secure(peer));
    } else {
        http::start(shard.clone(), conn);
    }
}

/// Serves a connection after the header of the PROXY protocol, whose source is its peer now. `secure`: TLS follows.
pub(super) fn start_after_header<H: Handler>(
    shard: Rc<Shard<H>>,
    conn: Box<Conn<H::Session>>,
    secure: bool,
) {
    #[cfg(feature = "tls")]
    if secure {
        let (received, peer) = (conn.rx.unread().to_vec(), conn.peer);
        return match conn.http.into_stream() {
            (Stream::Plain(socket), permit) => start_tls(&shard, socket, peer, permit, received),
            // It was not TLS when the header arrived.
            (Stream::Tls(_), _) => {}
        };
    }
    debug_assert!(!secure || cfg!(feature = "tls"));
    http::start(shard, conn);
}

/// Starts the TLS handshake. `received`: its first bytes, as far as they have arrived.
#[cfg(feature = "tls")]
fn start_tls<H: Handler>(
    shard: &Rc<Shard<H>>,
    socket: Socket,
    peer: Option<SocketAddr>,
    permit: Option<ConnectionPermit>,
    received: Vec<u8>,
) {
    let Some(identity) = &shard.state.shared.identity else { return };
    match TlsStream::server(socket, identity.current(), received) {
        Ok(tls) => {
            let tls = Stream::Tls(Box::new(tls));
            let conn = Box::new(Conn::new(shard.state.clone(), tls, peer, permit));
            tls_accept::start(shard.clone(), conn, identity.options.handshake_timeout);
        }
        Err(error) => crate::log::error!(%error, "cannot start TLS on a connection"),
    }
}

/// The response to a connection above [`max_connections`](crate::Config::max_connections).
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n\
    Content-Length: 0\r\nConnection: close\r\n\r\n";

/// The response to a connection above
/// [`max_connections_per_address`](crate::Config::max_connections_per_address).
const ADDRESS_LIMIT: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 5\r\n\
    Content-Length: 0\r\nConnection: close\r\n\r\n";

/// Answers a connection above a limit, and closes it. `secure`: the client expects TLS, and would parse the response as a
/// part of its handshake.
fn refuse(accepted: Accepted, secure: bool, response: &[u8]) -> Outcome {
    if !secure {
        accepted.refuse(response);
    }
    Outcome::Refused
}

/// Fair shares of addresses.
impl<T> ShardState<T> {
    /// Counts a connection for the client's address. An error was logged and counted.
    pub(super) fn admit(
        &self,
        client: Option<SocketAddr>,
    ) -> Result<Option<AddressPermit>, RefusedConnection> {
        let refuse = |reason, cause| {
            self.counters.refused_connection(reason);
            self.shared.causes.write(cause, Subject::Peer(client), "");
            Err(reason)
        };
        if proxy::contains(&self.refused_networks, client) {
            return refuse(RefusedConnection::RefusedNetwork, Cause::RefusedNetwork);
        }
        let Some((table, key)) = self.share_of(client) else { return Ok(None) };
        let Some(max) = self.config.max_connections_per_address else { return Ok(None) };
        match table.connect(key, self.shared.handshakes.second(), max) {
            Ok(permit) => Ok(permit),
            Err(TooMany) => {
                self.counters.refused(429, None);
                refuse(RefusedConnection::AddressLimit, Cause::AddressConnections)
            }
        }
    }

    /// Counts a handshake for the client's address. False if it has made as many as it may in this second.
    pub(super) fn admits_handshake_of(&self, client: Option<SocketAddr>) -> bool {
        let Some((table, key)) = self.share_of(client) else { return true };
        let max = self.config.max_handshakes_per_address;
        max.is_none_or(|max| table.handshake(key, self.shared.handshakes.second(), max))
    }

    /// The table and the client's place in it; `None` if its address is not limited.
    fn share_of(&self, client: Option<SocketAddr>) -> Option<(&Arc<AddressTable>, AddressKey)> {
        let (table, client) = (self.shared.addresses.as_ref()?, client?);
        let is_proxy = proxy::contains(&self.trusted, Some(client));
        (!is_proxy).then(|| (table, AddressKey::of(client)))
    }
}

impl<T> ShardState<T> {
    /// Whether an accepted connection uses TLS. Those of Unix-domain sockets do not.
    pub(crate) fn is_secure(&self, peer: Option<SocketAddr>) -> bool {
        self.shared.is_secure() && peer.is_some()
    }
}
