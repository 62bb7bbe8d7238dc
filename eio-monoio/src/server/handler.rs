//! [`Handler`]: what an application is to a server.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::ops::Deref;

use eio_core::http::RequestHead;
use eio_core::packet::Message;
use eio_core::session::CloseReason;
use eio_core::transport::Transport;

use crate::io::stream::Carrier;
use crate::server::socket::Socket;

/// An application. One value lives on each core; nothing of it needs to be `Send`.
///
/// ```
/// use eio_monoio::{ConnectRequest, Handler, Message, Refusal, Socket};
///
/// struct Greeter;
///
/// struct User {
///     name: String,
/// }
///
/// impl Handler for Greeter {
///     type Session = User;
///
///     async fn connect(&self, request: &ConnectRequest<'_>) -> Result<User, Refusal> {
///         let name = request.header("x-user").ok_or(Refusal::unauthorized())?;
///         Ok(User { name: name.to_owned() })
///     }
///
///     async fn open(&self, socket: &Socket<User>) {
///         socket.send(format!("welcome, {}", socket.data().name).as_str()).await.ok();
///     }
///
///     fn message<'s>(
///         &'s self,
///         socket: &Socket<User>,
///         message: Message<'_>,
///     ) -> impl Future<Output = ()> + use<'s> {
///         socket.server().broadcast(message);
///         async {}
///     }
/// }
/// ```
///
/// A panic in any of these ends the session it was for, with [`CloseReason::HandlerPanicked`], and nothing else.
pub trait Handler: Sized + 'static {
    /// What the application keeps for a session.
    type Session: 'static;

    /// Decides about a new session before it exists. Bounded by
    /// [`connect_timeout`](crate::Config::connect_timeout).
    ///
    /// # Errors
    /// The answer to the client; see [`Refusal`].
    fn connect(
        &self,
        request: &ConnectRequest<'_>,
    ) -> impl Future<Output = Result<Self::Session, Refusal>>;

    /// The session exists. Comes before its first message.
    fn open(&self, socket: &Socket<Self::Session>) -> impl Future<Output = ()> {
        let _ = socket;
        async {}
    }

    /// A message came. It is lent: the body of this function sees the bytes where they were received, the
    /// future it returns owns what it copied ([`OwnedMessage`](crate::OwnedMessage)). The next message of the
    /// session comes when that future is done, unless [`Dispatch::Concurrent`](crate::Dispatch::Concurrent).
    /// Heartbeats are answered meanwhile.
    fn message<'s>(
        &'s self,
        socket: &Socket<Self::Session>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s, Self>;

    /// The session has ended. Comes exactly once for each [`open`](Self::open), after the last message's future.
    fn disconnect(
        &self,
        socket: &Socket<Self::Session>,
        reason: CloseReason,
    ) -> impl Future<Output = ()> {
        let _ = (socket, reason);
        async {}
    }

    /// A request for a path that is not Engine.IO's. By default 404. The body is bounded by
    /// [`max_payload`](crate::Config::max_payload), the time by [`connect_timeout`](crate::Config::connect_timeout).
    ///
    /// The framing of the response is the server's: `Content-Length`, `Transfer-Encoding` and `Connection` are
    /// left out. A response that cannot be sent (an interim status, a value that is not ASCII) becomes a 500.
    fn request(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> impl Future<Output = http::Response<Cow<'static, [u8]>>> {
        let _ = request;
        async {
            let mut response = http::Response::new(Cow::Borrowed(&b"Not Found"[..]));
            *response.status_mut() = http::StatusCode::NOT_FOUND;
            let plain = http::HeaderValue::from_static("text/plain");
            response.headers_mut().insert(http::header::CONTENT_TYPE, plain);
            response
        }
    }
}

/// The request that wants to open a session: a [`RequestInfo`] and the transport.
pub struct ConnectRequest<'r> {
    pub(crate) info: RequestInfo<'r>,
    pub(crate) transport: Transport,
}

impl ConnectRequest<'_> {
    /// How the session will be carried at first.
    pub fn transport(&self) -> Transport {
        self.transport
    }
}

impl<'r> Deref for ConnectRequest<'r> {
    type Target = RequestInfo<'r>;

    fn deref(&self) -> &RequestInfo<'r> {
        &self.info
    }
}

impl fmt::Debug for ConnectRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectRequest")
            .field("transport", &self.transport)
            .field("peer", &self.info.peer)
            .finish_non_exhaustive()
    }
}

/// The head of a request for Engine.IO's path, where it was received.
pub struct RequestInfo<'r> {
    pub(crate) head: RequestHead<'r, 'r>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) carrier: &'r Carrier,
}

impl RequestInfo<'_> {
    /// `GET`, `POST` or whatever it is.
    pub fn method(&self) -> &str {
        self.head.method
    }

    /// The value of a header, by its name in any case; `None` if it is absent or not UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.text(name)
    }

    /// The request target as it came: path and query.
    pub fn target(&self) -> &str {
        self.head.target
    }

    /// The first value of a query parameter, not percent-decoded.
    pub fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target().split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// The client: the other end of the connection, or whom a proxy named that is trusted
    /// ([`trusted_proxies`](crate::Config::trusted_proxies)); its port is 0 if the proxy left it out. `None`
    /// for a Unix-domain socket.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Whether it came over TLS of this server's; a proxy's does not count.
    pub fn is_secure(&self) -> bool {
        self.carrier.is_secure()
    }

    /// The certificate by which the client has proved who it is, in DER: its own, without those between it and its
    /// authority. `None` without TLS, or if it has shown none.
    pub fn client_certificate(&self) -> Option<&[u8]> {
        self.carrier.peer_certificate()
    }

    /// The whole head in the vocabulary of the `http` crate. Header fields it cannot hold are left out.
    pub fn to_http(&self) -> http::Request<()> {
        to_http(&self.head, ())
    }
}

impl fmt::Debug for RequestInfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestInfo")
            .field("method", &self.head.method)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

pub(crate) fn to_http<B>(head: &RequestHead<'_, '_>, body: B) -> http::Request<B> {
    let mut request = http::Request::new(body);
    *request.method_mut() = head.method.parse().unwrap_or_default();
    *request.uri_mut() = head.target.parse().unwrap_or_default();
    *request.version_mut() =
        if head.minor_version == 0 { http::Version::HTTP_10 } else { http::Version::HTTP_11 };
    for (name, value) in head.headers.iter() {
        if let (Ok(name), Ok(value)) =
            (http::HeaderName::from_bytes(name.as_bytes()), http::HeaderValue::from_bytes(value))
        {
            request.headers_mut().append(name, value);
        }
    }
    request
}

/// Why a session is refused, and what the client hears: a status and a JSON body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub(crate) status: u16,
    pub(crate) body: Cow<'static, str>,
}

impl Refusal {
    /// 401 `"Unauthorized"`: what python-engineio answers when its `connect` handler returns False.
    pub fn unauthorized() -> Self {
        Self { status: 401, body: Cow::Borrowed("\"Unauthorized\"") }
    }

    /// 401 with a JSON value, as python-engineio answers with what its `connect` handler returns. `json` is
    /// sent as it is.
    pub fn with_json(json: impl Into<Cow<'static, str>>) -> Self {
        Self { status: 401, body: json.into() }
    }

    /// 403 `{"code":4,"message":"Forbidden"}`: what engine.io answers when `allowRequest` says no.
    pub fn forbidden() -> Self {
        Self { status: 403, body: Cow::Borrowed(r#"{"code":4,"message":"Forbidden"}"#) }
    }

    /// 500: the application failed.
    pub(crate) fn broken() -> Self {
        Self { status: 500, body: Cow::Borrowed("\"Internal Server Error\"") }
    }

    /// 400 with code 3: what engine.io answers to a request that makes no sense.
    pub fn bad_request() -> Self {
        Self { status: 400, body: Cow::Borrowed(r#"{"code":3,"message":"Bad request"}"#) }
    }

    /// 503: not now.
    pub fn unavailable() -> Self {
        Self { status: 503, body: Cow::Borrowed("\"Service Unavailable\"") }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused with status {}", self.status)
    }
}

impl std::error::Error for Refusal {}

/// A closure as a handler: everyone may connect, every message goes to the closure. See [`serve`](crate::serve).
pub(crate) struct OnMessage<F>(pub(crate) F);

impl<F, R> Handler for OnMessage<F>
where
    F: Fn(&Socket<()>, Message<'_>) -> R + 'static,
    R: Future<Output = ()> + 'static,
{
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s, F, R> {
        (self.0)(socket, message)
    }
}
