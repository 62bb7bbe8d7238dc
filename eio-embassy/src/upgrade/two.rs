//! [`Upgrade`]: a session that polls on one connection while it tries a WebSocket on the other.

use core::future::pending;
use core::pin::pin;

use eio_core::open::Open;
use eio_core::session::Lane;
use eio_core::time::Instant;
use embassy_futures::select::{Either3, select3};

use crate::config::Config;
use crate::early::Early;
use crate::error::Error;
use crate::net::connector::Connector;
use crate::polling::http::Exchange;
use crate::polling::machine::PollingMachine;
use crate::time::{now, sleep_until};
use crate::upgrade::opening::Opened;
use crate::upgrade::requests::Requests;
use crate::websocket::machine::WsMachine;

/// The state of an upgrade on two connections. Polling carries the session until the upgrade is complete, and continues
/// to carry it if the upgrade fails.
#[derive(Debug)]
pub(crate) struct Upgrade<'b> {
    config: Config<'b>,
    open: Open,
    requests: Requests<'b>,
    machine: WsMachine<'b>,
    stage: Stage,
}

/// The progress of an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The second connection is being established.
    Connecting,
    /// The WebSocket is being opened and probed.
    Probing,
    /// The upgrade failed. POSTs use the second connection after a POST on the first one is answered.
    Failed,
    /// The upgrade failed, and no POST is in flight.
    Polling,
    /// The WebSocket carries the session.
    Upgraded,
}

impl<'b> Upgrade<'b> {
    /// Begins a WebSocket for a session that was opened by polling, with its request in the send buffer `tx`.
    pub(crate) fn new(
        config: &Config<'b>,
        opened: Opened<'b>,
        rx: &'b mut [u8],
        tx: &'b mut [u8],
        random: &mut impl FnMut() -> u32,
    ) -> Result<Self, Error> {
        let Opened { get, mut session, open, early } = opened;
        // The session asks for the WebSocket before the next GET.
        let _ = session.poll_lane(false);
        let cookies = get.cookies.value();
        let machine =
            WsMachine::begin(config, session, Some(&open), cookies, (rx, tx), random, now())?;
        let requests = Requests::new(get, early, open.sid.clone());
        Ok(Self { config: *config, open, requests, machine, stage: Stage::Connecting })
    }

    /// Completes the upgrade or fails: `down` polls, `up` opens the WebSocket. Returns whether the WebSocket carries
    /// the session.
    ///
    /// # Errors
    /// The session has ended.
    pub(crate) async fn run(
        &mut self,
        down: &mut impl Connector,
        up: &mut impl Connector,
        (host, port): (&str, u16),
        random: &mut impl FnMut() -> u32,
    ) -> Result<bool, Error> {
        let mut connected = false;
        {
            let mut connect = pin!(up.connect(host, port));
            while !connected && self.advance(random, now())? == Stage::Connecting {
                let poll = self.requests.exchange.drive(down, host, port);
                match select3(&mut connect, poll, sleep_until(self.machine.deadline())).await {
                    Either3::First(Ok(())) => connected = true,
                    Either3::First(Err(_)) => break,
                    Either3::Second(()) => {}
                    Either3::Third(()) => self.machine.timed_out(random, now()),
                }
            }
        }
        self.connected(connected);
        loop {
            let stage = self.advance(random, now())?;
            if let Stage::Upgraded | Stage::Polling = stage {
                return Ok(stage == Stage::Upgraded);
            }
            let deadline = self.machine.deadline();
            let io = &mut self.machine.io;
            let websocket = async {
                if stage != Stage::Probing {
                    return pending().await;
                }
                let (mut reader, mut writer) = up.split();
                io.transfer(&mut reader, &mut writer, true, None).await;
            };
            let poll = self.requests.exchange.drive(down, host, port);
            if let Either3::Third(()) = select3(websocket, poll, sleep_until(deadline)).await {
                self.machine.timed_out(random, now());
            }
        }
    }

    /// The second connection is established, or cannot be.
    fn connected(&mut self, ok: bool) {
        if ok {
            self.stage = Stage::Probing;
        } else {
            // That ends the upgrade, not the session.
            self.machine.session.lost(Lane::WebSocket);
        }
    }

    /// Processes received bytes.
    fn advance(&mut self, random: &mut impl FnMut() -> u32, now: Instant) -> Result<Stage, Error> {
        self.requests.advance(&mut self.machine.session, &self.config, now)?;
        if self.stage == Stage::Probing {
            self.machine.advance(random, now);
        }
        if let Some(reason) = self.machine.session.ended() {
            return Err(Error::ended(reason, &self.machine.session));
        }
        self.stage = match self.stage {
            Stage::Connecting | Stage::Probing if self.machine.session.is_upgrading() => self.stage,
            Stage::Connecting | Stage::Probing if self.machine.is_upgraded() => Stage::Upgraded,
            Stage::Connecting | Stage::Probing | Stage::Failed if self.requests.is_posting() => {
                Stage::Failed
            }
            Stage::Connecting | Stage::Probing | Stage::Failed => Stage::Polling,
            stage => stage,
        };
        Ok(self.stage)
    }

    /// Writes as much to the WebSocket as its connection accepts without waiting.
    pub(crate) async fn write_now(&mut self, up: &mut impl Connector) {
        self.machine.io.write_now(&mut up.split().1).await;
    }

    /// The WebSocket that carries the session, and the messages received by polling.
    pub(crate) fn into_websocket(self) -> (WsMachine<'b>, Open, Early<'b>) {
        (self.machine, self.open, self.requests.early)
    }

    /// The session that continues by polling, and the messages received so far.
    ///
    /// # Errors
    /// The head of a POST does not fit the send buffer.
    pub(crate) fn into_polling(self) -> Result<(PollingMachine<'b>, Open, Early<'b>), Error> {
        let Self { config, open, requests, machine, .. } = self;
        let (session, rx, tx) = machine.into_parts();
        let post = Exchange::new(rx, tx);
        let machine =
            PollingMachine::resume(&config, requests.exchange, post, session, open.clone(), now())?;
        Ok((machine, open, requests.early))
    }
}
