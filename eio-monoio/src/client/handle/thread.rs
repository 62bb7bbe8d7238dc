//! The thread of a [`Handle`](super::Handle): a worker with one client, which executes commands and forwards events.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::thread;

use eio_core::sid::Sid;

use super::queue::{Queue, Reply};
use crate::client::{Backoff, Client, Connect, ConnectError, Event, block_on};
use crate::error::SendError;
use crate::message::OwnedMessage;
use crate::worker::net::Driver;
use crate::worker::task::{Task, spawn};

/// The state that a handle shares with its thread.
pub(super) struct Shared {
    /// Closed when the handle is dropped.
    pub(super) commands: Queue<Command>,
    /// Closed between two sessions, after their events are taken.
    pub(super) events: Queue<Event<OwnedMessage>>,
    sid: Mutex<Option<Sid>>,
}

pub(super) enum Command {
    Send(OwnedMessage, Reply<Result<(), SendError>>),
    Flush(Reply<()>),
    Undelivered(Reply<Vec<OwnedMessage>>),
    Disconnect(Reply<()>),
    Reconnect(Option<Backoff>, Reply<Result<(), ConnectError>>),
}

/// The number of events in the queue from which the session's inbox fills.
const MAX_EVENTS: usize = 32;

impl Shared {
    pub(super) fn new() -> Self {
        Self { commands: Queue::new(), events: Queue::new(), sid: Mutex::new(None) }
    }

    pub(super) fn sid(&self) -> Option<Sid> {
        self.sid.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_sid(&self, sid: Sid) {
        *self.sid.lock().unwrap_or_else(PoisonError::into_inner) = Some(sid);
    }
}

/// Starts the thread. `reply` receives the outcome of the first connection.
pub(super) fn start(
    driver: Driver,
    connect: Connect,
    backoff: Option<Backoff>,
    shared: Arc<Shared>,
    reply: Reply<Result<(), ConnectError>>,
) {
    /// Ends all waits of the handle with the thread, also after a panic.
    struct Ended(Arc<Shared>);

    impl Drop for Ended {
        fn drop(&mut self) {
            self.0.commands.close();
            self.0.events.close();
            // The replies of commands that are not executed.
            while let Some(command) = self.0.commands.try_pop() {
                drop(command);
            }
        }
    }

    let reply = Arc::new(Mutex::new(Some(reply)));
    let take = {
        let reply = reply.clone();
        move || reply.lock().unwrap_or_else(PoisonError::into_inner).take()
    };
    let fail = |error: std::io::Error, reply: Option<Reply<_>>| {
        if let Some(reply) = reply {
            reply.send(Err(ConnectError::Thread(error.into())));
        }
    };
    let take_in_thread = take.clone();
    let started = thread::Builder::new().name("eio-client".into()).spawn(move || {
        let ended = Ended(shared);
        let shared = &ended.0;
        let outcome = block_on(driver, async {
            let mut serving = pin!(serve(connect, backoff, shared, &take_in_thread));
            poll_fn(|cx| {
                let dropped = shared.commands.poll_closed(cx).is_ready();
                if dropped { Poll::Ready(()) } else { serving.as_mut().poll(cx) }
            })
            .await;
        });
        if let Err(error) = outcome {
            fail(error, take_in_thread());
        }
    });
    if let Err(error) = started {
        fail(error, take());
    }
}

async fn serve(
    connect: Connect,
    backoff: Option<Backoff>,
    shared: &Arc<Shared>,
    take_reply: &impl Fn() -> Option<Reply<Result<(), ConnectError>>>,
) {
    let connected = match backoff {
        Some(backoff) => connect.connect_with(&backoff).await,
        None => connect.await,
    };
    let Some(reply) = take_reply() else { return };
    let client = match connected {
        Ok(client) => Rc::new(client),
        Err(error) => return reply.send(Err(error)),
    };
    let mut forwarding = begin_session(&client, shared);
    reply.send(Ok(()));
    while let Some(command) = shared.commands.pop().await {
        match command {
            Command::Send(message, reply) => answer(reply, client.send(&message)).await,
            Command::Flush(reply) => answer(reply, client.flushed()).await,
            Command::Undelivered(reply) => answer(reply, client.undelivered()).await,
            Command::Disconnect(reply) => answer(reply, client.disconnect()).await,
            Command::Reconnect(backoff, reply) => {
                answer(reply, async {
                    match &backoff {
                        Some(backoff) => client.reconnect_with(backoff).await?,
                        None => client.reconnect().await?,
                    }
                    forwarding.cancel();
                    shared.events.reopen();
                    forwarding = begin_session(&client, shared);
                    Ok(())
                })
                .await;
            }
        }
    }
}

/// Sends the output of `work`, unless nothing waits for it any more: then `work` is dropped.
async fn answer<T>(reply: Reply<T>, work: impl Future<Output = T>) {
    let mut work = pin!(work);
    let output = poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => reply.poll_cancelled(cx).map(|()| None),
    });
    if let Some(output) = output.await {
        reply.send(output);
    }
}

/// Publishes the session, and forwards its events until it has ended.
fn begin_session(client: &Rc<Client>, shared: &Arc<Shared>) -> Task<()> {
    shared.set_sid(client.sid());
    let (client, shared) = (client.clone(), shared.clone());
    spawn(async move {
        while let Some(event) = client.next().await {
            if !shared.events.room(MAX_EVENTS).await {
                return;
            }
            shared.events.push(event.into_owned());
        }
        shared.events.close();
    })
}
