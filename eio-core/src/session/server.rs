//! [`ServerSession`]: the state of one client's session on the server.
//!
//! Four parts of the state change independently: the session itself, the heartbeat ([`Timing`]), the response to the
//! held GET, and the WebSocket. The transport is polling until the client's `5`, and WebSocket from then on.
//!
//! A session that has not ended always has a deadline ([`ServerSession::poll_timeout`]), and when it ends each
//! attached lane gets its last packet or its hang-up. The session does not know whose lanes these are (the driver
//! attaches only requests that name this session), how a body is encoded, what the messages are, or how many are
//! queued.
//!
//! # The session
//! A lane *carries* the session if it is an attached POST, or the WebSocket in state Current.
//!
//! | state | input | next state | effect |
//! |---|---|---|---|
//! | Alive | [`close`](ServerSession::close) | Closing | deadline `close_timeout_ms` from now |
//! | Alive | [`drain`](ServerSession::drain) | Draining | deadline `close_timeout_ms` from now |
//! | Draining | [`close`](ServerSession::close) | Closing | same deadline |
//! | Draining | message on a lane that carries | Draining | the message is returned |
//! | Draining | POST attached when a GET is polled | Draining | no close packet yet: the POST is handled first |
//! | Draining | any other input of Closing | as Closing | |
//! | Alive | message on a lane that carries | Alive | the message is returned |
//! | Closing | message on a lane that carries | Closing | the message is dropped |
//! | Closing | no message queued when the current transport is polled | Ended (`ServerDisconnect`) | close packet |
//! | Closing | deadline | Ended (`ServerDisconnect`) | |
//! | Alive, Closing | close packet on a lane that carries | Ended (`ClientDisconnect`) | |
//! | Alive, Closing | ping on a lane that carries | Ended (`TransportError`) | [`Violation::WrongDirection`] |
//! | Alive, Closing | pong on a lane that carries | unchanged | heartbeat, see below |
//! | Alive, Closing | open, `5` or noop on a lane that carries | unchanged | ignored |
//! | Alive, Closing | packet on another lane | unchanged | [`Violation::NotAttached`], or part of an upgrade |
//! | Alive, Closing | GET while a GET is held | Ended (`TransportError`) | [`Violation::OverlappingGet`] |
//! | Alive, Closing | POST while a POST is read | Ended (`TransportError`) | [`Violation::OverlappingPost`] |
//! | Alive, Closing | GET or POST after the upgrade | unchanged | [`Violation::TransportMismatch`] |
//! | Alive, Closing | GET lost before the upgrade, or with data that must arrive | Ended (`TransportError`) | |
//! | Alive | POST lost | Ended (`TransportError`) | |
//! | Closing | POST lost | Ended (`ServerDisconnect`) | |
//! | Alive, Closing | WebSocket in state Current lost | Ended (`TransportClose`) | |
//! | Alive, Closing | [`fail`](ServerSession::fail) of a GET, a POST or the WebSocket in state Current | Ended (its reason) | |
//! | Alive, Closing | no pong in time | Ended (`PingTimeout`) | |
//! | Alive, Closing | [`abort`](ServerSession::abort) | Ended (its reason) | |
//! | Ended | packet, [`attach`](ServerSession::attach) | Ended | [`Violation::Ended`] |
//! | Ended | any other input | Ended | |
//!
//! # The heartbeat
//! Times are those of [`Timing`]. No other part of the state pauses it.
//!
//! | state | input | next state | effect |
//! |---|---|---|---|
//! | Idle | `ping_interval_ms` since the handshake or the last pong | Due | pong expected `ping_timeout_ms` later |
//! | Due | [`poll_transmit`](ServerSession::poll_transmit) on the current transport | Sent | ping |
//! | Sent | pong on any lane that carries | Idle | |
//! | Idle, Due | pong | unchanged | |
//! | Due, Sent | no pong in time | unchanged | the session ends |
//! | Due, Sent | [`extend`](ServerSession::extend) after the deadline, with extensions left | unchanged | pong expected `ping_timeout_ms` from now |
//! | any | packet on a lane that carries | as above | all [`MAX_EXTENSIONS`](super::MAX_EXTENSIONS) again |
//!
//! # The response to a GET
//! The first row that applies decides what [`poll_transmit`](ServerSession::poll_transmit) answers. Nothing is added
//! to a body that is Complete; a body that is answered or lost is Absent.
//!
//! | transport, session | body | answer | next body |
//! |---|---|---|---|
//! | WebSocket | Empty | noop | Complete |
//! | WebSocket | Started | none | Complete |
//! | polling, Ended (`ClientDisconnect`) | Empty, Started | noop | Complete |
//! | polling, Ended (other reason) | Empty, Started | close packet | Complete |
//! | polling, handshake not answered | Empty | open packet | Complete |
//! | polling, ping due | Empty, Started | ping | Started |
//! | polling, message queued | Empty, Started | message | Started |
//! | polling, Closing, or Draining without a POST | Empty, Started | close packet, and the session ends | Complete |
//! | polling, WebSocket in state Probed | Empty | noop | Complete |
//! | polling | Started | none | Complete |
//! | polling | Empty | none: the GET is held | Empty |
//!
//! # The WebSocket
//! | state | input | next state | effect |
//! |---|---|---|---|
//! | Detached | [`attach`](ServerSession::attach) | Connected | deadline `upgrade_timeout_ms` from now |
//! | any other | [`attach`](ServerSession::attach) | unchanged | [`Violation::AlreadyUpgrading`] |
//! | Connected | `2probe` | Probed | same deadline; `3probe` is due |
//! | Connected, Probed | `5` | Current | [`Event::Upgraded`]; a due `3probe` stays due |
//! | Connected, Probed | any other packet | Closing | [`Violation::UnexpectedPacket`], [`Event::UpgradeFailed`] |
//! | Connected, Probed | [`fail`](ServerSession::fail), or deadline | Closing | [`Event::UpgradeFailed`] |
//! | Connected, Probed | lost | Detached | [`Event::UpgradeFailed`] |
//! | Connected, Probed | the session ends | Closing | |
//! | Probed, Current | `3probe` due when polled | unchanged | `3probe` |
//! | Current | polled | Current | open packet, ping or message, in this order |
//! | Current | lost | Detached | the session ends |
//! | Current | the session ends with `ServerDisconnect` or `HandlerPanicked` | Closing | close packet due |
//! | Current | the session ends for another reason | Closing | |
//! | Closing | close packet due when polled | Closing | close packet |
//! | Closing | polled | Detached | [`Transmit::Hangup`] |
//! | Closing | lost | Detached | |
//! | Closing | [`fail`](ServerSession::fail) | Closing | |

mod transmit;

use super::body::Body;
use super::events::Events;
use super::heartbeat::{Heartbeat, ShortInstant};
use super::upgrade::{PROBE, ServerSocket};
use super::{CloseReason, Event, Lane, Timing, UpgradeFailure, Violation, close};
use crate::packet::{Message, Packet};
use crate::time::Instant;
use crate::transport::Transport;
use crate::ws::CloseCode;

pub use transmit::Transmit;

/// The protocol state of one session on the server. The [module](self) has its transition tables, the
/// [parent](super) the order of calls. It takes at most 128 bytes and never allocates.
///
/// ```
/// use eio_core::packet::{Message, Packet};
/// use eio_core::session::{Lane, ServerSession, Timing, Transmit};
/// use eio_core::time::Instant;
/// use eio_core::transport::Transport;
///
/// let now = Instant::from_millis(0);
/// let mut session = ServerSession::new(Transport::Polling, Timing::default(), now);
///
/// // The handshake request is answered with the open packet and nothing else.
/// let mut queued = 1;
/// assert_eq!(session.poll_transmit(Lane::Get, queued > 0), Some(Transmit::Open));
/// assert_eq!(session.poll_transmit(Lane::Get, queued > 0), None);
/// session.detach(Lane::Get);
///
/// // The next GET receives queued messages.
/// session.attach(Lane::Get, now)?;
/// while let Some(transmit) = session.poll_transmit(Lane::Get, queued > 0) {
///     assert_eq!(transmit, Transmit::Message);
///     queued -= 1;
/// }
/// session.detach(Lane::Get);
///
/// // A POST carries packets from the client.
/// session.attach(Lane::Post, now)?;
/// let hello = Packet::Message(Message::Text("hello"));
/// assert_eq!(session.handle_packet(Lane::Post, hello, now)?, Some(Message::Text("hello")));
/// session.detach(Lane::Post);
///
/// // After 25 s without an event a ping is due.
/// assert_eq!(session.poll_timeout(), Some(now.after(25_000)));
/// # Ok::<(), eio_core::session::Violation>(())
/// ```
#[derive(Clone, Debug)]
pub struct ServerSession {
    heartbeat: Heartbeat,
    socket: ServerSocket,
    /// The time at which a graceful close discards messages that are still queued; [`NOT_CLOSING`] without such a close.
    closing_by: Instant,
    /// Messages are received until the end of a graceful close.
    draining: bool,
    upgrade_timeout_ms: u32,
    close_timeout_ms: u32,
    transport: Transport,
    get: Body,
    post: bool,
    open_due: bool,
    events: Events,
    last_seen: ShortInstant,
}

/// A time that never comes, in less memory than an option.
const NOT_CLOSING: Instant = Instant::from_millis(u64::MAX);

/// Creation and getters.
impl ServerSession {
    /// A session whose handshake request arrived at `now`. The lane of that request is attached, and its first
    /// [`Transmit`] is [`Transmit::Open`].
    pub const fn new(transport: Transport, timing: Timing, now: Instant) -> Self {
        let (get, socket) = match transport {
            Transport::Polling => (Body::Empty, ServerSocket::Detached),
            Transport::WebSocket => (Body::Absent, ServerSocket::Current { answer_due: false }),
        };
        Self {
            heartbeat: Heartbeat::new(timing.ping_interval_ms, timing.ping_timeout_ms, now),
            socket,
            closing_by: NOT_CLOSING,
            draining: false,
            upgrade_timeout_ms: timing.upgrade_timeout_ms,
            close_timeout_ms: timing.close_timeout_ms,
            transport,
            get,
            post: false,
            open_due: true,
            events: Events::NONE,
            last_seen: ShortInstant::new(now),
        }
    }

    /// The current transport: polling until the client completes an upgrade.
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// Whether a WebSocket is connected that has not become the transport yet.
    pub const fn is_upgrading(&self) -> bool {
        self.socket.deadline().is_some()
    }

    /// The time from the last packet of the client to `now`, in milliseconds: from the `now` of
    /// [`handle_packet`](Self::handle_packet), and from the handshake before the first packet. Packets on a WebSocket
    /// that is only probed do not count.
    pub const fn silent_ms(&self, now: Instant) -> u32 {
        self.last_seen.millis_until(now)
    }

    /// The time from the last ping that was answered to its pong, in milliseconds; `None` before the first. It is
    /// measured from the input after which a lane took the ping: the timeout, the GET or the end of the upgrade.
    pub const fn round_trip_ms(&self) -> Option<u32> {
        self.heartbeat.round_trip_ms()
    }

    /// Whether [`close`](Self::close) was called and the session has not ended yet.
    pub const fn is_closing(&self) -> bool {
        self.closing_by.as_millis() != NOT_CLOSING.as_millis()
    }

    /// Whether [`drain`](Self::drain) closes or has closed the session, and not the application.
    pub const fn is_draining(&self) -> bool {
        self.draining
    }

    /// Why the session ended; `None` while it has not.
    pub const fn ended(&self) -> Option<CloseReason> {
        self.events.ended()
    }

    /// The code of the close frame for [`Transmit::Hangup`]: that of the reason
    /// ([`CloseReason::close_code`]), or 1000 if only an upgrade failed (1001 while the server is
    /// `shutting_down`).
    pub const fn hangup_code(&self, shutting_down: bool) -> CloseCode {
        close::hangup_code(self.ended(), shutting_down)
    }

    /// Whether `lane` is attached. A WebSocket stays attached until its [`Transmit::Hangup`].
    pub fn attached(&self, lane: Lane) -> bool {
        match lane {
            Lane::Get => self.get.is_attached(),
            Lane::Post => self.post,
            Lane::WebSocket => self.socket != ServerSocket::Detached,
        }
    }
}

/// Inputs from the network and the clock.
impl ServerSession {
    /// A request that names this session arrived: a GET, the head of a POST, or a WebSocket handshake that can be
    /// accepted. If this fails, refuse the request with the violation's status.
    ///
    /// # Errors
    /// - [`Violation::OverlappingGet`], [`Violation::OverlappingPost`]: the session ends. Its attached lanes still
    ///   have to be answered.
    /// - [`Violation::TransportMismatch`], [`Violation::AlreadyUpgrading`]: the session is not affected. The latter
    ///   also applies while an earlier WebSocket has not taken its [`Transmit::Hangup`].
    /// - [`Violation::Ended`]
    pub fn attach(&mut self, lane: Lane, now: Instant) -> Result<(), Violation> {
        if self.ended().is_some() {
            return Err(Violation::Ended);
        }
        match (lane, self.transport) {
            (Lane::Get | Lane::Post, Transport::WebSocket) => Err(Violation::TransportMismatch),
            // docs/protocol.md 2.4.4: the first GET gets `1` (close), the second 400, and the session ends.
            (Lane::Get, _) if self.get.is_attached() => {
                self.end(CloseReason::TransportError);
                Err(Violation::OverlappingGet)
            }
            (Lane::Get, _) => {
                self.get = Body::Empty;
                self.heartbeat.handle_lane(now);
                Ok(())
            }
            // docs/protocol.md 2.3.9: the second POST gets 400, and the session ends.
            (Lane::Post, _) if self.post => {
                self.end(CloseReason::TransportError);
                Err(Violation::OverlappingPost)
            }
            (Lane::Post, _) => {
                self.post = true;
                Ok(())
            }
            (Lane::WebSocket, _) if self.socket == ServerSocket::Detached => {
                self.socket = ServerSocket::Connected { until: now.after(self.upgrade_timeout_ms) };
                Ok(())
            }
            // docs/protocol.md 2.6.9: a second WebSocket is refused, and the first continues to work.
            (Lane::WebSocket, _) => Err(Violation::AlreadyUpgrading),
        }
    }

    /// The request on `lane` was answered in full; its connection may serve another request.
    ///
    /// Call it before the client can have received the end of the answer and sent the next request. For a
    /// WebSocket it is the same as [`lost`](Self::lost).
    pub fn detach(&mut self, lane: Lane) {
        match lane {
            Lane::Get => self.get = Body::Absent,
            Lane::Post => self.post = false,
            Lane::WebSocket => self.lost(lane),
        }
    }

    /// The connection of `lane` broke, or the peer closed it, before its request was answered in full. Has no
    /// effect if the lane is not attached.
    pub fn lost(&mut self, lane: Lane) {
        match lane {
            // docs/protocol.md 2.4.5: at once, without waiting for the ping timeout. After an upgrade, a lost GET whose
            // response held only a noop is harmless; one whose response held messages is not.
            Lane::Get => {
                let get = core::mem::replace(&mut self.get, Body::Absent);
                let matters = self.transport == Transport::Polling || get.must_arrive();
                if get.is_attached() && matters {
                    self.end(CloseReason::TransportError);
                }
            }
            // docs/protocol.md 2.3.13: a connection dropped in the middle of a POST ends the session.
            Lane::Post => {
                if core::mem::replace(&mut self.post, false) {
                    // The server closes the session already, and the client need not finish its request.
                    let closing = self.is_closing();
                    let reason = if closing {
                        CloseReason::ServerDisconnect
                    } else {
                        CloseReason::TransportError
                    };
                    self.end(reason);
                }
            }
            Lane::WebSocket => {
                match core::mem::replace(&mut self.socket, ServerSocket::Detached) {
                    ServerSocket::Connected { .. } | ServerSocket::Probed { .. } => {
                        self.events.upgrade_failed(UpgradeFailure::Lost);
                    }
                    // docs/protocol.md 2.6.7: a lost WebSocket ends the session at once.
                    ServerSocket::Current { .. } => self.end(CloseReason::TransportClose),
                    ServerSocket::Detached | ServerSocket::Closing { .. } => {}
                }
            }
        }
    }

    /// A packet arrived on `lane`. A message is returned for the application, unless the application closes the session.
    ///
    /// # Errors
    /// - [`Violation::WrongDirection`]: the session ends.
    /// - [`Violation::UnexpectedPacket`]: the upgrade failed, the session continues over polling.
    /// - [`Violation::Ended`]: also for packets after a close packet in the same body. That request still gets its
    ///   ordinary answer, so compare [`ended`](Self::ended) after each packet.
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
            (Lane::Post, _) if self.post => {}
            (Lane::WebSocket, ServerSocket::Current { .. }) => {}
            (Lane::WebSocket, ServerSocket::Connected { .. } | ServerSocket::Probed { .. }) => {
                return self.handle_probe(packet, now).map(|()| None);
            }
            _ => return Err(Violation::NotAttached),
        }
        self.last_seen = ShortInstant::new(now);
        self.heartbeat.handle_progress();
        match packet {
            // docs/protocol.md 2.5.3: only a pong counts, on either lane.
            Packet::Pong(_) => self.heartbeat.handle_pong(now),
            Packet::Message(message) if !self.is_closing() || self.draining => {
                return Ok(Some(message));
            }
            Packet::Message(_) => {}
            // docs/protocol.md 2.3.8, 2.6.2: the session ends at once.
            Packet::Close => self.end(CloseReason::ClientDisconnect),
            // docs/protocol.md 2.3.7: ignored, as engine.io does; after an upgrade this includes a second `5`.
            Packet::Open(_) | Packet::Upgrade | Packet::Noop => {}
            // docs/protocol.md 2.3.7, 2.5.4: "invalid heartbeat direction"; this includes `2probe`.
            Packet::Ping(_) => {
                self.end(CloseReason::TransportError);
                return Err(Violation::WrongDirection);
            }
        }
        Ok(None)
    }

    /// Data on `lane` is not a packet, or exceeds a limit. On a WebSocket that has not become the transport only the
    /// upgrade fails; on any other attached lane the session ends with `reason`.
    pub fn fail(&mut self, lane: Lane, reason: CloseReason) {
        match (lane, self.socket) {
            (Lane::WebSocket, ServerSocket::Connected { .. } | ServerSocket::Probed { .. }) => {
                self.abandon_upgrade(UpgradeFailure::UnexpectedPacket);
            }
            // Its upgrade failed before; the session continues over polling.
            (Lane::WebSocket, ServerSocket::Closing { .. }) => {}
            _ if self.attached(lane) => self.end(reason),
            _ => {}
        }
    }

    /// Tells the session that it is `now`. Call it when [`poll_timeout`](Self::poll_timeout) is reached; an earlier
    /// call has no effect. Handle data that was received in time first: a pong that was not handled yet does not
    /// count.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.ended().is_some() {
            return;
        }
        if now >= self.closing_by {
            return self.end(CloseReason::ServerDisconnect);
        }
        // docs/protocol.md 2.7.7: the WebSocket closes, polling continues.
        if self.socket.deadline().is_some_and(|at| now >= at) {
            self.abandon_upgrade(UpgradeFailure::Timeout);
        }
        if self.heartbeat.handle_timeout(now) {
            self.end(CloseReason::PingTimeout);
        }
    }

    /// Received data of this peer is unread because the application is slow. If its pong is overdue, this allows one
    /// more ping timeout, at most [`MAX_EXTENSIONS`](super::MAX_EXTENSIONS) times until a packet is handled again.
    /// Call it just before [`handle_timeout`](Self::handle_timeout), which has to be called in any case. Returns
    /// whether the deadline was moved.
    pub fn extend(&mut self, now: Instant) -> bool {
        self.ended().is_none() && self.heartbeat.extend(now)
    }
}

/// Commands from the application.
impl ServerSession {
    /// Closes gracefully: queued messages go first, then a close packet, on the transport that is current at that
    /// time. The session ends with the close packet, at the latest `close_timeout_ms` from `now`.
    pub fn close(&mut self, now: Instant) {
        if self.ended().is_none() {
            self.draining = false;
            if !self.is_closing() {
                self.closing_by = now.after(self.close_timeout_ms);
            }
        }
    }

    /// As [`close`](Self::close), because the server ends: messages of the client are received until the session ends,
    /// and a POST that has begun is handled before. Has no effect on a session that the application closes.
    pub fn drain(&mut self, now: Instant) {
        if self.ended().is_none() && !self.is_closing() {
            self.draining = true;
            self.closing_by = now.after(self.close_timeout_ms);
        }
    }

    /// Ends the session now with `reason`. Queued messages are not sent.
    pub fn abort(&mut self, reason: CloseReason) {
        self.end(reason);
    }
}

/// Outputs for the driver.
impl ServerSession {
    /// The next item to write to `lane`. `queued` says whether the driver has an unsent message. Each answer must be
    /// written, so call this only while there is room for one, and stop when the response is full; the rest goes
    /// into the next GET. The response to a GET is complete when this returns `None` after at least one item.
    ///
    /// Call it on every attached lane after each call of the `handle_*` family, after each command, and when a
    /// message was queued. Returns `None` for [`Lane::Post`]: the driver knows the answer to a POST.
    #[must_use = "the item must be written"]
    pub fn poll_transmit(&mut self, lane: Lane, queued: bool) -> Option<Transmit> {
        match lane {
            Lane::Get if self.get.is_writable() => self.poll_get(queued),
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
        let due = self.heartbeat.deadline().min(self.closing_by);
        Some(self.socket.deadline().map_or(due, |until| until.min(due)))
    }
}

impl ServerSession {
    /// docs/protocol.md 2.7.6: any packet but `2probe` first, or `5` after it, closes the WebSocket, and the session
    /// continues over polling. A `5` without a probe is accepted.
    fn handle_probe(&mut self, packet: Packet<'_>, now: Instant) -> Result<(), Violation> {
        match (packet, self.socket) {
            (Packet::Ping(PROBE), ServerSocket::Connected { until }) => {
                self.socket = ServerSocket::Probed { until, answer_due: true };
                Ok(())
            }
            (Packet::Upgrade, socket) => {
                let answer_due = matches!(socket, ServerSocket::Probed { answer_due: true, .. });
                self.socket = ServerSocket::Current { answer_due };
                self.transport = Transport::WebSocket;
                self.heartbeat.handle_lane(now);
                self.events.upgraded();
                Ok(())
            }
            _ => {
                self.abandon_upgrade(UpgradeFailure::UnexpectedPacket);
                Err(Violation::UnexpectedPacket)
            }
        }
    }

    fn abandon_upgrade(&mut self, failure: UpgradeFailure) {
        self.socket = ServerSocket::Closing { close_due: false };
        self.events.upgrade_failed(failure);
    }

    fn end(&mut self, reason: CloseReason) {
        if !self.events.end(reason) {
            return;
        }
        self.closing_by = NOT_CLOSING;
        self.socket = match self.socket {
            ServerSocket::Detached => ServerSocket::Detached,
            // Only a peer that is reachable and broke no rule gets a close packet. Others learn of the end from the
            // closing handshake, or cannot be reached.
            ServerSocket::Current { .. } => {
                ServerSocket::Closing { close_due: sends_close_packet(reason) }
            }
            // docs/protocol.md 2.7.8: the WebSocket closes, too.
            ServerSocket::Connected { .. }
            | ServerSocket::Probed { .. }
            | ServerSocket::Closing { .. } => ServerSocket::Closing { close_due: false },
        };
    }
}

/// Whether a close packet over WebSocket announces this end: this endpoint closes, and the peer broke no rule.
const fn sends_close_packet(reason: CloseReason) -> bool {
    matches!(reason, CloseReason::ServerDisconnect | CloseReason::HandlerPanicked)
}

#[cfg(test)]
mod tests;
