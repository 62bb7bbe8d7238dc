//! [`Refusal`]: the answer of the application to a request that it refuses.

use std::borrow::Cow;
use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// The answer to a session or request that the application refuses: any status, text, JSON and header fields. It may be
/// a redirect, or a 200 of a middleware that answers by itself; what it refuses is to open or to serve a session.
///
/// ```
/// use eio_monoio::Refusal;
/// use http::StatusCode;
///
/// fn check(user: Option<&str>, requests: u32) -> Result<(), Refusal> {
///     match user {
///         None => Err(Refusal::unauthorized()),
///         Some("mallory") => Err(Refusal::forbidden().message("Thou shall not pass")),
///         Some(user) if user.len() > 32 => {
///             Err(Refusal::new(StatusCode::BAD_REQUEST).json(r#"{"error":"name too long"}"#))
///         }
///         Some(_) if requests > 100 => Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS)
///             .text("slow down")
///             .header("retry-after", "5")
///             .with_reason(format!("{requests} requests"))),
///         Some(_) => Ok(()),
///     }
/// }
///
/// assert_eq!(check(Some("alice"), 1), Ok(()));
/// assert_eq!(check(None, 1).unwrap_err().to_string(), "refused with status 401: \"Unauthorized\"");
/// assert_eq!(check(Some("bob"), 101).unwrap_err().reason(), Some("101 requests"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    media_type: MediaType,
    body: Cow<'static, [u8]>,
    headers: Option<Box<HeaderMap>>,
    reason: Option<Box<str>>,
}

/// The media type of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MediaType {
    None,
    Json,
    Text,
    Other(Box<HeaderValue>),
}

impl Refusal {
    /// An answer with this status and without a body.
    ///
    /// A status that the server cannot send as a final response, such as 101 or 600, becomes 500, and that is logged.
    pub fn new(status: StatusCode) -> Self {
        let status = if (200..=599).contains(&status.as_u16()) {
            status
        } else {
            crate::log::error!(%status, "a refusal cannot have this status");
            StatusCode::INTERNAL_SERVER_ERROR
        };
        let (media_type, body) = (MediaType::None, Cow::Borrowed(&b""[..]));
        Self { status, media_type, body, headers: None, reason: None }
    }

    /// Sets a JSON value as the body. It is sent unchanged and not checked.
    #[must_use]
    pub fn json(self, json: impl Into<Cow<'static, str>>) -> Self {
        Self { media_type: MediaType::Json, body: bytes(json.into()), ..self }
    }

    /// Sets plain text as the body.
    #[must_use]
    pub fn text(self, text: impl Into<Cow<'static, str>>) -> Self {
        Self { media_type: MediaType::Text, body: bytes(text.into()), ..self }
    }

    /// Sets a body of any media type, such as `text/html; charset=utf-8`.
    #[must_use]
    pub fn content(
        self,
        media_type: impl TryInto<HeaderValue>,
        body: impl Into<Cow<'static, [u8]>>,
    ) -> Self {
        let media_type =
            media_type.try_into().map(|media_type| MediaType::Other(Box::new(media_type)));
        let media_type = media_type.unwrap_or_else(|_| {
            crate::log::warn!("a media type of a refusal is not valid; it is left out");
            MediaType::None
        });
        Self { media_type, body: body.into(), ..self }
    }

    /// Sets the body `{"code":4,"message":..}`: the form in which engine.io refuses with the text of `allowRequest`.
    #[must_use]
    pub fn message(self, message: &str) -> Self {
        let mut json = String::from(r#"{"code":4,"message":""#);
        for character in message.chars() {
            match character {
                '"' | '\\' => json.extend(['\\', character]),
                '\0'..='\x1f' => json += &format!("\\u{:04x}", u32::from(character)),
                other => json.push(other),
            }
        }
        self.json(json + "\"}").with_reason(message)
    }

    /// Adds a header field. Several fields with one name are all sent. A field that is not legal or
    /// [reserved](crate::Server::headers) is left out, and that is logged.
    #[must_use]
    pub fn header(
        mut self,
        name: impl TryInto<HeaderName>,
        value: impl TryInto<HeaderValue>,
    ) -> Self {
        match (name.try_into(), value.try_into()) {
            (Ok(name), Ok(value)) => {
                self.headers.get_or_insert_default().append(name, value);
            }
            _ => crate::log::warn!("a header of a refusal is not valid; it is left out"),
        }
        self
    }

    /// Sets the reason for [`Server::on_connection_error`](crate::Server::on_connection_error). It is not sent to the
    /// client.
    #[must_use]
    pub fn with_reason(self, reason: impl Into<Box<str>>) -> Self {
        Self { reason: Some(reason.into()), ..self }
    }

    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The reason that [`with_reason`](Self::with_reason) has set, or else the text or JSON of the body.
    pub fn reason(&self) -> Option<&str> {
        let body = || str::from_utf8(&self.body).ok().filter(|body| !body.is_empty());
        self.reason.as_deref().or_else(body)
    }

    /// 401 `"Unauthorized"`: the response of python-engineio when its `connect` handler returns False.
    pub fn unauthorized() -> Self {
        Self::with_json("\"Unauthorized\"")
    }

    /// 401 with a JSON value, as python-engineio sends the value that its `connect` handler returns. `json` is sent
    /// unchanged and not checked.
    pub fn with_json(json: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED).json(json)
    }

    /// 403 `{"code":4,"message":"Forbidden"}`: the response of engine.io when `allowRequest` refuses.
    pub fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN).json(r#"{"code":4,"message":"Forbidden"}"#)
    }

    /// 400 `{"code":3,"message":"Bad request"}`: the response of engine.io to an error of a middleware.
    pub fn bad_request() -> Self {
        Self::new(StatusCode::BAD_REQUEST).json(r#"{"code":3,"message":"Bad request"}"#)
    }

    /// 503 `"Service Unavailable"`: the session is refused for now.
    pub fn unavailable() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE).json("\"Service Unavailable\"")
    }

    /// 500, for a handler or middleware that panicked.
    pub(crate) fn broken() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR).json("\"Internal Server Error\"")
    }

    pub(crate) fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// The body; empty for a status that has none (RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5).
    pub(crate) fn body(&self) -> &[u8] {
        if matches!(self.status.as_u16(), 204 | 205 | 304) { b"" } else { &self.body }
    }

    pub(crate) fn headers(&self) -> Option<&HeaderMap> {
        self.headers.as_deref()
    }
}

fn bytes(text: Cow<'static, str>) -> Cow<'static, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused with status {}", self.status.as_u16())?;
        self.reason().map_or(Ok(()), |reason| write!(f, ": {reason}"))
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_is_escaped() {
        let refusal = Refusal::forbidden().message("say \"no\"\n\\");
        assert_eq!(refusal.body(), br#"{"code":4,"message":"say \"no\"\u000a\\"}"#);
        assert_eq!(refusal.reason(), Some("say \"no\"\n\\"));
    }

    #[test]
    fn status_that_is_not_final_becomes_500() {
        for status in [100, 101, 199, 600, 999] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(Refusal::new(status).status(), 500);
        }
    }

    #[test]
    fn status_without_content_has_no_body() {
        for status in [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED] {
            assert_eq!(Refusal::new(status).text("text").body(), b"");
        }
    }
}
