//! [`Session`]: the core's state machine of one session, what is to be sent and what came, and who is woken.
//!
//! The only place that calls the machine's `handle_*` and `poll_*`. Each lane the machine asks for becomes a
//! task ([`polling`], [`websocket`]) that ends with the lane; one more task keeps the machine's deadline. A
//! session that ends cuts the sockets of its tasks, so that all of them end within a turn of the core.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::os::fd::RawFd;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use eio_core::open::Open;
use eio_core::packet::{Message, Packet};
use eio_core::payload;
use eio_core::session::client::{Figures, Transmit};
use eio_core::session::{ClientSession, CloseReason, Event, Lane, Violation};
use eio_core::sid::Sid;
use eio_core::transport::Transport;
use eio_core::ws::{self, CloseCode};

use crate::client::cookies::Jar;
use crate::client::error::{Closed, Fault, SendError};
use crate::client::event;
use crate::client::inbox::{Inbox, Item, Notice};
use crate::client::settings::Settings;
use crate::client::{polling, websocket};
use crate::line::{Deadline, Line};
use crate::local::{Local, Resident};
use crate::message::{OutBuf, never_full};
use crate::net;
use crate::session::link::{Ending, Link};
use crate::session::queue::Queue;
use crate::shard::tasks::With;

/// One session of a client, on the core it was begun on.
pub(crate) struct Session {
    pub(crate) local: Rc<Local>,
    pub(crate) settings: Rc<Settings>,
    pub(crate) cookies: RefCell<Jar>,
    machine: RefCell<ClientSession>,
    /// What the open packet said.
    opened: RefCell<Option<Open>>,
    /// What no lane could take yet.
    outbox: RefCell<Queue>,
    inbox: RefCell<Inbox>,
    /// The WebSocket, from its 101 on, also while it is only probed.
    link: RefCell<Option<Rc<Link>>>,
    /// One that came to nothing, while it takes its leave.
    leaving: RefCell<Option<Rc<Link>>>,
    /// Connections between two polling requests, and until when they may be used again.
    idle: RefCell<Vec<polling::Idle>>,
    /// The sockets of GET, POST and a WebSocket being opened, to be cut.
    sockets: [Cell<Option<RawFd>>; 3],
    /// The first thing that went wrong on the wire.
    fault: RefCell<Option<Fault>>,
    closed: Cell<Option<CloseReason>>,
    /// The application does not wait for last words.
    aborted: Cell<bool>,
    /// Nothing of this session is to be waited for any more.
    cut: Cell<bool>,
    /// A WebSocket that is still being opened is not wanted any more.
    hung_up: Cell<bool>,
    /// Tasks of this session.
    tasks: Cell<usize>,
    /// Whoever waits in `next`.
    receivers: Waiting,
    /// Whoever waits for room in the queue, or for it to run empty.
    senders: Waiting,
    /// Whoever waits for anything else: the open packet, room in the inbox, the end.
    watchers: Waiting,
    timer: Deadline,
    /// The core has ended.
    retired: Cell<bool>,
    resident: Cell<usize>,
}

/// Wakers of tasks that wait for the same thing.
#[derive(Default)]
struct Waiting(RefCell<Vec<Waker>>);

impl Waiting {
    fn add(&self, cx: &Context<'_>) {
        let mut wakers = self.0.borrow_mut();
        if !wakers.iter().any(|known| known.will_wake(cx.waker())) {
            wakers.push(cx.waker().clone());
        }
    }

    fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    fn wake(&self) {
        self.0.borrow_mut().drain(..).for_each(Waker::wake);
    }
}

impl Session {
    /// Begins a session on `transport`.
    pub(crate) fn start(
        local: Rc<Local>,
        settings: Rc<Settings>,
        transport: Transport,
        upgrade: bool,
    ) -> Rc<Self> {
        let machine = ClientSession::new(transport, upgrade, settings.timing(), local.now());
        let session = Rc::new(Self {
            machine: RefCell::new(machine),
            settings,
            cookies: RefCell::default(),
            opened: RefCell::default(),
            outbox: RefCell::default(),
            inbox: RefCell::default(),
            link: RefCell::default(),
            leaving: RefCell::default(),
            idle: RefCell::default(),
            sockets: Default::default(),
            fault: RefCell::default(),
            closed: Cell::new(None),
            aborted: Cell::new(false),
            cut: Cell::new(false),
            hung_up: Cell::new(false),
            tasks: Cell::new(0),
            receivers: Waiting::default(),
            senders: Waiting::default(),
            watchers: Waiting::default(),
            timer: Deadline::new(local.clone()),
            retired: Cell::new(false),
            resident: Cell::new(0),
            local,
        });
        let resident: Weak<Self> = Rc::downgrade(&session);
        session.resident.set(session.local.add_resident(resident));
        let clock = session.clone();
        session.spawn(async move { clock.keep_time().await });
        session.settle();
        session
    }

    /// Lets time take effect until the session has ended.
    async fn keep_time(self: Rc<Self>) {
        while self.closed.get().is_none() {
            let expired = poll_fn(|cx| {
                if self.closed.get().is_some() {
                    return Poll::Ready(false);
                }
                self.watchers.add(cx);
                self.timer.poll(cx).map(|()| true)
            });
            if expired.await {
                let now = self.local.now();
                {
                    let mut machine = self.machine.borrow_mut();
                    // What the server sent in time lies unread because the application is slow.
                    if self.is_inbox_full() && machine.poll_timeout().is_some_and(|due| due <= now)
                    {
                        machine.extend(now);
                    }
                    machine.handle_timeout(now);
                }
                self.settle();
            }
        }
    }

    fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        /// Says that a task is done, also if it is dropped.
        struct Counted(Rc<Session>);

        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.tasks.set(self.0.tasks.get() - 1);
                self.0.watchers.wake();
            }
        }

        self.tasks.set(self.tasks.get() + 1);
        self.local.tasks.spawn(With { future: task, guard: Counted(self.clone()) });
    }
}

/// Getters.
impl Session {
    pub(crate) fn transport(&self) -> Transport {
        self.machine.borrow().transport()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.machine.borrow().is_open() && self.closed.get().is_none()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.machine.borrow().is_closing()
    }

    pub(crate) fn closed(&self) -> Option<CloseReason> {
        self.closed.get()
    }

    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault.borrow().clone()
    }

    pub(crate) fn sid(&self) -> Option<Sid> {
        self.opened.borrow().as_ref().map(|open| open.sid.clone())
    }

    pub(crate) fn max_payload(&self) -> usize {
        let opened = self.opened.borrow();
        opened.as_ref().map_or(usize::MAX, |open| match open.max_payload {
            // Protocol: no limit was announced.
            u32::MAX => usize::MAX,
            max => max as usize,
        })
    }

    /// Bytes that wait to be sent.
    pub(crate) fn queued(&self) -> usize {
        let link = self.link.borrow();
        self.outbox.borrow().bytes() + link.as_ref().map_or(0, |link| link.queued())
    }

    fn is_slow(&self) -> bool {
        self.queued() >= self.settings.options.outbound_high_water
    }

    fn is_inbox_full(&self) -> bool {
        self.inbox.borrow().bytes() >= self.settings.options.inbound_high_water
    }
}

/// From the application.
impl Session {
    pub(crate) fn try_send(self: &Rc<Self>, message: Message<'_>) -> Result<(), SendError> {
        if !self.is_open() || self.is_closing() {
            return Err(SendError::NotConnected);
        }
        let packet = Packet::Message(message);
        self.admit(&packet)?;
        if self.is_slow() {
            return Err(SendError::Full);
        }
        if self.outbox.borrow().is_empty()
            && let Some(link) = &*self.link.borrow()
        {
            loop {
                let next = self.machine.borrow_mut().poll_transmit(Lane::WebSocket, true);
                match next {
                    Some(Transmit::Message) => {
                        self.write_frame(link, &packet);
                        return Ok(());
                    }
                    Some(other) => self.transmit(link, other),
                    None => break,
                }
            }
        }
        self.outbox.borrow_mut().push(message);
        self.settle();
        Ok(())
    }

    /// Whether the server takes this at all.
    fn admit(&self, packet: &Packet<'_>) -> Result<(), SendError> {
        let max = self.max_payload().min(u32::MAX as usize);
        let frame = packet.frame();
        let len = match self.transport() {
            // Nobody knows yet which of the two will carry it: the larger one must fit.
            Transport::Polling => packet.text_len(),
            Transport::WebSocket => frame.prefix.len() + frame.data.len(),
        };
        if len > max {
            return Err(SendError::TooLarge { len, max });
        }
        // Protocol, "Payload encoding": packets are separated by U+001E, and there is no escape.
        let separates = self.transport() == Transport::Polling && !frame.binary;
        if separates && frame.data.contains(&payload::SEPARATOR) {
            return Err(SendError::Separator);
        }
        Ok(())
    }

    /// Ready when [`try_send`](Self::try_send) would not answer Full.
    pub(crate) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if self.closed.get().is_some() || !self.is_slow() {
            return Poll::Ready(());
        }
        self.senders.add(cx);
        Poll::Pending
    }

    /// Ready when nothing waits to be sent any more, or never will be.
    pub(crate) fn poll_flushed(&self, cx: &Context<'_>) -> Poll<()> {
        let sending = self.machine.borrow().attached(Lane::Post);
        if self.closed.get().is_some() || (self.queued() == 0 && !sending) {
            return Poll::Ready(());
        }
        self.senders.add(cx);
        Poll::Pending
    }

    /// Ready when the open packet came, or the session ended without one: one that ended right behind it was
    /// open, and what came in between is the application's.
    pub(crate) fn poll_open(&self, cx: &Context<'_>) -> Poll<bool> {
        let opened = self.machine.borrow().is_open();
        if opened || self.closed.get().is_some() {
            return Poll::Ready(opened);
        }
        self.watchers.add(cx);
        Poll::Pending
    }

    /// Ready when the session has ended and nothing of it is left on this core.
    pub(crate) fn poll_gone(&self, cx: &Context<'_>) -> Poll<()> {
        if self.closed.get().is_some() && self.tasks.get() == 0 {
            return Poll::Ready(());
        }
        self.watchers.add(cx);
        Poll::Pending
    }

    /// The next event; `None` once the end was told.
    pub(crate) fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<event::Event>> {
        let mut inbox = self.inbox.borrow_mut();
        let was_full = inbox.bytes() >= self.settings.options.inbound_high_water;
        let event = match inbox.front() {
            None if inbox.is_over() => return Poll::Ready(None),
            None => {
                self.receivers.add(cx);
                return Poll::Pending;
            }
            Some(Item::Message(message)) => {
                event::Event::Message(event::Received::new(message, &self.local.pool))
            }
            Some(Item::Notice(Notice::Upgraded)) => event::Event::Upgraded,
            Some(Item::Notice(Notice::UpgradeFailed(why))) => event::Event::UpgradeFailed(why),
            Some(Item::Notice(Notice::Closed(reason))) => {
                event::Event::Closed(Closed { reason, detail: self.fault() })
            }
        };
        inbox.pop();
        drop(inbox);
        if was_full && !self.is_inbox_full() {
            self.watchers.wake();
        }
        Poll::Ready(Some(event))
    }

    /// Ends the session after what is queued.
    pub(crate) fn close(self: &Rc<Self>) {
        if self.retired.get() {
            return;
        }
        let now = self.local.now();
        self.machine.borrow_mut().close(now);
        self.settle();
    }

    /// Ends the session now; the server is told as far as that takes no time.
    pub(crate) fn abort(self: &Rc<Self>) {
        if self.retired.get() {
            return;
        }
        self.aborted.set(true);
        self.machine.borrow_mut().abort(CloseReason::ClientDisconnect);
        self.settle();
        for link in [&self.link, &self.leaving] {
            if let Some(link) = &*link.borrow() {
                link.end(Ending::Cut);
            }
        }
    }

    /// Ends the session and everything of it at the next turn of its tasks.
    pub(crate) fn cut(self: &Rc<Self>) {
        if !self.retired.get() {
            self.abort();
            self.cut_off();
        }
    }
}

/// From lanes and the clock.
impl Session {
    /// The WebSocket is open. False: it is not wanted any more.
    pub(crate) fn connected(self: &Rc<Self>, link: &Rc<Link>) -> bool {
        let wanted = self.machine.borrow_mut().handle_connected().is_ok();
        if wanted {
            *self.link.borrow_mut() = Some(link.clone());
            self.settle();
        }
        wanted
    }

    /// Whether `link` is still the WebSocket of this session: a probe that was abandoned is not.
    pub(crate) fn has_link(&self, link: &Rc<Link>) -> bool {
        self.link.borrow().as_ref().is_some_and(|current| Rc::ptr_eq(current, link))
    }

    /// The lane's request is done.
    pub(crate) fn detach(self: &Rc<Self>, lane: Lane) {
        self.machine.borrow_mut().detach(lane);
        self.settle();
        if !self.is_slow() {
            self.senders.wake();
        }
    }

    /// The lane failed, because of this.
    pub(crate) fn lost(self: &Rc<Self>, lane: Lane, fault: Fault) {
        self.blame(lane, fault);
        self.machine.borrow_mut().lost(lane);
        self.settle();
    }

    /// What came on the lane is wrong.
    pub(crate) fn fail(self: &Rc<Self>, lane: Lane, reason: CloseReason, fault: Fault) {
        self.blame(lane, fault);
        self.machine.borrow_mut().fail(lane, reason);
        self.settle();
    }

    /// Remembers what went wrong first with the session; an upgrade that fails is not its end.
    fn blame(&self, lane: Lane, fault: Fault) {
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
            self.blame(lane, Fault::NotOpened);
        }
        if let Packet::Message(_) = packet {
            let now = self.local.turn_time();
            let handled = self.machine.borrow_mut().handle_packet(lane, packet, now);
            return match handled {
                Ok(message) => {
                    if let Some(message) = message {
                        self.inbox.borrow_mut().push(message);
                        self.receivers.wake();
                    }
                    true
                }
                Err(violation) => self.violated(violation),
            };
        }
        let now = self.local.now();
        let handled = self.machine.borrow_mut().handle_packet(lane, packet, now);
        match handled {
            Ok(_) => {
                self.settle();
                true
            }
            Err(violation) => self.violated(violation),
        }
    }

    fn violated(self: &Rc<Self>, violation: Violation) -> bool {
        tracing::debug!(%violation, "the server broke a rule, or speaks after the end");
        self.settle();
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
        let figures = Figures {
            ping_interval: open.ping_interval,
            ping_timeout: open.ping_timeout,
            offers_websocket: open.upgrades.contains(Transport::WebSocket),
        };
        *self.opened.borrow_mut() = Some(open);
        let handled = self.machine.borrow_mut().handle_open(figures, self.local.now());
        self.watchers.wake();
        self.settle();
        handled.is_ok()
    }

    /// Something was sent: there may be room for more.
    pub(crate) fn drained(&self) {
        self.flush_link();
        if !self.senders.is_empty() && !self.is_slow() {
            self.senders.wake();
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
        self.cut.get() || (lane == Lane::WebSocket && self.hung_up.get())
    }

    /// How long a request may take now.
    pub(crate) fn patience(&self) -> Duration {
        /// For a last word after an abort.
        const BRIEF: Duration = Duration::from_secs(2);
        let timeout = self.settings.options.request_timeout;
        if self.aborted.get() { timeout.min(BRIEF) } else { timeout }
    }

    /// Says which socket works for a lane, so that it can be cut.
    pub(crate) fn set_socket(&self, lane: Lane, fd: Option<RawFd>) {
        self.sockets[index(lane)].set(fd);
    }

    /// A connection that waits for a request, and may be used for one.
    pub(crate) fn take_idle(&self) -> Option<Line> {
        polling::usable(&mut self.idle.borrow_mut(), self.local.now())
    }

    /// Keeps a connection for another request.
    pub(crate) fn give_idle(&self, idle: polling::Idle) {
        if self.closed.get().is_none() && self.transport() == Transport::Polling {
            self.idle.borrow_mut().push(idle);
        }
    }
}

impl Resident for Session {
    fn close(self: Rc<Self>) {
        Session::close(&self);
    }

    fn retire(self: Rc<Self>) {
        // Its tasks have ended, or never will.
        if self.closed.get().is_none() {
            self.on_closed(CloseReason::TransportClose);
        }
        self.retired.set(true);
        self.timer.disarm();
        drop((self.link.take(), self.leaving.take(), self.idle.take()));
        for waiting in [&self.receivers, &self.senders, &self.watchers] {
            waiting.0.borrow_mut().clear();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.local.remove_resident(self.resident.get());
    }
}

fn index(lane: Lane) -> usize {
    match lane {
        Lane::Get => 0,
        Lane::Post => 1,
        Lane::WebSocket => 2,
    }
}

/// What the machine wants.
impl Session {
    /// Lets every change take effect: lanes, words for them, events, wakings, the deadline.
    fn settle(self: &Rc<Self>) {
        loop {
            let queued = !self.outbox.borrow().is_empty();
            let lane = self.machine.borrow_mut().poll_lane(queued);
            match lane {
                Some(lane) => self.start_lane(lane),
                None => break,
            }
        }
        self.flush_link();
        loop {
            let event = self.machine.borrow_mut().poll_event();
            match event {
                Some(Event::Closed(reason)) => self.on_closed(reason),
                Some(Event::Upgraded) => {
                    self.settings.upgraded_before.set(true);
                    self.idle.borrow_mut().clear();
                    self.tell(Notice::Upgraded);
                }
                Some(Event::UpgradeFailed(why)) => {
                    self.settings.upgraded_before.set(false);
                    self.drop_probe();
                    self.tell(Notice::UpgradeFailed(why));
                }
                None => break,
            }
        }
        if self.closed.get().is_some() {
            // The server hears of an end over polling by a POST: until that is through, the GET stays, for
            // its loss would be the end the server sees first.
            if !self.machine.borrow().attached(Lane::Post) {
                self.cut_polling();
            }
        } else if let Some(due) = self.machine.borrow().poll_timeout() {
            self.timer.set_at(due);
        }
    }

    fn start_lane(self: &Rc<Self>, lane: Lane) {
        match lane {
            Lane::Get => self.spawn(polling::get(self.clone())),
            Lane::Post => {
                let mut body = OutBuf(self.local.pool.take_send());
                if self.fill_post(&mut body) {
                    self.spawn(polling::post(self.clone(), body));
                } else {
                    self.machine.borrow_mut().detach(lane);
                }
            }
            Lane::WebSocket => self.spawn(websocket::run(self.clone())),
        }
    }

    /// Writes what goes into one POST. False: nothing.
    fn fill_post(&self, body: &mut OutBuf) -> bool {
        /// python-engineio answers 200 to a body of more packets, and drops all of them (protocol 2.3.14).
        const MOST_PACKETS: usize = 16;
        let mut encoder = payload::Encoder::new(self.max_payload(), MOST_PACKETS);
        loop {
            let mut outbox = self.outbox.borrow_mut();
            let front = outbox.front().map(Packet::Message);
            if !encoder.has_room(front.as_ref()) {
                break;
            }
            let next = self.machine.borrow_mut().poll_transmit(Lane::Post, front.is_some());
            let packet = match next {
                Some(Transmit::Message) => front,
                Some(Transmit::Control(packet)) => Some(packet),
                Some(Transmit::Hangup) | None => None,
            };
            let Some(packet) = packet else { break };
            let pushed = encoder.push(body, &packet);
            debug_assert!(pushed == Ok(payload::Pushed::Yes), "admitted, and asked before");
            if next == Some(Transmit::Message) {
                outbox.pop();
            }
        }
        !encoder.is_empty()
    }

    /// Moves what the machine allows from the queue into the WebSocket's frames.
    fn flush_link(&self) {
        let link = self.link.borrow();
        loop {
            let mut outbox = self.outbox.borrow_mut();
            let next = self.machine.borrow_mut().poll_transmit(Lane::WebSocket, !outbox.is_empty());
            match (next, &*link, outbox.front()) {
                (Some(Transmit::Message), Some(link), Some(message)) => {
                    self.write_frame(link, &Packet::Message(message));
                    outbox.pop();
                }
                (Some(next), Some(link), _) => self.transmit(link, next),
                // It is still being opened, and not wanted any more.
                (Some(_), None, _) => {
                    drop(outbox);
                    self.hung_up.set(true);
                    self.cut_socket(Lane::WebSocket);
                    self.watchers.wake();
                }
                (None, ..) => break,
            }
        }
    }

    fn write_frame(&self, link: &Link, packet: &Packet<'_>) {
        link.ensure_buffer(&self.local.pool);
        link.write(|out| out.frame_with(packet, Some(self.local.mask())));
    }

    /// Anything but a message, on the WebSocket.
    fn transmit(&self, link: &Rc<Link>, what: Transmit) {
        match what {
            Transmit::Control(packet) => self.write_frame(link, &packet),
            Transmit::Hangup => self.hang_up(link),
            Transmit::Message => {}
        }
    }

    /// RFC 6455 7.1.1: our part of the closing handshake.
    fn hang_up(&self, link: &Rc<Link>) {
        let ended = self.machine.borrow().ended();
        let (code, ending) = match ended {
            Some(CloseReason::PingTimeout) => (CloseCode::GOING_AWAY, Ending::Cut),
            Some(CloseReason::PayloadTooLarge) => (CloseCode::TOO_BIG, Ending::Flush),
            Some(CloseReason::ParseError | CloseReason::TransportError) => {
                (CloseCode::PROTOCOL_ERROR, Ending::Flush)
            }
            _ => (CloseCode::NORMAL, Ending::Flush),
        };
        link.ensure_buffer(&self.local.pool);
        let mask = Some(self.local.mask());
        link.write(|out| never_full(ws::encode_close(out, Some(code), "", mask)));
        link.end(ending);
    }

    /// The probing WebSocket is none of ours any more; its task ends it.
    fn drop_probe(&self) {
        let probe = self.link.borrow_mut().take();
        if let Some(link) = probe
            && link.ending() == Ending::Open
        {
            self.hang_up(&link);
            *self.leaving.borrow_mut() = Some(link);
        }
    }

    fn tell(&self, notice: Notice) {
        self.inbox.borrow_mut().tell(notice);
        self.receivers.wake();
        self.watchers.wake();
    }

    fn on_closed(&self, reason: CloseReason) {
        self.closed.set(Some(reason));
        self.timer.clear();
        self.outbox.borrow_mut().clear();
        self.idle.borrow_mut().clear();
        if reason == CloseReason::PingTimeout {
            // The peer is not there to hear of it.
            self.cut.set(true);
        }
        self.tell(Notice::Closed(reason));
        self.senders.wake();
    }

    fn cut_off(&self) {
        self.cut.set(true);
        self.cut_polling();
        self.cut_socket(Lane::WebSocket);
        self.watchers.wake();
    }

    fn cut_polling(&self) {
        self.cut.set(true);
        self.cut_socket(Lane::Get);
        self.cut_socket(Lane::Post);
        self.watchers.wake();
    }

    fn cut_socket(&self, lane: Lane) {
        if let Some(fd) = self.sockets[index(lane)].get() {
            net::abort(fd);
        }
    }
}
