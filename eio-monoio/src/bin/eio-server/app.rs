//! The application: what becomes of a message, and the routes of the admin address. A server of one's own replaces this.

use std::borrow::Cow;

use eio_monoio::{ConnectRequest, Handler, Message, Metrics, Refusal, Remote, Socket};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};

use crate::settings::Mode;

/// Echoes or broadcasts each message.
pub(crate) struct App {
    pub(crate) mode: Mode,
}

impl Handler for App {
    type Session = ();

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        match self.mode {
            // Never full: the server does not read from a client that does not read its echoes.
            Mode::Echo => drop(socket.try_send(message)),
            Mode::Broadcast => socket.server().broadcast(message),
        }
        async {}
    }
}

/// Answers `/healthz`, `/readyz` and `/metrics` for another server.
pub(crate) struct Admin {
    pub(crate) server: Remote,
}

impl Handler for Admin {
    type Session = ();

    /// There are no sessions at this address.
    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Err(Refusal::new(StatusCode::NOT_FOUND))
    }

    fn message<'s>(&'s self, _: &Socket<()>, _: Message<'_>) -> impl Future<Output = ()> + use<'s> {
        async {}
    }

    async fn request(&self, request: Request<Vec<u8>>) -> Response<Cow<'static, [u8]>> {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n".into());
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/healthz" => answer(StatusCode::OK, "ok\n".into()),
            "/readyz" if self.server.is_ready() => answer(StatusCode::OK, "ready\n".into()),
            "/readyz" => answer(StatusCode::SERVICE_UNAVAILABLE, "draining\n".into()),
            "/metrics" => {
                let mut response = answer(StatusCode::OK, self.server.metrics().to_string());
                let kind = HeaderValue::from_static(Metrics::CONTENT_TYPE);
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                response
            }
            _ => answer(StatusCode::NOT_FOUND, "/healthz, /readyz, /metrics\n".into()),
        }
    }
}

fn answer(status: StatusCode, text: String) -> Response<Cow<'static, [u8]>> {
    let mut response = Response::new(Cow::Owned(text.into_bytes()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
