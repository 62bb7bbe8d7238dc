//! Mail between shards, and from other threads to them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use eio_core::sid::Sid;
use eio_core::transport::Transport;

use crate::error::SendError;
use crate::io::permit::ConnectionPermit;
use crate::io::stream::DetachedStream;
use crate::message::{Encoded, OwnedMessage};
use crate::metrics::{Counters, Metrics};
use crate::server::shard::disk::Reply;
use crate::server::shard::registry::{Directory, Route, SidKey};
use crate::worker::mailbox::{Mailbox, Undelivered};
use crate::worker::thread_pool::ThreadPool;

/// What the shards of a server share.
pub(crate) struct ServerShared {
    pub(crate) mailboxes: Vec<Mailbox<ShardMessage>>,
    pub(crate) key: SidKey,
    /// There is one if the application makes the sids.
    pub(crate) directory: Option<Arc<Directory>>,
    /// Live sessions of all shards.
    pub(crate) sessions: AtomicUsize,
    /// Open connections of all shards.
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) shutting_down: AtomicBool,
    /// New sessions of all shards.
    pub(crate) handshakes: Rate,
    pub(crate) calls: CallSequence,
    /// See [`mailbox_high_water`](crate::Config::mailbox_high_water).
    pub(crate) mail_limit: usize,
    /// Where the next job goes, modulo the number of shards.
    pub(crate) jobs: AtomicUsize,
    /// What each shard counts.
    pub(crate) counters: Vec<Arc<Counters>>,
    /// For [`blocking`](crate::blocking) work.
    pub(crate) thread_pool: Arc<ThreadPool>,
    /// What the server proves who it is with, if it does.
    #[cfg(feature = "tls")]
    pub(crate) identity: Option<crate::server::tls::Identity>,
}

pub(crate) enum ShardMessage {
    /// A connection whose next request belongs to a session of the receiver.
    Connection(MovedConnection),
    Send(Sid, OwnedMessage),
    /// One message to sessions of the receiver.
    SendMany(Arc<[Sid]>, Encoded),
    Broadcast(CallNumber, Encoded),
    Disconnect(Sid),
    DisconnectAll(CallNumber),
    /// What a disk thread has to say to the holder of a ticket.
    Disk(u64, Reply),
    /// The first, a shard, wants to be told by [`BarrierReached`](Self::BarrierReached) when what came in here is passed on.
    Barrier(u16, u64),
    BarrierReached(u64),
    Transport(Sid, mpsc::SyncSender<Option<Transport>>),
    Run(Job),
    Shutdown,
}

/// What another thread wants done on a core.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// A connection on its way to another shard: nothing is in flight on it, no response is owed but to `unread`.
pub(crate) struct MovedConnection {
    pub(crate) stream: DetachedStream,
    /// Bytes received that no request has claimed: the head that names the session, and what follows.
    pub(crate) unread: Vec<u8>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) permit: Option<ConnectionPermit>,
}

/// Orders calls to every session against the opening of sessions. A shard may read its mail after it has taken a
/// connection that came later: what was said before a session existed is not for it.
#[derive(Default)]
pub(crate) struct CallSequence(AtomicU64);

/// A moment between two calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CallNumber(u64);

impl CallSequence {
    /// A call to every session that exists now: those opened before [`CallNumber`].
    pub(crate) fn next(&self) -> CallNumber {
        CallNumber(self.0.fetch_add(1, Ordering::AcqRel) + 1)
    }

    /// When a session is opened.
    pub(crate) fn latest(&self) -> CallNumber {
        CallNumber(self.0.load(Ordering::Acquire))
    }
}

/// Counts what happens in one second, for all shards.
pub(crate) struct Rate {
    origin: Instant,
    /// The second since `origin` in the upper half, the count in the lower.
    state: AtomicU64,
}

impl Rate {
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now(), state: AtomicU64::new(0) }
    }

    /// Counts one more, unless there were `max` in this second.
    pub(crate) fn admit(&self, max: usize) -> bool {
        self.admit_at(self.origin.elapsed().as_secs(), max)
    }

    fn admit_at(&self, second: u64, max: usize) -> bool {
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        let count = |state: u64| {
            // Another core may have seen the next second already.
            let now = second.max(state >> 32);
            let count = if state >> 32 == now { state as u32 } else { 0 };
            (count < max).then(|| now << 32 | u64::from(count + 1))
        };
        self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).is_ok()
    }
}

impl ServerShared {
    pub(crate) fn metrics(&self) -> Metrics {
        Metrics {
            workers: self.counters.iter().map(|counters| counters.read()).collect(),
            connections: self.connections.load(Ordering::Relaxed) as u64,
        }
    }

    /// Whether connections over TCP begin with TLS.
    pub(crate) fn is_secure(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.identity.is_some();
        #[cfg(not(feature = "tls"))]
        return false;
    }

    /// Where the session of a sid lives, if there can be one.
    pub(crate) fn route(&self, sid: &Sid) -> Option<Route> {
        match &self.directory {
            Some(directory) => directory.get(sid),
            None => self.key.route(sid),
        }
    }

    /// Posts to one shard. A shard that has ended drops its mail unread.
    pub(crate) fn post(&self, shard: u16, shard_message: ShardMessage) {
        if let Some(mailbox) = self.mailboxes.get(usize::from(shard)) {
            mailbox.send(shard_message);
        }
    }

    /// Posts to every shard.
    pub(crate) fn post_all(&self, shard_message: impl Fn() -> ShardMessage) {
        (0..self.mailboxes.len() as u16).for_each(|shard| self.post(shard, shard_message()));
    }

    /// Posts what carries a message of `len` bytes to one shard, unless too much waits for it already: see
    /// [`mailbox_high_water`](crate::Config::mailbox_high_water).
    pub(crate) fn offer(
        &self,
        shard: u16,
        len: usize,
        shard_message: ShardMessage,
    ) -> Result<(), SendError> {
        /// What a letter costs beside its message, about.
        const LETTER: usize = 64;
        let mailbox = self.mailboxes.get(usize::from(shard)).ok_or(SendError::Closed)?;
        mailbox.offer(shard_message, LETTER + len, self.mail_limit).map_err(|undelivered| {
            match undelivered {
                Undelivered::Full => SendError::Full,
                Undelivered::Closed => SendError::Closed,
            }
        })
    }

    /// [Offers](Self::offer) a message to every shard but `except`. An error: not all of them took it.
    pub(crate) fn offer_all(
        &self,
        except: Option<u16>,
        call: CallNumber,
        message: &Encoded,
    ) -> Result<(), SendError> {
        let mut result = Ok(());
        for shard in (0..self.mailboxes.len() as u16).filter(|shard| Some(*shard) != except) {
            let shard_message = ShardMessage::Broadcast(call, message.clone());
            // Also after an error: the others are to have it.
            result = result.and(self.offer(shard, message.frame().len(), shard_message));
        }
        result
    }

    /// Tells every shard to end, once.
    pub(crate) fn shut_down(&self) {
        if !self.shutting_down.swap(true, Ordering::AcqRel) {
            self.post_all(|| ShardMessage::Shutdown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_for_those_who_were_there() {
        let calls = CallSequence::default();
        let early = calls.latest();
        let call = calls.next();
        let late = calls.latest();
        assert!(early < call && late >= call && late < calls.next());
    }

    #[test]
    fn no_more_than_so_many_in_a_second() {
        let rate = Rate::new();
        let admitted = |second| (0..10).filter(|_| rate.admit_at(second, 3)).count();
        assert_eq!((admitted(0), admitted(0)), (3, 0));
        assert_eq!((admitted(7), admitted(7)), (3, 0));
        // A core whose clock was read a moment earlier does not open the second again.
        assert_eq!((admitted(6), admitted(8)), (0, 3));
    }
}
