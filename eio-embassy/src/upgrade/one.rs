//! [`dial_by_polling`]: a session that begins by polling and moves to a WebSocket, on one connection.

use eio_core::buffer::RecvBuffer;
use eio_core::open::Open;
use eio_core::packet::Packet;
use eio_core::payload::{self, SEPARATOR};
use eio_core::request::Reject;
use eio_core::session::Lane;
use eio_core::session::client::ClientSession;
use eio_core::transport::Transport;
use embassy_futures::select::{Either, select};
use rand_core::RngCore;

use crate::buffers::Buffers;
use crate::config::Config;
use crate::early::{self, Early};
use crate::error::{Error, Waiting};
use crate::net::connector::Connector;
use crate::polling::http::Exchange;
use crate::session::figures;
use crate::time::{now, sleep_until};
use crate::websocket::client::Client;
use crate::websocket::machine::Link;

/// Less is not enough for a response to a WebSocket's request; see [`Buffers`].
const RX_LEAST: usize = 512;

/// Like [`dial`](crate::dial), but the session begins with an HTTP request and moves to a WebSocket then, as
/// browsers do: for servers that let no session begin in another way.
///
/// It takes one connection, which is dialed again if the server ends it after the request. Messages that come
/// with the answer to that request come out of [`Client::recv`] first, and their room in the receive buffer is
/// not used again. What the server says from then on waits for the WebSocket.
///
/// Dropping this future gives up the connection.
///
/// # Errors
/// Those of [`dial`](crate::dial), and [`Error::UpgradeFailed`] when the server offers no upgrade or does not
/// complete it: there is no second connection to go on polling by. [`dial_any`](crate::dial_any) has one.
pub async fn dial_by_polling<'c, C, G, const RX: usize, const TX: usize>(
    connector: &'c mut C,
    config: &Config<'_>,
    buffers: &'c mut Buffers<RX, TX>,
    mut rng: G,
) -> Result<Client<'c, C::Reader<'c>, C::Writer<'c>, G>, Error>
where
    C: Connector,
    G: RngCore,
{
    let address = config.address()?;
    let Buffers { rx, tx } = buffers;
    let mut get = Exchange::new("GET", rx, tx);
    let (mut session, open, early) = handshake(&mut get, connector, address, config).await?;
    if !open.upgrades.contains(Transport::WebSocket) {
        return Err(Error::UpgradeFailed);
    }
    let connected = get.is_connected();
    let (rx, tx) = get.into_memory();
    // The WebSocket, which comes before the next GET.
    let _ = session.poll_lane(false);
    if !connected {
        connector.dial(address.0, address.1).await?;
    }
    let link = Link::begin(config, session, Some(&open), rx, tx, &mut rng)?;
    let (reader, writer) = connector.split();
    let close_timeout = config.timing.close_timeout;
    Client::take_over(reader, writer, link, open, early, close_timeout, rng).await
}

/// Opens a session that wants to move to a WebSocket, by the first GET: with the open packet, and the messages
/// that came behind it.
pub(crate) async fn handshake<'b>(
    get: &mut Exchange<'b>,
    connector: &mut impl Connector,
    (host, port): (&str, u16),
    config: &Config<'_>,
) -> Result<(ClientSession, Open, Early<'b>), Error> {
    let began = now();
    let until = began.after(config.timing.open_timeout);
    let mut session = ClientSession::new(Transport::Polling, true, config.timing, began);
    // The GET.
    let _ = session.poll_lane(false);
    config.polling_request(&mut get.conn.out, None, None)?;
    get.begin(began);
    let status = loop {
        if let Some(status) = get.poll(now())? {
            break status;
        }
        let step = get.drive(connector, host, port);
        if let Either::Second(()) = select(step, sleep_until(Some(until))).await {
            return Err(Error::TimedOut(Waiting::Handshake));
        }
    };
    if status != 200 {
        return Err(Error::refused(status, Reject::code_in(get.conn.rx.kept())));
    }
    let body = get.conn.rx.kept_mut();
    let len = body.iter().position(|&byte| byte == SEPARATOR).unwrap_or(body.len());
    let open = match payload::Decoder::new(body.get_mut(..len).unwrap_or_default()).next() {
        Some(Ok(Packet::Open(json))) => Open::parse(json).map_err(Error::Open)?,
        Some(Err(error)) => return Err(Error::Packet(error)),
        _ => return Err(Error::NotOpened),
    };
    let _ = session.handle_open(figures(&open), now());
    let early = absorb(get, &mut session, len)?;
    Ok((session, open, early))
}

/// Handles the packets in the body of a GET that is answered. Messages are packed, and have the start of the
/// buffer from now on; the rest is for what comes next.
///
/// `skip` bytes were handled before.
pub(crate) fn absorb<'b>(
    get: &mut Exchange<'b>,
    session: &mut ClientSession,
    skip: usize,
) -> Result<Early<'b>, Error> {
    // The body moves to the start of the buffer.
    get.conn.rx.compact();
    let mut end = get.conn.rx.kept().len();
    get.finish();
    let memory = get.take_memory();
    if skip == 0 {
        if end == memory.len() {
            return Err(Error::TooLarge);
        }
        // Where packets are packed, a separator stands before each.
        (0..end).rev().for_each(|at| copy(memory, at, at + 1));
        memory.iter_mut().take(1).for_each(|first| *first = SEPARATOR);
        end += 1;
    }
    let body = memory.get_mut(skip..end).unwrap_or_default();
    // A violation ends the session, which is looked at below.
    let packed =
        early::pack(body, |packet| session.handle_packet(Lane::Get, packet, now()).ok().flatten())?;
    (0..packed).for_each(|at| copy(memory, skip + at, at));
    let (packed, rest) = memory.split_at_mut_checked(packed).unwrap_or_default();
    if rest.len() < RX_LEAST {
        return Err(Error::TooLarge);
    }
    get.conn.rx = RecvBuffer::new(rest);
    session.detach(Lane::Get);
    match session.ended() {
        Some(reason) => Err(Error::ended(reason, true)),
        None => Ok(Early::new(packed)),
    }
}

fn copy(memory: &mut [u8], from: usize, to: usize) {
    let byte = memory.get(from).copied().unwrap_or_default();
    if let Some(slot) = memory.get_mut(to) {
        *slot = byte;
    }
}
