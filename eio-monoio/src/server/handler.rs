//! [`Handler`]: the trait that an application implements for a server.

use std::any::Any;
use std::borrow::Cow;
use std::future::Future;

use eio_core::packet::Message;
use eio_core::session::CloseReason;

use crate::server::refusal::Refusal;
use crate::server::request::ConnectRequest;
use crate::server::request_body::{self, RequestBody};
use crate::server::socket::Socket;
use crate::web::request::RequestInfo;

/// The application of a [`Server`](crate::Server).
///
/// Each worker has a handler of its own, created by the function passed to [`Server::new`](crate::Server::new), and
/// calls it on its thread only: neither the handler nor its futures need to be `Send`. A session stays on one worker;
/// all its methods are called there. Other sessions of the worker run while a future awaits, and wait while a method
/// or future computes or blocks: pass such work to [`blocking`](crate::blocking).
///
/// # A handler that answers at once
/// [`message`](Self::message) is not an `async fn`, because the message is lent: its bytes are in the receive buffer,
/// and only the call itself can use them. A handler that needs no await does everything in the call and returns an
/// empty future. Nothing is copied.
///
/// ```
/// use eio_monoio::{ConnectRequest, Handler, Message, Refusal, Socket};
///
/// struct Chat;
///
/// struct User {
///     name: String,
/// }
///
/// impl Handler for Chat {
///     type Session = User;
///
///     async fn connect(&self, request: &ConnectRequest<'_>) -> Result<User, Refusal> {
///         let name = request.header("x-user").ok_or(Refusal::unauthorized())?;
///         Ok(User { name: name.to_owned() })
///     }
///
///     async fn open(&self, socket: &Socket<User>) {
///         socket.send(format!("welcome, {}", socket.data().name)).await.ok();
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
/// # A handler that awaits
/// [`AsyncHandler`](crate::AsyncHandler) is this trait with owned values: `async fn message(&self, socket, message)`.
/// Prefer it, unless the copy of each message matters. It can also be made here, message by message: the returned
/// future may borrow the handler (`use<'s>`), but neither the socket nor the message. It owns a clone of the one, which
/// is cheap, and a copy of the other.
///
/// ```
/// use std::time::Duration;
/// use eio_monoio::{Handler, Message, OwnedMessage, Socket};
///
/// struct Delayed;
///
/// impl Handler for Delayed {
///     type Session = ();
///
///     fn message<'s>(
///         &'s self,
///         socket: &Socket<()>,
///         message: Message<'_>,
///     ) -> impl Future<Output = ()> + use<'s> {
///         let (socket, message) = (socket.clone(), OwnedMessage::from(message));
///         async move {
///             eio_monoio::sleep(Duration::from_millis(100)).await;
///             socket.send(message).await.ok(); // an error means that the session has ended
///         }
///     }
/// }
/// ```
///
/// Any thread may wake the future; [`spawn`](crate::spawn) says what a handler may await. Handlers and tasks share the
/// data of a session: [`Socket::data`] is a `&Session`, so a value that changes is a `Cell` or `RefCell`, which must not
/// be borrowed across an await.
///
/// # Panics and shutdown
/// A panic of a method or of its future is caught. In [`open`](Self::open) and [`message`](Self::message) it
/// ends the session with [`CloseReason::HandlerPanicked`]; other sessions continue. A future that is pending when
/// [`shutdown_timeout`](crate::Config::shutdown_timeout) has passed is dropped after one more poll.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    label = "implements neither `AsyncHandler` nor `Handler`",
    note = "implement `AsyncHandler` for `{Self}`: `async fn message(&self, socket: Socket<..>, message: OwnedMessage)`",
    note = "a closure instead of a type is served by `Server::on_message` and `serve`"
)]
pub trait Handler: Sized + 'static {
    /// The application's data of one session, [`Socket::data`]. It is dropped on the worker, when the session has ended
    /// and its last [`Socket`] is dropped.
    type Session: 'static;

    /// Accepts or refuses a new session, before it exists.
    ///
    /// Called on the worker that accepted the connection, after every [`middleware`](crate::Server::middleware); an
    /// accepted session stays there. It may await what [`spawn`](crate::spawn) allows, such as a look-up in a database.
    /// The future is dropped after [`connect_timeout`](crate::Config::connect_timeout),
    /// at whichever await it is, and the client is answered 503; so it is in a shutdown 250 ms after
    /// [`shutdown_grace`](crate::Config::shutdown_grace). It is not dropped when the client disconnects.
    ///
    /// If this panics, the client is answered 500.
    ///
    /// It may add header fields to the response ([`RequestInfo::add_response_header`](crate::RequestInfo)), and read
    /// values that a middleware attached ([`RequestInfo::get`](crate::RequestInfo::get)).
    ///
    /// **Default:** accepts every session, if [`Session`](Self::Session) is `()`.
    ///
    /// # Errors
    /// A [`Refusal`] is the response to the client.
    fn connect(
        &self,
        request: &ConnectRequest<'_>,
    ) -> impl Future<Output = Result<Self::Session, Refusal>> {
        let _ = request;
        async { default_session() }
    }

    /// Called once for a new session, before its first message.
    ///
    /// Messages that arrive before the future completes wait, up to
    /// [`inbound_high_water`](crate::Config::inbound_high_water) bytes. There is no timeout while the session is open; the
    /// future is dropped [`handler_grace`](crate::Config::handler_grace) after its end. Messages that it sends follow the
    /// open packet: in the same stream over a WebSocket, in the response to the next GET over polling.
    ///
    /// **Default:** does nothing.
    fn open(&self, socket: &Socket<Self::Session>) -> impl Future<Output = ()> {
        let _ = socket;
        async {}
    }

    /// Called with each message of a session, in the order of the client.
    ///
    /// The message is lent for the call. The future owns what it needs of it, for example as an
    /// [`OwnedMessage`](crate::OwnedMessage), and is polled at once; if it is ready then, nothing was copied or
    /// allocated.
    ///
    /// The next message of the session is passed on when the future is complete, unless
    /// [`dispatch`](crate::Config::dispatch) is [`Dispatch::Concurrent`](crate::Dispatch::Concurrent). Until then
    /// messages wait, up to [`inbound_high_water`](crate::Config::inbound_high_water) bytes, and heartbeats are
    /// answered. There is no timeout, and the future is not dropped when the session ends: sends fail then, and
    /// messages that were received before are still passed on. No message is passed on while more than
    /// [`outbound_high_water`](crate::Config::outbound_high_water) bytes wait to be sent to the session.
    // rustc quotes the last line where an `async fn` or a future without `use<..>` stands: it names the remedy.
    fn message<'s>(
        &'s self,
        socket: &Socket<Self::Session>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s, Self>; // for `async fn message`, implement `AsyncHandler`

    /// Called once when a session has ended, exactly once for each call of [`open`](Self::open).
    ///
    /// The futures of `open` and of all messages are complete, or were dropped
    /// [`handler_grace`](crate::Config::handler_grace) after the session had ended, except those of messages with
    /// [`Dispatch::Concurrent`](crate::Dispatch::Concurrent). [`Socket::data`] is still there; sends fail;
    /// [`Socket::undelivered`] returns the messages that were not sent. There is no
    /// timeout except that of a shutdown, which waits for this future. A panic has no effect.
    ///
    /// **Default:** does nothing.
    fn disconnect(
        &self,
        socket: &Socket<Self::Session>,
        reason: CloseReason,
    ) -> impl Future<Output = ()> {
        let _ = (socket, reason);
        async {}
    }

    /// Answers a request for a path that is neither Engine.IO's nor that of a [file](crate::Server::files).
    ///
    /// Called on the worker that accepted the connection, with the whole body; [`respond`](Self::respond) reads it as it
    /// arrives. The client's address is an extension, [`PeerAddr`](crate::PeerAddr). A body above
    /// [`max_payload`](crate::Config::max_payload) is answered 413. The future is dropped after
    /// [`connect_timeout`](crate::Config::connect_timeout), and the client is answered 503. If this panics, the client
    /// is answered 500.
    ///
    /// The server frames the response: `Content-Length`, `Transfer-Encoding`, `Connection` and `Date` of the
    /// application are left out. A response that cannot be sent (an interim status, a value that is not ASCII) becomes
    /// a 500. The body of a response to HEAD is not sent.
    ///
    /// **Default:** 404.
    ///
    /// ```
    /// # use eio_monoio::{ConnectRequest, Handler, Message, Refusal, Socket};
    /// use std::borrow::Cow;
    ///
    /// struct Health;
    ///
    /// impl Handler for Health {
    ///     # type Session = ();
    ///     # async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
    ///     #     Ok(())
    ///     # }
    ///     # fn message<'s>(&'s self, _: &Socket<()>, _: Message<'_>) -> impl Future<Output = ()> + use<'s> {
    ///     #     async {}
    ///     # }
    ///     async fn request(
    ///         &self,
    ///         request: http::Request<Vec<u8>>,
    ///     ) -> http::Response<Cow<'static, [u8]>> {
    ///         let healthy = request.uri().path() == "/health";
    ///         let status = if healthy { 200 } else { 404 };
    ///         http::Response::builder().status(status).body(Cow::default()).expect("a status")
    ///     }
    /// }
    /// ```
    fn request(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> impl Future<Output = http::Response<Cow<'static, [u8]>>> {
        let _ = request;
        async { not_found() }
    }

    /// Answers a request for a path that is neither Engine.IO's nor that of a [file](crate::Server::files), with the
    /// address of the client and the body as it arrives.
    ///
    /// For uploads that must not be kept in memory, for requests through a [proxy](crate::Config::trusted_proxies) and
    /// for client certificates. It has [`connect_timeout`](crate::Config::connect_timeout) from the call or from its
    /// last read of the body, which has [`body_timeout`](crate::Config::body_timeout). Timeouts, panics and the response
    /// are those of [`request`](Self::request).
    ///
    /// **Default:** receives the whole body and calls [`request`](Self::request).
    ///
    /// ```
    /// # use eio_monoio::{Handler, Message, RequestBody, RequestInfo, Socket};
    /// use std::borrow::Cow;
    ///
    /// struct Uploads;
    ///
    /// impl Handler for Uploads {
    ///     # type Session = ();
    ///     # fn message<'s>(&'s self, _: &Socket<()>, _: Message<'_>) -> impl Future<Output = ()> + use<'s> {
    ///     #     async {}
    ///     # }
    ///     async fn respond(
    ///         &self,
    ///         request: &RequestInfo<'_>,
    ///         mut body: RequestBody<'_>,
    ///     ) -> http::Response<Cow<'static, [u8]>> {
    ///         let mut len = 0;
    ///         while let Ok(Some(chunk)) = body.chunk().await {
    ///             len += chunk.len();
    ///         }
    ///         let text = format!("{:?} sent {len} bytes", request.peer_addr());
    ///         http::Response::new(text.into_bytes().into())
    ///     }
    /// }
    /// ```
    fn respond(
        &self,
        request: &RequestInfo<'_>,
        body: RequestBody<'_>,
    ) -> impl Future<Output = http::Response<Cow<'static, [u8]>>> {
        async move {
            match request_body::whole(request, body).await {
                Ok(request) => self.request(request).await,
                // The server answers.
                Err(_) => not_found(),
            }
        }
    }
}

/// The session of a handler that does not implement `connect`.
pub(crate) fn default_session<S: 'static>() -> Result<S, Refusal> {
    const {
        assert!(
            size_of::<S>() == 0,
            "only a `Session` of `()` has a default `connect`: implement `connect`, which creates the session's data"
        );
    }
    let unit: Box<dyn Any> = Box::new(());
    unit.downcast().map(|session| *session).map_err(|_| {
        crate::log::error!("a handler whose `Session` is not `()` must implement `connect`");
        Refusal::broken()
    })
}

/// The response to a request that the application does not serve.
pub(crate) fn not_found() -> http::Response<Cow<'static, [u8]>> {
    let mut response = http::Response::new(Cow::Borrowed(&b"Not Found"[..]));
    *response.status_mut() = http::StatusCode::NOT_FOUND;
    let content_type = http::HeaderValue::from_static("text/plain");
    response.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
    response
}
