//! Forwards requests for sessions of other nodes, each over one link, and relays the responses.
//!
//! A link carries one request at a time, so that neither framing nor flow control is needed besides that of TCP. The
//! node that has the session decides about everything. It is notified when the response is in the client's socket; if
//! that fails, the link ends without that notice, and the other node ends the session instead of leaving a gap in it.

pub(crate) mod dial;
mod head;
pub(crate) mod pool;
mod response;
mod tunnel;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use eio_core::cluster::link::{DELIVERED, Origin, Preamble};
use eio_core::cluster::members::NodeState;
use eio_core::http::Error as HttpError;
use eio_core::request::Reject;

use crate::io::http_conn::RecvError;
use crate::io::permit::ConnectionPermit;
use crate::message::OutBuf;
use crate::metrics::cluster::{Forwarded, Outcome};
use crate::server::cause::Cause;
use crate::server::cluster::hub::Hub;
use crate::server::cluster::table::Peer;
use crate::server::conn::header_slots::HeaderSlots;
use crate::server::conn::relay::dial::DialError;
use crate::server::conn::relay::pool::{LinkPool, UsedLink};
use crate::server::conn::relay::response::Response;
use crate::server::conn::relay::tunnel::Tunnel;
use crate::server::conn::reply::{Answer, UNAVAILABLE};
use crate::server::conn::request::Next;
use crate::server::conn::{Body, Conn};
use crate::server::shard::ShardState;
use crate::web::persistence::Persistence;
use crate::worker::deadline::millis;
use crate::worker::task::sleep_on;

/// A request for another node.
pub(crate) struct Away {
    pub(crate) peer: Arc<Peer>,
    pub(crate) kind: Forwarded,
    /// Of a WebSocket.
    pub(crate) sid: Option<Box<str>>,
}

/// Forwards the request whose head is the first `len` received bytes, and relays the response.
pub(crate) async fn forward<T: 'static>(
    state: &Rc<ShardState<T>>,
    mut conn: Box<Conn<T>>,
    Away { peer, kind, sid }: Away,
    len: usize,
    body: Body,
    persistence: Persistence,
) -> Next<T> {
    let Some(hub) = state.shared.cluster().cloned() else { return Next::Gone };
    let counters = &hub.counters;
    let max = hub.options.max_forwarded.unwrap_or(usize::MAX);
    let Some(permit) = ConnectionPermit::take(&counters.forwarding, max) else {
        counters.forwarded(kind, Outcome::TooMany);
        conn.rx.skip(len);
        return refuse(conn, UNAVAILABLE);
    };
    if kind == Forwarded::WebSocket && state.is_leaving() {
        // This node would end it in a moment. The session continues over polling, and may upgrade over another node.
        counters.forwarded(kind, Outcome::Unavailable);
        conn.rx.skip(len);
        return refuse(conn, UNAVAILABLE);
    }
    let (mut request, method) = match receive(&mut conn, kind, len, body).await {
        Ok(request) => request,
        Err(answer) => {
            return match answer {
                Some(answer) => refuse(conn, answer),
                None => Next::Gone,
            };
        }
    };
    let pool = state.per_worker::<LinkPool>();
    let mut used = match dial::open(state, &hub, &pool, &peer).await {
        Ok(used) => used,
        Err(error) => {
            counters.forwarded(kind, Outcome::Unavailable);
            conn.rx.release();
            let answer = match error {
                DialError::Failed(_) => Box::pin(verdict(state, &hub, &peer)).await,
                DialError::Refused(status) => {
                    crate::log::debug!(node = %peer.identity.tag, ?status, "a link is refused");
                    UNAVAILABLE
                }
            };
            conn.reply(answer, persistence);
            return Next::Continue(conn, persistence);
        }
    };
    let Some(link) = used.conn() else { return Next::Gone };
    link.out_mut().0.append(&mut request);
    let sent = link.flush().await;
    let response = match sent {
        Ok(()) => response::forward(&mut conn, link, &method).await,
        Err(_) => Response::NotBegun,
    };
    let forwarding = Forwarding { peer, kind, sid, used, permit };
    finish(state, hub, conn, forwarding, response, persistence).await
}

/// A request that was sent to another node.
struct Forwarding {
    peer: Arc<Peer>,
    kind: Forwarded,
    sid: Option<Box<str>>,
    used: UsedLink,
    permit: ConnectionPermit,
}

async fn finish<T: 'static>(
    state: &Rc<ShardState<T>>,
    hub: Arc<Hub>,
    mut conn: Box<Conn<T>>,
    forwarding: Forwarding,
    response: Response,
    persistence: Persistence,
) -> Next<T> {
    let Forwarding { peer, kind, sid, mut used, permit } = forwarding;
    let counters = &hub.counters;
    match response {
        Response::Complete { keep_alive } => {
            counters.forwarded(kind, Outcome::Answered);
            let confirmed =
                used.conn().is_some_and(|link| link.stream().try_send(&[DELIVERED]).is_ok());
            if keep_alive && confirmed {
                state.per_worker::<LinkPool>().give(used, hub.options.link_idle_timeout);
            }
            let persistence = if keep_alive { persistence } else { Persistence::Close };
            Next::Continue(conn, persistence)
        }
        Response::Switched => {
            counters.forwarded(kind, Outcome::Answered);
            if let Some(link) = used.take() {
                used.set_sid(sid);
                let tunnels = ConnectionPermit::take(&counters.tunnels, usize::MAX);
                let permits = [Some(permit), tunnels];
                let time = state.config.write_timeout;
                let tunnel = Tunnel::new(hub, conn.http, link, used, permits, time);
                tunnel::start(&state.worker, tunnel);
            }
            Next::Gone
        }
        Response::NotBegun => {
            counters.forwarded(kind, Outcome::Broken);
            drop(used);
            hub.input(|members, now| members.handle_link_broken(peer.id, now));
            conn.out.0.clear();
            let answer = Box::pin(verdict(state, &hub, &peer)).await;
            conn.reply(answer, Persistence::Close);
            Next::Continue(conn, Persistence::Close)
        }
        Response::Broken => {
            counters.forwarded(kind, Outcome::Broken);
            drop(used);
            hub.input(|members, now| members.handle_link_broken(peer.id, now));
            // A part of the response has been sent: the client must not take it for all.
            conn.http.stream().shutdown_both();
            Next::Gone
        }
        Response::ClientGone => {
            counters.forwarded(kind, Outcome::ClientGone);
            Next::Gone
        }
    }
}

/// The answer to a request that did not reach the node of its session: the session has ended if the node has. The engine
/// says so within a round trip; without its word the client may try again.
async fn verdict<T>(state: &ShardState<T>, hub: &Hub, peer: &Peer) -> Answer<'static> {
    /// A new session is better for the client than a longer wait.
    const LIMIT: Duration = Duration::from_millis(40);
    const PAUSE: Duration = Duration::from_millis(2);
    let since = state.worker.now();
    loop {
        match hub.find(peer.identity.tag.as_str()) {
            Some(found) if found.id == peer.id => match found.state {
                NodeState::Lost => return Answer::reject(Reject::UnknownSid),
                NodeState::Unreachable => return UNAVAILABLE,
                NodeState::Joining | NodeState::Up | NodeState::Leaving => {}
            },
            _ => return Answer::reject(Reject::UnknownSid),
        }
        if state.worker.now() >= since.after(millis(LIMIT)) {
            return UNAVAILABLE;
        }
        sleep_on(&state.worker, PAUSE).await;
    }
}

/// Receives the request whole: preamble, head and body as they go over the link, and the method. `Err`: the answer, or
/// the client has left.
async fn receive<T>(
    conn: &mut Conn<T>,
    kind: Forwarded,
    len: usize,
    body: Body,
) -> Result<(Vec<u8>, String), Option<Answer<'static>>> {
    let has_body = kind == Forwarded::Post;
    let closes = conn.state.is_leaving();
    let bytes = conn.rx.unread().get(..len).unwrap_or_default().to_vec();
    conn.rx.skip(len);
    if !body.is_empty() {
        conn.receive_body(body).await.map_err(|error| answer_to(conn, &error))?;
    }
    let content = if has_body { conn.rx.kept() } else { &[] };
    let mut out = OutBuf(Vec::with_capacity(bytes.len() + content.len() + 128));
    let mut slots = HeaderSlots::new();
    let max = conn.state.config.max_headers;
    let head = slots.parse(&bytes, max).map_err(|error| Some(Answer::empty(error.status())))?;
    let stream = conn.http.stream();
    let origin = Origin {
        peer: conn.peer,
        secure: conn.via.is_secure(stream),
        certificate: conn.via.peer_certificate(stream).unwrap_or_default(),
    };
    let written = Preamble::Request(origin).write(&mut out);
    // Only a certificate of more than 16 KiB does not fit.
    written.map_err(|_| Some(Answer::empty(431)))?;
    head::write(&mut out.0, &bytes, &head, has_body.then_some(content.len() as u64), closes);
    out.0.extend_from_slice(content);
    let method = head.method.to_owned();
    conn.rx.release();
    Ok((out.0, method))
}

/// The answer to a body that was not received, which is that of a session of this node.
fn answer_to<T>(conn: &Conn<T>, error: &RecvError) -> Option<Answer<'static>> {
    match error {
        RecvError::Bad(error) => {
            let too_large = *error == HttpError::BodyTooLarge;
            conn.log(if too_large { Cause::BodyTooLarge } else { Cause::MalformedBody }, error);
            Some(Answer::empty(error.status()))
        }
        RecvError::TimedOut => {
            conn.log(Cause::BodyTimeout, "");
            Some(Answer::empty(408))
        }
        RecvError::OverBudget => {
            conn.log(Cause::MemoryBudget, "");
            Some(UNAVAILABLE)
        }
        RecvError::Closed => None,
    }
}

/// Answers a request whose body may not have been read: nothing after it can be parsed.
fn refuse<T>(mut conn: Box<Conn<T>>, answer: Answer<'static>) -> Next<T> {
    conn.reply(answer, Persistence::Close);
    Next::Continue(conn, Persistence::Close)
}
