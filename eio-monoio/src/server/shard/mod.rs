//! [`Shard`]: the part of a server's state that one worker owns, with the worker's handler.

mod barrier;
pub(crate) mod defer_accept;
pub(crate) mod disk;
mod drain;
pub(crate) mod gather;
pub(crate) mod heartbeats;
mod other_nodes;
pub(crate) mod plan;
pub(crate) mod registry;
pub(crate) mod replies;
pub(crate) mod run;
pub(crate) mod shared;
pub(crate) mod timing;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Deref;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use eio_core::packet::Message;
use eio_core::session::CloseReason;
use eio_core::sid::Sid;
use eio_core::time::Instant;
use eio_core::transport::Transport;
use eio_core::ws::deflate::Terms;
use eio_core::ws::{CloseCode, Role};
use slab::Slab;

use crate::deflate::{Inward, Outward, PerMessageDeflate};
use crate::error::SendError;
use crate::io::limits::ConnEnv;
use crate::io::raw_websocket::PlainSocket;
use crate::message::Encoded;
use crate::metrics::{Counters, DropReason, HANDLER, HandlerCall};
use crate::server::cause::Cause;
use crate::server::config::Config;
use crate::server::hooks::{Hooks, OnRawWebSocket};
use crate::server::session::env::{SessionEnv, Sessions};
use crate::server::session::{NewSession, Session};
use crate::server::shard::defer_accept::DeferAccept;
use crate::server::shard::disk::{Disk, Reply};
use crate::server::shard::plan::Plan;
use crate::server::shard::registry::{NoSid, Registry};
use crate::server::shard::replies::Replies;
use crate::server::shard::shared::{CallNumber, Except, ServerShared, ShardMessage};
use crate::server::shard::timing::MessageTiming;
use crate::web::compress::Deflater;
use crate::web::persistence::KeepAlive;
use crate::web::proxy::Trusted;
use crate::worker::clock;
use crate::worker::context::WorkerContext;
use crate::worker::tasks::Guarded;
use crate::worker::timers::Target;
use crate::worker::wakers::{WakerSlot, Wakers};

/// A shard with the worker's handler.
pub(crate) struct Shard<H: crate::Handler> {
    pub(crate) handler: Guarded<H>,
    pub(crate) state: Rc<ShardState<H::Session>>,
}

impl<H: crate::Handler> Shard<H> {
    fn new(handler: H, state: Rc<ShardState<H::Session>>) -> Self {
        Self { handler: Guarded::new(handler), state }
    }
}

/// A shard without the handler.
pub(crate) struct ShardState<T> {
    pub(crate) worker: Rc<WorkerContext>,
    env: Rc<SessionEnv<T>>,
    pub(crate) id: u16,
    pub(crate) config: Arc<Config>,
    pub(crate) conn_env: Rc<ConnEnv>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) timing: MessageTiming,
    pub(crate) shared: Arc<ServerShared>,
    /// The application's function for WebSockets on other paths.
    pub(crate) on_raw_websocket: Option<OnRawWebSocket>,
    pub(crate) hooks: Hooks,
    pub(crate) trusted: Vec<Trusted>,
    pub(crate) refused_networks: Vec<Trusted>,
    pub(crate) deflater: Deflater,
    pub(crate) keep_alive: KeepAlive,
    /// The threads that read files, if the server has static files.
    pub(crate) disk: Option<Arc<Disk>>,
    /// Replies of those threads, for connections that wait for them.
    pub(crate) reads: Replies<Reply>,
    /// Replies of other workers to a [barrier](Self::barrier).
    barriers: Replies<()>,
    registry: RefCell<Registry<Session<T>>>,
    /// Open WebSockets that are not Engine.IO's.
    raw_websockets: RefCell<Slab<Rc<PlainSocket>>>,
    /// Sessions that have ended and whose disconnect callback is due.
    closed_sessions: RefCell<VecDeque<Rc<Session<T>>>>,
    disconnect_task: WakerSlot,
    pub(crate) defer_accept: DeferAccept,
    /// Listeners that other processes share are left to them.
    left_listeners: Cell<bool>,
    /// Woken when the worker stops accepting, or leaves its listeners.
    acceptors: Wakers,
    /// Handlers of ended sessions, woken when the worker stops waiting for them.
    ended_handlers: Wakers,
}

impl<T> Deref for ShardState<T> {
    type Target = WorkerContext;

    fn deref(&self) -> &WorkerContext {
        &self.worker
    }
}

impl<T: 'static> ShardState<T> {
    pub(crate) fn new(plan: &Plan) -> Rc<Self> {
        let counters = plan.shared.counters[usize::from(plan.id)].clone();
        let worker = Rc::<WorkerContext>::default();
        worker.set_thread_pool(plan.shared.thread_pool.clone());
        Rc::new_cyclic(|this: &Weak<Self>| Self {
            env: Rc::new(SessionEnv {
                worker: worker.clone(),
                config: plan.config.clone(),
                timing: plan.config.timing(),
                counters: counters.clone(),
                shared: plan.shared.clone(),
                server: this.clone(),
            }),
            conn_env: ConnEnv::new(worker.clone(), plan.config.limits(counters.clone())),
            worker,
            id: plan.id,
            counters,
            timing: MessageTiming::new(plan.config.time_messages),
            registry: RefCell::new(Registry::new(
                plan.shared.key.clone(),
                plan.id,
                plan.shared.directory.clone(),
            )),
            config: plan.config.clone(),
            shared: plan.shared.clone(),
            on_raw_websocket: plan.on_raw_websocket.clone(),
            hooks: plan.hooks.clone(),
            trusted: plan.config.trusted(),
            refused_networks: plan.config.refused(),
            deflater: Deflater::fast(),
            keep_alive: KeepAlive::new(plan.config.idle_timeout),
            disk: plan.disk.clone(),
            reads: Replies::default(),
            barriers: Replies::default(),
            raw_websockets: RefCell::default(),
            closed_sessions: RefCell::default(),
            disconnect_task: WakerSlot::default(),
            defer_accept: DeferAccept::default(),
            left_listeners: Cell::new(false),
            acceptors: Wakers::default(),
            ended_handlers: Wakers::default(),
        })
    }
}

/// WebSockets.
impl<T> ShardState<T> {
    /// The compressor and decompressor of a connection with these terms.
    pub(crate) fn deflate(
        &self,
        terms: Option<Terms>,
    ) -> (Option<Box<Outward>>, Option<Box<Inward>>) {
        let options_and_terms = self.config.per_message_deflate.as_ref().zip(terms);
        let create = |(options, terms): (&PerMessageDeflate, Terms)| {
            options.begin(&self.worker, Role::Server, &terms, self.config.max_payload)
        };
        options_and_terms.map(create).unzip()
    }
}

/// Measurements.
impl<T> ShardState<T> {
    /// Counts the time of a function of the application that was called at `started`.
    pub(crate) fn count_time(&self, call: HandlerCall, started: std::time::Instant) {
        self.counters.observe(HANDLER, call as usize, clock::read().duration_since(started));
    }
}

/// Sessions.
impl<T> ShardState<T> {
    /// Opens a session.
    pub(crate) fn open(self: &Rc<Self>, mut new: NewSession<T>) -> Result<Rc<Session<T>>, NoSid> {
        let (generated, opened_at) = (new.sid.take(), self.shared.calls.latest());
        let session = self.registry.borrow_mut().insert_with(generated, |sid, slot| {
            let timer = self.timers.insert(Target::Session(slot));
            Rc::new(Session::new(self.env.clone(), opened_at, new, sid, slot, timer))
        })?;
        session.registered();
        self.shared.sessions.fetch_add(1, Ordering::Relaxed);
        self.counters.opened(session.transport());
        self.live.add();
        Ok(session)
    }

    /// Finds the session of a sid.
    pub(crate) fn find(&self, sid: &Sid) -> SessionLocation<T> {
        match self.shared.route(sid) {
            None => SessionLocation::Nowhere,
            Some(route) if route.shard != self.id => SessionLocation::Elsewhere(route.shard),
            Some(route) => match self.registry.borrow().find(route, sid) {
                Some(session) => SessionLocation::Here(session.clone()),
                None => SessionLocation::Nowhere,
            },
        }
    }

    /// Queues the disconnect callback of a session.
    pub(crate) fn queue_disconnect(&self, session: Rc<Session<T>>) {
        self.closed_sessions.borrow_mut().push_back(session);
        self.disconnect_task.wake();
    }

    /// The next session whose disconnect callback is due; `None` after the worker has finished.
    pub(crate) fn poll_closed_session(&self, cx: &mut Context<'_>) -> Poll<Option<Rc<Session<T>>>> {
        let closed = self.closed_sessions.borrow_mut().pop_front();
        if closed.is_some() {
            return Poll::Ready(closed);
        }
        if self.is_finished() {
            return Poll::Ready(None);
        }
        self.disconnect_task.register(cx);
        Poll::Pending
    }

    pub(crate) fn disconnects_done(&self) -> bool {
        self.closed_sessions.borrow().is_empty()
    }

    pub(crate) fn session_timeout(&self, slot: u32, now: Instant) {
        let session = self.registry.borrow().in_slot(slot).cloned();
        if let Some(session) = session {
            session.handle_timeout(now);
        }
    }

    pub(crate) fn for_each(&self, mut each: impl FnMut(&Session<T>)) {
        let slots = self.registry.borrow().slots();
        for slot in slots {
            let session = self.registry.borrow().in_slot(slot).cloned();
            if let Some(session) = session {
                each(&session);
            }
        }
    }

    /// The sessions that were opened before `call`.
    pub(crate) fn for_each_before(&self, call: CallNumber, mut each: impl FnMut(&Session<T>)) {
        self.for_each(|session| {
            if session.opened_at < call {
                each(session);
            }
        });
    }

    /// The slots of all sessions.
    pub(crate) fn slots(&self) -> Vec<u32> {
        self.registry.borrow().slots()
    }

    /// Closes the session in a slot, if there is one.
    pub(crate) fn close_slot(&self, slot: u32) {
        let session = self.registry.borrow().in_slot(slot).cloned();
        if let Some(session) = session {
            session.drain();
        }
    }

    /// Frees the memory of slots of sessions that have ended.
    pub(crate) fn shrink(&self) {
        self.registry.borrow_mut().shrink();
        self.closed_sessions.borrow_mut().shrink_to_fit();
    }

    pub(crate) fn session_count(&self) -> usize {
        self.registry.borrow().len()
    }
}

/// Broadcasts.
impl<T> ShardState<T> {
    pub(crate) fn broadcast_here(&self, call: CallNumber, message: &Encoded, except: &Except) {
        self.for_each_before(call, |session| {
            if except.contains(&session.sid) {
                return;
            }
            match session.try_send_encoded(message) {
                Ok(()) => {}
                Err(SendError::Full) => session.log(Cause::SlowClient, ""),
                Err(error) => {
                    crate::log::debug!(sid = %session.sid, %error, "broadcast skipped a session");
                }
            }
        });
    }

    /// Sends to sessions of this worker.
    pub(crate) fn send_many_here(&self, sids: &[Sid], message: &Encoded) {
        for sid in sids {
            match self.find(sid) {
                SessionLocation::Here(session) => {
                    if let Err(error) = session.try_send_encoded(message) {
                        crate::log::debug!(%sid, %error, "message dropped");
                    }
                }
                _ => self.counters.dropped(DropReason::UnknownSession, 1),
            }
        }
    }

    /// The ids of the sessions of this worker.
    pub(crate) fn sids(&self) -> Vec<Sid> {
        self.registry.borrow().all().map(|session| session.sid.clone()).collect()
    }
}

impl<T: 'static> Sessions<T> for ShardState<T> {
    fn session_closed(&self, slot: u32, busy: bool) {
        let session = self.registry.borrow().in_slot(slot).cloned();
        self.registry.borrow_mut().remove(slot);
        self.shared.sessions.fetch_sub(1, Ordering::Relaxed);
        self.live.remove();
        if let Some(session) = session
            && !busy
        {
            self.queue_disconnect(session);
        }
    }

    fn broadcast(&self, message: Message<'_>, except: Vec<Sid>) {
        if let Err(error) = self.shared.check_separator(message) {
            self.shared.count_dropped_by_all(DropReason::Separator);
            return crate::log::warn!(%error, "a broadcast is not sent");
        }
        if let Err(error) = self.shared.broadcast_away(message, &except) {
            crate::log::warn!(%error, "a broadcast does not reach the other nodes");
        }
        let (message, except) = (Encoded::new(message), Except::new(except));
        let call = self.shared.calls.next();
        if let Err(error) = self.shared.offer_all(Some(self.id), call, &message, &except) {
            crate::log::warn!(%error, "a broadcast did not reach every worker");
        }
        self.broadcast_here(call, &message, &except);
    }

    fn send_many(&self, mut sids: Vec<Sid>, message: Message<'_>) {
        if let Err(error) = self.shared.check_separator(message) {
            self.counters.dropped(DropReason::Separator, sids.len() as u64);
            return crate::log::warn!(%error, "a message is not sent");
        }
        if let Err(error) = self.shared.send_many_away(&mut sids, message) {
            crate::log::warn!(%error, "a message does not reach every node");
        }
        let message = Encoded::new(message);
        let (here, others) = self.shared.offer_many(Some(self.id), sids, &message);
        if let Err(error) = others {
            crate::log::warn!(%error, "a message did not reach every worker");
        }
        self.send_many_here(&here, &message);
    }

    fn send_to(&self, sid: &Sid, message: Message<'_>) {
        match self.find(sid) {
            SessionLocation::Here(session) => {
                if let Err(error) = session.try_send(message) {
                    crate::log::debug!(%sid, %error, "message dropped");
                }
            }
            SessionLocation::Elsewhere(shard) => {
                let shard_message = ShardMessage::Send(sid.clone(), message.into());
                let offered = self.shared.offer(shard, message.len(), |_| 1, shard_message);
                if let Err(error) = offered {
                    crate::log::warn!(%sid, %error, "message to another worker dropped");
                }
            }
            SessionLocation::Nowhere => match self.shared.send_away(sid, message) {
                Ok(()) => {}
                Err(SendError::Closed) => self.counters.dropped(DropReason::UnknownSession, 1),
                Err(error) => {
                    crate::log::warn!(%sid, %error, "message to another node dropped");
                }
            },
        }
    }

    fn disconnect(&self, sid: &Sid) {
        match self.find(sid) {
            SessionLocation::Here(session) => session.close(),
            SessionLocation::Elsewhere(shard) => {
                self.shared.post(shard, ShardMessage::Disconnect(sid.clone()))
            }
            SessionLocation::Nowhere => self.shared.disconnect_away(sid),
        }
    }

    fn all_here(&self) -> Vec<Rc<Session<T>>> {
        self.registry.borrow().all().cloned().collect()
    }

    fn find_here(&self, sid: &Sid) -> Option<Rc<Session<T>>> {
        match self.find(sid) {
            SessionLocation::Here(session) => Some(session),
            SessionLocation::Elsewhere(_) | SessionLocation::Nowhere => None,
        }
    }
}

/// The result of [`ShardState::find`].
pub(crate) enum SessionLocation<T> {
    Here(Rc<Session<T>>),
    /// It may be on this other worker.
    Elsewhere(u16),
    Nowhere,
}

/// Connections and shutdown.
impl<T> ShardState<T> {
    pub(crate) fn add_raw_websocket(&self, socket: Rc<PlainSocket>) -> usize {
        self.raw_websockets.borrow_mut().insert(socket)
    }

    pub(crate) fn remove_raw_websocket(&self, entry: usize) {
        self.raw_websockets.borrow_mut().try_remove(entry);
    }

    /// Starts the shutdown: no session is opened any more, and all sessions and WebSockets close.
    pub(crate) fn begin_shutdown(&self) {
        self.worker.begin_shutdown();
        self.for_each(Session::drain);
        let raw_websockets = self.raw_websockets.borrow();
        raw_websockets.iter().for_each(|(_, socket)| socket.end(CloseCode::GOING_AWAY));
    }

    /// Stops accepting connections, and closes idle ones.
    pub(crate) fn stop_accepting(&self) {
        self.worker.stop_accepting();
        self.defer_accept.end();
        self.acceptors.wake_all();
    }

    /// All tasks but the worker's services have ended: ends those too.
    pub(crate) fn finish(&self) {
        self.worker.finish();
        self.disconnect_task.wake();
    }

    /// Leaves listeners that other processes share: they accept the connections.
    pub(crate) fn leave_listeners(&self) {
        self.left_listeners.set(true);
        self.defer_accept.end();
        self.acceptors.wake_all();
    }

    /// From now on a shutdown does not wait for peers that have sent a part of a request or have to close, for polling
    /// clients that do not poll, or for handlers of sessions that have ended.
    pub(crate) fn stop_waiting(&self) {
        self.stop_accepting();
        // Before their connections close, which would be the reason.
        self.for_each(|session| {
            if session.transport() == Transport::Polling && !session.is_polled() {
                session.abort(CloseReason::ServerDisconnect);
            }
        });
        self.worker.stop_waiting();
        self.ended_handlers.wake_all();
    }

    /// Ends every session now; queued messages are dropped.
    pub(crate) fn abort_sessions(&self) {
        self.for_each(|session| session.abort(CloseReason::ServerDisconnect));
    }

    /// Ends all sessions and connections, and drops futures of the application.
    pub(crate) fn cut_off(&self) {
        self.abort_sessions();
        self.stop_accepting();
        self.worker.cut_off();
    }

    /// Ready when the worker has stopped accepting.
    pub(crate) fn poll_stopped_accepting(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_stopped_accepting() {
            return Poll::Ready(());
        }
        self.acceptors.add(cx);
        Poll::Pending
    }

    /// Ready when the worker has left the listeners that other processes share.
    pub(crate) fn poll_left_listeners(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.left_listeners.get() {
            return Poll::Ready(());
        }
        self.acceptors.add(cx);
        Poll::Pending
    }

    /// Ready when the worker has [stopped waiting](Self::stop_waiting).
    pub(crate) fn poll_stopped_waiting(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_stopped_waiting() {
            return Poll::Ready(());
        }
        self.ended_handlers.add(cx);
        Poll::Pending
    }

    /// The handler of this task, whose session has ended, is not pending any more.
    pub(crate) fn forget_ended_handler(&self, cx: &Context<'_>) {
        self.ended_handlers.remove(cx);
    }

    /// Whether a handshake is refused because the server ends. Where other processes accept too, a client whose
    /// connection this one has accepted gets its session, which then closes as every other one.
    pub(crate) fn refuses_handshakes(&self) -> bool {
        self.is_leaving() && !self.shared.shares_listeners
    }
}
