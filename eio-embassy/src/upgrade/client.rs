//! [`AnyClient`]: a session that begins by polling and is upgraded to a WebSocket where possible, on two connections.

use eio_core::open::Open;
use eio_core::packet::Message;
use eio_core::sid::Sid;
use eio_core::transport::Transport;
use embassy_time::{Duration, Instant};

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

/// Opens a session by polling and upgrades it to a WebSocket, as browsers do. Where the network blocks WebSockets, the
/// session continues by polling. It is for devices that are installed in unknown networks.
///
/// It uses two connections. While `up` tries a WebSocket, `down` continues to poll: pings are answered, and messages
/// received before the upgrade are returned first by [`AnyClient::recv`]. They stay in the receive buffer of `down`, of
/// which 512 bytes must remain. The buffers of `up` are those of the WebSocket, or of POSTs; see [`Client`] and
/// [`PollingClient`] for their limits.
///
/// In a network that drops the packets of WebSockets, the attempt lasts for [`Config::upgrade_timeout`]. A device that
/// has only one connection uses [`connect_and_upgrade`](crate::connect_and_upgrade).
///
/// If this future is dropped, the session is lost.
///
/// ```no_run
/// use eio_embassy::{Buffers, Config, Connector, Error, connect_any};
///
/// async fn greet(
///     mut down: impl Connector,
///     mut up: impl Connector,
///     random: impl FnMut() -> u32,
/// ) -> Result<(), Error> {
///     let config = Config::new("192.0.2.2:3000");
///     let (mut receive, mut send) = (Buffers::<1536, 384>::new(), Buffers::<1536, 1024>::new());
///     let (down, up) = ((&mut down, &mut receive), (&mut up, &mut send));
///     let mut client = connect_any(down, up, &config, random).await?;
///     client.send("hello").await?;
///     client.disconnect().await
/// }
/// ```
///
/// # Errors
/// Those of [`PollingClient::connect`], and those that end a session. A WebSocket that cannot be opened is not an
/// error.
pub async fn connect_any<
    'b,
    D,
    U,
    G,
    const A: usize,
    const B: usize,
    const X: usize,
    const Y: usize,
>(
    (down, receive): (&'b mut D, &'b mut Buffers<A, B>),
    (up, send): (&'b mut U, &'b mut Buffers<X, Y>),
    config: &Config<'b>,
    mut random: G,
) -> Result<AnyClient<'b, D, U, G>, Error>
where
    D: Connector,
    U: Connector,
    G: FnMut() -> u32,
{
    let address = config.address()?;
    let opening = Opening::new(config, &mut receive.rx, &mut receive.tx, now())?;
    let opened = opening.drive(down, address).await?;
    if !opened.open.upgrades.contains(Transport::WebSocket) {
        let post = Exchange::new(&mut send.rx, &mut send.tx);
        return without_upgrade(opened, post, (down, up), config);
    }
    let mut upgrade = Upgrade::new(config, opened, &mut send.rx, &mut send.tx, &mut random)?;
    if !upgrade.run(down, up, address, &mut random).await? {
        // POSTs use a new connection in place of that of the WebSocket.
        up.close().await;
        return not_upgraded(upgrade, (down, up), config);
    }
    // The upgrade packet does not wait for the other connection to close.
    upgrade.write_now(up).await;
    down.close().await;
    Ok(upgraded(upgrade, up, config, random))
}

// Each of these moves a client through temporaries. Not inlined, so that they are not in the stack frame of the task while
// it waits.

#[inline(never)]
fn without_upgrade<'b, D: Connector, U: Connector, G>(
    opened: Opened<'b>,
    post: Exchange<'b>,
    connectors: (&'b mut D, &'b mut U),
    config: &Config<'b>,
) -> Result<AnyClient<'b, D, U, G>, Error> {
    let Opened { get, session, open, early } = opened;
    let machine = PollingMachine::resume(config, get, post, session, open.clone(), now())?;
    PollingClient::resume(machine, early, connectors, config, open).map(AnyClient::Polling)
}

#[inline(never)]
fn not_upgraded<'b, D: Connector, U: Connector, G>(
    upgrade: Upgrade<'b>,
    connectors: (&'b mut D, &'b mut U),
    config: &Config<'b>,
) -> Result<AnyClient<'b, D, U, G>, Error> {
    let (machine, open, early) = upgrade.into_polling()?;
    PollingClient::resume(machine, early, connectors, config, open).map(AnyClient::Polling)
}

#[inline(never)]
fn upgraded<'b, D, U: Connector, G: FnMut() -> u32>(
    upgrade: Upgrade<'b>,
    up: &'b mut U,
    config: &Config<'b>,
    random: G,
) -> AnyClient<'b, D, U, G> {
    let (machine, open, early) = upgrade.into_websocket();
    let (reader, writer) = up.split();
    let conn = WsConn { machine, reader, writer, random };
    AnyClient::WebSocket(Client::resume(conn, open, early, config.timing.close_timeout_ms))
}

/// A session of [`connect_any`], on the transport that the network allows. It has the methods of [`Client`], and its
/// futures may be dropped like those.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is no heap to box a variant")]
pub enum AnyClient<'b, D, U: Connector, G> {
    /// A session on a WebSocket.
    WebSocket(Client<'b, U::Reader<'b>, U::Writer<'b>, G>),
    /// A session by polling.
    Polling(PollingClient<'b, D, U>),
}

impl<'b, D: Connector, U: Connector, G: FnMut() -> u32> AnyClient<'b, D, U, G> {
    /// Receives the next message. Answers pings while it waits.
    ///
    /// # Errors
    /// As [`Client::recv`] and [`PollingClient::recv`].
    pub async fn recv(&mut self) -> Result<Message<'_>, Error> {
        match self {
            Self::WebSocket(client) => client.recv().await,
            Self::Polling(client) => client.recv().await,
        }
    }

    /// Sends a message: returns when it is queued.
    ///
    /// # Errors
    /// As [`Client::send`] and [`PollingClient::send`].
    pub async fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> Result<(), Error> {
        match self {
            Self::WebSocket(client) => client.send(message).await,
            Self::Polling(client) => client.send(message).await,
        }
    }

    /// Waits until everything queued is sent, as [`Client::flushed`] and [`PollingClient::flushed`].
    ///
    /// # Errors
    /// The session has ended.
    pub async fn flushed(&mut self) -> Result<(), Error> {
        match self {
            Self::WebSocket(client) => client.flushed().await,
            Self::Polling(client) => client.flushed().await,
        }
    }

    /// Ends the session after the queued messages.
    ///
    /// # Errors
    /// As [`Client::disconnect`] and [`PollingClient::disconnect`].
    pub async fn disconnect(&mut self) -> Result<(), Error> {
        match self {
            Self::WebSocket(client) => client.disconnect().await,
            Self::Polling(client) => client.disconnect().await,
        }
    }

    /// Sends a ping of the WebSocket, as [`Client::ping`]. Polling measures each POST without it.
    ///
    /// # Errors
    /// The session has ended.
    pub async fn ping(&mut self) -> Result<(), Error> {
        match self {
            Self::WebSocket(client) => client.ping().await,
            Self::Polling(_) => Ok(()),
        }
    }

    /// Whether no end of the session is known.
    pub const fn is_open(&self) -> bool {
        match self {
            Self::WebSocket(client) => client.is_open(),
            Self::Polling(client) => client.is_open(),
        }
    }

    /// As [`Client::last_seen`] and [`PollingClient::last_seen`].
    pub const fn last_seen(&self) -> Instant {
        match self {
            Self::WebSocket(client) => client.last_seen(),
            Self::Polling(client) => client.last_seen(),
        }
    }

    /// As [`Client::round_trip`] and [`PollingClient::round_trip`].
    pub fn round_trip(&self) -> Option<Duration> {
        match self {
            Self::WebSocket(client) => client.round_trip(),
            Self::Polling(client) => client.round_trip(),
        }
    }

    /// As [`Client::unconfirmed`] and [`PollingClient::unconfirmed`].
    pub const fn unconfirmed(&self) -> u32 {
        match self {
            Self::WebSocket(client) => client.unconfirmed(),
            Self::Polling(client) => client.unconfirmed(),
        }
    }

    /// The identifier of the session.
    pub const fn sid(&self) -> &Sid {
        &self.handshake().sid
    }

    /// The transport of the session.
    pub const fn transport(&self) -> Transport {
        match self {
            Self::WebSocket(_) => Transport::WebSocket,
            Self::Polling(_) => Transport::Polling,
        }
    }

    /// The largest message that the server accepts, in bytes with its type. The send buffer may allow less.
    pub const fn server_max_payload(&self) -> u32 {
        self.handshake().max_payload
    }

    /// The open packet of the session, with the server's heartbeat.
    pub const fn handshake(&self) -> &Open {
        match self {
            Self::WebSocket(client) => client.handshake(),
            Self::Polling(client) => client.handshake(),
        }
    }
}
