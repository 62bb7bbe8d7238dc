//! [`Handler`]: the trait that an application implements for a server.

use std::borrow::Cow;
use std::future::Future;

use eio_core::packet::Message;
use eio_core::session::CloseReason;

use crate::server::request::{ConnectRequest, Refusal};
use crate::server::socket::Socket;

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
/// # A handler that awaits
/// The returned future may borrow the handler (`use<'s>`), but neither the socket nor the message. It owns a clone of
/// the one, which is cheap, and a copy of the other. Any thread may wake it; [`spawn`](crate::spawn) says what it may
/// await.
///
/// ```
/// use std::time::Duration;
/// use eio_monoio::{ConnectRequest, Handler, Message, OwnedMessage, Refusal, Socket};
///
/// struct Greeter;
///
/// impl Greeter {
///     // Stands for any async call: a client, a channel, a timer, `blocking` work.
///     async fn greeting(&self, name: &str) -> String {
///         eio_monoio::sleep(Duration::from_millis(100)).await;
///         format!("hello, {name}")
///     }
/// }
///
/// impl Handler for Greeter {
///     type Session = ();
///
///     async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
///         Ok(())
///     }
///
///     fn message<'s>(
///         &'s self,
///         socket: &Socket<()>,
///         message: Message<'_>,
///     ) -> impl Future<Output = ()> + use<'s> {
///         let (socket, message) = (socket.clone(), OwnedMessage::from(message));
///         async move {
///             if let OwnedMessage::Text(name) = message {
///                 let greeting = self.greeting(&name).await;
///                 socket.send(greeting.as_str()).await.ok(); // an error means that the session has ended
///             }
///         }
///     }
/// }
/// ```
///
/// # Panics and shutdown
/// A panic of a method or of its future is caught. In [`open`](Self::open) and [`message`](Self::message) it
/// ends the session with [`CloseReason::HandlerPanicked`]; other sessions continue. A future that is pending when
/// [`shutdown_timeout`](crate::Config::shutdown_timeout) has passed is dropped after one more poll.
pub trait Handler: Sized + 'static {
    /// The application's data of one session, [`Socket::data`]. It is dropped on the worker, when the session has ended
    /// and its last [`Socket`] is dropped.
    type Session: 'static;

    /// Accepts or refuses a new session, before it exists.
    ///
    /// Called on the worker that accepted the connection, after every [`middleware`](crate::Server::middleware); an
    /// accepted session stays there. The future is dropped after [`connect_timeout`](crate::Config::connect_timeout),
    /// at whichever await it is, and the client is answered 503. It is not dropped when the client disconnects.
    ///
    /// If this panics, the client is answered 500.
    ///
    /// # Errors
    /// A [`Refusal`] is the response to the client.
    fn connect(
        &self,
        request: &ConnectRequest<'_>,
    ) -> impl Future<Output = Result<Self::Session, Refusal>>;

    /// Called once for a new session, before its first message.
    ///
    /// Messages that arrive before the future completes wait, up to
    /// [`inbound_high_water`](crate::Config::inbound_high_water) bytes. There is no timeout, and the future is not
    /// dropped when the session ends. Messages that it sends follow the open packet: in the same stream over a
    /// WebSocket, in the response to the next GET over polling.
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
    fn message<'s>(
        &'s self,
        socket: &Socket<Self::Session>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s, Self>;

    /// Called once when a session has ended, exactly once for each call of [`open`](Self::open).
    ///
    /// The futures of `open` and of all messages are complete, except those of messages with
    /// [`Dispatch::Concurrent`](crate::Dispatch::Concurrent). [`Socket::data`] is still there; sends fail. There is no
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
    /// Called on the worker that accepted the connection, with the whole body. A body above
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
        async {
            let mut response = http::Response::new(Cow::Borrowed(&b"Not Found"[..]));
            *response.status_mut() = http::StatusCode::NOT_FOUND;
            let content_type = http::HeaderValue::from_static("text/plain");
            response.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
            response
        }
    }
}

/// A handler that accepts every session and calls a function with each message; see [`serve`](crate::serve).
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
