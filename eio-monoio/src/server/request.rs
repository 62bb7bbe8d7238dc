//! [`ConnectRequest`] and [`Refusal`]: the request that opens a session, and the answer that refuses it.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use eio_core::transport::Transport;

use crate::web::request::RequestInfo;

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
