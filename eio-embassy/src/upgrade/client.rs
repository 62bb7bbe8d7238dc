//! [`AnyClient`]: a session that begins by polling and is moved to a WebSocket where that can be done, on two
//! connections.

use eio_core::open::Open;
use eio_core::packet::Message;
use eio_core::transport::Transport;
use rand_core::RngCore;

use crate::buffers::Buffers;
use crate::config::Config;
use crate::error::Error;
use crate::net::connector::Connector;
use crate::polling::client::PollingClient;
use crate::polling::http::Exchange;
use crate::polling::machine::PollingMachine;
use crate::time::now;
use crate::upgrade::opening::{Opened, Opening};
use crate::upgrade::two::Upgrade;
use crate::websocket::client::Client;
use crate::websocket::io::WsConn;

/// Opens a session by polling and moves it to a WebSocket, as browsers do. Where no WebSocket gets through, the
/// session goes on by polling: for devices that are put into networks nobody knows beforehand.
///
/// It takes two connections. While `up` tries a WebSocket, `down` polls on: messages that come before the session
/// has moved come out of [`AnyClient::recv`] first, and pings are answered. The buffers of `up` are those of the
/// WebSocket, or of the messages we send by polling; see [`Client`] and [`PollingClient`] for what they limit.
/// Messages that came early keep their room in those of `down`, of which 512 bytes have to be left.
///
/// A network that lets nothing of a WebSocket through costs the time of
/// [`upgrade_timeout`](eio_core::session::client::ClientTiming::upgrade_timeout) here. A device that can spare only
/// one connection takes [`dial_by_polling`](crate::dial_by_polling).
///
/// Dropping this future gives up the session.
///
/// # Errors
/// Those of [`PollingClient::connect`], and whatever ended the session meanwhile. That a WebSocket did not come
/// about is none.
pub async fn dial_any<'b, D, U, G, const A: usize, const B: usize, const X: usize, const Y: usize>(
    (down, receive): (&'b mut D, &'b mut Buffers<A, B>),
    (up, send): (&'b mut U, &'b mut Buffers<X, Y>),
    config: &Config<'b>,
    mut rng: G,
) -> Result<AnyClient<'b, D, U, G>, Error>
where
    D: Connector,
    U: Connector,
    G: RngCore,
{
    let address = config.address()?;
    let close_timeout = config.timing.close_timeout;
    let opening = Opening::new(config, &mut receive.rx, &mut receive.tx, now())?;
    let opened = opening.drive(down, address).await?;
    let (machine, open, early) = if opened.open.upgrades.contains(Transport::WebSocket) {
        let mut upgrade = Upgrade::new(config, opened, &mut send.rx, &mut send.tx, &mut rng)?;
        if upgrade.run(down, up, address, &mut rng).await? {
            let (machine, open, early) = upgrade.into_websocket();
            let (reader, writer) = up.split();
            let mut conn = WsConn { machine, reader, writer, rng };
            // The server should not wait for the end of the other connection.
            conn.write_now();
            down.hang_up().await;
            return Ok(AnyClient::WebSocket(Client::resume(conn, open, early, close_timeout)));
        }
        // The connection of the WebSocket ends here; the next one is for POSTs.
        up.hang_up().await;
        upgrade.into_polling()?
    } else {
        let Opened { get, session, open, early } = opened;
        let post = Exchange::new(&mut send.rx, &mut send.tx);
        (PollingMachine::resume(config, get, post, session, open.clone())?, open, early)
    };
    let client = PollingClient::resume(machine, early, (down, up), address, open, close_timeout);
    Ok(AnyClient::Polling(client))
}

/// A session on whatever got through, see [`dial_any`]. It is used like a [`Client`], and its futures may be
/// dropped like those.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is no heap to put one on")]
pub enum AnyClient<'b, D, U: Connector, G> {
    /// On a WebSocket.
    WebSocket(Client<'b, U::Reader<'b>, U::Writer<'b>, G>),
    /// By polling.
    Polling(PollingClient<'b, D, U>),
}

impl<'b, D: Connector, U: Connector, G: RngCore> AnyClient<'b, D, U, G> {
    /// The next message of the server. Answers pings on the way.
    ///
    /// # Errors
    /// As [`Client::recv`] and [`PollingClient::recv`].
    pub async fn recv(&mut self) -> Result<Message<'_>, Error> {
        match self {
            Self::WebSocket(client) => client.recv().await,
            Self::Polling(client) => client.recv().await,
        }
    }

    /// Sends a message: returns when it is in the send buffer, and starts it on its way.
    ///
    /// # Errors
    /// As [`Client::send`] and [`PollingClient::send`].
    pub async fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> Result<(), Error> {
        match self {
            Self::WebSocket(client) => client.send(message).await,
            Self::Polling(client) => client.send(message).await,
        }
    }

    /// Waits until everything sent is on its way.
    ///
    /// # Errors
    /// The session has ended.
    pub async fn flush(&mut self) -> Result<(), Error> {
        match self {
            Self::WebSocket(client) => client.flush().await,
            Self::Polling(client) => client.flush().await,
        }
    }

    /// Ends the session: what was sent goes first.
    ///
    /// # Errors
    /// As [`Client::close`] and [`PollingClient::close`].
    pub async fn close(self) -> Result<(), Error> {
        match self {
            Self::WebSocket(client) => client.close().await,
            Self::Polling(client) => client.close().await,
        }
    }

    /// The handshake of the session: its identifier and the server's open_params.
    pub const fn handshake(&self) -> &Open {
        match self {
            Self::WebSocket(client) => client.handshake(),
            Self::Polling(client) => client.handshake(),
        }
    }
}
