//! Decides what a request is. Answers nothing and writes nothing: that is left to the loop that serves.

use std::cell::Cell;
use std::rc::Rc;

use eio_core::http::{RequestHead, Target};
use eio_core::request::{Intent, Reject, classify};
use eio_core::transport::Transport;
use eio_core::ws::handshake;

use crate::server::conn::Body;
use crate::server::conn::head_ranges::HeadRanges;
use crate::server::conn::reply::Answer;
use crate::server::conn::request::Accept;
use crate::server::connection_error::ConnectionError;
use crate::server::request::Refusal;
use crate::server::session::Session;
use crate::server::shard::{SessionLocation, ShardState};
use crate::web::cors::{self, OriginPredicate, Verdict};
use crate::web::request::RequestInfo;

/// What a request asks for, and whether it gets it.
pub(super) struct Decision<'r, T> {
    pub(super) action: Action<T>,
    /// Whether the request is for Engine.IO's path.
    pub(super) is_engine_io: bool,
    /// For Engine.IO's path: what CORS says about the request.
    pub(super) origin: Verdict<'r>,
    /// Why the request is refused, if it is.
    pub(super) refused: Option<ConnectionError>,
}

pub(super) enum Action<T> {
    /// A GET of a session.
    Poll(Rc<Session<T>>),
    /// A POST of a session.
    Push(Rc<Session<T>>),
    /// A handshake.
    Open {
        transport: Transport,
        base64: bool,
        accept: Accept,
        head: HeadRanges,
    },
    /// A WebSocket for a polling session.
    Upgrade {
        session: Rc<Session<T>>,
        accept: Accept,
    },
    /// A request of a session of this worker.
    Elsewhere(u16),
    /// A request of the application, or for a file.
    Other(HeadRanges),
    /// A WebSocket that is not Engine.IO's.
    Plain(Accept),
    Refused(Answer<'static>),
    /// By the application, before anything is looked at.
    Denied {
        refusal: Refusal,
        head_only: bool,
    },
    /// A CORS preflight that asks for these headers; `None` if its origin is not allowed.
    Preflight(Option<Vec<u8>>),
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
    pub(super) fn is_answered_with_content(&self) -> bool {
        match self {
            Self::Poll(_) | Self::Other(_) => true,
            Self::Open { transport, .. } => *transport == Transport::Polling,
            _ => false,
        }
    }

    /// Whether a body is read to its end. One that is not would be taken for the next request: nothing may
    /// follow it on its connection.
    pub(super) fn reads_body(&self) -> bool {
        matches!(self, Self::Push(_) | Self::Elsewhere(_) | Self::Other(_))
    }
}

/// Decides about a request. The application is asked by its middlewares and its origin predicate.
pub(super) fn decide<'r, T>(
    state: &Rc<ShardState<T>>,
    request: &RequestInfo<'r>,
    target: Target<'r>,
    body: &Body,
    bytes: &[u8],
) -> Decision<'r, T> {
    let refused = Cell::new(None);
    let is_engine_io = state.is_engine_path(target.path);
    let mut origin = Verdict::Silent;
    let action = if is_engine_io {
        origin = judge_origin(state, request);
        let action = engine_io(state, request, target.query, origin, bytes, &refused);
        ask_middlewares(state, request, action, &refused)
    } else if state.on_plain.is_some() && asks_for_websocket(&request.head) {
        plain_websocket(state, request)
    } else {
        Action::Other(HeadRanges::new(bytes, &request.head))
    };
    let action = action.adapt(!body.is_empty(), request.head.method == "HEAD");
    Decision { action, is_engine_io, origin, refused: refused.get() }
}

/// Decides about a request for Engine.IO's own path. `refused` is why, if it is.
fn engine_io<T>(
    state: &Rc<ShardState<T>>,
    request: &RequestInfo<'_>,
    query: &str,
    verdict: Verdict<'_>,
    bytes: &[u8],
    refused: &Cell<Option<ConnectionError>>,
) -> Action<T> {
    let refuse = |error: ConnectionError, answer| {
        refused.set(Some(error));
        Action::Refused(answer)
    };
    let reject = |reject: Reject| refuse(reject.into(), Answer::reject(reject));
    let head = &request.head;
    // python-engineio and engine.io both answer 400, before anything else is looked at.
    if verdict == Verdict::Refused {
        return refuse(ConnectionError::InvalidOrigin, Answer::reject(Reject::BadRequest));
    }
    let websocket = asks_for_websocket(head);
    let meaning = match classify(head.method, query, websocket, state.config.transports) {
        Ok(meaning) => meaning,
        Err(no) => return reject(no),
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
    match &meaning.intent {
        Intent::Preflight if state.config.cors == cors::Cors::Off => {
            reject(Reject::BadHandshakeMethod)
        }
        Intent::Preflight => {
            let wanted = head.headers.get("access-control-request-headers").unwrap_or_default();
            let allowed = matches!(verdict, Verdict::Allowed(_));
            Action::Preflight(allowed.then(|| wanted.to_vec()))
        }
        // JSONP: no current client asks for it, and answering scripts to other origins is a hole.
        _ if meaning.jsonp.is_some() => reject(Reject::BadRequest),
        Intent::Handshake(_) if state.is_shutting_down() => unavailable(Answer::empty(503)),
        Intent::Handshake(_) if !state.admits_handshake() => unavailable(BUSY),
        Intent::Handshake(transport) => {
            let accept = match transport {
                Transport::Polling => Ok(Accept::default()),
                Transport::WebSocket => accept(state, head),
            };
            match accept {
                Ok(accept) => Action::Open {
                    transport: *transport,
                    base64: meaning.base64,
                    accept,
                    head: HeadRanges::new(bytes, head),
                },
                Err(answer) => bad_handshake(answer),
            }
        }
        Intent::Poll(sid) => find(sid).map(polled).map_or_else(|other| other, Action::Poll),
        Intent::Push(sid) => find(sid).map(polled).map_or_else(|other| other, Action::Push),
        Intent::Upgrade(_) if !state.config.allow_upgrades => reject(Reject::BadRequest),
        Intent::Upgrade(sid) => match (find(sid), accept(state, head)) {
            (Ok(session), Ok(accept)) => Action::Upgrade { session, accept },
            (Ok(_), Err(answer)) => bad_handshake(answer),
            (Err(other), _) => other,
        },
    }
}

/// Asks the application about a request: once, on the core that answers it, and not about what other origins try.
fn ask_middlewares<T>(
    state: &ShardState<T>,
    request: &RequestInfo<'_>,
    action: Action<T>,
    refused: &Cell<Option<ConnectionError>>,
) -> Action<T> {
    let not_asked = matches!(action, Action::Elsewhere(_) | Action::Preflight(_))
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
