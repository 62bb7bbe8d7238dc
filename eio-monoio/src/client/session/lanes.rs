//! What lanes report to a session, and ask it.

use std::os::fd::RawFd;
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

impl Session {
    /// The WebSocket is open. False: it is not wanted any more.
    pub(crate) fn connected(self: &Rc<Self>, ws: &Rc<WsSender>) -> bool {
        let wanted = self.machine.borrow_mut().handle_connected().is_ok();
        if wanted {
            self.outgoing.set_ws(ws.clone());
            self.apply_effects();
        }
        wanted
    }

    /// Whether `ws` is still the WebSocket of this session: a probe that was abandoned is not.
    pub(crate) fn is_current_ws(&self, ws: &Rc<WsSender>) -> bool {
        self.outgoing.is_current(ws)
    }

    /// The lane's request is done.
    pub(crate) fn detach(self: &Rc<Self>, lane: Lane) {
        self.machine.borrow_mut().detach(lane);
        self.apply_effects();
        if !self.is_slow() {
            self.senders.wake_all();
        }
    }

    /// The lane failed, because of this.
    pub(crate) fn lost(self: &Rc<Self>, lane: Lane, fault: Fault) {
        self.record_fault(lane, fault);
        self.machine.borrow_mut().lost(lane);
        self.apply_effects();
    }

    /// What came on the lane is wrong.
    pub(crate) fn fail(self: &Rc<Self>, lane: Lane, reason: CloseReason, fault: Fault) {
        self.record_fault(lane, fault);
        self.machine.borrow_mut().fail(lane, reason);
        self.apply_effects();
    }

    /// Remembers what went wrong first with the session; an upgrade that fails is not its end.
    fn record_fault(&self, lane: Lane, fault: Fault) {
        let machine = self.machine.borrow();
        let fatal = machine.attached(lane) && !(lane == Lane::WebSocket && machine.is_upgrading());
        if fatal && machine.ended().is_none() {
            self.fault.borrow_mut().get_or_insert(fault);
        }
    }

    /// One packet came. False: there is no use in looking at more of this lane.
    pub(crate) fn handle_packet(self: &Rc<Self>, lane: Lane, packet: Packet<'_>) -> bool {
        let begins = !self.machine.borrow().is_open();
        if let (Packet::Open(json), true) = (packet, begins) {
            return self.handle_open(lane, json);
        }
        if begins && packet != Packet::Close {
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
                Err(violation) => self.violated(violation),
            };
        }
        let now = self.worker.now();
        let handled = self.machine.borrow_mut().handle_packet(lane, packet, now);
        match handled {
            Ok(_) => {
                self.apply_effects();
                true
            }
            Err(violation) => self.violated(violation),
        }
    }

    fn violated(self: &Rc<Self>, violation: Violation) -> bool {
        tracing::debug!(%violation, "the server broke a rule, or speaks after the end");
        self.apply_effects();
        false
    }

    fn handle_open(self: &Rc<Self>, lane: Lane, json: &str) -> bool {
        let open = match Open::parse(json) {
            Ok(open) => open,
            Err(error) => {
                self.fail(lane, CloseReason::ParseError, Fault::Open(error));
                return false;
            }
        };
        let figures = OpenParams {
            ping_interval_ms: open.ping_interval_ms,
            ping_timeout_ms: open.ping_timeout_ms,
            offers_websocket: open.upgrades.contains(Transport::WebSocket),
        };
        *self.opened.borrow_mut() = Some(open);
        let handled = self.machine.borrow_mut().handle_open(figures, self.worker.now());
        self.watchers.wake_all();
        self.apply_effects();
        handled.is_ok()
    }

    /// Something was sent: there may be room for more.
    pub(crate) fn drained(&self) {
        self.flush_ws();
        if !self.senders.is_empty() && !self.is_slow() {
            self.senders.wake_all();
        }
    }

    /// Ready when the application has room for more, or the session has ended.
    pub(crate) fn poll_inbox(&self, cx: &Context<'_>) -> Poll<()> {
        if self.closed.get().is_some() || !self.is_inbox_full() {
            return Poll::Ready(());
        }
        self.watchers.add(cx);
        Poll::Pending
    }

    /// Ready when what `lane` waits for is not wanted any more.
    pub(crate) fn poll_unwanted(&self, lane: Lane, cx: &Context<'_>) -> Poll<()> {
        if self.is_unwanted(lane) {
            return Poll::Ready(());
        }
        self.watchers.add(cx);
        Poll::Pending
    }

    pub(crate) fn is_unwanted(&self, lane: Lane) -> bool {
        self.end.is_at(Stage::Cut) || (lane == Lane::WebSocket && self.ws_unwanted.get())
    }

    /// How long a request may take now.
    pub(crate) fn request_timeout(&self) -> Duration {
        /// For a last word after an abort.
        const BRIEF: Duration = Duration::from_secs(2);
        let timeout = self.settings.options.request_timeout;
        if self.end.is_at(Stage::Aborted) { timeout.min(BRIEF) } else { timeout }
    }

    /// Says which socket works for a lane, so that it can be cut.
    pub(crate) fn set_socket(&self, lane: Lane, fd: Option<RawFd>) {
        self.sockets[index(lane)].set(fd);
    }

    /// A connection that waits for a request, and may be used for one.
    pub(crate) fn take_idle(&self) -> Option<HttpConn> {
        http::usable(&mut self.idle.borrow_mut(), self.worker.now())
    }

    /// Keeps a connection for another request.
    pub(crate) fn give_idle(&self, idle: IdleConn) {
        if self.closed.get().is_none() && self.transport() == Transport::Polling {
            self.idle.borrow_mut().push(idle);
        }
    }
}

/// Makes the socket of a lane known to its session for as long as this lives.
pub(crate) struct SocketGuard<'s> {
    session: &'s Session,
    lane: Lane,
}

impl<'s> SocketGuard<'s> {
    pub(crate) fn new(session: &'s Session, lane: Lane, conn: &HttpConn) -> Self {
        session.set_socket(lane, Some(conn.stream().raw()));
        Self { session, lane }
    }
}

impl Drop for SocketGuard<'_> {
    fn drop(&mut self) {
        self.session.set_socket(self.lane, None);
    }
}
