//! HTTP requests and responses of a client, and the connections it keeps between them.

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

/// The longest response head, in bytes, and the most header lines in it.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 100;
/// How much of a refusal's body is told.
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

pub(crate) struct Failure {
    pub(crate) fault: Fault,
    /// Nothing came back at all.
    pub(crate) untouched: bool,
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self { fault, untouched: false }
    }
}

/// What the head of a response says.
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) framing: Framing,
    /// For how long the server keeps the connection.
    pub(crate) reuse: Option<Duration>,
}

/// Reads the head of the final response and takes it off the connection.
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
        let reuse = head.keep_alive().then(|| kept_for(head.headers.text("keep-alive")));
        let status = head.status;
        conn.rx.skip(len);
        // RFC 9110 15.2: "A client MUST be able to parse one or more 1xx responses received prior to a final
        // response".
        if status >= 200 || status == 101 {
            return Ok(Head { status, framing, reuse });
        }
    }
}

/// Waits for a whole head and says how long it is.
pub(crate) async fn scan_head(conn: &mut HttpConn) -> Result<usize, Failure> {
    let mut scanner = HeadScanner::new();
    conn.rx.release();
    loop {
        let found = scanner.poll(conn.rx.unread(), MAX_HEAD).map_err(Fault::Http)?;
        if let Some(len) = found {
            return Ok(len);
        }
        if let Err(ended) = conn.receive(1).await {
            let untouched = matches!(ended, RecvError::Closed) && conn.rx.unread().is_empty();
            return Err(Failure { fault: fault(ended), untouched });
        }
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        failure.fault
    }
}

/// What the end of a connection means while something is awaited on it.
pub(crate) fn fault(ended: RecvError) -> Fault {
    match ended {
        RecvError::Closed => Fault::Lost,
        RecvError::TimedOut => Fault::RequestTimeout,
        RecvError::Bad(error) => Fault::Http(error),
    }
}

/// A connection between two requests.
pub(crate) struct IdleConn {
    pub(crate) conn: HttpConn,
    pub(crate) until: Instant,
}

/// Finds a connection that the server has not closed, nor is about to.
pub(crate) fn usable(idle: &mut Vec<IdleConn>, now: Instant) -> Option<HttpConn> {
    while let Some(IdleConn { mut conn, until }) = idle.pop() {
        // Anything that can be read now is an end, or an answer to nothing.
        if now < until && matches!(conn.try_receive(1), Ok(false)) {
            conn.set_idle(false);
            return Some(conn);
        }
    }
    None
}

/// How long a connection may wait for its next request.
///
/// A server that closes it meanwhile may do so just as a POST is under way, and whether that was read nobody
/// can tell. So no longer than the server says, less a second; without a word, 4 s: Node's default is 5.
fn kept_for(keep_alive: Option<&str>) -> Duration {
    let timeout = keep_alive.and_then(|value| {
        value.split(',').find_map(|part| part.trim().strip_prefix("timeout=")?.parse().ok())
    });
    let seconds: u64 = timeout.unwrap_or(5);
    Duration::from_secs(seconds.clamp(1, 60) - 1)
}

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
            Err(ended) => return Err(fault(ended)),
        }
    }
}

/// The beginning of a refusal's body, as far as it comes.
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

/// The same for a response whose head is parsed elsewhere.
pub(crate) fn refusal_decoder(head: &ResponseHead<'_, '_>) -> Result<BodyDecoder, HttpError> {
    Ok(BodyDecoder::new(head.framing("GET")?, usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_not_kept_longer_than_the_server_keeps_it() {
        assert_eq!(kept_for(None), Duration::from_secs(4));
        assert_eq!(kept_for(Some("timeout=5")), Duration::from_secs(4));
        assert_eq!(kept_for(Some("max=100, timeout=72")), Duration::from_secs(59));
        assert_eq!(kept_for(Some("timeout=0")), Duration::ZERO);
        assert_eq!(kept_for(Some("timeout=x")), Duration::from_secs(4));
    }
}
