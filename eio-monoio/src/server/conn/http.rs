//! The keep-alive loop: head → poll | push | handshake | upgrade | another shard | another route.

use std::future::poll_fn;
use std::rc::Rc;

use eio_core::http::{Framing, HeadScanner, Target};

use crate::io::http_conn::RecvError;
use crate::metrics::MOVED;
use crate::server::conn::decide::{Action, decide};
use crate::server::conn::header_slots::HeaderSlots;
use crate::server::conn::reply::Answer;
use crate::server::conn::request::Next;
use crate::server::conn::{Body, Conn, app_request, handshake as open, polling, raw_websocket};
use crate::server::handler::Handler;
use crate::server::shard::shared::ShardMessage;
use crate::server::shard::{Shard, ShardState};
use crate::web::compress::Accepted;
use crate::web::cors::{self, Verdict};
use crate::web::persistence::Persistence;

/// Serves a connection that was accepted just now, or came from another shard, as a task of its own.
pub(crate) fn start<H: Handler>(shard: Rc<Shard<H>>, conn: Box<Conn<H::Session>>) {
    let tasks = shard.clone();
    tasks.state.tasks.spawn(serve(shard, conn, true));
}

/// Goes on with a connection whose last request was answered, as a task of its own.
fn resume<H: Handler>(shard: Rc<Shard<H>>, conn: Box<Conn<H::Session>>) {
    let tasks = shard.clone();
    tasks.state.tasks.spawn(serve(shard, conn, false));
}

/// `first`: a request is owed. A client that is quick has sent it with the handshake of TCP, another has
/// `head_timeout` for it; later ones may take `idle_timeout` to begin.
async fn serve<H: Handler>(shard: Rc<Shard<H>>, mut conn: Box<Conn<H::Session>>, mut first: bool) {
    loop {
        let len = match read_head(&mut conn, first).await {
            Ok(len) => len,
            Err(ended) => return refuse_head(conn, ended).await,
        };
        first = false;
        let request = prepare(&shard.state, &mut conn, len);
        let after = request.after;
        let next = match request.action {
            Action::Poll(session) => {
                conn.rx.skip(len);
                polling::poll(conn, session, after).await
            }
            Action::Push(session) => {
                conn.rx.skip(len);
                polling::push(&shard, conn, session, request.body, after, resume).await
            }
            Action::Open { transport, base64, accept, head } => {
                let asked = open::SessionRequest { transport, base64, accept, head, after, resume };
                open::open(&shard, conn, asked).await
            }
            Action::Upgrade { session, accept } => {
                conn.rx.skip(len);
                open::upgrade(&shard, conn, session, &accept)
            }
            Action::Elsewhere(owner) => {
                match conn.into_moved() {
                    Ok(moved) => {
                        shard.state.counters.add(MOVED, 0, 1);
                        shard.state.shared.post(owner, ShardMessage::Connection(moved));
                    }
                    Err(error) => tracing::warn!(%error, "a connection could not change its core"),
                }
                Next::Gone
            }
            Action::Plain(accept) => {
                conn.rx.skip(len);
                open::switch_protocols(&mut conn, &accept);
                if let Some(on_plain) = shard.state.on_plain.clone() {
                    raw_websocket::start(&shard.state, conn, accept.deflate, on_plain);
                }
                Next::Gone
            }
            // Rare and large: not part of what every idle connection pays for.
            Action::Other(head) => {
                Box::pin(app_request::answer(&shard, conn, head, request.body, after)).await
            }
            Action::Refused(answer) => {
                conn.rx.skip(len);
                conn.reply(answer, after);
                Next::Continue(conn, after)
            }
            Action::Denied { refusal, head_only } => {
                conn.rx.skip(len);
                conn.reply(Answer { head_only, ..Answer::refusal(&refusal) }, after);
                Next::Continue(conn, after)
            }
            Action::Preflight(wanted) => {
                conn.rx.skip(len);
                conn.reply_preflight(wanted.as_deref(), after);
                Next::Continue(conn, after)
            }
        };
        let Next::Continue(back, after) = next else { return };
        conn = back;
        conn.fresh = false;
        if after == Persistence::Close || shard.state.has_stopped_accepting() {
            return conn.http.close_lingering().await;
        }
        if conn.flush().await.is_err() {
            return;
        }
        conn.stream().count_step();
        poll_fn(|cx| conn.stream().poll_budget(cx)).await;
    }
}

/// Reads up to the end of a request head and says how long it is.
async fn read_head<T>(conn: &mut Conn<T>, first: bool) -> Result<usize, RecvError> {
    let max = conn.state.config.max_head_size;
    let mut scanner = HeadScanner::new();
    let mut begun = false;
    conn.rx.release();
    if first {
        conn.set_deadline(conn.state.config.head_timeout);
        if conn.rx.unread().is_empty() {
            conn.try_receive(1)?;
        }
    }
    loop {
        if !conn.rx.unread().is_empty() {
            if let Some(len) = scanner.poll(conn.rx.unread(), max).map_err(RecvError::Bad)? {
                conn.set_idle(false);
                return Ok(len);
            }
            if !begun && !first {
                conn.set_deadline(conn.state.config.head_timeout);
            }
            begun = true;
        } else if !first {
            conn.set_deadline(conn.state.config.idle_timeout);
        }
        conn.set_idle(!begun);
        conn.receive(1).await?;
    }
}

/// Answers what is not a request; a connection that never sent anything is closed without a word.
async fn refuse_head<T>(mut conn: Box<Conn<T>>, ended: RecvError) {
    let status = match ended {
        RecvError::Bad(error) => error.status(),
        RecvError::TimedOut if !conn.rx.unread().is_empty() => 408,
        // How most connections end: what they received into is not to be freed with them.
        RecvError::TimedOut | RecvError::Closed => return conn.release(),
    };
    conn.set_idle(false);
    // Whoever sent this has not said from which origin.
    conn.extra.clear();
    conn.reply(Answer::empty(status), Persistence::Close);
    conn.http.close_lingering().await;
}

/// A request, decided upon.
struct Request<T> {
    action: Action<T>,
    body: Body,
    after: Persistence,
}

/// Parses and decides upon a head, and prepares the answer: its header lines and its coding. Everything that outlives
/// the head is copied out of it here.
fn prepare<T>(state: &Rc<ShardState<T>>, conn: &mut Conn<T>, len: usize) -> Request<T> {
    conn.extra.clear();
    conn.coding = None;
    let mut slots = HeaderSlots::new();
    let refused = |status| Request {
        action: Action::Refused(Answer::empty(status)),
        body: Body { framing: Framing::None, expects_continue: false },
        after: Persistence::Close,
    };
    let Some(bytes) = conn.http.rx.unread().get(..len) else { return refused(400) };
    let head = match slots.parse(bytes, state.config.max_headers) {
        Ok(head) => head,
        Err(error) => return refused(error.status()),
    };
    let (framing, target) = match (head.framing(), Target::parse(head.target)) {
        (Ok(framing), Ok(target)) => (framing, target),
        (Err(error), _) | (_, Err(error)) => return refused(error.status()),
    };
    let body = Body { framing, expects_continue: head.expects_continue() };
    let keep_alive = head.keep_alive() && !state.is_shutting_down();
    let info = state.info(head, conn.http.stream(), conn.peer);
    let decision = decide(state, &info, target, &body, bytes);
    let action = decision.action;
    let after = if body.is_empty() || action.reads_body() {
        Persistence::new(keep_alive, head.minor_version)
    } else {
        Persistence::Close
    };
    if let Verdict::Allowed(origin) = decision.origin {
        cors::write_allowed(&mut conn.extra, origin, state.config.cors_credentials);
    }
    if state.config.http_compression && action.is_answered_with_content() {
        conn.coding = Accepted::new(&head.headers).made();
    }
    if let Some(add) = &state.hooks.headers
        && decision.is_engine_io
        && !matches!(action, Action::Elsewhere(_))
    {
        state.add_headers(&mut conn.extra, |headers| add(&info, headers));
    }
    if let Some(error) = decision.refused {
        state.hooks.report(&info, error);
    }
    Request { action, body, after }
}
