//! Sessions begin here, over either transport, and upgrades.

use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;

use eio_core::http::{RequestHead, WriteError, response};
use eio_core::session::Lane;
use eio_core::sid::Sid;
use eio_core::transport::Transport;
use eio_core::ws::{CloseCode, encode_close};
use http::HeaderMap;

use crate::io::stream::Stream;
use crate::message::{OutBuf, never_full};
use crate::server::conn::head_ranges::HeadRanges;
use crate::server::conn::header_slots::HeaderSlots;
use crate::server::conn::reply::Answer;
use crate::server::conn::request::{Accept, KEPT, Next, Resume};
use crate::server::conn::{Conn, dispatch, polling, websocket};
use crate::server::connection_error::ConnectionError;
use crate::server::handler::Handler;
use crate::server::hooks;
use crate::server::request::{ConnectRequest, Refusal};
use crate::server::session::{Origin, Session};
use crate::server::shard::registry::NoSid;
use crate::server::shard::{Shard, ShardState};
use crate::web::persistence::Persistence;
use crate::web::proxy;
use crate::web::request::RequestInfo;
use crate::worker::future_pool::{FuturePool, Pooled};
use crate::worker::tasks::{Guarded, Stopped};

/// A session that a request asks for.
pub(crate) struct SessionRequest<H: Handler> {
    pub(crate) transport: Transport,
    pub(crate) base64: bool,
    /// For a WebSocket.
    pub(crate) accept: Accept,
    pub(crate) head: HeadRanges,
    pub(crate) after: Persistence,
    pub(crate) resume: Resume<H>,
}

/// Asks the application and opens the session (protocol 2.1).
pub(crate) fn open<H: Handler>(
    shard: &Rc<Shard<H>>,
    mut conn: Box<Conn<H::Session>>,
    asked: SessionRequest<H>,
) -> Handshake<H> {
    // The application may take its time with the request, which is mostly much smaller than what it came in.
    conn.shrink_rx();
    let pool = shard.state.per_worker::<Handshakes<H>>();
    pool.0.run(Opening { shard: shard.clone(), conn, asked }, opened)
}

/// What a handshake takes.
pub(crate) struct Opening<H: Handler> {
    shard: Rc<Shard<H>>,
    conn: Box<Conn<H::Session>>,
    asked: SessionRequest<H>,
}

/// The memory of handshakes: much of it, for a short time.
struct Handshakes<H: Handler>(Rc<FuturePool<Opening<H>, Next<H::Session>>>);

impl<H: Handler> Default for Handshakes<H> {
    fn default() -> Self {
        Self(FuturePool::new(KEPT))
    }
}

type Handshake<H> = Pooled<Opening<H>, Next<<H as Handler>::Session>>;

async fn opened<H: Handler>(opening: Opening<H>) -> Next<H::Session> {
    let Opening { shard, mut conn, asked } = opening;
    let shard = &shard;
    let Accepted { data, peer, sid } =
        match connect(shard, &mut conn, &asked.head, asked.transport).await {
            Ok(accepted) => accepted,
            Err(refusal) => {
                conn.rx.skip(asked.head.len());
                conn.reply(Answer::refusal(&refusal), asked.after);
                return Next::Continue(conn, asked.after);
            }
        };
    conn.rx.skip(asked.head.len());
    if shard.state.is_shutting_down() {
        // It began while the application made up its mind: a new session would only be in its way.
        conn.reply(Answer::empty(503), Persistence::Close);
        return Next::Continue(conn, Persistence::Close);
    }
    let origin = Origin { transport: asked.transport, base64: asked.base64, peer, sid, data };
    let session = match shard.state.open(origin) {
        Ok(session) => session,
        Err(NoSid::Taken) => {
            conn.reply(Answer::refusal(&Refusal::bad_request()), asked.after);
            return Next::Continue(conn, asked.after);
        }
        Err(error @ NoSid::Random(_)) => {
            tracing::error!(%error, "a session could not be opened");
            conn.reply(Answer::empty(503), Persistence::Close);
            return Next::Continue(conn, Persistence::Close);
        }
    };
    tracing::debug!(sid = %session.sid, transport = %asked.transport, "session opened");
    match asked.transport {
        Transport::Polling => open_polling(shard, conn, session, asked.after, asked.resume).await,
        Transport::WebSocket => {
            switch_protocols(&mut conn, &asked.accept);
            let deflate = asked.accept.deflate;
            websocket::start(shard.clone(), conn, session, websocket::Begin::Open, deflate);
            Next::Gone
        }
    }
}

/// The first response of a polling session holds the open packet and nothing else.
async fn open_polling<H: Handler>(
    shard: &Rc<Shard<H>>,
    mut conn: Box<Conn<H::Session>>,
    session: Rc<Session<H::Session>>,
    after: Persistence,
    resume: Resume<H>,
) -> Next<H::Session> {
    if let Some(cookie) = &shard.state.config.cookie
        && !cookie.write(&mut conn.extra, &session.sid)
    {
        tracing::error!(sid = %session.sid, "the cookie's value is not legal; none is set");
    }
    if polling::respond(&mut conn, &session, after).await.is_err() {
        session.lost(Lane::Get);
        return Next::Gone;
    }
    let mut opened = pin!(dispatch::opened(shard, &session));
    if dispatch::begin(shard, &session, opened.as_mut()).await.is_ready() {
        return polling::send(conn, session.clone(), after).await;
    }
    // The client is not kept waiting for the application's welcome.
    let sending = {
        let (shard, session) = (shard.clone(), session.clone());
        async move {
            match polling::send(conn, session, after).await {
                Next::Continue(mut conn, Persistence::Close) => conn.http.close_lingering().await,
                Next::Continue(conn, _) => resume(shard, conn),
                Next::Gone => {}
            }
        }
    };
    shard.state.tasks.spawn(sending);
    dispatch::drain_inbox(shard, &session, opened).await;
    Next::Gone
}

/// What the application makes of a request.
struct Accepted<T> {
    data: Guarded<T>,
    peer: Option<SocketAddr>,
    /// If it makes that, too.
    sid: Option<Sid>,
}

/// Runs the application's `connect` within its time.
async fn connect<H: Handler>(
    shard: &Shard<H>,
    conn: &mut Conn<H::Session>,
    head: &HeadRanges,
    transport: Transport,
) -> Result<Accepted<H::Session>, Refusal> {
    let mut slots = HeaderSlots::new();
    let head = head.head(conn.http.rx.unread(), &mut slots);
    let info = shard.state.info(head, conn.http.stream(), conn.peer);
    let request = ConnectRequest { info, transport };
    let tasks = &shard.state.tasks;
    let hooks = &shard.state.hooks;
    let connecting = tasks.start(|| shard.handler.connect(&request));
    let outcome = conn.limit(shard.state.config.connect_timeout, connecting).await;
    match outcome.unwrap_or(Err(Stopped::Aborted)) {
        Ok(Ok(data)) => {
            let data = Guarded::new(data);
            let sid = match generate_id(&shard.state, &request) {
                Ok(sid) => sid,
                Err(NoUsableId) => {
                    hooks.report(&request, ConnectionError::IdGeneration);
                    return Err(Refusal::bad_request());
                }
            };
            if let Some(add) = &hooks.initial {
                shard.state.add_headers(&mut conn.extra, |headers| add(&request, headers));
            }
            Ok(Accepted { data, peer: request.info.peer, sid })
        }
        Ok(Err(refusal)) => {
            hooks.report(&request, ConnectionError::Forbidden);
            Err(refusal)
        }
        Err(Stopped::Panicked) => {
            tracing::error!("handler panicked in connect; the session is refused");
            hooks.report(&request, ConnectionError::Unavailable);
            Err(Refusal::broken())
        }
        Err(Stopped::Aborted) => {
            hooks.report(&request, ConnectionError::Unavailable);
            Err(Refusal::unavailable())
        }
    }
}

/// The application has made no identifier, or none that can be used.
struct NoUsableId;

/// Has the application make an identifier, if it does that.
fn generate_id<T>(
    state: &ShardState<T>,
    request: &ConnectRequest<'_>,
) -> Result<Option<Sid>, NoUsableId> {
    let Some(make) = &state.hooks.ids else { return Ok(None) };
    let made = state.tasks.call(|| make(request));
    let Ok(Ok(sid)) = made else {
        tracing::error!(panicked = made.is_err(), "the application made no legal sid");
        return Err(NoUsableId);
    };
    // Another core may take it still, before the session is opened: that is refused then.
    if state.shared.route(&sid).is_some() {
        tracing::warn!(%sid, "the application made a sid that is in use");
        return Err(NoUsableId);
    }
    Ok(Some(sid))
}

/// What the application may look at, and add.
impl<T> ShardState<T> {
    pub(crate) fn info<'r>(
        &self,
        head: RequestHead<'r, 'r>,
        stream: &'r Stream,
        peer: Option<SocketAddr>,
    ) -> RequestInfo<'r> {
        let by = self.config.forwarded_by;
        let peer = if self.trusted.is_empty() {
            peer
        } else {
            proxy::client(peer, &head.headers, &self.trusted, by)
        };
        let (secure, certificate) = (stream.is_secure(), stream.peer_certificate());
        RequestInfo { head, peer, secure, certificate }
    }

    /// Appends the lines that a function of the application's makes.
    pub(crate) fn add_headers(&self, lines: &mut Vec<u8>, add: impl FnOnce(&mut HeaderMap)) {
        let mut headers = HeaderMap::new();
        match self.tasks.call(|| add(&mut headers)) {
            Ok(()) => hooks::write_lines(lines, &headers),
            Err(_) => tracing::error!("the application panicked while adding headers"),
        }
    }
}

/// Takes a WebSocket for a session that polling carries so far (protocol 2.7).
pub(crate) fn upgrade<H: Handler>(
    shard: &Rc<Shard<H>>,
    mut conn: Box<Conn<H::Session>>,
    session: Rc<Session<H::Session>>,
    accept: &Accept,
) -> Next<H::Session> {
    switch_protocols(&mut conn, accept);
    if session.attach(Lane::WebSocket).is_err() {
        // As the reference does, and as its test suite expects: accepted, then closed. The session's own
        // WebSocket is not disturbed (protocol 2.6.9).
        never_full(encode_close(&mut conn.out, Some(CloseCode::POLICY), "", None));
        return Next::Continue(conn, Persistence::Close);
    }
    websocket::start(shard.clone(), conn, session, websocket::Begin::Probe, accept.deflate);
    Next::Gone
}

/// RFC 6455 4.2.2: the server's part of the opening handshake.
pub(crate) fn switch_protocols<T>(conn: &mut Conn<T>, accept: &Accept) {
    let extra = std::mem::take(&mut conn.extra);
    let key = str::from_utf8(&accept.key).unwrap_or_default();
    let write = |out: &mut OutBuf| -> Result<(), WriteError> {
        let mut head = response(out, 101)?
            .raw(b"Upgrade: websocket\r\nConnection: Upgrade\r\n")?
            .header("Sec-WebSocket-Accept", key)?;
        if let Some(protocol) = &accept.protocol {
            head = head.header("Sec-WebSocket-Protocol", protocol)?;
        }
        if let Some(deflate) = &accept.deflate {
            head = head.header("Sec-WebSocket-Extensions", &deflate.to_string())?;
        }
        head.raw(&extra)?.end()
    };
    let written = write(conn.out_mut());
    debug_assert!(written.is_ok(), "base64, a token, constants and lines that were checked");
}
