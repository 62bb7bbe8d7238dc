//! HTTP requests and responses of a client, and the reuse of connections.

use std::cell::RefCell;
use std::time::Duration;

use eio_core::http::{
    BodyDecoder, EMPTY, Error as HttpError, Framing, HeadScanner, HeadWriter, ResponseHead, Step,
    WriteError, request,
};
use eio_core::time::Instant;

use crate::client::cookies::CookieJar;
use crate::client::error::Fault;
use crate::client::settings::Settings;
use crate::io::http_conn::{HttpConn, RecvError};
use crate::message::OutBuf;
use crate::worker::context::Activity;

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
    let (host, lines, own) = settings.common();
    let head = request(out, method, target)?.header("Host", host)?.raw(lines)?;
    let cookies = cookies.header(own);
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
pub(crate) fn recv_fault(error: RecvError) -> Fault {
    match error {
        RecvError::Closed => Fault::Lost,
        RecvError::TimedOut => Fault::RequestTimeout,
        RecvError::Bad(error) => Fault::Http(error),
    }
}

/// The head of a response.
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) framing: Framing,
    /// The time for which the connection can be reused, if it is persistent.
    pub(crate) reuse_time: Option<Duration>,
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
        let reuse_time = head.keep_alive().then(|| reuse_time(head.headers.text("keep-alive")));
        let status = head.status;
        conn.rx.skip(len);
        // RFC 9110 15.2: "A client MUST be able to parse one or more 1xx responses received prior to a final
        // response".
        if status >= 200 || status == 101 {
            return Ok(Head { status, framing, reuse_time });
        }
    }
}

/// Waits for a complete head and returns its length.
pub(crate) async fn scan_head(conn: &mut HttpConn) -> Result<usize, Failure> {
    let mut scanner = HeadScanner::new();
    conn.rx.release();
    loop {
        let found = scanner.poll(conn.rx.unread(), MAX_HEAD).map_err(Fault::Http)?;
        if let Some(len) = found {
            return Ok(len);
        }
        if let Err(error) = conn.receive(1).await {
            let unanswered = matches!(error, RecvError::Closed) && conn.rx.unread().is_empty();
            return Err(Failure { fault: recv_fault(error), unanswered });
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
            Err(error) => return Err(recv_fault(error)),
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
    /// The time until which it can be reused.
    pub(crate) until: Instant,
}

/// Takes a connection that the server has not closed and does not close soon; drops all others.
pub(crate) fn take_reusable(conns: &mut Vec<IdleConn>, now: Instant) -> Option<HttpConn> {
    while let Some(IdleConn { mut conn, until }) = conns.pop() {
        // Without a request, any input is the end of the connection, or a response that belongs to no request.
        if now < until && matches!(conn.try_receive(1), Ok(false)) {
            conn.set_activity(Activity::Busy);
            return Some(conn);
        }
    }
    None
}

/// The time for which a connection can be reused, by the value of the field `Keep-Alive`.
///
/// A server may close an idle connection at the moment when a POST is sent; the client then cannot know whether the
/// server received it. A connection is therefore reused one second less than the server keeps it. The default of 4 s
/// follows from Node's timeout of 5 s.
fn reuse_time(keep_alive: Option<&str>) -> Duration {
    let timeout = keep_alive.and_then(|value| {
        value.split(',').find_map(|part| part.trim().strip_prefix("timeout=")?.parse().ok())
    });
    let seconds: u64 = timeout.unwrap_or(5);
    Duration::from_secs(seconds.clamp(1, 60) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_reused_one_second_less_than_the_server_keeps_it() {
        assert_eq!(reuse_time(None), Duration::from_secs(4));
        assert_eq!(reuse_time(Some("timeout=5")), Duration::from_secs(4));
        assert_eq!(reuse_time(Some("max=100, timeout=72")), Duration::from_secs(59));
        assert_eq!(reuse_time(Some("timeout=0")), Duration::ZERO);
        assert_eq!(reuse_time(Some("timeout=x")), Duration::from_secs(4));
    }
}
