//! The request loop of a connection: reads a head, decides, acts, and reads the next head.

use std::future::poll_fn;
use std::rc::Rc;

use eio_core::http::{Error as HttpError, Framing, HeadScanner, Target};

use crate::io::http_conn::RecvError;
use crate::metrics::MOVED;
use crate::server::cause::{Cause, Subject};
use crate::server::conn::decide::{Action, decide};
use crate::server::conn::header_slots::HeaderSlots;
use crate::server::conn::reply::{Answer, UNAVAILABLE};
use crate::server::conn::request::Next;
use crate::server::conn::{Body, Conn, app_request, handshake, middleware, polling, raw_websocket};
#[cfg(feature = "nats")]
use crate::server::conn::{link, relay};
use crate::server::connection_error::Refused;
use crate::server::handler::Handler;
use crate::server::hooks;
use crate::server::shard::shared::ShardMessage;
use crate::server::shard::{Shard, ShardState};
use crate::web::compress::Accepted;
use crate::web::cors::{self, Verdict};
use crate::web::persistence::Persistence;
use crate::web::proxy;
use crate::worker::context::Activity;

/// Serves a connection that was accepted or moved here, in a task of its own.
pub(crate) fn start<H: Handler>(shard: Rc<Shard<H>>, conn: Box<Conn<H::Session>>) {
    let tasks = shard.clone();
    tasks.state.tasks.spawn(serve(shard, conn, true));
}

/// Continues a connection whose last request was answered, in a task of its own.
fn resume<H: Handler>(shard: Rc<Shard<H>>, mut conn: Box<Conn<H::Session>>) {
    conn.end_request();
    let tasks = shard.clone();
    tasks.state.tasks.spawn(serve(shard, conn, false));
}

/// `first`: no request was received yet. The first one must arrive within `head_timeout`, and may have arrived with the
/// TCP handshake; a later one may begin within `idle_timeout`.
async fn serve<H: Handler>(shard: Rc<Shard<H>>, mut conn: Box<Conn<H::Session>>, mut first: bool) {
    loop {
        #[cfg(feature = "nats")]
        if conn.via.is_between_requests(first) {
            // Boxed: it would add to the memory of every idle connection.
            if Box::pin(link::next_request(&mut conn)).await.is_err() {
                return conn.release();
            }
            first = true;
        }
        let len = match read_head(&mut conn, first).await {
            Ok(len) => len,
            Err(error) => return refuse_head(conn, error).await,
        };
        first = false;
        if std::mem::take(&mut conn.uncounted) {
            shard.state.defer_accept.count_first_request();
        }
        let mut request = prepare(&shard.state, &mut conn, len);
        if matches!(request.action, Action::Ask(_)) {
            // Boxed: this future is rare and large, and would add to the memory of every idle connection.
            (conn, request) = Box::pin(middleware::ask(&shard, conn, request)).await;
        }
        let persistence = request.persistence;
        let next = match request.action {
            Action::Poll(session) => {
                conn.rx.skip(len);
                polling::poll(conn, session, persistence).await
            }
            Action::Push(session) => {
                conn.rx.skip(len);
                polling::push(&shard, conn, session, request.body, persistence, resume).await
            }
            Action::Open { transport, base64, accept, head } => {
                let request = handshake::SessionRequest {
                    transport,
                    base64,
                    accept,
                    head,
                    persistence,
                    resume,
                };
                handshake::open(&shard, conn, request).await
            }
            Action::Elsewhere(owner) => move_to_worker(&shard.state, *conn, owner),
            // Boxed: this future is large, and would add to the memory of every idle connection.
            #[cfg(feature = "nats")]
            Action::Away(away) => {
                let (body, persistence) = (request.body, request.persistence);
                let state = &shard.state;
                Box::pin(relay::forward(state, conn, away, len, body, persistence)).await
            }
            // Boxed: this future is rare and large, and would add to the memory of every idle connection.
            Action::Application(head) => {
                Box::pin(app_request::answer(&shard, conn, head, request.body, persistence)).await
            }
            action => {
                conn.rx.skip(len);
                act_at_once(&shard, conn, action, persistence)
            }
        };
        let Next::Continue(returned, persistence) = next else { return };
        conn = returned;
        conn.fresh = false;
        if persistence == Persistence::Close || shard.state.has_stopped_accepting() {
            return conn.close_lingering().await;
        }
        if conn.flush().await.is_err() {
            return;
        }
        conn.end_request();
        conn.stream().count_step();
        poll_fn(|cx| conn.stream().poll_budget(cx)).await;
    }
}

/// The actions that wait for nothing.
fn act_at_once<H: Handler>(
    shard: &Rc<Shard<H>>,
    mut conn: Box<Conn<H::Session>>,
    action: Action<H::Session>,
    persistence: Persistence,
) -> Next<H::Session> {
    match action {
        Action::Upgrade { session, accept } => {
            return handshake::upgrade(shard, conn, session, &accept);
        }
        Action::RawWebSocket(accept) => {
            handshake::switch_protocols(&mut conn, &accept);
            if let Some(on_message) = shard.state.on_raw_websocket.clone() {
                raw_websocket::start(&shard.state, conn, accept.deflate, on_message);
            }
            return Next::Gone;
        }
        Action::Refused(answer) => conn.reply(answer, persistence),
        Action::Denied { refusal, head_only } => {
            conn.reply_refusal(&refusal, head_only, persistence);
        }
        Action::Preflight(requested) => conn.reply_preflight(requested.as_deref(), persistence),
        // Without a wildcard, so that the compiler notices a new action that nothing serves.
        Action::Poll(_)
        | Action::Push(_)
        | Action::Open { .. }
        | Action::Elsewhere(_)
        | Action::Application(_)
        | Action::Ask(_) => unreachable!("`serve` awaits these, and replaces `Ask` before"),
        #[cfg(feature = "nats")]
        Action::Away(_) => unreachable!("`serve` awaits it"),
    }
    Next::Continue(conn, persistence)
}

/// Passes a connection, and the request that it has received, to another worker.
fn move_to_worker<T>(state: &ShardState<T>, conn: Conn<T>, owner: u16) -> Next<T> {
    match conn.into_moved() {
        Ok(moved) => {
            state.counters.add(MOVED, 0, 1);
            state.shared.post(owner, ShardMessage::Connection(moved));
        }
        Err(error) => crate::log::warn!(%error, "a connection could not be moved to its worker"),
    }
    Next::Gone
}

/// Receives up to the end of a request head and returns its length.
async fn read_head<T>(conn: &mut Conn<T>, first: bool) -> Result<usize, RecvError> {
    let max = conn.state.config.max_head_size;
    let mut scanner = HeadScanner::new();
    conn.rx.release();
    if first && conn.rx.unread().is_empty() {
        conn.try_receive(1)?;
    }
    // A head that has arrived with its connection needs no timer.
    let mut is_limited = false;
    loop {
        let begun = !conn.rx.unread().is_empty();
        if begun && let Some(len) = scanner.poll(conn.rx.unread(), max).map_err(RecvError::Bad)? {
            conn.set_activity(Activity::Busy);
            return Ok(len);
        }
        if !begun && !first {
            conn.set_deadline(conn.state.config.idle_timeout);
        } else if !is_limited {
            conn.set_deadline(conn.state.config.head_timeout);
            is_limited = true;
        }
        // Where other processes accept too, a client whose connection this one has accepted may still send its first
        // request: closing the connection would lose it.
        let may_send = begun || (first && conn.state.shared.shares_listeners);
        conn.set_activity(if may_send { Activity::Receiving } else { Activity::Idle });
        conn.receive(1).await?;
    }
}

/// Answers input that is not a request. A connection without input is closed without a response.
async fn refuse_head<T>(mut conn: Box<Conn<T>>, error: RecvError) {
    let status = match error {
        RecvError::Bad(error) => {
            conn.log_malformed(error);
            error.status()
        }
        RecvError::OverBudget => {
            conn.log(Cause::MemoryBudget, "");
            503
        }
        RecvError::TimedOut if !conn.rx.unread().is_empty() => {
            conn.log(Cause::HeadTimeout, "");
            408
        }
        // Most connections end here: their receive buffer returns to the pool.
        RecvError::TimedOut | RecvError::Closed => return conn.release(),
    };
    conn.set_activity(Activity::Busy);
    // The origin of this input is not known: no CORS lines of an earlier request.
    conn.extra.clear();
    conn.begin_request();
    let answer = if status == 503 { UNAVAILABLE } else { Answer::empty(status) };
    conn.reply(answer, Persistence::Close);
    conn.close_lingering().await;
}

/// A request that was decided about.
pub(super) struct Request<T> {
    pub(super) action: Action<T>,
    pub(super) body: Body,
    pub(super) persistence: Persistence,
}

/// Parses a head, decides about the request and prepares the response: its header lines and content coding. Everything
/// that outlives the head is copied here.
fn prepare<T>(state: &Rc<ShardState<T>>, conn: &mut Conn<T>, len: usize) -> Request<T> {
    conn.extra.clear();
    conn.coding = None;
    conn.begin_request();
    let mut slots = HeaderSlots::new();
    let refused = |error: HttpError| {
        conn.log_malformed(error);
        Request {
            action: Action::Refused(Answer::empty(error.status())),
            body: Body { framing: Framing::None, expects_continue: false },
            persistence: Persistence::Close,
        }
    };
    let Some(bytes) = conn.http.rx.unread().get(..len) else {
        return refused(HttpError::NotOneHead);
    };
    let head = match slots.parse(bytes, state.config.max_headers) {
        Ok(head) => head,
        Err(error) => return refused(error),
    };
    let (framing, target) = match (head.framing(), Target::parse(head.target)) {
        (Ok(framing), Ok(target)) => (framing, target),
        (Err(error), _) | (_, Err(error)) => return refused(error),
    };
    conn.via.set_method(head.method);
    let mut body = Body { framing, expects_continue: false };
    body.expects_continue = !body.is_empty() && head.expects_continue();
    let keep_alive = head.keep_alive() && !state.is_shutting_down();
    let info = state.info(head, conn.http.stream(), conn.peer, &conn.via);
    if let Some(access) = &mut conn.access {
        access.set_request(info.peer, head.method, head.target);
    }
    if info.peer != conn.peer && proxy::contains(&state.refused_networks, info.peer) {
        // The connection is the proxy's, which uses it for other clients too.
        state.shared.causes.write(Cause::RefusedNetwork, Subject::Peer(info.peer), "");
        let keep_alive = keep_alive && body.is_empty();
        let action = Action::Refused(Answer::empty(403));
        return Request { action, body, persistence: Persistence::new(keep_alive) };
    }
    let decision = decide(state, &info, target, &body, bytes, &conn.via);
    let action = decision.action;
    if let Some(access) = &mut conn.access
        && action.is_decided_elsewhere()
    {
        access.cancel();
    }
    let persistence = if body.is_empty() || action.reads_body() {
        Persistence::new(keep_alive)
    } else {
        Persistence::Close
    };
    if let Verdict::Allowed(origin) = decision.origin {
        cors::write_allowed(&mut conn.extra, origin, state.config.cors_credentials);
    }
    if state.config.http_compression && action.is_answered_with_content() {
        conn.coding = Accepted::new(&head.headers).made();
    }
    hooks::write_attached(&mut conn.extra, &info);
    if let Some(add) = &state.hooks.headers
        && decision.is_engine_io
        && !action.is_decided_elsewhere()
    {
        state.add_headers(&mut conn.extra, |headers| add(&info, headers));
    }
    if let Some(reason) = decision.refused {
        let refusal = match &action {
            Action::Denied { refusal, .. } => Some(refusal),
            _ => None,
        };
        reason.log(state, &info, refusal);
        if let Some(error) = reason.error {
            state.hooks.report(&info, Refused { error, refusal });
        }
    }
    conn.attached = info.attached;
    Request { action, body, persistence }
}
