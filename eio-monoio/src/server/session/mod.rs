//! [`Session`]: a session's state machine of `eio-core`, its queues, and the tasks that it wakes.
//!
//! Only this module calls the `handle_*` and `poll_*` of the state machine.

mod causes;
mod counters;
pub(crate) mod effects;
pub(crate) mod env;
mod extras;
mod inbox;
mod out_message;
mod peer;

use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use eio_core::packet::{Message, Packet};
use eio_core::session::{CloseReason, Lane, ServerSession, Transmit, Violation};
use eio_core::sid::Sid;
use eio_core::time::Instant;
use eio_core::transport::Transport;
use eio_core::ws::Role;

use crate::error::SendError;
use crate::io::message_queue::MessageQueue;
use crate::io::outgoing::{Next, Outgoing};
use crate::io::receipt::{Confirm, Receipt};
use crate::io::unsent;
use crate::io::ws_sender::WsSender;
use crate::message::{Encoded, check_separator};
use crate::metrics::{MESSAGES_SENT, UPGRADES_STARTED};
use crate::server::request::KeptRequest;
use crate::server::session::env::SessionEnv;
use crate::server::session::extras::Extras;
use crate::server::session::out_message::{OutMessage, WithOptions};
use crate::server::session::peer::Peer;
use crate::server::shard::registry::HasSid;
use crate::server::shard::shared::CallNumber;
use crate::worker::budget;
use crate::worker::context::WorkerContext;
use crate::worker::task;
use crate::worker::tasks::Guarded;
use crate::worker::timers::TimerId;
use crate::worker::wakers::WakerSlot;

/// One session. It stays on its worker.
pub(crate) struct Session<T> {
    pub(crate) env: Rc<SessionEnv<T>>,
    pub(crate) sid: Sid,
    pub(crate) slot: u32,
    peer: Peer,
    pub(crate) data: Guarded<T>,
    /// Broadcasts with a later number are for this session too.
    pub(crate) opened_at: CallNumber,
    machine: RefCell<ServerSession>,
    outgoing: Outgoing,
    /// The task that holds the GET.
    poller: WakerSlot,
    extras: OnceCell<Box<Extras>>,
    busy: Cell<bool>,
    /// The client cannot take binary frames (`b64=1`).
    base64: bool,
    closed: Cell<Option<CloseReason>>,
    /// The part of the worker's counter of queued bytes that is this session's.
    counted_queued: Cell<usize>,
    /// The transport under which the worker's counters count this session.
    counted_transport: Cell<Transport>,
    timer: TimerId,
}

/// The parameters of [`Session::new`].
pub(crate) struct NewSession<T> {
    pub(crate) transport: Transport,
    pub(crate) base64: bool,
    pub(crate) peer: Option<SocketAddr>,
    /// The sid that the application generated, if it does.
    pub(crate) sid: Option<Sid>,
    pub(crate) data: Guarded<T>,
    /// With [`keep_request`](crate::Config::keep_request).
    pub(crate) request: Option<Box<KeptRequest>>,
}

impl<T> HasSid for Session<T> {
    fn sid(&self) -> &Sid {
        &self.sid
    }
}

impl<T> Session<T> {
    pub(crate) fn new(
        env: Rc<SessionEnv<T>>,
        opened_at: CallNumber,
        new: NewSession<T>,
        sid: Sid,
        slot: u32,
        timer: TimerId,
    ) -> Self {
        let machine = ServerSession::new(new.transport, env.timing, env.now());
        let kept = new.request.map(|kept| Extras { request: Some(kept), ..Extras::default() });
        let extras = kept.map_or_else(OnceCell::new, |extras| OnceCell::from(Box::new(extras)));
        Self {
            sid,
            slot,
            peer: Peer::new(new.peer),
            data: new.data,
            opened_at,
            machine: RefCell::new(machine),
            outgoing: Outgoing::default(),
            poller: WakerSlot::default(),
            extras,
            // Until `Handler::open` is complete: the disconnect callback must come after it.
            busy: Cell::new(true),
            base64: new.base64,
            closed: Cell::new(None),
            counted_queued: Cell::new(0),
            counted_transport: Cell::new(new.transport),
            timer,
            env,
        }
    }

    /// The address of the client that opened the session.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.peer.get()
    }

    /// The transport that carries the session now.
    pub(crate) fn transport(&self) -> Transport {
        self.machine.borrow().transport()
    }

    /// Whether a GET is held.
    pub(crate) fn is_polled(&self) -> bool {
        self.machine.borrow().attached(Lane::Get)
    }

    pub(crate) fn is_upgrading(&self) -> bool {
        self.machine.borrow().is_upgrading()
    }

    /// The time since the last packet of the client.
    pub(crate) fn last_seen(&self) -> Duration {
        self.keep_clock_fresh();
        let now = self.env.now();
        Duration::from_millis(self.machine.borrow().silent_ms(now).into())
    }

    /// Packets are seen at the cached time of the worker, which its timers update: from the first call on, one every
    /// 100 ms.
    fn keep_clock_fresh(&self) {
        const INTERVAL: Duration = Duration::from_millis(100);
        #[derive(Default)]
        struct IsFresh(Cell<bool>);

        // The handle may have outlived the worker.
        if WorkerContext::current().is_none() || self.env.per_worker::<IsFresh>().0.replace(true) {
            return;
        }
        drop(task::spawn(async {
            loop {
                task::sleep(INTERVAL).await;
            }
        }));
    }

    /// The round trip of the last heartbeat.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        let round_trip = self.machine.borrow().round_trip_ms();
        round_trip.map(|ms| Duration::from_millis(ms.into()))
    }

    /// The close reason, if the session has ended.
    pub(crate) fn closed(&self) -> Option<CloseReason> {
        self.closed.get()
    }

    /// Ready when the session has ended; else the task is woken then. It may be woken before.
    pub(crate) fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.closed.get().is_some() {
            return Poll::Ready(());
        }
        self.make_extras().waiters.add(cx);
        Poll::Pending
    }

    /// Bytes that wait to be sent.
    pub(crate) fn queued(&self) -> usize {
        if self.closed.get().is_some() { 0 } else { self.outgoing.queued() }
    }

    /// Ready when the session has ended and its WebSocket sends no more bytes, or the worker drops the caller; else the
    /// task is woken then.
    pub(crate) fn poll_stopped(&self, cx: &mut Context<'_>) -> Poll<()> {
        let is_last_poll = self.env.worker.tasks.is_aborting();
        if self.closed.get().is_some() && (self.outgoing.has_stopped() || is_last_poll) {
            return Poll::Ready(());
        }
        self.make_extras().waiters.add(cx);
        Poll::Pending
    }

    /// The WebSocket has stopped sending.
    pub(crate) fn on_unsent(&self) {
        self.wake_waiters();
    }

    /// Takes the messages that were not sent, after [`poll_stopped`](Self::poll_stopped).
    pub(crate) fn take_undelivered(&self) -> MessageQueue {
        self.outgoing.take_unsent(Role::Server, &self.env.worker)
    }

    /// Drops the messages that were not sent, now and later.
    pub(crate) fn discard_undelivered(&self) {
        self.outgoing.discard_unsent(&self.env.worker);
    }

    /// Keeps the messages of a response that was not sent. The session has ended.
    pub(crate) fn keep_response(&self, response: &mut [u8]) {
        let mut messages = MessageQueue::default();
        unsent::push_response(response, &mut messages);
        self.outgoing.put_back(messages);
    }

    /// A high-water mark: lower while the process holds its budget of bytes.
    fn high_water(&self, configured: usize) -> usize {
        match self.env.config.memory_budget {
            Some(max) if budget::held() >= max => configured.min(budget::SMALL_QUEUE),
            _ => configured,
        }
    }

    /// Whether the bytes that wait to be sent have reached the high-water mark.
    pub(crate) fn is_slow(&self) -> bool {
        self.queued() >= self.high_water(self.env.config.outbound_high_water)
    }
}

impl<T> Drop for Session<T> {
    fn drop(&mut self) {
        budget::release(self.unhandled());
    }
}

/// Calls of the application.
impl<T> Session<T> {
    /// docs/protocol.md 1.9: refused over every transport, or over polling only.
    #[inline]
    fn check_separator(&self, message: Message<'_>) -> Result<(), SendError> {
        if self.permits_separator() { Ok(()) } else { check_separator(message) }
    }

    fn permits_separator(&self) -> bool {
        self.env.config.separator_over_websocket && self.transport() == Transport::WebSocket
    }

    pub(crate) fn try_send(&self, message: Message<'_>) -> Result<(), SendError> {
        self.counted(self.attempt(message))
    }

    /// As [`try_send`](Self::try_send); a message that is not queued is not counted, because the caller tries again.
    pub(crate) fn attempt(&self, message: Message<'_>) -> Result<(), SendError> {
        self.check_separator(message)?;
        self.send(&message)
    }

    /// As [`try_send`](Self::try_send), compressed or not.
    pub(crate) fn try_send_with(
        &self,
        message: Message<'_>,
        compress: bool,
    ) -> Result<(), SendError> {
        self.counted(self.attempt_with(message, compress))
    }

    /// As [`attempt`](Self::attempt), compressed or not.
    pub(crate) fn attempt_with(
        &self,
        message: Message<'_>,
        compress: bool,
    ) -> Result<(), SendError> {
        self.check_separator(message)?;
        self.send(&WithOptions { message, plain: !compress, confirm: Cell::new(None) })
    }

    /// As [`try_send_with`](Self::try_send_with), and returns the receipt of the message.
    pub(crate) fn try_send_confirmed(
        &self,
        message: Message<'_>,
        compress: bool,
    ) -> Result<Receipt, SendError> {
        let (confirm, receipt) = Confirm::new();
        let confirm = Cell::new(Some(confirm));
        let sent = self
            .check_separator(message)
            .and_then(|()| self.send(&WithOptions { message, plain: !compress, confirm }));
        self.counted(sent).map(|()| receipt)
    }

    /// As [`try_send`](Self::try_send), for a message that is encoded already.
    pub(crate) fn try_send_encoded(&self, message: &Encoded) -> Result<(), SendError> {
        // Without the option it is checked before it is encoded.
        let checked = if self.env.config.separator_over_websocket {
            self.check_separator(message.message())
        } else {
            Ok(())
        };
        self.counted(checked.and_then(|()| self.send(message)))
    }

    /// Writes a message into the send buffer of the WebSocket if the state machine allows that, else queues it.
    fn send(&self, message: &impl OutMessage) -> Result<(), SendError> {
        if self.closed.get().is_some() || self.machine.borrow().is_closing() {
            return Err(SendError::Closed);
        }
        MessageQueue::check(message.len())?;
        let queued = self.outgoing.queued();
        if queued >= self.high_water(self.env.config.outbound_high_water) {
            return Err(SendError::Full);
        }
        let sent = self.outgoing.is_queue_empty()
            && self.outgoing.send_now(
                || self.next_on_ws(true),
                |ws| {
                    message.write(ws, &self.env.pool, self.base64);
                    // Bytes that leave at the end of this turn are not counted. The writer counts those that stay.
                    if ws.is_sending() {
                        self.count_queued(queued + message.len());
                    }
                },
                |ws, packet| self.transmit(ws, packet),
            );
        if !sent {
            self.enqueue(message);
            self.count_queued(queued + message.len());
        }
        self.env.counters.add(MESSAGES_SENT, 0, 1);
        Ok(())
    }

    /// The packet that the state machine allows next on the WebSocket.
    #[inline]
    fn next_on_ws(&self, queued: bool) -> Option<Next<Transmit>> {
        let next = self.machine.borrow_mut().poll_transmit(Lane::WebSocket, queued)?;
        Some(if next == Transmit::Message { Next::Message } else { Next::Control(next) })
    }

    fn enqueue(&self, message: &impl OutMessage) {
        let (plain, confirm) = (message.is_plain(), message.take_confirm());
        self.outgoing.push(message.message(), plain, confirm);
        self.poller.wake();
    }

    /// Ready when [`try_send`](Self::try_send) would not return `Full`; else the task is woken then.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.closed.get().is_some() || !self.is_slow() {
            return Poll::Ready(());
        }
        self.make_extras().waiters.add(cx);
        Poll::Pending
    }

    /// Ready when no bytes wait to be sent, or the session has ended.
    pub(crate) fn poll_flushed(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.closed.get().is_some() || self.queued() == 0 {
            return Poll::Ready(());
        }
        self.make_extras().waiters.add(cx);
        Poll::Pending
    }

    /// Ready when an upgrade is in progress, a WebSocket carries the session, or it has ended.
    pub(crate) fn poll_upgrading(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_upgrading() {
            return Poll::Ready(());
        }
        self.poll_upgraded(cx)
    }

    /// Ready when a WebSocket carries the session, or it has ended.
    pub(crate) fn poll_upgraded(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.closed.get().is_some() || self.transport() == Transport::WebSocket {
            return Poll::Ready(());
        }
        self.make_extras().waiters.add(cx);
        Poll::Pending
    }

    /// Ends the session after its queued messages.
    pub(crate) fn close(&self) {
        let now = self.env.now();
        self.machine.borrow_mut().close(now);
        self.apply_effects();
    }

    /// Ends the session after its queued messages, because the server ends. Messages of the client are received until
    /// then.
    pub(crate) fn drain(&self) {
        let now = self.env.now();
        self.machine.borrow_mut().drain(now);
        self.apply_effects();
    }

    /// Whether packets after the end of the session belong to the request that ended it, or are dropped on the wish of
    /// the application. Otherwise their request must not be answered as if they were handled.
    pub(crate) fn ignores_later_packets(&self) -> bool {
        match self.closed.get() {
            Some(CloseReason::ClientDisconnect | CloseReason::HandlerPanicked) => true,
            Some(CloseReason::ServerDisconnect) => !self.machine.borrow().is_draining(),
            _ => false,
        }
    }

    /// Ends the session now.
    pub(crate) fn abort(&self, reason: CloseReason) {
        self.machine.borrow_mut().abort(reason);
        self.apply_effects();
    }
}

/// Calls of connections and of the clock.
impl<T> Session<T> {
    pub(crate) fn attach(&self, lane: Lane) -> Result<(), Violation> {
        /// A worker that handles a deadline later than this was blocked; in milliseconds.
        const BLOCKED_MS: u64 = 100;
        let now = self.env.now();
        let (result, is_overdue) = {
            let mut machine = self.machine.borrow_mut();
            // The timer wheel is up to one tick late, and a request must not enter a session that has timed out. If it
            // is later than that, this worker was blocked, and packets that arrived in time must be handled first.
            let is_overdue = |due| due <= now && now.millis_since(due) < BLOCKED_MS;
            let is_overdue = machine.poll_timeout().is_some_and(is_overdue);
            if is_overdue {
                machine.handle_timeout(now);
            }
            (machine.attach(lane, now), is_overdue)
        };
        // A request that is accepted has no effects.
        if is_overdue || result.is_err() || lane == Lane::WebSocket {
            self.apply_effects();
        }
        if lane == Lane::WebSocket {
            if result.is_ok() {
                self.env.counters.add(UPGRADES_STARTED, 0, 1);
            }
            // For `poll_upgrading`.
            self.wake_waiters();
        }
        result
    }

    pub(crate) fn detach(&self, lane: Lane) {
        self.machine.borrow_mut().detach(lane);
        // A request that was answered has no effects.
        if lane == Lane::WebSocket {
            self.apply_effects();
        }
    }

    pub(crate) fn lost(&self, lane: Lane) {
        self.machine.borrow_mut().lost(lane);
        self.apply_effects();
    }

    pub(crate) fn fail(&self, lane: Lane, reason: CloseReason) {
        self.machine.borrow_mut().fail(lane, reason);
        self.apply_effects();
    }

    /// Handles a packet. A message is returned; other packets take effect here.
    pub(crate) fn handle_packet<'p>(
        &self,
        lane: Lane,
        packet: Packet<'p>,
    ) -> Result<Option<Message<'p>>, Violation> {
        if let Packet::Message(message) = packet {
            let result =
                self.machine.borrow_mut().handle_packet(lane, packet, self.env.cached_now());
            // A message has no effects, so this hot path does not apply any. But a message on a probing WebSocket is a
            // violation.
            return match result {
                Ok(Some(_)) => {
                    self.count_received(lane);
                    // The same message as the state machine returned.
                    Ok(Some(message))
                }
                Ok(None) => Ok(None),
                Err(violation) => {
                    self.apply_effects();
                    Err(violation)
                }
            };
        }
        let result = self.machine.borrow_mut().handle_packet(lane, packet, self.env.now());
        self.apply_effects();
        result
    }

    /// Handles the deadline of the state machine if it has passed. It is extended while the application delays input of
    /// this peer: a pong may be among that input.
    pub(crate) fn handle_timeout(&self, now: Instant) {
        {
            let mut machine = self.machine.borrow_mut();
            let due = machine.poll_timeout().is_some_and(|due| due <= now);
            let held_up = self.is_inbox_full() || self.is_slow();
            if due {
                if held_up {
                    machine.extend(now);
                }
                machine.handle_timeout(now);
            }
        }
        self.apply_effects();
    }

    /// Whether no message is queued in either direction, except in the send buffer of the WebSocket.
    #[inline]
    pub(crate) fn has_no_backlog(&self) -> bool {
        self.unhandled() == 0 && self.outgoing.is_queue_empty()
    }

    /// Makes `ws` the WebSocket of this session.
    pub(crate) fn set_ws(&self, ws: Rc<WsSender>) {
        self.outgoing.set_ws(ws);
        self.apply_effects();
    }

    /// Whether `ws` is still the WebSocket of this session. It is not after a failed upgrade.
    pub(crate) fn is_current_ws(&self, ws: &Rc<WsSender>) -> bool {
        self.outgoing.is_current(ws)
    }

    /// The session is in the registry: its first deadline is set.
    pub(crate) fn registered(&self) {
        self.apply_effects();
    }
}
