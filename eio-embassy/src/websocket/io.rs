//! [`Driven`]: a [`Link`] and the connection it is carried by. The only file of a WebSocket session that
//! awaits.

use eio_core::time::Instant;
use embedded_io_async::{Read, Write};
use rand_core::RngCore;

use crate::error::Error;
use crate::time::now;
use crate::websocket::machine::Link;

/// How long the last words of a session that failed may take, in milliseconds.
const LAST_WORDS: u32 = 1_000;

#[derive(Debug)]
pub(crate) struct Driven<'b, R, W, G> {
    pub(crate) link: Link<'b>,
    pub(crate) reader: R,
    pub(crate) writer: W,
    pub(crate) rng: G,
}

impl<R: Read, W: Write, G: RngCore> Driven<'_, R, W, G> {
    /// Handles what was received.
    ///
    /// # Errors
    /// The session has ended, and its last words are out.
    pub(crate) async fn advance(&mut self) -> Result<(), Error> {
        self.link.advance(&mut self.rng, now());
        let Some(error) = self.link.ended() else { return Ok(()) };
        self.write_now();
        // A server that is silent hears nothing either: the application should know now.
        let patience = if let Error::TimedOut(_) = error { 0 } else { LAST_WORDS };
        let until = now().after(patience);
        while patience > 0 && self.link.conn.has_unsent() {
            if self.move_bytes(Some(until), false).await {
                break;
            }
        }
        Err(error)
    }

    /// Waits until bytes came or went, or the session's deadline.
    pub(crate) async fn exchange(&mut self) {
        let deadline = self.link.deadline();
        if self.move_bytes(deadline, true).await {
            self.link.timed_out(&mut self.rng, now());
        }
    }

    /// Waits until bytes came or went, or for the deadline: then the answer is true.
    pub(crate) fn move_bytes(
        &mut self,
        deadline: Option<Instant>,
        receive: bool,
    ) -> impl Future<Output = bool> {
        let Self { link, reader, writer, .. } = self;
        link.conn.transfer(reader, writer, receive, deadline)
    }

    /// Hands over what the connection takes without waiting.
    pub(crate) fn write_now(&mut self) {
        self.link.conn.write_now(&mut self.writer);
    }
}
