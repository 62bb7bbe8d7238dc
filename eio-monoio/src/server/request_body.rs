//! [`RequestBody`]: the body of a request for another path, as it arrives.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use eio_core::http::{BodyDecoder, Framing, Step};

use crate::io::http_conn::{HttpConn, RecvError};
use crate::web::request::{PeerAddr, RequestInfo};
use crate::worker::budget::{Held, SMALL_BUFFER};
use crate::worker::context::Activity;
use crate::worker::deadline::Deadline;
use crate::worker::pool::SCRATCH;

/// The body of a request, for [`Handler::respond`](crate::Handler::respond). It is received as it is read, so it takes
/// the memory of one chunk.
///
/// All reads together have [`body_timeout`](crate::Config::body_timeout). After an error the server answers the request
/// itself, with 400, 408 or 413, and closes the connection; the response of the handler is not sent. After a response
/// without an error, a body that was not read to its end closes the connection.
///
/// ```
/// use eio_monoio::{BodyError, RequestBody};
///
/// /// The length of an upload of at most 100 MB, which is not kept in memory.
/// async fn measure(mut body: RequestBody<'_>) -> Result<usize, BodyError> {
///     body.set_limit(100_000_000);
///     let mut len = 0;
///     while let Some(chunk) = body.chunk().await? {
///         len += chunk.len();
///     }
///     Ok(len)
/// }
/// ```
pub struct RequestBody<'b> {
    http: &'b mut HttpConn,
    framing: Framing,
    expects_continue: bool,
    limit: usize,
    timeout: Duration,
    /// Created by the first read.
    decoder: Option<BodyDecoder>,
    /// Bounds the handler between reads.
    handler: HandlerDeadline<'b>,
    progress: &'b Cell<Progress>,
}

/// How far a body was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More of it may follow on the connection.
    Unread,
    Complete,
    /// It cannot be received: the status of the response.
    Failed(u16),
    /// The connection has ended.
    Closed,
}

/// The time that the handler has between two reads.
#[derive(Clone, Copy)]
pub(crate) struct HandlerDeadline<'b> {
    pub(crate) deadline: &'b Deadline,
    pub(crate) time: Duration,
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.deadline.set(self.0.time);
    }
}

/// Suspends the deadline of the handler while it waits for the client.
struct Paused<'b>(HandlerDeadline<'b>);

impl<'b> HandlerDeadline<'b> {
    fn pause(self) -> Paused<'b> {
        self.deadline.clear();
        Paused(self)
    }
}

/// The head's announcement of a body, and its limits.
pub(crate) struct BodyLimits {
    pub(crate) framing: Framing,
    pub(crate) expects_continue: bool,
    pub(crate) max: usize,
    pub(crate) timeout: Duration,
}

impl<'b> RequestBody<'b> {
    pub(crate) fn new(
        http: &'b mut HttpConn,
        limits: BodyLimits,
        handler: HandlerDeadline<'b>,
        progress: &'b Cell<Progress>,
    ) -> Self {
        let BodyLimits { framing, expects_continue, max: limit, timeout } = limits;
        if matches!(framing, Framing::None | Framing::Length(0)) {
            progress.set(Progress::Complete);
        }
        Self { http, framing, expects_continue, limit, timeout, decoder: None, handler, progress }
    }
}

impl RequestBody<'_> {
    /// The length that the client announced, in bytes; `None` for a chunked body.
    pub fn announced_len(&self) -> Option<u64> {
        match self.framing {
            Framing::None => Some(0),
            Framing::Length(len) => Some(len),
            _ => None,
        }
    }

    /// Sets the largest body, in bytes. To be called before the first read; later it has no effect.
    ///
    /// **Default:** [`max_payload`](crate::Config::max_payload).
    pub fn set_limit(&mut self, bytes: usize) {
        self.limit = bytes;
    }

    /// Receives the next bytes of the body, at least one; `None` at its end.
    ///
    /// # Errors
    /// [`BodyError`]. Errors are final.
    pub async fn chunk(&mut self) -> Result<Option<&[u8]>, BodyError> {
        match self.progress.get() {
            Progress::Failed(413) => return Err(BodyError::TooLarge),
            Progress::Failed(408) => return Err(BodyError::TimedOut),
            Progress::Failed(503) => return Err(BodyError::OverBudget),
            Progress::Failed(_) => return Err(BodyError::Malformed),
            Progress::Closed => return Err(BodyError::Closed),
            Progress::Unread | Progress::Complete => {}
        }
        let _paused = self.handler.pause();
        match receive_chunk(self).await {
            Ok(true) => Ok(Some(self.http.rx.kept())),
            Ok(false) => {
                self.progress.set(Progress::Complete);
                Ok(None)
            }
            Err(error) => {
                let (progress, error) = match error {
                    RecvError::Bad(error) if error.status() == 413 => {
                        (Progress::Failed(413), BodyError::TooLarge)
                    }
                    RecvError::Bad(error) => {
                        (Progress::Failed(error.status()), BodyError::Malformed)
                    }
                    RecvError::OverBudget => (Progress::Failed(503), BodyError::OverBudget),
                    RecvError::TimedOut => (Progress::Failed(408), BodyError::TimedOut),
                    RecvError::Closed => (Progress::Closed, BodyError::Closed),
                };
                self.progress.set(progress);
                Err(error)
            }
        }
    }

    /// Receives the rest of the body.
    ///
    /// # Errors
    /// As [`chunk`](Self::chunk).
    pub async fn read_to_end(&mut self) -> Result<Vec<u8>, BodyError> {
        let (mut body, mut held) = (Vec::new(), Held::default());
        while let Some(chunk) = self.chunk().await? {
            body.extend_from_slice(chunk);
            held.set(body.capacity());
            if body.len() > SMALL_BUFFER
                && self.progress.get() == Progress::Unread
                && self.http.is_over_budget()
            {
                self.progress.set(Progress::Failed(503));
                return Err(BodyError::OverBudget);
            }
        }
        Ok(body)
    }
}

/// Receives until the buffer keeps bytes of the body, or the body has ended (false).
async fn receive_chunk(body: &mut RequestBody<'_>) -> Result<bool, RecvError> {
    body.http.rx.release();
    let is_first = body.decoder.is_none();
    let decoder = body.decoder.get_or_insert(BodyDecoder::new(body.framing, body.limit));
    let mut step = decoder.poll(&mut body.http.rx).map_err(RecvError::Bad)?;
    if is_first && step != Step::Done {
        if body.expects_continue && body.http.rx.is_empty() {
            body.http.out_mut().0.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            body.http.flush().await?;
        }
        body.http.set_deadline(body.timeout);
    }
    loop {
        if !body.http.rx.kept().is_empty() {
            if step == Step::Done {
                body.progress.set(Progress::Complete);
            }
            return Ok(true);
        }
        match step {
            Step::Done => return Ok(false),
            // Not the whole body: a chunk needs no more memory than this.
            Step::Need(n) => {
                body.http.set_activity(Activity::Receiving);
                let received = body.http.receive(n.min(SCRATCH)).await;
                body.http.set_activity(Activity::Busy);
                received?;
            }
        }
        step = decoder.poll(&mut body.http.rx).map_err(RecvError::Bad)?;
    }
}

/// The request with its whole body, for [`Handler::request`](crate::Handler::request).
pub(crate) async fn whole(
    request: &RequestInfo<'_>,
    mut body: RequestBody<'_>,
) -> Result<http::Request<Vec<u8>>, BodyError> {
    let body = body.read_to_end().await?;
    let mut http = request.to_http().map(|()| body);
    if let Some(peer) = request.peer_addr() {
        http.extensions_mut().insert(PeerAddr(peer));
    }
    Ok(http)
}

impl fmt::Debug for RequestBody<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody")
            .field("framing", &self.framing)
            .field("progress", &self.progress.get())
            .finish_non_exhaustive()
    }
}

/// Why a body was not received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyError {
    /// It is larger than [the limit](RequestBody::set_limit).
    TooLarge,
    /// It was not complete within [`body_timeout`](crate::Config::body_timeout).
    TimedOut,
    /// Its framing is not HTTP/1.1.
    Malformed,
    /// [`memory_budget`](crate::Config::memory_budget) bytes are held for clients.
    OverBudget,
    /// The connection has ended.
    Closed,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the body is larger than its limit",
            Self::TimedOut => "the body was not complete in time",
            Self::Malformed => "the framing of the body is not HTTP/1.1",
            Self::OverBudget => "the server holds as many bytes for clients as it may",
            Self::Closed => "the connection has ended",
        })
    }
}

impl std::error::Error for BodyError {}
