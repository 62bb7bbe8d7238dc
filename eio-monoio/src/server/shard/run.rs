//! The life of a shard: accept, mail, timers, goodbyes, and the end.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use eio_core::transport::Transport;

use crate::io::permit::ConnectionPermit;
#[cfg(feature = "tls")]
use crate::io::stream::{Stream, TlsStream};
use crate::metrics::ACCEPTED;
#[cfg(feature = "tls")]
use crate::server::conn::tls_accept;
use crate::server::conn::{Conn, dispatch, http};
use crate::server::handler::Handler;
use crate::server::listener::Listening;
use crate::server::remote::Remote;
use crate::server::session::Session;
use crate::server::session::env::Sessions;
use crate::server::shard::plan::Plan;
use crate::server::shard::shared::ShardMessage;
use crate::server::shard::{SessionLocation, Shard, ShardState};
use crate::worker::mailbox::MailboxReceiver;
use crate::worker::net::{Listener, Socket};
use crate::worker::timers::Target;
use crate::worker::trim::trim_after_bursts;
use crate::worker::yield_now;

/// Runs a shard to its end. `ready` is called once connections are accepted.
pub(crate) async fn run<H: Handler>(
    plan: Plan,
    make: impl FnOnce() -> H,
    ready: impl FnOnce(),
) -> io::Result<()> {
    let state = ShardState::new(&plan);
    let _current = state.worker.enter();
    let _server = Remote::enter(state.shared.clone());
    // Not before: the application may spawn tasks.
    let shard = Rc::new(Shard::new(make(), state.clone()));
    let bell =
        MailboxReceiver::of_worker(plan.wake_rx, &state.shared.mailboxes[usize::from(plan.id)])?;
    for Listening { fd, drain } in plan.listening {
        let listener = Listener::from_fd(fd)?;
        state.tasks.spawn(accept(shard.clone(), listener, drain, plan.max_connections));
    }
    state.services.spawn(call_disconnects(shard.clone()));
    state.services.spawn(keep_time(state.clone()));
    trim_after_bursts(&state.worker);
    ready();
    read_mail(&shard, &bell).await?;
    state.finish();
    poll_fn(|cx| state.services.poll_none(cx)).await;
    // Connections on their way here are not to wait for the end of the process.
    state.shared.mailboxes[usize::from(state.id)].close();
    Ok(())
}

/// Reads mail until everything has ended after a shutdown.
async fn read_mail<H: Handler>(shard: &Rc<Shard<H>>, bell: &MailboxReceiver) -> io::Result<()> {
    let state = &shard.state;
    let mut messages = Vec::new();
    let mut patience = ShutdownWait::new(state);
    loop {
        {
            let mailbox = &state.shared.mailboxes[usize::from(state.id)];
            let mut shard_message = pin!(mailbox.recv(bell, &mut messages));
            let ended = poll_fn(|cx| {
                if let Poll::Ready(result) = shard_message.as_mut().poll(cx) {
                    return Poll::Ready(result.map(|()| false));
                }
                patience.poll(cx).map(|()| Ok(true))
            });
            if ended.await? {
                return Ok(());
            }
        }
        messages.drain(..).for_each(|message| open(shard, message));
    }
}

fn open<H: Handler>(shard: &Rc<Shard<H>>, message: ShardMessage) {
    let state = &shard.state;
    let here = |sid| match state.find(sid) {
        SessionLocation::Here(session) => Some(session),
        SessionLocation::Elsewhere(_) | SessionLocation::Nowhere => None,
    };
    match message {
        ShardMessage::Connection(moved) => match Conn::from_moved(state.clone(), moved) {
            Ok(conn) => http::start(shard.clone(), Box::new(conn)),
            Err(error) => tracing::warn!(%error, "a connection was lost on its way between cores"),
        },
        ShardMessage::Send(sid, message) => state.send_to(&sid, message.borrow()),
        ShardMessage::SendMany(sids, message) => {
            for session in sids.iter().filter_map(here) {
                if let Err(error) = session.try_send_encoded(&message) {
                    tracing::debug!(sid = %session.sid, %error, "message dropped");
                }
            }
        }
        ShardMessage::Broadcast(call, message) => state.broadcast_here(call, &message),
        ShardMessage::Disconnect(sid) => state.disconnect(&sid),
        ShardMessage::DisconnectAll(call) => state.for_each_before(call, Session::close),
        ShardMessage::Disk(ticket, reply) => state.reads.arrive(ticket, reply),
        ShardMessage::Barrier(asker, number) => state.reach_barrier(asker, number),
        ShardMessage::BarrierReached(number) => state.barriers.arrive(number, ()),
        ShardMessage::Transport(sid, reply) => {
            let transport: Option<Transport> = here(&sid).map(|session| session.transport());
            // Whoever asked may have given up.
            let _ = reply.try_send(transport);
        }
        ShardMessage::Run(job) => {
            if state.tasks.call(job).is_err() {
                tracing::error!("a job of another thread panicked");
            }
        }
        ShardMessage::Shutdown => shut_down(state),
    }
}

/// How a shutdown ends: when every task has, or when its time is up and they were cut off.
struct ShutdownWait<'a, T> {
    state: &'a Rc<ShardState<T>>,
    timer: crate::worker::timers::TimerId,
    stage: Stage,
}

#[derive(PartialEq, Eq)]
enum Stage {
    Running,
    Waiting,
    CutOff,
}

impl<'a, T> ShutdownWait<'a, T> {
    fn new(state: &'a Rc<ShardState<T>>) -> Self {
        let timer = state.timers.insert(Target::Task(None));
        Self { state, timer, stage: Stage::Running }
    }

    fn poll(&mut self, cx: &mut std::task::Context<'_>) -> Poll<()> {
        /// What cut-off tasks get to unwind; they only have to be polled once.
        const UNWIND: u32 = 2_000;
        let state = self.state;
        if self.stage == Stage::Running {
            if !state.is_shutting_down() {
                return Poll::Pending;
            }
            self.stage = Stage::Waiting;
            let patience = crate::worker::deadline::millis(state.config.shutdown_timeout);
            state.timers.set(self.timer, state.now().after(patience));
        }
        // A task that ends may leave a goodbye behind.
        if state.tasks.poll_none(cx).is_ready() && state.disconnects_done() {
            if state.session_count() == 0 {
                // Nobody is left whom they could be of use to.
                state.background.abort();
                if state.background.poll_none(cx).is_ready() {
                    return Poll::Ready(());
                }
            }
            // Polling clients that did not come any more: nothing is accepted now, so nothing will come of them.
            // Their application hears of the end, in tasks of its own.
            state.end_all();
        }
        if state.timers.poll_expired(self.timer, cx).is_pending() {
            return Poll::Pending;
        }
        if self.stage == Stage::CutOff {
            tracing::error!("a task would not end; its sockets are left to the process");
            return Poll::Ready(());
        }
        tracing::warn!(sessions = state.session_count(), "shutdown ran out of time; cutting off");
        self.stage = Stage::CutOff;
        state.cut_off();
        state.timers.set(self.timer, state.now().after(UNWIND));
        let _ = state.timers.poll_expired(self.timer, cx);
        Poll::Pending
    }
}

/// Begins a shutdown: sessions take their leave. Clients that are between two polls hear of it when they come, so
/// the doors stay open for them, for a while; requests for a session may come to any core.
fn shut_down<T: 'static>(state: &Rc<ShardState<T>>) {
    const LOOK: Duration = Duration::from_millis(20);
    if state.is_shutting_down() {
        return;
    }
    state.begin_shutdown();
    let state = state.clone();
    let tasks = state.clone();
    tasks.tasks.spawn(async move {
        let patience = crate::worker::deadline::millis(state.config.shutdown_grace);
        let until = state.now().after(patience);
        let all_told = || state.shared.sessions.load(Ordering::Relaxed) == 0;
        while !state.has_stopped_accepting() && !all_told() && state.now() < until {
            wait(&state, LOOK).await;
        }
        state.stop_accepting();
    });
}

/// Takes connections until the doors are shut.
async fn accept<H: Handler>(shard: Rc<Shard<H>>, listener: Listener, drain: bool, max: usize) {
    /// Connections taken in one turn, before others get theirs.
    const BATCH: usize = 64;
    let state = &shard.state;
    let mut pause = FIRST_PAUSE;
    loop {
        let stopping = poll_fn(|cx| {
            if state.poll_stopped_accepting(cx).is_ready() {
                return Poll::Ready(true);
            }
            listener.poll_readable(cx).map(|_| false)
        });
        let stopping = stopping.await;
        if stopping && !drain {
            return;
        }
        // A closing listener resets what it has queued: those clients were promised a server.
        let result = take(&shard, &listener, max, if stopping { usize::MAX } else { BATCH });
        match result {
            Ok(taken) => {
                pause = FIRST_PAUSE;
                if taken == BATCH {
                    yield_now::yield_now().await;
                }
            }
            Err(error) => {
                if pause == FIRST_PAUSE {
                    tracing::warn!(%error, "cannot accept; pausing");
                }
                // EMFILE and its like come back at once, as often as they are asked for.
                wait(state, pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        if stopping {
            return;
        }
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Accepts what waits, at most `batch` connections, and says how many it were.
fn take<H: Handler>(
    shard: &Rc<Shard<H>>,
    listener: &Listener,
    max: usize,
    batch: usize,
) -> io::Result<usize> {
    let state = &shard.state;
    for taken in 0..batch {
        let (stream, peer) = match listener.try_accept() {
            Ok(Some(accepted)) => accepted,
            Ok(None) => return Ok(taken),
            // The client gave up while it waited.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error),
        };
        state.counters.add(ACCEPTED, 0, 1);
        match ConnectionPermit::take(&state.shared.connections, max) {
            Some(permit) => begin(shard, stream, peer, permit),
            None => {
                state.counters.refused(503, None);
                refuse_connection(stream, state.shared.is_secure() && peer.is_some());
            }
        }
    }
    Ok(batch)
}

/// Serves a connection, over TLS if the server has an identity and the connection leaves the machine.
fn begin<H: Handler>(
    shard: &Rc<Shard<H>>,
    stream: Socket,
    peer: Option<SocketAddr>,
    permit: ConnectionPermit,
) {
    let state = &shard.state;
    #[cfg(feature = "tls")]
    if let Some(identity) = &state.shared.identity
        && peer.is_some()
    {
        return match TlsStream::server(stream, identity.current()) {
            Ok(tls) => {
                let tls = Stream::Tls(Box::new(tls));
                let conn = Box::new(Conn::new(state.clone(), tls, peer, Some(permit)));
                tls_accept::start(shard.clone(), conn, identity.options.handshake_timeout);
            }
            Err(error) => tracing::error!(%error, "no TLS"),
        };
    }
    let conn = Conn::new(state.clone(), stream, peer, Some(permit));
    http::start(shard.clone(), Box::new(conn));
}

/// Answers a connection too many, without waiting for its request. `secure`: over TLS.
fn refuse_connection(stream: Socket, secure: bool) {
    const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n\
        Content-Length: 0\r\nConnection: close\r\n\r\n";
    tracing::debug!("max_connections reached; a connection was turned away");
    // Over TLS it would take that for a part of the handshake.
    if !secure {
        // Reading what is there first keeps the close from becoming a reset that overtakes the answer.
        let _ = stream.try_recv(&mut [0; 4096]);
        let _ = stream.try_send(FULL);
        stream.shutdown_write();
    }
    // Closed now: io_uring closes at the end of a turn, and a batch of them would use up the reserve of descriptors.
    drop(stream.into_fd());
}

/// Tells the application of sessions that ended.
async fn call_disconnects<H: Handler>(shard: Rc<Shard<H>>) {
    let state = &shard.state;
    while let Some(ended) = poll_fn(|cx| state.poll_closed_sessions(cx)).await {
        for session in ended {
            let told = shard.clone();
            state.tasks.spawn(async move { dispatch::ended(&told, session).await });
        }
    }
}

/// Drives the timer wheel.
async fn keep_time<T>(state: Rc<ShardState<T>>) {
    state.keep_time(|slot, now| state.session_timeout(slot, now)).await;
}

/// Sleeps on the wheel, shorter if the doors are shut.
async fn wait<T>(state: &ShardState<T>, duration: Duration) {
    let timer = state.timers.insert(Target::Task(None));
    state.timers.set(timer, state.now().after(crate::worker::deadline::millis(duration)));
    poll_fn(|cx| {
        if state.poll_stopped_accepting(cx).is_ready() {
            return Poll::Ready(());
        }
        state.timers.poll_expired(timer, cx)
    })
    .await;
    state.timers.remove(timer);
}
