//! [`ClientSession`]: the state of one session on the client.
//!
//! A client also decides which lanes there are: [`ClientSession::poll_lane`] tells the driver when to start a GET, a
//! POST or a WebSocket. While the session is open over polling there is always one GET in flight, and a POST when
//! there is a packet to send.
//!
//! In an upgrade the driver opens a WebSocket, `2probe` is sent and `3probe` arrives. From then on no GET or POST
//! starts, and when those in flight are answered (the server answers the GET with a noop), `5` is sent and the
//! WebSocket is the transport. Until then polling is not affected, so a failed upgrade costs nothing.
//!
//! A session that has not ended always has a deadline ([`ClientSession::poll_timeout`]). The session does not know
//! addresses, identifiers, how to parse an open packet, or how much fits into a POST.
//!
//! # The session
//! A lane *carries* the session if it is the GET in flight, or the WebSocket in state Current.
//!
//! | state | input | next state | effect |
//! |---|---|---|---|
//! | Opening | [`handle_open`](ClientSession::handle_open) | Open | the heartbeat starts; an upgrade if wanted and offered |
//! | Opening | any packet but open or close on a lane that carries | Ended (`ParseError`) | [`Violation::NotOpened`] |
//! | Opening | GET answered without an open packet | Ended (`ParseError`) | |
//! | Opening | `open_timeout_ms` since the start | Ended (`TransportError`) | |
//! | Opening | [`close`](ClientSession::close) | Ended (`ClientDisconnect`) | |
//! | Open | [`close`](ClientSession::close) | Closing | deadline `close_timeout_ms` from now |
//! | Open | message on a lane that carries | Open | the message is returned |
//! | Closing | message on a lane that carries | Closing | the message is dropped |
//! | Closing | no message queued when the POST or the WebSocket in state Current is polled | Ended (`ClientDisconnect`) | close packet |
//! | Closing | deadline | Ended (`ClientDisconnect`) | |
//! | Open, Closing | ping on a lane that carries | unchanged | a pong is due; the heartbeat starts again |
//! | Open, Closing | open, pong, `5` or noop on a lane that carries | unchanged | ignored |
//! | Open, Closing | no ping for the sum of `pingInterval` and `pingTimeout` | Ended (`PingTimeout`) | |
//! | Opening, Open, Closing | close packet on a lane that carries | Ended (`ServerDisconnect`) | |
//! | Opening, Open, Closing | packet on another lane | unchanged | [`Violation::NotAttached`], or part of an upgrade |
//! | Opening, Open, Closing | GET or POST lost | Ended (`TransportError`) | |
//! | Opening, Open, Closing | WebSocket lost: the first transport, still Connecting | Ended (`TransportError`) | |
//! | Opening, Open, Closing | WebSocket lost: in state Current | Ended (`TransportClose`) | |
//! | Opening, Open, Closing | [`fail`](ClientSession::fail) of a lane that is no part of an upgrade | Ended (its reason) | |
//! | Opening, Open, Closing | [`abort`](ClientSession::abort) | Ended (its reason) | over polling one last POST, if the client closes |
//! | Ended | packet, [`handle_open`](ClientSession::handle_open), [`handle_connected`](ClientSession::handle_connected) | Ended | [`Violation::Ended`] |
//! | Ended | any other input | Ended | |
//!
//! # The lanes
//! The first row that applies decides what [`poll_lane`](ClientSession::poll_lane) answers.
//!
//! | session, transport | condition | answer |
//! |---|---|---|
//! | any | WebSocket in state Wanted | WebSocket |
//! | Ended, polling | last POST due, and no POST in flight | POST |
//! | Opening, Open, Closing, polling | WebSocket in state Pausing | none |
//! | Opening, Open, Closing, polling | no GET in flight | GET |
//! | Open, Closing, polling | no POST in flight; a pong due, a message queued, or Closing | POST |
//! | any | otherwise | none |
//!
//! A POST takes a pong, then messages, then the close packet.
//!
//! # The WebSocket
//! | state | input | next state | effect |
//! |---|---|---|---|
//! | Unused | an upgrade is wanted and offered | Wanted | deadline `upgrade_timeout_ms` from the open packet |
//! | Wanted | [`poll_lane`](ClientSession::poll_lane) | Connecting | same deadline; none if it is the first transport |
//! | Wanted | deadline, or [`fail`](ClientSession::fail), in an upgrade | Unused | [`Event::UpgradeFailed`] |
//! | Unused, Wanted | the session ends | Unused | |
//! | Connecting | [`handle_connected`](ClientSession::handle_connected), first transport | Current | |
//! | Connecting | [`handle_connected`](ClientSession::handle_connected), upgrade | Probing | `2probe` is due |
//! | Probing | `2probe` due when polled | Probing | `2probe` |
//! | Probing | `3probe` after `2probe` was sent | Pausing | |
//! | Pausing | noop | Pausing | ignored |
//! | Probing, Pausing | any other packet | Closing | [`Violation::UnexpectedPacket`], [`Event::UpgradeFailed`] |
//! | Pausing | polled with no GET and no POST in flight | Current | `5`, [`Event::Upgraded`] |
//! | Connecting, Probing, Pausing, in an upgrade | [`fail`](ClientSession::fail), or deadline | Closing | [`Event::UpgradeFailed`] |
//! | Connecting, Probing, Pausing, in an upgrade | lost | Unused | [`Event::UpgradeFailed`] |
//! | Connecting, Probing, Pausing | the session ends | Closing | |
//! | Current | polled | Current | pong or message, in this order |
//! | Current | lost | Unused | the session ends |
//! | Current | the session ends with `ClientDisconnect` or `HandlerPanicked` | Closing | close packet due |
//! | Current | the session ends for another reason | Closing | |
//! | Closing | close packet due when polled | Closing | close packet |
//! | Closing | polled | Unused | [`Transmit::Hangup`] |
//! | Closing | lost | Unused | |
//! | Closing | [`fail`](ClientSession::fail) | Closing | |

mod params;
mod transmit;

use super::body::Body;
use super::events::Events;
use super::heartbeat::Liveness;
use super::upgrade::{ClientSocket, PROBE};
use super::{CloseReason, Event, Lane, UpgradeFailure, Violation, close};
use crate::packet::{Message, Packet};
use crate::time::Instant;
use crate::transport::Transport;
use crate::ws::CloseCode;

pub use params::{ClientTiming, OpenParams};
pub use transmit::Transmit;

/// The protocol state of one session on the client. The [module](self) has its transition tables, the
/// [parent](super) the order of calls; [`poll_lane`](Self::poll_lane) comes before
/// [`poll_transmit`](Self::poll_transmit). It takes at most 128 bytes and never allocates.
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
/// // A ping is answered before queued messages.
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
    /// When a graceful close gives up on messages that are still queued.
    closing: Option<Instant>,
    upgrade_timeout_ms: u32,
    close_timeout_ms: u32,
    transport: Transport,
    wants_upgrade: bool,
    get: bool,
    post: Body,
    pong_due: bool,
    /// The session was aborted over polling: one last POST has to carry the close packet.
    final_close_due: bool,
    events: Events,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Opening { until: Instant },
    Open(Liveness),
}

/// Creation and getters.
impl ClientSession {
    /// A session that starts on `transport` at `now`, and upgrades to WebSocket if `upgrade` is set and the server
    /// offers it.
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
            final_close_due: false,
            events: Events::NONE,
        }
    }

    /// The current transport: polling until an upgrade is complete.
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// Whether the open packet was handled.
    pub const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open(_))
    }

    /// Whether a ping was handled. A session that ends with [`CloseReason::PingTimeout`] without one may be with a server
    /// of revision 3 of the protocol, where the client sends the pings: `engine.io` below 4, `socket.io` below 3.
    pub const fn is_pinged(&self) -> bool {
        match &self.phase {
            Phase::Opening { .. } => false,
            Phase::Open(liveness) => liveness.is_pinged(),
        }
    }

    /// Whether an upgrade is wanted or in progress.
    pub const fn is_upgrading(&self) -> bool {
        self.socket.deadline().is_some()
    }

    /// Whether [`close`](Self::close) was called and the session has not ended yet.
    pub const fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Why the session ended; `None` while it has not.
    pub const fn ended(&self) -> Option<CloseReason> {
        self.events.ended()
    }

    /// The code of the close frame for [`Transmit::Hangup`]: that of the reason
    /// ([`CloseReason::close_code`]), or 1000 if only an upgrade failed.
    pub const fn hangup_code(&self) -> CloseCode {
        close::hangup_code(self.ended(), false)
    }

    /// Whether `lane` is attached: from [`poll_lane`](Self::poll_lane) on, a WebSocket until its
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

/// Inputs from the network and the clock.
impl ClientSession {
    /// The WebSocket that [`poll_lane`](Self::poll_lane) asked for is open.
    ///
    /// # Errors
    /// [`Violation::Ended`], [`Violation::NotAttached`]: the session no longer wants it. Drop the connection.
    pub fn handle_connected(&mut self) -> Result<(), Violation> {
        if self.ended().is_some() {
            return Err(Violation::Ended);
        }
        let ClientSocket::Connecting { until } = self.socket else {
            return Err(Violation::NotAttached);
        };
        self.socket = match until {
            Some(until) => ClientSocket::Probing { until, probe_due: true },
            None => ClientSocket::Current,
        };
        Ok(())
    }

    /// The open packet arrived, in the response to the first GET or as the first frame. A second one is ignored.
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

    /// The request on `lane` is done: the whole response to the GET was handled, or the POST was answered with `ok`.
    /// For a WebSocket it is the same as [`lost`](Self::lost).
    pub fn detach(&mut self, lane: Lane) {
        match lane {
            Lane::Get => {
                let answered = core::mem::take(&mut self.get);
                // Another GET would be a second handshake.
                if answered && !self.is_open() {
                    self.end(CloseReason::ParseError);
                }
            }
            Lane::Post => self.post = Body::Absent,
            Lane::WebSocket => self.lost(lane),
        }
    }

    /// The connection of `lane` could not be opened, broke or was closed, or its request was answered with a status
    /// other than 200. Has no effect if the lane is not attached.
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
                    ClientSocket::Connecting { until: None } => {
                        self.end(CloseReason::TransportError)
                    }
                    ClientSocket::Connecting { until: Some(_) }
                    | ClientSocket::Probing { .. }
                    | ClientSocket::Pausing { .. } => {
                        self.events.upgrade_failed(UpgradeFailure::Lost);
                    }
                    ClientSocket::Current => self.end(CloseReason::TransportClose),
                    // No WebSocket was opened for this lane yet.
                    wanted @ ClientSocket::Wanted { .. } => self.socket = wanted,
                    ClientSocket::Unused | ClientSocket::Closing { .. } => {}
                }
            }
        }
    }

    /// A packet arrived on `lane`, other than the open packet of the handshake
    /// ([`handle_open`](Self::handle_open)). A message is returned for the application, unless the session is closing.
    ///
    /// # Errors
    /// - [`Violation::NotOpened`]: the session ends.
    /// - [`Violation::UnexpectedPacket`]: the upgrade failed, the session continues over polling.
    /// - [`Violation::Ended`]: also for packets after a close packet in the same body.
    /// - [`Violation::NotAttached`]: no packet can arrive on this lane now.
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
            // Ignored, as engine.io-client does.
            Packet::Open(_) | Packet::Close | Packet::Pong(_) | Packet::Upgrade | Packet::Noop => {
                Ok(None)
            }
        }
    }

    /// Data on `lane` is not a packet, or exceeds a limit. On a WebSocket that has not become the transport only the
    /// upgrade fails; on any other attached lane the session ends with `reason`.
    pub fn fail(&mut self, lane: Lane, reason: CloseReason) {
        match (lane, self.socket) {
            (Lane::WebSocket, _) if self.is_upgrading() => {
                self.abandon_upgrade(UpgradeFailure::UnexpectedPacket);
            }
            // Its upgrade failed before; the session continues over polling.
            (Lane::WebSocket, ClientSocket::Closing { .. }) => {}
            _ if self.attached(lane) => self.end(reason),
            _ => {}
        }
    }

    /// Tells the session that it is `now`. Call it when [`poll_timeout`](Self::poll_timeout) is reached; an earlier
    /// call has no effect. Handle data that was received in time first: a ping that was not handled yet does not
    /// count.
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

    /// Received data of the server is unread because the application is slow; see
    /// [`ServerSession::extend`](super::ServerSession::extend).
    pub fn extend(&mut self, now: Instant) -> bool {
        let alive = self.ended().is_none();
        match &mut self.phase {
            Phase::Open(liveness) if alive => liveness.extend(now),
            Phase::Opening { .. } | Phase::Open(_) => false,
        }
    }
}

/// Commands from the application.
impl ClientSession {
    /// Closes gracefully: queued messages go first, then a close packet, on the transport that is current at that
    /// time. The session ends with the close packet, at the latest `close_timeout_ms` from `now`, and at once if the
    /// open packet has not arrived.
    pub fn close(&mut self, now: Instant) {
        if !self.is_open() {
            self.end(CloseReason::ClientDisconnect);
        } else if self.ended().is_none() && self.closing.is_none() {
            self.closing = Some(now.after(self.close_timeout_ms));
        }
    }

    /// Ends the session now with `reason`. Queued messages are not sent. Over polling, a session that the client
    /// closes sends the close packet in one last POST ([`poll_lane`](Self::poll_lane)); how long to wait for its
    /// answer is the driver's decision.
    pub fn abort(&mut self, reason: CloseReason) {
        if self.ended().is_none() && self.is_open() && self.transport == Transport::Polling {
            self.final_close_due = sends_close_packet(reason);
        }
        self.end(reason);
    }
}

/// Outputs for the driver.
impl ClientSession {
    /// The next lane to open: start a GET; start a POST and fill it from [`poll_transmit`](Self::poll_transmit); or
    /// open a WebSocket and call [`handle_connected`](Self::handle_connected). Follow each answer, until it is `None`;
    /// a lane that cannot be opened is [`lost`](Self::lost). `queued` says whether the driver has an unsent message.
    ///
    /// Call it before the other outputs, after each call of the `handle_*` family, after each command, and when a
    /// message was queued.
    #[must_use = "the lane must be opened"]
    pub fn poll_lane(&mut self, queued: bool) -> Option<Lane> {
        if let ClientSocket::Wanted { until } = self.socket {
            self.socket = ClientSocket::Connecting { until };
            return Some(Lane::WebSocket);
        }
        let post = if self.ended().is_some() {
            self.final_close_due
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

    /// The next item to write to `lane`; see [`ServerSession::poll_transmit`](super::ServerSession::poll_transmit). A
    /// POST is complete when this returns `None` after at least one item, or when its body is full. Returns `None` for
    /// [`Lane::Get`].
    #[must_use = "the item must be written"]
    pub fn poll_transmit(&mut self, lane: Lane, queued: bool) -> Option<Transmit> {
        match lane {
            Lane::Post if self.post.is_writable() => self.poll_post(queued),
            Lane::WebSocket => self.poll_websocket(queued),
            Lane::Get | Lane::Post => None,
        }
    }

    /// The next event for the application. Call it after [`poll_transmit`](Self::poll_transmit), which can end the
    /// session.
    #[must_use = "the event is reported only once"]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.poll()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` only after the session ended. Call it last,
    /// after all other outputs.
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
            // docs/protocol.md 2.7.3: python-engineio can send a noop over the WebSocket.
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
            _ => ClientSocket::Closing { close_due: false },
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
            ClientSocket::Current => {
                ClientSocket::Closing { close_due: sends_close_packet(reason) }
            }
            ClientSocket::Connecting { .. }
            | ClientSocket::Probing { .. }
            | ClientSocket::Pausing { .. }
            | ClientSocket::Closing { .. } => ClientSocket::Closing { close_due: false },
        };
    }
}

/// Whether a close packet announces this end: this endpoint closes, and the peer broke no rule.
const fn sends_close_packet(reason: CloseReason) -> bool {
    matches!(reason, CloseReason::ClientDisconnect | CloseReason::HandlerPanicked)
}

#[cfg(test)]
mod tests;
