//! [`WsConn`]: a [`WsMachine`] and the halves of its connection. No other file of a WebSocket session awaits I/O.

use eio_core::time::Instant;
use embedded_io_async::{Read, Write};

use crate::error::Error;
use crate::time::now;
use crate::websocket::machine::WsMachine;

/// Time to send the last frames of a session that ended, in milliseconds.
const CLOSE_FRAME_TIMEOUT_MS: u32 = 1_000;

#[derive(Debug)]
pub(crate) struct WsConn<'b, R, W, G> {
    pub(crate) machine: WsMachine<'b>,
    pub(crate) reader: R,
    pub(crate) writer: W,
    pub(crate) random: G,
}

impl<R: Read, W: Write, G: FnMut() -> u32> WsConn<'_, R, W, G> {
    /// Processes received bytes.
    ///
    /// # Errors
    /// The session has ended. Its last frames are sent.
    pub(crate) async fn advance(&mut self) -> Result<(), Error> {
        self.machine.advance(&mut self.random, now());
        let Some(error) = self.machine.ended() else { return Ok(()) };
        self.write_now().await;
        // A server that does not send probably does not receive: report the timeout at once.
        let timeout_ms = if let Error::TimedOut(_) = error { 0 } else { CLOSE_FRAME_TIMEOUT_MS };
        let until = now().after(timeout_ms);
        while timeout_ms > 0 && self.machine.io.has_unsent() {
            if self.transfer(Some(until), false).await {
                break;
            }
        }
        Err(error)
    }

    /// Waits until bytes are received or sent, or handles the session's deadline.
    pub(crate) async fn step(&mut self) {
        let deadline = self.machine.deadline();
        if self.transfer(deadline, true).await {
            self.machine.timed_out(&mut self.random, now());
        }
    }

    /// Waits until bytes are received (if `receive`) or sent, or until `deadline`: then the result is true.
    pub(crate) fn transfer(
        &mut self,
        deadline: Option<Instant>,
        receive: bool,
    ) -> impl Future<Output = bool> {
        let Self { machine, reader, writer, .. } = self;
        machine.io.transfer(reader, writer, receive, deadline)
    }

    /// Writes as much as the connection accepts without waiting.
    pub(crate) async fn write_now(&mut self) {
        self.machine.io.write_now(&mut self.writer).await;
    }
}
