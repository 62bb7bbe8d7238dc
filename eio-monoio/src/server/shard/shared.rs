//! [`ServerShared`]: the state that all workers of a server share; [`ShardMessage`]: messages to a worker.

use std::any::{Any, TypeId, type_name};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use eio_core::packet::Message;
use eio_core::sid::Sid;
use eio_core::transport::Transport;

use crate::error::{ConfigError, SendError};
use crate::io::permit::{ConnectionCount, ConnectionPermit};
use crate::io::stream::DetachedStream;
use crate::message::{Encoded, OwnedMessage, check_separator};
use crate::metrics::{Counters, DropReason, LimitMetrics, Metrics, ProcessMetrics};
use crate::server::addresses::AddressTable;
use crate::server::cause::CauseLog;
use crate::server::config::Config;
use crate::server::shard::disk::Reply;
use crate::server::shard::gather::Part;
use crate::server::shard::heartbeats::Heartbeats;
use crate::server::shard::registry::{Directory, Route, SidKey};
use crate::server::via::Via;
use crate::worker::budget;
use crate::worker::mailbox::{Mailbox, Undelivered};
use crate::worker::thread_pool::ThreadPool;

/// The state that all workers of a server share.
pub(crate) struct ServerShared {
    pub(crate) mailboxes: Vec<Mailbox<ShardMessage>>,
    pub(crate) key: SidKey,
    /// The sessions by sid, if the application generates the sids.
    pub(crate) directory: Option<Arc<Directory>>,
    /// Open sessions of all workers.
    pub(crate) sessions: AtomicUsize,
    /// Open connections of all workers.
    pub(crate) connections: ConnectionCount,
    /// Connections and handshakes of each address, if one of them is limited.
    pub(crate) addresses: Option<Arc<AddressTable>>,
    pub(crate) shutting_down: AtomicBool,
    pub(crate) draining: AtomicBool,
    /// Workers that have closed all of their sessions in a drain.
    pub(crate) drained: AtomicUsize,
    /// Every listener is shared with other processes, which accept when this one ends.
    pub(crate) shares_listeners: bool,
    /// Handshakes of all workers.
    pub(crate) handshakes: Rate,
    pub(crate) causes: CauseLog,
    pub(crate) calls: CallSequence,
    pub(crate) session_type: SessionType,
    /// See [`separator_over_websocket`](crate::Config::separator_over_websocket).
    pub(crate) separator_over_websocket: bool,
    /// See [`mailbox_high_water`](crate::Config::mailbox_high_water).
    pub(crate) mailbox_limit: usize,
    /// The worker of the next job, modulo the number of workers.
    pub(crate) jobs: AtomicUsize,
    /// The counters of each worker.
    pub(crate) counters: Vec<Arc<Counters>>,
    pub(crate) limits: LimitMetrics,
    pub(crate) heartbeats: Heartbeats,
    /// The threads for [`blocking`](crate::blocking) work.
    pub(crate) thread_pool: Arc<ThreadPool>,
    /// The certificate and options, if the server has TLS.
    #[cfg(feature = "tls")]
    pub(crate) identity: Option<crate::server::tls::Identity>,
    /// The other nodes, if the server is one of a cluster.
    #[cfg(feature = "nats")]
    pub(crate) cluster: Option<Arc<crate::server::cluster::hub::Hub>>,
}

/// A message to a worker.
pub(crate) enum ShardMessage {
    /// A connection whose next request is for a session of the receiver.
    Connection(MovedConnection),
    Send(Sid, OwnedMessage),
    /// One message to sessions of the receiver.
    SendMany(Arc<[Sid]>, Encoded),
    Broadcast(CallNumber, Encoded, Except),
    Disconnect(Sid),
    DisconnectAll(CallNumber),
    /// The reply of a disk thread, with the number of the request.
    Disk(u64, Reply),
    /// From the worker with this id, with a number. [`BarrierReached`](Self::BarrierReached) answers it, after all HTTP
    /// requests that the receiver has received by now are passed on.
    Barrier(u16, u64),
    BarrierReached(u64),
    Transport(Sid, OnTransport),
    /// Adds the ids of the receiver's sessions.
    Sids(Part<Sid>),
    Run(Job),
    RunAt(Sid, SessionJob),
    /// Finds out whether another node answers on a link.
    #[cfg(feature = "nats")]
    PingNode(Arc<crate::server::cluster::table::Peer>),
    /// Another node leaves: polls that are held for clients at it end.
    #[cfg(feature = "nats")]
    NodeLeaving(eio_core::cluster::members::NodeId),
    /// Another node is lost: requests that were forwarded to it end.
    #[cfg(feature = "nats")]
    NodeEnded(eio_core::cluster::members::NodeId),
    /// From the thread that watches the workers.
    Heartbeat,
    Drain,
    Shutdown,
}

/// Called with the transport of a session, on the worker of the session.
pub(crate) type OnTransport = Box<dyn FnOnce(Option<Transport>) + Send>;

/// A function that another thread runs on a worker.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// A function that another thread runs on the worker of a session, with its `Socket` of [`SessionType`].
pub(crate) type SessionJob = Box<dyn FnOnce(&dyn Any) + Send>;

/// The type of the application's data of a session.
#[derive(Clone, Copy)]
pub(crate) struct SessionType {
    id: TypeId,
    pub(crate) name: &'static str,
}

impl SessionType {
    pub(crate) fn of<T: 'static>() -> Self {
        Self { id: TypeId::of::<T>(), name: type_name::<T>() }
    }

    pub(crate) fn is<T: 'static>(&self) -> bool {
        self.id == TypeId::of::<T>()
    }
}

/// Sessions that a broadcast skips, sorted.
#[derive(Clone)]
pub(crate) struct Except(Option<Arc<[Sid]>>);

impl Except {
    pub(crate) const NONE: Self = Self(None);

    pub(crate) fn new(mut sids: Vec<Sid>) -> Self {
        sids.sort_unstable();
        Self((!sids.is_empty()).then(|| sids.into()))
    }

    #[inline]
    pub(crate) fn contains(&self, sid: &Sid) -> bool {
        self.0.as_ref().is_some_and(|sids| sids.binary_search(sid).is_ok())
    }

    fn size(&self) -> usize {
        self.0.as_ref().map_or(0, |sids| size_of_val(&**sids))
    }
}

/// A connection that moves to another worker. No operation is in progress, and only the request in `unread` is
/// unanswered.
pub(crate) struct MovedConnection {
    pub(crate) stream: DetachedStream,
    /// Received bytes: the head that names the session, and the bytes after it.
    pub(crate) unread: Vec<u8>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) permit: Option<ConnectionPermit>,
    pub(crate) via: Via,
}

/// Orders broadcasts against the opening of sessions. A worker may handle a broadcast after it has opened a session
/// that is newer than the broadcast: the session does not receive it.
#[derive(Default)]
pub(crate) struct CallSequence(AtomicU64);

/// A position in the sequence of broadcasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CallNumber(u64);

impl CallSequence {
    /// The number of a new broadcast, which is for the sessions opened before it.
    pub(crate) fn next(&self) -> CallNumber {
        CallNumber(self.0.fetch_add(1, Ordering::AcqRel) + 1)
    }

    /// The position of a session that is opened now.
    pub(crate) fn latest(&self) -> CallNumber {
        CallNumber(self.0.load(Ordering::Acquire))
    }
}

/// Limits events in each second, for all workers together.
pub(crate) struct Rate {
    origin: Instant,
    /// The second since `origin` in the upper half, the count in the lower.
    state: AtomicU64,
}

impl Rate {
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now(), state: AtomicU64::new(0) }
    }

    /// Counts one event, unless `max` were counted in this second.
    pub(crate) fn admit(&self, max: usize) -> bool {
        self.admit_at(self.origin.elapsed().as_secs(), max)
    }

    /// The current second.
    pub(crate) fn second(&self) -> u32 {
        self.origin.elapsed().as_secs() as u32
    }

    fn admit_at(&self, second: u64, max: usize) -> bool {
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        let count = |state: u64| {
            // Another worker may have counted in the next second already.
            let now = second.max(state >> 32);
            let count = if state >> 32 == now { state as u32 } else { 0 };
            (count < max).then(|| now << 32 | u64::from(count + 1))
        };
        self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).is_ok()
    }
}

impl ServerShared {
    /// The state for one worker with each of the mailboxes, without TLS. `generates_sids`: the application does.
    pub(crate) fn new(
        config: &Config,
        generates_sids: bool,
        session_type: SessionType,
        mailboxes: Vec<Mailbox<ShardMessage>>,
    ) -> io::Result<Self> {
        let workers = mailboxes.len();
        let key = SidKey::new(workers as u16, config.sid_tag())
            .map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self {
            mailboxes,
            key,
            directory: generates_sids.then(Arc::default),
            sessions: AtomicUsize::new(0),
            connections: ConnectionCount::default(),
            addresses: config
                .limits_addresses()
                .then(|| Arc::new(AddressTable::new(config.address_table_bytes))),
            shutting_down: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            drained: AtomicUsize::new(0),
            shares_listeners: false,
            handshakes: Rate::new(),
            causes: CauseLog::default(),
            calls: CallSequence::default(),
            session_type,
            separator_over_websocket: config.separator_over_websocket,
            mailbox_limit: config.mailbox_high_water,
            jobs: AtomicUsize::new(0),
            counters: (0..workers).map(|_| Arc::default()).collect(),
            limits: config.limit_metrics(),
            heartbeats: Heartbeats::new(workers),
            thread_pool: ThreadPool::new(config.blocking_threads),
            #[cfg(feature = "tls")]
            identity: None,
            #[cfg(feature = "nats")]
            cluster: None,
        })
    }

    /// Checks a message for sessions whose transport is not known.
    pub(crate) fn check_separator(&self, message: Message<'_>) -> Result<(), SendError> {
        if self.separator_over_websocket { Ok(()) } else { check_separator(message) }
    }

    pub(crate) fn metrics(&self) -> Metrics {
        let worker = |(id, counters): (usize, &Arc<Counters>)| {
            counters.read().with_unresponsive(self.heartbeats.waiting(id).unwrap_or_default())
        };
        Metrics {
            workers: self.counters.iter().enumerate().map(worker).collect(),
            connections: self.connections.open() as u64,
            #[cfg(feature = "nats")]
            cluster: self.cluster.as_ref().map(|hub| hub.metrics()),
            held_bytes: budget::held() as u64,
            limits: self.limits.clone(),
            process: Some(ProcessMetrics::read()),
        }
    }

    /// Whether TCP connections use TLS.
    pub(crate) fn is_secure(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.identity.is_some();
        #[cfg(not(feature = "tls"))]
        return false;
    }

    /// The worker and slot of a session; `None` if this server cannot have a session with this sid.
    pub(crate) fn route(&self, sid: &Sid) -> Option<Route> {
        match &self.directory {
            Some(directory) => directory.get(sid),
            None => self.key.route(sid),
        }
    }

    /// Sends a message to one worker. One that has ended drops it.
    pub(crate) fn post(&self, shard: u16, shard_message: ShardMessage) {
        if let Some(mailbox) = self.mailboxes.get(usize::from(shard)) {
            mailbox.send(shard_message);
        }
    }

    /// Sends a message to every worker.
    pub(crate) fn post_all(&self, shard_message: impl Fn() -> ShardMessage) {
        (0..self.mailboxes.len() as u16).for_each(|shard| self.post(shard, shard_message()));
    }

    /// Counts a message that sessions of a worker do not receive.
    pub(crate) fn count_dropped(&self, shard: u16, reason: DropReason, sessions: u64) {
        if let Some(counters) = self.counters.get(usize::from(shard)) {
            counters.dropped(reason, sessions);
        }
    }

    /// Counts a message that no session receives.
    pub(crate) fn count_dropped_by_all(&self, reason: DropReason) {
        self.counters
            .iter()
            .for_each(|counters| counters.dropped(reason, counters.open_sessions()));
    }

    /// Sends to one worker a message for sessions that contains `len` bytes of the application, within
    /// [`mailbox_high_water`](crate::Config::mailbox_high_water). `sessions`: how many do not receive it after an error.
    pub(crate) fn offer(
        &self,
        shard: u16,
        len: usize,
        sessions: impl FnOnce(&Counters) -> u64,
        shard_message: ShardMessage,
    ) -> Result<(), SendError> {
        /// The approximate memory of a message without those bytes.
        const OVERHEAD: usize = 64;
        let mailbox = self.mailboxes.get(usize::from(shard)).ok_or(SendError::Closed)?;
        mailbox.offer(shard_message, OVERHEAD + len, self.mailbox_limit).map_err(|undelivered| {
            if let Some(counters) = self.counters.get(usize::from(shard)) {
                counters.dropped(DropReason::MailboxFull, sessions(counters));
            }
            match undelivered {
                Undelivered::Full => SendError::Full,
                Undelivered::Closed => SendError::Closed,
            }
        })
    }

    /// [Offers](Self::offer) a broadcast to every worker but `except`. An error means that at least one did not accept
    /// it.
    pub(crate) fn offer_all(
        &self,
        except: Option<u16>,
        call: CallNumber,
        message: &Encoded,
        skipped: &Except,
    ) -> Result<(), SendError> {
        let mut result = Ok(());
        let size = message.frame().len() + skipped.size();
        for shard in (0..self.mailboxes.len() as u16).filter(|shard| Some(*shard) != except) {
            let shard_message = ShardMessage::Broadcast(call, message.clone(), skipped.clone());
            // After an error too: the other workers receive it.
            result = result.and(self.offer(shard, size, Counters::open_sessions, shard_message));
        }
        result
    }

    /// [Offers](Self::offer) a message to the workers of some sessions, except to `here`, whose sids are returned. An
    /// error means that at least one worker did not accept it.
    pub(crate) fn offer_many(
        &self,
        here: Option<u16>,
        sids: impl IntoIterator<Item = Sid>,
        message: &Encoded,
    ) -> (Vec<Sid>, Result<(), SendError>) {
        let mut shards = vec![Vec::new(); self.mailboxes.len()];
        for sid in sids {
            match self.route(&sid) {
                Some(route) => shards[usize::from(route.shard)].push(sid),
                None => self.count_dropped(here.unwrap_or(0), DropReason::UnknownSession, 1),
            }
        }
        let own = here.map(|here| std::mem::take(&mut shards[usize::from(here)]));
        let mut result = Ok(());
        for (shard, sids) in shards.into_iter().enumerate().filter(|(_, sids)| !sids.is_empty()) {
            let size = message.frame().len() + sids.len() * size_of::<Sid>();
            let sessions = sids.len() as u64;
            let shard_message = ShardMessage::SendMany(sids.into(), message.clone());
            // After an error too: the other workers receive it.
            result = result.and(self.offer(shard as u16, size, |_| sessions, shard_message));
        }
        (own.unwrap_or_default(), result)
    }

    /// Starts the shutdown of every worker, once.
    pub(crate) fn shut_down(&self) {
        if !self.shutting_down.swap(true, Ordering::AcqRel) {
            self.leave_cluster();
            self.post_all(|| ShardMessage::Shutdown);
        }
    }

    /// Starts the drain of every worker, once, unless the server shuts down already.
    pub(crate) fn drain(&self) {
        if !self.draining.swap(true, Ordering::AcqRel) && !self.is_shutting_down() {
            self.leave_cluster();
            self.post_all(|| ShardMessage::Drain);
        }
    }

    /// A worker has closed its sessions. The last one starts the shutdown.
    pub(crate) fn worker_drained(&self) {
        if self.drained.fetch_add(1, Ordering::AcqRel) + 1 >= self.mailboxes.len() {
            self.shut_down();
        }
    }

    pub(crate) fn is_shutting_down(&self) -> bool {
        self.shutting_down.load(Ordering::Acquire)
    }

    /// Tells the other nodes that this one takes no new sessions.
    fn leave_cluster(&self) {
        #[cfg(feature = "nats")]
        if let Some(hub) = &self.cluster {
            hub.leave();
        }
    }

    /// Neither a drain nor a shutdown has begun, and the server has joined its cluster.
    pub(crate) fn is_ready(&self) -> bool {
        #[cfg(feature = "nats")]
        if self.cluster.as_ref().is_some_and(|hub| !hub.is_ready()) {
            return false;
        }
        !self.draining.load(Ordering::Acquire) && !self.is_shutting_down()
    }

    /// Reads the certificate again, if there is one.
    pub(crate) fn reload_tls(&self) -> Result<(), ConfigError> {
        #[cfg(feature = "tls")]
        if let Some(identity) = &self.identity {
            return identity.reload();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcast_skips_sessions_opened_later() {
        let calls = CallSequence::default();
        let early = calls.latest();
        let call = calls.next();
        let late = calls.latest();
        assert!(early < call && late >= call && late < calls.next());
    }

    #[test]
    fn rate_admits_max_events_per_second() {
        let rate = Rate::new();
        let admitted = |second| (0..10).filter(|_| rate.admit_at(second, 3)).count();
        assert_eq!((admitted(0), admitted(0)), (3, 0));
        assert_eq!((admitted(7), admitted(7)), (3, 0));
        // A worker that read its clock a moment earlier does not restart the previous second.
        assert_eq!((admitted(6), admitted(8)), (0, 3));
    }
}
