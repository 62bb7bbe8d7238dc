//! From a session to its handler: one message at a time, without a copy while the handler keeps up.
//!
//! The first poll of a handler's future happens where the message was read. Mostly that is also the last, and
//! nothing was copied, allocated or scheduled. A future that is still pending makes the session *busy*: whoever
//! polled it stays with it until it and everything stashed meanwhile is done, and reading goes on beside.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use eio_core::packet::Message;
use eio_core::session::CloseReason;
use pin_project_lite::pin_project;

use crate::message::OwnedMessage;
use crate::server::config::Dispatch;
use crate::server::handler::Handler;
use crate::server::session::Session;
use crate::server::shard::Shard;
use crate::server::socket::Socket;
use crate::worker::tasks::{Run, Stopped};
use crate::worker::yield_now::YieldBudget;

/// Delivers a message: to the inbox while the handler is busy with an earlier one, to a task of its own with
/// [`Dispatch::Concurrent`], and to the handler otherwise, by the future that is returned.
// Inlined, so that the future is constructed where it stays.
#[inline(always)]
pub(crate) fn deliver<'s, H: Handler>(
    shard: &'s Rc<Shard<H>>,
    session: &Rc<Session<H::Session>>,
    lent: Message<'_>,
) -> Option<impl Future<Output = ()> + use<'s, H>> {
    if session.is_busy() {
        session.push_inbox(lent);
        return None;
    }
    if is_concurrent(shard) {
        spawn_message(shard, session, lent);
        return None;
    }
    Some(message(shard, session, lent))
}

/// Calls the handler. The future, guarded against panics, does not borrow the message. From here on the session is
/// busy, until [`begin`] or [`drain_inbox`] finds that the handler is done.
#[inline(always)]
fn message<'s, H: Handler>(
    shard: &'s Shard<H>,
    session: &Rc<Session<H::Session>>,
    lent: Message<'_>,
) -> impl Future<Output = ()> + use<'s, H> {
    session.set_busy();
    call(shard, session, |socket| shard.handler.message(socket, lent))
}

/// Runs what [`message`] or [`opened`] made as far as it goes at once, which mostly is to its end.
pub(crate) fn begin<H: Handler>(
    shard: &Shard<H>,
    session: &Rc<Session<H::Session>>,
    mut handled: Pin<&mut impl Future<Output = ()>>,
) -> impl Future<Output = Poll<()>> {
    poll_fn(move |cx| {
        let polled = handled.as_mut().poll(cx);
        if polled.is_ready() {
            finish_handler(shard, session);
        }
        Poll::Ready(polled)
    })
}

#[inline(always)]
fn call<'s, H: Handler, F: Future<Output = ()>>(
    shard: &'s Shard<H>,
    session: &Rc<Session<H::Session>>,
    handler: impl FnOnce(&Socket<H::Session>) -> F,
) -> Handled<'s, H::Session, F> {
    let socket = Socket::new(session.clone());
    let running = shard.state.tasks.start(|| handler(&socket));
    Handled { running, socket }
}

pin_project! {
    /// A handler at work for a session.
    struct Handled<'s, T, F> {
        #[pin]
        running: Run<'s, F>,
        socket: Socket<T>,
    }
}

impl<T, F: Future<Output = ()>> Future for Handled<'_, T, F> {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let result = ready!(this.running.poll(cx));
        judge(this.socket, result);
        Poll::Ready(())
    }
}

/// Hands a message over in a task of its own.
fn spawn_message<H: Handler>(
    shard: &Rc<Shard<H>>,
    session: &Rc<Session<H::Session>>,
    lent: Message<'_>,
) {
    /// What a task costs beside its message, about.
    const TASK: usize = 512;
    let (shard, session, owned) = (shard.clone(), session.clone(), OwnedMessage::from(lent));
    let tasks = shard.clone();
    let size = TASK + lent.len();
    session.add_in_progress(size);
    tasks.state.tasks.spawn(async move {
        call(&shard, &session, |socket| shard.handler.message(socket, owned.borrow())).await;
        session.remove_in_progress(size);
    });
}

/// Whether messages are to be spawned.
pub(crate) fn is_concurrent<H: Handler>(shard: &Shard<H>) -> bool {
    shard.state.config.dispatch == Dispatch::Concurrent
}

/// Tells the handler that a session exists. A new session is busy until that is done, see [`begin`].
pub(crate) async fn opened<H: Handler>(shard: &Shard<H>, session: &Rc<Session<H::Session>>) {
    let socket = Socket::new(session.clone());
    let result = shard.state.tasks.start(|| shard.handler.open(&socket)).await;
    judge(&socket, result);
}

/// Tells the handler that a session has ended.
pub(crate) async fn ended<H: Handler>(shard: &Shard<H>, session: Rc<Session<H::Session>>) {
    let tasks = &shard.state.tasks;
    let reason = session.closed().unwrap_or(CloseReason::TransportClose);
    tracing::debug!(sid = %session.sid, %reason, "session closed");
    let socket = Socket::new(session);
    let _ = tasks.start(|| shard.handler.disconnect(&socket, reason)).await;
}

/// Stays with a busy session: runs `first`, then everything that was stashed meanwhile, in order.
pub(crate) async fn drain_inbox<H: Handler>(
    shard: &Shard<H>,
    session: &Rc<Session<H::Session>>,
    first: Pin<&mut impl Future<Output = ()>>,
) {
    first.await;
    let mut budget = YieldBudget::default();
    loop {
        let mut inbox = session.take_inbox();
        if inbox.is_empty() {
            break;
        }
        while !inbox.is_empty() {
            budget.count().await;
            // As where messages are read: a handler that answers each does not fill the queue.
            poll_fn(|cx| session.poll_room(cx)).await;
            let Some(next) = inbox.front() else { break };
            let done = call(shard, session, |socket| shard.handler.message(socket, next));
            let before = inbox.bytes();
            inbox.pop();
            session.remove_in_progress(before - inbox.bytes());
            done.await;
        }
    }
    finish_handler(shard, session);
}

/// The handler is done: if the session ended meanwhile, also by its own hand, it hears of that now.
fn finish_handler<H: Handler>(shard: &Shard<H>, session: &Rc<Session<H::Session>>) {
    if session.set_idle() {
        shard.state.queue_disconnect(session.clone());
    }
}

/// A panic ends the session it happened in, and nothing else.
#[inline]
fn judge<T>(socket: &Socket<T>, result: Result<(), Stopped>) {
    if result == Err(Stopped::Panicked) {
        panicked(socket);
    }
}

#[cold]
fn panicked<T>(socket: &Socket<T>) {
    tracing::error!(sid = %socket.sid(), "handler panicked; its session ends");
    socket.end(CloseReason::HandlerPanicked);
}
