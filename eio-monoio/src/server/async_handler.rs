//! [`AsyncHandler`]: a [`Handler`] with owned values, whose methods are all `async fn`. [`OnMessage`]: one function.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;

use eio_core::packet::Message;
use eio_core::session::CloseReason;

use crate::message::OwnedMessage;
use crate::server::handler::{Handler, default_session, not_found};
use crate::server::refusal::Refusal;
use crate::server::request::ConnectRequest;
use crate::server::request_body::{self, RequestBody};
use crate::server::socket::Socket;
use crate::web::request::RequestInfo;

/// The application of a [`Server`](crate::Server), with owned values: every method may be an `async fn` that awaits.
///
/// [`Server::new`](crate::Server::new) serves a type that implements this trait or [`Handler`]; options, threads, order,
/// timeouts and panics are the same, and [`Handler`] documents them. The difference is [`message`](Self::message): here
/// it owns its socket and its message, which is one copy for each message. There both are lent for the call, and
/// nothing is copied.
///
/// ```
/// use std::time::Duration;
/// use eio_monoio::{AsyncHandler, ConnectRequest, OwnedMessage, Refusal, Server, Socket};
///
/// struct Chat;
///
/// struct User {
///     name: String,
/// }
///
/// impl AsyncHandler for Chat {
///     type Session = User;
///
///     async fn connect(&self, request: &ConnectRequest<'_>) -> Result<User, Refusal> {
///         let name = request.query("user").ok_or(Refusal::unauthorized())?;
///         Ok(User { name: name.into_owned() })
///     }
///
///     async fn message(&self, socket: Socket<User>, message: OwnedMessage) {
///         // Stands for any await: a database, an HTTP client, a timer.
///         eio_monoio::sleep(Duration::from_millis(100)).await;
///         if let OwnedMessage::Text(text) = message {
///             let line = format!("{}: {text}", socket.data().name);
///             socket.send(line).await.ok(); // an error means that the session has ended
///         }
///     }
/// }
///
/// # fn main() -> Result<(), eio_monoio::ServeError> {
/// let running = Server::new(|| Chat).bind("127.0.0.1:0")?;
/// # running.shutdown();
/// running.join()
/// # }
/// ```
///
/// # Errors of the compiler
/// | message | remedy |
/// |---|---|
/// | `method not compatible with trait`, `expected Socket<..>, found &Socket<..>` | the signature is `async fn message(&self, socket: Socket<..>, message: OwnedMessage)` |
/// | `return type captures more lifetimes than trait definition` at `impl Handler` | implement `AsyncHandler`, or return an `async move` block that owns copies, as [`Handler`] shows |
/// | `does not fulfill the required lifetime`, `must satisfy the static lifetime` | a handler owns its state, or shares it by an `Arc` |
/// | `Rc<..> cannot be sent between threads safely` at `Server::new` | create it in the closure, which is called on each worker |
/// | `Rc<Session<..>> cannot be sent between threads safely` | other threads use a [`Remote`](crate::Remote) and the sid |
/// | `cannot assign to data in a & reference` at `socket.data()` | the data is shared: a `Cell` or `RefCell` |
/// | `no two async blocks have the same type` | one `async` block with both branches in it |
/// | `only a Session of () has a default connect` | implement [`connect`](Self::connect): it creates the session's data |
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    label = "implements neither `AsyncHandler` nor `Handler`",
    note = "implement `AsyncHandler` for `{Self}`: `async fn message(&self, socket: Socket<..>, message: OwnedMessage)`",
    note = "a closure instead of a type is served by `Server::on_message` and `serve`"
)]
pub trait AsyncHandler: Sized + 'static {
    /// As [`Handler::Session`].
    type Session: 'static;

    /// As [`Handler::connect`].
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

    /// As [`Handler::open`].
    ///
    /// **Default:** does nothing.
    fn open(&self, socket: Socket<Self::Session>) -> impl Future<Output = ()> {
        let _ = socket;
        async {}
    }

    /// Called with each message of a session, in the order of the client. The next one is passed on when the future is
    /// complete, as [`Handler::message`] describes.
    fn message(
        &self,
        socket: Socket<Self::Session>,
        message: OwnedMessage,
    ) -> impl Future<Output = ()>;

    /// As [`Handler::disconnect`].
    ///
    /// **Default:** does nothing.
    fn disconnect(
        &self,
        socket: Socket<Self::Session>,
        reason: CloseReason,
    ) -> impl Future<Output = ()> {
        let _ = (socket, reason);
        async {}
    }

    /// As [`Handler::request`].
    ///
    /// **Default:** 404.
    fn request(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> impl Future<Output = http::Response<Cow<'static, [u8]>>> {
        let _ = request;
        async { not_found() }
    }

    /// As [`Handler::respond`].
    ///
    /// **Default:** receives the whole body and calls [`request`](Self::request).
    fn respond(
        &self,
        request: &RequestInfo<'_>,
        body: RequestBody<'_>,
    ) -> impl Future<Output = http::Response<Cow<'static, [u8]>>> {
        async move {
            match request_body::whole(request, body).await {
                Ok(request) => AsyncHandler::request(self, request).await,
                // The server answers.
                Err(_) => not_found(),
            }
        }
    }
}

impl<A: AsyncHandler> Handler for A {
    type Session = A::Session;

    fn connect(
        &self,
        request: &ConnectRequest<'_>,
    ) -> impl Future<Output = Result<Self::Session, Refusal>> {
        AsyncHandler::connect(self, request)
    }

    fn open(&self, socket: &Socket<Self::Session>) -> impl Future<Output = ()> {
        AsyncHandler::open(self, socket.clone())
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<Self::Session>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s, A> {
        AsyncHandler::message(self, socket.clone(), message.into())
    }

    fn disconnect(
        &self,
        socket: &Socket<Self::Session>,
        reason: CloseReason,
    ) -> impl Future<Output = ()> {
        AsyncHandler::disconnect(self, socket.clone(), reason)
    }

    fn request(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> impl Future<Output = http::Response<Cow<'static, [u8]>>> {
        AsyncHandler::request(self, request)
    }

    fn respond(
        &self,
        request: &RequestInfo<'_>,
        body: RequestBody<'_>,
    ) -> impl Future<Output = http::Response<Cow<'static, [u8]>>> {
        AsyncHandler::respond(self, request, body)
    }
}

/// The handler of [`Server::on_message`](crate::Server::on_message): it accepts every session and calls a function with
/// each message.
pub struct OnMessage<F>(Arc<F>);

impl<F> OnMessage<F> {
    pub(crate) fn new(on_message: &Arc<F>) -> Self {
        Self(on_message.clone())
    }
}

impl<F> std::fmt::Debug for OnMessage<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnMessage").finish_non_exhaustive()
    }
}

impl<F> AsyncHandler for OnMessage<F>
where
    F: AsyncFn(Socket<()>, OwnedMessage) + 'static,
{
    type Session = ();

    fn message(&self, socket: Socket<()>, message: OwnedMessage) -> impl Future<Output = ()> {
        (self.0)(socket, message)
    }
}
