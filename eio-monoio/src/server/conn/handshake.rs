//! The handshake of a session over either transport, and the upgrade of one to WebSocket.

use std::cell::OnceCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use eio_core::http::{RequestHead, WriteError, header_line};
use eio_core::session::Lane;
use eio_core::sid::Sid;
use eio_core::transport::Transport;
use eio_core::ws::{CloseCode, encode_close};
use http::HeaderMap;

use crate::io::stream::Stream;
use crate::message::{OutBuf, never_full};
use crate::metrics::{HANDSHAKE, HandlerCall, by};
use crate::server::cause::{Cause, Subject};
use crate::server::conn::head_ranges::HeadRanges;
use crate::server::conn::header_slots::FieldSlots;
use crate::server::conn::reply::UNAVAILABLE;
use crate::server::conn::request::{Accept, Next, POOLED, Resume};
use crate::server::conn::{Conn, dispatch, polling, websocket};
use crate::server::connection_error::{ConnectionError, Refused};
use crate::server::handler::Handler;
use crate::server::hooks::{self, GenerateId};
use crate::server::refusal::Refusal;
use crate::server::request::{ConnectRequest, KeptRequest};
use crate::server::session::{NewSession, Session};
use crate::server::shard::registry::NoSid;
use crate::server::shard::{Shard, ShardState};
use crate::server::via::Via;
use crate::web::persistence::Persistence;
use crate::web::proxy;
use crate::web::request::{Attached, RequestInfo};
use crate::worker::clock;
use crate::worker::future_pool::{FuturePool, Pooled};
use crate::worker::tasks::{Guarded, Stopped};

/// A request for a new session.
pub(crate) struct SessionRequest<H: Handler> {
    pub(crate) transport: Transport,
    pub(crate) base64: bool,
    /// For a WebSocket only.
    pub(crate) accept: Accept,
    pub(crate) head: HeadRanges,
    pub(crate) persistence: Persistence,
    pub(crate) resume: Resume<H>,
}

/// Calls the application's [`Handler::connect`] and opens the session (docs/protocol.md 2.1).
pub(crate) fn open<H: Handler>(
    shard: &Rc<Shard<H>>,
    mut conn: Box<Conn<H::Session>>,
    request: SessionRequest<H>,
) -> HandshakeFuture<H> {
    // `connect` may await for long, and the head is mostly much smaller than the receive buffer.
    conn.shrink_rx();
    let pool = shard.state.per_worker::<HandshakePool<H>>();
    let started = clock::now();
    pool.0.run(HandshakeArgs { shard: shard.clone(), conn, request, started }, perform)
}

/// The arguments of [`perform`].
pub(crate) struct HandshakeArgs<H: Handler> {
    shard: Rc<Shard<H>>,
    conn: Box<Conn<H::Session>>,
    request: SessionRequest<H>,
    started: Instant,
}

/// Futures of handshakes. They are large, and a connection needs one for a short time.
struct HandshakePool<H: Handler>(Rc<FuturePool<HandshakeArgs<H>, Next<H::Session>>>);

impl<H: Handler> Default for HandshakePool<H> {
    fn default() -> Self {
        Self(FuturePool::new(POOLED))
    }
}

type HandshakeFuture<H> = Pooled<HandshakeArgs<H>, Next<<H as Handler>::Session>>;

async fn perform<H: Handler>(args: HandshakeArgs<H>) -> Next<H::Session> {
    let HandshakeArgs { shard, mut conn, request, started } = args;
    let shard = &shard;
    let SessionRequest { transport, base64, persistence, .. } = request;
    let connected = connect(shard, &mut conn, &request.head, transport, started).await;
    conn.rx.skip(request.head.len());
    let Connected { data, peer, sid, request: kept } = match connected {
        Ok(connected) => connected,
        Err(refusal) => {
            conn.reply_refusal(&refusal, false, persistence);
            return Next::Continue(conn, persistence);
        }
    };
    if shard.state.refuses_handshakes() {
        // The shutdown began during `connect`, and would have to wait for a new session.
        conn.log(Cause::ShuttingDown, "");
        conn.reply(UNAVAILABLE, Persistence::Close);
        return Next::Continue(conn, Persistence::Close);
    }
    let new = NewSession { transport, base64, peer, sid, data, request: kept };
    let session = match shard.state.open(new) {
        Ok(session) => session,
        Err(NoSid::Taken) => {
            conn.reply_refusal(&Refusal::bad_request(), false, persistence);
            return Next::Continue(conn, persistence);
        }
        Err(error @ NoSid::Random(_)) => {
            crate::log::error!(%error, "a session could not be opened");
            conn.reply(UNAVAILABLE, Persistence::Close);
            return Next::Continue(conn, Persistence::Close);
        }
    };
    if shard.state.is_shutting_down() {
        // It opens and closes: the client connects again, to another process.
        session.close();
    }
    shard.state.counters.observe(HANDSHAKE, by(transport), clock::now().duration_since(started));
    crate::log::debug!(client = %Subject::Session(&session.sid, session.peer()), %transport, "session opened");
    match transport {
        Transport::Polling => open_polling(shard, conn, session, persistence, request.resume).await,
        Transport::WebSocket => {
            switch_protocols(&mut conn, &request.accept);
            let deflate = request.accept.deflate;
            websocket::start(shard.clone(), conn, session, websocket::Start::Session, deflate);
            Next::Gone
        }
    }
}

/// Answers the handshake of a polling session with the open packet, and calls [`Handler::open`].
async fn open_polling<H: Handler>(
    shard: &Rc<Shard<H>>,
    mut conn: Box<Conn<H::Session>>,
    session: Rc<Session<H::Session>>,
    persistence: Persistence,
    resume: Resume<H>,
) -> Next<H::Session> {
    if let Some(cookie) = &shard.state.config.cookie
        && !cookie.write(&mut conn.extra, &session.sid)
    {
        crate::log::error!(sid = %session.sid, "the value of the cookie is not legal; no cookie is set");
    }
    if polling::respond(&mut conn, &session, persistence).await.is_err() {
        session.lost(Lane::Get);
        return Next::Gone;
    }
    let mut opening = pin!(dispatch::call_open(shard, &session));
    if dispatch::poll_once(shard, &session, opening.as_mut()).await.is_ready() {
        return polling::send(conn, session.clone(), persistence).await;
    }
    // The response does not wait for the handler.
    let sending = {
        let (shard, session) = (shard.clone(), session.clone());
        async move {
            match polling::send(conn, session, persistence).await {
                Next::Continue(mut conn, Persistence::Close) => conn.close_lingering().await,
                Next::Continue(conn, _) => resume(shard, conn),
                Next::Gone => {}
            }
        }
    };
    shard.state.tasks.spawn(sending);
    dispatch::drain_inbox(shard, &session, opening).await;
    Next::Gone
}

/// The result of [`Handler::connect`] and of the hooks that follow it.
struct Connected<T> {
    data: Guarded<T>,
    peer: Option<SocketAddr>,
    /// From [`Server::generate_id`](crate::Server::generate_id), if it is set.
    sid: Option<Sid>,
    /// With [`keep_request`](crate::Config::keep_request).
    request: Option<Box<KeptRequest>>,
}

/// Calls [`Handler::connect`] with its timeout, then the hooks of an accepted session.
async fn connect<H: Handler>(
    shard: &Shard<H>,
    conn: &mut Conn<H::Session>,
    head: &HeadRanges,
    transport: Transport,
    started: Instant,
) -> Result<Connected<H::Session>, Refusal> {
    let mut slots = FieldSlots::new();
    let head = head.head(conn.http.rx.unread(), &mut slots);
    let attached = std::mem::take(&mut conn.attached);
    let info = shard.state.info(head, conn.http.stream(), conn.peer, &conn.via);
    let request = ConnectRequest { info: RequestInfo { attached, ..info }, transport };
    let (tasks, hooks) = (&shard.state.tasks, &shard.state.hooks);
    let connecting = tasks.start(|| shard.handler.connect(&request));
    let outcome = before_session(&shard.state, conn, connecting).await;
    shard.state.count_time(HandlerCall::Connect, started);
    let refuse = |error, refusal: Refusal| {
        hooks.report(&request, Refused { error, refusal: Some(&refusal) });
        Err(refusal)
    };
    let connected = match outcome {
        Ok(Ok(data)) => {
            let data = Guarded::new(data);
            match generate_id(&shard.state, conn, &request).await {
                Ok(sid) => Ok((data, sid)),
                Err(UnusableSid) => {
                    conn.log(Cause::SidGeneration, "");
                    refuse(ConnectionError::IdGeneration, Refusal::bad_request())
                }
            }
        }
        Ok(Err(refusal)) => {
            conn.log(Cause::Forbidden, &refusal);
            refuse(ConnectionError::Forbidden, refusal)
        }
        Err(Stopped::Panicked) => {
            crate::log::error!("handler panicked in connect; the session is refused");
            refuse(ConnectionError::Unavailable, Refusal::broken())
        }
        Err(Stopped::Aborted) => {
            conn.log(stop_cause(&shard.state, Cause::ConnectTimeout), "");
            refuse(ConnectionError::Unavailable, Refusal::unavailable())
        }
    };
    hooks::write_attached(&mut conn.extra, &request);
    let (data, sid) = connected?;
    if let Some(add) = &hooks.initial {
        shard.state.add_headers(&mut conn.extra, |headers| add(&request, headers));
    }
    let kept = shard.state.config.keep_request.then(|| KeptRequest::new(&request));
    Ok(Connected { data, peer: request.info.peer, sid, request: kept })
}

/// Runs a future of the application before its session exists, for at most
/// [`connect_timeout`](crate::Config::connect_timeout), and in a shutdown until the worker stops waiting.
pub(super) async fn before_session<T, O>(
    state: &ShardState<T>,
    conn: &Conn<T>,
    future: impl Future<Output = Result<O, Stopped>>,
) -> Result<O, Stopped> {
    let mut future = pin!(future);
    // Most are ready at once, and need no deadline.
    if let Poll::Ready(outcome) = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
        return outcome;
    }
    let mut limited = pin!(conn.limit(state.config.connect_timeout, future));
    poll_fn(|cx| {
        if let Poll::Ready(outcome) = limited.as_mut().poll(cx) {
            state.forget_ended_handler(cx);
            return Poll::Ready(outcome.unwrap_or(Err(Stopped::Aborted)));
        }
        state.poll_stopped_waiting(cx).map(|()| Err(Stopped::Aborted))
    })
    .await
}

/// Why [`before_session`] has not completed: `timeout`, or the shutdown.
pub(super) fn stop_cause<T>(state: &ShardState<T>, timeout: Cause) -> Cause {
    if state.has_stopped_waiting() { Cause::ShuttingDown } else { timeout }
}

/// The application generated a sid that is illegal or in use, or panicked.
struct UnusableSid;

/// Calls [`Server::generate_id`](crate::Server::generate_id), if it is set.
async fn generate_id<T>(
    state: &ShardState<T>,
    conn: &Conn<T>,
    request: &ConnectRequest<'_>,
) -> Result<Option<Sid>, UnusableSid> {
    let generated = match &state.hooks.ids {
        None => return Ok(None),
        Some(GenerateId::Sync(generate)) => state.tasks.call(|| generate(request)),
        Some(GenerateId::Async(generate)) => {
            let generating = state.tasks.start(|| generate.generate(request));
            before_session(state, conn, generating).await
        }
    };
    let Ok(Ok(sid)) = generated else {
        crate::log::error!(stopped = ?generated.err(), "the application generated no legal sid");
        return Err(UnusableSid);
    };
    let Ok(sid) = state.shared.key.tagged(sid.as_str()) else {
        crate::log::error!(%sid, "the generated sid is too long with the tag");
        return Err(UnusableSid);
    };
    // Another worker may still register the same sid before the session is opened; `ShardState::open` fails then.
    if state.shared.route(&sid).is_some() {
        crate::log::warn!(%sid, "the application generated a sid that is in use");
        return Err(UnusableSid);
    }
    Ok(Some(sid))
}

/// Requests as the application reads them, and the header lines that it adds.
impl<T> ShardState<T> {
    pub(crate) fn info<'r>(
        &self,
        head: RequestHead<'r, 'r>,
        stream: &'r Stream,
        peer: Option<SocketAddr>,
        via: &'r Via,
    ) -> RequestInfo<'r> {
        let by = self.config.forwarded_by;
        let peer = if self.trusted.is_empty() {
            peer
        } else {
            proxy::client(peer, &head.headers, &self.trusted, by)
        };
        let (secure, certificate) = (via.is_secure(stream), via.peer_certificate(stream));
        let (attached, cookies) = (Attached::default(), OnceCell::new());
        RequestInfo { head, peer, secure, certificate, attached, cookies }
    }

    /// Appends the header lines that `add`, a hook of the application, inserts.
    pub(crate) fn add_headers(&self, lines: &mut Vec<u8>, add: impl FnOnce(&mut HeaderMap)) {
        let mut headers = HeaderMap::new();
        match self.tasks.call(|| add(&mut headers)) {
            Ok(()) => hooks::write_lines(lines, &headers),
            Err(_) => crate::log::error!("the application panicked while adding headers"),
        }
    }
}

/// Accepts a WebSocket for a session that polling carries (docs/protocol.md 2.7).
pub(crate) fn upgrade<H: Handler>(
    shard: &Rc<Shard<H>>,
    mut conn: Box<Conn<H::Session>>,
    session: Rc<Session<H::Session>>,
    accept: &Accept,
) -> Next<H::Session> {
    switch_protocols(&mut conn, accept);
    if session.attach(Lane::WebSocket).is_err() {
        // Accepted, then closed: engine.io does so, and its test suite expects it. The session's own WebSocket is not
        // affected (docs/protocol.md 2.6.9).
        never_full(encode_close(&mut conn.out, Some(CloseCode::POLICY), "", None));
        return Next::Continue(conn, Persistence::Close);
    }
    websocket::start(shard.clone(), conn, session, websocket::Start::Probe, accept.deflate);
    Next::Gone
}

/// Writes the server's opening handshake (RFC 6455 section 4.2.2).
pub(crate) fn switch_protocols<T>(conn: &mut Conn<T>, accept: &Accept) {
    const START: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\
        Upgrade: websocket\r\n\
        Connection: Upgrade\r\n\
        Sec-WebSocket-Accept: ";
    conn.set_status(101);
    let extra = std::mem::take(&mut conn.extra);
    let write = |out: &mut OutBuf| -> Result<(), WriteError> {
        if let Some(protocol) = &accept.protocol {
            header_line(out, "Sec-WebSocket-Protocol", &[protocol])?;
        }
        if let Some(deflate) = &accept.deflate {
            header_line(out, "Sec-WebSocket-Extensions", &[&deflate.to_string()])?;
        }
        Ok(())
    };
    let out = conn.out_mut();
    for part in [START, &accept.key, b"\r\n"] {
        out.0.extend_from_slice(part);
    }
    let written = write(out);
    debug_assert!(written.is_ok(), "a token and constants");
    for part in [&*extra, b"\r\n"] {
        out.0.extend_from_slice(part);
    }
}
