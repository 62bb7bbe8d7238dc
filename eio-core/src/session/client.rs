//! [`ClientSession`]: one server, seen from the client.
//!
//! # Theory
//!
//! A session is **opening** (until the driver hands over the params of the open packet), **open**,
//! **closing** or **ended**. A client also decides which lanes there are: [`ClientSession::poll_lane`]
//! tells the driver when to start a GET, a POST, or a WebSocket. While open over polling there is always
//! one GET in flight, and a POST only when there is something to say.
//!
//! An upgrade goes: the driver is told to open a WebSocket; `2probe` goes out; `3probe` comes; no GET or
//! POST is started any more, and when those in flight are done (the server answers the GET with a noop),
//! `5` goes out and the WebSocket is the transport. Until that moment nothing has changed for polling, so
//! giving up at any point, or at the deadline, costs nothing.
//!
//! Every living state has a deadline. What the session does not know: addresses, identifiers, how to parse
//! an open packet, and how much fits into a POST.

use super::body::Body;
use super::events::Events;
use super::heartbeat::Liveness;
use super::upgrade::{ClientSocket, PROBE};
use super::{CloseReason, Event, Lane, UpgradeFailure, Violation, close};
use crate::packet::{Message, Packet};
use crate::time::Instant;
use crate::transport::Transport;
use crate::ws::CloseCode;

/// The deadlines a client sets, in milliseconds. Those of the heartbeat come from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ClientTiming {
    /// From the start to the open packet.
    pub open_timeout_ms: u32,
    /// From the open packet to the end of the attempt to upgrade. Must not be more than the server's, or
    /// the server may give up while the client switches.
    pub upgrade_timeout_ms: u32,
    /// From [`ClientSession::close`] to the end, whatever is still queued.
    pub close_timeout_ms: u32,
}

impl Default for ClientTiming {
    /// 20 s, as socket.io-client waits for a connection; 10 s, the upgrade timeout of servers; 30 s, as a
    /// server waits when it closes.
    fn default() -> Self {
        Self { open_timeout_ms: 20_000, upgrade_timeout_ms: 10_000, close_timeout_ms: 30_000 }
    }
}

/// What the open packet says that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct OpenParams {
    /// `pingInterval`, in milliseconds.
    pub ping_interval_ms: u32,
    /// `pingTimeout`, in milliseconds.
    pub ping_timeout_ms: u32,
    /// Whether `upgrades` names `websocket`.
    pub offers_websocket: bool,
}

/// What is to be written to a lane of a client session next. From [`ClientSession::poll_transmit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Transmit {
    /// This packet.
    Control(Packet<'static>),
    /// The next message of the driver's queue.
    Message,
    /// WebSocket only: nothing more; start the WebSocket closing handshake, or stop opening it. With this
    /// the lane is detached: the connection makes no further call for this session.
    Hangup,
}

/// The rules of one session on the client. See the [module](self) for its theory and the
/// [parent](super) for the order to call it in; [`poll_lane`](Self::poll_lane) comes before
/// [`poll_transmit`](Self::poll_transmit).
///
/// ```
/// use eio_core::packet::{Message, Packet};
/// use eio_core::session::client::{ClientSession, ClientTiming, OpenParams, Transmit};
/// use eio_core::session::Lane;
/// use eio_core::time::Instant;
/// use eio_core::transport::Transport;
///
/// let now = Instant::from_millis(0);
/// let mut session = ClientSession::new(Transport::WebSocket, false, ClientTiming::default(), now);
///
/// // Open a WebSocket; its first frame is the open packet.
/// assert_eq!(session.poll_lane(false), Some(Lane::WebSocket));
/// session.handle_connected()?;
/// let params = OpenParams { ping_interval_ms: 25_000, ping_timeout_ms: 20_000, offers_websocket: false };
/// session.handle_open(params, now)?;
///
/// // A ping is answered at once, ahead of what is queued.
/// assert_eq!(session.handle_packet(Lane::WebSocket, Packet::Ping(""), now)?, None);
/// let pong = Transmit::Control(Packet::Pong(""));
/// assert_eq!(session.poll_transmit(Lane::WebSocket, true), Some(pong));
/// assert_eq!(session.poll_transmit(Lane::WebSocket, true), Some(Transmit::Message));
/// assert_eq!(session.poll_transmit(Lane::WebSocket, false), None);
/// # Ok::<(), eio_core::session::Violation>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClientSession {
    phase: Phase,
    socket: ClientSocket,
    /// When closing ends, however much is still queued.
    closing: Option<Instant>,
    upgrade_timeout_ms: u32,
    close_timeout_ms: u32,
    transport: Transport,
    wants_upgrade: bool,
    get: bool,
    post: Body,
    pong_due: bool,
    /// The session was aborted over polling, and the server is still to be told.
    goodbye_due: bool,
    events: Events,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Opening { until: Instant },
    Open(Liveness),
}

/// Getters.
impl ClientSession {
    /// A session that starts on `transport`, and wants to end up on WebSocket if `upgrade` is set and the
    /// server offers it.
    pub const fn new(
        transport: Transport,
        upgrade: bool,
        timing: ClientTiming,
        now: Instant,
    ) -> Self {
        let socket = match transport {
            Transport::Polling => ClientSocket::Unused,
            Transport::WebSocket => ClientSocket::Wanted { until: None },
        };
        Self {
            phase: Phase::Opening { until: now.after(timing.open_timeout_ms) },
            socket,
            closing: None,
            upgrade_timeout_ms: timing.upgrade_timeout_ms,
            close_timeout_ms: timing.close_timeout_ms,
            transport,
            wants_upgrade: upgrade,
            get: false,
            post: Body::Absent,
            pong_due: false,
            goodbye_due: false,
            events: Events::NONE,
        }
    }

    /// What carries the session: polling until an upgrade is complete.
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// Whether the open packet came.
    pub const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open(_))
    }

    /// Whether an upgrade is under way.
    pub const fn is_upgrading(&self) -> bool {
        self.socket.deadline().is_some()
    }

    /// Whether [`close`](Self::close) was called and the session has not ended yet.
    pub const fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Why the session ended, if it has.
    pub const fn ended(&self) -> Option<CloseReason> {
        self.events.ended()
    }

    /// The code of the close frame for [`Transmit::Hangup`]: that of the reason
    /// ([`CloseReason::close_code`]), or 1000 if only an upgrade failed.
    pub const fn hangup_code(&self) -> CloseCode {
        close::hangup_code(self.ended(), false)
    }

    /// Whether the session has this lane: from [`poll_lane`](Self::poll_lane) on, and a WebSocket until its
    /// [`Transmit::Hangup`].
    pub fn attached(&self, lane: Lane) -> bool {
        match lane {
            Lane::Get => self.get,
            Lane::Post => self.post.is_attached(),
            Lane::WebSocket => {
                !matches!(self.socket, ClientSocket::Unused | ClientSocket::Wanted { .. })
            }
        }
    }
}

/// From the network and the clock.
impl ClientSession {
    /// The WebSocket that [`poll_lane`](Self::poll_lane) asked for is open.
    ///
    /// # Errors
    /// [`Violation::Ended`], [`Violation::NotAttached`]: it is not wanted any more; cut it.
    pub fn handle_connected(&mut self) -> Result<(), Violation> {
        if self.ended().is_some() {
            return Err(Violation::Ended);
        }
        let ClientSocket::Dialing { until } = self.socket else {
            return Err(Violation::NotAttached);
        };
        self.socket = match until {
            Some(until) => ClientSocket::Probing { until, probe_due: true },
            None => ClientSocket::Current,
        };
        Ok(())
    }

    /// The open packet came, in the first GET or as the first frame. A second one is ignored.
    ///
    /// # Errors
    /// [`Violation::Ended`]
    pub fn handle_open(&mut self, params: OpenParams, now: Instant) -> Result<(), Violation> {
        if self.ended().is_some() {
            return Err(Violation::Ended);
        }
        if self.is_open() {
            return Ok(());
        }
        self.phase =
            Phase::Open(Liveness::new(params.ping_interval_ms, params.ping_timeout_ms, now));
        if self.transport == Transport::Polling && self.wants_upgrade && params.offers_websocket {
            self.socket = ClientSocket::Wanted { until: Some(now.after(self.upgrade_timeout_ms)) };
        }
        Ok(())
    }

    /// The request is done: the GET's response was handled to its end, or the POST was answered `ok`. For a
    /// WebSocket it is the same as [`lost`](Self::lost).
    pub fn detach(&mut self, lane: Lane) {
        match lane {
            Lane::Get => {
                let answered = core::mem::take(&mut self.get);
                // Polling on would be a second handshake.
                if answered && !self.is_open() {
                    self.end(CloseReason::ParseError);
                }
            }
            Lane::Post => self.post = Body::Absent,
            Lane::WebSocket => self.lost(lane),
        }
    }

    /// The lane's connection could not be opened, broke or was hung up, or its request was answered with
    /// something else than 200. Nothing happens if the lane is not attached.
    pub fn lost(&mut self, lane: Lane) {
        match lane {
            Lane::Get => {
                if core::mem::take(&mut self.get) {
                    self.end(CloseReason::TransportError);
                }
            }
            Lane::Post => {
                if core::mem::replace(&mut self.post, Body::Absent).is_attached() {
                    self.end(CloseReason::TransportError);
                }
            }
            Lane::WebSocket => {
                match core::mem::replace(&mut self.socket, ClientSocket::Unused) {
                    ClientSocket::Dialing { until: None } => self.end(CloseReason::TransportError),
                    ClientSocket::Dialing { until: Some(_) }
                    | ClientSocket::Probing { .. }
                    | ClientSocket::Pausing { .. } => {
                        self.events.upgrade_failed(UpgradeFailure::Lost);
                    }
                    ClientSocket::Current => self.end(CloseReason::TransportClose),
                    // Not this lane's: the wish stays.
                    wanted @ ClientSocket::Wanted { .. } => self.socket = wanted,
                    ClientSocket::Unused | ClientSocket::Leaving { .. } => {}
                }
            }
        }
    }

    /// A packet came, other than the open packet of the handshake
    /// ([`handle_open`](Self::handle_open)); a message comes back for the application, unless the session is
    /// closing.
    ///
    /// # Errors
    /// - [`Violation::NotOpened`]: the session ends.
    /// - [`Violation::UnexpectedPacket`]: the upgrade is over, the session goes on over polling.
    /// - [`Violation::Ended`], also for what stands behind a close packet in the same body.
    /// - [`Violation::NotAttached`]
    pub fn handle_packet<'p>(
        &mut self,
        lane: Lane,
        packet: Packet<'p>,
        now: Instant,
    ) -> Result<Option<Message<'p>>, Violation> {
        if self.ended().is_some() {
            return Err(Violation::Ended);
        }
        match (lane, self.socket) {
            (Lane::Get, _) if self.get => {}
            (Lane::WebSocket, ClientSocket::Current) => {}
            (Lane::WebSocket, ClientSocket::Probing { .. } | ClientSocket::Pausing { .. }) => {
                return self.handle_probe(packet).map(|()| None);
            }
            _ => return Err(Violation::NotAttached),
        }
        if packet == Packet::Close {
            self.end(CloseReason::ServerDisconnect);
            return Ok(None);
        }
        let Phase::Open(liveness) = &mut self.phase else {
            self.end(CloseReason::ParseError);
            return Err(Violation::NotOpened);
        };
        liveness.handle_progress();
        match packet {
            Packet::Ping(_) => {
                liveness.handle_ping(now);
                self.pong_due = true;
                Ok(None)
            }
            Packet::Message(message) => Ok(Some(message).filter(|_| self.closing.is_none())),
            // Ignored, as the JS client does.
            Packet::Open(_) | Packet::Close | Packet::Pong(_) | Packet::Upgrade | Packet::Noop => {
                Ok(None)
            }
        }
    }

    /// What came on this lane is not a packet, or more than the limit. On a WebSocket that only tries to
    /// become the transport this ends the try, on any other lane the session.
    pub fn fail(&mut self, lane: Lane, reason: CloseReason) {
        if lane == Lane::WebSocket && self.is_upgrading() {
            self.abandon_upgrade(UpgradeFailure::UnexpectedPacket);
        } else if self.attached(lane) {
            self.end(reason);
        }
    }

    /// Time has passed. Call it when [`poll_timeout`](Self::poll_timeout) is reached; earlier is harmless.
    /// Handle what was received in time first: a ping that waits unread does not count.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.ended().is_some() {
            return;
        }
        if self.closing.is_some_and(|at| now >= at) {
            return self.end(CloseReason::ClientDisconnect);
        }
        if self.socket.deadline().is_some_and(|at| now >= at) {
            self.abandon_upgrade(UpgradeFailure::Timeout);
        }
        match self.phase {
            Phase::Opening { until } if now >= until => self.end(CloseReason::TransportError),
            Phase::Open(liveness) if now >= liveness.deadline() => {
                self.end(CloseReason::PingTimeout);
            }
            _ => {}
        }
    }

    /// Bytes of the server wait unread because the application is slow; see
    /// [`ServerSession::extend`](super::ServerSession::extend).
    pub fn extend(&mut self, now: Instant) -> bool {
        let alive = self.ended().is_none();
        match &mut self.phase {
            Phase::Open(liveness) if alive => liveness.extend(now),
            Phase::Opening { .. } | Phase::Open(_) => false,
        }
    }
}

/// From the application.
impl ClientSession {
    /// Closes gracefully: what is queued goes first, then a close packet, on the transport that is current
    /// by then. The session ends with that, or `close_timeout_ms` from now; at once if it is still opening.
    pub fn close(&mut self, now: Instant) {
        if !self.is_open() {
            self.end(CloseReason::ClientDisconnect);
        } else if self.ended().is_none() && self.closing.is_none() {
            self.closing = Some(now.after(self.close_timeout_ms));
        }
    }

    /// Ends the session now. What is queued is not sent; over polling the server is told in one last POST
    /// ([`poll_lane`](Self::poll_lane)), for as long as the driver cares to wait for it.
    pub fn abort(&mut self, reason: CloseReason) {
        if self.ended().is_none() && self.is_open() && self.transport == Transport::Polling {
            self.goodbye_due = tells_peer(reason);
        }
        self.end(reason);
    }
}

/// What the driver is to do.
impl ClientSession {
    /// Which lane to open now: start a GET; start a POST and fill it from
    /// [`poll_transmit`](Self::poll_transmit); or open a WebSocket and call
    /// [`handle_connected`](Self::handle_connected). Each answer is to be followed, until it says `None`;
    /// what cannot be opened is [`lost`](Self::lost). `queued` says whether the driver holds an unsent message.
    ///
    /// Worth calling first, after each call of the `handle_*` family, after each command and when a message
    /// was queued.
    #[must_use = "the lane counts as being opened"]
    pub fn poll_lane(&mut self, queued: bool) -> Option<Lane> {
        if let ClientSocket::Wanted { until } = self.socket {
            self.socket = ClientSocket::Dialing { until };
            return Some(Lane::WebSocket);
        }
        let post = if self.ended().is_some() {
            self.goodbye_due
        } else {
            if self.transport == Transport::WebSocket || self.is_pausing() {
                return None;
            }
            if !self.get {
                self.get = true;
                return Some(Lane::Get);
            }
            self.is_open() && (self.pong_due || queued || self.closing.is_some())
        };
        if post && self.post == Body::Absent {
            self.post = Body::Empty;
            return Some(Lane::Post);
        }
        None
    }

    /// What to write to `lane` next; see
    /// [`ServerSession::poll_transmit`](super::ServerSession::poll_transmit). A POST is sent when this said
    /// `None` after something, or was not asked because the body is full. Always `None` for [`Lane::Get`].
    #[must_use = "what was taken is to be written"]
    pub fn poll_transmit(&mut self, lane: Lane, queued: bool) -> Option<Transmit> {
        match lane {
            Lane::Post if self.post.is_writable() => self.poll_post(queued),
            Lane::WebSocket => self.poll_websocket(queued),
            Lane::Get | Lane::Post => None,
        }
    }

    /// What the application should hear of. Worth calling after [`poll_transmit`](Self::poll_transmit),
    /// which may have ended the session.
    #[must_use = "the event is not told again"]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.poll()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` only once the session has ended. Worth
    /// calling last, after everything else.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.ended().is_some() {
            return None;
        }
        let phase = match self.phase {
            Phase::Opening { until } => until,
            Phase::Open(liveness) => liveness.deadline(),
        };
        let upgrade = self.socket.deadline().unwrap_or(phase);
        Some(phase.min(upgrade).min(self.closing.unwrap_or(phase)))
    }
}

impl ClientSession {
    const fn is_pausing(&self) -> bool {
        matches!(self.socket, ClientSocket::Pausing { .. })
    }

    fn handle_probe(&mut self, packet: Packet<'_>) -> Result<(), Violation> {
        match (packet, self.socket) {
            (Packet::Pong(PROBE), ClientSocket::Probing { until, probe_due: false }) => {
                self.socket = ClientSocket::Pausing { until };
                Ok(())
            }
            // python-engineio lets a noop slip to the WebSocket (2.7.3).
            (Packet::Noop, ClientSocket::Pausing { .. }) => Ok(()),
            _ => {
                self.abandon_upgrade(UpgradeFailure::UnexpectedPacket);
                Err(Violation::UnexpectedPacket)
            }
        }
    }

    fn abandon_upgrade(&mut self, failure: UpgradeFailure) {
        self.socket = match self.socket {
            ClientSocket::Wanted { .. } => ClientSocket::Unused,
            _ => ClientSocket::Leaving { close_due: false },
        };
        self.events.upgrade_failed(failure);
    }

    fn end(&mut self, reason: CloseReason) {
        if !self.events.end(reason) {
            return;
        }
        self.closing = None;
        self.socket = match self.socket {
            ClientSocket::Unused | ClientSocket::Wanted { .. } => ClientSocket::Unused,
            ClientSocket::Current => ClientSocket::Leaving { close_due: tells_peer(reason) },
            ClientSocket::Dialing { .. }
            | ClientSocket::Probing { .. }
            | ClientSocket::Pausing { .. }
            | ClientSocket::Leaving { .. } => ClientSocket::Leaving { close_due: false },
        };
    }

    fn poll_post(&mut self, queued: bool) -> Option<Transmit> {
        const CLOSE: Transmit = Transmit::Control(Packet::Close);

        if self.ended().is_some() {
            if core::mem::take(&mut self.goodbye_due) {
                return Some(CLOSE);
            }
        } else if core::mem::take(&mut self.pong_due) {
            self.post.put();
            return Some(PONG);
        } else if queued {
            self.post.put();
            return Some(Transmit::Message);
        } else if self.closing.is_some() {
            self.end(CloseReason::ClientDisconnect);
            return Some(CLOSE);
        }
        self.post.pause();
        None
    }

    fn poll_websocket(&mut self, queued: bool) -> Option<Transmit> {
        match &mut self.socket {
            ClientSocket::Probing { probe_due, .. } => {
                let due = core::mem::take(probe_due);
                due.then_some(Transmit::Control(Packet::Ping(PROBE)))
            }
            // Nothing is on its way over polling any more, so nothing can be overtaken.
            ClientSocket::Pausing { .. } if !self.get && self.post == Body::Absent => {
                self.socket = ClientSocket::Current;
                self.transport = Transport::WebSocket;
                self.events.upgraded();
                Some(Transmit::Control(Packet::Upgrade))
            }
            ClientSocket::Current => {
                if core::mem::take(&mut self.pong_due) {
                    Some(PONG)
                } else if queued && self.is_open() {
                    Some(Transmit::Message)
                } else if self.closing.is_some() {
                    self.end(CloseReason::ClientDisconnect);
                    self.poll_websocket(false)
                } else {
                    None
                }
            }
            ClientSocket::Leaving { close_due: true } => {
                self.socket = ClientSocket::Leaving { close_due: false };
                Some(Transmit::Control(Packet::Close))
            }
            ClientSocket::Leaving { close_due: false } => {
                self.socket = ClientSocket::Unused;
                Some(Transmit::Hangup)
            }
            ClientSocket::Unused
            | ClientSocket::Wanted { .. }
            | ClientSocket::Dialing { .. }
            | ClientSocket::Pausing { .. } => None,
        }
    }
}

/// Protocol 1, "unexpected ping/pong": engine.io-client answers any ping with a bare `3`.
const PONG: Transmit = Transmit::Control(Packet::Pong(""));

/// Whether the peer is told of this end by a close packet: the end is our doing.
const fn tells_peer(reason: CloseReason) -> bool {
    matches!(reason, CloseReason::ClientDisconnect | CloseReason::HandlerPanicked)
}

#[cfg(test)]
mod tests;
