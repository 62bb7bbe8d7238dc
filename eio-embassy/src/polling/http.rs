//! [`Exchange`]: requests and responses on one HTTP/1.1 connection, one at a time. It holds all state, so a future of
//! [`drive`](Exchange::drive) that is dropped loses nothing.

use core::future::pending;

use eio_core::buffer::RecvBuffer;
use eio_core::http::{self, BodyDecoder, HeadScanner, ResponseLines, Step};
use eio_core::time::Instant;

use crate::error::{Closed, Error};
use crate::net::connector::Connector;
use crate::net::transfer::ConnBuffers;

/// A connection that was idle for longer than this, in milliseconds, is not used again. Servers close one after 5 s
/// (Node), and a request that arrives later is lost.
const REUSE_LIMIT_MS: u64 = 2_000;

#[derive(Debug)]
pub(crate) struct Exchange<'b> {
    pub(crate) io: ConnBuffers<'b>,
    stage: Stage,
    connected: bool,
    /// When the last response on this connection was complete, if there was a response.
    idle_since: Option<Instant>,
}

#[derive(Debug)]
enum Stage {
    Idle,
    Head { method: &'static str, scanner: HeadScanner },
    Body { status: u16, keep_alive: bool, decoder: BodyDecoder },
    Complete { status: u16, keep_alive: bool, at: Instant },
}

impl<'b> Exchange<'b> {
    pub(crate) fn new(rx: &'b mut [u8], tx: &'b mut [u8]) -> Self {
        Self {
            io: ConnBuffers::new(rx, tx),
            stage: Stage::Idle,
            connected: false,
            idle_since: None,
        }
    }

    /// Whether a request can be written.
    pub(crate) const fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Idle)
    }

    /// A request is in the send buffer.
    pub(crate) fn begin(&mut self, method: &'static str, now: Instant) {
        let stale =
            |since: Instant| now.as_millis().saturating_sub(since.as_millis()) > REUSE_LIMIT_MS;
        if self.idle_since.is_some_and(stale) {
            self.disconnect();
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
                        let decoder =
                            BodyDecoder::new(head.framing(method)?, self.io.rx.capacity());
                        let (status, keep_alive) = (head.status, head.keep_alive());
                        self.stage = Stage::Body { status, keep_alive, decoder };
                    }
                    self.io.rx.skip(len);
                }
                Stage::Body { status, keep_alive, decoder } => {
                    match decoder.poll(&mut self.io.rx) {
                        Ok(Step::Done) => {
                            let (status, keep_alive) = (*status, *keep_alive);
                            self.stage = Stage::Complete { status, keep_alive, at: now };
                        }
                        Ok(Step::Need(n)) => {
                            if let Some(error) = self.io.lost() {
                                decoder.finish().map_err(|_| error)?;
                                continue;
                            }
                            if self.io.rx.room() == 0 {
                                return Err(Error::ReceivedTooLarge);
                            }
                            self.io.need = n;
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
