//! [`Remote`]: a client, from other threads.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use crate::client::session::Session;
use crate::error::SendError;
use crate::message::OwnedMessage;
use crate::worker::context::WorkerContext;
use crate::worker::mailbox::{Mailbox, MailboxReceiver, Undelivered};

/// A handle to the session of a [`Client`](crate::client::Client) for other threads. What it asks for is mailed to
/// the core of the client and done there, in order.
#[derive(Clone)]
pub struct Remote(Arc<Shared>);

struct Shared {
    mailbox: Mailbox<Order>,
    /// How much may wait in it.
    limit: usize,
    /// Nobody reads the mail any more.
    gone: AtomicBool,
}

enum Order {
    Send(OwnedMessage),
    Disconnect,
}

impl Remote {
    /// Sends a message. One the session does not take is dropped, which the client is told by
    /// [`Event::Unsent`](crate::client::Event::Unsent).
    ///
    /// # Errors
    /// [`SendError::Full`]: the client's [`outbound_high_water`](crate::client::Connect::outbound_high_water) waits
    /// for its core, besides what waits for the network. [`SendError::Closed`]: the session has ended.
    pub fn send(&self, message: impl Into<OwnedMessage>) -> Result<(), SendError> {
        let message = message.into();
        let size = message.borrow().len();
        self.post(Order::Send(message), size, self.0.limit)
    }

    /// Ends the session after what was sent before.
    pub fn disconnect(&self) {
        // One that has ended needs no end.
        _ = self.post(Order::Disconnect, 0, usize::MAX);
    }

    fn post(&self, order: Order, size: usize, limit: usize) -> Result<(), SendError> {
        /// What an order costs beside its message, about.
        const ORDER: usize = 64;
        if self.0.gone.load(Ordering::Acquire) {
            return Err(SendError::Closed);
        }
        self.0.mailbox.offer(order, ORDER + size, limit).map_err(|undelivered| match undelivered {
            Undelivered::Full => SendError::Full,
            Undelivered::Closed => SendError::Closed,
        })
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}

/// Makes a handle, and the task that does what it asks for until the session is gone.
pub(crate) fn remote(worker: &Rc<WorkerContext>, session: &Rc<Session>) -> io::Result<Remote> {
    let (mailbox, wake_rx) = Mailbox::new()?;
    let bell = MailboxReceiver::new(wake_rx)?;
    let limit = session.settings.options.outbound_high_water;
    let shared = Arc::new(Shared { mailbox, limit, gone: AtomicBool::new(false) });
    let remote = Remote(shared.clone());
    let session = session.clone();
    worker.tasks.spawn(async move {
        let mut orders = Vec::new();
        while receive(&shared, &bell, &session, &mut orders).await {
            for order in orders.drain(..) {
                follow(&session, order).await;
            }
        }
        shared.gone.store(true, Ordering::Release);
    });
    Ok(remote)
}

/// False: the session is gone.
async fn receive(
    shared: &Shared,
    bell: &MailboxReceiver,
    session: &Session,
    orders: &mut Vec<Order>,
) -> bool {
    let mut mail = pin!(shared.mailbox.recv(bell, orders));
    poll_fn(|cx| {
        if session.poll_gone(cx).is_ready() {
            return Poll::Ready(false);
        }
        mail.as_mut().poll(cx).map(|received| received.is_ok())
    })
    .await
}

async fn follow(session: &Rc<Session>, order: Order) {
    match order {
        Order::Disconnect => session.close(),
        Order::Send(message) => loop {
            match session.try_send(message.borrow()) {
                Ok(()) => return,
                Err(SendError::Full) => poll_fn(|cx| session.poll_room(cx)).await,
                Err(error) => return session.notify_unsent(error),
            }
        },
    }
}
