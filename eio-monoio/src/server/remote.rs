//! [`Remote`]: a handle to a server for other threads.

use std::any::{Any, type_name};
use std::borrow::Borrow;
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

use crate::error::{SendError, SpawnError};
use crate::message::{AsMessage, Encoded};
use crate::metrics::{DropReason, Metrics};
use crate::server::shard::gather::Gather;
use crate::server::shard::shared::{Except, ServerShared, ShardMessage};
use crate::server::socket::Socket;

/// A handle to a server for any thread: it is `Send`, `Sync` and cheap to clone.
///
/// With `Server::cluster`, messages, `disconnect` and [`transport`](Self::transport) reach the sessions of every node, and
/// `here` returns a handle for those of this node only; lists, counts and [`spawn_at`](Self::spawn_at) are always about
/// this node. For sessions of other nodes, [`SendError::Full`] is about `Cluster::engine_high_water`, and
/// [`SendError::TooLarge`] about the engine's limit.
///
/// A call puts its request into the mailbox of the worker that owns the session and returns without waiting, except
/// [`transport`](Self::transport) and `reload_tls`. The request is ignored if the session has ended by then. Messages
/// in a mailbox are limited by [`mailbox_high_water`](crate::Config::mailbox_high_water); other requests are not.
///
/// [`Running::remote`](crate::Running::remote), [`ServerRef::remote`](crate::ServerRef::remote) and
/// [`current`](Self::current) return one. It may outlive the server: then sends return [`SendError::Closed`], and other
/// calls have no effect.
///
/// ```
/// use eio_monoio::{Remote, SendError, Sid};
///
/// /// Called on threads that are not the server's, with each event of another system.
/// fn notify(remote: &Remote, subscribers: &[Sid], text: &str) {
///     match remote.send_many(subscribers, text) {
///         Ok(()) => {}
///         Err(SendError::Full) => eprintln!("a worker is overloaded; some sessions were skipped"),
///         Err(error) => eprintln!("{error}"),
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Remote {
    shared: Arc<ServerShared>,
    /// Other nodes of a cluster are left out.
    is_local: bool,
}

impl Remote {
    pub(crate) fn new(shared: Arc<ServerShared>) -> Self {
        Self { shared, is_local: false }
    }

    /// The same server without the other nodes of its cluster: calls reach the sessions of this node only.
    ///
    /// Only with the feature `nats`.
    #[cfg(feature = "nats")]
    #[must_use]
    pub fn here(&self) -> Self {
        Self { shared: self.shared.clone(), is_local: true }
    }

    /// The other nodes of the cluster; `None` if the server is not a node of one.
    ///
    /// Only with the feature `nats`.
    #[cfg(feature = "nats")]
    pub fn cluster(&self) -> Option<crate::ClusterView> {
        self.shared.cluster().cloned().map(crate::ClusterView)
    }

    /// The server of the current worker, for handlers and functions that they call. `None` on a thread that is not a
    /// worker of a server.
    pub fn current() -> Option<Self> {
        CURRENT.with(|here| here.borrow().clone())
    }

    /// Makes this handle that of [`current`](Self::current) on this thread, until the guard is dropped.
    pub(crate) fn enter(shared: Arc<ServerShared>) -> Entered {
        Entered(CURRENT.with(|here| here.replace(Some(Self::new(shared)))))
    }

    /// Sends to one session.
    ///
    /// `Ok` means that its worker will queue the message, unless the session has ended or is above its
    /// [high-water mark](crate::Config::outbound_high_water): then the worker drops it, and that is logged.
    ///
    /// # Errors
    /// - [`SendError::Full`]: [`mailbox_high_water`](crate::Config::mailbox_high_water) bytes or more wait for the
    ///   worker of the session.
    /// - [`SendError::Closed`]: the server has ended, or it cannot have issued this sid.
    /// - [`SendError::Separator`]: text with U+001E. With
    ///   [`separator_over_websocket`](crate::Config::separator_over_websocket) it is dropped instead if polling carries
    ///   the session, and that is logged.
    pub fn send(&self, sid: &Sid, message: impl AsMessage) -> Result<(), SendError> {
        let route = self.shared.route(sid);
        let shard = route.as_ref().map_or(0, |route| route.shard);
        self.shared
            .check_separator(message.as_message())
            .inspect_err(|_| self.shared.count_dropped(shard, DropReason::Separator, 1))?;
        if route.is_none() {
            let away = match self.is_local {
                true => Err(SendError::Closed),
                false => self.shared.send_away(sid, message.as_message()),
            };
            if away == Err(SendError::Closed) {
                self.shared.count_dropped(0, DropReason::UnknownSession, 1);
            }
            return away;
        }
        let message = message.into_owned_message();
        let len = message.borrow().len();
        self.shared.offer(shard, len, |_| 1, ShardMessage::Send(sid.clone(), message))
    }

    /// Sends to some sessions. The message is encoded once. Sids that this server cannot have issued are ignored.
    ///
    /// # Errors
    /// As [`send`](Self::send), if that applies to at least one worker. Sessions of other workers receive the message.
    pub fn send_many(
        &self,
        sids: impl IntoIterator<Item = impl Borrow<Sid>>,
        message: impl AsMessage,
    ) -> Result<(), SendError> {
        let message = message.as_message();
        let mut sids: Vec<Sid> = sids.into_iter().map(|sid| sid.borrow().clone()).collect();
        if let Err(error) = self.shared.check_separator(message) {
            self.shared.count_dropped(0, DropReason::Separator, sids.len() as u64);
            return Err(error);
        }
        let mut away = Ok(());
        if !self.is_local {
            away = self.shared.send_many_away(&mut sids, message);
        }
        self.shared.offer_many(None, sids, &Encoded::new(message)).1.and(away)
    }

    /// Sends to every session of every worker. The message is encoded once. Sessions opened after this call do not
    /// receive it; a session above its [high-water mark](crate::Config::outbound_high_water) is skipped.
    ///
    /// # Errors
    /// As [`send`](Self::send), if that applies to at least one worker. Sessions of other workers receive the message.
    pub fn broadcast(&self, message: impl AsMessage) -> Result<(), SendError> {
        let message = message.as_message();
        let encoded = self.encode_broadcast(message)?;
        let away = if self.is_local { Ok(()) } else { self.shared.broadcast_away(message, &[]) };
        self.shared.offer_all(None, self.shared.calls.next(), &encoded, &Except::NONE).and(away)
    }

    /// Sends to every session as [`broadcast`](Self::broadcast), except to these.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast).
    pub fn broadcast_except(
        &self,
        except: impl IntoIterator<Item = impl Borrow<Sid>>,
        message: impl AsMessage,
    ) -> Result<(), SendError> {
        let message = message.as_message();
        let encoded = self.encode_broadcast(message)?;
        let except: Vec<Sid> = except.into_iter().map(|sid| sid.borrow().clone()).collect();
        let away =
            if self.is_local { Ok(()) } else { self.shared.broadcast_away(message, &except) };
        let except = Except::new(except);
        self.shared.offer_all(None, self.shared.calls.next(), &encoded, &except).and(away)
    }

    /// Ends one session, as [`Socket::disconnect`](crate::Socket::disconnect). An unknown sid is ignored.
    pub fn disconnect(&self, sid: &Sid) {
        match self.shared.route(sid) {
            Some(route) => self.shared.post(route.shard, ShardMessage::Disconnect(sid.clone())),
            None if self.is_local => {}
            None => self.shared.disconnect_away(sid),
        }
    }

    /// Ends every session that is open now, as [`Socket::disconnect`](crate::Socket::disconnect).
    pub fn disconnect_all(&self) {
        let call = self.shared.calls.next();
        self.shared.post_all(|| ShardMessage::DisconnectAll(call));
        if !self.is_local {
            self.shared.disconnect_all_away();
        }
    }

    /// Calls `new_future` on one of the workers, in turn, and runs its future there as [`spawn`](crate::spawn) does.
    ///
    /// One worker runs it: a periodic task of the server is spawned here once, not in the closure of
    /// [`Server::new`](crate::Server::new), which every worker calls.
    ///
    /// The closure is sent to the worker, so its captures must be `Send`; the future need not be. A panic is caught and
    /// logged. After the server has ended, neither is called.
    ///
    /// ```
    /// use std::time::Duration;
    /// use eio_monoio::Running;
    ///
    /// fn broadcast_each_minute(running: &Running) {
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
        new_future: impl FnOnce() -> F + Send + 'static,
    ) {
        let shard = self.shared.jobs.fetch_add(1, Ordering::Relaxed) % self.shared.mailboxes.len();
        let job = Box::new(move || drop(crate::worker::task::spawn(new_future())));
        self.shared.post(shard as u16, ShardMessage::Run(job));
    }

    /// Calls `new_future` with the session of this sid on the worker of the session, and runs the future there as
    /// [`spawn`](crate::spawn) does.
    ///
    /// `T` is the handler's [`Session`](crate::Handler::Session); this handle does not have that type, so it is compared
    /// when this is called. The closure is sent to the worker, so its captures must be `Send`; the future need not be.
    /// If the session has ended by then, the closure is dropped without a call. A panic is caught and logged.
    ///
    /// # Errors
    /// - [`SpawnError::SessionType`]: the handler's sessions have data of another type.
    /// - [`SpawnError::Closed`]: this server cannot have issued the sid.
    ///
    /// ```
    /// use eio_monoio::{Remote, Sid, Socket, SpawnError};
    ///
    /// struct User {
    ///     name: String,
    /// }
    ///
    /// fn greet(remote: &Remote, sid: &Sid) -> Result<(), SpawnError> {
    ///     remote.spawn_at(sid, |socket: Socket<User>| async move {
    ///         let greeting = format!("hello, {}", socket.data().name);
    ///         socket.send(greeting).await.ok();
    ///     })
    /// }
    /// ```
    pub fn spawn_at<T: 'static, F: Future<Output = ()> + 'static>(
        &self,
        sid: &Sid,
        new_future: impl FnOnce(Socket<T>) -> F + Send + 'static,
    ) -> Result<(), SpawnError> {
        let session_type = self.shared.session_type;
        if !session_type.is::<T>() {
            let (expected, found) = (session_type.name, type_name::<T>());
            return Err(SpawnError::SessionType { expected, found });
        }
        let route = self.shared.route(sid).ok_or(SpawnError::Closed)?;
        let job = Box::new(move |socket: &dyn Any| {
            // Always `Some`: the types were compared above.
            if let Some(socket) = socket.downcast_ref::<Socket<T>>() {
                drop(crate::worker::task::spawn(new_future(socket.clone())));
            }
        });
        self.shared.post(route.shard, ShardMessage::RunAt(sid.clone(), job));
        Ok(())
    }

    /// The ids of the sessions of all workers, in no order. Sessions that are opened or end in the meantime may be
    /// missing or listed.
    ///
    /// Completes when each worker has answered; a worker that has ended has no sessions. Each worker copies its ids
    /// without a pause, 65 bytes for each session, so do not call it for every message. Any executor can poll it.
    pub async fn sids(&self) -> Vec<Sid> {
        let gather = Gather::default();
        self.shared.post_all(|| ShardMessage::Sids(gather.part()));
        gather.await
    }

    /// The transport of a session; `None` if it is not open.
    ///
    /// Blocks until the worker of the session has answered, for at most one second, after which it returns `None`. Do
    /// not call it on a worker; handlers have [`Socket::transport`](crate::Socket::transport).
    pub fn transport(&self, sid: &Sid) -> Option<Transport> {
        let Some(route) = self.shared.route(sid) else {
            return if self.is_local { None } else { self.shared.transport_away(sid) };
        };
        let (reply, answer) = mpsc::sync_channel(1);
        let reply = move |transport| {
            // This thread may have stopped waiting.
            let _ = reply.try_send(transport);
        };
        self.shared.post(route.shard, ShardMessage::Transport(sid.clone(), Box::new(reply)));
        answer.recv_timeout(Duration::from_secs(1)).ok().flatten()
    }

    /// The number of sessions of all workers.
    pub fn sessions(&self) -> usize {
        self.shared.sessions.load(Ordering::Relaxed)
    }

    /// The metrics of the server and the process. It does not wait for the workers; reading the figures of the process
    /// takes about 0.1 ms.
    pub fn metrics(&self) -> Metrics {
        self.shared.metrics()
    }

    /// The number of connections of all workers.
    pub fn connections(&self) -> usize {
        self.shared.connections.open()
    }

    /// Reads the files of [`Tls`](crate::Tls) again, for connections that are accepted from now on. Open connections
    /// continue unchanged. Without TLS it has no effect.
    ///
    /// It reads from disk, so do not call it on a worker. Only with the feature `tls`.
    ///
    /// # Errors
    /// The file that cannot be used, and the reason. The server keeps the previous certificate and options then.
    #[cfg(feature = "tls")]
    pub fn reload_tls(&self) -> Result<(), crate::ConfigError> {
        self.shared.reload_tls()
    }

    /// Whether the server takes new sessions: neither a drain nor a shutdown has begun. For the route that a load
    /// balancer asks (`/readyz`).
    pub fn is_ready(&self) -> bool {
        self.shared.is_ready()
    }

    /// Starts a drain; see [`Running::drain`](crate::Running::drain).
    pub fn drain(&self) {
        self.shared.drain();
    }

    /// Starts an orderly shutdown; see [`Running::shutdown`](crate::Running::shutdown).
    pub fn shutdown(&self) {
        self.shared.shut_down();
    }

    fn encode_broadcast(&self, message: Message<'_>) -> Result<Encoded, SendError> {
        self.shared
            .check_separator(message)
            .inspect_err(|_| self.shared.count_dropped_by_all(DropReason::Separator))?;
        Ok(Encoded::new(message))
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Remote>> = const { RefCell::new(None) };
}

/// The guard of [`Remote::enter`]. It restores the previous handle.
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
