//! HTTP requests and responses of a client, and the reuse of connections.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use eio_core::http::{
    BodyDecoder, EMPTY, Error as HttpError, Framing, HeadScanner, HeadWriter, Headers,
    ResponseHead, Step, WriteError, keep_alive_timeout, request,
};
use eio_core::session::Lane;
use eio_core::time::Instant;

use crate::client::cookies::CookieJar;
use crate::client::error::{Content, Fault};
use crate::client::settings::Settings;
use crate::io::http_conn::{HttpConn, RecvError};
use crate::message::OutBuf;
use crate::worker::context::Activity;
use crate::worker::deadline::millis;

/// The longest response head in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// The most header fields of a response.
const MAX_HEADERS: usize = 100;
/// The most bytes of an error response's body that are reported.
const MAX_ERROR_BODY: usize = 1024;

/// Begins a request with the fields that every request of a client has.
pub(crate) fn begin_request<'o>(
    out: &'o mut OutBuf,
    method: &str,
    target: &str,
    settings: &Settings,
    cookies: &CookieJar,
) -> Result<HeadWriter<'o, OutBuf>, WriteError> {
    let fields = &settings.fields;
    let head = request(out, method, target)?.header("Host", &fields.host)?.raw(&fields.lines)?;
    let cookies = cookies.header(&fields.cookie, SystemTime::now());
    if cookies.is_empty() { Ok(head) } else { head.header("Cookie", &cookies) }
}

/// Why a request failed.
pub(crate) struct Failure {
    pub(crate) fault: Fault,
    /// The connection was closed before any byte of the response.
    pub(crate) unanswered: bool,
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self { fault, unanswered: false }
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        failure.fault
    }
}

/// The fault of a connection that ended during a request.
pub(crate) fn recv_fault(conn: &HttpConn, error: RecvError) -> Fault {
    match error {
        RecvError::TimedOut => Fault::RequestTimeout,
        RecvError::Bad(error) => http_fault(conn, error),
        RecvError::Closed if is_tls_record(conn) => Fault::TlsPort,
        // A client has no budget.
        RecvError::Closed | RecvError::OverBudget => match conn.stream().failure() {
            Some(failure) => Fault::Tls(failure.into()),
            None => Fault::Lost,
        },
    }
}

/// The fault of a response head that cannot be parsed.
pub(crate) fn http_fault(conn: &HttpConn, error: HttpError) -> Fault {
    if is_tls_record(conn) { Fault::TlsPort } else { Fault::Http(error) }
}

/// Whether the server answered a request without TLS with a record of TLS: an alert (21) or a handshake (22) of a version
/// 3.x (RFC 8446 section 5.1).
fn is_tls_record(conn: &HttpConn) -> bool {
    conn.stream().plain().is_some() && matches!(conn.rx.unread(), [21 | 22, 3, 0..=4, ..])
}

/// Sends all written bytes.
pub(crate) async fn flush(conn: &mut HttpConn) -> Result<(), Failure> {
    if let Err(error) = conn.flush().await {
        // The server may have sent an alert of TLS before it closed.
        _ = conn.try_receive(1);
        let unanswered = matches!(error, RecvError::Closed) && conn.rx.unread().is_empty();
        return Err(Failure { fault: recv_fault(conn, error), unanswered });
    }
    Ok(())
}

/// The head of a response.
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) framing: Framing,
    /// The time for which the connection can be reused, if it is persistent.
    pub(crate) reuse_time: Option<ReuseTime>,
    /// `Content-Encoding` and `Content-Type`, which show a response of another server.
    pub(crate) content: ContentFields,
    /// The fields of a response with another status than 200.
    pub(crate) refusal: Refusal,
}

/// The fields that describe the content of a response, in small letters, as far as they are of interest.
#[derive(Default)]
pub(crate) struct ContentFields {
    is_coded: bool,
    is_html: bool,
}

impl ContentFields {
    fn new(headers: &Headers<'_, '_>) -> Self {
        let coding = headers.text("content-encoding").unwrap_or_default().trim();
        let media_type = headers.text("content-type").unwrap_or_default().trim();
        Self {
            is_coded: !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"),
            is_html: media_type
                .get(..9)
                .is_some_and(|start| start.eq_ignore_ascii_case("text/html")),
        }
    }

    /// The kind of the response, if it is not of an Engine.IO 4 server.
    pub(crate) fn classify(&self, body: &[u8]) -> Option<Content> {
        Content::classify(self.is_coded, self.is_html, body)
    }
}

/// The fields of a refusal that say where or when a request may succeed.
#[derive(Default)]
pub(crate) struct Refusal {
    location: Option<String>,
    retry_after: Option<Duration>,
}

impl Refusal {
    pub(crate) fn new(headers: &Headers<'_, '_>) -> Self {
        let retry_after = headers.text("retry-after");
        Self {
            location: headers.text("location").map(Into::into),
            retry_after: retry_after.and_then(|value| parse_retry_after(value, SystemTime::now())),
        }
    }

    pub(crate) fn fault(self, status: u16, body: String) -> Fault {
        Fault::Status { status, body, location: self.location, retry_after: self.retry_after }
    }
}

/// RFC 9110 section 10.2.3: seconds, or a date.
fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::from(u32::MAX))));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// Reads and consumes the head of the final response.
pub(crate) async fn read_head(
    cookies: &RefCell<CookieJar>,
    conn: &mut HttpConn,
    method: &str,
) -> Result<Head, Failure> {
    loop {
        let len = scan_head(conn).await?;
        let mut slots = [EMPTY; MAX_HEADERS];
        let bytes = conn.rx.unread().get(..len).unwrap_or_default();
        let head = ResponseHead::parse(bytes, &mut slots).map_err(Fault::Http)?;
        cookies.borrow_mut().store(&head.headers);
        let framing = head.framing(method).map_err(Fault::Http)?;
        let reuse_time = head.keep_alive().then(|| ReuseTime::new(head.headers.text("keep-alive")));
        let (status, content) = (head.status, ContentFields::new(&head.headers));
        let refusal = if status == 200 { Refusal::default() } else { Refusal::new(&head.headers) };
        conn.rx.skip(len);
        // RFC 9110 15.2: "A client MUST be able to parse one or more 1xx responses received prior to a final
        // response".
        if status >= 200 || status == 101 {
            return Ok(Head { status, framing, reuse_time, content, refusal });
        }
    }
}

/// Waits for a complete head and returns its length.
pub(crate) async fn scan_head(conn: &mut HttpConn) -> Result<usize, Failure> {
    let mut scanner = HeadScanner::new();
    conn.rx.release();
    loop {
        let found = scanner.poll(conn.rx.unread(), MAX_HEAD);
        if let Some(len) = found.map_err(|error| http_fault(conn, error))? {
            return Ok(len);
        }
        if let Err(error) = conn.receive(1).await {
            let unanswered = matches!(error, RecvError::Closed) && conn.rx.unread().is_empty();
            return Err(Failure { fault: recv_fault(conn, error), unanswered });
        }
    }
}

/// Receives a complete body.
pub(crate) async fn receive_body(
    conn: &mut HttpConn,
    decoder: &mut BodyDecoder,
) -> Result<(), Fault> {
    loop {
        let wanted = match decoder.poll(&mut conn.rx).map_err(Fault::Http)? {
            Step::Done => return Ok(()),
            Step::Need(n) => n,
        };
        match conn.receive(wanted).await {
            Ok(()) => {}
            Err(RecvError::Closed) => return decoder.finish().map_err(Fault::Http),
            Err(error) => return Err(recv_fault(conn, error)),
        }
    }
}

/// The decoder for the body of an error response to a GET.
pub(crate) fn error_body_decoder(head: &ResponseHead<'_, '_>) -> Result<BodyDecoder, HttpError> {
    Ok(BodyDecoder::new(head.framing("GET")?, usize::MAX))
}

/// Receives the beginning of an error response's body; shorter if the connection ends before.
pub(crate) async fn read_error_body(conn: &mut HttpConn, decoder: &mut BodyDecoder) -> String {
    while let Ok(Step::Need(n)) = decoder.poll(&mut conn.rx) {
        if conn.rx.kept().len() >= MAX_ERROR_BODY
            || conn.receive(n.min(MAX_ERROR_BODY)).await.is_err()
        {
            break;
        }
    }
    let kept = conn.rx.kept();
    String::from_utf8_lossy(kept.get(..MAX_ERROR_BODY).unwrap_or(kept)).into_owned()
}

/// A connection that no request uses.
pub(crate) struct IdleConn {
    pub(crate) conn: HttpConn,
    pub(crate) since: Instant,
    pub(crate) reuse: ReuseTime,
}

/// Takes a connection for a request of `lane` that the server has not closed and does not close soon; drops those that it
/// may close soon.
pub(crate) fn take_reusable(
    conns: &mut Vec<IdleConn>,
    lane: Lane,
    now: Instant,
) -> Option<HttpConn> {
    conns.retain(|idle| now < idle.since.after(millis(idle.reuse.get)));
    let may_reuse = |idle: &IdleConn| {
        let reuse = if lane == Lane::Post { idle.reuse.post } else { idle.reuse.get };
        now < idle.since.after(millis(reuse))
    };
    while let Some(at) = conns.iter().rposition(may_reuse) {
        let mut conn = conns.swap_remove(at).conn;
        // Without a request, any input is the end of the connection, or a response that belongs to no request.
        if matches!(conn.try_receive(1), Ok(false)) {
            conn.set_activity(Activity::Busy);
            return Some(conn);
        }
    }
    None
}

/// The time for which an idle connection can be reused.
///
/// A server may close an idle connection at the moment when a request is sent. A GET is then repeated. A POST cannot be:
/// the client does not know whether the server received it (RFC 9110 section 9.2.2). It is therefore sent on a connection
/// only while the server certainly keeps it: one second less than it announces, and 1 s if it announces nothing, because
/// there are servers that close after 2 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReuseTime {
    get: Duration,
    post: Duration,
}

impl ReuseTime {
    /// By the value of the field `Keep-Alive`.
    fn new(keep_alive: Option<&str>) -> Self {
        match keep_alive.and_then(|value| keep_alive_timeout(value.as_bytes())) {
            Some(seconds) => {
                let time = Duration::from_secs(u64::from(seconds.clamp(1, 60) - 1));
                Self { get: time, post: time }
            }
            None => Self { get: Duration::from_secs(4), post: Duration::from_secs(1) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_post_reuses_a_connection_only_while_the_server_certainly_keeps_it() {
        let times = |keep_alive| {
            let ReuseTime { get, post } = ReuseTime::new(keep_alive);
            (get.as_secs(), post.as_secs())
        };
        assert_eq!(times(None), (4, 1));
        assert_eq!(times(Some("timeout=5")), (4, 4));
        assert_eq!(times(Some("timeout=2")), (1, 1));
        assert_eq!(times(Some("max=100, timeout=72")), (59, 59));
        assert_eq!(times(Some("max = 9, Timeout = \"3\"")), (2, 2));
        assert_eq!(times(Some("timeout=0")), (0, 0));
        assert_eq!(times(Some("timeout=x")), (4, 1));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let seconds = |value| parse_retry_after(value, now).map(|after| after.as_secs());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds(" 0 "), Some(0));
        assert_eq!(seconds("99999999999999999999"), Some(u64::from(u32::MAX)));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:50:07 GMT"), Some(30));
        assert_eq!(seconds("Sun Nov  6 08:50:07 1994"), Some(30));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:07 GMT"), Some(0));
        for value in ["", "-1", "1.5", "soon"] {
            assert_eq!(seconds(value), None, "{value}");
        }
    }
}
