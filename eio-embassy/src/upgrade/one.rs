//! [`connect_and_upgrade`]: a session that begins by polling and is upgraded to a WebSocket, on one connection.

use eio_core::transport::Transport;

use crate::buffers::Buffers;
use crate::config::Config;
use crate::error::Error;
use crate::net::connector::Connector;
use crate::time::now;
use crate::upgrade::opening::{Opened, Opening};
use crate::websocket::client::Client;
use crate::websocket::machine::WsMachine;

/// Like [`connect`](crate::connect), but the session begins with a GET and is then upgraded to a WebSocket, as in
/// browsers. It is for servers that allow no other start of a session.
///
/// It uses one connection, which is established again if the server closes it after the GET. Messages in the response
/// to that GET are returned first by [`Client::recv`], and their room in the receive buffer is not used again. Later
/// messages are received over the WebSocket.
///
/// If this future is dropped, the session is lost.
///
/// ```no_run
/// use eio_embassy::{Buffers, Config, Connector, Error, connect_and_upgrade};
///
/// async fn greet(mut connector: impl Connector, random: impl FnMut() -> u32) -> Result<(), Error> {
///     let config = Config::new("192.0.2.2:3000");
///     let mut buffers = Buffers::<1536, 512>::new();
///     let mut client = connect_and_upgrade(&mut connector, &config, &mut buffers, random).await?;
///     client.send("hello").await?;
///     client.disconnect().await
/// }
/// ```
///
/// # Errors
/// Those of [`connect`](crate::connect), and [`Error::UpgradeFailed`] if the server does not offer or not complete the
/// upgrade: without a second connection polling cannot continue. [`connect_any`](crate::connect_any) has a second one.
pub async fn connect_and_upgrade<'c, C, G, const RX: usize, const TX: usize>(
    connector: &'c mut C,
    config: &Config<'_>,
    buffers: &'c mut Buffers<RX, TX>,
    mut random: G,
) -> Result<Client<'c, C::Reader<'c>, C::Writer<'c>, G>, Error>
where
    C: Connector,
    G: FnMut() -> u32,
{
    let address = config.address()?;
    let opening = Opening::new(config, &mut buffers.rx, &mut buffers.tx, now())?;
    let Opened { get, mut session, open, early } = opening.drive(connector, address).await?;
    if !open.upgrades.contains(Transport::WebSocket) {
        return Err(Error::UpgradeFailed);
    }
    let connected = get.is_connected();
    let cookies = get.cookies.value();
    let (rx, tx) = get.into_memory();
    // The session asks for the WebSocket before the next GET.
    let _ = session.poll_lane(false);
    if !connected {
        connector.connect(address.0, address.1).await?;
    }
    let machine =
        WsMachine::begin(config, session, Some(&open), cookies, (rx, tx), &mut random, now())?;
    let (reader, writer) = connector.split();
    let close_timeout_ms = config.timing.close_timeout_ms;
    Client::upgrade(reader, writer, machine, open, early, close_timeout_ms, random).await
}
