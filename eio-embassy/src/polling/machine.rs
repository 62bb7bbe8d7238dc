//! [`PollingMachine`]: a session over HTTP long-polling between bytes and messages. It holds all the state there is
//! and awaits nothing.

use eio_core::open::Open;
use eio_core::packet::{Message, Packet};
use eio_core::payload::{self, SEPARATOR};
use eio_core::session::client::ClientSession;
use eio_core::session::{Event, Lane};
use eio_core::time::Instant;
use eio_core::transport::Transport;

use crate::config::Config;
use crate::error::Error;
use crate::fmt::debug;
use crate::polling::http::Exchange;
use crate::session::{MessageSpan, open_params};

/// A pong and the separator behind it: goes in the body of whatever is sent next.
const PONG: usize = 2;

#[derive(Debug)]
pub(crate) struct PollingMachine<'b> {
    pub(crate) get: Exchange<'b>,
    pub(crate) post: Exchange<'b>,
    config: Config<'b>,
    session: ClientSession,
    open: Option<Open>,
    /// How long the head of a POST is, at most.
    head: usize,
    /// How much of the body of the GET was handled; beyond its end with the last packet.
    handled: usize,
    /// A message that is decoded and not yet given to the application.
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
        let (config, open, held, ended) = (*config, None, None, None);
        Self { get, post, config, session, open, head: 0, handled: 0, held, ended }
    }

    /// Goes on with a session that is open. `get` may have a GET under way.
    pub(crate) fn resume(
        config: &Config<'b>,
        get: Exchange<'b>,
        post: Exchange<'b>,
        session: ClientSession,
        open: Open,
    ) -> Result<Self, Error> {
        let (config, head, held, ended) = (*config, 0, None, None);
        let mut machine =
            Self { get, post, config, session, open: None, head, handled: 0, held, ended };
        machine.opened(open)?;
        Ok(machine)
    }

    fn opened(&mut self, open: Open) -> Result<(), Error> {
        // Written once to learn how long it gets: the number of its bytes has five digits at most.
        self.post.io.out.clear();
        self.config.polling_request(&mut self.post.io.out, Some(&open.sid), Some(99_999))?;
        self.head = self.post.io.out.unsent().len();
        self.post.io.out.clear();
        self.open = Some(open);
        Ok(())
    }

    /// Whether the session has ended, and why.
    pub(crate) const fn ended(&self) -> Option<Error> {
        self.ended
    }

    /// The handshake, as soon as it came.
    pub(crate) const fn open(&self) -> Option<&Open> {
        self.open.as_ref()
    }

    pub(crate) const fn has_message(&self) -> bool {
        self.held.is_some()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.session.poll_timeout()
    }

    /// Takes what was received as far as it goes: to the next message (which stays until
    /// [`take`](Self::take)), to the end of the session, or until more has to come or go first.
    pub(crate) fn advance(&mut self, now: Instant) {
        while self.ended.is_none() {
            while let Some(lane) = self.session.poll_lane(false) {
                self.start(lane, None, now);
            }
            self.poll_events();
            let moved = match self.poll_post(now) {
                // The body that a message lies in stays until that was taken.
                Ok(false) if self.held.is_none() => self.decode(now),
                settled => settled,
            };
            match moved {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => self.fail(error),
            }
        }
    }

    /// Looks at the answer to a POST. Whether there was one.
    fn poll_post(&mut self, now: Instant) -> Result<bool, Error> {
        let complete = self.post.poll_ok(now)?;
        if complete {
            self.post.finish();
            self.session.detach(Lane::Post);
        }
        Ok(complete)
    }

    /// Like [`advance`](Self::advance) after the end: whether nothing is under way to the server any more.
    pub(crate) fn is_posted(&mut self, now: Instant) -> bool {
        self.poll_post(now).is_err() || self.post.is_idle()
    }

    /// The message [`advance`](Self::advance) found.
    pub(crate) fn take(&mut self) -> Option<Message<'_>> {
        Some(self.held.take()?.message(self.get.io.rx.kept()))
    }

    /// Drops what [`advance`](Self::advance) finds.
    pub(crate) fn discard(&mut self, now: Instant) {
        self.advance(now);
        while self.held.take().is_some() {
            self.advance(now);
        }
    }

    /// Puts a message into the body of a POST. `Ok(false)`: call again when the one under way was answered.
    pub(crate) fn push(&mut self, message: Message<'_>, now: Instant) -> Result<bool, Error> {
        if let Some(error) = self.ended {
            return Err(error);
        }
        let announced = self.open.as_ref().map_or(0, |open| open.max_payload);
        let room = self.post.io.out.capacity().saturating_sub(self.head);
        let most = usize::try_from(announced).unwrap_or(usize::MAX).min(room).saturating_sub(PONG);
        if Packet::Message(message).text_len() > most {
            return Err(Error::MessageTooLong { limit: u32::try_from(most).unwrap_or(u32::MAX) });
        }
        if let Message::Text(text) = message
            && text.as_bytes().contains(&SEPARATOR)
        {
            return Err(Error::HoldsSeparator);
        }
        while let Some(lane) = self.session.poll_lane(true) {
            if self.start(lane, Some(message), now) {
                return Ok(true);
            }
        }
        self.poll_events();
        self.ended.map_or(Ok(false), Err)
    }

    /// The application wants to close. Ends with [`Closed::ByUs`](crate::Closed::ByUs) when that is in a POST.
    pub(crate) fn close(&mut self, now: Instant) {
        self.session.close(now);
    }

    /// The deadline of the session is reached, and nothing that was received in time is left to look at but
    /// a message the application did not fetch yet.
    pub(crate) fn timed_out(&mut self, now: Instant) {
        if self.held.is_none() || !self.session.extend(now) {
            self.session.handle_timeout(now);
            self.poll_events();
        }
    }

    /// Writes the request that a lane begins with. Whether the message went into it.
    fn start(&mut self, lane: Lane, message: Option<Message<'_>>, now: Instant) -> bool {
        let sid = self.open.as_ref().map(|open| &open.sid);
        let started = match lane {
            Lane::Get => {
                self.handled = 0;
                self.get.start_get(&self.config, sid, now).map(|()| false)
            }
            Lane::Post => self.post.start_post(&self.config, sid, &mut self.session, message, now),
            Lane::WebSocket => {
                // Not asked for: this session wants no upgrade.
                self.session.lost(lane);
                Ok(false)
            }
        };
        started.unwrap_or_else(|error| {
            self.fail(error);
            false
        })
    }

    /// Moves on by one response or one packet of it. `Ok(false)`: more has to come first.
    fn decode(&mut self, now: Instant) -> Result<bool, Error> {
        let sid = self.open.as_ref().map(|open| &open.sid);
        let complete = self.get.poll_get(&self.config, sid, now)?;
        if complete {
            self.decode_packet(now)?;
        }
        Ok(complete)
    }

    fn decode_packet(&mut self, now: Instant) -> Result<(), Error> {
        let start = self.handled;
        if start > self.get.io.rx.kept().len() {
            self.get.finish();
            self.session.detach(Lane::Get);
            return Ok(());
        }
        let rest = self.get.io.rx.kept_mut().get_mut(start..).unwrap_or_default();
        let len = rest.iter().position(|&byte| byte == SEPARATOR).unwrap_or(rest.len());
        let record = rest.get_mut(..len).unwrap_or_default();
        let Some(packet) = payload::Decoder::new(record).next() else { return Ok(()) };
        let packet = packet.map_err(Error::Packet)?;
        self.handled = start + len + 1;
        match packet {
            Packet::Open(json) if !self.session.is_open() => {
                let open = Open::parse(json).map_err(Error::Open)?;
                debug!("session {} is open", open.sid.as_str());
                let _ = self.session.handle_open(open_params(&open), now);
                self.opened(open)?;
            }
            packet => {
                // A violation ends the session, which `poll_events` reports.
                if let Ok(Some(message)) = self.session.handle_packet(Lane::Get, packet, now) {
                    // Behind its type; base64 was decoded where it lies.
                    self.held = Some(MessageSpan::new(start + 1, message));
                }
            }
        }
        Ok(())
    }

    fn poll_events(&mut self) {
        while let Some(event) = self.session.poll_event() {
            if let Event::Closed(reason) = event {
                debug!("the session has ended");
                self.ended.get_or_insert(Error::ended(reason, self.session.is_open()));
            }
        }
    }

    fn fail(&mut self, error: Error) {
        self.ended.get_or_insert(error);
        self.session.lost(Lane::Get);
        self.session.lost(Lane::Post);
    }
}
