//! [`ConnectRequest`] and [`KeptRequest`]: the request that opens a session.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use eio_core::transport::Transport;

use crate::web::query;
use crate::web::request::RequestInfo;

/// The request that opens a session: a [`RequestInfo`], to which it dereferences, and the transport.
///
/// It is borrowed from the receive buffer: data of a session owns copies.
///
/// ```
/// use eio_monoio::{ConnectRequest, Refusal, Transport};
///
/// struct Session {
///     token: String,
///     polling: bool,
/// }
///
/// /// The body of a `Handler::connect`.
/// fn connect(request: &ConnectRequest<'_>) -> Result<Session, Refusal> {
///     let token = request.query("token").ok_or(Refusal::unauthorized())?;
///     let polling = request.transport() == Transport::Polling;
///     Ok(Session { token: token.into_owned(), polling })
/// }
/// ```
pub struct ConnectRequest<'r> {
    pub(crate) info: RequestInfo<'r>,
    pub(crate) transport: Transport,
}

impl ConnectRequest<'_> {
    /// The transport with which the session starts.
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

/// The request that opened a session, as [`Socket::request`](crate::Socket::request) returns it: a request of the `http`
/// crate, to which it dereferences. Its extensions are the values that
/// [`RequestInfo::insert`](crate::RequestInfo::insert) attached.
#[derive(Debug)]
pub struct KeptRequest(http::Request<()>);

impl KeptRequest {
    pub(crate) fn new(request: &RequestInfo<'_>) -> Box<Self> {
        Box::new(Self(request.to_http()))
    }

    /// As [`RequestInfo::header`](crate::RequestInfo::header).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0.headers().get(name).and_then(|value| str::from_utf8(value.as_bytes()).ok())
    }

    /// As [`RequestInfo::query`](crate::RequestInfo::query).
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        query::last(self.raw_query(), name)
    }

    /// As [`RequestInfo::query_pairs`](crate::RequestInfo::query_pairs).
    pub fn query_pairs(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        query::pairs(self.raw_query())
    }

    /// As [`RequestInfo::raw_query`](crate::RequestInfo::raw_query).
    pub fn raw_query(&self) -> &str {
        self.0.uri().query().unwrap_or_default()
    }
}

impl Deref for KeptRequest {
    type Target = http::Request<()>;

    fn deref(&self) -> &http::Request<()> {
        &self.0
    }
}
