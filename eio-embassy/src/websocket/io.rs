//! [`Driven`]: a [`Link`] and the connection it is carried by. The only file of a WebSocket session that
//! awaits.

use core::future::pending;
use core::task::Poll;

use eio_core::time::Instant;
use embassy_futures::poll_once;
use embassy_futures::select::{Either3, select3};
use embassy_time::{Instant as Clock, Timer};
use embedded_io_async::{Read, Write};
use rand_core::RngCore;

use crate::error::Error;
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
        while patience > 0 && self.link.has_unsent() {
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
    pub(crate) async fn move_bytes(&mut self, deadline: Option<Instant>, receive: bool) -> bool {
        let Self { link, reader, writer, .. } = self;
        let (spare, unsent, flush) = link.io(receive);
        let read =
            async { if spare.is_empty() { pending().await } else { reader.read(spare).await } };
        let write = async {
            if !unsent.is_empty() {
                writer.write(unsent).await
            } else if flush {
                writer.flush().await.map(|()| 0)
            } else {
                pending().await
            }
        };
        // Reading first: what came in time counts, however late it is looked at.
        match select3(read, write, sleep_until(deadline)).await {
            Either3::First(result) => link.received(result.map_err(|error| Error::io(&error))),
            Either3::Second(result) => link.written(result.map_err(|error| Error::io(&error))),
            Either3::Third(()) => return true,
        }
        false
    }

    /// Hands over what the connection takes without waiting.
    pub(crate) fn write_now(&mut self) {
        loop {
            let Self { link, writer, .. } = self;
            let (_, unsent, _) = link.io(false);
            if unsent.is_empty() {
                return;
            }
            match poll_once(writer.write(unsent)) {
                Poll::Ready(result) => link.written(result.map_err(|error| Error::io(&error))),
                Poll::Pending => return,
            }
        }
    }
}

/// The time of the session: that of embassy-time, in milliseconds.
#[inline(never)]
pub(crate) fn now() -> Instant {
    Instant::from_millis(Clock::now().as_millis())
}

/// For ever, without a deadline.
pub(crate) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => Timer::at(Clock::from_millis(at.as_millis())).await,
        None => pending().await,
    }
}
