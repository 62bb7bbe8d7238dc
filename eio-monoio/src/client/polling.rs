//! Polling: one request for each GET and POST the session asks for, over connections that are kept.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use eio_core::http::{
    BodyDecoder, EMPTY, Error as HttpError, HeadScanner, ResponseHead, Step, WriteError, request,
};
use eio_core::payload;
use eio_core::session::{CloseReason, Lane};
use eio_core::time::Instant;
use eio_core::transport::Transport;

use crate::client::dial::{dial, fault};
use crate::client::error::Fault;
use crate::client::session::Session;
use crate::io::http_conn::{Ended, Line};
use crate::message::OutBuf;
use crate::worker::deadline::millis;

/// The longest response head, in bytes, and the most header lines in it.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 100;
/// How much of a refusal's body is told.
const TOLD: usize = 1024;

/// Receives once: a GET and what its response holds.
pub(crate) async fn get(session: Rc<Session>) {
    let mut line = match exchange(&session, Lane::Get, None).await {
        Ok(answered) => answered,
        Err(fault) => return session.lost(Lane::Get, fault),
    };
    for packet in payload::Decoder::new(line.line.rx.kept_mut()) {
        let go_on = match packet {
            Ok(packet) => session.handle_packet(Lane::Get, packet),
            Err(error) => {
                session.fail(Lane::Get, CloseReason::ParseError, Fault::Packet(error));
                false
            }
        };
        if !go_on {
            break;
        }
    }
    line.keep(&session);
    // An application that does not keep up is not polled for.
    poll_fn(|cx| session.poll_inbox(cx)).await;
    session.detach(Lane::Get);
}

/// Sends once: a POST of what was written into `body`.
pub(crate) async fn post(session: Rc<Session>, body: OutBuf) {
    match exchange(&session, Lane::Post, Some(body)).await {
        Ok(answered) => {
            answered.keep(&session);
            session.detach(Lane::Post);
        }
        Err(fault) => session.lost(Lane::Post, fault),
    }
}

/// A connection between two requests.
pub(crate) struct Idle {
    line: Line,
    until: Instant,
}

/// Finds a connection that the server has not closed, nor is about to.
pub(crate) fn usable(idle: &mut Vec<Idle>, now: Instant) -> Option<Line> {
    while let Some(Idle { mut line, until }) = idle.pop() {
        // Anything that can be read now is an end, or an answer to nothing.
        if now < until && matches!(line.try_receive(1), Ok(false)) {
            line.set_idle(false);
            return Some(line);
        }
    }
    None
}

/// A connection with the body of a 200 in what it keeps.
struct Answered {
    line: Line,
    reuse: Option<Duration>,
}

impl Answered {
    /// Gives the connection back for another request.
    fn keep(mut self, session: &Session) {
        self.line.rx.release();
        if let Some(time) = self.reuse
            && self.line.rx.unread().is_empty()
        {
            self.line.release();
            self.line.clear_deadline();
            self.line.set_idle(true);
            let until = session.local.now().after(millis(time));
            session.give_idle(Idle { line: self.line, until });
        }
    }
}

/// Runs one request of `lane` to its end.
async fn exchange(
    session: &Rc<Session>,
    lane: Lane,
    body: Option<OutBuf>,
) -> Result<Answered, Fault> {
    if session.is_unwanted(lane) {
        return Err(Fault::Lost);
    }
    let reused = session.take_idle();
    let retry = reused.is_some() && lane == Lane::Get;
    let line = match reused {
        Some(line) => line,
        None => connect(session, lane).await?,
    };
    match attempt(session, lane, line, body.as_ref()).await {
        // The server closed the connection before it saw the request. RFC 9110 9.2.2: a GET may be sent again;
        // a POST may not, and is not sent on a connection that was idle for long.
        Err(Failure { fault: _, untouched: true }) if retry && session.closed().is_none() => {
            let line = connect(session, lane).await?;
            attempt(session, lane, line, body.as_ref()).await.map_err(|failure| failure.fault)
        }
        outcome => outcome.map_err(|failure| failure.fault),
    }
}

/// A new connection, unless that is not wanted any more before it is there.
pub(crate) async fn connect(session: &Rc<Session>, lane: Lane) -> Result<Line, Fault> {
    let mut dialing = pin!(dial(&session.local, &session.settings));
    poll_fn(|cx| {
        if session.poll_unwanted(lane, cx).is_ready() {
            return Poll::Ready(Err(Fault::Lost));
        }
        dialing.as_mut().poll(cx)
    })
    .await
}

pub(crate) struct Failure {
    fault: Fault,
    /// Nothing came back at all.
    untouched: bool,
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self { fault, untouched: false }
    }
}

async fn attempt(
    session: &Rc<Session>,
    lane: Lane,
    mut line: Line,
    body: Option<&OutBuf>,
) -> Result<Answered, Failure> {
    let _cuttable = Cuttable::new(session, lane, &line);
    let method = if lane == Lane::Post { "POST" } else { "GET" };
    // Over polling, POSTs are told apart by their bodies.
    let target =
        session.settings.target(Transport::Polling, session.sid().as_ref(), lane == Lane::Get);
    let body = body.map(|body| body.0.as_slice());
    write_request(session, line.answer(), method, &target, body);
    let lost = |ended| Failure { untouched: matches!(ended, Ended::Closed), fault: fault(ended) };
    line.flush().await.map_err(lost)?;
    if lane == Lane::Get && session.is_open() {
        // It is held until there is something; pingInterval + pingTimeout bound it (protocol 3.17).
        line.clear_deadline();
    } else {
        line.set_deadline(session.patience());
    }
    let head = read_head(session, &mut line, method).await?;
    let max = session.settings.options.max_receive;
    let mut decoder = BodyDecoder::new(head.framing, max);
    if head.status != 200 {
        let body = told(&mut line, &mut decoder).await;
        return Err(Fault::Status { status: head.status, body }.into());
    }
    receive_body(&mut line, &mut decoder).await?;
    let reuse = head.reuse.filter(|_| !matches!(head.framing, eio_core::http::Framing::UntilClose));
    Ok(Answered { line, reuse })
}

/// Makes the socket of a lane known to its session for as long as this lives.
pub(crate) struct Cuttable<'s> {
    session: &'s Session,
    lane: Lane,
}

impl<'s> Cuttable<'s> {
    pub(crate) fn new(session: &'s Session, lane: Lane, line: &Line) -> Self {
        session.set_socket(lane, Some(line.stream().raw()));
        Self { session, lane }
    }
}

impl Drop for Cuttable<'_> {
    fn drop(&mut self) {
        self.session.set_socket(self.lane, None);
    }
}

/// Writes the whole request of a polling lane.
fn write_request(
    session: &Session,
    out: &mut OutBuf,
    method: &str,
    target: &str,
    body: Option<&[u8]>,
) {
    let cookies = |own: &str| session.cookies.borrow().header(own);
    let (host, lines, own) = session.settings.common();
    let write = |out: &mut OutBuf| -> Result<(), WriteError> {
        let mut head = request(out, method, target)?.header("Host", host)?.raw(lines)?;
        let cookies = cookies(own);
        if !cookies.is_empty() {
            head = head.header("Cookie", &cookies)?;
        }
        if let Some(body) = body {
            head = head
                .header("Content-Type", "text/plain;charset=UTF-8")?
                .number("Content-Length", body.len() as u64)?;
        }
        head.end()
    };
    let written = write(out);
    debug_assert!(written.is_ok(), "all of it was checked before, cookies when they were read");
    out.0.extend_from_slice(body.unwrap_or_default());
}

/// What the head of a response says.
pub(crate) struct Head {
    pub(crate) status: u16,
    framing: eio_core::http::Framing,
    /// For how long the server keeps the connection.
    reuse: Option<Duration>,
}

/// Reads the head of the final response and takes it off the connection.
async fn read_head(session: &Session, line: &mut Line, method: &str) -> Result<Head, Failure> {
    loop {
        let len = scan_head(line).await?;
        let mut slots = [EMPTY; MAX_HEADERS];
        let bytes = line.rx.unread().get(..len).unwrap_or_default();
        let head = ResponseHead::parse(bytes, &mut slots).map_err(Fault::Http)?;
        session.cookies.borrow_mut().store(&head.headers);
        let framing = head.framing(method).map_err(Fault::Http)?;
        let reuse = head.keep_alive().then(|| kept_for(head.headers.text("keep-alive")));
        let status = head.status;
        line.rx.skip(len);
        // RFC 9110 15.2: "A client MUST be able to parse one or more 1xx responses received prior to a final
        // response".
        if status >= 200 || status == 101 {
            return Ok(Head { status, framing, reuse });
        }
    }
}

/// Waits for a whole head and says how long it is.
pub(crate) async fn scan_head(line: &mut Line) -> Result<usize, Failure> {
    let mut scanner = HeadScanner::new();
    line.rx.release();
    loop {
        let found = scanner.poll(line.rx.unread(), MAX_HEAD).map_err(Fault::Http)?;
        if let Some(len) = found {
            return Ok(len);
        }
        if let Err(ended) = line.receive(1).await {
            let untouched = matches!(ended, Ended::Closed) && line.rx.unread().is_empty();
            return Err(Failure { fault: fault(ended), untouched });
        }
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        failure.fault
    }
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

async fn receive_body(line: &mut Line, decoder: &mut BodyDecoder) -> Result<(), Fault> {
    loop {
        let wanted = match decoder.poll(&mut line.rx).map_err(Fault::Http)? {
            Step::Done => return Ok(()),
            Step::Need(n) => n,
        };
        match line.receive(wanted).await {
            Ok(()) => {}
            Err(Ended::Closed) => return decoder.finish().map_err(Fault::Http),
            Err(ended) => return Err(fault(ended)),
        }
    }
}

/// The beginning of a refusal's body, as far as it comes.
pub(crate) async fn told(line: &mut Line, decoder: &mut BodyDecoder) -> String {
    while let Ok(Step::Need(n)) = decoder.poll(&mut line.rx) {
        if line.rx.kept().len() >= TOLD || line.receive(n.min(TOLD)).await.is_err() {
            break;
        }
    }
    let kept = line.rx.kept();
    String::from_utf8_lossy(kept.get(..TOLD).unwrap_or(kept)).into_owned()
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
