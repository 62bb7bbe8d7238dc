//! [`AnyClient`]: a session that begins by polling and is moved to a WebSocket where that can be done, on two
//! connections.

use core::pin::pin;

use eio_core::buffer::Sink;
use eio_core::open::Open;
use eio_core::packet::Message;
use eio_core::request::Reject;
use eio_core::session::Lane;
use eio_core::session::client::{ClientSession, Transmit};
use eio_core::sid::Sid;
use eio_core::time::Instant;
use eio_core::transport::Transport;
use embassy_futures::select::{Either, Either3, select, select3};
use rand_core::RngCore;

use crate::buffers::Buffers;
use crate::config::Config;
use crate::early::Early;
use crate::error::Error;
use crate::net::connector::Connector;
use crate::polling::client::PollingClient;
use crate::polling::http::Exchange;
use crate::polling::machine::Poller;
use crate::time::{now, sleep_until};
use crate::upgrade::one::{absorb, handshake};
use crate::websocket::client::Client;
use crate::websocket::io::Driven;
use crate::websocket::machine::Link;

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
    let (host, port) = config.address()?;
    let close_timeout = config.timing.close_timeout;
    let mut get = Exchange::new("GET", &mut receive.rx, &mut receive.tx);
    let (mut session, open, early) = handshake(&mut get, down, (host, port), config).await?;
    let mut polling = Polling { get, early, sid: open.sid.clone(), due: [false; 2], post: false };
    if !open.upgrades.contains(Transport::WebSocket) {
        let post = Exchange::new("POST", &mut send.rx, &mut send.tx);
        let poller = Poller::resume(config, polling.get, post, session, open.clone())?;
        let (both, at) = ((down, up), (host, port));
        let client = PollingClient::resume(poller, polling.early, both, at, open, close_timeout);
        return Ok(AnyClient::Polling(client));
    }
    // The WebSocket, which comes before the next GET.
    let _ = session.poll_lane(false);
    let mut link = Link::begin(config, session, Some(&open), &mut send.rx, &mut send.tx, &mut rng)?;

    let dialed = {
        let mut dial = pin!(up.dial(host, port));
        loop {
            polling.advance(&mut link.session, config, now())?;
            if !link.session.is_upgrading() {
                break false;
            }
            let get = polling.get.drive(down, host, port);
            match select3(&mut dial, get, sleep_until(link.deadline())).await {
                Either3::First(result) => break result.is_ok(),
                Either3::Second(()) => {}
                Either3::Third(()) => link.timed_out(&mut rng, now()),
            }
        }
    };
    if !dialed {
        link.session.lost(Lane::WebSocket);
    }
    while link.session.is_upgrading() {
        polling.advance(&mut link.session, config, now())?;
        link.advance(&mut rng, now());
        if !link.session.is_upgrading() {
            break;
        }
        let deadline = link.deadline();
        let (reader, writer) = up.split();
        let mut io = Driven { link, reader, writer, rng: &mut rng };
        let get = polling.get.drive(down, host, port);
        let step = select(io.move_bytes(deadline, true), get).await;
        link = io.link;
        if let Either::First(true) = step {
            link.timed_out(&mut rng, now());
        }
    }
    if let Some(reason) = link.session.ended() {
        return Err(Error::ended(reason, true));
    }
    if link.is_upgraded() {
        let (reader, writer) = up.split();
        let mut io = Driven { link, reader, writer, rng };
        // The server should not wait for the end of the other connection.
        io.write_now();
        down.hang_up().await;
        return Ok(AnyClient::WebSocket(Client::resume(io, open, polling.early, close_timeout)));
    }

    // What has begun on the one connection ends there; the other is for what we have to say.
    while polling.post {
        polling.advance(&mut link.session, config, now())?;
        let step = polling.get.drive(down, host, port);
        if let Either::Second(()) = select(step, sleep_until(link.deadline())).await {
            link.timed_out(&mut rng, now());
        }
        if let Some(reason) = link.session.ended() {
            return Err(Error::ended(reason, true));
        }
    }
    up.hang_up().await;
    let (session, rx, tx) = link.into_parts();
    let post = Exchange::new("POST", rx, tx);
    let poller = Poller::resume(config, polling.get, post, session, open.clone())?;
    let (both, at) = ((down, up), (host, port));
    let client = PollingClient::resume(poller, polling.early, both, at, open, close_timeout);
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

    /// The handshake of the session: its identifier and the server's figures.
    pub const fn handshake(&self) -> &Open {
        match self {
            Self::WebSocket(client) => client.handshake(),
            Self::Polling(client) => client.handshake(),
        }
    }
}

/// The requests of a session while it is being moved, on one connection: a GET is under way, but for the
/// moment that a POST takes with the answer to a ping. When messages came, the next GET waits until it is
/// known where the session goes.
#[derive(Debug)]
struct Polling<'b> {
    get: Exchange<'b>,
    early: Early<'b>,
    sid: Sid,
    /// A GET, a POST: the session counts on it.
    due: [bool; 2],
    /// The request under way is a POST.
    post: bool,
}

impl Polling<'_> {
    /// Takes what was received as far as it goes, and starts what is next.
    fn advance(
        &mut self,
        session: &mut ClientSession,
        config: &Config<'_>,
        now: Instant,
    ) -> Result<(), Error> {
        loop {
            match self.get.poll(now) {
                Ok(Some(200)) if self.post => {
                    self.get.finish();
                    self.post = false;
                    session.detach(Lane::Post);
                }
                Ok(Some(200)) => self.early = absorb(&mut self.get, session, 0)?,
                Ok(Some(status)) => {
                    return Err(Error::refused(status, Reject::code_in(self.get.conn.rx.kept())));
                }
                Ok(None) if !self.get.is_idle() => return Ok(()),
                Ok(None) => {}
                // A POST may have been looked at.
                Err(_) if self.get.went_stale() && !self.post => {
                    self.get.disconnect();
                    self.start(session, config, now)?;
                }
                Err(error) => return Err(error),
            }
            if self.early.is_empty() {
                while let Some(lane) = session.poll_lane(false) {
                    self.due =
                        [self.due[0] || lane == Lane::Get, self.due[1] || lane == Lane::Post];
                }
            }
            if !self.get.is_idle() {
                continue;
            }
            let [get, post] = &mut self.due;
            self.post = core::mem::take(post);
            if !self.post && !core::mem::take(get) {
                return Ok(());
            }
            self.start(session, config, now)?;
        }
    }

    fn start(
        &mut self,
        session: &mut ClientSession,
        config: &Config<'_>,
        now: Instant,
    ) -> Result<(), Error> {
        let out = &mut self.get.conn.out;
        out.clear();
        if !self.post {
            config.polling_request(out, Some(&self.sid), None)?;
        } else if let Some(Transmit::Control(packet)) = session.poll_transmit(Lane::Post, false) {
            // The answer to a ping; there is nothing else to say yet.
            let frame = packet.frame();
            let len = frame.prefix.len() + frame.data.len();
            config.polling_request(out, Some(&self.sid), Some(len))?;
            let _ = out.put(frame.prefix).and_then(|()| out.put(frame.data));
            let _ = session.poll_transmit(Lane::Post, false);
        }
        self.get.begin(now);
        Ok(())
    }
}
