//! [`Client`]: a session on a WebSocket, over two halves of a connection.

use eio_core::open::Open;
use eio_core::packet::Message;
use embedded_io_async::{Read, Write};
use rand_core::RngCore;

use crate::buffers::Buffers;
use crate::config::Config;
use crate::early::Early;
use crate::error::{Closed, Error, Waiting};
use crate::net::connector::Connector;
use crate::time::now;
use crate::websocket::io::WsConn;
use crate::websocket::machine::WsMachine;

/// A session on a WebSocket.
///
/// `R` and `W` are the halves of a connection that is up: a TCP socket's, or those of TLS over it. Both
/// [`Read::read`] and [`Write::write`] must be safe to drop while they wait, which those of embassy-net are
/// and those of embedded-tls are not (the [crate](crate) says what to do then). `G` is a random generator
/// whose output nobody can predict: each frame is masked with it.
///
/// Nothing runs in the background: pings are answered, and what was sent leaves, while
/// [`recv`](Self::recv) is awaited. So await it whenever there is nothing else to do, beside whatever else
/// may happen:
///
/// ```no_run
/// # use embassy_futures::select::{Either, select};
/// # use embassy_sync::{blocking_mutex::raw::NoopRawMutex, channel::Channel};
/// # use eio_embassy::{Client, Error};
/// # use embedded_io_async::{Read, Write};
/// # async fn session<R: Read, W: Write, G: rand_core::RngCore>(mut client: Client<'_, R, W, G>,
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
/// All state is in the client and the buffers it was lent, so a future of it that is dropped, as the loser
/// of a `select` is, loses nothing.
#[derive(Debug)]
pub struct Client<'b, R, W, G> {
    conn: WsConn<'b, R, W, G>,
    open: Open,
    /// Messages that came before the WebSocket did.
    early: Early<'b>,
    close_timeout: u32,
}

impl<'b, R: Read, W: Write, G: RngCore> Client<'b, R, W, G> {
    /// Opens a WebSocket on a connection that is up, and waits for the handshake of Engine.IO.
    ///
    /// Dropping this future gives up the connection.
    ///
    /// # Errors
    /// Any [`Error`] that says why there is no session; at the latest after
    /// [`open_timeout`](eio_core::session::client::ClientTiming::open_timeout).
    pub async fn connect<const RX: usize, const TX: usize>(
        reader: R,
        writer: W,
        config: &Config<'_>,
        buffers: &'b mut Buffers<RX, TX>,
        mut rng: G,
    ) -> Result<Self, Error> {
        let machine =
            WsMachine::connect(config, &mut buffers.rx, &mut buffers.tx, &mut rng, now())?;
        let mut conn = WsConn { machine, reader, writer, rng };
        let open = loop {
            conn.advance().await?;
            match conn.machine.take_open() {
                Some(open) => break open,
                None => conn.step().await,
            }
        };
        Ok(Self { conn, open, early: Early::default(), close_timeout: config.timing.close_timeout })
    }

    /// Goes on with a session that has moved here from polling.
    pub(crate) const fn resume(
        conn: WsConn<'b, R, W, G>,
        open: Open,
        early: Early<'b>,
        close_timeout: u32,
    ) -> Self {
        Self { conn, open, early, close_timeout }
    }

    /// Goes on with a session that began by polling, on a connection that is up, until it is the WebSocket's.
    pub(crate) async fn upgrade(
        reader: R,
        writer: W,
        machine: WsMachine<'b>,
        open: Open,
        early: Early<'b>,
        close_timeout: u32,
        rng: G,
    ) -> Result<Self, Error> {
        let mut conn = WsConn { machine, reader, writer, rng };
        loop {
            conn.advance().await?;
            if conn.machine.is_upgraded() {
                return Ok(Self { conn, open, early, close_timeout });
            }
            conn.step().await;
        }
    }

    /// The next message of the server. Answers pings and writes what is left of messages on the way.
    ///
    /// The message lies in the receive buffer, which it leaves with the next call.
    ///
    /// Dropping this future loses nothing.
    ///
    /// # Errors
    /// The session has ended. Messages that came before its end are handed out first.
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
        self.conn.machine.take().ok_or(Error::Closed(Closed::ByUs))
    }

    /// Sends a message: returns when it is in the send buffer, and starts it on its way.
    ///
    /// Waits while the buffer is full. One that is longer than the buffer goes in several frames, and this
    /// returns with the last of them. Until then pings are answered, and messages that come wait for
    /// [`recv`](Self::recv).
    ///
    /// Dropping this future loses nothing: a message it did not return for was not sent, unless it is longer
    /// than the buffer. Such a message may have been begun; the next `send` has to be given it again, and
    /// goes on where this one stopped. (The server's patience meanwhile is what it announced as
    /// `pingTimeout`: inside a message there is no place for the answer to its ping.)
    ///
    /// # Errors
    /// - [`Error::MessageTooLong`], [`Error::Unfinished`]: this message cannot be sent, the session goes on.
    /// - Any other: the session has ended.
    pub async fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> Result<(), Error> {
        let message = message.into();
        let id = self.conn.machine.fingerprint(message);
        while !self.conn.machine.push(message, id, &mut self.conn.rng)? {
            self.conn.advance().await?;
            self.conn.step().await;
        }
        self.conn.write_now();
        Ok(())
    }

    /// Waits until everything sent has been handed to the connection.
    ///
    /// Dropping this future loses nothing.
    ///
    /// # Errors
    /// The session has ended.
    pub async fn flush(&mut self) -> Result<(), Error> {
        while self.conn.machine.io.has_unsent() {
            self.conn.advance().await?;
            self.conn.step().await;
        }
        Ok(())
    }

    /// Ends the session: what was sent goes first, then a close packet and the closing handshake of the
    /// WebSocket. Messages that come meanwhile are dropped. The connection itself is the caller's to close.
    ///
    /// # Errors
    /// The session ended in another way before, or the server did not close its side within
    /// [`close_timeout`](eio_core::session::client::ClientTiming::close_timeout).
    pub async fn close(mut self) -> Result<(), Error> {
        let until = now().after(self.close_timeout);
        self.conn.machine.close(&mut self.conn.rng, now());
        while self.conn.machine.ended().is_none() {
            self.conn.step().await;
            self.conn.machine.discard(&mut self.conn.rng, now());
        }
        match self.conn.machine.ended() {
            Some(Error::Closed(Closed::ByUs)) | None => {}
            Some(error) => return Err(error),
        }
        while self.conn.machine.io.has_unsent() || !self.conn.machine.discard_until_close() {
            if self.conn.transfer(Some(until), true).await {
                return Err(Error::TimedOut(Waiting::Close));
            }
        }
        Ok(())
    }

    /// The handshake of the session: its identifier and the server's open_params.
    pub const fn handshake(&self) -> &Open {
        &self.open
    }
}

/// Dials the host of `config` and opens a session on a WebSocket there.
///
/// ```no_run
/// # use eio_embassy::{Backoff, Buffers, Client, Config, Connector, Error, dial};
/// # async fn session<C>(client: C) -> Error { unimplemented!() }
/// # async fn forever<C: Connector>(mut connector: C, mut rng: impl rand_core::RngCore) {
/// let config = Config::new("192.0.2.2:3000");
/// let mut buffers = Buffers::<1536, 512>::new();
/// let mut backoff = Backoff::default();
/// loop {
///     let error = match dial(&mut connector, &config, &mut buffers, &mut rng).await {
///         Ok(client) => {
///             backoff.reset();
///             session(client).await
///         }
///         Err(error) => error,
///     };
///     connector.hang_up().await;
///     backoff.wait(&mut rng).await;
/// }
/// # }
/// ```
///
/// # Errors
/// Those of [`Connector::dial`] and of [`Client::connect`].
pub async fn dial<'c, C, G, const RX: usize, const TX: usize>(
    connector: &'c mut C,
    config: &Config<'_>,
    buffers: &'c mut Buffers<RX, TX>,
    rng: G,
) -> Result<Client<'c, C::Reader<'c>, C::Writer<'c>, G>, Error>
where
    C: Connector,
    G: RngCore,
{
    let (host, port) = config.address()?;
    connector.dial(host, port).await?;
    let (reader, writer) = connector.split();
    Client::connect(reader, writer, config, buffers, rng).await
}
