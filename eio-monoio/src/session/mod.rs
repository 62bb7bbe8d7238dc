//! [`Session`]: the core's state machine, the queue of what is to be sent, and who is woken when.
//!
//! The only place that calls the machine's `handle_*` and `poll_*`. Everything else of the server asks here.

pub(crate) mod link;
mod outgoing;
pub(crate) mod queue;
pub(crate) mod waiting;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use eio_core::open::Open;
use eio_core::packet::{Message, Packet};
use eio_core::payload;
use eio_core::session::{CloseReason, Event, Lane, ServerSession, Transmit, Violation};
use eio_core::sid::Sid;
use eio_core::time::Instant;
use eio_core::transport::Transport;
use eio_core::ws::{self, CloseCode};

use crate::config::millis;
use crate::error::SendError;
use crate::message::{Encoded, OutBuf, never_full};
use crate::metrics::{MESSAGES_RECEIVED, MESSAGES_SENT, QUEUED, UPGRADES, by};
use crate::session::link::{Ending, Link};
use crate::session::outgoing::Outgoing;
use crate::session::queue::Queue;
use crate::shard::Core;
use crate::shard::mesh::Call;
use crate::shard::registry::Named;
use crate::shard::tasks::Guarded;
use crate::shard::timers::TimerId;

/// One session on its shard. Never leaves it.
pub(crate) struct Session<T> {
    pub(crate) core: Rc<Core<T>>,
    pub(crate) sid: Sid,
    pub(crate) slot: u32,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) data: Guarded<T>,
    /// Calls to every session that came later are for this one too.
    pub(crate) opened: Call,
    machine: RefCell<ServerSession>,
    /// What no lane could take yet.
    outbox: RefCell<Queue>,
    /// The WebSocket, from its 101 on, also while it is only probed.
    link: RefCell<Option<Rc<Link>>>,
    /// The task that holds the GET.
    poller: Cell<Option<Waker>>,
    /// Tasks that wait for room in the queue.
    senders: Cell<Option<Box<Senders>>>,
    /// Messages that came while the handler was busy.
    inbox: RefCell<Queue>,
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

/// Tasks that wait for a session: in a box, because for most there are none.
#[derive(Default)]
struct Senders(Vec<Waker>);

/// What a session is made from; see [`Session::new`].
pub(crate) struct Origin<T> {
    pub(crate) transport: Transport,
    pub(crate) base64: bool,
    pub(crate) peer: Option<SocketAddr>,
    /// What the application wants it to be called.
    pub(crate) sid: Option<Sid>,
    pub(crate) data: Guarded<T>,
}

impl<T> Named for Session<T> {
    fn sid(&self) -> &Sid {
        &self.sid
    }
}

impl<T> Session<T> {
    pub(crate) fn new(
        core: Rc<Core<T>>,
        origin: Origin<T>,
        sid: Sid,
        slot: u32,
        timer: TimerId,
    ) -> Self {
        let machine = ServerSession::new(origin.transport, core.timing, core.now());
        Self {
            sid,
            slot,
            peer: origin.peer,
            data: origin.data,
            opened: core.mesh.calls.latest(),
            machine: RefCell::new(machine),
            outbox: RefCell::default(),
            link: RefCell::default(),
            poller: Cell::default(),
            senders: Cell::default(),
            inbox: RefCell::default(),
            taken: Cell::new(0),
            // With telling its handler that it exists: an end before that is told after it.
            busy: Cell::new(true),
            base64: origin.base64,
            closed: Cell::new(None),
            counted_queued: Cell::new(0),
            counted_by: Cell::new(origin.transport),
            timer,
            core,
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
        self.add_sender(cx);
        Poll::Pending
    }

    /// Bytes that wait to be sent.
    pub(crate) fn queued(&self) -> usize {
        let link = self.link.borrow();
        self.outbox.borrow().bytes() + link.as_ref().map_or(0, |link| link.queued())
    }

    /// Whether so much waits to be sent that the peer must not cause more.
    pub(crate) fn is_slow(&self) -> bool {
        self.queued() >= self.core.config.outbound_high_water
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
    fn send(&self, outgoing: &impl Outgoing) -> Result<(), SendError> {
        if self.closed.get().is_some() || self.machine.borrow().is_closing() {
            return Err(SendError::Closed);
        }
        Queue::check(outgoing.len())?;
        let link = self.link.borrow();
        let waiting = self.outbox.borrow().bytes();
        let queued = waiting + link.as_ref().map_or(0, |link| link.queued());
        if queued >= self.core.config.outbound_high_water {
            return Err(SendError::Full);
        }
        if waiting == 0
            && let Some(link) = &*link
        {
            loop {
                let next = self.machine.borrow_mut().poll_transmit(Lane::WebSocket, true);
                match next {
                    Some(Transmit::Message) => {
                        outgoing.write(link, &self.core.pool, self.base64);
                        self.core.counters.add(MESSAGES_SENT, 0, 1);
                        // What leaves at the end of this turn does not wait; what may not leave, the writer counts.
                        if link.is_sending() {
                            self.count_queued(queued + outgoing.len());
                        }
                        return Ok(());
                    }
                    Some(other) => self.transmit(link, other),
                    None => break,
                }
            }
        }
        drop(link);
        self.enqueue(outgoing.message())?;
        self.core.counters.add(MESSAGES_SENT, 0, 1);
        self.count_queued(queued + outgoing.len());
        Ok(())
    }

    fn enqueue(&self, message: Message<'_>) -> Result<(), SendError> {
        // Protocol, "Payload encoding": packets are separated by U+001E, and there is no escape.
        if self.transport() == Transport::Polling
            && matches!(message, Message::Text(text) if text.as_bytes().contains(&payload::SEPARATOR))
        {
            return Err(SendError::Separator);
        }
        self.outbox.borrow_mut().push(message);
        self.wake_poller();
        Ok(())
    }

    /// Ready when [`try_send`](Self::try_send) would not answer Full; else wakes the task when that changes.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.closed.get().is_some() || !self.is_slow() {
            return Poll::Ready(());
        }
        self.add_sender(cx);
        Poll::Pending
    }

    /// Ready when nothing waits to be sent, or the session has ended.
    pub(crate) fn poll_flushed(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.closed.get().is_some() || self.queued() == 0 {
            return Poll::Ready(());
        }
        self.add_sender(cx);
        Poll::Pending
    }

    /// Ready when a WebSocket carries the session, or it has ended.
    pub(crate) fn poll_upgraded(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.closed.get().is_some() || self.transport() == Transport::WebSocket {
            return Poll::Ready(());
        }
        self.add_sender(cx);
        Poll::Pending
    }

    fn add_sender(&self, cx: &Context<'_>) {
        let mut senders = self.senders.take().unwrap_or_default();
        if !senders.0.iter().any(|known| known.will_wake(cx.waker())) {
            senders.0.push(cx.waker().clone());
        }
        self.senders.set(Some(senders));
    }

    fn wake_senders(&self) {
        if let Some(mut senders) = self.senders.take() {
            senders.0.drain(..).for_each(Waker::wake);
            // Who waits now and then finds the memory for it.
            self.senders.set(Some(senders));
        }
    }

    /// Ends the session after what is queued.
    pub(crate) fn close(&self) {
        let now = self.core.now();
        self.machine.borrow_mut().close(now);
        self.settle();
    }

    /// Ends the session now.
    pub(crate) fn abort(&self, reason: CloseReason) {
        self.machine.borrow_mut().abort(reason);
        self.settle();
    }
}

/// For the counters of the core.
impl<T> Session<T> {
    fn count_received(&self, lane: Lane) {
        let transport =
            if lane == Lane::WebSocket { Transport::WebSocket } else { Transport::Polling };
        self.core.counters.add(MESSAGES_RECEIVED, by(transport), 1);
    }

    fn count_queued(&self, queued: usize) {
        let before = self.counted_queued.get();
        if queued != before {
            self.counted_queued.set(queued);
            self.core.counters.add(QUEUED, 0, (queued as u64).wrapping_sub(before as u64));
        }
    }

    /// What waits has changed, also where no message was queued.
    pub(crate) fn recount_queued(&self) {
        if self.closed.get().is_none() {
            self.count_queued(self.queued());
        }
    }

    fn count_upgrade(&self) {
        self.counted_by.set(Transport::WebSocket);
        self.core.counters.upgraded();
    }

    fn count_closed(&self, reason: CloseReason) {
        self.count_queued(0);
        self.core.counters.closed(self.counted_by.get(), reason);
    }
}

/// From connections and the clock.
impl<T> Session<T> {
    pub(crate) fn attach(&self, lane: Lane) -> Result<(), Violation> {
        /// Milliseconds after which a core that missed a deadline was away, and not only late.
        const AWAY: u64 = 100;
        let now = self.core.now();
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
        self.settle();
        result
    }

    pub(crate) fn detach(&self, lane: Lane) {
        self.machine.borrow_mut().detach(lane);
        self.settle();
    }

    pub(crate) fn lost(&self, lane: Lane) {
        self.machine.borrow_mut().lost(lane);
        self.settle();
    }

    pub(crate) fn fail(&self, lane: Lane, reason: CloseReason) {
        self.machine.borrow_mut().fail(lane, reason);
        self.settle();
    }

    /// The rules for one packet. A message is handed on; whatever else it was has had its effect.
    pub(crate) fn handle_packet<'p>(
        &self,
        lane: Lane,
        packet: Packet<'p>,
    ) -> Result<Option<Message<'p>>, Violation> {
        if let Packet::Message(message) = packet {
            let result =
                self.machine.borrow_mut().handle_packet(lane, packet, self.core.turn_time());
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
                    self.settle();
                    Err(violation)
                }
            };
        }
        let result = self.machine.borrow_mut().handle_packet(lane, packet, self.core.now());
        self.settle();
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
        self.settle();
    }

    /// Whether nothing waits in either direction beside what `link` is to send.
    #[inline]
    pub(crate) fn is_calm(&self) -> bool {
        self.taken.get() == 0 && self.inbox.borrow().is_empty() && self.outbox.borrow().is_empty()
    }

    /// Makes `link` the WebSocket of this session.
    pub(crate) fn set_link(&self, link: Rc<Link>) {
        *self.link.borrow_mut() = Some(link);
        self.settle();
    }

    /// Whether `link` is still the WebSocket of this session: a probe that was abandoned is not.
    pub(crate) fn has_link(&self, link: &Rc<Link>) -> bool {
        self.link.borrow().as_ref().is_some_and(|current| Rc::ptr_eq(current, link))
    }

    /// Something was sent: there may be room for more.
    pub(crate) fn drained(&self) {
        // Mostly nothing did wait.
        if !self.outbox.borrow().is_empty() {
            self.flush_link();
        }
        if self.counted_queued.get() > 0 {
            self.recount_queued();
        }
        if let Some(senders) = self.senders.take() {
            let waiting = !senders.0.is_empty();
            self.senders.set(Some(senders));
            if waiting && !self.is_slow() {
                self.wake_senders();
            }
        }
    }

    /// Appends to `body` what the held GET gets now. False: nothing yet, and the task is woken when there is.
    pub(crate) fn poll_get(&self, cx: &mut Context<'_>, body: &mut OutBuf) -> bool {
        let config = &self.core.config;
        let mut encoder = payload::Encoder::new(config.max_payload, config.max_polling_packets);
        loop {
            let outbox = self.outbox.borrow();
            let front = outbox.front().map(Packet::Message);
            if !encoder.has_room(front.as_ref()) {
                break;
            }
            let next = self.machine.borrow_mut().poll_transmit(Lane::Get, front.is_some());
            let packet = match next {
                Some(Transmit::Message) => front,
                Some(Transmit::Control(packet)) => Some(packet),
                Some(Transmit::Open) => {
                    drop(outbox);
                    body.0.push(b'0');
                    self.write_open(body);
                    if let Some(message) = &config.initial_packet {
                        body.0.push(payload::SEPARATOR);
                        never_full(Packet::Message(message.borrow()).encode_text(body));
                    }
                    self.settle();
                    return true;
                }
                Some(Transmit::Hangup) | None => None,
            };
            let Some(packet) = packet else { break };
            let pushed = encoder.push(body, &packet);
            drop(outbox);
            match pushed {
                // It was queued for a WebSocket that came to nothing.
                Ok(payload::PushOutcome::Separator) => {
                    tracing::warn!(sid = %self.sid, "message dropped: {}", SendError::Separator);
                }
                pushed => {
                    debug_assert!(pushed == Ok(payload::PushOutcome::Written), "asked before")
                }
            }
            if next == Some(Transmit::Message) {
                self.outbox.borrow_mut().pop();
            }
        }
        if encoder.is_empty() {
            let known = self.poller.take().filter(|known| known.will_wake(cx.waker()));
            self.poller.set(Some(known.unwrap_or_else(|| cx.waker().clone())));
            return false;
        }
        self.settle();
        self.drained();
        true
    }

    fn write_open(&self, out: &mut OutBuf) {
        let config = &self.core.config;
        let transport = self.transport();
        let open = Open {
            sid: self.sid.clone(),
            upgrades: self.core.upgrades_from(transport),
            ping_interval_ms: self.core.timing.ping_interval_ms + millis(config.ping_grace),
            ping_timeout_ms: self.core.timing.ping_timeout_ms,
            max_payload: u32::try_from(config.max_payload).unwrap_or(u32::MAX),
        };
        never_full(open.encode(out));
    }

    /// The session is in the registry: its first deadline runs.
    pub(crate) fn started(&self) {
        self.settle();
    }

    /// Lets every change take effect: words for the WebSocket, events, wakings, the deadline.
    fn settle(&self) {
        self.flush_link();
        loop {
            let event = self.machine.borrow_mut().poll_event();
            match event {
                Some(Event::Closed(reason)) => self.on_closed(reason),
                Some(Event::Upgraded) => {
                    self.count_upgrade();
                    tracing::trace!(sid = %self.sid, "upgraded");
                    self.wake_senders();
                }
                Some(Event::UpgradeFailed(why)) => {
                    self.core.counters.add(UPGRADES, 1, 1);
                    self.drop_probe();
                    tracing::debug!(sid = %self.sid, %why, "upgrade failed");
                }
                None => break,
            }
        }
        self.wake_poller();
        self.recount_queued();
        if self.closed.get().is_none()
            && let Some(due) = self.machine.borrow().poll_timeout()
        {
            self.core.timers.set(self.timer, due);
        }
    }

    /// Moves what the machine allows from the queue into the WebSocket's frames.
    fn flush_link(&self) {
        let link = self.link.borrow();
        let Some(link) = &*link else { return };
        loop {
            let mut outbox = self.outbox.borrow_mut();
            let next = self.machine.borrow_mut().poll_transmit(Lane::WebSocket, !outbox.is_empty());
            match (next, outbox.front()) {
                (Some(Transmit::Message), Some(message)) => {
                    message.write(link, &self.core.pool, self.base64);
                    outbox.pop();
                }
                (Some(next), _) => self.transmit(link, next),
                (None, _) => break,
            }
        }
    }

    /// Anything but a message, on the WebSocket.
    fn transmit(&self, link: &Rc<Link>, what: Transmit) {
        let pool = &self.core.pool;
        match what {
            Transmit::Open => {
                let mut json = OutBuf::default();
                self.write_open(&mut json);
                let encode =
                    |out: &mut OutBuf| ws::encode(out, ws::Opcode::Text, b"0", &json.0, None);
                link.write(pool, |out| never_full(encode(out)));
                if let Some(message) = &self.core.config.initial_packet {
                    message.borrow().write(link, pool, self.base64);
                }
            }
            Transmit::Control(packet) => link.write(pool, |out| out.frame(packet.frame(), None)),
            Transmit::Hangup => self.hang_up(link),
            Transmit::Message => {}
        }
    }

    /// RFC 6455 7.1.1: our part of the closing handshake.
    fn hang_up(&self, link: &Rc<Link>) {
        let ended = self.machine.borrow().ended();
        let (code, ending) = match ended {
            Some(CloseReason::PingTimeout) => (CloseCode::GOING_AWAY, Ending::Cut),
            None | Some(CloseReason::ServerDisconnect) if self.core.is_shutting_down() => {
                (CloseCode::GOING_AWAY, Ending::Flush)
            }
            Some(CloseReason::HandlerPanicked) => (CloseCode::INTERNAL_ERROR, Ending::Flush),
            Some(CloseReason::PayloadTooLarge) => (CloseCode::TOO_BIG, Ending::Flush),
            Some(CloseReason::ParseError | CloseReason::TransportError) => {
                (CloseCode::PROTOCOL_ERROR, Ending::Flush)
            }
            _ => (CloseCode::NORMAL, Ending::Flush),
        };
        let encode = |out: &mut OutBuf| ws::encode_close(out, Some(code), "", None);
        link.write(&self.core.pool, |out| never_full(encode(out)));
        link.end(ending);
    }

    /// The probing WebSocket is none of ours any more; its task ends it.
    fn drop_probe(&self) {
        if let Some(link) = self.link.borrow_mut().take()
            && link.ending() == Ending::Open
        {
            self.hang_up(&link);
        }
        // What waited on it does not count any more.
        self.wake_senders();
    }

    fn on_closed(&self, reason: CloseReason) {
        self.closed.set(Some(reason));
        self.count_closed(reason);
        self.core.timers.remove(self.timer);
        self.outbox.borrow_mut().clear();
        self.wake_senders();
        self.core.session_closed(self.slot, self.busy.get());
    }

    fn wake_poller(&self) {
        if let Some(poller) = self.poller.take() {
            poller.wake();
        }
    }
}

/// Messages on their way to the handler.
impl<T> Session<T> {
    /// Whether the handler has not finished with an earlier message.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.get()
    }

    pub(crate) fn set_busy(&self) {
        self.busy.set(true);
    }

    /// The handler has finished with everything. True: the session ended meanwhile, say goodbye now.
    pub(crate) fn set_idle(&self) -> bool {
        self.busy.set(false);
        self.closed.get().is_some()
    }

    /// Keeps a message for when the handler has time.
    pub(crate) fn stash(&self, message: Message<'_>) {
        self.inbox.borrow_mut().push(message);
    }

    /// Whether so much waits for the handler that nothing more should be read.
    pub(crate) fn is_inbox_full(&self) -> bool {
        self.inbox.borrow().bytes() + self.taken.get() >= self.core.config.inbound_high_water
    }

    /// Everything that waits for the handler. It still counts, until [`handed_over`](Self::handed_over).
    pub(crate) fn take_inbox(&self) -> Queue {
        let inbox = std::mem::take(&mut *self.inbox.borrow_mut());
        self.hold(inbox.bytes());
        inbox
    }

    /// So many bytes wait for the handler, outside of the inbox.
    pub(crate) fn hold(&self, bytes: usize) {
        self.taken.set(self.taken.get() + bytes);
    }

    /// So many of them do not any more.
    pub(crate) fn handed_over(&self, bytes: usize) {
        self.taken.set(self.taken.get().saturating_sub(bytes));
        if !self.is_inbox_full() {
            self.wake_senders();
        }
    }

    /// Ready when the inbox is not full, or the session has ended.
    pub(crate) fn poll_inbox(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.closed.get().is_some() || !self.is_inbox_full() {
            return Poll::Ready(());
        }
        self.add_sender(cx);
        Poll::Pending
    }
}
