//! [`Server`]: the setters of its hooks.

use std::sync::Arc;

use eio_core::sid::{InvalidSid, Sid};

use crate::server::Server;
use crate::server::access::AccessEntry;
use crate::server::connection_error::Refused;
use crate::server::handler::Handler;
use crate::server::hooks::{GenerateId, Middleware};
use crate::server::refusal::Refusal;
use crate::server::request::ConnectRequest;
use crate::web::request::RequestInfo;

/// # Hooks
///
/// Functions of the application that run on requests for Engine.IO's path. They must not block; see
/// [the documentation of `Server`](Server#hooks).
impl<H, F> Server<F>
where
    H: Handler,
    F: Fn() -> H + Send + Sync + 'static,
{
    /// Adds header fields to every response for Engine.IO's path, including refusals, preflights and the 101 of a
    /// WebSocket. See [Hooks](Server#hooks).
    ///
    /// The map that `add` receives is empty: fields of the server, such as those of CORS and the [cookie] with the sid,
    /// are sent besides it. Several values of one field (`Set-Cookie`) need `append` in place of `insert`.
    ///
    /// [cookie]: crate::Config::cookie
    ///
    /// Fields that frame the message or the connection, such as `Content-Length`, and values that are not ASCII are
    /// left out, and that is logged. If `add` panics, nothing is added.
    ///
    /// Engine.IO: event `headers`.
    ///
    /// ```
    /// # use eio_monoio::Server;
    /// # fn server<H: eio_monoio::Handler>(new_handler: impl Fn() -> H + Send + Sync + 'static) {
    /// use http::{HeaderValue, header};
    ///
    /// Server::new(new_handler).headers(|_request, headers| {
    ///     headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    /// });
    /// # }
    /// ```
    pub fn headers(
        mut self,
        add: impl Fn(&RequestInfo<'_>, &mut http::HeaderMap) + Send + Sync + 'static,
    ) -> Self {
        self.hooks.headers = Some(Arc::new(add));
        self
    }

    /// Adds header fields to the response that opens a session, over either transport, after [`Handler::connect`] has
    /// accepted it. Rules, panics and the map, which is empty, are those of [`headers`](Self::headers). See
    /// [Hooks](Server#hooks).
    ///
    /// Engine.IO: event `initial_headers`.
    ///
    /// ```
    /// # use eio_monoio::Server;
    /// # fn server<H: eio_monoio::Handler>(new_handler: impl Fn() -> H + Send + Sync + 'static) {
    /// use http::HeaderValue;
    ///
    /// Server::new(new_handler).initial_headers(|request, headers| {
    ///     if let Ok(transport) = HeaderValue::from_str(&request.transport().to_string()) {
    ///         headers.insert("x-transport", transport);
    ///     }
    /// });
    /// # }
    /// ```
    pub fn initial_headers(
        mut self,
        add: impl Fn(&ConnectRequest<'_>, &mut http::HeaderMap) + Send + Sync + 'static,
    ) -> Self {
        self.hooks.initial = Some(Arc::new(add));
        self
    }

    /// Adds a function that admits or refuses every request for Engine.IO's path (handshake, poll, POST, upgrade)
    /// before it has an effect. See [Hooks](Server#hooks).
    ///
    /// Several are called in the order in which they were added, until one refuses. Preflights, and requests that
    /// [`Cors`](crate::Cors) refuses, are not passed to them. A panic refuses the request with 500.
    ///
    /// Values that a middleware [attaches](RequestInfo::insert) to a handshake can be read in [`Handler::connect`].
    ///
    /// Engine.IO: `engine.use`, whose errors are [`Refusal::bad_request`].
    ///
    /// ```
    /// # use eio_monoio::{Refusal, Server};
    /// # fn server<H: eio_monoio::Handler>(new_handler: impl Fn() -> H + Send + Sync + 'static) {
    /// Server::new(new_handler).middleware(|request| match request.header("x-key") {
    ///     Some("sesame") => Ok(()),
    ///     _ => Err(Refusal::unauthorized()),
    /// });
    /// # }
    /// ```
    pub fn middleware(
        mut self,
        admit: impl Fn(&RequestInfo<'_>) -> Result<(), Refusal> + Send + Sync + 'static,
    ) -> Self {
        self.hooks.middlewares.push(Middleware::Sync(Arc::new(admit)));
        self
    }

    /// Adds a [`middleware`](Self::middleware) that awaits: for example the lookup of a session cookie in a database.
    ///
    /// It may answer anything ([`Refusal`]), add header fields to the response
    /// ([`RequestInfo::add_response_header`]), and hand values to [`Handler::connect`] ([`RequestInfo::insert`]). It is
    /// called for polls and POSTs too: answer those quickly. All middlewares of a request together have
    /// [`connect_timeout`](crate::Config::connect_timeout); after it, the request is answered 503.
    ///
    /// ```
    /// # use eio_monoio::{Refusal, RequestInfo, Server};
    /// #[derive(Clone)]
    /// struct User(String);
    ///
    /// # async fn look_up(cookie: &str) -> Option<User> { Some(User(cookie.into())) }
    /// # fn server<H: eio_monoio::Handler>(new_handler: impl Fn() -> H + Send + Sync + 'static) {
    /// Server::new(new_handler).middleware_async(async |request: &RequestInfo<'_>| {
    ///     let cookie = request.header("cookie").ok_or(Refusal::unauthorized())?;
    ///     let user = look_up(cookie).await.ok_or(Refusal::forbidden().message("unknown cookie"))?;
    ///     request.insert(user); // `request.get::<User>()` in `Handler::connect`
    ///     Ok(())
    /// });
    /// # }
    /// ```
    pub fn middleware_async(
        mut self,
        admit: impl AsyncFn(&RequestInfo<'_>) -> Result<(), Refusal> + Send + Sync + 'static,
    ) -> Self {
        self.hooks.middlewares.push(Middleware::Async(Arc::new(admit)));
        self
    }

    /// Sets a function that is called with every refused request for Engine.IO's path and the reason, the
    /// [application's own](Refusal::with_reason) included. See [Hooks](Server#hooks).
    ///
    /// A violation that ends a session, such as two GETs at once, is reported by [`Handler::disconnect`] instead. A
    /// panic does not change the response.
    ///
    /// Engine.IO: event `connection_error`.
    ///
    /// ```
    /// # use eio_monoio::Server;
    /// # fn server<H: eio_monoio::Handler>(new_handler: impl Fn() -> H + Send + Sync + 'static) {
    /// Server::new(new_handler).on_connection_error(|request, refused| {
    ///     eprintln!("{:?}: {refused}, code {:?}", request.peer_addr(), refused.code());
    /// });
    /// # }
    /// ```
    pub fn on_connection_error(
        mut self,
        report: impl Fn(&RequestInfo<'_>, &Refused<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.hooks.refused = Some(Arc::new(report));
        self
    }

    /// Sets a function that is called after each HTTP request, for Engine.IO's path and all others, with its response: for
    /// an access log. Requests without a response, and input that is not a request, are among them. See
    /// [Hooks](Server#hooks): it must not block, so it hands the entry to a queue or a writer that does not wait.
    ///
    /// Messages over a WebSocket are no requests. A connection that is refused when it is accepted, above
    /// [`max_connections`](crate::Config::max_connections), has none either. A panic is logged and has no other effect.
    ///
    /// ```
    /// # use eio_monoio::Server;
    /// # fn server<H: eio_monoio::Handler>(new_handler: impl Fn() -> H + Send + Sync + 'static) {
    /// Server::new(new_handler).access_log(|entry| {
    ///     let (peer, status) = (entry.peer_addr(), entry.status());
    ///     println!("{peer:?} {} {} {status:?} {:?}", entry.method(), entry.path(), entry.duration());
    /// });
    /// # }
    /// ```
    pub fn access_log(mut self, log: impl Fn(&AccessEntry) + Send + Sync + 'static) -> Self {
        self.hooks.access = Some(Arc::new(log));
        self
    }

    /// Sets the function that generates the sid of a session, after [`Handler::connect`] has accepted it. See
    /// [Hooks](Server#hooks).
    ///
    /// If the sid is in use or illegal, or the function panics, there is no session: the request is answered 400 with
    /// code 3.
    ///
    /// With [`Config::tag`](crate::Config::tag) the session gets `<tag>.<sid>`.
    ///
    /// A client needs nothing but the sid to take part in a session, so a sid that can be guessed gives access to its
    /// messages. A sid of this function is looked up in a table that all workers share, at about 150 bytes for each
    /// session.
    ///
    /// **Default:** a sid with 96 random bits that encodes the worker of the session.
    ///
    /// Engine.IO: `generateId`. python-engineio: `generate_id`.
    ///
    /// ```
    /// # use eio_monoio::{Server, Sid};
    /// # fn server<H: eio_monoio::Handler>(new_handler: impl Fn() -> H + Send + Sync + 'static) {
    /// # fn random() -> u128 { 0 }
    /// Server::new(new_handler).generate_id(|_request| Sid::new(&format!("eu-1.{:032x}", random())));
    /// # }
    /// ```
    pub fn generate_id(
        mut self,
        generate: impl Fn(&ConnectRequest<'_>) -> Result<Sid, InvalidSid> + Send + Sync + 'static,
    ) -> Self {
        self.hooks.ids = Some(GenerateId::Sync(Arc::new(generate)));
        self
    }

    /// As [`generate_id`](Self::generate_id), with a function that awaits. After
    /// [`connect_timeout`](crate::Config::connect_timeout) there is no session, as after an error.
    ///
    /// Engine.IO: a `generateId` that returns a Promise.
    pub fn generate_id_async(
        mut self,
        generate: impl AsyncFn(&ConnectRequest<'_>) -> Result<Sid, InvalidSid> + Send + Sync + 'static,
    ) -> Self {
        self.hooks.ids = Some(GenerateId::Async(Arc::new(generate)));
        self
    }
}
