//! [`dial_by_polling`]: a session that begins by polling and moves to a WebSocket, on one connection.

use eio_core::transport::Transport;
use rand_core::RngCore;

use crate::buffers::Buffers;
use crate::config::Config;
use crate::error::Error;
use crate::net::connector::Connector;
use crate::time::now;
use crate::upgrade::opening::{Opened, Opening};
use crate::websocket::client::Client;
use crate::websocket::machine::WsMachine;

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
    let opening = Opening::new(config, &mut buffers.rx, &mut buffers.tx, now())?;
    let Opened { get, mut session, open, early } = opening.drive(connector, address).await?;
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
    let machine = WsMachine::begin(config, session, Some(&open), rx, tx, &mut rng)?;
    let (reader, writer) = connector.split();
    let close_timeout = config.timing.close_timeout;
    Client::upgrade(reader, writer, machine, open, early, close_timeout, rng).await
}
