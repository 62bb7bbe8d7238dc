//! [`WsConn`]: a [`WsMachine`] and the connection it is carried by. The only file of a WebSocket session that
//! awaits.

use eio_core::time::Instant;
use embedded_io_async::{Read, Write};
use rand_core::RngCore;

use crate::error::Error;
use crate::time::now;
use crate::websocket::machine::WsMachine;

/// How long the last words of a session that failed may take, in milliseconds.
const CLOSE_FRAME_TIMEOUT_MS: u32 = 1_000;

#[derive(Debug)]
pub(crate) struct WsConn<'b, R, W, G> {
    pub(crate) machine: WsMachine<'b>,
    pub(crate) reader: R,
    pub(crate) writer: W,
    pub(crate) rng: G,
}

impl<R: Read, W: Write, G: RngCore> WsConn<'_, R, W, G> {
    /// Handles what was received.
    ///
    /// # Errors
    /// The session has ended, and its last words are out.
    pub(crate) async fn advance(&mut self) -> Result<(), Error> {
        self.machine.advance(&mut self.rng, now());
        let Some(error) = self.machine.ended() else { return Ok(()) };
        self.write_now();
        // A server that is silent hears nothing either: the application should know now.
        let patience = if let Error::TimedOut(_) = error { 0 } else { CLOSE_FRAME_TIMEOUT_MS };
        let until = now().after(patience);
        while patience > 0 && self.machine.io.has_unsent() {
            if self.transfer(Some(until), false).await {
                break;
            }
        }
        Err(error)
    }

    /// Waits until bytes came or went, or the session's deadline.
    pub(crate) async fn step(&mut self) {
        let deadline = self.machine.deadline();
        if self.transfer(deadline, true).await {
            self.machine.timed_out(&mut self.rng, now());
        }
    }

    /// Waits until bytes came or went, or for the deadline: then the answer is true.
    pub(crate) fn transfer(
        &mut self,
        deadline: Option<Instant>,
        receive: bool,
    ) -> impl Future<Output = bool> {
        let Self { machine, reader, writer, .. } = self;
        machine.io.transfer(reader, writer, receive, deadline)
    }

    /// Hands over what the connection takes without waiting.
    pub(crate) fn write_now(&mut self) {
        self.machine.io.write_now(&mut self.writer);
    }
}
