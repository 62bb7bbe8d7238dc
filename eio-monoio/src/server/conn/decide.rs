//! [`decide`]: what a request asks for, and whether it is refused. It writes nothing; the loop of the connection acts.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use eio_core::http::{RequestHead, Target};
use eio_core::request::{Intent, Reject, classify};
use eio_core::transport::Transport;
use eio_core::ws::handshake;

use crate::server::cause::Cause;
use crate::server::conn::head_ranges::HeadRanges;
use crate::server::conn::reason::Reason;
#[cfg(feature = "nats")]
use crate::server::conn::relay::Away;
use crate::server::conn::reply::{Answer, TOO_MANY_HANDSHAKES_OF_ADDRESS, UNAVAILABLE};
use crate::server::conn::request::Accept;
use crate::server::conn::{Body, away};
use crate::server::connection_error::ConnectionError;
use crate::server::refusal::Refusal;
use crate::server::session::Session;
use crate::server::shard::{SessionLocation, ShardState};
use crate::server::via::Via;
use crate::web::cors::{self, OriginPredicate, Verdict};
use crate::web::request::RequestInfo;

/// The result of [`decide`].
pub(super) struct Decision<'r, T> {
    pub(super) action: Action<T>,
    /// Whether the request is for Engine.IO's path.
    pub(super) is_engine_io: bool,
    /// For Engine.IO's path: the decision of the CORS policy.
    pub(super) origin: Verdict<'r>,
    /// The reason, if the request is refused.
    pub(super) refused: Option<Reason>,
}

pub(super) enum Action<T> {
    /// A GET of a session.
    Poll(Rc<Session<T>>),
    /// A POST of a session.
    Push(Rc<Session<T>>),
    /// A handshake.
    Open { transport: Transport, base64: bool, accept: Accept, head: HeadRanges },
    /// A WebSocket for a polling session.
    Upgrade { session: Rc<Session<T>>, accept: Accept },
    /// A request for a session of this other worker.
    Elsewhere(u16),
    /// A request for another node of the cluster.
    #[cfg(feature = "nats")]
    Away(Away),
    /// A request for a file or a route of the application.
    Application(HeadRanges),
    /// A WebSocket that is not Engine.IO's.
    RawWebSocket(Accept),
    /// Refused by the protocol or the options.
    Refused(Answer<'static>),
    /// Refused by a middleware.
    Denied { refusal: Refusal, head_only: bool },
    /// Something else, if middlewares that await admit it.
    Ask(Ask<T>),
    /// A CORS preflight that asks for these headers; `None` if its origin is not allowed.
    Preflight(Option<Vec<u8>>),
}

/// A request about which middlewares that await have to decide.
pub(super) struct Ask<T> {
    pub(super) then: Box<Action<T>>,
    /// The reason, if `then` refuses.
    pub(super) refused: Option<Reason>,
    pub(super) head: HeadRanges,
}

impl<T> Action<T> {
    /// Applies the rules that depend on the body and on HEAD only.
    fn adapt(self, has_body: bool, is_head: bool) -> Self {
        match self {
            // Its body would be parsed as frames.
            action if has_body && action.is_websocket() => {
                Self::Refused(Answer::reject(Reject::BadRequest))
            }
            Self::Refused(answer) => Self::Refused(Answer { head_only: is_head, ..answer }),
            Self::Denied { refusal, .. } => Self::Denied { refusal, head_only: is_head },
            Self::Ask(ask) => {
                let refused = ask.refused.or(ask.then.refuses_body(has_body));
                let then = Box::new(ask.then.adapt(has_body, is_head));
                Self::Ask(Ask { then, refused, ..ask })
            }
            other => other,
        }
    }

    /// The reason for which [`adapt`](Self::adapt) refuses the request, if `has_body`.
    fn refuses_body(&self, has_body: bool) -> Option<Reason> {
        let reason = Reason::new(ConnectionError::BadRequest, Cause::UpgradeWithBody);
        match self {
            Self::RawWebSocket(_) if has_body => Some(reason.elsewhere()),
            _ if has_body && self.is_websocket() => Some(reason),
            _ => None,
        }
    }

    /// Whether another worker or node decides about the request.
    pub(super) fn is_decided_elsewhere(&self) -> bool {
        match self {
            Self::Elsewhere(_) => true,
            #[cfg(feature = "nats")]
            Self::Away(_) => true,
            _ => false,
        }
    }

    /// Whether the connection becomes a WebSocket.
    fn is_websocket(&self) -> bool {
        matches!(
            self,
            Self::Upgrade { .. }
                | Self::Open { transport: Transport::WebSocket, .. }
                | Self::RawWebSocket(_)
        )
    }

    /// Whether the response may be large enough to compress.
    pub(super) fn is_answered_with_content(&self) -> bool {
        match self {
            Self::Poll(_) | Self::Application(_) => true,
            Self::Open { transport, .. } => *transport == Transport::Polling,
            Self::Ask(ask) => ask.then.is_answered_with_content(),
            _ => false,
        }
    }

    /// Whether the body is read to its end. If not, the connection must close: the body would be parsed as the next
    /// request.
    pub(super) fn reads_body(&self) -> bool {
        match self {
            Self::Push(_) | Self::Application(_) => true,
            Self::Ask(ask) => ask.then.reads_body(),
            other => other.is_decided_elsewhere(),
        }
    }
}

/// Decides about a request. `head_bytes` are those of its head. Calls the application's middlewares and origin
/// predicate.
pub(super) fn decide<'r, T>(
    state: &Rc<ShardState<T>>,
    request: &RequestInfo<'r>,
    target: Target<'r>,
    body: &Body,
    head_bytes: &[u8],
    via: &Via,
) -> Decision<'r, T> {
    let refused = Cell::new(None);
    let is_engine_io = state.is_engine_path(target.path);
    let mut origin = Verdict::Silent;
    let action = if is_engine_io {
        origin = check_origin(state, request);
        let action = engine_io(state, request, target.query, origin, head_bytes, via, &refused);
        ask_middlewares(state, request, action, head_bytes, &refused)
    } else if state.on_raw_websocket.is_some() && asks_for_websocket(&request.head) {
        raw_websocket(state, request, &refused)
    } else {
        Action::Application(HeadRanges::new(head_bytes, &request.head))
    };
    if let Some(reason) = action.refuses_body(!body.is_empty()) {
        refused.set(Some(reason));
    }
    let action = action.adapt(!body.is_empty(), request.head.method == "HEAD");
    Decision { action, is_engine_io, origin, refused: refused.get() }
}

/// Decides about a request for Engine.IO's path. Sets `refused` to the reason if it is refused.
fn engine_io<T>(
    state: &Rc<ShardState<T>>,
    request: &RequestInfo<'_>,
    query: &str,
    verdict: Verdict<'_>,
    head_bytes: &[u8],
    via: &Via,
    refused: &Cell<Option<Reason>>,
) -> Action<T> {
    let refuse = |error: ConnectionError, cause, answer| {
        refused.set(Some(Reason::new(error, cause)));
        Action::Refused(answer)
    };
    let reject = |reject: Reject, cause| refuse(reject.into(), cause, Answer::reject(reject));
    let head = &request.head;
    // First of all, and with 400, as python-engineio and engine.io do.
    if verdict == Verdict::Refused {
        let answer = Answer::reject(Reject::BadRequest);
        return refuse(ConnectionError::InvalidOrigin, Cause::InvalidOrigin, answer);
    }
    let websocket = asks_for_websocket(head);
    let classified = match classify(head.method, query, websocket, state.config.transports) {
        Ok(classified) => classified,
        Err(reason) => return reject(reason, cause_of(reason, websocket)),
    };
    let unavailable = |cause, answer| refuse(ConnectionError::Unavailable, cause, answer);
    let find = |sid| match state.find(sid) {
        SessionLocation::Here(session) => Ok(session),
        SessionLocation::Elsewhere(shard) => Err(Action::Elsewhere(shard)),
        SessionLocation::Nowhere => Err(match away::find(state, via, &classified.intent) {
            away::Found::Nowhere => reject(Reject::UnknownSid, Cause::UnknownSid),
            #[cfg(feature = "nats")]
            away::Found::Node(away) => Action::Away(away),
            #[cfg(feature = "nats")]
            away::Found::Unreachable => unavailable(Cause::NodeUnreachable, UNAVAILABLE),
        }),
    };
    // The session itself refuses the request with the same reason.
    let polling = |session: Rc<Session<T>>| {
        if session.transport() != Transport::Polling {
            let error = ConnectionError::TransportMismatch;
            refused.set(Some(Reason::new(error, Cause::TransportMismatch)));
        }
        session
    };
    let bad_handshake = |(reason, answer)| {
        refused.set(Some(reason));
        Action::Refused(answer)
    };
    match &classified.intent {
        Intent::Preflight if state.config.cors == cors::Cors::Off => {
            reject(Reject::BadHandshakeMethod, Cause::BadHandshakeMethod)
        }
        Intent::Preflight => {
            let wanted = head.headers.get("access-control-request-headers").unwrap_or_default();
            let allowed = matches!(verdict, Verdict::Allowed(_));
            Action::Preflight(allowed.then(|| wanted.to_vec()))
        }
        // JSONP: no current client requests it, and scripts for other origins would be a vulnerability.
        _ if classified.jsonp.is_some() => reject(Reject::BadRequest, Cause::Jsonp),
        Intent::Handshake(transport) => {
            match instead_of_handshake(state, request.peer, via, *transport) {
                Some(Ok(action)) => action,
                Some(Err((cause, answer))) => unavailable(cause, answer),
                None => open(state, *transport, classified.base64, head, head_bytes)
                    .unwrap_or_else(bad_handshake),
            }
        }
        Intent::Poll(sid) => find(sid).map(polling).map_or_else(|other| other, Action::Poll),
        Intent::Push(sid) => find(sid).map(polling).map_or_else(|other| other, Action::Push),
        Intent::Upgrade(_) if !state.config.allow_upgrades => {
            reject(Reject::BadRequest, Cause::UpgradesOff)
        }
        Intent::Upgrade(sid) => match (find(sid), accept(state, head)) {
            (Ok(session), Ok(accept)) => Action::Upgrade { session, accept },
            (Ok(_), Err(refusal)) => bad_handshake(refusal),
            (Err(other), _) => other,
        },
    }
}

/// What happens to a handshake that this server does not accept now: another node opens the session, or it is refused.
fn instead_of_handshake<T>(
    state: &Rc<ShardState<T>>,
    peer: Option<SocketAddr>,
    via: &Via,
    transport: Transport,
) -> Option<Result<Action<T>, (Cause, Answer<'static>)>> {
    #[cfg(feature = "nats")]
    if state.shared.cluster().is_some_and(|hub| hub.is_duplicate()) {
        return Some(Err((Cause::TagTaken, UNAVAILABLE)));
    }
    if state.refuses_handshakes() {
        return Some(match away::successor(state, via, transport) {
            #[cfg(feature = "nats")]
            away::Found::Node(away) => Ok(Action::Away(away)),
            _ => Err((Cause::ShuttingDown, UNAVAILABLE)),
        });
    }
    if !state.admits_handshake_of(peer) {
        return Some(Err((Cause::AddressHandshakes, TOO_MANY_HANDSHAKES_OF_ADDRESS)));
    }
    if !state.admits_handshake() {
        return Some(Err((Cause::TooManyHandshakes, TOO_MANY_HANDSHAKES)));
    }
    None
}

/// A handshake, whose opening handshake of a WebSocket is checked.
fn open<T>(
    state: &ShardState<T>,
    transport: Transport,
    base64: bool,
    head: &RequestHead<'_, '_>,
    head_bytes: &[u8],
) -> Result<Action<T>, (Reason, Answer<'static>)> {
    let accept = match transport {
        Transport::Polling => Accept::default(),
        Transport::WebSocket => accept(state, head)?,
    };
    Ok(Action::Open { transport, base64, accept, head: HeadRanges::new(head_bytes, head) })
}

/// The cause of a rejection by [`classify`].
fn cause_of(reject: Reject, websocket: bool) -> Cause {
    match reject {
        Reject::UnknownTransport => Cause::UnknownTransport,
        Reject::UnknownSid => Cause::UnknownSid,
        Reject::BadHandshakeMethod => Cause::BadHandshakeMethod,
        Reject::ProtocolMismatch => Cause::ProtocolMismatch,
        Reject::Forbidden => Cause::Forbidden,
        Reject::UnsupportedVersion => Cause::UnsupportedVersion,
        Reject::MethodNotAllowed => Cause::MethodNotAllowed,
        _ if websocket => Cause::UnexpectedUpgrade,
        _ => Cause::NoUpgrade,
    }
}

/// Calls the middlewares, or defers that if one of them awaits: once for a request, on the worker that answers it, and
/// not for requests that the CORS policy refuses.
fn ask_middlewares<T>(
    state: &ShardState<T>,
    request: &RequestInfo<'_>,
    action: Action<T>,
    head_bytes: &[u8],
    refused: &Cell<Option<Reason>>,
) -> Action<T> {
    let exempt = action.is_decided_elsewhere()
        || matches!(action, Action::Preflight(_))
        || refused.get().is_some_and(|refused| refused.is_origin());
    if state.hooks.middlewares.is_empty() || exempt {
        return action;
    }
    if state.hooks.has_async_middleware() {
        let head = HeadRanges::new(head_bytes, &request.head);
        return Action::Ask(Ask { then: Box::new(action), refused: refused.take(), head });
    }
    match state.hooks.admit(request) {
        Ok(()) => action,
        Err(refusal) => {
            refused.set(Some(Reason::new(ConnectionError::Middleware, Cause::Middleware)));
            Action::Denied { refusal, head_only: false }
        }
    }
}

/// Delays clients that all reconnect at once after a restart; see
/// [`max_handshakes_per_second`](crate::Config::max_handshakes_per_second).
const TOO_MANY_HANDSHAKES: Answer<'static> =
    Answer { headers: &[("Retry-After", "1")], ..Answer::json(503, b"\"Service Unavailable\"") };

fn asks_for_websocket(head: &RequestHead<'_, '_>) -> bool {
    head.is_upgrade() && head.headers.has_token("upgrade", "websocket")
}

/// Checks the opening handshake by RFC 6455 section 4.2.1 and returns the parameters of the 101 response.
fn accept<T>(
    state: &ShardState<T>,
    head: &RequestHead<'_, '_>,
) -> Result<Accept, (Reason, Answer<'static>)> {
    let offer = handshake::check_request(head.method, head.minor_version, head.headers.iter());
    let offer = offer.map_err(|error| {
        let answer = Answer { headers: error.headers(), ..Answer::empty(error.status()) };
        (Reason::handshake(Some(error)), answer)
    })?;
    let deflate = match &state.config.per_message_deflate {
        // Without compression all extensions are declined: the offer need not be parsed.
        None => None,
        Some(options) => {
            let terms = options.terms().accept(offer.extensions());
            terms.map_err(|_| (Reason::handshake(None), Answer::empty(400)))?
        }
    };
    let protocol = offer.protocols().next().map(Box::from);
    Ok(Accept { key: offer.accept_bytes(), protocol, deflate })
}

/// Decides about a WebSocket on another path. A page of another origin must not open one with the user's cookies.
fn raw_websocket<T>(
    state: &ShardState<T>,
    request: &RequestInfo<'_>,
    refused: &Cell<Option<Reason>>,
) -> Action<T> {
    let refuse = |(reason, answer): (Reason, _)| {
        refused.set(Some(reason.elsewhere()));
        Action::Refused(answer)
    };
    match check_origin(state, request) {
        Verdict::Refused => {
            let reason = Reason::new(ConnectionError::InvalidOrigin, Cause::InvalidOrigin);
            refuse((reason, Answer::empty(403)))
        }
        Verdict::Silent | Verdict::Allowed(_) => {
            accept(state, &request.head).map_or_else(refuse, Action::RawWebSocket)
        }
    }
}

fn check_origin<'r, T>(state: &ShardState<T>, request: &RequestInfo<'r>) -> Verdict<'r> {
    let secure = request.is_secure();
    let allows = |predicate: &OriginPredicate, origin: &str| predicate.allows(origin, request);
    state.config.cors.judge(&request.head.headers, secure, allows)
}

impl<T> ShardState<T> {
    /// Counts a handshake. False if it exceeds the limit of this second.
    fn admits_handshake(&self) -> bool {
        let max = self.config.max_handshakes_per_second;
        max.is_none_or(|max| self.shared.handshakes.admit(max))
    }

    /// Whether `path` is the configured one, with or without the final slash.
    fn is_engine_path(&self, path: &str) -> bool {
        let trim = |path| str::strip_suffix(path, '/').unwrap_or(path).len();
        let ours = &self.config.path;
        path[..trim(path)] == ours[..trim(ours)]
    }
}
