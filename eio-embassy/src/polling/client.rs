//! [`PollingClient`]: a session over HTTP long-polling, on two connections.

use eio_core::open::Open;
use eio_core::packet::Message;
use eio_core::sid::Sid;
use eio_core::transport::Transport;
use embassy_futures::select::{Either, Either3, select, select3};
use embassy_time::{Duration, Instant};

use crate::buffers::Buffers;
use crate::config::Config;
use crate::early::Early;
use crate::error::{Closed, Error, Timeout};
use crate::net::connector::Connector;
use crate::poll::poll_once;
use crate::polling::http::Exchange;
use crate::polling::machine::PollingMachine;
use crate::time::{clock, now, sleep_until};

/// A session over HTTP long-polling, for networks that block WebSockets.
///
/// It uses two connections, because the server holds the response to a GET until it has a packet to send. Each
/// connection is reused for as many requests as the server allows, and then established again. Each message costs a
/// request with its response, and a third more bytes if it is binary: prefer [`Client`](crate::Client) where a
/// WebSocket is possible.
///
/// It has the methods of [`Client`](crate::Client), and its futures may be dropped like those. A connector whose
/// `connect` starts again after it was dropped, such as that for edge-nal, never connects if the futures are dropped
/// faster than it can connect: with such a connector await [`flushed`](Self::flushed) after a message.
///
/// ```no_run
/// # use eio_embassy::{Buffers, Config, Connector, Error, Message, PollingClient};
/// # async fn session(mut down: impl Connector, mut up: impl Connector) -> Result<(), Error> {
/// let config = Config::new("192.0.2.2:3000");
/// // A GET is small, and so is the response to a POST.
/// let (mut receive, mut send) = (Buffers::<1536, 384>::new(), Buffers::<512, 1024>::new());
/// let mut client =
///     PollingClient::connect((&mut down, &mut receive), (&mut up, &mut send), &config).await?;
/// client.send("hello").await?;
/// if let Message::Text(text) = client.recv().await? {
///     assert_eq!(text, "hello");
/// }
/// client.disconnect().await
/// # }
/// ```
///
/// | limit | value |
/// |---|---|
/// | a received message, binary in base64 | `RX` bytes of the first buffers, less the size line of a chunk; a larger one ends the session with [`Error::ReceivedTooLarge`]. The number of messages in one response has no limit |
/// | a sent message, binary in base64 | `TX` bytes of the second buffers, less the head of the request; a larger one is [`Error::TooLarge`] |
/// | cookies of the handshake, which every request returns | twice their length fits `TX` of the first buffers after a request (about 150 bytes); a cookie that does not fit is left out |
#[derive(Debug)]
pub struct PollingClient<'b, D, U> {
    machine: PollingMachine<'b>,
    /// Messages received before this client was made.
    early: Early<'b>,
    down: &'b mut D,
    up: &'b mut U,
    host: &'b str,
    port: u16,
    open: Open,
    close_timeout_ms: u32,
}

impl<'b, D: Connector, U: Connector> PollingClient<'b, D, U> {
    /// Opens a session: `down` and its buffers are for GETs, `up` and its buffers for POSTs.
    ///
    /// # Errors
    /// Any [`Error`] that says why there is no session, within [`Config::open_timeout`].
    pub async fn connect<const A: usize, const B: usize, const X: usize, const Y: usize>(
        (down, receive): (&'b mut D, &'b mut Buffers<A, B>),
        (up, send): (&'b mut U, &'b mut Buffers<X, Y>),
        config: &Config<'b>,
    ) -> Result<Self, Error> {
        let (host, port) = config.address()?;
        let get = Exchange::for_gets(&mut receive.rx, &mut receive.tx, 0);
        let post = Exchange::new(&mut send.rx, &mut send.tx);
        let mut machine = PollingMachine::new(config, get, post, now());
        loop {
            machine.advance(now());
            if let Some(error) = machine.ended() {
                return Err(error);
            }
            if let Some(open) = machine.open() {
                let (open, close_timeout_ms) = (open.clone(), config.timing.close_timeout_ms);
                let early = Early::default();
                return Ok(Self { machine, early, down, up, host, port, open, close_timeout_ms });
            }
            step(&mut machine, down, up, host, port).await;
        }
    }

    /// Continues a session that was not upgraded.
    pub(crate) fn resume(
        machine: PollingMachine<'b>,
        early: Early<'b>,
        (down, up): (&'b mut D, &'b mut U),
        config: &Config<'b>,
        open: Open,
    ) -> Result<Self, Error> {
        let (host, port) = config.address()?;
        let close_timeout_ms = config.timing.close_timeout_ms;
        Ok(Self { machine, early, down, up, host, port, open, close_timeout_ms })
    }

    /// Receives the next message. Answers pings while it waits.
    ///
    /// The message is in the receive buffer until the next call. Dropping this future loses nothing.
    ///
    /// # Errors
    /// The session has ended. Messages received before its end are returned first.
    pub async fn recv(&mut self) -> Result<Message<'_>, Error> {
        if !self.early.is_empty() {
            return Ok(self.early.take());
        }
        while !self.machine.has_message() {
            self.advance()?;
            if !self.machine.has_message() {
                self.step().await;
            }
        }
        self.machine.take().ok_or(Error::Closed(Closed::ClientDisconnect))
    }

    /// Sends a message: waits until the server has answered the previous POST, writes the message into the next one,
    /// and starts that. If this future is dropped, the message is not sent.
    ///
    /// # Errors
    /// - [`Error::TooLarge`], [`Error::Separator`]: this message cannot be sent, the session continues.
    /// - Any other: the session has ended.
    pub async fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> Result<(), Error> {
        let message = message.into();
        loop {
            // First, because the response that this waits for may be received already.
            self.advance()?;
            if self.machine.push(message, now())? {
                break;
            }
            self.step().await;
        }
        let _ = poll_once(self.step()).await;
        Ok(())
    }

    fn advance(&mut self) -> Result<(), Error> {
        self.machine.advance(now());
        self.machine.ended().map_or(Ok(()), Err)
    }

    async fn step(&mut self) {
        step(&mut self.machine, self.down, self.up, self.host, self.port).await;
    }

    /// Waits until the server has answered every POST.
    ///
    /// Dropping this future loses nothing.
    ///
    /// # Errors
    /// The session has ended.
    pub async fn flushed(&mut self) -> Result<(), Error> {
        loop {
            self.advance()?;
            if self.machine.post.is_idle() {
                return Ok(());
            }
            self.step().await;
        }
    }

    /// Ends the session: sends the queued message and a close packet. Messages received from now on are discarded. The
    /// connections themselves stay open, to be closed by the caller.
    ///
    /// # Errors
    /// The session ended in another way before, or the server did not answer within [`Config::close_timeout`].
    pub async fn disconnect(&mut self) -> Result<(), Error> {
        let until = now().after(self.close_timeout_ms);
        self.machine.close(now());
        loop {
            self.machine.discard(now());
            match self.machine.ended() {
                Some(Error::Closed(Closed::ClientDisconnect)) if self.machine.is_posted(now()) => {
                    return Ok(());
                }
                Some(Error::Closed(Closed::ClientDisconnect)) | None => {}
                Some(error) => return Err(error),
            }
            if let Either::Second(()) = select(self.step(), sleep_until(Some(until))).await {
                return Err(Error::TimedOut(Timeout::Close));
            }
        }
    }
}

/// # State
///
/// For a status light or telemetry. All of it is known without waiting, and also after the end of the session.
impl<D, U> PollingClient<'_, D, U> {
    /// Whether no end of the session is known.
    pub const fn is_open(&self) -> bool {
        self.machine.ended().is_none()
    }

    /// When the last packet or response of the server was processed: at most `pingInterval` ago while the server lives and
    /// [`recv`](PollingClient::recv) is awaited.
    pub const fn last_seen(&self) -> Instant {
        clock(self.machine.seen())
    }

    /// From the last POST that the server answered to the end of its response. Each answer to a ping of the server is a
    /// POST.
    pub fn round_trip(&self) -> Option<Duration> {
        self.machine.post.round_trip_ms().map(|millis| Duration::from_millis(millis.into()))
    }

    /// How many messages [`send`](PollingClient::send) has taken and the server has not answered: 0 or 1. After the end of
    /// the session, this message may be lost.
    pub const fn unconfirmed(&self) -> u32 {
        self.machine.is_posting() as u32
    }

    /// The identifier of the session.
    pub const fn sid(&self) -> &Sid {
        &self.open.sid
    }

    /// The transport of the session: [`Transport::Polling`].
    pub const fn transport(&self) -> Transport {
        Transport::Polling
    }

    /// The largest message that the server accepts, in bytes with its type. The send buffer may allow less.
    pub const fn server_max_payload(&self) -> u32 {
        self.open.max_payload
    }

    /// The open packet of the session, with the server's heartbeat.
    pub const fn handshake(&self) -> &Open {
        &self.open
    }
}

/// Waits until bytes are received or sent, or handles the session's deadline.
async fn step(
    machine: &mut PollingMachine<'_>,
    down: &mut impl Connector,
    up: &mut impl Connector,
    host: &str,
    port: u16,
) {
    let deadline = machine.deadline();
    let PollingMachine { get, post, .. } = machine;
    let (down, up) = (get.drive(down, host, port), post.drive(up, host, port));
    // Reading first: bytes that arrived in time count, even if they are processed late.
    if let Either3::Third(()) = select3(down, up, sleep_until(deadline)).await {
        machine.timed_out(now());
    }
}
