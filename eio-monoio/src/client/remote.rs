//! [`RemoteClient`]: a handle to a client's session for other threads.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use crate::client::session::Session;
use crate::error::SendError;
use crate::message::{AsMessage, OwnedMessage};
use crate::worker::context::WorkerContext;
use crate::worker::mailbox::{Mailbox, MailboxReceiver, Undelivered};

/// A handle to the session of a [`Client`](crate::client::Client) for other threads, from
/// [`Client::remote`](crate::client::Client::remote).
///
/// The client's worker executes the calls in order. A handle does not keep the session alive.
///
/// ```no_run
/// use std::thread;
/// use eio_monoio::client::Client;
///
/// # async fn f(client: Client) -> Result<(), Box<dyn std::error::Error>> {
/// let remote = client.remote()?;
/// thread::spawn(move || {
///     for line in std::io::stdin().lines().map_while(Result::ok) {
///         if remote.send(line).is_err() {
///             return; // the session has ended, or does not keep up
///         }
///     }
///     remote.disconnect();
/// });
/// let closed = client.ended().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RemoteClient(Arc<Shared>);

struct Shared {
    mailbox: Mailbox<Command>,
    /// The size in bytes from which the mailbox accepts no more messages.
    limit: usize,
    /// The session has ended: the mailbox is not read any more.
    ended: AtomicBool,
}

enum Command {
    Send(OwnedMessage),
    Disconnect,
}

impl RemoteClient {
    /// Sends a message, as [`Client::send`](crate::client::Client::send) does.
    ///
    /// If the session refuses the message later, it is dropped, and the client receives
    /// [`Event::Unsent`](crate::client::Event::Unsent).
    ///
    /// # Errors
    /// [`SendError::Full`] if the mailbox, which is read while the session's queue has room, has reached the client's
    /// [`outbound_high_water`](crate::client::Connect::outbound_high_water), and [`SendError::Closed`] if the session has
    /// ended.
    pub fn send(&self, message: impl AsMessage) -> Result<(), SendError> {
        let message = message.into_owned_message();
        let size = message.borrow().len();
        self.submit(Command::Send(message), size, self.0.limit)
    }

    /// Ends the session after the messages that were sent before, as
    /// [`Client::disconnect`](crate::client::Client::disconnect) does. Does not wait for the end.
    pub fn disconnect(&self) {
        // An error means that the session has ended.
        _ = self.submit(Command::Disconnect, 0, usize::MAX);
    }

    fn submit(&self, command: Command, size: usize, limit: usize) -> Result<(), SendError> {
        /// The approximate memory of a command besides its message, in bytes.
        const OVERHEAD: usize = 64;
        if self.0.ended.load(Ordering::Acquire) {
            return Err(SendError::Closed);
        }
        let offered = self.0.mailbox.offer(command, OVERHEAD + size, limit);
        offered.map_err(|undelivered| match undelivered {
            Undelivered::Full => SendError::Full,
            Undelivered::Closed => SendError::Closed,
        })
    }
}

impl std::fmt::Debug for RemoteClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteClient").finish_non_exhaustive()
    }
}

/// Creates a handle, and the task that executes its commands until the session has ended.
pub(crate) fn remote(
    worker: &Rc<WorkerContext>,
    session: &Rc<Session>,
) -> io::Result<RemoteClient> {
    let (mailbox, wake_rx) = Mailbox::new()?;
    let receiver = MailboxReceiver::new(wake_rx)?;
    let limit = session.settings.options.outbound_high_water;
    let shared = Arc::new(Shared { mailbox, limit, ended: AtomicBool::new(false) });
    let remote = RemoteClient(shared.clone());
    let session = session.clone();
    worker.tasks.spawn(async move {
        let mut commands = Vec::new();
        while receive(&shared, &receiver, &session, &mut commands).await {
            for command in commands.drain(..) {
                execute(&session, command).await;
            }
        }
        shared.ended.store(true, Ordering::Release);
    });
    Ok(remote)
}

/// Receives commands. Returns false if the session has ended.
async fn receive(
    shared: &Shared,
    receiver: &MailboxReceiver,
    session: &Session,
    commands: &mut Vec<Command>,
) -> bool {
    let mut receiving = pin!(shared.mailbox.recv(receiver, commands));
    poll_fn(|cx| {
        if session.poll_finished(cx).is_ready() {
            return Poll::Ready(false);
        }
        receiving.as_mut().poll(cx).map(|received| received.is_ok())
    })
    .await
}

async fn execute(session: &Rc<Session>, command: Command) {
    match command {
        Command::Disconnect => session.close(),
        Command::Send(message) => loop {
            match session.try_send(message.borrow()) {
                Ok(()) => return,
                Err(SendError::Full) => poll_fn(|cx| session.poll_room(cx)).await,
                Err(error) => return session.notify_unsent(error),
            }
        },
    }
}
