//! [`WorkerContext`]: the state shared by everything on one worker, of a server or of clients.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::future::{Future, poll_fn};
use std::io::Write;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use eio_core::time::Instant;
use slab::Slab;

use crate::worker::clock;
use crate::worker::live_count::LiveCount;
use crate::worker::net;
use crate::worker::pool::Pool;
use crate::worker::random::Random;
use crate::worker::tasks::Tasks;
use crate::worker::thread_pool::{ThreadPool, shared_pool};
use crate::worker::timers::{TICK, Timers};
use crate::worker::wakers::WakerSlot;

/// The timers, buffers, tasks and open connections of a worker.
pub(crate) struct WorkerContext {
    pub(crate) timers: Timers,
    pub(crate) pool: Rc<Pool>,
    pub(crate) live: LiveCount,
    /// See [`thread_pool`](Self::thread_pool).
    thread_pool: OnceCell<Arc<ThreadPool>>,
    /// See [`per_worker`](Self::per_worker).
    shared: RefCell<Vec<Rc<dyn Any>>>,
    /// Connections and user code.
    pub(crate) tasks: Tasks,
    /// Tasks that the application spawned besides its handlers; a shutdown does not wait for them.
    pub(crate) background: Tasks,
    /// Tasks that the others depend on, which end last.
    pub(crate) services: Tasks,
    /// Open connections, which a shutdown closes.
    connections: RefCell<Slab<Connection>>,
    /// Other objects that the end of the worker concerns.
    shutdown_hooks: RefCell<Slab<Weak<dyn ShutdownHook>>>,
    /// A drain closes sessions, or a shutdown has begun.
    leaving: Cell<bool>,
    shutting_down: Cell<bool>,
    /// Connections without a request are closed.
    stop_accepting: Cell<bool>,
    /// Connections that only wait for their peer are closed too.
    stop_waiting: Cell<bool>,
    finished: Cell<bool>,
    /// Woken when the worker has finished.
    waiter: WakerSlot,
    masks: RefCell<Random>,
    origin: std::time::Instant,
    /// The time of the last call of [`now`](Self::now).
    cached_now: Cell<Instant>,
    /// The header line, and the second it was made for.
    date: Cell<(u64, DateLine)>,
}

/// `Date: Sun, 06 Nov 1994 08:49:37 GMT` and the end of the line.
pub(crate) type DateLine = [u8; 37];

struct Connection {
    fd: RawFd,
    activity: Activity,
}

/// What the end of its worker means for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// Between two requests: closing it loses no data.
    Idle,
    /// A request is incomplete, or everything was sent and the peer has to close: only the peer can continue it.
    Receiving,
    /// A request is being answered, or messages are exchanged.
    Busy,
}

/// Identifies a connection of a worker.
#[derive(Clone, Copy)]
pub(crate) struct ConnectionId(u32);

impl Default for WorkerContext {
    fn default() -> Self {
        Self {
            timers: Timers::new(Instant::default()),
            pool: Rc::default(),
            live: LiveCount::default(),
            thread_pool: OnceCell::new(),
            shared: RefCell::default(),
            tasks: Tasks::default(),
            background: Tasks::default(),
            services: Tasks::default(),
            connections: RefCell::default(),
            shutdown_hooks: RefCell::default(),
            leaving: Cell::new(false),
            shutting_down: Cell::new(false),
            stop_accepting: Cell::new(false),
            stop_waiting: Cell::new(false),
            finished: Cell::new(false),
            waiter: WakerSlot::default(),
            masks: RefCell::default(),
            origin: std::time::Instant::now(),
            cached_now: Cell::new(Instant::default()),
            date: Cell::new((u64::MAX, [0; 37])),
        }
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<WorkerContext>>> = const { RefCell::new(None) };
}

/// The worker of this thread.
impl WorkerContext {
    /// The worker that runs on this thread, if any.
    pub(crate) fn current() -> Option<Rc<Self>> {
        CURRENT.with(|current| current.borrow().clone())
    }

    /// Makes this the worker of this thread until the guard is dropped.
    pub(crate) fn enter(self: &Rc<Self>) -> Entered {
        Entered(CURRENT.with(|current| current.replace(Some(self.clone()))))
    }
}

/// See [`WorkerContext::enter`]; holds the context that was current before.
pub(crate) struct Entered(Option<Rc<WorkerContext>>);

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.with(|current| *current.borrow_mut() = self.0.take());
    }
}

impl WorkerContext {
    /// The threads for blocking work: those of the server, if this is a worker of one.
    pub(crate) fn thread_pool(&self) -> Arc<ThreadPool> {
        self.thread_pool.get_or_init(shared_pool).clone()
    }

    /// Sets the threads for blocking work, before any is asked for.
    pub(crate) fn set_thread_pool(&self, pool: Arc<ThreadPool>) {
        let _ = self.thread_pool.set(pool);
    }

    /// The single `T` of this worker, made by the first call: for modules that keep their own state for each worker.
    pub(crate) fn per_worker<T: Default + 'static>(&self) -> Rc<T> {
        let known = self.shared.borrow().iter().find(|any| any.is::<T>()).cloned();
        known.and_then(|any| any.downcast().ok()).unwrap_or_else(|| {
            let made = Rc::new(T::default());
            self.shared.borrow_mut().push(made.clone());
            made
        })
    }

    /// RFC 6455 5.3: "The masking key needs to be unpredictable".
    pub(crate) fn mask(&self) -> [u8; 4] {
        self.masks.borrow_mut().take().unwrap_or_else(|error| {
            crate::log::error!(%error, "the operating system returned no random bytes");
            [0; 4]
        })
    }
}

/// Time.
impl WorkerContext {
    /// The time; at most as old as the current poll of a task, see [`clock`].
    pub(crate) fn now(&self) -> Instant {
        self.set_now(clock::now())
    }

    fn set_now(&self, at: std::time::Instant) -> Instant {
        let now = Instant::from_millis(at.duration_since(self.origin).as_millis() as u64);
        self.cached_now.set(now);
        now
    }

    /// The time at the last reading of the clock on this worker, for uses that tolerate its age.
    pub(crate) fn cached_now(&self) -> Instant {
        self.cached_now.get()
    }

    /// RFC 9110 6.6.1: "An origin server with a clock MUST generate a Date header field in all 2xx (Successful),
    /// 3xx (Redirection), and 4xx (Client Error) responses". Made once a second.
    pub(crate) fn date(&self) -> DateLine {
        let second = self.now().as_millis() / 1000;
        let (made, mut line) = self.date.get();
        if made != second {
            let now = httpdate::HttpDate::from(SystemTime::now());
            // It fits: the format has a fixed length.
            let _ = write!(&mut line[..], "Date: {now}\r\n");
            self.date.set((second, line));
        }
        line
    }

    /// The time left until `at`, by the clock of this worker.
    fn until(&self, at: Instant) -> Duration {
        let since = clock::read().duration_since(self.origin);
        Duration::from_millis(at.as_millis()).saturating_sub(since)
    }

    /// Drives the timer wheel until the worker has finished; `due` is called for each session whose deadline has passed.
    pub(crate) async fn keep_time(&self, due: impl Fn(u32, Instant)) {
        /// A tick this late, in milliseconds, means that this worker was blocked while its peers may have sent.
        const LATE: u64 = 50;
        let mut slots = Vec::new();
        loop {
            let Some(until) = self.sleep_until_next().await else { return };
            let now = self.set_now(clock::read());
            if now.millis_since(until) > LATE {
                // Received bytes are read first, before a peer counts as silent.
                net::sleep(Duration::from_millis(TICK)).await;
            }
            let now = self.set_now(clock::read());
            self.timers.advance(now, &mut slots);
            slots.drain(..).for_each(|slot| due(slot, now));
        }
    }

    /// Sleeps until the next deadline and returns it; `None` when the worker has finished.
    async fn sleep_until_next(&self) -> Option<Instant> {
        let mut sleep: Option<Pin<Box<dyn Future<Output = ()>>>> = None;
        let mut armed = None;
        poll_fn(|cx| {
            if self.is_finished() {
                return Poll::Ready(None);
            }
            let next = self.timers.next(cx);
            if next != armed {
                armed = next;
                sleep = next.map(|at| Box::pin(net::sleep(self.until(at))) as _);
            }
            match &mut sleep {
                Some(sleep) => sleep.as_mut().poll(cx).map(|()| next),
                None => Poll::Pending,
            }
        })
        .await
    }
}

/// An object of a worker that the application may hold after the worker has ended.
pub(crate) trait ShutdownHook {
    /// The worker is about to end: complete work in progress.
    fn close(self: Rc<Self>);

    /// The worker ends after this call: drop everything that belongs to it, above all wakers, which can be neither
    /// woken nor dropped without its runtime.
    fn worker_ended(self: Rc<Self>);
}

/// Shutdown hooks.
impl WorkerContext {
    pub(crate) fn add_shutdown_hook(&self, shutdown_hook: Weak<dyn ShutdownHook>) -> usize {
        self.shutdown_hooks.borrow_mut().insert(shutdown_hook)
    }

    pub(crate) fn remove_shutdown_hook(&self, id: usize) {
        self.shutdown_hooks.borrow_mut().try_remove(id);
    }

    fn shutdown_hooks(&self) -> Vec<Rc<dyn ShutdownHook>> {
        self.shutdown_hooks
            .borrow()
            .iter()
            .filter_map(|(_, shutdown_hook)| shutdown_hook.upgrade())
            .collect()
    }
}

/// Connections and shutdown.
impl WorkerContext {
    pub(crate) fn add_connection(&self, fd: RawFd) -> ConnectionId {
        // Fits: each connection has a descriptor, and those have 31 bits.
        let connection = Connection { fd, activity: Activity::Idle };
        self.live.add();
        ConnectionId(self.connections.borrow_mut().insert(connection) as u32)
    }

    /// A connection that becomes idle after [`stop_accepting`](Self::stop_accepting) is closed at once, one that begins
    /// to wait for its peer after [`stop_waiting`](Self::stop_waiting) too.
    pub(crate) fn set_activity(&self, id: ConnectionId, activity: Activity) {
        if let Some(connection) = self.connections.borrow_mut().get_mut(id.0 as usize) {
            connection.activity = activity;
            if self.closes(activity) {
                net::abort(connection.fd);
            }
        }
    }

    fn closes(&self, activity: Activity) -> bool {
        match activity {
            Activity::Idle => self.has_stopped_accepting(),
            Activity::Receiving => self.has_stopped_waiting(),
            Activity::Busy => false,
        }
    }

    fn close_connections(&self) {
        for (_, connection) in self.connections.borrow().iter() {
            if self.closes(connection.activity) {
                net::abort(connection.fd);
            }
        }
    }

    /// The number of open connections.
    pub(crate) fn connection_count(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Frees the memory of entries of connections, timers and tasks that have ended.
    pub(crate) fn shrink(&self) {
        self.timers.shrink();
        self.connections.borrow_mut().shrink_to_fit();
        self.tasks.shrink();
    }

    pub(crate) fn remove_connection(&self, id: ConnectionId) {
        self.connections.borrow_mut().try_remove(id.0 as usize);
        self.live.remove();
    }

    pub(crate) fn is_shutting_down(&self) -> bool {
        self.shutting_down.get()
    }

    pub(crate) fn has_stopped_accepting(&self) -> bool {
        self.stop_accepting.get()
    }

    pub(crate) fn has_stopped_waiting(&self) -> bool {
        self.stop_waiting.get()
    }

    /// Whether sessions are being closed because the server ends.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.get()
    }

    /// From now on sessions are closed because the server ends.
    pub(crate) fn begin_leaving(&self) {
        self.leaving.set(true);
    }

    /// From now on no session or request begins.
    pub(crate) fn begin_shutdown(&self) {
        self.begin_leaving();
        self.shutting_down.set(true);
        self.shutdown_hooks().into_iter().for_each(ShutdownHook::close);
    }

    /// Closes idle connections, now and from now on.
    pub(crate) fn stop_accepting(&self) {
        self.stop_accepting.set(true);
        self.close_connections();
    }

    /// Closes connections that wait for their peer, now and from now on.
    pub(crate) fn stop_waiting(&self) {
        self.stop_waiting.set(true);
        self.close_connections();
    }

    /// Closes every connection and aborts every user future.
    pub(crate) fn cut_off(&self) {
        for (_, connection) in self.connections.borrow().iter() {
            net::abort(connection.fd);
        }
        self.tasks.abort();
        self.background.abort();
    }

    /// Ends the worker: only the services are left.
    pub(crate) fn finish(&self) {
        self.shutdown_hooks().into_iter().for_each(ShutdownHook::worker_ended);
        self.finished.set(true);
        self.timers.wake_driver();
        self.waiter.wake();
    }

    /// Ready when the worker has finished. Only one task may wait for that.
    pub(crate) fn poll_finished(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_finished() {
            return Poll::Ready(());
        }
        self.waiter.register(cx);
        Poll::Pending
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished.get()
    }
}
