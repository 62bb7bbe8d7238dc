//! Passes the messages of a session to its handler: one at a time, without a copy while the handler keeps up.
//!
//! The future of a handler is first polled where the message was received. In most cases that is also the last poll,
//! and nothing was copied, allocated or scheduled. While the future is pending, the session is *busy*: the task that
//! polled it continues to poll it, then passes on the messages that arrived in the meantime, and reads concurrently.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use eio_core::packet::Message;
use eio_core::session::CloseReason;
use pin_project_lite::pin_project;

use crate::log;
use crate::message::OwnedMessage;
use crate::metrics::HandlerCall;
use crate::server::cause::Subject;
use crate::server::config::Dispatch;
use crate::server::handler::Handler;
use crate::server::session::Session;
use crate::server::shard::Shard;
use crate::server::socket::Socket;
use crate::worker::clock;
use crate::worker::deadline::Deadline;
use crate::worker::tasks::{Run, Stopped};
use crate::worker::yield_now::YieldBudget;

/// Delivers a message: to the inbox while the handler is busy with an earlier one, to a task of its own with
/// [`Dispatch::Concurrent`], and to the handler otherwise, by the future that is returned.
// Inlined, so that the future is constructed where it stays.
#[inline(always)]
pub(crate) fn deliver<'s, H: Handler>(
    shard: &'s Rc<Shard<H>>,
    session: &Rc<Session<H::Session>>,
    received: Message<'_>,
) -> Option<impl Future<Output = ()> + use<'s, H>> {
    if session.is_busy() {
        session.push_inbox(received);
        return None;
    }
    if is_concurrent(shard) {
        spawn_message(shard, session, received);
        return None;
    }
    Some(call_message(shard, session, received))
}

/// Calls [`Handler::message`]. The future does not borrow the message. The session is busy until [`poll_once`] or
/// [`drain_inbox`] finds that the future is complete.
#[inline(always)]
fn call_message<'s, H: Handler>(
    shard: &'s Shard<H>,
    session: &Rc<Session<H::Session>>,
    received: Message<'_>,
) -> impl Future<Output = ()> + use<'s, H> {
    session.set_busy();
    shard.state.timing.begin();
    call(shard, session, |socket| shard.handler.message(socket, received))
}

/// Polls the future of [`deliver`] or [`call_open`] once, which completes most of them.
pub(crate) fn poll_once<H: Handler>(
    shard: &Shard<H>,
    session: &Rc<Session<H::Session>>,
    mut handling: Pin<&mut impl Future<Output = ()>>,
) -> impl Future<Output = Poll<()>> {
    poll_fn(move |cx| {
        let polled = handling.as_mut().poll(cx);
        if polled.is_ready() {
            finish_handler(shard, session);
            count_message(shard, shard.state.timing.take());
        }
        Poll::Ready(polled)
    })
}

/// Counts the time of [`Handler::message`], if it is measured.
#[inline]
fn count_message<H: Handler>(shard: &Shard<H>, started: Option<Instant>) {
    if let Some(started) = started {
        shard.state.count_time(HandlerCall::Message, started);
    }
}

#[inline(always)]
fn call<'s, H: Handler, F: Future<Output = ()>>(
    shard: &'s Shard<H>,
    session: &Rc<Session<H::Session>>,
    handler: impl FnOnce(&Socket<H::Session>) -> F,
) -> HandlerFuture<'s, H::Session, F> {
    let socket = Socket::new(session.clone());
    let running = shard.state.tasks.start(|| handler(&socket));
    HandlerFuture { running, socket }
}

pin_project! {
    /// A future of the handler. A panic of it ends the session.
    struct HandlerFuture<'s, T, F> {
        #[pin]
        running: Run<'s, F>,
        socket: Socket<T>,
    }
}

impl<T, F: Future<Output = ()>> Future for HandlerFuture<'_, T, F> {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let result = ready!(this.running.poll(cx));
        end_after_panic(this.socket, result);
        Poll::Ready(())
    }
}

/// Passes a message to the handler in a task of its own.
fn spawn_message<H: Handler>(
    shard: &Rc<Shard<H>>,
    session: &Rc<Session<H::Session>>,
    received: Message<'_>,
) {
    /// The approximate memory of a task without its message, in bytes.
    const TASK: usize = 512;
    let (shard, session, owned) = (shard.clone(), session.clone(), OwnedMessage::from(received));
    let tasks = shard.clone();
    let size = TASK + received.len();
    session.add_in_progress(size);
    tasks.state.tasks.spawn(async move {
        let started = shard.state.timing.sample();
        let handling =
            call(&shard, &session, |socket| shard.handler.message(socket, owned.borrow()));
        within_grace(&shard, &session, pin!(handling)).await;
        count_message(&shard, started);
        session.remove_in_progress(size);
    });
}

/// Whether each message has a task of its own.
pub(crate) fn is_concurrent<H: Handler>(shard: &Shard<H>) -> bool {
    shard.state.config.dispatch == Dispatch::Concurrent
}

/// Calls [`Handler::open`]. A new session is busy until [`poll_once`] or [`drain_inbox`] finds that this is complete.
pub(crate) async fn call_open<H: Handler>(shard: &Shard<H>, session: &Rc<Session<H::Session>>) {
    let socket = Socket::new(session.clone());
    let started = clock::now();
    let result = shard.state.tasks.start(|| shard.handler.open(&socket)).await;
    shard.state.count_time(HandlerCall::Open, started);
    end_after_panic(&socket, result);
}

/// Calls [`Handler::disconnect`].
pub(crate) async fn call_disconnect<H: Handler>(
    shard: &Shard<H>,
    session: Rc<Session<H::Session>>,
) {
    let tasks = &shard.state.tasks;
    let reason = session.closed().unwrap_or(CloseReason::TransportClose);
    log::debug!(client = %Subject::Session(&session.sid, session.peer()), %reason, "session closed");
    let socket = Socket::new(session.clone());
    let started = clock::now();
    let _ = tasks.start(|| shard.handler.disconnect(&socket, reason)).await;
    shard.state.count_time(HandlerCall::Disconnect, started);
    // A handle that the application keeps does not keep the messages.
    session.discard_undelivered();
}

/// Completes `first`, then passes the messages of the inbox to the handler, in order, [`within_grace`]. Then the session
/// is not busy any more.
///
/// If it was given up, the caller drops `first` before it awaits anything else: the disconnect callback comes after.
pub(crate) async fn drain_inbox<H: Handler>(
    shard: &Shard<H>,
    session: &Rc<Session<H::Session>>,
    first: Pin<&mut impl Future<Output = ()>>,
) {
    // Before the first await: another handler is measured next.
    let started = shard.state.timing.take();
    within_grace(shard, session, pin!(handle_all(shard, session, first, started))).await;
    finish_handler(shard, session);
}

/// Polls `handling` until it completes, or until its session has ended and the grace for handlers has passed.
async fn within_grace<H: Handler>(
    shard: &Shard<H>,
    session: &Session<H::Session>,
    mut handling: Pin<&mut impl Future<Output = ()>>,
) {
    let state = &shard.state;
    let mut deadline = None;
    let given_up = poll_fn(|cx| {
        if handling.as_mut().poll(cx).is_ready() {
            session.forget_handler(cx);
            state.forget_ended_handler(cx);
            return Poll::Ready(false);
        }
        ready!(session.poll_closed_in_handler(cx));
        let deadline = deadline.get_or_insert_with(|| {
            let deadline = Deadline::new(state.worker.clone());
            deadline.set(state.config.handler_grace);
            deadline
        });
        if state.poll_stopped_waiting(cx).is_pending() {
            ready!(deadline.poll(cx));
            state.forget_ended_handler(cx);
        }
        Poll::Ready(true)
    });
    if given_up.await {
        let client = Subject::Session(&session.sid, session.peer());
        log::debug!(%client, "handler dropped: its session has ended");
    }
}

/// See [`drain_inbox`].
async fn handle_all<H: Handler>(
    shard: &Shard<H>,
    session: &Rc<Session<H::Session>>,
    first: Pin<&mut impl Future<Output = ()>>,
    started: Option<Instant>,
) {
    first.await;
    count_message(shard, started);
    let mut budget = YieldBudget::default();
    loop {
        let mut inbox = session.take_inbox();
        if inbox.is_empty() {
            break;
        }
        while !inbox.is_empty() {
            budget.count().await;
            // Not above the high-water mark, as where messages are received: the handler may answer each.
            poll_fn(|cx| session.poll_room(cx)).await;
            let Some(next) = inbox.front() else { break };
            let started = shard.state.timing.sample();
            let handling = call(shard, session, |socket| shard.handler.message(socket, next));
            let before = inbox.bytes();
            inbox.pop();
            session.remove_in_progress(before - inbox.bytes());
            handling.await;
            count_message(shard, started);
        }
    }
}

/// The handler has finished: if the session has ended in the meantime, its disconnect callback is due.
fn finish_handler<H: Handler>(shard: &Shard<H>, session: &Rc<Session<H::Session>>) {
    if session.set_idle() {
        shard.state.queue_disconnect(session.clone());
    }
}

/// A panic ends the session for which the handler was called, and no other.
#[inline]
fn end_after_panic<T>(socket: &Socket<T>, result: Result<(), Stopped>) {
    if result == Err(Stopped::Panicked) {
        abort_after_panic(socket);
    }
}

#[cold]
fn abort_after_panic<T>(socket: &Socket<T>) {
    socket.end(CloseReason::HandlerPanicked);
    log::error!(sid = %socket.sid(), "handler panicked; its session ends");
}
