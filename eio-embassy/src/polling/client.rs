//! [`PollingClient`]: a session over HTTP long-polling, on two connections.

use eio_core::open::Open;
use eio_core::packet::Message;
use embassy_futures::poll_once;
use embassy_futures::select::{Either, Either3, select, select3};

use crate::buffers::Buffers;
use crate::config::Config;
use crate::early::Early;
use crate::error::{Closed, Error, Waiting};
use crate::net::connector::Connector;
use crate::polling::http::Exchange;
use crate::polling::machine::PollingMachine;
use crate::time::{now, sleep_until};

/// A session over HTTP long-polling, for networks that let no WebSocket through.
///
/// It takes two connections, because the server holds the answer to one request back until there is
/// something to say. Each is kept for as many requests as the server allows and dialed again when needed.
/// A message costs a request with its answer, and binary a third more bytes: where there is a choice, take
/// [`Client`](crate::Client).
///
/// It is used like a [`Client`](crate::Client), and its futures may be dropped like those. (A connector that
/// begins anew when its `dial` is dropped, as that for edge-nal does, may never get anywhere if they are
/// dropped faster than it dials: await [`flush`](Self::flush) there after a message.)
///
/// ```no_run
/// # use eio_embassy::{Buffers, Config, Connector, Error, Message, PollingClient};
/// # async fn session(mut down: impl Connector, mut up: impl Connector) -> Result<(), Error> {
/// let config = Config::new("192.0.2.2:3000");
/// // Requests that ask for messages are small, and so are answers to requests that bring some.
/// let (mut receive, mut send) = (Buffers::<1536, 384>::new(), Buffers::<512, 1024>::new());
/// let mut client =
///     PollingClient::connect((&mut down, &mut receive), (&mut up, &mut send), &config).await?;
/// client.send("hello").await?;
/// if let Message::Text(text) = client.recv().await? {
///     assert_eq!(text, "hello");
/// }
/// client.close().await
/// # }
/// ```
///
/// | it limits | to |
/// |---|---|
/// | what one answer of the server brings: one message or several, binary in base64 | `RX` bytes of the first buffers, less the line of a chunk if it comes in chunks; more ends the session with [`Error::TooLarge`] |
/// | a sent message, binary in base64 | `TX` bytes of the second buffers, less the head of the request; more is [`Error::MessageTooLong`] |
#[derive(Debug)]
pub struct PollingClient<'b, D, U> {
    machine: PollingMachine<'b>,
    /// Messages that came before this did.
    early: Early<'b>,
    down: &'b mut D,
    up: &'b mut U,
    host: &'b str,
    port: u16,
    open: Open,
    close_timeout: u32,
}

impl<'b, D: Connector, U: Connector> PollingClient<'b, D, U> {
    /// Opens a session: `down` with its buffers brings what the server says, `up` with its own what we say.
    ///
    /// # Errors
    /// Any [`Error`] that says why there is no session; at the latest after
    /// [`open_timeout`](eio_core::session::client::ClientTiming::open_timeout).
    pub async fn connect<const A: usize, const B: usize, const X: usize, const Y: usize>(
        (down, receive): (&'b mut D, &'b mut Buffers<A, B>),
        (up, send): (&'b mut U, &'b mut Buffers<X, Y>),
        config: &Config<'b>,
    ) -> Result<Self, Error> {
        let (host, port) = config.address()?;
        let get = Exchange::new(&mut receive.rx, &mut receive.tx);
        let post = Exchange::new(&mut send.rx, &mut send.tx);
        let mut machine = PollingMachine::new(config, get, post, now());
        loop {
            machine.advance(now());
            if let Some(error) = machine.ended() {
                return Err(error);
            }
            if let Some(open) = machine.open() {
                let (open, close_timeout) = (open.clone(), config.timing.close_timeout);
                let early = Early::default();
                return Ok(Self { machine, early, down, up, host, port, open, close_timeout });
            }
            step(&mut machine, down, up, host, port).await;
        }
    }

    /// Goes on with a session that could not be moved to a WebSocket.
    pub(crate) fn resume(
        machine: PollingMachine<'b>,
        early: Early<'b>,
        (down, up): (&'b mut D, &'b mut U),
        (host, port): (&'b str, u16),
        open: Open,
        close_timeout: u32,
    ) -> Self {
        Self { machine, early, down, up, host, port, open, close_timeout }
    }

    /// The next message of the server. Answers pings on the way.
    ///
    /// The message lies in the receive buffer, which it leaves with the next call. Dropping this future loses
    /// nothing.
    ///
    /// # Errors
    /// The session has ended. Messages that came before its end are handed out first.
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
        self.machine.take().ok_or(Error::Closed(Closed::ByUs))
    }

    /// Sends a message: returns when it is in the send buffer, and starts it on its way.
    ///
    /// Waits while the one before is under way: until the server has answered it. Dropping this future loses
    /// nothing: a message it did not return for was not sent.
    ///
    /// # Errors
    /// - [`Error::MessageTooLong`], [`Error::HoldsSeparator`]: this message cannot be sent, the session goes
    ///   on.
    /// - Any other: the session has ended.
    pub async fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> Result<(), Error> {
        let message = message.into();
        loop {
            // First of all: the answer that this waits for may have come, and nothing else may be to come.
            self.advance()?;
            if self.machine.push(message, now())? {
                break;
            }
            self.step().await;
        }
        let _ = poll_once(self.step());
        Ok(())
    }

    /// Waits until the server has answered for everything sent.
    ///
    /// Dropping this future loses nothing.
    ///
    /// # Errors
    /// The session has ended.
    pub async fn flush(&mut self) -> Result<(), Error> {
        loop {
            self.advance()?;
            if self.machine.post.is_idle() {
                return Ok(());
            }
            self.step().await;
        }
    }

    /// Ends the session: what was sent goes first, then a close packet. Messages that come meanwhile are
    /// dropped. The connections themselves are the caller's to close.
    ///
    /// # Errors
    /// The session ended in another way before, or the server did not answer within
    /// [`close_timeout`](eio_core::session::client::ClientTiming::close_timeout).
    pub async fn close(mut self) -> Result<(), Error> {
        let until = now().after(self.close_timeout);
        self.machine.close(now());
        loop {
            self.machine.discard(now());
            match self.machine.ended() {
                Some(Error::Closed(Closed::ByUs)) if self.machine.is_posted(now()) => return Ok(()),
                Some(Error::Closed(Closed::ByUs)) | None => {}
                Some(error) => return Err(error),
            }
            if let Either::Second(()) = select(self.step(), sleep_until(Some(until))).await {
                return Err(Error::TimedOut(Waiting::Close));
            }
        }
    }

    /// The handshake of the session: its identifier and the server's open_params.
    pub const fn handshake(&self) -> &Open {
        &self.open
    }

    fn advance(&mut self) -> Result<(), Error> {
        self.machine.advance(now());
        self.machine.ended().map_or(Ok(()), Err)
    }

    async fn step(&mut self) {
        step(&mut self.machine, self.down, self.up, self.host, self.port).await;
    }
}

/// Waits until something came or went, or the session's deadline.
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
    // Reading first: what came in time counts, however late it is looked at.
    if let Either3::Third(()) = select3(down, up, sleep_until(deadline)).await {
        machine.timed_out(now());
    }
}
