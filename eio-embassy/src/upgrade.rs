//! [`dial_by_polling`]: a session that begins by polling and moves to a WebSocket, on one connection.

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
use crate::client::Client;
use crate::config::Config;
use crate::connector::Connector;
use crate::early::{self, Early};
use crate::error::{Error, Waiting};
use crate::exchange::Exchange;
use crate::io::{now, sleep_until};
use crate::link::{Link, figures};

/// Less is not enough for a response to a WebSocket's request; see [`Buffers`].
const RX_LEAST: usize = 512;

/// Like [`dial`](crate::dial), but the session begins with an HTTP request and moves to a WebSocket then, as
/// browsers do: for servers that let no session begin in another way.
///
/// It takes one connection, which is dialed again if the server ends it after the request. Messages that come
/// with the answer to that request come out of [`Client::recv`] first, and their room in the receive buffer is
/// not used again.
///
/// Dropping this future gives up the connection.
///
/// # Errors
/// Those of [`dial`](crate::dial), and [`Error::UpgradeFailed`] when the server offers no upgrade or does not
/// complete it: there is no second connection to go on polling by, which
/// [`PollingClient`](crate::PollingClient) has.
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
    let (host, port) = config.address()?;
    let Buffers { rx, tx } = buffers;
    let began = now();
    let until = began.after(config.timing.open_timeout);
    let mut session = ClientSession::new(Transport::Polling, true, config.timing, began);
    // The GET.
    let _ = session.poll_lane(false);
    let mut get = Exchange::new("GET", rx, tx);
    config.polling_request(&mut get.out, None, None)?;
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
        return Err(Error::refused(status, Reject::code_in(get.rx.kept())));
    }
    // Asked for more than there is, it moves the body to the front of the buffer.
    let _ = get.rx.spare_mut(usize::MAX);
    let body = get.rx.kept_mut();
    let len = body.iter().position(|&byte| byte == SEPARATOR).unwrap_or(body.len());
    let (first, more) = body.split_at_mut_checked(len).unwrap_or_default();
    let packed = early::pack(more)?;
    let open = match payload::Decoder::new(first).next() {
        Some(Ok(Packet::Open(json))) => Open::parse(json).map_err(Error::Open)?,
        Some(Err(error)) => return Err(Error::Packet(error)),
        _ => return Err(Error::NotOpened),
    };
    get.finish();
    let connected = get.is_connected();
    if !open.upgrades.contains(Transport::WebSocket) {
        return Err(Error::UpgradeFailed);
    }
    let _ = session.handle_open(figures(&open), now());
    session.detach(Lane::Get);
    // The WebSocket, which comes before the next GET.
    let _ = session.poll_lane(false);
    if !connected {
        connector.dial(host, port).await?;
    }

    // What came early goes to the end of the buffer, where it stays.
    let rest = RX.saturating_sub(packed);
    if rest < RX_LEAST {
        return Err(Error::TooLarge);
    }
    for (slot, at) in (rest..RX).zip(len..len + packed).rev() {
        let byte = rx.get(at).copied().unwrap_or_default();
        if let Some(slot) = rx.get_mut(slot) {
            *slot = byte;
        }
    }
    let (rx, early) = rx.split_at_mut_checked(rest).unwrap_or_default();
    let link = Link::begin(config, session, Some(&open), rx, tx, &mut rng)?;
    let (reader, writer) = connector.split();
    let close_timeout = config.timing.close_timeout;
    Client::take_over(reader, writer, link, open, Early::new(early), close_timeout, rng).await
}
