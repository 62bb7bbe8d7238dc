//! The requests of a polling session on an [`Exchange`]: a GET for packets, a POST with packets.

use eio_core::http::WriteError;
use eio_core::packet::{Message, Packet};
use eio_core::payload::Encoder;
use eio_core::request::Reject;
use eio_core::session::Lane;
use eio_core::session::client::{ClientSession, Transmit};
use eio_core::sid::Sid;
use eio_core::time::Instant;

use crate::config::Config;
use crate::error::Error;
use crate::polling::http::Exchange;

/// A session has at most three packets for one POST: a message, a pong and a close packet.
const PACKETS: usize = 3;

impl Exchange<'_> {
    /// Starts a GET: for packets of the session `sid`, or without one for a new session.
    pub(crate) fn start_get(
        &mut self,
        config: &Config<'_>,
        sid: Option<&Sid>,
        now: Instant,
    ) -> Result<(), Error> {
        self.io.out.clear();
        config.polling_request(&mut self.io.out, sid, self.cookies.value(), None)?;
        self.begin("GET", now);
        Ok(())
    }

    /// Starts a POST with the packets that `session` has to send, and with `message` when the session asks for it.
    /// Returns whether the message is in it.
    pub(crate) fn start_post(
        &mut self,
        config: &Config<'_>,
        sid: Option<&Sid>,
        cookies: &str,
        session: &mut ClientSession,
        message: Option<Message<'_>>,
        now: Instant,
    ) -> Result<bool, Error> {
        let mut packets = [Packet::Noop; PACKETS];
        let (mut count, mut taken) = (0, false);
        while let Some(slot) = packets.get_mut(count)
            && let Some(transmit) = session.poll_transmit(Lane::Post, message.is_some() && !taken)
        {
            *slot = match (transmit, message) {
                (Transmit::Message, Some(message)) => {
                    taken = true;
                    Packet::Message(message)
                }
                (Transmit::Control(packet), _) => packet,
                _ => break,
            };
            count += 1;
        }
        let packets = packets.get(..count).unwrap_or_default();
        let len = packets.iter().map(|packet| packet.text_len() + 1).sum::<usize>();
        let out = &mut self.io.out;
        out.clear();
        config.polling_request(out, sid, cookies, Some(len.saturating_sub(1)))?;
        let mut body = Encoder::new(usize::MAX, usize::MAX);
        // There is room: `push` left some for control packets when it accepted the message.
        if packets.iter().any(|packet| body.push(out, packet).is_err()) {
            return Err(Error::Request(WriteError::Overflow));
        }
        self.begin("POST", now);
        Ok(taken)
    }

    /// Whether the response is complete.
    ///
    /// # Errors
    /// There will be no response, its status is not 200, or its body does not fit.
    pub(crate) fn poll_ok(&mut self, now: Instant) -> Result<bool, Error> {
        let complete = self.poll_part(now)?;
        if !complete && self.is_full() {
            return Err(Error::ReceivedTooLarge);
        }
        Ok(complete)
    }

    /// Whether the response is complete; otherwise a part of its body may be kept.
    ///
    /// # Errors
    /// There will be no response, or its status is not 200.
    fn poll_part(&mut self, now: Instant) -> Result<bool, Error> {
        let complete = self.poll(now)?.is_some();
        match self.status() {
            // The code of a refusal is at the start of the body.
            Some(status) if status != 200 && (complete || self.is_full()) => {
                Err(Error::status(status, Reject::code_in(self.io.rx.kept())))
            }
            _ => Ok(complete),
        }
    }

    /// Like [`poll_get`](Self::poll_get), but a part of the body may be kept, and may leave no room for more.
    pub(crate) fn poll_get_part(
        &mut self,
        config: &Config<'_>,
        sid: Option<&Sid>,
        now: Instant,
    ) -> Result<bool, Error> {
        let result = self.poll_part(now);
        self.repeat_if_stale(result, config, sid, now)
    }

    /// Like [`poll_ok`](Self::poll_ok) for a GET, which is repeated on a new connection if the server closed the old
    /// one before it read the request. A POST is not repeated: the server may have processed it.
    pub(crate) fn poll_get(
        &mut self,
        config: &Config<'_>,
        sid: Option<&Sid>,
        now: Instant,
    ) -> Result<bool, Error> {
        let result = self.poll_ok(now);
        self.repeat_if_stale(result, config, sid, now)
    }

    fn repeat_if_stale(
        &mut self,
        result: Result<bool, Error>,
        config: &Config<'_>,
        sid: Option<&Sid>,
        now: Instant,
    ) -> Result<bool, Error> {
        match result {
            Err(_) if self.is_stale() => {
                self.disconnect();
                self.start_get(config, sid, now)?;
                Ok(false)
            }
            result => result,
        }
    }
}
