//! [`ConnectRequest`] and [`Refusal`]: the request that opens a session, and the answer that refuses it.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use eio_core::transport::Transport;

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
///     Ok(Session { token: token.to_owned(), polling })
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

/// The refusal of a session or request: the status and the JSON body of the response.
///
/// ```
/// use eio_monoio::Refusal;
///
/// fn check(user: Option<&str>) -> Result<(), Refusal> {
///     match user {
///         None => Err(Refusal::unauthorized()),
///         Some("mallory") => Err(Refusal::forbidden()),
///         Some(user) if user.len() > 32 => Err(Refusal::with_json(r#"{"error":"name too long"}"#)),
///         Some(_) => Ok(()),
///     }
/// }
///
/// assert_eq!(check(Some("alice")), Ok(()));
/// assert_eq!(check(None).unwrap_err().to_string(), "refused with status 401");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub(crate) status: u16,
    pub(crate) body: Cow<'static, str>,
}

impl Refusal {
    /// 401 `"Unauthorized"`: the response of python-engineio when its `connect` handler returns False.
    pub fn unauthorized() -> Self {
        Self { status: 401, body: Cow::Borrowed("\"Unauthorized\"") }
    }

    /// 401 with a JSON value, as python-engineio sends the value that its `connect` handler returns. `json` is sent
    /// unchanged and not checked.
    pub fn with_json(json: impl Into<Cow<'static, str>>) -> Self {
        Self { status: 401, body: json.into() }
    }

    /// 403 `{"code":4,"message":"Forbidden"}`: the response of engine.io when `allowRequest` refuses.
    pub fn forbidden() -> Self {
        Self { status: 403, body: Cow::Borrowed(r#"{"code":4,"message":"Forbidden"}"#) }
    }

    /// 500, for a handler or middleware that panicked.
    pub(crate) fn broken() -> Self {
        Self { status: 500, body: Cow::Borrowed("\"Internal Server Error\"") }
    }

    /// 400 `{"code":3,"message":"Bad request"}`: the response of engine.io to an error of a middleware.
    pub fn bad_request() -> Self {
        Self { status: 400, body: Cow::Borrowed(r#"{"code":3,"message":"Bad request"}"#) }
    }

    /// 503 `"Service Unavailable"`: the session is refused for now.
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
