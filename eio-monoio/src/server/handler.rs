//! [`Handler`]: what an application is to a server.

use std::borrow::Cow;
use std::future::Future;

use eio_core::packet::Message;
use eio_core::session::CloseReason;

use crate::server::request::{ConnectRequest, Refusal};
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
