//! [`Opening`]: the first GET of a session that begins by polling and wants a WebSocket.

use eio_core::buffer::RecvBuffer;
use eio_core::open::Open;
use eio_core::packet::Packet;
use eio_core::payload::{self, SEPARATOR};
use eio_core::session::Lane;
use eio_core::session::client::ClientSession;
use eio_core::time::Instant;
use eio_core::transport::Transport;
use embassy_futures::select::{Either, select};

use crate::config::Config;
use crate::early::{self, Early};
use crate::error::{Error, Timeout};
use crate::net::connector::Connector;
use crate::polling::http::Exchange;
use crate::session::open_params;
use crate::time::{now, sleep_until};

/// The response to a WebSocket request needs as much; see [`Buffers`](crate::Buffers).
const RX_MIN: usize = 512;

/// The fields of a WebSocket request that a GET does not have.
const UPGRADE_FIELDS: usize = 130;

/// A session before the open packet.
#[derive(Debug)]
pub(crate) struct Opening<'b> {
    get: Exchange<'b>,
    session: ClientSession,
    until: Instant,
}

/// A session after the open packet.
#[derive(Debug)]
pub(crate) struct Opened<'b> {
    pub(crate) get: Exchange<'b>,
    pub(crate) session: ClientSession,
    pub(crate) open: Open,
    /// Messages in the response with the open packet.
    pub(crate) early: Early<'b>,
}

impl<'b> Opening<'b> {
    /// Begins a session, with its request in the send buffer.
    pub(crate) fn new(
        config: &Config<'_>,
        rx: &'b mut [u8],
        tx: &'b mut [u8],
        now: Instant,
    ) -> Result<Self, Error> {
        let mut session = ClientSession::new(Transport::Polling, true, config.timing, now);
        // The session asks for the GET.
        let _ = session.poll_lane(false);
        let mut get = Exchange::for_gets(rx, tx, UPGRADE_FIELDS);
        get.start_get(config, None, now)?;
        Ok(Self { get, session, until: now.after(config.timing.open_timeout_ms) })
    }

    /// Sends the request and waits for the response.
    pub(crate) async fn drive(
        mut self,
        connector: &mut impl Connector,
        (host, port): (&str, u16),
    ) -> Result<Opened<'b>, Error> {
        while !self.get.poll_ok(now())? {
            let step = self.get.drive(connector, host, port);
            if let Either::Second(()) = select(step, sleep_until(Some(self.until))).await {
                return Err(Error::TimedOut(Timeout::Open));
            }
        }
        self.opened(now())
    }

    /// Reads the open packet and packs the messages after it.
    fn opened(self, now: Instant) -> Result<Opened<'b>, Error> {
        let Self { mut get, mut session, .. } = self;
        let body = get.io.rx.kept_mut();
        let len = body.iter().position(|&byte| byte == SEPARATOR).unwrap_or(body.len());
        if payload::is_revision_3(body) {
            return Err(Error::UnsupportedVersion);
        }
        let open = match payload::Decoder::new(body.get_mut(..len).unwrap_or_default()).next() {
            Some(Ok(Packet::Open(json))) => Open::parse(json).map_err(Error::Open)?,
            Some(Err(error)) => return Err(Error::Packet(error)),
            _ => return Err(Error::NotOpened),
        };
        let _ = session.handle_open(open_params(&open), now);
        let early = pack_body(&mut get, &mut session, len, now)?;
        Ok(Opened { get, session, open, early })
    }
}

/// Processes the packets in the body of a response, of which `skip` bytes are already processed. Messages are packed at
/// the start of the buffer; the rest of it is for later responses.
pub(crate) fn pack_body<'b>(
    get: &mut Exchange<'b>,
    session: &mut ClientSession,
    skip: usize,
    now: Instant,
) -> Result<Early<'b>, Error> {
    // The body moves to the start of the buffer.
    get.io.rx.compact();
    let mut end = get.io.rx.kept().len();
    get.finish();
    let memory = get.take_memory();
    if skip == 0 {
        if end == memory.len() {
            return Err(Error::ReceivedTooLarge);
        }
        // `pack` expects a separator before each packet.
        (0..end).rev().for_each(|at| copy(memory, at, at + 1));
        memory.iter_mut().take(1).for_each(|first| *first = SEPARATOR);
        end += 1;
    }
    let body = memory.get_mut(skip..end).unwrap_or_default();
    // A violation ends the session, which is checked below.
    let packed =
        early::pack(body, |packet| session.handle_packet(Lane::Get, packet, now).ok().flatten())?;
    (0..packed).for_each(|at| copy(memory, skip + at, at));
    let (packed, rest) = memory.split_at_mut_checked(packed).unwrap_or_default();
    if rest.len() < RX_MIN {
        return Err(Error::ReceivedTooLarge);
    }
    get.io.rx = RecvBuffer::new(rest);
    session.detach(Lane::Get);
    match session.ended() {
        Some(reason) => Err(Error::ended(reason, session)),
        None => Ok(Early::new(packed)),
    }
}

fn copy(memory: &mut [u8], from: usize, to: usize) {
    let byte = memory.get(from).copied().unwrap_or_default();
    if let Some(slot) = memory.get_mut(to) {
        *slot = byte;
    }
}
