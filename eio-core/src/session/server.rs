//! [`ServerSession`]: one client, seen from the server.
//!
//! # Theory
//!
//! A session is **alive**, **closing** (its application said so; what is queued still goes) or **ended**
//! (for one reason, forever). Beside that, three things move on their own: the heartbeat, which only the
//! clock and pongs move; the response of the held GET; and the WebSocket, which goes from *waiting* over
//! *probed* to *current* as the client says, and back to *detached* if it does not. The transport is
//! polling until the client's `5`, and then WebSocket for good.
//!
//! Every living state has a deadline ([`ServerSession::poll_timeout`]), and every attached lane gets its
//! last words when the session ends. What the session does not know: whose lanes they are (the driver must
//! not attach for a request it did not check against the session's identifier), what a body looks like,
//! what the messages are, and how many wait.

use super::body::Body;
use super::events::Events;
use super::heartbeat::Heartbeat;
use super::upgrade::{PROBE, ServerSocket};
use super::{CloseReason, Event, Lane, Timing, UpgradeFailure, Violation, close};
use crate::packet::{Message, Packet};
use crate::time::Instant;
use crate::transport::Transport;
use crate::ws::CloseCode;

/// What is to be written to a lane of a server session next. From [`ServerSession::poll_transmit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Transmit {
    /// The open packet, which the driver composes ([`open`](crate::packet::Packet::Open)).
    Open,
    /// This packet.
    Control(Packet<'static>),
    /// The next message of the driver's queue.
    Message,
    /// WebSocket only: nothing more; start the WebSocket closing handshake. With this the lane is detached:
    /// the connection makes no further call for this session, whatever still comes from it.
    Hangup,
}

/// The rules of one session on the server. See the [module](self) for its theory and the
/// [parent](super) for the order to call it in.
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
/// // The next GET gets what is queued.
/// session.attach(Lane::Get, now)?;
/// while let Some(transmit) = session.poll_transmit(Lane::Get, queued > 0) {
///     assert_eq!(transmit, Transmit::Message);
///     queued -= 1;
/// }
/// session.detach(Lane::Get);
///
/// // A POST brings what the client sends.
/// session.attach(Lane::Post, now)?;
/// let hello = Packet::Message(Message::Text("hello"));
/// assert_eq!(session.handle_packet(Lane::Post, hello, now)?, Some(Message::Text("hello")));
/// session.detach(Lane::Post);
///
/// // Nothing happens for 25 s: a ping is due.
/// assert_eq!(session.poll_timeout(), Some(now.after(25_000)));
/// # Ok::<(), eio_core::session::Violation>(())
/// ```
#[derive(Clone, Debug)]
pub struct ServerSession {
    heartbeat: Heartbeat,
    socket: ServerSocket,
    /// When closing ends, however much is still queued.
    closing: Option<Instant>,
    upgrade_timeout_ms: u32,
    close_timeout_ms: u32,
    transport: Transport,
    get: Body,
    post: bool,
    open_due: bool,
    events: Events,
}

/// Getters.
impl ServerSession {
    /// A session whose handshake just came: the lane of that request is attached, and the first
    /// [`Transmit`] on it will be [`Transmit::Open`].
    pub const fn new(transport: Transport, timing: Timing, now: Instant) -> Self {
        let (get, socket) = match transport {
            Transport::Polling => (Body::Empty, ServerSocket::Detached),
            Transport::WebSocket => (Body::Absent, ServerSocket::Current { answer_due: false }),
        };
        Self {
            heartbeat: Heartbeat::new(timing.ping_interval_ms, timing.ping_timeout_ms, now),
            socket,
            closing: None,
            upgrade_timeout_ms: timing.upgrade_timeout_ms,
            close_timeout_ms: timing.close_timeout_ms,
            transport,
            get,
            post: false,
            open_due: true,
            events: Events::NONE,
        }
    }

    /// What carries the session: polling until the client completed an upgrade.
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// Whether a WebSocket is connected that may become the transport.
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
    /// ([`CloseReason::close_code`]), or 1000 if only an upgrade failed (1001 while the server is
    /// `shutting_down`).
    pub const fn hangup_code(&self, shutting_down: bool) -> CloseCode {
        close::hangup_code(self.ended(), shutting_down)
    }

    /// Whether the session has this lane. A WebSocket stays attached until its [`Transmit::Hangup`].
    pub fn attached(&self, lane: Lane) -> bool {
        match lane {
            Lane::Get => self.get.is_attached(),
            Lane::Post => self.post,
            Lane::WebSocket => self.socket != ServerSocket::Detached,
        }
    }
}

/// From the network and the clock.
impl ServerSession {
    /// A request with this session's identifier came: a GET, the head of a POST, or a WebSocket that can be
    /// accepted. Refuse the request if this fails.
    ///
    /// # Errors
    /// - [`Violation::OverlappingGet`], [`Violation::OverlappingPost`]: the session ends. Its lanes are still
    ///   to be answered.
    /// - [`Violation::TransportMismatch`], [`Violation::AlreadyUpgrading`]: nothing else happens. The latter
    ///   also while an earlier WebSocket has not taken its [`Transmit::Hangup`].
    /// - [`Violation::Ended`]
    pub fn attach(&mut self, lane: Lane, now: Instant) -> Result<(), Violation> {
        if self.ended().is_some() {
            return Err(Violation::Ended);
        }
        match (lane, self.transport) {
            (Lane::Get | Lane::Post, Transport::WebSocket) => Err(Violation::TransportMismatch),
            // 2.4.4: "the first gets `1` (close), the second 400, the session is closed".
            (Lane::Get, _) if self.get.is_attached() => {
                self.end(CloseReason::TransportError);
                Err(Violation::OverlappingGet)
            }
            (Lane::Get, _) => {
                self.get = Body::Empty;
                Ok(())
            }
            // 2.3.9: "second gets 400 empty, session closed with `transport error`".
            (Lane::Post, _) if self.post => {
                self.end(CloseReason::TransportError);
                Err(Violation::OverlappingPost)
            }
            (Lane::Post, _) => {
                self.post = true;
                Ok(())
            }
            (Lane::WebSocket, _) if self.socket == ServerSocket::Detached => {
                self.socket = ServerSocket::Waiting { until: now.after(self.upgrade_timeout_ms) };
                Ok(())
            }
            // 2.6.9: "refuse or close it; the first must keep working".
            (Lane::WebSocket, _) => Err(Violation::AlreadyUpgrading),
        }
    }

    /// The lane's request was answered in full, and left no trace: the connection may serve another.
    ///
    /// Call it before the client can have seen the end of the answer and sent the next request. For a
    /// WebSocket it is the same as [`lost`](Self::lost).
    pub fn detach(&mut self, lane: Lane) {
        match lane {
            Lane::Get => self.get = Body::Absent,
            Lane::Post => self.post = false,
            Lane::WebSocket => self.lost(lane),
        }
    }

    /// The lane's connection broke, or the peer hung up, before its request was answered in full. Nothing
    /// happens if the lane is not attached.
    pub fn lost(&mut self, lane: Lane) {
        match lane {
            // 2.4.5: at once, without waiting for the ping timeout. After an upgrade a GET that got nothing
            // but its noop is no loss; one that took messages with it is.
            Lane::Get => {
                let get = core::mem::replace(&mut self.get, Body::Absent);
                let matters = self.transport == Transport::Polling || get.is_precious();
                if get.is_attached() && matters {
                    self.end(CloseReason::TransportError);
                }
            }
            // 2.3.13: "TCP dropped in the middle of a POST: session closed, `transport error`".
            Lane::Post => {
                if core::mem::replace(&mut self.post, false) {
                    self.end(CloseReason::TransportError);
                }
            }
            Lane::WebSocket => {
                match core::mem::replace(&mut self.socket, ServerSocket::Detached) {
                    ServerSocket::Waiting { .. } | ServerSocket::Probed { .. } => {
                        self.events.upgrade_failed(UpgradeFailure::Lost);
                    }
                    // 2.6.7
                    ServerSocket::Current { .. } => self.end(CloseReason::TransportClose),
                    ServerSocket::Detached | ServerSocket::Leaving { .. } => {}
                }
            }
        }
    }

    /// A packet came; a message comes back for the application, unless the session is closing.
    ///
    /// # Errors
    /// - [`Violation::WrongDirection`]: the session ends.
    /// - [`Violation::UnexpectedPacket`]: the upgrade is over, the session goes on over polling.
    /// - [`Violation::Ended`], also for what stands behind a close packet in the same body. That request
    ///   still deserves its ordinary answer: compare [`ended`](Self::ended) after each packet.
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
            (Lane::Post, _) if self.post => {}
            (Lane::WebSocket, ServerSocket::Current { .. }) => {}
            (Lane::WebSocket, ServerSocket::Waiting { .. } | ServerSocket::Probed { .. }) => {
                return self.handle_probe(packet).map(|()| None);
            }
            _ => return Err(Violation::NotAttached),
        }
        self.heartbeat.handle_progress();
        match packet {
            // 2.5.3: only this counts, on whichever lane it comes.
            Packet::Pong(_) => self.heartbeat.handle_pong(now),
            Packet::Message(message) if self.closing.is_none() => return Ok(Some(message)),
            Packet::Message(_) => {}
            // 2.3.8, 2.6.2: "Close at once."
            Packet::Close => self.end(CloseReason::ClientDisconnect),
            // 2.3.7: ignored, as JS does; after an upgrade also a second `5`.
            Packet::Open(_) | Packet::Upgrade | Packet::Noop => {}
            // 2.3.7, 2.5.4: "invalid heartbeat direction", `2probe` included.
            Packet::Ping(_) => {
                self.end(CloseReason::TransportError);
                return Err(Violation::WrongDirection);
            }
        }
        Ok(None)
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
    /// Handle what was received in time first: a pong that waits unread does not count.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.ended().is_some() {
            return;
        }
        if self.closing.is_some_and(|at| now >= at) {
            return self.end(CloseReason::ServerDisconnect);
        }
        // 2.7.7: "the WebSocket is closed, polling goes on".
        if self.socket.deadline().is_some_and(|at| now >= at) {
            self.abandon_upgrade(UpgradeFailure::Timeout);
        }
        if self.heartbeat.handle_timeout(now) {
            self.end(CloseReason::PingTimeout);
        }
    }

    /// Bytes of this peer wait unread because the application is slow: if its pong is overdue, that counts
    /// as one more ping timeout of patience, [`MAX_EXTENSIONS`](super::MAX_EXTENSIONS) times until a packet
    /// is handled again. Call it just before [`handle_timeout`](Self::handle_timeout), which is called
    /// either way. Says whether the deadline was moved.
    pub fn extend(&mut self, now: Instant) -> bool {
        self.ended().is_none() && self.heartbeat.extend(now)
    }
}

/// From the application.
impl ServerSession {
    /// Closes gracefully: what is queued goes first, then a close packet, on the transport that is current
    /// by then. The session ends with that, or `close_timeout_ms` from now.
    pub fn close(&mut self, now: Instant) {
        if self.ended().is_none() && self.closing.is_none() {
            self.closing = Some(now.after(self.close_timeout_ms));
        }
    }

    /// Ends the session now. What is queued is not sent.
    pub fn abort(&mut self, reason: CloseReason) {
        self.end(reason);
    }
}

/// What the driver is to do.
impl ServerSession {
    /// What to write to `lane` next; `queued` says whether the driver holds an unsent message. Each answer
    /// must be written: ask only while there is room, and stop early when the response is full; what was
    /// not asked for waits for the next GET. A GET is answered when this said `None` after something.
    ///
    /// Worth calling, on every attached lane, after each call of the `handle_*` family, after each command
    /// and when a message was queued. It is always `None` for [`Lane::Post`], whose answer the driver knows.
    #[must_use = "what was taken is to be written"]
    pub fn poll_transmit(&mut self, lane: Lane, queued: bool) -> Option<Transmit> {
        match lane {
            Lane::Get if self.get.is_writable() => self.poll_get(queued),
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
        let others = [self.socket.deadline(), self.closing];
        others.into_iter().flatten().chain([self.heartbeat.deadline()]).min()
    }
}

impl ServerSession {
    /// 2.7.6: "anything else than `2probe` first, or than `5` after it (even a message): the WebSocket is
    /// closed, the session goes on over polling. A lone `5` without a probe is accepted".
    fn handle_probe(&mut self, packet: Packet<'_>) -> Result<(), Violation> {
        match (packet, self.socket) {
            (Packet::Ping(PROBE), ServerSocket::Waiting { until }) => {
                self.socket = ServerSocket::Probed { until, answer_due: true };
                Ok(())
            }
            (Packet::Upgrade, socket) => {
                let answer_due = matches!(socket, ServerSocket::Probed { answer_due: true, .. });
                self.socket = ServerSocket::Current { answer_due };
                self.transport = Transport::WebSocket;
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
        self.socket = ServerSocket::Leaving { close_due: false };
        self.events.upgrade_failed(failure);
    }

    fn end(&mut self, reason: CloseReason) {
        if !self.events.end(reason) {
            return;
        }
        self.closing = None;
        self.socket = match self.socket {
            ServerSocket::Detached => ServerSocket::Detached,
            // Only a peer that is alive and did nothing wrong is told by a packet; the others learn from
            // the closing handshake, or are past learning.
            ServerSocket::Current { .. } => ServerSocket::Leaving { close_due: tells_peer(reason) },
            // 2.7.8: "the WebSocket closes too".
            ServerSocket::Waiting { .. }
            | ServerSocket::Probed { .. }
            | ServerSocket::Leaving { .. } => ServerSocket::Leaving { close_due: false },
        };
    }

    fn poll_get(&mut self, queued: bool) -> Option<Transmit> {
        const CLOSE: Transmit = Transmit::Control(Packet::Close);
        const NOOP: Transmit = Transmit::Control(Packet::Noop);

        if self.transport == Transport::WebSocket {
            // The held GET of a client that switched: its answer, and its end. Nothing of the session goes
            // this way any more.
            if self.get == Body::Empty {
                self.get.put_last();
                return Some(NOOP);
            }
        } else if let Some(reason) = self.ended() {
            self.get.put_last();
            // 2.3.8: the GET of a client that closed is answered `6`; 2.4.4, 2.5.2: any other `1`.
            return Some(if reason == CloseReason::ClientDisconnect { NOOP } else { CLOSE });
        } else if core::mem::take(&mut self.open_due) {
            // 2.1.4: "Nothing else rides in this response".
            self.get.put_last();
            return Some(Transmit::Open);
        } else if self.heartbeat.take_ping() {
            self.get.put();
            return Some(Transmit::Control(Packet::Ping("")));
        } else if queued {
            // Also while upgrading (2.7.4): until `5`, messages go to polling, and the upgrade never waits
            // for the queue to be empty.
            self.get.put();
            return Some(Transmit::Message);
        } else if self.closing.is_some() {
            self.get.put_last();
            self.end(CloseReason::ServerDisconnect);
            return Some(CLOSE);
        } else if self.get == Body::Empty && matches!(self.socket, ServerSocket::Probed { .. }) {
            // 2.7.2: every GET, not only the first, or the upgrade stalls for a whole ping interval.
            self.get.put_last();
            return Some(NOOP);
        }
        self.get.pause();
        None
    }

    fn poll_websocket(&mut self, queued: bool) -> Option<Transmit> {
        match &mut self.socket {
            ServerSocket::Probed { answer_due, .. } | ServerSocket::Current { answer_due }
                if *answer_due =>
            {
                *answer_due = false;
                Some(Transmit::Control(Packet::Pong(PROBE)))
            }
            ServerSocket::Current { .. } => {
                if core::mem::take(&mut self.open_due) {
                    Some(Transmit::Open)
                } else if self.heartbeat.take_ping() {
                    Some(Transmit::Control(Packet::Ping("")))
                } else if queued {
                    Some(Transmit::Message)
                } else if self.closing.is_some() {
                    self.end(CloseReason::ServerDisconnect);
                    self.poll_websocket(false)
                } else {
                    None
                }
            }
            ServerSocket::Leaving { close_due: true } => {
                self.socket = ServerSocket::Leaving { close_due: false };
                Some(Transmit::Control(Packet::Close))
            }
            ServerSocket::Leaving { close_due: false } => {
                self.socket = ServerSocket::Detached;
                Some(Transmit::Hangup)
            }
            ServerSocket::Detached | ServerSocket::Waiting { .. } | ServerSocket::Probed { .. } => {
                None
            }
        }
    }
}

/// Whether the peer is told of this end by a close packet over WebSocket: the end is our doing.
const fn tells_peer(reason: CloseReason) -> bool {
    matches!(reason, CloseReason::ServerDisconnect | CloseReason::HandlerPanicked)
}

#[cfg(test)]
mod tests;
