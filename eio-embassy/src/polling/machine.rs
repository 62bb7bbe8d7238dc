//! [`PollingMachine`]: the state machine of a session over HTTP long-polling. It holds all state and awaits nothing.

use core::mem::take;

use eio_core::open::Open;
use eio_core::packet::{Message, Packet};
use eio_core::payload::{SEPARATOR, is_revision_3};
use eio_core::session::client::ClientSession;
use eio_core::session::{Event, Lane};
use eio_core::time::Instant;
use eio_core::transport::Transport;

use crate::config::Config;
use crate::error::Error;
use crate::fmt::debug;
use crate::polling::http::Exchange;
use crate::session::{MessageSpan, check_separator, open_params};

/// A pong and a separator, for which the body of each POST has room.
const PONG: usize = 2;

#[derive(Debug)]
pub(crate) struct PollingMachine<'b> {
    pub(crate) get: Exchange<'b>,
    pub(crate) post: Exchange<'b>,
    config: Config<'b>,
    session: ClientSession,
    open: Option<Open>,
    /// The length of the longest head of a POST.
    head: usize,
    /// The bytes of the last decoded packet and the separator after it, which are at the start of the kept body of the
    /// GET.
    decoded: usize,
    /// The last packet of the body was decoded.
    last: bool,
    /// The POST in flight contains a message.
    posting: bool,
    /// When the last packet or response of the server was processed.
    seen: Instant,
    /// A decoded message that the application has not received yet.
    held: Option<MessageSpan>,
    ended: Option<Error>,
}

impl<'b> PollingMachine<'b> {
    pub(crate) fn new(
        config: &Config<'b>,
        get: Exchange<'b>,
        post: Exchange<'b>,
        now: Instant,
    ) -> Self {
        let session = ClientSession::new(Transport::Polling, false, config.timing, now);
        Self::with(config, get, post, session, now)
    }

    fn with(
        config: &Config<'b>,
        mut get: Exchange<'b>,
        post: Exchange<'b>,
        session: ClientSession,
        seen: Instant,
    ) -> Self {
        get.allow_any_body();
        let (config, open, held, ended) = (*config, None, None, None);
        let (head, decoded, last, posting) = (0, 0, false, false);
        Self { get, post, config, session, open, head, decoded, last, posting, seen, held, ended }
    }

    /// Continues an open session. `get` may have a GET in flight.
    pub(crate) fn resume(
        config: &Config<'b>,
        get: Exchange<'b>,
        post: Exchange<'b>,
        session: ClientSession,
        open: Open,
        now: Instant,
    ) -> Result<Self, Error> {
        let mut machine = Self::with(config, get, post, session, now);
        machine.opened(open)?;
        Ok(machine)
    }

    fn opened(&mut self, open: Open) -> Result<(), Error> {
        // Written once to measure it: the length of the body has at most five digits.
        self.post.io.out.clear();
        let (cookies, out) = (self.get.cookies.value(), &mut self.post.io.out);
        self.config.polling_request(out, Some(&open.sid), cookies, Some(99_999))?;
        self.head = self.post.io.out.unsent().len();
        self.post.io.out.clear();
        self.open = Some(open);
        Ok(())
    }

    /// Why the session ended, if it has.
    pub(crate) const fn ended(&self) -> Option<Error> {
        self.ended
    }

    /// The open packet, when it was received.
    pub(crate) const fn open(&self) -> Option<&Open> {
        self.open.as_ref()
    }

    /// When the server was last seen.
    pub(crate) const fn seen(&self) -> Instant {
        self.seen
    }

    /// Whether a POST with a message was not answered.
    pub(crate) const fn is_posting(&self) -> bool {
        self.posting
    }

    pub(crate) const fn has_message(&self) -> bool {
        self.held.is_some()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.session.poll_timeout()
    }

    /// Processes received bytes up to the next message (which stays until [`take`](Self::take)), to the end of the
    /// session, or until bytes have to be received or sent first.
    pub(crate) fn advance(&mut self, now: Instant) {
        while self.ended.is_none() {
            while let Some(lane) = self.session.poll_lane(false) {
                self.start(lane, None, now);
            }
            self.poll_events();
            let progress = match self.poll_post(now) {
                // The body that contains a message stays until the message was taken.
                Ok(false) if self.held.is_none() => self.decode(now),
                posted => posted,
            };
            match progress {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => self.fail(error),
            }
        }
    }

    /// Processes the response to a POST. Returns whether it is complete.
    fn poll_post(&mut self, now: Instant) -> Result<bool, Error> {
        let complete = self.post.poll_ok(now)?;
        if complete {
            self.post.finish();
            self.session.detach(Lane::Post);
            (self.posting, self.seen) = (false, now);
        }
        Ok(complete)
    }

    /// After the end of the session: whether the last POST was answered.
    pub(crate) fn is_posted(&mut self, now: Instant) -> bool {
        self.poll_post(now).is_err() || self.post.is_idle()
    }

    /// The message that [`advance`](Self::advance) decoded.
    pub(crate) fn take(&mut self) -> Option<Message<'_>> {
        Some(self.held.take()?.message(self.get.io.rx.kept()))
    }

    /// Like [`advance`](Self::advance), but drops messages.
    pub(crate) fn discard(&mut self, now: Instant) {
        self.advance(now);
        while self.held.take().is_some() {
            self.advance(now);
        }
    }

    /// Writes a message into the body of a POST. `Ok(false)`: call again when the POST in flight was answered.
    pub(crate) fn push(&mut self, message: Message<'_>, now: Instant) -> Result<bool, Error> {
        if let Some(error) = self.ended {
            return Err(error);
        }
        let announced = self.open.as_ref().map_or(0, |open| open.max_payload);
        let room = self.post.io.out.capacity().saturating_sub(self.head);
        let max = usize::try_from(announced).unwrap_or(usize::MAX).min(room).saturating_sub(PONG);
        if Packet::Message(message).text_len() > max {
            return Err(Error::TooLarge { max: u32::try_from(max).unwrap_or(u32::MAX) });
        }
        check_separator(message)?;
        while let Some(lane) = self.session.poll_lane(true) {
            if self.start(lane, Some(message), now) {
                self.posting = true;
                return Ok(true);
            }
        }
        self.poll_events();
        self.ended.map_or(Ok(false), Err)
    }

    /// Closes the session. It ends with `Closed::ClientDisconnect` when the close packet is in a POST.
    pub(crate) fn close(&mut self, now: Instant) {
        self.session.close(now);
    }

    /// The deadline of the session has passed, and all bytes received before it are processed, except for a message
    /// that the application has not received yet.
    pub(crate) fn timed_out(&mut self, now: Instant) {
        if self.held.is_none() || !self.session.extend(now) {
            self.session.handle_timeout(now);
            self.poll_events();
        }
    }

    /// Writes the request of a lane. Returns whether the message is in it.
    fn start(&mut self, lane: Lane, message: Option<Message<'_>>, now: Instant) -> bool {
        let sid = self.open.as_ref().map(|open| &open.sid);
        let started = match lane {
            Lane::Get => {
                (self.decoded, self.last) = (0, false);
                self.get.start_get(&self.config, sid, now).map(|()| false)
            }
            Lane::Post => {
                let cookies = self.get.cookies.value();
                self.post.start_post(&self.config, sid, cookies, &mut self.session, message, now)
            }
            Lane::WebSocket => {
                // This session does not want an upgrade.
                self.session.lost(lane);
                Ok(false)
            }
        };
        started.unwrap_or_else(|error| {
            self.fail(error);
            false
        })
    }

    /// Processes one packet or the end of a response. `Ok(false)`: more bytes have to be received first.
    ///
    /// A packet is processed when it is complete, so the limit of the receive buffer is one of each packet: a server puts
    /// all that is queued into one body.
    fn decode(&mut self, now: Instant) -> Result<bool, Error> {
        let sid = self.open.as_ref().map(|open| &open.sid);
        self.get.io.rx.release_front(take(&mut self.decoded));
        let polled = self.get.poll_get_part(&self.config, sid, now);
        if self.get.status() != Some(200) {
            return polled;
        }
        let body = self.get.io.rx.kept();
        let separator = body.iter().position(|&byte| byte == SEPARATOR);
        let len = match (separator, polled) {
            // Packets before an error are complete.
            (Some(len), _) => len,
            (None, Ok(true)) if self.last => {
                self.get.finish();
                self.session.detach(Lane::Get);
                return Ok(true);
            }
            (None, Ok(true)) => {
                self.last = true;
                body.len()
            }
            (None, Ok(false)) if self.get.is_full() => return Err(Error::ReceivedTooLarge),
            (None, polled) => return polled,
        };
        self.seen = now;
        self.decoded = len + usize::from(!self.last);
        self.decode_packet(len, now)?;
        Ok(true)
    }

    /// Processes the packet in the first `len` bytes of the body.
    fn decode_packet(&mut self, len: usize, now: Instant) -> Result<(), Error> {
        let record = self.get.io.rx.kept_mut().get_mut(..len).unwrap_or_default();
        if !self.session.is_open() && is_revision_3(record) {
            return Err(Error::UnsupportedVersion);
        }
        match Packet::parse_text(record).map_err(Error::Packet)? {
            Packet::Open(json) if !self.session.is_open() => {
                let open = Open::parse(json).map_err(Error::Open)?;
                debug!("session {} is open", open.sid.as_str());
                let _ = self.session.handle_open(open_params(&open), now);
                self.opened(open)?;
            }
            packet => {
                // A violation ends the session, which `poll_events` reports.
                if let Ok(Some(message)) = self.session.handle_packet(Lane::Get, packet, now) {
                    // The message follows its type; base64 was decoded in place.
                    self.held = Some(MessageSpan::new(1, message));
                }
            }
        }
        Ok(())
    }

    fn poll_events(&mut self) {
        while let Some(event) = self.session.poll_event() {
            if let Event::Closed(reason) = event {
                debug!("the session has ended");
                self.ended.get_or_insert(Error::ended(reason, &self.session));
            }
        }
    }

    fn fail(&mut self, error: Error) {
        self.ended.get_or_insert(error);
        self.session.lost(Lane::Get);
        self.session.lost(Lane::Post);
    }
}
