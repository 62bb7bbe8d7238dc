//! [`Remote`]: the server from any thread.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use eio_core::packet::Message;
use eio_core::sid::Sid;
use eio_core::transport::Transport;

use crate::error::SendError;
use crate::message::Encoded;
use crate::metrics::Metrics;
use crate::server::shard::shared::{ServerShared, ShardMessage};

/// A handle to a running server for other threads. What it asks for is mailed to the core that owns the
/// session; one that has ended meanwhile is ignored. Messages wait there up to
/// [`mailbox_high_water`](crate::Config::mailbox_high_water); what is no message is always taken.
#[derive(Clone)]
pub struct Remote {
    shared: Arc<ServerShared>,
}

impl Remote {
    pub(crate) fn new(shared: Arc<ServerShared>) -> Self {
        Self { shared }
    }

    /// The server whose worker this thread is, for handlers and what they call; `None` on other threads.
    pub fn current() -> Option<Self> {
        CURRENT.with(|here| here.borrow().clone())
    }

    /// Makes this thread a worker of a server until the guard is dropped.
    pub(crate) fn enter(shared: Arc<ServerShared>) -> Entered {
        Entered(CURRENT.with(|here| here.replace(Some(Self { shared }))))
    }

    /// Sends to one session. Above its high-water mark the message is dropped, and that is logged.
    ///
    /// # Errors
    /// [`SendError::Full`] above [`mailbox_high_water`](crate::Config::mailbox_high_water): the core of the session
    /// is behind, the message is dropped. [`SendError::Closed`]: the server has ended, or never had such a session.
    pub fn send<'m>(&self, sid: &Sid, message: impl Into<Message<'m>>) -> Result<(), SendError> {
        let message = message.into();
        let route = self.shared.route(sid).ok_or(SendError::Closed)?;
        self.shared.offer(
            route.shard,
            message.len(),
            ShardMessage::Send(sid.clone(), message.into()),
        )
    }

    /// Sends to some sessions, with one encoding.
    ///
    /// # Errors
    /// As for [`send`](Self::send), if it is so for one core; the sessions of the others get the message.
    pub fn send_many<'m>(
        &self,
        sids: impl IntoIterator<Item = Sid>,
        message: impl Into<Message<'m>>,
    ) -> Result<(), SendError> {
        let mut shards = vec![Vec::new(); self.shared.mailboxes.len()];
        for sid in sids {
            if let Some(route) = self.shared.route(&sid) {
                shards[usize::from(route.shard)].push(sid);
            }
        }
        let message = Encoded::new(message.into());
        let mut result = Ok(());
        for (shard, sids) in shards.into_iter().enumerate().filter(|(_, sids)| !sids.is_empty()) {
            let size = message.frame().len() + sids.len() * size_of::<Sid>();
            let shard_message = ShardMessage::SendMany(sids.into(), message.clone());
            // Also after an error: the others are to have it.
            result = result.and(self.shared.offer(shard as u16, size, shard_message));
        }
        result
    }

    /// Sends to every session of every core, with one encoding.
    ///
    /// # Errors
    /// As for [`send`](Self::send), if it is so for one core; the sessions of the others get the message.
    pub fn broadcast<'m>(&self, message: impl Into<Message<'m>>) -> Result<(), SendError> {
        let message = Encoded::new(message.into());
        self.shared.offer_all(None, self.shared.calls.next(), &message)
    }

    /// Ends a session after what is queued for it.
    pub fn disconnect(&self, sid: &Sid) {
        self.route(sid, ShardMessage::Disconnect);
    }

    /// Ends every session.
    pub fn disconnect_all(&self) {
        let call = self.shared.calls.next();
        self.shared.post_all(|| ShardMessage::DisconnectAll(call));
    }

    /// Calls `make` on one of the cores, in turn, and runs its future there as [`spawn`](crate::spawn) does: what
    /// this thread can send goes into `make`, what it makes of that stays on the core. After the server's end
    /// nothing happens.
    ///
    /// ```
    /// use std::time::Duration;
    /// use eio_monoio::Running;
    ///
    /// fn tell_the_time(running: &Running) {
    ///     let remote = running.remote();
    ///     running.remote().spawn(move || async move {
    ///         loop {
    ///             eio_monoio::sleep(Duration::from_secs(60)).await;
    ///             remote.broadcast("another minute").ok();
    ///         }
    ///     });
    /// }
    /// ```
    pub fn spawn<F: Future<Output = ()> + 'static>(
        &self,
        make: impl FnOnce() -> F + Send + 'static,
    ) {
        let shard = self.shared.jobs.fetch_add(1, Ordering::Relaxed) % self.shared.mailboxes.len();
        let job = Box::new(move || drop(crate::worker::task::spawn(make())));
        self.shared.post(shard as u16, ShardMessage::Run(job));
    }

    /// What carries a session; `None` if there is no such session. Waits for the core that owns it, at most a
    /// second: not to be called from a handler, which has [`Socket::transport`](crate::Socket::transport).
    pub fn transport(&self, sid: &Sid) -> Option<Transport> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.route(sid, |sid| ShardMessage::Transport(sid, reply));
        answer.recv_timeout(Duration::from_secs(1)).ok().flatten()
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.shared.sessions.load(Ordering::Relaxed)
    }

    /// What the workers have done and hold. Cheap: it reads what they have written down, and waits for nobody.
    pub fn metrics(&self) -> Metrics {
        self.shared.metrics()
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Reads the files of [`Tls`](crate::Tls) again: connections that come from now on see what is in them, those
    /// that are there go on as they are. Does nothing for a server without TLS. It reads from disk: not to be
    /// called from a handler. Only with the feature `tls`.
    ///
    /// # Errors
    /// What is wrong with the files, and which of them it is. Then everything stays as it was.
    #[cfg(feature = "tls")]
    pub fn reload_tls(&self) -> Result<(), crate::ConfigError> {
        self.shared.identity.as_ref().map_or(Ok(()), crate::server::tls::Identity::reload)
    }

    /// Begins an orderly end, see [`Running::shutdown`](crate::Running::shutdown).
    pub fn shutdown(&self) {
        self.shared.shut_down();
    }

    fn route(&self, sid: &Sid, shard_message: impl FnOnce(Sid) -> ShardMessage) {
        if let Some(route) = self.shared.route(sid) {
            self.shared.post(route.shard, shard_message(sid.clone()));
        }
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Remote>> = const { RefCell::new(None) };
}

/// See [`Remote::enter`]; holds what was there before.
pub(crate) struct Entered(Option<Remote>);

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.with(|here| *here.borrow_mut() = self.0.take());
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("sessions", &self.sessions()).finish_non_exhaustive()
    }
}
