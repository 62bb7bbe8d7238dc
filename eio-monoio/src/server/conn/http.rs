//! The keep-alive loop: head → poll | push | handshake | upgrade | another shard | another route.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;

use eio_core::http::{Framing, HeadScanner, RequestHead, Target};
use eio_core::request::{Intent, Reject, classify};
use eio_core::transport::Transport;
use eio_core::ws::handshake;

use crate::io::http_conn::RecvError;
use crate::metrics::MOVED;
use crate::server::conn::header_slots::HeaderSlots;
use crate::server::conn::reply::Answer;
use crate::server::conn::request::{Accept, Next};
use crate::server::conn::{Body, Conn, app_request, handshake as open, polling, raw_websocket};
use crate::server::connection_error::ConnectionError;
use crate::server::handler::Handler;
use crate::server::request::Refusal;
use crate::server::session::Session;
use crate::server::shard::shared::ShardMessage;
use crate::server::shard::{SessionLocation, Shard, ShardState};
use crate::web::compress::Accepted;
use crate::web::cors::{self, OriginPredicate, Verdict};
use crate::web::persistence::Persistence;
use crate::web::request::RequestInfo;

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
        let head = match read_head(&mut conn, first).await {
            Ok(head) => head,
            Err(ended) => return refuse_head(conn, ended).await,
        };
        first = false;
        let request = decide(&shard.state, &mut conn, head);
        let after = request.after;
        let next = match request.action {
            Action::Poll(session) => {
                conn.rx.skip(head);
                polling::poll(conn, session, after).await
            }
            Action::Push(session) => {
                conn.rx.skip(head);
                polling::push(&shard, conn, session, request.body, after, resume).await
            }
            Action::Open { transport, base64, accept } => {
                let asked = open::SessionRequest { transport, base64, accept, after, resume };
                open::open(&shard, conn, head, asked).await
            }
            Action::Upgrade { session, accept } => {
                open::upgrade(&shard, conn, session, head, &accept)
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
                conn.rx.skip(head);
                open::switch_protocols(&mut conn, &accept);
                if let Some(on_plain) = shard.state.on_plain.clone() {
                    raw_websocket::start(&shard.state, conn, accept.deflate, on_plain);
                }
                Next::Gone
            }
            // Rare and large: not part of what every idle connection pays for.
            Action::Other => {
                Box::pin(app_request::answer(&shard, conn, head, request.body, after)).await
            }
            Action::Refused(answer) => {
                conn.rx.skip(head);
                conn.reply(answer, after);
                Next::Continue(conn, after)
            }
            Action::Denied { refusal, head_only } => {
                conn.rx.skip(head);
                conn.reply(Answer { head_only, ..Answer::refusal(&refusal) }, after);
                Next::Continue(conn, after)
            }
            Action::Answered => {
                conn.rx.skip(head);
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

enum Action<T> {
    Poll(Rc<Session<T>>),
    Push(Rc<Session<T>>),
    Open {
        transport: Transport,
        base64: bool,
        accept: Accept,
    },
    Upgrade {
        session: Rc<Session<T>>,
        accept: Accept,
    },
    Elsewhere(u16),
    Other,
    /// A WebSocket that is not Engine.IO's.
    Plain(Accept),
    Refused(Answer<'static>),
    /// By the application, before anything is looked at.
    Denied {
        refusal: Refusal,
        head_only: bool,
    },
    /// The answer is written already.
    Answered,
}

impl<T> Action<T> {
    /// Takes into account what meaning does not depend on.
    fn adapt(self, has_body: bool, is_head: bool) -> Self {
        match self {
            // Its body would be taken for frames.
            Self::Upgrade { .. } | Self::Open { transport: Transport::WebSocket, .. }
                if has_body =>
            {
                Self::Refused(Answer::reject(Reject::BadRequest))
            }
            Self::Refused(answer) => Self::Refused(Answer { head_only: is_head, ..answer }),
            Self::Denied { refusal, .. } => Self::Denied { refusal, head_only: is_head },
            other => other,
        }
    }

    /// Whether the answer may be long enough to be worth compressing.
    fn is_answered_with_content(&self) -> bool {
        match self {
            Self::Poll(_) | Self::Other => true,
            Self::Open { transport, .. } => *transport == Transport::Polling,
            _ => false,
        }
    }

    /// Whether a body is read to its end. One that is not would be taken for the next request: nothing may
    /// follow it on its connection.
    fn reads_body(&self) -> bool {
        matches!(self, Self::Push(_) | Self::Elsewhere(_) | Self::Other)
    }
}

/// Decides what a head asks for. Everything that outlives the head is copied out of it here.
fn decide<T>(state: &Rc<ShardState<T>>, conn: &mut Conn<T>, len: usize) -> Request<T> {
    conn.extra.clear();
    conn.coding = None;
    let mut slots = HeaderSlots::new();
    let nothing = Body { framing: Framing::None, expects_continue: false };
    let refused = |status| Request {
        action: Action::Refused(Answer::empty(status)),
        body: nothing,
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
    let after =
        Persistence::new(head.keep_alive() && !state.is_shutting_down(), head.minor_version);
    let is_engine_io = state.is_engine_path(target.path);
    let info = state.info(head, conn.http.stream(), conn.peer);
    let refused = Cell::new(None);
    let (action, preflight) = if is_engine_io {
        let (action, preflight) = engine_io(state, &info, target.query, &mut conn.extra, &refused);
        (guard(state, &info, action, &refused), preflight)
    } else if state.on_plain.is_some() && asks_for_websocket(&head) {
        (plain_websocket(state, &info), None)
    } else {
        (Action::Other, None)
    };
    let has_body = !matches!(framing, Framing::None | Framing::Length(0));
    let action = action.adapt(has_body, head.method == "HEAD");
    let after = if has_body && !action.reads_body() { Persistence::Close } else { after };
    if state.config.http_compression && action.is_answered_with_content() {
        conn.coding = Accepted::new(&head.headers).made();
    }
    let allowed = !conn.extra.is_empty();
    if let Some(add) = &state.hooks.headers
        && is_engine_io
        && !matches!(action, Action::Elsewhere(_))
    {
        state.add_headers(&mut conn.extra, |headers| add(&info, headers));
    }
    if let Some(error) = refused.get() {
        state.hooks.report(&info, error);
    }
    if let Some(preflight) = preflight {
        let extra = std::mem::take(&mut conn.extra);
        let wanted = allowed.then_some(&*preflight);
        let date = state.date();
        cors::write_preflight(conn.answer(), wanted, &date, &extra, after);
        conn.extra = extra;
    }
    Request { action, body, after }
}

/// What a preflight wants to send, if the request is one.
type Preflight = Option<Vec<u8>>;

/// Decides about a request for Engine.IO's own path. `refused` is why, if it is.
fn engine_io<T>(
    state: &Rc<ShardState<T>>,
    request: &RequestInfo<'_>,
    query: &str,
    extra: &mut Vec<u8>,
    refused: &Cell<Option<ConnectionError>>,
) -> (Action<T>, Preflight) {
    let refuse = |error: ConnectionError, answer| {
        refused.set(Some(error));
        Action::Refused(answer)
    };
    let reject = |reject: Reject| refuse(reject.into(), Answer::reject(reject));
    let head = &request.head;
    match judge_origin(state, request) {
        Verdict::Silent => {}
        Verdict::Allowed(origin) => {
            cors::write_allowed(extra, origin, state.config.cors_credentials);
        }
        // python-engineio and engine.io both answer 400, before anything else is looked at.
        Verdict::Refused => {
            let answer = Answer::reject(Reject::BadRequest);
            return (refuse(ConnectionError::InvalidOrigin, answer), None);
        }
    }
    let websocket = asks_for_websocket(head);
    let meaning = match classify(head.method, query, websocket, state.config.transports) {
        Ok(meaning) => meaning,
        Err(no) => return (reject(no), None),
    };
    let find = |sid| match state.find(sid) {
        SessionLocation::Here(session) => Ok(session),
        SessionLocation::Elsewhere(shard) => Err(Action::Elsewhere(shard)),
        SessionLocation::Nowhere => Err(reject(Reject::UnknownSid)),
    };
    // The session itself will say so, in answer to the request.
    let polled = |session: Rc<Session<T>>| {
        if session.transport() != Transport::Polling {
            refused.set(Some(ConnectionError::TransportMismatch));
        }
        session
    };
    let bad_handshake = |answer| refuse(ConnectionError::TransportHandshake, answer);
    let unavailable = |answer| refuse(ConnectionError::Unavailable, answer);
    let action = match &meaning.intent {
        Intent::Preflight if state.config.cors == cors::Cors::Off => {
            reject(Reject::BadHandshakeMethod)
        }
        Intent::Preflight => {
            let wanted = head.headers.get("access-control-request-headers").unwrap_or_default();
            return (Action::Answered, Some(wanted.to_vec()));
        }
        // JSONP: no current client asks for it, and answering scripts to other origins is a hole.
        _ if meaning.jsonp.is_some() => reject(Reject::BadRequest),
        Intent::Handshake(_) if state.is_shutting_down() => unavailable(Answer::empty(503)),
        Intent::Handshake(_) if !state.admits_handshake() => unavailable(BUSY),
        Intent::Handshake(Transport::Polling) => Action::Open {
            transport: Transport::Polling,
            base64: meaning.base64,
            accept: Accept::default(),
        },
        Intent::Handshake(Transport::WebSocket) => match accept(state, head) {
            Ok(accept) => {
                Action::Open { transport: Transport::WebSocket, base64: meaning.base64, accept }
            }
            Err(answer) => bad_handshake(answer),
        },
        Intent::Poll(sid) => find(sid).map(polled).map_or_else(|other| other, Action::Poll),
        Intent::Push(sid) => find(sid).map(polled).map_or_else(|other| other, Action::Push),
        Intent::Upgrade(_) if !state.config.allow_upgrades => reject(Reject::BadRequest),
        Intent::Upgrade(sid) => match (find(sid), accept(state, head)) {
            (Ok(session), Ok(accept)) => Action::Upgrade { session, accept },
            (Ok(_), Err(answer)) => bad_handshake(answer),
            (Err(other), _) => other,
        },
    };
    (action, None)
}

/// Asks the application about a request: once, on the core that answers it, and not about what other origins try.
fn guard<T>(
    state: &ShardState<T>,
    request: &RequestInfo<'_>,
    action: Action<T>,
    refused: &Cell<Option<ConnectionError>>,
) -> Action<T> {
    let not_asked = matches!(action, Action::Elsewhere(_) | Action::Answered)
        || refused.get() == Some(ConnectionError::InvalidOrigin);
    if state.hooks.middlewares.is_empty() || not_asked {
        return action;
    }
    match state.hooks.admit(request) {
        Ok(()) => action,
        Err(refusal) => {
            refused.set(Some(ConnectionError::Middleware));
            Action::Denied { refusal, head_only: false }
        }
    }
}

/// Clients that all come back at once after a restart are told to come later; see
/// [`max_handshakes_per_second`](crate::Config::max_handshakes_per_second).
const BUSY: Answer<'static> =
    Answer { headers: &[("Retry-After", "1")], ..Answer::json(503, b"\"Service Unavailable\"") };

fn asks_for_websocket(head: &RequestHead<'_, '_>) -> bool {
    head.is_upgrade() && head.headers.has_token("upgrade", "websocket")
}

/// Checks the opening handshake of RFC 6455 4.2.1 and gives what accepts it.
fn accept<T>(state: &ShardState<T>, head: &RequestHead<'_, '_>) -> Result<Accept, Answer<'static>> {
    let offer = handshake::check_request(head.method, head.minor_version, head.headers.iter());
    let offer =
        offer.map_err(|no| Answer { headers: no.headers(), ..Answer::empty(no.status()) })?;
    let deflate = match &state.config.per_message_deflate {
        // Whoever does not compress declines all extensions by not looking at them.
        None => None,
        Some(wishes) => {
            wishes.terms().accept(offer.extensions()).map_err(|_| Answer::empty(400))?
        }
    };
    let protocol = offer.protocols().next().map(Box::from);
    let mut accept = Accept { key: [0; 28], protocol, deflate };
    accept.key.copy_from_slice(offer.accept().as_bytes());
    Ok(accept)
}

/// A page of another origin must not open a WebSocket with the user's cookies.
fn plain_websocket<T>(state: &ShardState<T>, request: &RequestInfo<'_>) -> Action<T> {
    match judge_origin(state, request) {
        Verdict::Refused => Action::Refused(Answer::empty(403)),
        Verdict::Silent | Verdict::Allowed(_) => {
            accept(state, &request.head).map_or_else(Action::Refused, Action::Plain)
        }
    }
}

fn judge_origin<'r, T>(state: &ShardState<T>, request: &RequestInfo<'r>) -> Verdict<'r> {
    let secure = request.is_secure();
    let ask = |predicate: &OriginPredicate, origin: &str| predicate.allows(origin, request);
    state.config.cors.judge(&request.head.headers, secure, ask)
}

impl<T> ShardState<T> {
    /// Whether one more session may be asked for in this second.
    fn admits_handshake(&self) -> bool {
        let max = self.config.max_handshakes_per_second;
        max.is_none_or(|max| self.shared.handshakes.admit(max))
    }

    /// Whether `path` is the configured one, with or without its last slash.
    fn is_engine_path(&self, path: &str) -> bool {
        let trim = |path| str::strip_suffix(path, '/').unwrap_or(path).len();
        let ours = &self.config.path;
        path[..trim(path)] == ours[..trim(ours)]
    }
}
