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

use crate::io::permit::Permit;
#[cfg(feature = "tls")]
use crate::io::stream::{Carrier, Tls};
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
use crate::server::shard::shared::Mail;
use crate::server::shard::{Core, Found, Shard};
use crate::worker::mailbox::Bell;
use crate::worker::net::{Listener, Stream};
use crate::worker::timers::Target;
use crate::worker::trim::keep_lean;
use crate::worker::yield_now;

/// Runs a shard to its end. `ready` is called once connections are accepted.
pub(crate) async fn run<H: Handler>(
    plan: Plan,
    make: impl FnOnce() -> H,
    ready: impl FnOnce(),
) -> io::Result<()> {
    let core = Core::new(&plan);
    let _current = core.local.enter();
    let _server = Remote::enter(core.mesh.clone());
    // Not before: the application may spawn tasks.
    let shard = Rc::new(Shard::new(make(), core.clone()));
    let bell = Bell::of_core(plan.ear, &core.mesh.boxes[usize::from(plan.id)])?;
    for Listening { fd, drain } in plan.listening {
        let listener = Listener::from_fd(fd)?;
        core.tasks.spawn(accept(shard.clone(), listener, drain, plan.max_connections));
    }
    core.services.spawn(say_goodbyes(shard.clone()));
    core.services.spawn(keep_time(core.clone()));
    keep_lean(&core.local);
    ready();
    read_mail(&shard, &bell).await?;
    core.finish();
    poll_fn(|cx| core.services.poll_none(cx)).await;
    // Connections on their way here are not to wait for the end of the process.
    core.mesh.boxes[usize::from(core.id)].close();
    Ok(())
}

/// Reads mail until everything has ended after a shutdown.
async fn read_mail<H: Handler>(shard: &Rc<Shard<H>>, bell: &Bell) -> io::Result<()> {
    let core = &shard.core;
    let mut letters = Vec::new();
    let mut patience = Patience::new(core);
    loop {
        {
            let mailbox = &core.mesh.boxes[usize::from(core.id)];
            let mut mail = pin!(mailbox.recv(bell, &mut letters));
            let ended = poll_fn(|cx| {
                if let Poll::Ready(result) = mail.as_mut().poll(cx) {
                    return Poll::Ready(result.map(|()| false));
                }
                patience.poll(cx).map(|()| Ok(true))
            });
            if ended.await? {
                return Ok(());
            }
        }
        letters.drain(..).for_each(|letter| open(shard, letter));
    }
}

fn open<H: Handler>(shard: &Rc<Shard<H>>, letter: Mail) {
    let core = &shard.core;
    let here = |sid| match core.find(sid) {
        Found::Here(session) => Some(session),
        Found::Elsewhere(_) | Found::Nowhere => None,
    };
    match letter {
        Mail::Connection(moved) => match Conn::from_moved(core.clone(), moved) {
            Ok(conn) => http::start(shard.clone(), Box::new(conn)),
            Err(error) => tracing::warn!(%error, "a connection was lost on its way between cores"),
        },
        Mail::Send(sid, message) => core.send_to(&sid, message.borrow()),
        Mail::SendMany(sids, message) => {
            for session in sids.iter().filter_map(here) {
                if let Err(error) = session.try_send_encoded(&message) {
                    tracing::debug!(sid = %session.sid, %error, "message dropped");
                }
            }
        }
        Mail::Broadcast(call, message) => core.broadcast_here(call, &message),
        Mail::Disconnect(sid) => core.disconnect(&sid),
        Mail::DisconnectAll(call) => core.for_each_before(call, Session::close),
        Mail::Disk(ticket, reply) => core.reads.arrive(ticket, reply),
        Mail::Settle(asker, number) => core.pass_on(asker, number),
        Mail::Settled(number) => core.settled.arrive(number, ()),
        Mail::Transport(sid, reply) => {
            let transport: Option<Transport> = here(&sid).map(|session| session.transport());
            // Whoever asked may have given up.
            let _ = reply.try_send(transport);
        }
        Mail::Run(job) => {
            if core.tasks.call(job).is_err() {
                tracing::error!("a job of another thread panicked");
            }
        }
        Mail::Shutdown => shut_down(core),
    }
}

/// How a shutdown ends: when every task has, or when its time is up and they were cut off.
struct Patience<'a, T> {
    core: &'a Rc<Core<T>>,
    timer: crate::worker::timers::TimerId,
    stage: Stage,
}

#[derive(PartialEq, Eq)]
enum Stage {
    Running,
    Waiting,
    CutOff,
}

impl<'a, T> Patience<'a, T> {
    fn new(core: &'a Rc<Core<T>>) -> Self {
        let timer = core.timers.insert(Target::Task(None));
        Self { core, timer, stage: Stage::Running }
    }

    fn poll(&mut self, cx: &mut std::task::Context<'_>) -> Poll<()> {
        /// What cut-off tasks get to unwind; they only have to be polled once.
        const UNWIND: u32 = 2_000;
        let core = self.core;
        if self.stage == Stage::Running {
            if !core.is_shutting_down() {
                return Poll::Pending;
            }
            self.stage = Stage::Waiting;
            let patience = crate::worker::deadline::millis(core.config.shutdown_timeout);
            core.timers.set(self.timer, core.now().after(patience));
        }
        // A task that ends may leave a goodbye behind.
        if core.tasks.poll_none(cx).is_ready() && core.all_goodbyes_said() {
            if core.session_count() == 0 {
                // Nobody is left whom they could be of use to.
                core.background.abort();
                if core.background.poll_none(cx).is_ready() {
                    return Poll::Ready(());
                }
            }
            // Polling clients that did not come any more: nothing is accepted now, so nothing will come of them.
            // Their application hears of the end, in tasks of its own.
            core.end_all();
        }
        if core.timers.poll_expired(self.timer, cx).is_pending() {
            return Poll::Pending;
        }
        if self.stage == Stage::CutOff {
            tracing::error!("a task would not end; its sockets are left to the process");
            return Poll::Ready(());
        }
        tracing::warn!(sessions = core.session_count(), "shutdown ran out of time; cutting off");
        self.stage = Stage::CutOff;
        core.cut_off();
        core.timers.set(self.timer, core.now().after(UNWIND));
        let _ = core.timers.poll_expired(self.timer, cx);
        Poll::Pending
    }
}

/// Begins a shutdown: sessions take their leave. Clients that are between two polls hear of it when they come, so
/// the doors stay open for them, for a while; requests for a session may come to any core.
fn shut_down<T: 'static>(core: &Rc<Core<T>>) {
    const LOOK: Duration = Duration::from_millis(20);
    if core.is_shutting_down() {
        return;
    }
    core.begin_shutdown();
    let core = core.clone();
    let tasks = core.clone();
    tasks.tasks.spawn(async move {
        let patience = crate::worker::deadline::millis(core.config.shutdown_grace);
        let until = core.now().after(patience);
        let all_told = || core.mesh.sessions.load(Ordering::Relaxed) == 0;
        while !core.is_shut() && !all_told() && core.now() < until {
            wait(&core, LOOK).await;
        }
        core.shut();
    });
}

/// Takes connections until the doors are shut.
async fn accept<H: Handler>(shard: Rc<Shard<H>>, listener: Listener, drain: bool, max: usize) {
    /// Connections taken in one turn, before others get theirs.
    const BATCH: usize = 64;
    let core = &shard.core;
    let mut pause = FIRST_PAUSE;
    loop {
        let stopping = poll_fn(|cx| {
            if core.poll_shut(cx).is_ready() {
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
                    yield_now::step_back().await;
                }
            }
            Err(error) => {
                if pause == FIRST_PAUSE {
                    tracing::warn!(%error, "cannot accept; pausing");
                }
                // EMFILE and its like come back at once, as often as they are asked for.
                wait(core, pause).await;
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
    let core = &shard.core;
    for taken in 0..batch {
        let (stream, peer) = match listener.try_accept() {
            Ok(Some(accepted)) => accepted,
            Ok(None) => return Ok(taken),
            // The client gave up while it waited.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error),
        };
        core.counters.add(ACCEPTED, 0, 1);
        match Permit::take(&core.mesh.connections, max) {
            Some(permit) => begin(shard, stream, peer, permit),
            None => {
                core.counters.refused(503, None);
                turn_away(stream, core.mesh.is_secure() && peer.is_some());
            }
        }
    }
    Ok(batch)
}

/// Serves a connection, over TLS if the server has an identity and the connection leaves the machine.
fn begin<H: Handler>(
    shard: &Rc<Shard<H>>,
    stream: Stream,
    peer: Option<SocketAddr>,
    permit: Permit,
) {
    let core = &shard.core;
    #[cfg(feature = "tls")]
    if let Some(identity) = &core.mesh.identity
        && peer.is_some()
    {
        return match Tls::server(stream, identity.current()) {
            Ok(tls) => {
                let tls = Carrier::Tls(Box::new(tls));
                let conn = Box::new(Conn::new(core.clone(), tls, peer, Some(permit)));
                tls_accept::start(shard.clone(), conn, identity.options.handshake_timeout);
            }
            Err(error) => tracing::error!(%error, "no TLS"),
        };
    }
    let conn = Conn::new(core.clone(), stream, peer, Some(permit));
    http::start(shard.clone(), Box::new(conn));
}

/// Answers a connection too many, without waiting for its request. `secure`: over TLS.
fn turn_away(stream: Stream, secure: bool) {
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
async fn say_goodbyes<H: Handler>(shard: Rc<Shard<H>>) {
    let core = &shard.core;
    while let Some(ended) = poll_fn(|cx| core.poll_ended(cx)).await {
        for session in ended {
            let told = shard.clone();
            core.tasks.spawn(async move { dispatch::ended(&told, session).await });
        }
    }
}

/// Drives the timer wheel.
async fn keep_time<T>(core: Rc<Core<T>>) {
    core.keep_time(|slot, now| core.session_timeout(slot, now)).await;
}

/// Sleeps on the wheel, shorter if the doors are shut.
async fn wait<T>(core: &Core<T>, duration: Duration) {
    let timer = core.timers.insert(Target::Task(None));
    core.timers.set(timer, core.now().after(crate::worker::deadline::millis(duration)));
    poll_fn(|cx| {
        if core.poll_shut(cx).is_ready() {
            return Poll::Ready(());
        }
        core.timers.poll_expired(timer, cx)
    })
    .await;
    core.timers.remove(timer);
}
