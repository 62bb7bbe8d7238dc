//! [`Session`]: the core's state machine, the queue of what is to be sent, and who is woken when.
//!
//! The only place that calls the machine's `handle_*` and `poll_*`. Everything else of the server asks here.

mod counters;
mod effects;
pub(crate) mod env;
mod inbox;
mod out_message;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};

use eio_core::packet::{Message, Packet};
use eio_core::payload;
use eio_core::session::{CloseReason, Lane, ServerSession, Transmit, Violation};
use eio_core::sid::Sid;
use eio_core::time::Instant;
use eio_core::transport::Transport;

use crate::error::SendError;
use crate::io::message_queue::MessageQueue;
use crate::io::outgoing::{Next, Outgoing};
use crate::io::ws_sender::WsSender;
use crate::message::Encoded;
use crate::metrics::MESSAGES_SENT;
use crate::server::session::env::SessionEnv;
use crate::server::session::out_message::OutMessage;
use crate::server::shard::registry::HasSid;
use crate::server::shard::shared::CallNumber;
use crate::worker::tasks::Guarded;
use crate::worker::timers::TimerId;
use crate::worker::wakers::{WakerSlot, Wakers};

/// One session on its shard. Never leaves it.
pub(crate) struct Session<T> {
    pub(crate) env: Rc<SessionEnv<T>>,
    pub(crate) sid: Sid,
    pub(crate) slot: u32,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) data: Guarded<T>,
    /// Calls to every session that came later are for this one too.
    pub(crate) opened: CallNumber,
    machine: RefCell<ServerSession>,
    outgoing: Outgoing,
    /// The task that holds the GET.
    poller: WakerSlot,
    /// Tasks that wait for room in a queue, for the upgrade or for the end.
    waiters: Wakers,
    /// Messages that came while the handler was busy.
    inbox: RefCell<MessageQueue>,
    /// Bytes of messages that were taken out of there and wait all the same.
    taken: Cell<usize>,
    busy: Cell<bool>,
    /// The client cannot take binary frames (`b64=1`).
    base64: bool,
    closed: Cell<Option<CloseReason>>,
    /// How many bytes that wait are in the counters of the core for it.
    counted_queued: Cell<usize>,
    /// By what carries it, the session is there.
    counted_by: Cell<Transport>,
    timer: TimerId,
}

/// What a session is made from; see [`Session::new`].
pub(crate) struct Origin<T> {
    pub(crate) transport: Transport,
    pub(crate) base64: bool,
    pub(crate) peer: Option<SocketAddr>,
    /// What the application wants it to be called.
    pub(crate) sid: Option<Sid>,
    pub(crate) data: Guarded<T>,
}

impl<T> HasSid for Session<T> {
    fn sid(&self) -> &Sid {
        &self.sid
    }
}

impl<T> Session<T> {
    pub(crate) fn new(
        env: Rc<SessionEnv<T>>,
        opened: CallNumber,
        origin: Origin<T>,
        sid: Sid,
        slot: u32,
        timer: TimerId,
    ) -> Self {
        let machine = ServerSession::new(origin.transport, env.timing, env.now());
        Self {
            sid,
            slot,
            peer: origin.peer,
            data: origin.data,
            opened,
            machine: RefCell::new(machine),
            outgoing: Outgoing::default(),
            poller: WakerSlot::default(),
            waiters: Wakers::default(),
            inbox: RefCell::default(),
            taken: Cell::new(0),
            // With telling its handler that it exists: an end before that is told after it.
            busy: Cell::new(true),
            base64: origin.base64,
            closed: Cell::new(None),
            counted_queued: Cell::new(0),
            counted_by: Cell::new(origin.transport),
            timer,
            env,
        }
    }

    /// What carries the session now.
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

    /// Why it ended, if it has.
    pub(crate) fn closed(&self) -> Option<CloseReason> {
        self.closed.get()
    }

    /// Ready when the session has ended; else wakes the task when it does, and now and then before.
    pub(crate) fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.closed.get().is_some() {
            return Poll::Ready(());
        }
        self.waiters.add(cx);
        Poll::Pending
    }

    /// Bytes that wait to be sent.
    pub(crate) fn queued(&self) -> usize {
        self.outgoing.queued()
    }

    /// Whether so much waits to be sent that the peer must not cause more.
    pub(crate) fn is_slow(&self) -> bool {
        self.queued() >= self.env.config.outbound_high_water
    }
}

/// From the application.
impl<T> Session<T> {
    pub(crate) fn try_send(&self, message: Message<'_>) -> Result<(), SendError> {
        self.send(&message)
    }

    /// The same for a message that is already a frame.
    pub(crate) fn try_send_encoded(&self, message: &Encoded) -> Result<(), SendError> {
        self.send(message)
    }

    /// Straight into the WebSocket's frames where the machine allows that, else into the queue.
    fn send(&self, message: &impl OutMessage) -> Result<(), SendError> {
        if self.closed.get().is_some() || self.machine.borrow().is_closing() {
            return Err(SendError::Closed);
        }
        MessageQueue::check(message.len())?;
        let queued = self.outgoing.queued();
        if queued >= self.env.config.outbound_high_water {
            return Err(SendError::Full);
        }
        let sent = self.outgoing.is_queue_empty()
            && self.outgoing.send_now(
                || self.next_on_ws(true),
                |ws| {
                    message.write(ws, &self.env.pool, self.base64);
                    // Frames that leave at the end of this turn do not wait. The writer counts those that stay.
                    if ws.is_sending() {
                        self.count_queued(queued + message.len());
                    }
                },
                |ws, packet| self.transmit(ws, packet),
            );
        if !sent {
            self.enqueue(message.message())?;
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

    fn enqueue(&self, message: Message<'_>) -> Result<(), SendError> {
        // Protocol, "Payload encoding": packets are separated by U+001E, and there is no escape.
        if self.transport() == Transport::Polling
            && matches!(message, Message::Text(text) if text.as_bytes().contains(&payload::SEPARATOR))
        {
            return Err(SendError::Separator);
        }
        self.outgoing.queue().borrow_mut().push(message);
        self.poller.wake();
        Ok(())
    }

    /// Ready when [`try_send`](Self::try_send) would not answer Full; else wakes the task when that changes.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.closed.get().is_some() || !self.is_slow() {
            return Poll::Ready(());
        }
        self.waiters.add(cx);
        Poll::Pending
    }

    /// Ready when nothing waits to be sent, or the session has ended.
    pub(crate) fn poll_flushed(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.closed.get().is_some() || self.queued() == 0 {
            return Poll::Ready(());
        }
        self.waiters.add(cx);
        Poll::Pending
    }

    /// Ready when a WebSocket carries the session, or it has ended.
    pub(crate) fn poll_upgraded(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.closed.get().is_some() || self.transport() == Transport::WebSocket {
            return Poll::Ready(());
        }
        self.waiters.add(cx);
        Poll::Pending
    }

    /// Ends the session after what is queued.
    pub(crate) fn close(&self) {
        let now = self.env.now();
        self.machine.borrow_mut().close(now);
        self.apply_effects();
    }

    /// Ends the session now.
    pub(crate) fn abort(&self, reason: CloseReason) {
        self.machine.borrow_mut().abort(reason);
        self.apply_effects();
    }
}

/// From connections and the clock.
impl<T> Session<T> {
    pub(crate) fn attach(&self, lane: Lane) -> Result<(), Violation> {
        /// Milliseconds after which a core that missed a deadline was away, and not only late.
        const AWAY: u64 = 100;
        let now = self.env.now();
        let result = {
            let mut machine = self.machine.borrow_mut();
            // The wheel is up to a tick late, and a request for a session that is over must not slip in before
            // it. If it is later than that, this core was away, and what its peers sent comes first.
            if machine.poll_timeout().is_some_and(|due| due <= now && now.millis_since(due) < AWAY)
            {
                machine.handle_timeout(now);
            }
            machine.attach(lane, now)
        };
        self.apply_effects();
        result
    }

    pub(crate) fn detach(&self, lane: Lane) {
        self.machine.borrow_mut().detach(lane);
        self.apply_effects();
    }

    pub(crate) fn lost(&self, lane: Lane) {
        self.machine.borrow_mut().lost(lane);
        self.apply_effects();
    }

    pub(crate) fn fail(&self, lane: Lane, reason: CloseReason) {
        self.machine.borrow_mut().fail(lane, reason);
        self.apply_effects();
    }

    /// The rules for one packet. A message is handed on; whatever else it was has had its effect.
    pub(crate) fn handle_packet<'p>(
        &self,
        lane: Lane,
        packet: Packet<'p>,
    ) -> Result<Option<Message<'p>>, Violation> {
        if let Packet::Message(message) = packet {
            let result =
                self.machine.borrow_mut().handle_packet(lane, packet, self.env.cached_now());
            // A message changes nothing that others wait for: no settling on the hot path. But one that is
            // out of place, a probe's, ends something.
            return match result {
                Ok(Some(_)) => {
                    self.count_received(lane);
                    // The same, from where it is at hand.
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

    /// The deadline of the machine may have passed. `waiting`: input of this peer is held up by our own
    /// application, so its silence proves nothing yet.
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

    /// Whether nothing waits in either direction beside what `ws` is to send.
    #[inline]
    pub(crate) fn has_no_backlog(&self) -> bool {
        self.taken.get() == 0 && self.inbox.borrow().is_empty() && self.outgoing.is_queue_empty()
    }

    /// Makes `ws` the WebSocket of this session.
    pub(crate) fn set_ws(&self, ws: Rc<WsSender>) {
        self.outgoing.set_ws(ws);
        self.apply_effects();
    }

    /// Whether `ws` is still the WebSocket of this session: a probe that was abandoned is not.
    pub(crate) fn is_current_ws(&self, ws: &Rc<WsSender>) -> bool {
        self.outgoing.is_current(ws)
    }

    /// The session is in the registry: its first deadline runs.
    pub(crate) fn started(&self) {
        self.apply_effects();
    }
}
