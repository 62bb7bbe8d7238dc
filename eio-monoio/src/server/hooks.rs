//! [`Hooks`]: functions of the application that a server calls for Engine.IO requests and their response headers.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;

use eio_core::http::header_line;
use eio_core::packet::Message;
use eio_core::sid::{InvalidSid, Sid};
use http::HeaderMap;

use crate::io::raw_websocket::PlainSocket;
use crate::message::OutBuf;
use crate::server::access::OnAccess;
use crate::server::cause::Subject;
use crate::server::connection_error::Refused;
use crate::server::refusal::Refusal;
use crate::server::request::ConnectRequest;
use crate::web::request::RequestInfo;

/// The functions of the application; see [`Server::headers`](crate::Server::headers).
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) headers: Option<Arc<OnResponse>>,
    pub(crate) initial: Option<Arc<OnFirstResponse>>,
    /// Called in this order for every request.
    pub(crate) middlewares: Vec<Middleware>,
    pub(crate) refused: Option<Arc<OnRefused>>,
    pub(crate) ids: Option<GenerateId>,
    pub(crate) access: Option<Arc<OnAccess>>,
}

/// A function that admits or refuses requests.
#[derive(Clone)]
pub(crate) enum Middleware {
    Sync(Arc<OnRequest>),
    Async(Arc<dyn AdmitAsync>),
}

/// A function that generates sids.
#[derive(Clone)]
pub(crate) enum GenerateId {
    Sync(Arc<OnId>),
    Async(Arc<dyn GenerateIdAsync>),
}

impl Hooks {
    /// Whether a middleware awaits: then [`admit_async`](Self::admit_async) must be called.
    pub(crate) fn has_async_middleware(&self) -> bool {
        self.middlewares.iter().any(|middleware| matches!(middleware, Middleware::Async(_)))
    }

    /// Calls the middlewares until one refuses the request. A panic refuses it too.
    pub(crate) fn admit(&self, request: &RequestInfo<'_>) -> Result<(), Refusal> {
        self.middlewares.iter().try_for_each(|middleware| match middleware {
            Middleware::Sync(admit) => admit_sync(&**admit, request),
            Middleware::Async(_) => Ok(()),
        })
    }

    /// As [`admit`](Self::admit), with middlewares that await. The caller contains the panics of these.
    pub(crate) async fn admit_async(&self, request: &RequestInfo<'_>) -> Result<(), Refusal> {
        for middleware in &self.middlewares {
            match middleware {
                Middleware::Sync(admit) => admit_sync(&**admit, request)?,
                Middleware::Async(admit) => admit.admit(request).await?,
            }
        }
        Ok(())
    }

    /// Reports a refused request to the application.
    pub(crate) fn report<'r>(&self, request: &RequestInfo<'_>, refused: impl Into<Refused<'r>>) {
        let refused = refused.into();
        crate::log::debug!(client = %Subject::Peer(request.peer), error = %refused, "request refused");
        let Some(report) = &self.refused else { return };
        if catch_unwind(AssertUnwindSafe(|| report(request, &refused))).is_err() {
            crate::log::error!("the on_connection_error hook panicked");
        }
    }
}

fn admit_sync(admit: &OnRequest, request: &RequestInfo<'_>) -> Result<(), Refusal> {
    catch_unwind(AssertUnwindSafe(|| admit(request))).unwrap_or_else(|_| {
        crate::log::error!("a middleware panicked; its request is refused");
        Err(Refusal::broken())
    })
}

/// A middleware that awaits.
pub(crate) trait AdmitAsync: Send + Sync {
    fn admit<'a>(
        &'a self,
        request: &'a RequestInfo<'_>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + 'a>>;
}

impl<F> AdmitAsync for F
where
    F: AsyncFn(&RequestInfo<'_>) -> Result<(), Refusal> + Send + Sync,
{
    fn admit<'a>(
        &'a self,
        request: &'a RequestInfo<'_>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + 'a>> {
        Box::pin(self(request))
    }
}

/// A function that generates sids, and awaits.
pub(crate) trait GenerateIdAsync: Send + Sync {
    fn generate<'a>(
        &'a self,
        request: &'a ConnectRequest<'_>,
    ) -> Pin<Box<dyn Future<Output = Result<Sid, InvalidSid>> + 'a>>;
}

impl<F> GenerateIdAsync for F
where
    F: AsyncFn(&ConnectRequest<'_>) -> Result<Sid, InvalidSid> + Send + Sync,
{
    fn generate<'a>(
        &'a self,
        request: &'a ConnectRequest<'_>,
    ) -> Pin<Box<dyn Future<Output = Result<Sid, InvalidSid>> + 'a>> {
        Box::pin(self(request))
    }
}

/// The application's function for a message of a raw WebSocket.
pub(crate) type OnRawWebSocket = Arc<dyn Fn(&PlainSocket, Message<'_>) + Send + Sync>;

type OnResponse = dyn Fn(&RequestInfo<'_>, &mut HeaderMap) + Send + Sync;
type OnRequest = dyn Fn(&RequestInfo<'_>) -> Result<(), Refusal> + Send + Sync;
type OnRefused = dyn Fn(&RequestInfo<'_>, &Refused<'_>) + Send + Sync;
type OnId = dyn Fn(&ConnectRequest<'_>) -> Result<Sid, InvalidSid> + Send + Sync;
type OnFirstResponse = dyn Fn(&ConnectRequest<'_>, &mut HeaderMap) + Send + Sync;

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("headers", &self.headers.is_some())
            .field("initial", &self.initial.is_some())
            .field("middlewares", &self.middlewares.len())
            .field("refused", &self.refused.is_some())
            .field("ids", &self.ids.is_some())
            .field("access", &self.access.is_some())
            .finish()
    }
}

/// Appends the headers of the application. Headers that control the framing of the message or the connection, and values
/// that are not visible ASCII, are left out.
pub(crate) fn write_lines(lines: &mut Vec<u8>, headers: &HeaderMap) {
    const RESERVED: [http::HeaderName; 9] = [
        http::header::DATE,
        http::header::CONTENT_LENGTH,
        http::header::CONTENT_ENCODING,
        http::header::CONTENT_TYPE,
        http::header::TRANSFER_ENCODING,
        http::header::CONNECTION,
        http::header::UPGRADE,
        http::header::SEC_WEBSOCKET_ACCEPT,
        http::header::SEC_WEBSOCKET_EXTENSIONS,
    ];
    let mut out = OutBuf(std::mem::take(lines));
    for (name, value) in headers {
        let start = out.0.len();
        let written = match value.to_str() {
            Ok(value) if !RESERVED.contains(name) => header_line(&mut out, name.as_str(), &[value]),
            _ => Err(eio_core::http::WriteError::IllegalValue),
        };
        if written.is_err() {
            crate::log::warn!(header = %name, "the header is reserved or not valid; it is left out");
            out.0.truncate(start);
        }
    }
    *lines = out.0;
}

/// Appends the header fields that the application has attached to a request.
pub(crate) fn write_attached(lines: &mut Vec<u8>, request: &RequestInfo<'_>) {
    if let Some(headers) = request.attached.take_headers() {
        write_lines(lines, &headers);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn reserved_and_invalid_headers_are_left_out() {
        let mut headers = HeaderMap::new();
        for name in
            ["content-length", "date", "transfer-encoding", "connection", "upgrade", "x-good"]
        {
            headers.insert(name, HeaderValue::from_static("1"));
        }
        headers.append("x-good", HeaderValue::from_static("2"));
        headers.insert("x-bad", HeaderValue::from_bytes(b"\xff").unwrap());
        let mut lines = b"Vary: Origin\r\n".to_vec();
        write_lines(&mut lines, &headers);
        assert_eq!(String::from_utf8(lines).unwrap(), "Vary: Origin\r\nx-good: 1\r\nx-good: 2\r\n");
    }
}
