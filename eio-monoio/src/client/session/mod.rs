//! [`Session`]: one session of a client: its state machine, outbox, inbox and wakers.
//!
//! This module alone calls the `handle_*` and `poll_*` methods of the state machine. Each lane that the machine names
//! becomes a task (`client/lanes.rs`) that ends with the lane; one more task waits for the machine's deadline. A
//! session that ends shuts the sockets of its tasks down, so that all of them end when they are polled next.
//!
//! - `application`: calls of the application.
//! - `lanes`: calls of the tasks of lanes.
//! - `effects`: everything that a change of the state machine causes.
//! - `end`: the stages of the end.

mod application;
mod effects;
mod end;
pub(crate) mod lanes;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::os::fd::RawFd;
use std::rc::{Rc, Weak};
use std::task::Poll;

use eio_core::open::Open;
use eio_core::session::{ClientSession, CloseReason, Lane};
use eio_core::sid::Sid;
use eio_core::transport::Transport;

use crate::client::cookies::CookieJar;
use crate::client::error::Fault;
use crate::client::http::IdleConn;
use crate::client::inbox::Inbox;
use crate::client::session::end::{End, Stage};
use crate::client::settings::Settings;
use crate::io::message_queue::MessageQueue;
use crate::io::outgoing::Outgoing;
use crate::io::ws_sender::WsSender;
use crate::message::OutBuf;
use crate::worker::context::{ShutdownHook, WorkerContext};
use crate::worker::deadline::Deadline;
use crate::worker::tasks::WithGuard;
use crate::worker::wakers::Wakers;

/// Starts the task of a lane: a GET, a POST with this body, or a WebSocket.
pub(crate) type RunLane = fn(&Rc<Session>, Lane, OutBuf);

/// One session of a client. It stays on the worker on which it was started.
pub(crate) struct Session {
    pub(crate) worker: Rc<WorkerContext>,
    pub(crate) settings: Rc<Settings>,
    run_lane: RunLane,
    pub(crate) cookies: RefCell<CookieJar>,
    machine: RefCell<ClientSession>,
    /// The open packet.
    opened: RefCell<Option<Open>>,
    outgoing: Outgoing,
    /// Messages that were queued, or in a POST that failed, when the session ended.
    undelivered: RefCell<MessageQueue>,
    inbox: RefCell<Inbox>,
    /// The WebSocket of a failed upgrade, during its closing handshake.
    closing_probe: RefCell<Option<Rc<WsSender>>>,
    /// Connections that no polling request uses.
    idle_conns: RefCell<Vec<IdleConn>>,
    /// The sockets of the GET, the POST and a WebSocket that is being opened, to shut them down.
    sockets: [Cell<Option<RawFd>>; 3],
    /// The first fault on the wire that ended the session.
    fault: RefCell<Option<Box<Fault>>>,
    /// The first fault on the wire that ended the upgrade.
    upgrade_fault: RefCell<Option<Box<Fault>>>,
    closed: Cell<Option<CloseReason>>,
    end: End,
    /// The WebSocket that is being opened is not needed any more.
    ws_cancelled: Cell<bool>,
    /// The number of this session's tasks.
    tasks: Cell<usize>,
    /// Tasks that wait for an event.
    receivers: Wakers,
    /// Tasks that wait for room in the outbox, or for it to be empty.
    senders: Wakers,
    /// Tasks that wait for any other change: the open packet, room in the inbox, the end.
    watchers: Wakers,
    timer: Deadline,
    shutdown_hook: Cell<usize>,
}

impl Session {
    /// Starts a session over `transport`.
    pub(crate) fn start(
        worker: Rc<WorkerContext>,
        settings: Rc<Settings>,
        transport: Transport,
        upgrade: bool,
        run_lane: RunLane,
    ) -> Rc<Self> {
        let machine = ClientSession::new(transport, upgrade, settings.timing(), worker.now());
        let session = Rc::new(Self {
            machine: RefCell::new(machine),
            settings,
            run_lane,
            cookies: RefCell::default(),
            opened: RefCell::default(),
            outgoing: Outgoing::default(),
            undelivered: RefCell::default(),
            inbox: RefCell::default(),
            closing_probe: RefCell::default(),
            idle_conns: RefCell::default(),
            sockets: Default::default(),
            fault: RefCell::default(),
            upgrade_fault: RefCell::default(),
            closed: Cell::new(None),
            end: End::default(),
            ws_cancelled: Cell::new(false),
            tasks: Cell::new(0),
            receivers: Wakers::default(),
            senders: Wakers::default(),
            watchers: Wakers::default(),
            timer: Deadline::new(worker.clone()),
            shutdown_hook: Cell::new(0),
            worker,
        });
        let shutdown_hook: Weak<Self> = Rc::downgrade(&session);
        session.shutdown_hook.set(session.worker.add_shutdown_hook(shutdown_hook));
        let timed = session.clone();
        session.spawn(async move { timed.run_timer().await });
        session.apply_effects();
        session
    }

    /// Handles timeouts of the state machine until the session has ended.
    async fn run_timer(self: Rc<Self>) {
        while self.closed.get().is_none() {
            let expired = poll_fn(|cx| {
                if self.closed.get().is_some() {
                    return Poll::Ready(false);
                }
                self.watchers.add(cx);
                self.timer.poll(cx).map(|()| true)
            });
            if expired.await {
                let now = self.worker.now();
                {
                    let mut machine = self.machine.borrow_mut();
                    // The server's ping may have arrived in time, but is not read because the application is slow.
                    if self.is_inbox_full() && machine.poll_timeout().is_some_and(|due| due <= now)
                    {
                        machine.extend(now);
                    }
                    machine.handle_timeout(now);
                }
                self.apply_effects();
            }
        }
    }

    /// Spawns a task of this session.
    pub(crate) fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        /// Counts a task until it is dropped.
        struct Counted(Rc<Session>);

        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.tasks.set(self.0.tasks.get() - 1);
                self.0.watchers.wake_all();
            }
        }

        self.tasks.set(self.tasks.get() + 1);
        self.worker.tasks.spawn(WithGuard { future: task, guard: Counted(self.clone()) });
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
        self.fault.borrow().as_deref().cloned()
    }

    pub(crate) fn upgrade_fault(&self) -> Option<Fault> {
        self.upgrade_fault.borrow().as_deref().cloned()
    }

    pub(crate) fn sid(&self) -> Option<Sid> {
        self.opened.borrow().as_ref().map(|open| open.sid.clone())
    }

    pub(crate) fn max_payload(&self) -> usize {
        let opened = self.opened.borrow();
        opened.as_ref().map_or(usize::MAX, |open| match open.max_payload {
            // The open packet announces no limit.
            u32::MAX => usize::MAX,
            max => max as usize,
        })
    }

    /// Bytes that are not sent yet.
    pub(crate) fn queued(&self) -> usize {
        if self.closed.get().is_some() { 0 } else { self.outgoing.queued() }
    }

    fn is_outbox_full(&self) -> bool {
        self.queued() >= self.settings.options.outbound_high_water
    }

    fn is_inbox_full(&self) -> bool {
        self.inbox.borrow().bytes() >= self.settings.options.inbound_high_water
    }
}

impl ShutdownHook for Session {
    fn close(self: Rc<Self>) {
        Session::close(&self);
    }

    fn worker_ended(self: Rc<Self>) {
        // The session's tasks have ended, or will never be polled again.
        if self.closed.get().is_none() {
            self.on_closed(CloseReason::TransportClose);
        }
        self.end.advance(Stage::WorkerEnded);
        self.timer.disarm();
        drop((self.outgoing.take_ws(), self.closing_probe.take(), self.idle_conns.take()));
        for wakers in [&self.receivers, &self.senders, &self.watchers] {
            wakers.clear();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.worker.remove_shutdown_hook(self.shutdown_hook.get());
    }
}

fn index(lane: Lane) -> usize {
    match lane {
        Lane::Get => 0,
        Lane::Post => 1,
        Lane::WebSocket => 2,
    }
}
