//! [`Client`]: a session on a WebSocket, over the two halves of a connection.

use eio_core::open::Open;
use eio_core::packet::Message;
use eio_core::sid::Sid;
use eio_core::transport::Transport;
use embassy_time::{Duration, Instant};
use embedded_io_async::{Read, Write};

use crate::buffers::Buffers;
use crate::config::Config;
use crate::early::Early;
use crate::error::{Closed, Error, Timeout};
use crate::net::connector::Connector;
use crate::poll::poll_once;
use crate::time::{clock, now};
use crate::websocket::io::WsConn;
use crate::websocket::machine::WsMachine;

/// A session on a WebSocket.
///
/// `R` and `W` are the halves of an established connection: of a TCP socket, or of TLS over it. A pending
/// [`Read::read`] or [`Write::write`] that is dropped must not lose bytes. That holds for embassy-net, but not for
/// embedded-tls (see [Dropping futures](crate#dropping-futures)). `G` is a random generator with unpredictable output,
/// from which the mask of each frame is taken.
///
/// Nothing runs in the background: pings are answered and queued bytes are written while [`recv`](Self::recv) is
/// awaited. So await it whenever there is nothing else to do, together with the other events of the application:
///
/// ```no_run
/// # use embassy_futures::select::{Either, select};
/// # use embassy_sync::{blocking_mutex::raw::NoopRawMutex, channel::Channel};
/// # use eio_embassy::{Client, Error};
/// # use embedded_io_async::{Read, Write};
/// # async fn session<R: Read, W: Write, G: FnMut() -> u32>(mut client: Client<'_, R, W, G>,
/// #     outbox: Channel<NoopRawMutex, &'static str, 4>) -> Result<(), Error> {
/// loop {
///     match select(client.recv(), outbox.receive()).await {
///         Either::First(message) => drop(message?),
///         Either::Second(text) => client.send(text).await?,
///     }
/// }
/// # }
/// ```
///
/// All state is in the client and its buffers. A future that is dropped, such as the one that a `select` does not
/// choose, loses nothing.
#[derive(Debug)]
pub struct Client<'b, R, W, G> {
    conn: WsConn<'b, R, W, G>,
    open: Open,
    /// Messages received by polling, before the upgrade.
    early: Early<'b>,
    close_timeout_ms: u32,
}

impl<'b, R: Read, W: Write, G: FnMut() -> u32> Client<'b, R, W, G> {
    /// Opens a session on an established connection: the WebSocket handshake, then the open packet.
    ///
    /// If this future is dropped, the connection cannot be used again.
    ///
    /// # Errors
    /// Any [`Error`] that says why there is no session, within [`Config::open_timeout`].
    pub async fn connect<const RX: usize, const TX: usize>(
        reader: R,
        writer: W,
        config: &Config<'_>,
        buffers: &'b mut Buffers<RX, TX>,
        mut random: G,
    ) -> Result<Self, Error> {
        let machine =
            WsMachine::connect(config, &mut buffers.rx, &mut buffers.tx, &mut random, now())?;
        let mut conn = WsConn { machine, reader, writer, random };
        let open = loop {
            conn.advance().await?;
            match conn.machine.take_open() {
                Some(open) => break open,
                None => conn.step().await,
            }
        };
        Ok(Self {
            conn,
            open,
            early: Early::default(),
            close_timeout_ms: config.timing.close_timeout_ms,
        })
    }

    /// Continues a session that is upgraded.
    pub(crate) const fn resume(
        conn: WsConn<'b, R, W, G>,
        open: Open,
        early: Early<'b>,
        close_timeout_ms: u32,
    ) -> Self {
        Self { conn, open, early, close_timeout_ms }
    }

    /// Upgrades a session that was opened by polling, on an established connection.
    pub(crate) async fn upgrade(
        reader: R,
        writer: W,
        machine: WsMachine<'b>,
        open: Open,
        early: Early<'b>,
        close_timeout_ms: u32,
        random: G,
    ) -> Result<Self, Error> {
        let mut conn = WsConn { machine, reader, writer, random };
        loop {
            conn.advance().await?;
            if conn.machine.is_upgraded() {
                return Ok(Self { conn, open, early, close_timeout_ms });
            }
            conn.step().await;
        }
    }

    /// Receives the next message. Answers pings and writes queued bytes while it waits.
    ///
    /// The message is in the receive buffer until the next call. Dropping this future loses nothing.
    ///
    /// # Errors
    /// The session has ended. Messages received before its end are returned first.
    pub async fn recv(&mut self) -> Result<Message<'_>, Error> {
        if !self.early.is_empty() {
            return Ok(self.early.take());
        }
        while !self.conn.machine.has_message() {
            self.conn.advance().await?;
            if !self.conn.machine.has_message() {
                self.conn.step().await;
            }
        }
        self.conn.machine.take().ok_or(Error::Closed(Closed::ClientDisconnect))
    }

    /// Sends a message: waits for room in the send buffer, queues the message, and writes as much as the connection
    /// accepts without waiting. A message larger than the buffer is sent in several frames; then it returns when the
    /// last one is queued. Bytes that have been received are processed first, without waiting, so that a program that
    /// only sends answers pings and learns of the end, if it sends more often than the server's `pingTimeout`; received
    /// messages stay for [`recv`](Self::recv), and while one is unread, nothing after it is processed.
    ///
    /// If this future is dropped, the message is not sent, unless it is larger than the buffer. A part of such a
    /// message may be sent: pass the same message to the next `send`, which continues it. Do that within the server's
    /// `pingTimeout`, because a ping cannot be answered between the frames of a message.
    ///
    /// # Errors
    /// - [`Error::TooLarge`], [`Error::Unfinished`], [`Error::Separator`]: this message cannot be sent, the session
    ///   continues.
    /// - Any other: the session has ended.
    pub async fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> Result<(), Error> {
        let message = message.into();
        // A program that only sends answers pings here, and learns of the end of the session.
        let _ = poll_once(self.conn.step()).await;
        self.conn.advance().await?;
        let id = self.conn.machine.fingerprint(message);
        while !self.conn.machine.push(message, id, &mut self.conn.random)? {
            self.conn.advance().await?;
            self.conn.step().await;
        }
        self.conn.write_now().await;
        Ok(())
    }

    /// Waits until the connection has accepted all queued bytes.
    ///
    /// Dropping this future loses nothing.
    ///
    /// # Errors
    /// The session has ended.
    pub async fn flushed(&mut self) -> Result<(), Error> {
        while self.conn.machine.io.has_unsent() {
            self.conn.advance().await?;
            self.conn.step().await;
        }
        Ok(())
    }

    /// Ends the session: sends queued messages, a close packet, and the closing handshake of the WebSocket. Messages
    /// received from now on are discarded. The connection itself stays open, to be closed by the caller.
    ///
    /// # Errors
    /// The session ended in another way before, or the server did not close its side within [`Config::close_timeout`].
    pub async fn disconnect(&mut self) -> Result<(), Error> {
        let until = now().after(self.close_timeout_ms);
        self.conn.machine.close(&mut self.conn.random, now());
        while self.conn.machine.ended().is_none() {
            self.conn.step().await;
            self.conn.machine.discard(&mut self.conn.random, now());
        }
        match self.conn.machine.ended() {
            Some(Error::Closed(Closed::ClientDisconnect)) | None => {}
            Some(error) => return Err(error),
        }
        while self.conn.machine.io.has_unsent() || !self.conn.machine.discard_until_close() {
            if self.conn.transfer(Some(until), true).await {
                return Err(Error::TimedOut(Timeout::Close));
            }
        }
        Ok(())
    }

    /// Sends a ping of the WebSocket, to measure the [`round_trip`](Self::round_trip). The session does not need it: its
    /// heartbeat is the server's.
    ///
    /// # Errors
    /// The session has ended.
    pub async fn ping(&mut self) -> Result<(), Error> {
        loop {
            self.conn.advance().await?;
            if self.conn.machine.ping(&mut self.conn.random, now()) {
                break;
            }
            self.conn.step().await;
        }
        self.conn.write_now().await;
        Ok(())
    }
}

/// # State
///
/// For a status light or telemetry. All of it is known without waiting, and also after the end of the session.
impl<R, W, G> Client<'_, R, W, G> {
    /// Whether no end of the session is known.
    pub const fn is_open(&self) -> bool {
        self.conn.machine.ended().is_none()
    }

    /// When the last frame of the server was processed: at most `pingInterval` ago while the server lives and
    /// [`recv`](Client::recv) is awaited.
    pub const fn last_seen(&self) -> Instant {
        clock(self.conn.machine.seen())
    }

    /// From the last [`ping`](Client::ping) that the server answered to its answer.
    pub fn round_trip(&self) -> Option<Duration> {
        self.conn.machine.round_trip_ms().map(|millis| Duration::from_millis(millis.into()))
    }

    /// How many messages [`send`](Client::send) has taken since the connection last confirmed that it had delivered all
    /// bytes. After the end of the session, at most this number of messages, the last ones, is lost.
    ///
    /// A connection confirms by `flush`: that of embassy-net waits until TCP has acknowledged all bytes, others may only
    /// hand the bytes on. The server may still lose what TCP has acknowledged: messages that must not be lost need an
    /// acknowledgement by the server's application, as in the example `outbox`.
    pub const fn unconfirmed(&self) -> u32 {
        self.conn.machine.io.unconfirmed
    }

    /// The identifier of the session.
    pub const fn sid(&self) -> &Sid {
        &self.open.sid
    }

    /// The transport of the session: [`Transport::WebSocket`].
    pub const fn transport(&self) -> Transport {
        Transport::WebSocket
    }

    /// The largest message that the server accepts, in bytes with its type.
    pub const fn server_max_payload(&self) -> u32 {
        self.open.max_payload
    }

    /// The open packet of the session, with the server's heartbeat.
    pub const fn handshake(&self) -> &Open {
        &self.open
    }
}

/// Connects to the host of `config` and opens a session on a WebSocket.
///
/// ```no_run
/// # use eio_embassy::{Backoff, Buffers, Config, Connector, Error, connect};
/// # async fn session<C>(client: C) -> Error { unimplemented!() }
/// # async fn run<C: Connector>(mut connector: C, mut random: impl FnMut() -> u32) {
/// let config = Config::new("192.0.2.2:3000");
/// let mut buffers = Buffers::<1536, 512>::new();
/// let mut backoff = Backoff::default();
/// loop {
///     let error = match connect(&mut connector, &config, &mut buffers, &mut random).await {
///         Ok(client) => {
///             backoff.opened();
///             session(client).await
///         }
///         Err(error) => error,
///     };
///     connector.close().await;
///     backoff.wait(&mut random).await;
/// }
/// # }
/// ```
///
/// # Errors
/// Those of [`Connector::connect`] and of [`Client::connect`].
pub async fn connect<'c, C, G, const RX: usize, const TX: usize>(
    connector: &'c mut C,
    config: &Config<'_>,
    buffers: &'c mut Buffers<RX, TX>,
    random: G,
) -> Result<Client<'c, C::Reader<'c>, C::Writer<'c>, G>, Error>
where
    C: Connector,
    G: FnMut() -> u32,
{
    let (host, port) = config.address()?;
    connector.connect(host, port).await?;
    let (reader, writer) = connector.split();
    Client::connect(reader, writer, config, buffers, random).await
}
