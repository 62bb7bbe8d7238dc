//! [`run`]: the main future of a server's worker. It accepts connections, handles messages and shuts down.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use eio_core::time::Instant;

use crate::metrics::{ACCEPTED, LAG};
#[cfg(feature = "nats")]
use crate::server::conn::relay::{dial, pool::LinkPool};
use crate::server::conn::start::{self, Outcome};
use crate::server::conn::{Conn, dispatch, http};
#[cfg(feature = "nats")]
use crate::server::conn::{link::HeldPolls, link_accept};
use crate::server::handler::Handler;
use crate::server::listener::{Listening, Sharing};
use crate::server::remote::Remote;
use crate::server::session::Session;
use crate::server::session::env::Sessions;
use crate::server::shard::defer_accept::DeferAccept;
use crate::server::shard::plan::Plan;
use crate::server::shard::shared::ShardMessage;
use crate::server::shard::{SessionLocation, Shard, ShardState, drain};
use crate::worker::deadline::millis;
use crate::worker::mailbox::MailboxReceiver;
use crate::worker::net::{Listener, Timer};
use crate::worker::task::sleep_on;
use crate::worker::timers::{Target, TimerId};
use crate::worker::trim::trim_after_bursts;
use crate::worker::yield_now::{self, YieldBudget};

/// Runs a worker until its shutdown is complete. Calls `on_started` when it accepts connections.
pub(crate) async fn run<H: Handler>(
    plan: Plan,
    new_handler: impl FnOnce() -> H,
    on_started: impl FnOnce(),
) -> io::Result<()> {
    let state = ShardState::new(&plan);
    let _current = state.worker.enter();
    let _server = Remote::enter(state.shared.clone());
    // After `enter`: the application may spawn tasks.
    let shard = Rc::new(Shard::new(new_handler(), state.clone()));
    let receiver =
        MailboxReceiver::of_worker(plan.wake_rx, &state.shared.mailboxes[usize::from(plan.id)])?;
    let timer = Timer::new()?;
    for Listening { fd, sharing } in plan.listening {
        let listener = Rc::new(Listener::from_fd(fd)?);
        // Not with a port that is shared: connections that wait for their first bytes would be lost with the listener.
        if state.config.defer_accept && sharing != Sharing::Port {
            state.defer_accept.add(&listener);
        }
        state.tasks.spawn(accept(shard.clone(), listener, sharing, plan.max_connections));
    }
    #[cfg(feature = "nats")]
    if let (Some(fd), Some(hub)) = (plan.links, state.shared.cluster()) {
        let listener = Listener::from_fd(fd)?;
        state.tasks.spawn(link_accept::accept(shard.clone(), hub.clone(), listener));
    }
    state.services.spawn(call_disconnects(shard.clone()));
    state.services.spawn(run_timers(state.clone(), timer));
    let owned = Rc::downgrade(&state);
    trim_after_bursts(&state.worker, move || {
        if let Some(state) = owned.upgrade() {
            state.shrink();
        }
    });
    on_started();
    handle_messages(&shard, &receiver).await?;
    #[cfg(feature = "nats")]
    state.per_worker::<LinkPool>().close();
    state.finish();
    poll_fn(|cx| state.services.poll_none(cx)).await;
    // Drops connections that other workers were moving here, so that they close now.
    state.shared.mailboxes[usize::from(state.id)].close();
    // Its message is dropped.
    state.shared.heartbeats.answer(usize::from(state.id));
    Ok(())
}

/// Handles messages until a shutdown is complete.
async fn handle_messages<H: Handler>(
    shard: &Rc<Shard<H>>,
    receiver: &MailboxReceiver,
) -> io::Result<()> {
    let state = &shard.state;
    let mut messages = Vec::new();
    let mut shutdown = ShutdownWait::new(state);
    loop {
        {
            let mailbox = &state.shared.mailboxes[usize::from(state.id)];
            let mut receiving = pin!(mailbox.recv(receiver, &mut messages));
            let is_complete = poll_fn(|cx| {
                if let Poll::Ready(result) = receiving.as_mut().poll(cx) {
                    return Poll::Ready(result.map(|()| false));
                }
                shutdown.poll(cx).map(|()| Ok(true))
            });
            if is_complete.await? {
                return Ok(());
            }
        }
        messages.drain(..).for_each(|message| handle_message(shard, message));
    }
}

fn handle_message<H: Handler>(shard: &Rc<Shard<H>>, message: ShardMessage) {
    let state = &shard.state;
    let here = |sid| match state.find(sid) {
        SessionLocation::Here(session) => Some(session),
        SessionLocation::Elsewhere(_) | SessionLocation::Nowhere => None,
    };
    match message {
        ShardMessage::Connection(moved) => match Conn::from_moved(state.clone(), moved) {
            Ok(conn) => http::start(shard.clone(), Box::new(conn)),
            Err(error) => {
                crate::log::warn!(%error, "a connection could not be moved between workers")
            }
        },
        ShardMessage::Send(sid, message) => state.send_to(&sid, message.borrow()),
        ShardMessage::SendMany(sids, message) => state.send_many_here(&sids, &message),
        ShardMessage::Broadcast(call, message, except) => {
            state.broadcast_here(call, &message, &except)
        }
        ShardMessage::Disconnect(sid) => state.disconnect(&sid),
        ShardMessage::DisconnectAll(call) => state.for_each_before(call, Session::close),
        ShardMessage::Disk(number, reply) => state.reads.arrive(number, reply),
        ShardMessage::Barrier(asker, number) => state.reach_barrier(asker, number),
        ShardMessage::BarrierReached(number) => state.barriers.arrive(number, ()),
        ShardMessage::Transport(sid, reply) => {
            reply(here(&sid).map(|session| session.transport()));
        }
        ShardMessage::Sids(part) => part.add(state.sids()),
        ShardMessage::RunAt(sid, job) => {
            if let Some(session) = here(&sid) {
                let socket = crate::server::socket::Socket::new(session);
                if state.tasks.call(|| job(&socket)).is_err() {
                    crate::log::error!(%sid, "a job of another thread panicked");
                }
            }
        }
        ShardMessage::Run(job) => {
            if state.tasks.call(job).is_err() {
                crate::log::error!("a job of another thread panicked");
            }
        }
        #[cfg(feature = "nats")]
        ShardMessage::PingNode(peer) => {
            if let Some(hub) = state.shared.cluster() {
                state.tasks.spawn(dial::ping(state.clone(), hub.clone(), peer));
            }
        }
        #[cfg(feature = "nats")]
        ShardMessage::NodeLeaving(node) => state.per_worker::<HeldPolls>().recall(node),
        #[cfg(feature = "nats")]
        ShardMessage::NodeEnded(node) => state.per_worker::<LinkPool>().end(node),
        ShardMessage::Heartbeat => {
            if let Some(lag) = state.shared.heartbeats.answer(usize::from(state.id)) {
                state.counters.observe(LAG, 0, lag);
            }
        }
        ShardMessage::Drain => drain::drain(state),
        ShardMessage::Shutdown => shut_down(state),
    }
}

/// Completes a shutdown: when every task has ended, or when the timeout has passed and the tasks were cut off.
struct ShutdownWait<'a, T> {
    state: &'a Rc<ShardState<T>>,
    timer: TimerId,
    stage: Stage,
    cut_off_at: Instant,
}

#[derive(PartialEq, Eq)]
enum Stage {
    Running,
    /// For peers, too.
    Waiting,
    /// For work in progress only.
    Finishing,
    CutOff,
}

impl<'a, T> ShutdownWait<'a, T> {
    fn new(state: &'a Rc<ShardState<T>>) -> Self {
        let timer = state.timers.insert(Target::Task(None));
        Self { state, timer, stage: Stage::Running, cut_off_at: Instant::default() }
    }

    fn poll(&mut self, cx: &mut std::task::Context<'_>) -> Poll<()> {
        /// The time for tasks that were cut off, which need to be polled only once, in milliseconds.
        const CUT_OFF_MS: u32 = 2_000;
        /// The time after the grace for requests whose connection was accepted in it, in milliseconds.
        const LAST_REQUESTS_MS: u32 = 250;
        let state = self.state;
        if self.stage == Stage::Running {
            if !state.is_shutting_down() {
                return Poll::Pending;
            }
            self.stage = Stage::Waiting;
            let grace = millis(state.config.shutdown_grace).saturating_add(LAST_REQUESTS_MS);
            self.cut_off_at = state.now().after(millis(state.config.shutdown_timeout));
            state.timers.set(self.timer, state.now().after(grace).min(self.cut_off_at));
        }
        // The last act of a task may have been to queue a disconnect callback.
        if state.tasks.poll_none(cx).is_ready() && state.disconnects_done() {
            if state.session_count() == 0 {
                // No session is left for background tasks to serve.
                state.background.abort();
                if state.background.poll_none(cx).is_ready() {
                    return Poll::Ready(());
                }
            }
            // Sessions of polling clients that did not poll again: nothing is accepted any more, so they cannot close
            // in order. Their disconnect callbacks are new tasks.
            state.abort_sessions();
        }
        if state.timers.poll_expired(self.timer, cx).is_pending() {
            return Poll::Pending;
        }
        if self.stage == Stage::Waiting && state.now() < self.cut_off_at {
            self.stage = Stage::Finishing;
            state.stop_waiting();
            state.timers.set(self.timer, self.cut_off_at);
            let _ = state.timers.poll_expired(self.timer, cx);
            return Poll::Pending;
        }
        if self.stage == Stage::CutOff {
            crate::log::error!("a task did not end; its sockets stay open until the process ends");
            return Poll::Ready(());
        }
        crate::log::warn!(
            sessions = state.session_count(),
            connections = state.connection_count(),
            handlers = state.tasks.pending(),
            "shutdown timeout; cutting off"
        );
        self.stage = Stage::CutOff;
        state.cut_off();
        state.timers.set(self.timer, state.now().after(CUT_OFF_MS));
        let _ = state.timers.poll_expired(self.timer, cx);
        Poll::Pending
    }
}

/// Starts a shutdown: sessions close. A client that is between two polls receives the close packet with its next GET,
/// which may arrive at any worker, so connections are accepted for a while.
fn shut_down<T: 'static>(state: &Rc<ShardState<T>>) {
    /// How often the number of sessions is checked.
    const INTERVAL: Duration = Duration::from_millis(20);
    if state.is_shutting_down() {
        return;
    }
    state.begin_shutdown();
    // Those that a drain has not ended: all of them, without a drain.
    state.tunnels().iter().for_each(|sid| state.shared.disconnect_away(sid));
    state.leave_listeners();
    let state = state.clone();
    let tasks = state.clone();
    tasks.tasks.spawn(async move {
        let deadline = state.now().after(millis(state.config.shutdown_grace));
        let all_closed = || state.shared.sessions.load(Ordering::Relaxed) == 0;
        while !state.has_stopped_accepting() && !all_closed() && state.now() < deadline {
            pause(&state, INTERVAL).await;
        }
        state.stop_accepting();
    });
}

/// Accepts connections until the worker stops accepting, or leaves a listener that other processes share.
async fn accept<H: Handler>(
    shard: Rc<Shard<H>>,
    listener: Rc<Listener>,
    sharing: Sharing,
    max: usize,
) {
    const FIRST_DELAY: Duration = Duration::from_millis(50);
    const LONGEST_DELAY: Duration = Duration::from_secs(1);
    let state = &shard.state;
    let mut delay = FIRST_DELAY;
    loop {
        let stopping = poll_fn(|cx| {
            let shared = sharing != Sharing::No;
            if state.poll_stopped_accepting(cx).is_ready()
                || (shared && state.poll_left_listeners(cx).is_ready())
            {
                return Poll::Ready(true);
            }
            listener.poll_readable(cx).map(|_| false)
        });
        let stopping = stopping.await;
        match sharing {
            Sharing::Socket if stopping => return,
            Sharing::Port if stopping => return leave_port(&shard, &listener, max).await,
            _ => {}
        }
        // A listener that closes resets the connections in its backlog.
        let turn = if stopping { Turn::UNLIMITED } else { Turn::LIMITED };
        match accept_batch(&shard, &listener, max, turn) {
            Ok(Backlog::Empty) => delay = FIRST_DELAY,
            Ok(Backlog::Remains) => {
                delay = FIRST_DELAY;
                yield_now::yield_now().await;
            }
            Err(error) => {
                if delay == FIRST_DELAY {
                    crate::log::warn!(%error, "cannot accept; pausing");
                }
                // An error such as EMFILE is returned at once again as long as its cause lasts.
                pause(state, delay).await;
                delay = (delay * 2).min(LONGEST_DELAY);
            }
        }
        if stopping {
            return;
        }
    }
}

/// Leaves a port to other processes: accepts the connections that the kernel has assigned to this listener already, which
/// closing it would reset.
async fn leave_port<H: Handler>(shard: &Rc<Shard<H>>, listener: &Listener, max: usize) {
    /// The time in which TCP handshakes in progress complete.
    const IN_PROGRESS_MS: u32 = 200;
    const INTERVAL: Duration = Duration::from_millis(10);
    let state = &shard.state;
    if let Err(error) = listener.drop_attempts() {
        crate::log::warn!(%error, "connections that arrive while a listener closes may be reset");
    }
    let until = state.now().after(IN_PROGRESS_MS);
    while state.now() < until {
        // An error such as EMFILE may be over at the next attempt.
        let _ = accept_batch(shard, listener, max, Turn::UNLIMITED);
        sleep_on(&state.worker, INTERVAL).await;
    }
    let _ = accept_batch(shard, listener, max, Turn::UNLIMITED);
}

/// The connections that are still accepted before other tasks run. The time of a turn is added to the latency of every
/// session of the worker.
struct Turn {
    accepted: usize,
    /// Those that a limit refuses: few, because an address at its limit may connect again without a pause.
    refused: usize,
}

impl Turn {
    const LIMITED: Self = Self { accepted: 32, refused: 2 };
    const UNLIMITED: Self = Self { accepted: usize::MAX, refused: usize::MAX };

    fn count(&mut self, outcome: Outcome) {
        self.accepted -= 1;
        self.refused -= usize::from(outcome == Outcome::Refused);
    }

    fn is_over(&self) -> bool {
        self.accepted == 0 || self.refused == 0
    }
}

/// What a turn has left in the backlog.
#[derive(PartialEq, Eq)]
enum Backlog {
    Empty,
    /// As far as is known.
    Remains,
}

/// Accepts the connections of the backlog, as far as the turn permits.
fn accept_batch<H: Handler>(
    shard: &Rc<Shard<H>>,
    listener: &Listener,
    max: usize,
    mut turn: Turn,
) -> io::Result<Backlog> {
    while !turn.is_over() {
        let accepted = match listener.try_accept() {
            Ok(Some(accepted)) => accepted,
            Ok(None) => return Ok(Backlog::Empty),
            // The client has closed the connection already.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error),
        };
        shard.state.counters.add(ACCEPTED, 0, 1);
        if shard.state.defer_accept.count_accepted(|| shard.state.now()) {
            watch_deferral(shard.state.clone());
        }
        turn.count(start::start(shard, accepted, max)?);
    }
    Ok(Backlog::Remains)
}

/// Ends the deferral of connections when they have become few, also if no further one arrives.
fn watch_deferral<T: 'static>(state: Rc<ShardState<T>>) {
    let worker = state.worker.clone();
    // In the background: a shutdown does not wait for it.
    worker.background.spawn(async move {
        let watch = async {
            loop {
                sleep_on(&state.worker, DeferAccept::INTERVAL).await;
                if !state.defer_accept.review(state.now()) {
                    return;
                }
            }
        };
        _ = state.background.run(watch).await;
    });
}

/// Calls the disconnect callback of sessions that have ended.
async fn call_disconnects<H: Handler>(shard: Rc<Shard<H>>) {
    let state = &shard.state;
    let mut budget = YieldBudget::default();
    while let Some(session) = poll_fn(|cx| state.poll_closed_session(cx)).await {
        let shard = shard.clone();
        let calling = async move { dispatch::call_disconnect(&shard, session).await };
        state.tasks.run_or_spawn(calling).await;
        budget.count().await;
    }
}

/// Advances the timer wheel.
async fn run_timers<T>(state: Rc<ShardState<T>>, timer: Timer) {
    state.keep_time(timer, |slot, now| state.session_timeout(slot, now)).await;
}

/// Sleeps for `duration`, or until the worker stops accepting.
pub(super) async fn pause<T>(state: &ShardState<T>, duration: Duration) {
    let timer = state.timers.insert(Target::Task(None));
    state.timers.set(timer, state.now().after(millis(duration)));
    poll_fn(|cx| {
        if state.poll_stopped_accepting(cx).is_ready() {
            return Poll::Ready(());
        }
        state.timers.poll_expired(timer, cx)
    })
    .await;
    state.timers.remove(timer);
}
