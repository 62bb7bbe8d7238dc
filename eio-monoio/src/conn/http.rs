//! The keep-alive loop: head → poll | push | handshake | upgrade | another shard | another route.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;

use eio_core::http::{Framing, HeadScanner, RequestHead, Target};
use eio_core::request::{Intent, Reject, classify};
use eio_core::transport::Transport;
use eio_core::ws::deflate::Terms;
use eio_core::ws::handshake;

use crate::conn::reply::{After, Answer};
use crate::conn::slots::Slots;
use crate::conn::{Conn, handshake as open, other, plain, polling};
use crate::handler::{Handler, Refusal, RequestInfo};
use crate::line::Ended;
use crate::metrics::MOVED;
use crate::session::Session;
use crate::shard::mesh::Mail;
use crate::shard::{Core, Found, Shard};
use crate::web::compress::Accepted;
use crate::web::cors::{self, OriginPredicate, Verdict};
use crate::web::refused::ConnectionError;

/// Serves a connection that was accepted just now, or came from another shard, as a task of its own.
pub(crate) fn start<H: Handler>(shard: Rc<Shard<H>>, conn: Box<Conn<H::Session>>) {
    let tasks = shard.clone();
    tasks.core.tasks.spawn(serve(shard, conn, true));
}

/// Goes on with a connection whose last request was answered, as a task of its own.
pub(crate) fn resume<H: Handler>(shard: Rc<Shard<H>>, conn: Box<Conn<H::Session>>) {
    let tasks = shard.clone();
    tasks.core.tasks.spawn(serve(shard, conn, false));
}

/// What became of the connection after a request.
pub(crate) enum Next<T> {
    /// The answer is written; flush it and read on.
    Continue(Box<Conn<T>>, After),
    /// It ended, or went on in another task or shard.
    Gone,
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
        let request = understand(&shard.core, &mut conn, head);
        let after = request.after;
        let next = match request.what {
            What::Poll(session) => {
                conn.rx.skip(head);
                polling::poll(conn, session, after).await
            }
            What::Push(session) => {
                conn.rx.skip(head);
                polling::push(&shard, conn, session, request.body, after).await
            }
            What::Open { transport, base64, accept } => {
                let asked = open::Asked { transport, base64, accept, after };
                open::open(&shard, conn, head, asked).await
            }
            What::Upgrade { session, accept } => {
                open::upgrade(&shard, conn, session, head, &accept)
            }
            What::Elsewhere(owner) => {
                match conn.into_moved() {
                    Ok(moved) => {
                        shard.core.counters.add(MOVED, 0, 1);
                        shard.core.mesh.post(owner, Mail::Connection(moved));
                    }
                    Err(error) => tracing::warn!(%error, "a connection could not change its core"),
                }
                Next::Gone
            }
            What::Plain(accept) => {
                conn.rx.skip(head);
                open::switch_protocols(&mut conn, &accept);
                if let Some(on_plain) = shard.core.on_plain.clone() {
                    plain::start(&shard.core, conn, accept.deflate, on_plain);
                }
                Next::Gone
            }
            // Rare and large: not part of what every idle connection pays for.
            What::Other => Box::pin(other::answer(&shard, conn, head, request.body, after)).await,
            What::Refused(answer) => {
                conn.rx.skip(head);
                conn.reply(answer, after);
                Next::Continue(conn, after)
            }
            What::Denied { refusal, head_only } => {
                conn.rx.skip(head);
                conn.reply(Answer { head_only, ..Answer::refusal(&refusal) }, after);
                Next::Continue(conn, after)
            }
            What::Answered => {
                conn.rx.skip(head);
                Next::Continue(conn, after)
            }
        };
        let Next::Continue(back, after) = next else { return };
        conn = back;
        conn.fresh = false;
        if after == After::Close || shard.core.is_shut() {
            return conn.line.close_lingering().await;
        }
        if conn.flush().await.is_err() {
            return;
        }
        conn.stream().count_step();
        poll_fn(|cx| conn.stream().poll_turn(cx)).await;
    }
}

/// Reads up to the end of a request head and says how long it is.
async fn read_head<T>(conn: &mut Conn<T>, first: bool) -> Result<usize, Ended> {
    let max = conn.core.config.max_head_size;
    let mut scanner = HeadScanner::new();
    let mut begun = false;
    conn.rx.release();
    if first {
        conn.set_deadline(conn.core.config.head_timeout);
        if conn.rx.unread().is_empty() {
            conn.try_receive(1)?;
        }
    }
    loop {
        if !conn.rx.unread().is_empty() {
            if let Some(len) = scanner.poll(conn.rx.unread(), max).map_err(Ended::Bad)? {
                conn.set_idle(false);
                return Ok(len);
            }
            if !begun && !first {
                conn.set_deadline(conn.core.config.head_timeout);
            }
            begun = true;
        } else if !first {
            conn.set_deadline(conn.core.config.idle_timeout);
        }
        conn.set_idle(!begun);
        conn.receive(1).await?;
    }
}

/// Answers what is not a request; a connection that never sent anything is closed without a word.
async fn refuse_head<T>(mut conn: Box<Conn<T>>, ended: Ended) {
    let status = match ended {
        Ended::Bad(error) => error.status(),
        Ended::TimedOut if !conn.rx.unread().is_empty() => 408,
        // How most connections end: what they received into is not to be freed with them.
        Ended::TimedOut | Ended::Closed => return conn.release(),
    };
    conn.set_idle(false);
    // Whoever sent this has not said from which origin.
    conn.extra.clear();
    conn.reply(Answer::empty(status), After::Close);
    conn.line.close_lingering().await;
}

/// A request, decided upon.
struct Request<T> {
    what: What<T>,
    body: Body,
    after: After,
}

/// How the body of a request comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body {
    pub(crate) framing: Framing,
    pub(crate) expects_continue: bool,
}

enum What<T> {
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

impl<T> What<T> {
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
fn understand<T>(core: &Rc<Core<T>>, conn: &mut Conn<T>, len: usize) -> Request<T> {
    conn.extra.clear();
    conn.coding = None;
    let mut slots = Slots::new();
    let nothing = Body { framing: Framing::None, expects_continue: false };
    let refused = |status| Request {
        what: What::Refused(Answer::empty(status)),
        body: nothing,
        after: After::Close,
    };
    let Some(bytes) = conn.line.rx.unread().get(..len) else { return refused(400) };
    let head = match slots.parse(bytes, core.config.max_headers) {
        Ok(head) => head,
        Err(error) => return refused(error.status()),
    };
    let (framing, target) = match (head.framing(), Target::parse(head.target)) {
        (Ok(framing), Ok(target)) => (framing, target),
        (Err(error), _) | (_, Err(error)) => return refused(error.status()),
    };
    let body = Body { framing, expects_continue: head.expects_continue() };
    let after = After::new(head.keep_alive() && !core.is_shutting_down(), head.minor_version);
    let is_engine_io = core.is_engine_path(target.path);
    let info = core.info(head, conn.line.stream(), conn.peer);
    let refused = Cell::new(None);
    let (what, preflight) = if is_engine_io {
        let (what, preflight) = engine_io(core, &info, target.query, &mut conn.extra, &refused);
        (guard(core, &info, what, &refused), preflight)
    } else if core.on_plain.is_some() && asks_for_websocket(&head) {
        (plain_websocket(core, &info), None)
    } else {
        (What::Other, None)
    };
    let has_body = !matches!(framing, Framing::None | Framing::Length(0));
    let what = what.adapt(has_body, head.method == "HEAD");
    let after = if has_body && !what.reads_body() { After::Close } else { after };
    if core.config.http_compression && what.is_answered_with_content() {
        conn.coding = Accepted::new(&head.headers).made();
    }
    let allowed = !conn.extra.is_empty();
    if let Some(add) = &core.hooks.headers
        && is_engine_io
        && !matches!(what, What::Elsewhere(_))
    {
        core.add_headers(&mut conn.extra, |headers| add(&info, headers));
    }
    if let Some(error) = refused.get() {
        core.hooks.report(&info, error);
    }
    if let Some(preflight) = preflight {
        let extra = std::mem::take(&mut conn.extra);
        let wanted = allowed.then_some(&*preflight);
        let date = core.date();
        cors::write_preflight(conn.answer(), wanted, &date, &extra, after);
        conn.extra = extra;
    }
    Request { what, body, after }
}

/// What a preflight wants to send, if the request is one.
type Preflight = Option<Vec<u8>>;

/// Decides about a request for Engine.IO's own path. `refused` is why, if it is.
fn engine_io<T>(
    core: &Rc<Core<T>>,
    request: &RequestInfo<'_>,
    query: &str,
    extra: &mut Vec<u8>,
    refused: &Cell<Option<ConnectionError>>,
) -> (What<T>, Preflight) {
    let refuse = |error: ConnectionError, answer| {
        refused.set(Some(error));
        What::Refused(answer)
    };
    let reject = |reject: Reject| refuse(reject.into(), Answer::reject(reject));
    let head = &request.head;
    match judge_origin(core, request) {
        Verdict::Silent => {}
        Verdict::Allowed(origin) => {
            cors::write_allowed(extra, origin, core.config.cors_credentials);
        }
        // python-engineio and engine.io both answer 400, before anything else is looked at.
        Verdict::Refused => {
            let answer = Answer::reject(Reject::BadRequest);
            return (refuse(ConnectionError::InvalidOrigin, answer), None);
        }
    }
    let websocket = asks_for_websocket(head);
    let meaning = match classify(head.method, query, websocket, core.config.transports) {
        Ok(meaning) => meaning,
        Err(no) => return (reject(no), None),
    };
    let find = |sid| match core.find(sid) {
        Found::Here(session) => Ok(session),
        Found::Elsewhere(shard) => Err(What::Elsewhere(shard)),
        Found::Nowhere => Err(reject(Reject::UnknownSid)),
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
    let what = match &meaning.intent {
        Intent::Preflight if core.config.cors == cors::Cors::Off => {
            reject(Reject::BadHandshakeMethod)
        }
        Intent::Preflight => {
            let wanted = head.headers.get("access-control-request-headers").unwrap_or_default();
            return (What::Answered, Some(wanted.to_vec()));
        }
        // JSONP: no current client asks for it, and answering scripts to other origins is a hole.
        _ if meaning.jsonp.is_some() => reject(Reject::BadRequest),
        Intent::Handshake(_) if core.is_shutting_down() => unavailable(Answer::empty(503)),
        Intent::Handshake(_) if !core.admits_handshake() => unavailable(BUSY),
        Intent::Handshake(Transport::Polling) => What::Open {
            transport: Transport::Polling,
            base64: meaning.base64,
            accept: Accept::default(),
        },
        Intent::Handshake(Transport::WebSocket) => match accept(core, head) {
            Ok(accept) => {
                What::Open { transport: Transport::WebSocket, base64: meaning.base64, accept }
            }
            Err(answer) => bad_handshake(answer),
        },
        Intent::Poll(sid) => find(sid).map(polled).map_or_else(|other| other, What::Poll),
        Intent::Push(sid) => find(sid).map(polled).map_or_else(|other| other, What::Push),
        Intent::Upgrade(_) if !core.config.allow_upgrades => reject(Reject::BadRequest),
        Intent::Upgrade(sid) => match (find(sid), accept(core, head)) {
            (Ok(session), Ok(accept)) => What::Upgrade { session, accept },
            (Ok(_), Err(answer)) => bad_handshake(answer),
            (Err(other), _) => other,
        },
    };
    (what, None)
}

/// Asks the application about a request: once, on the core that answers it, and not about what other origins try.
fn guard<T>(
    core: &Core<T>,
    request: &RequestInfo<'_>,
    what: What<T>,
    refused: &Cell<Option<ConnectionError>>,
) -> What<T> {
    let not_asked = matches!(what, What::Elsewhere(_) | What::Answered)
        || refused.get() == Some(ConnectionError::InvalidOrigin);
    if core.hooks.middlewares.is_empty() || not_asked {
        return what;
    }
    match core.hooks.admit(request) {
        Ok(()) => what,
        Err(refusal) => {
            refused.set(Some(ConnectionError::Middleware));
            What::Denied { refusal, head_only: false }
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

/// What a 101 says about the request it answers.
#[derive(Default)]
pub(crate) struct Accept {
    /// `Sec-WebSocket-Accept`.
    pub(crate) key: [u8; 28],
    /// The first subprotocol offered, if any is: engine.io's choice. To choose none would fail the connection in
    /// browsers, and nothing here depends on it.
    pub(crate) protocol: Option<Box<str>>,
    /// How messages are compressed.
    pub(crate) deflate: Option<Terms>,
}

/// Checks the opening handshake of RFC 6455 4.2.1 and gives what accepts it.
fn accept<T>(core: &Core<T>, head: &RequestHead<'_, '_>) -> Result<Accept, Answer<'static>> {
    let offer = handshake::check_request(head.method, head.minor_version, head.headers.iter());
    let offer =
        offer.map_err(|no| Answer { headers: no.headers(), ..Answer::empty(no.status()) })?;
    let deflate = match &core.config.per_message_deflate {
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
fn plain_websocket<T>(core: &Core<T>, request: &RequestInfo<'_>) -> What<T> {
    match judge_origin(core, request) {
        Verdict::Refused => What::Refused(Answer::empty(403)),
        Verdict::Silent | Verdict::Allowed(_) => {
            accept(core, &request.head).map_or_else(What::Refused, What::Plain)
        }
    }
}

fn judge_origin<'r, T>(core: &Core<T>, request: &RequestInfo<'r>) -> Verdict<'r> {
    let secure = request.carrier.is_secure();
    let ask = |predicate: &OriginPredicate, origin: &str| predicate.allows(origin, request);
    core.config.cors.judge(&request.head.headers, secure, ask)
}

impl<T> Core<T> {
    /// Whether one more session may be asked for in this second.
    fn admits_handshake(&self) -> bool {
        let max = self.config.max_handshakes_per_second;
        max.is_none_or(|max| self.mesh.handshakes.admit(max))
    }

    /// Whether `path` is the configured one, with or without its last slash.
    fn is_engine_path(&self, path: &str) -> bool {
        let trim = |path| str::strip_suffix(path, '/').unwrap_or(path).len();
        let ours = &self.config.path;
        path[..trim(path)] == ours[..trim(ours)]
    }
}
