//! Opens a link to another node, and asks a node for a sign of life.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use eio_core::cluster::link::{CHALLENGE_LEN, Dial, LinkError, NONCE_LEN, PONG, Preamble, Status};

use crate::io::http_conn::HttpConn;
use crate::io::limits::{ConnEnv, Limits};
use crate::io::permit::ConnectionPermit;
use crate::io::stream::Stream;
use crate::message::never_full;
use crate::server::cluster::hub::Hub;
use crate::server::cluster::table::Peer;
use crate::server::conn::relay::pool::{LinkPool, UsedLink};
use crate::server::shard::ShardState;
use crate::worker::context::Activity;
use crate::worker::deadline::{Deadline, Elapsed};
use crate::worker::net::Socket;

/// Why no link could be opened.
#[derive(Debug)]
pub(super) enum DialError {
    /// The node is not there, does not answer in time, or is not the one that said hello.
    Failed(io::Error),
    /// The node is there, and refuses: it has too many links, or has not heard of this node yet.
    Refused(Status),
}

/// A link to `peer`: an unused one, or a new one whose proof leaves with the first request.
pub(super) async fn open<T>(
    state: &Rc<ShardState<T>>,
    hub: &Hub,
    pool: &Rc<LinkPool>,
    peer: &Peer,
) -> Result<UsedLink, DialError> {
    if let Some(link) = pool.take(peer.id) {
        return Ok(link);
    }
    match dial(state, hub, pool, peer).await {
        Ok(link) => {
            hub.input(|members, now| members.handle_link_alive(peer.id, now));
            Ok(pool.begin(peer.id, link))
        }
        Err(error) => {
            if let DialError::Failed(reason) = &error {
                crate::log::warn!(node = %peer.identity.tag, %reason, "no link to another node");
                hub.input(|members, now| members.handle_link_failed(peer.id, now));
            }
            Err(error)
        }
    }
}

async fn dial<T>(
    state: &Rc<ShardState<T>>,
    hub: &Hub,
    pool: &LinkPool,
    peer: &Peer,
) -> Result<HttpConn, DialError> {
    let failed = |error: io::Error| DialError::Failed(error);
    let links = &peer.identity.links;
    let turn = pool.turn.get();
    pool.turn.set(turn.wrapping_add(1));
    let at = (usize::from(state.id) + turn).checked_rem(links.len());
    let address = at.and_then(|at| links.get(at)).ok_or_else(|| {
        failed(io::Error::new(io::ErrorKind::AddrNotAvailable, "it announces no address"))
    })?;
    let deadline = Deadline::new(state.worker.clone());
    let timed_out = |Elapsed| failed(io::ErrorKind::TimedOut.into());
    deadline.set(hub.options.link_connect_timeout);
    let connecting = Box::pin(Socket::connect(*address));
    let socket = deadline.limit(connecting).await.map_err(timed_out)?.map_err(failed)?;
    socket.set_options(true, None).map_err(failed)?;
    // Bytes of links are not those of clients.
    let limits = Limits { counters: None, ..Limits::clone(&state.conn_env) };
    let env = ConnEnv::new(state.worker.clone(), limits);
    let permit = ConnectionPermit::take(&hub.counters.links_opened, usize::MAX);
    let stream = secure(hub, socket).map_err(failed)?;
    let mut link = HttpConn::new(env, stream, permit);
    link.set_activity(Activity::Busy);
    #[cfg(feature = "tls")]
    if let Some(options) = &hub.link_tls {
        let time = options.timeout.min(hub.options.link_timeout);
        link.tls_handshake(time).await.map_err(failed)?;
    }
    shake_hands(hub, peer, &mut link).await?;
    link.clear_deadline();
    Ok(link)
}

/// The stream of a new connection: TLS, before its handshake, if links need it.
fn secure(hub: &Hub, socket: Socket) -> io::Result<Stream> {
    #[cfg(feature = "tls")]
    if let Some(tls) = &hub.link_tls {
        return tls.dial(socket);
    }
    let _ = hub;
    Ok(socket.into())
}

async fn shake_hands(hub: &Hub, peer: &Peer, link: &mut HttpConn) -> Result<(), DialError> {
    let failed = |reason: String| DialError::Failed(io::Error::other(reason));
    let mut nonce = [0; NONCE_LEN];
    getrandom::fill(&mut nonce).map_err(|error| failed(error.to_string()))?;
    let dial = Dial::new(&hub.identity, &peer.identity, nonce);
    link.out_mut().0.extend_from_slice(dial.greeting());
    let ended = |_| failed("the connection ended in the handshake".into());
    link.flush().await.map_err(ended)?;
    link.set_deadline(hub.options.link_timeout);
    let challenge: [u8; CHALLENGE_LEN] = loop {
        if let Some(challenge) = link.rx.unread().first_chunk() {
            break *challenge;
        }
        let missing = CHALLENGE_LEN - link.rx.unread().len();
        link.receive(missing).await.map_err(ended)?;
    };
    link.rx.skip(CHALLENGE_LEN);
    match dial.handle_challenge(&challenge) {
        Ok(proof) => {
            link.out_mut().0.extend_from_slice(&proof);
            Ok(())
        }
        Err(LinkError::Refused(status @ (Status::Busy | Status::Unknown))) => {
            Err(DialError::Refused(status))
        }
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Asks `peer` for a sign of life over an unused link, or a new one, and tells the members.
pub(crate) async fn ping<T>(state: Rc<ShardState<T>>, hub: Arc<Hub>, peer: Arc<Peer>) {
    let pool = state.per_worker::<LinkPool>();
    let time = hub.options.link_timeout;
    for _ in 0..2 {
        let used = pool.take(peer.id);
        let was_unused = used.is_some();
        let mut used = match used {
            Some(used) => used,
            // Tells the members about a failure itself.
            None => match open(&state, &hub, &pool, &peer).await {
                Ok(used) => used,
                Err(_) => return,
            },
        };
        let Some(link) = used.conn() else { return };
        if ask(link, time).await {
            hub.input(|members, now| members.handle_link_alive(peer.id, now));
            return pool.give(used, hub.options.link_idle_timeout);
        }
        // The node may have closed the unused link a moment ago: a new one decides.
        if !was_unused {
            break;
        }
    }
    hub.input(|members, now| members.handle_link_failed(peer.id, now));
}

async fn ask(link: &mut HttpConn, time: Duration) -> bool {
    never_full(Preamble::Ping.write(link.out_mut()));
    if link.flush().await.is_err() {
        return false;
    }
    link.set_deadline(time);
    while link.rx.unread().is_empty() {
        if link.receive(1).await.is_err() {
            return false;
        }
    }
    let answered = link.rx.unread() == [PONG];
    link.rx.skip(1);
    link.clear_deadline();
    answered
}
