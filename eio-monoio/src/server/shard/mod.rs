//! One thread's world: its sessions, timers, buffers and mail.

mod barrier;
pub(crate) mod disk;
pub(crate) mod plan;
pub(crate) mod registry;
pub(crate) mod replies;
pub(crate) mod run;
pub(crate) mod shared;

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use eio_core::packet::Message;
use eio_core::sid::Sid;
use eio_core::time::Instant;
use eio_core::ws::deflate::Terms;
use eio_core::ws::{CloseCode, Role};
use slab::Slab;

use crate::deflate::{Inward, Outward, PerMessageDeflate};
use crate::io::limits::Limits;
use crate::io::raw_websocket::PlainSocket;
use crate::message::Encoded;
use crate::metrics::Counters;
use crate::server::config::Config;
use crate::server::hooks::Hooks;
use crate::server::hooks::OnPlain;
use crate::server::session::env::{SessionEnv, Sessions};
use crate::server::session::{Origin, Session};
use crate::server::shard::disk::{Disk, Reply};
use crate::server::shard::plan::Plan;
use crate::server::shard::registry::{NoSid, Registry};
use crate::server::shard::replies::Replies;
use crate::server::shard::shared::{CallNumber, ServerShared, ShardMessage};
use crate::web::compress::Deflater;
use crate::web::proxy::Trusted;
use crate::worker::context::WorkerContext;
use crate::worker::tasks::Guarded;
use crate::worker::timers::Target;
use crate::worker::wakers::{WakerSlot, Wakers};

/// A shard with its application.
pub(crate) struct Shard<H: crate::Handler> {
    pub(crate) handler: Guarded<H>,
    pub(crate) state: Rc<ShardState<H::Session>>,
}

impl<H: crate::Handler> Shard<H> {
    fn new(handler: H, state: Rc<ShardState<H::Session>>) -> Self {
        Self { handler: Guarded::new(handler), state }
    }
}

/// A shard without its application: a core that serves.
pub(crate) struct ShardState<T> {
    pub(crate) worker: Rc<WorkerContext>,
    env: Rc<SessionEnv<T>>,
    pub(crate) id: u16,
    pub(crate) config: Arc<Config>,
    pub(crate) limits: Rc<Limits>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) shared: Arc<ServerShared>,
    /// Who takes WebSockets on other paths.
    pub(crate) on_plain: Option<OnPlain>,
    pub(crate) hooks: Hooks,
    pub(crate) trusted: Vec<Trusted>,
    pub(crate) deflater: Deflater,
    /// The threads that read files, if any are served.
    pub(crate) disk: Option<Arc<Disk>>,
    /// What connections wait for from the disk.
    pub(crate) reads: Replies<Reply>,
    /// Cores that passed on what they had.
    barriers: Replies<()>,
    registry: RefCell<Registry<Session<T>>>,
    /// Open WebSockets that are not Engine.IO's.
    plain: RefCell<Slab<Rc<PlainSocket>>>,
    /// Sessions that ended and whose application does not know yet.
    closed_sessions: RefCell<Vec<Rc<Session<T>>>>,
    disconnect_task: WakerSlot,
    /// Woken when nothing more is accepted.
    acceptors: Wakers,
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
            worker,
            id: plan.id,
            limits: Rc::new(plan.config.limits(counters.clone())),
            counters,
            registry: RefCell::new(Registry::new(
                plan.shared.key,
                plan.id,
                plan.shared.directory.clone(),
            )),
            config: plan.config.clone(),
            shared: plan.shared.clone(),
            on_plain: plan.on_plain.clone(),
            hooks: plan.hooks.clone(),
            trusted: plan.config.trusted(),
            deflater: Deflater::fast(),
            disk: plan.disk.clone(),
            reads: Replies::default(),
            barriers: Replies::default(),
            plain: RefCell::default(),
            closed_sessions: RefCell::default(),
            disconnect_task: WakerSlot::default(),
            acceptors: Wakers::default(),
        })
    }
}

/// WebSockets.
impl<T> ShardState<T> {
    /// The two directions of a connection that is compressed.
    pub(crate) fn deflate(
        &self,
        terms: Option<Terms>,
    ) -> (Option<Box<Outward>>, Option<Box<Inward>>) {
        let both = self.config.per_message_deflate.as_ref().zip(terms);
        let begin = |(wishes, terms): (&PerMessageDeflate, Terms)| {
            wishes.begin(&self.worker, Role::Server, &terms, self.config.max_payload)
        };
        both.map(begin).unzip()
    }
}

/// Sessions.
impl<T> ShardState<T> {
    /// Opens a session.
    pub(crate) fn open(self: &Rc<Self>, mut origin: Origin<T>) -> Result<Rc<Session<T>>, NoSid> {
        let (own, opened) = (origin.sid.take(), self.shared.calls.latest());
        let session = self.registry.borrow_mut().insert_with(own, |sid, slot| {
            let timer = self.timers.insert(Target::Session(slot));
            Rc::new(Session::new(self.env.clone(), opened, origin, sid, slot, timer))
        })?;
        session.started();
        self.shared.sessions.fetch_add(1, Ordering::Relaxed);
        self.counters.opened(session.transport());
        Ok(session)
    }

    /// The session of a sid, if it lives here.
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

    /// Has the application told that `session` ended.
    pub(crate) fn queue_disconnect(&self, session: Rc<Session<T>>) {
        self.closed_sessions.borrow_mut().push(session);
        self.disconnect_task.wake();
    }

    /// The sessions whose end the application must hear of; `None`: there will be no more.
    pub(crate) fn poll_closed_sessions(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Vec<Rc<Session<T>>>>> {
        let closed_sessions = std::mem::take(&mut *self.closed_sessions.borrow_mut());
        if !closed_sessions.is_empty() {
            return Poll::Ready(Some(closed_sessions));
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

    /// Those that were there at `call`.
    pub(crate) fn for_each_before(&self, call: CallNumber, mut each: impl FnMut(&Session<T>)) {
        self.for_each(|session| {
            if session.opened < call {
                each(session);
            }
        });
    }

    pub(crate) fn session_count(&self) -> usize {
        self.registry.borrow().len()
    }
}

/// From handlers of this core.
impl<T> ShardState<T> {
    pub(crate) fn broadcast_here(&self, call: CallNumber, message: &Encoded) {
        self.for_each_before(call, |session| {
            if let Err(error) = session.try_send_encoded(message) {
                tracing::debug!(sid = %session.sid, %error, "broadcast skipped a session");
            }
        });
    }
}

impl<T: 'static> Sessions<T> for ShardState<T> {
    fn session_closed(&self, slot: u32, busy: bool) {
        let session = self.registry.borrow().in_slot(slot).cloned();
        self.registry.borrow_mut().remove(slot);
        self.shared.sessions.fetch_sub(1, Ordering::Relaxed);
        if let Some(session) = session
            && !busy
        {
            self.queue_disconnect(session);
        }
    }

    fn broadcast(&self, message: Message<'_>) {
        let message = Encoded::new(message);
        let call = self.shared.calls.next();
        if let Err(error) = self.shared.offer_all(Some(self.id), call, &message) {
            tracing::warn!(%error, "a broadcast did not reach every core");
        }
        self.broadcast_here(call, &message);
    }

    fn send_to(&self, sid: &Sid, message: Message<'_>) {
        match self.find(sid) {
            SessionLocation::Here(session) => {
                if let Err(error) = session.try_send(message) {
                    tracing::debug!(%sid, %error, "message dropped");
                }
            }
            SessionLocation::Elsewhere(shard) => {
                let shard_message = ShardMessage::Send(sid.clone(), message.into());
                if let Err(error) = self.shared.offer(shard, message.len(), shard_message) {
                    tracing::warn!(%sid, %error, "message dropped on its way to another core");
                }
            }
            SessionLocation::Nowhere => {}
        }
    }

    fn disconnect(&self, sid: &Sid) {
        match self.find(sid) {
            SessionLocation::Here(session) => session.close(),
            SessionLocation::Elsewhere(shard) => {
                self.shared.post(shard, ShardMessage::Disconnect(sid.clone()))
            }
            SessionLocation::Nowhere => {}
        }
    }

    fn find_here(&self, sid: &Sid) -> Option<Rc<Session<T>>> {
        match self.find(sid) {
            SessionLocation::Here(session) => Some(session),
            SessionLocation::Elsewhere(_) | SessionLocation::Nowhere => None,
        }
    }
}

/// Where a sid leads.
pub(crate) enum SessionLocation<T> {
    Here(Rc<Session<T>>),
    Elsewhere(u16),
    Nowhere,
}

/// Connections and shutdown.
impl<T> ShardState<T> {
    pub(crate) fn add_plain(&self, socket: Rc<PlainSocket>) -> usize {
        self.plain.borrow_mut().insert(socket)
    }

    pub(crate) fn remove_plain(&self, entry: usize) {
        self.plain.borrow_mut().try_remove(entry);
    }

    /// Begins the end: no new sessions; those there are take their leave.
    pub(crate) fn begin_shutdown(&self) {
        self.worker.begin_shutdown();
        self.for_each(Session::close);
        self.plain.borrow().iter().for_each(|(_, socket)| socket.end(CloseCode::GOING_AWAY));
    }

    /// No new connections, and idle ones are closed.
    pub(crate) fn stop_accepting(&self) {
        self.worker.stop_accepting();
        self.acceptors.wake_all();
    }

    /// Nothing is left but the services.
    pub(crate) fn finish(&self) {
        self.worker.finish();
        self.disconnect_task.wake();
    }

    /// Ends every session, whatever is queued for it.
    pub(crate) fn end_all(&self) {
        self.for_each(|session| session.abort(eio_core::session::CloseReason::ServerDisconnect));
    }

    /// Cuts off whatever has not ended by itself.
    pub(crate) fn cut_off(&self) {
        self.end_all();
        self.stop_accepting();
        self.worker.cut_off();
    }

    /// Ready when nothing more is accepted.
    pub(crate) fn poll_stopped_accepting(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_stopped_accepting() {
            return Poll::Ready(());
        }
        self.acceptors.add(cx);
        Poll::Pending
    }
}
