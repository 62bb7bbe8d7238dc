//! Calls of the tasks of lanes: packets, the end of a lane, its socket.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use eio_core::open::Open;
use eio_core::packet::Packet;
use eio_core::session::client::OpenParams;
use eio_core::session::{CloseReason, Lane, Violation};
use eio_core::transport::Transport;

use super::{Session, index};
use crate::client::error::Fault;
use crate::client::http::{self, IdleConn};
use crate::client::session::end::Stage;
use crate::io::http_conn::HttpConn;
use crate::io::ws_sender::WsSender;

/// Packets.
impl Session {
    /// Handles one packet. Returns false if the lane is to read no more packets.
    pub(crate) fn handle_packet(self: &Rc<Self>, lane: Lane, packet: Packet<'_>) -> bool {
        let is_first = !self.machine.borrow().is_open();
        if let (Packet::Open(json), true) = (packet, is_first) {
            return self.handle_open(lane, json);
        }
        if is_first && packet != Packet::Close {
            self.record_fault(lane, Fault::NotOpened);
        }
        if let Packet::Message(_) = packet {
            let now = self.worker.cached_now();
            let handled = self.machine.borrow_mut().handle_packet(lane, packet, now);
            return match handled {
                Ok(message) => {
                    if let Some(message) = message {
                        self.inbox.borrow_mut().push(message);
                        self.receivers.wake_all();
                    }
                    true
                }
                Err(violation) => self.on_violation(violation),
            };
        }
        let now = self.worker.now();
        let handled = self.machine.borrow_mut().handle_packet(lane, packet, now);
        match handled {
            Ok(_) => {
                self.apply_effects();
                true
            }
            Err(violation) => self.on_violation(violation),
        }
    }

    fn handle_open(self: &Rc<Self>, lane: Lane, json: &str) -> bool {
        let open = match Open::parse(json) {
            Ok(open) => open,
            Err(error) => {
                self.fail(lane, CloseReason::ParseError, Fault::Open(error));
                return false;
            }
        };
        let params = OpenParams {
            ping_interval_ms: open.ping_interval_ms,
            ping_timeout_ms: open.ping_timeout_ms,
            offers_websocket: open.upgrades.contains(Transport::WebSocket),
        };
        *self.opened.borrow_mut() = Some(open);
        let handled = self.machine.borrow_mut().handle_open(params, self.worker.now());
        self.watchers.wake_all();
        self.apply_effects();
        handled.is_ok()
    }

    fn on_violation(self: &Rc<Self>, violation: Violation) -> bool {
        crate::log::debug!(%violation, "unexpected packet of the server, or a packet after the end");
        self.apply_effects();
        false
    }

    /// Ready when the application has room for more messages, or the session has ended.
    pub(crate) fn poll_inbox(&self, cx: &Context<'_>) -> Poll<()> {
        if self.closed.get().is_some() || !self.is_inbox_full() {
            return Poll::Ready(());
        }
        self.watchers.add(cx);
        Poll::Pending
    }
}

/// The end of a lane.
impl Session {
    /// The lane's request is complete.
    pub(crate) fn detach(self: &Rc<Self>, lane: Lane) {
        self.machine.borrow_mut().detach(lane);
        self.apply_effects();
        if !self.is_outbox_full() {
            self.senders.wake_all();
        }
    }

    /// The lane failed because of `fault`.
    pub(crate) fn lost(self: &Rc<Self>, lane: Lane, fault: Fault) {
        self.record_fault(lane, fault);
        self.machine.borrow_mut().lost(lane);
        self.apply_effects();
    }

    /// The server violated the protocol on the lane.
    pub(crate) fn fail(self: &Rc<Self>, lane: Lane, reason: CloseReason, fault: Fault) {
        self.record_fault(lane, fault);
        self.machine.borrow_mut().fail(lane, reason);
        self.apply_effects();
    }

    /// Records the first fault that ends the session, or its upgrade.
    fn record_fault(&self, lane: Lane, fault: Fault) {
        let machine = self.machine.borrow();
        if !machine.attached(lane) || machine.ended().is_some() {
            return;
        }
        let is_upgrade = lane == Lane::WebSocket && machine.is_upgrading();
        let record = if is_upgrade { &self.upgrade_fault } else { &self.fault };
        record.borrow_mut().get_or_insert_with(|| Box::new(fault));
    }

    /// Ready when the task of `lane` is to end.
    pub(crate) fn poll_cancelled(&self, lane: Lane, cx: &Context<'_>) -> Poll<()> {
        if self.is_cancelled(lane) {
            return Poll::Ready(());
        }
        self.watchers.add(cx);
        Poll::Pending
    }

    /// Whether the connection or the request of `lane` is not needed any more.
    pub(crate) fn is_cancelled(&self, lane: Lane) -> bool {
        let cancelled = lane == Lane::WebSocket && self.ws_cancelled.get();
        cancelled || self.end.has_reached(Stage::Stopped)
    }
}

/// The WebSocket.
impl Session {
    /// The opening handshake is complete. Returns false if the WebSocket is not needed any more.
    pub(crate) fn handle_connected(self: &Rc<Self>, ws: &Rc<WsSender>) -> bool {
        let needed = self.machine.borrow_mut().handle_connected().is_ok();
        if needed {
            self.outgoing.set_ws(ws.clone());
            self.apply_effects();
        }
        needed
    }

    /// Whether `ws` is still the WebSocket of this session: one whose probe failed is not.
    pub(crate) fn is_current_ws(&self, ws: &Rc<WsSender>) -> bool {
        self.outgoing.is_current(ws)
    }

    /// A write to the WebSocket is complete, so that there may be room for more.
    pub(crate) fn on_sent(&self) {
        self.flush_ws();
        if !self.senders.is_empty() && !self.is_outbox_full() {
            self.senders.wake_all();
        }
    }
}

/// Requests and their connections.
impl Session {
    /// The timeout for a request that begins now.
    pub(crate) fn request_timeout(&self) -> Duration {
        /// For the last request after an abort.
        const SHORT: Duration = Duration::from_secs(2);
        let timeout = self.settings.options.request_timeout;
        if self.end.has_reached(Stage::Aborted) { timeout.min(SHORT) } else { timeout }
    }

    /// A connection that can be reused for a request.
    pub(crate) fn take_idle_conn(&self, lane: Lane) -> Option<HttpConn> {
        http::take_reusable(&mut self.idle_conns.borrow_mut(), lane, self.worker.now())
    }

    /// Keeps a connection for the next request.
    pub(crate) fn keep_idle_conn(&self, conn: IdleConn) {
        if self.closed.get().is_none() && self.transport() == Transport::Polling {
            self.idle_conns.borrow_mut().push(conn);
        }
    }
}

/// Registers the socket of a lane with its session, which can then shut it down, until this is dropped.
pub(crate) struct SocketGuard<'s> {
    session: &'s Session,
    lane: Lane,
}

impl<'s> SocketGuard<'s> {
    pub(crate) fn new(session: &'s Session, lane: Lane, conn: &HttpConn) -> Self {
        session.sockets[index(lane)].set(Some(conn.stream().raw()));
        Self { session, lane }
    }
}

impl Drop for SocketGuard<'_> {
    fn drop(&mut self) {
        self.session.sockets[index(self.lane)].set(None);
    }
}
