//! [`Exchange`]: requests and responses on one HTTP/1.1 connection, one at a time. It holds all state, so a future of
//! [`drive`](Exchange::drive) that is dropped loses nothing.

use core::future::pending;

use eio_core::buffer::{RecvBuffer, Sink};
use eio_core::http::{self, BodyDecoder, HeadScanner, ResponseLines, Step, keep_alive_timeout};
use eio_core::time::Instant;

use crate::buffers::SendBuffer;
use crate::error::{Closed, Error};
use crate::net::connector::Connector;
use crate::net::transfer::ConnBuffers;

/// How long an idle connection of a server that announces nothing is used again, in milliseconds: for a GET, which is
/// repeated if the server has closed the connection, and for a POST, which is not, because the server may have processed
/// it. gunicorn closes after 2 s, Node after 5 s.
const REUSE_GET_MS: u32 = 4_000;
const REUSE_POST_MS: u32 = 1_000;

#[derive(Debug)]
pub(crate) struct Exchange<'b> {
    pub(crate) io: ConnBuffers<'b>,
    stage: Stage,
    connected: bool,
    /// When the last response on this connection was complete, if there was a response.
    idle_since: Option<Instant>,
    /// How long the server keeps the idle connection, as it announced.
    announced_ms: Option<u32>,
    /// When the request was written, and from there to the last complete response in milliseconds.
    begun: Instant,
    round_trip_ms: Option<u32>,
    /// The longest body in bytes.
    max_body: usize,
    pub(crate) cookies: Cookies<'b>,
}

/// The longest `&sid=` with its value that is expected, and `Cookie: ` with its line end.
const SID_FIELDS: usize = 5 + 40 + 10;

/// The cookies of the handshake, at the end of the memory of the send buffer.
#[derive(Debug)]
pub(crate) enum Cookies<'b> {
    /// Those of the next response will be kept, if requests of this many bytes and the cookies fit the send buffer.
    Awaited { request: usize },
    /// As the value of the field `Cookie`.
    Kept(&'b str),
}

impl<'b> Cookies<'b> {
    pub(crate) const fn value(&self) -> &'b str {
        match self {
            Self::Awaited { .. } => "",
            Self::Kept(value) => value,
        }
    }
}

#[derive(Debug)]
enum Stage {
    Idle,
    Head { method: &'static str, scanner: HeadScanner },
    Body { status: u16, keep_alive: bool, decoder: BodyDecoder },
    Complete { status: u16, keep_alive: bool, at: Instant },
}

impl<'b> Exchange<'b> {
    /// For the POSTs of a session.
    pub(crate) fn new(rx: &'b mut [u8], tx: &'b mut [u8]) -> Self {
        Self {
            max_body: rx.len(),
            io: ConnBuffers::new(rx, tx),
            stage: Stage::Idle,
            connected: false,
            idle_since: None,
            announced_ms: None,
            begun: Instant::from_millis(0),
            round_trip_ms: None,
            cookies: Cookies::Kept(""),
        }
    }

    /// For the GETs of a session, whose first request is written next: keeps the cookies of its response. Later requests
    /// may be longer than the first by a session identifier and `reserve` bytes.
    pub(crate) fn for_gets(rx: &'b mut [u8], tx: &'b mut [u8], reserve: usize) -> Self {
        Self { cookies: Cookies::Awaited { request: SID_FIELDS + reserve }, ..Self::new(rx, tx) }
    }

    /// Bodies may be longer than the receive buffer, because they are processed in parts.
    pub(crate) const fn allow_any_body(&mut self) {
        self.max_body = usize::MAX;
    }

    /// From the last request to the end of its response, in milliseconds.
    pub(crate) const fn round_trip_ms(&self) -> Option<u32> {
        self.round_trip_ms
    }

    /// The status of the response whose body is received, or complete.
    pub(crate) const fn status(&self) -> Option<u16> {
        match self.stage {
            Stage::Body { status, .. } | Stage::Complete { status, .. } => Some(status),
            _ => None,
        }
    }

    /// Whether a request can be written.
    pub(crate) const fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Idle)
    }

    /// A request is in the send buffer.
    pub(crate) fn begin(&mut self, method: &'static str, now: Instant) {
        let limit_ms = match self.announced_ms {
            // The server counts from earlier than this end, and the request takes time.
            Some(announced) => announced.saturating_sub(1_000),
            None if method == "POST" => REUSE_POST_MS,
            None => REUSE_GET_MS,
        };
        if self.idle_since.is_some_and(|since| now >= since.after(limit_ms)) {
            self.disconnect();
        }
        self.begun = now;
        if let Cookies::Awaited { request } = &mut self.cookies {
            *request += self.io.out.unsent().len();
        }
        self.stage = Stage::Head { method, scanner: HeadScanner::new() };
    }

    /// The status of the response when it is complete. Its body is kept.
    ///
    /// # Errors
    /// There will be no response.
    pub(crate) fn poll(&mut self, now: Instant) -> Result<Option<u16>, Error> {
        loop {
            match &mut self.stage {
                Stage::Idle => {
                    // A server may close an idle connection. Bytes without a request are not a response.
                    if self.io.lost().is_some() || !self.io.rx.is_empty() {
                        self.disconnect();
                    }
                    return Ok(None);
                }
                Stage::Head { method, scanner } => {
                    let Some(len) = scanner.poll(self.io.rx.unread(), self.io.rx.capacity())?
                    else {
                        self.io.need = 1;
                        return self.io.lost().map_or(Ok(None), Err);
                    };
                    let head = self.io.rx.unread().get(..len).unwrap_or_default();
                    let head = ResponseLines::parse(head)?;
                    if (100..200).contains(&head.status) {
                        // An interim response; the final one follows (RFC 9110 section 15.2).
                        scanner.reset();
                    } else {
                        let decoder = BodyDecoder::new(head.framing(method)?, self.max_body);
                        let (status, keep_alive) = (head.status, head.keep_alive());
                        self.announced_ms = head
                            .iter()
                            .filter(|(name, _)| name.eq_ignore_ascii_case("keep-alive"))
                            .find_map(|(_, value)| keep_alive_timeout(value))
                            .map(|seconds| seconds.saturating_mul(1_000));
                        if let Cookies::Awaited { request } = self.cookies {
                            let kept = keep_cookies(&head, &mut self.io.out, request);
                            self.cookies = Cookies::Kept(kept);
                        }
                        self.stage = Stage::Body { status, keep_alive, decoder };
                    }
                    self.io.rx.skip(len);
                }
                Stage::Body { status, keep_alive, decoder } => {
                    match decoder.poll(&mut self.io.rx) {
                        Ok(Step::Done) => {
                            let (status, keep_alive) = (*status, *keep_alive);
                            self.round_trip_ms = Some(now.millis_since(self.begun) as u32);
                            self.stage = Stage::Complete { status, keep_alive, at: now };
                        }
                        Ok(Step::Need(n)) => {
                            if let Some(error) = self.io.lost() {
                                decoder.finish().map_err(|_| error)?;
                                continue;
                            }
                            self.io.need = n.min(self.io.rx.room());
                            return Ok(None);
                        }
                        Err(http::Error::BodyTooLarge) => return Err(Error::ReceivedTooLarge),
                        Err(error) => return Err(error.into()),
                    }
                }
                Stage::Complete { status, .. } => return Ok(Some(*status)),
            }
        }
    }

    /// The response was processed, however long that took.
    pub(crate) fn finish(&mut self) {
        self.io.rx.release();
        match self.stage {
            Stage::Complete { keep_alive: true, at, .. } if self.io.lost().is_none() => {
                self.idle_since = Some(at);
            }
            _ => self.disconnect(),
        }
        self.stage = Stage::Idle;
    }

    /// The memory, without that of the cookies.
    pub(crate) fn into_memory(self) -> (&'b mut [u8], &'b mut [u8]) {
        self.io.into_memory()
    }

    /// Takes the receive memory between two requests. Its bytes stay in it.
    pub(crate) fn take_memory(&mut self) -> &'b mut [u8] {
        if !self.io.rx.is_empty() {
            // Bytes without a request are not a response.
            self.disconnect();
        }
        core::mem::replace(&mut self.io.rx, RecvBuffer::new(&mut [])).into_storage()
    }

    /// Whether the part of the body that is kept leaves no room for more.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self.stage, Stage::Body { .. }) && self.io.rx.room() == 0
    }

    /// Whether the server closed a connection that was used before, without a byte of the response: it did not read the
    /// request.
    pub(crate) fn is_stale(&self) -> bool {
        self.io.lost() == Some(Error::Closed(Closed::TransportClose))
            && self.idle_since.is_some()
            && matches!(self.stage, Stage::Head { .. })
            && self.io.rx.is_empty()
    }

    /// Whether there is a connection that is not known to be closed.
    pub(crate) const fn is_connected(&self) -> bool {
        self.connected
    }

    /// The next request uses a new connection.
    pub(crate) fn disconnect(&mut self) {
        self.connected = false;
        self.idle_since = None;
        self.io.reset();
    }

    /// Waits until the connection is established, or until bytes are received or sent.
    pub(crate) async fn drive<C: Connector>(&mut self, connector: &mut C, host: &str, port: u16) {
        if self.io.lost().is_some() || (!self.connected && self.io.out.is_empty()) {
            return pending().await;
        }
        if !self.connected {
            match connector.connect(host, port).await {
                Ok(()) => self.connected = true,
                Err(error) => self.io.lose(error),
            }
            return;
        }
        let (mut reader, mut writer) = connector.split();
        let receive = !matches!(self.stage, Stage::Complete { .. });
        self.io.transfer(&mut reader, &mut writer, receive, None).await;
    }
}

/// Keeps the cookies that `head` sets in the memory of `out`, which is empty: the request was answered. Returns them as the
/// value of a `Cookie` field. Attributes are not evaluated, because every request of the session has the same host and
/// path. A pair is left out if it does not fit next to a request of `request` bytes that returns it, or is not visible ASCII
/// with a `=`.
fn keep_cookies<'b>(head: &ResponseLines<'_>, out: &mut SendBuffer<'b>, request: usize) -> &'b str {
    out.clear();
    for (name, value) in head.iter() {
        if !name.eq_ignore_ascii_case("set-cookie") {
            continue;
        }
        let pair = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let is_legal = |byte: &u8| matches!(byte, b' '..=b'~');
        if !pair.contains(&b'=') || !pair.iter().all(is_legal) {
            continue;
        }
        let between: &[u8] = if out.is_empty() { b"" } else { b"; " };
        let len = out.unsent().len() + between.len() + pair.len();
        if request + 2 * len <= out.capacity() {
            let _ = out.put(between).and_then(|()| out.put(pair));
        }
    }
    core::str::from_utf8(out.detach()).unwrap_or_default()
}
