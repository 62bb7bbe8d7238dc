//! Accepts links: connections of other nodes, which prove that they know the keys of both.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use eio_core::cluster::link::{
    Accept, GREETING_LEN, Greeting, LinkError, NONCE_LEN, PROOF_LEN, Status, refuse,
};
use eio_core::cluster::members::NodeId;

use crate::io::http_conn::RecvError;
use crate::io::permit::ConnectionPermit;
use crate::io::stream::Stream;
use crate::server::cluster::hub::Hub;
use crate::server::conn::{Conn, http};
use crate::server::handler::Handler;
use crate::server::shard::Shard;
use crate::server::via::{Link, Stage, Via};
use crate::worker::context::Activity;
use crate::worker::net::{Accepted, Listener, Socket};
use crate::worker::task::sleep_on;
use crate::worker::yield_now;

/// Accepts links until the worker stops accepting connections: sessions that close in a shutdown may have clients at
/// other nodes.
pub(crate) async fn accept<H: Handler>(shard: Rc<Shard<H>>, hub: Arc<Hub>, listener: Listener) {
    /// Links accepted in one turn, before other tasks run.
    const BATCH: usize = 16;
    const DELAY: Duration = Duration::from_millis(100);
    let state = &shard.state;
    let mut failed = false;
    loop {
        let stopped = poll_fn(|cx| {
            if state.poll_stopped_accepting(cx).is_ready() {
                return std::task::Poll::Ready(true);
            }
            listener.poll_readable(cx).map(|_| false)
        });
        if stopped.await {
            return;
        }
        for _ in 0..BATCH {
            let accepted = listener
                .try_accept()
                .and_then(|accepted| accepted.map(Accepted::into_socket).transpose());
            match accepted {
                Ok(Some(socket)) => start(&shard, &hub, socket),
                Ok(None) => break,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if !std::mem::replace(&mut failed, true) {
                        crate::log::warn!(%error, "cannot accept a link; trying again");
                    }
                    sleep_on(&state.worker, DELAY).await;
                    break;
                }
            }
        }
        yield_now::yield_now().await;
    }
}

/// Serves a link in a task of its own.
fn start<H: Handler>(shard: &Rc<Shard<H>>, hub: &Arc<Hub>, socket: Socket) {
    let state = shard.state.clone();
    let max = hub.options.max_links.unwrap_or(usize::MAX);
    let permit = ConnectionPermit::take(&hub.counters.links_accepted, max);
    let is_full = permit.is_none();
    let stream = match secure(hub, socket) {
        Ok(stream) => stream,
        Err(error) => return crate::log::error!(%error, "cannot start TLS on a link"),
    };
    let mut conn = Box::new(Conn::new(state, stream, None, permit));
    conn.uncounted = false;
    let (shard, hub) = (shard.clone(), hub.clone());
    let tasks = shard.clone();
    tasks.state.tasks.spawn(async move {
        conn.set_activity(Activity::Receiving);
        let handshake = Box::pin(shake_hands(&mut conn, &hub, is_full)).await;
        match handshake {
            Ok(node) => {
                hub.input(|members, now| members.handle_link_incoming(node, now));
                let link =
                    Link { from: node, stage: Stage::Idle, secure: false, certificate: None };
                conn.via = Via { link: Some(Box::new(link)) };
                // In a task of its own, so that the memory of the handshake is freed.
                http::start(shard, conn);
            }
            Err(Refused::Link(error)) => {
                crate::log::warn!(%error, "a link is refused");
                conn.http.close_lingering().await;
            }
            Err(Refused::Connection) => {
                crate::log::debug!("a link has ended in its handshake");
            }
        }
    });
}

/// The stream of an accepted connection: TLS, before its handshake, if links need it.
fn secure(hub: &Hub, socket: Socket) -> io::Result<Stream> {
    #[cfg(feature = "tls")]
    if let Some(tls) = &hub.link_tls {
        return tls.accept(socket);
    }
    let _ = hub;
    Ok(socket.into())
}

/// Why a link was not accepted.
enum Refused {
    Link(LinkError),
    /// The connection has ended, or nothing arrived in time.
    Connection,
}

impl From<RecvError> for Refused {
    fn from(_: RecvError) -> Self {
        Self::Connection
    }
}

async fn shake_hands<T>(conn: &mut Conn<T>, hub: &Hub, is_full: bool) -> Result<NodeId, Refused> {
    #[cfg(feature = "tls")]
    if let Some(options) = &hub.link_tls
        && let Err(error) = conn.tls_handshake(options.timeout).await
    {
        crate::log::warn!(%error, "a link is refused: its TLS handshake failed");
        return Err(Refused::Connection);
    }
    let since = conn.state.worker.now();
    conn.set_deadline(hub.options.link_timeout);
    let greeting = Greeting::parse(&receive::<T, GREETING_LEN>(conn).await?);
    let accepted = greeting.and_then(|greeting| answer(hub, &greeting, is_full));
    let (node, accept) = match accepted {
        Ok(accepted) => accepted,
        Err(error) => {
            let status = match error {
                LinkError::Version(_) => Some(Status::Version),
                LinkError::WrongNode => Some(Status::WrongNode),
                LinkError::Refused(status) => Some(status),
                _ => None,
            };
            // Nothing is said to a program that is not a node.
            if let Some(status) = status {
                conn.out_mut().0.extend_from_slice(&refuse(status));
            }
            return Err(Refused::Link(error));
        }
    };
    conn.out_mut().0.extend_from_slice(accept.challenge());
    conn.flush().await?;
    // The time for the whole handshake.
    let elapsed = conn.state.worker.now().as_millis() - since.as_millis();
    conn.set_deadline(hub.options.link_timeout.saturating_sub(Duration::from_millis(elapsed)));
    let proof = receive::<T, PROOF_LEN>(conn).await?;
    accept.verify(&proof).map_err(Refused::Link)?;
    Ok(node)
}

/// Checks a greeting and makes the challenge.
fn answer(hub: &Hub, greeting: &Greeting, is_full: bool) -> Result<(NodeId, Accept), LinkError> {
    if is_full {
        return Err(LinkError::Refused(Status::Busy));
    }
    let from = hub.find(greeting.from.as_str());
    let from = from.filter(|peer| peer.identity.incarnation == greeting.from_incarnation);
    let from = from.ok_or(LinkError::Refused(Status::Unknown))?;
    let mut nonce = [0; NONCE_LEN];
    // Without a fresh number a recording could be repeated.
    getrandom::fill(&mut nonce).map_err(|_| LinkError::Refused(Status::Busy))?;
    let accept = Accept::new(&hub.identity, greeting, &from.identity.key, nonce)?;
    Ok((from.id, accept))
}

/// Receives exactly these bytes; later ones stay.
async fn receive<T, const N: usize>(conn: &mut Conn<T>) -> Result<[u8; N], RecvError> {
    loop {
        if let Some(bytes) = conn.rx.unread().first_chunk::<N>() {
            let bytes = *bytes;
            conn.rx.skip(N);
            return Ok(bytes);
        }
        let missing = N - conn.rx.unread().len();
        conn.receive(missing).await?;
    }
}
