//! Mail between shards, and from other threads to them.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use eio_core::sid::Sid;
use eio_core::transport::Transport;

use crate::message::{Encoded, OwnedMessage};
use crate::net::Mailbox;
use crate::shard::registry::SidKey;

/// What the shards of a server share.
pub(crate) struct Mesh {
    pub(crate) boxes: Vec<Mailbox<Mail>>,
    pub(crate) key: SidKey,
    /// Live sessions of all shards.
    pub(crate) sessions: AtomicUsize,
    /// Open connections of all shards.
    pub(crate) connections: AtomicUsize,
    pub(crate) shutting_down: AtomicBool,
}

pub(crate) enum Mail {
    /// A connection whose next request belongs to a session of the receiver.
    Connection(Moved),
    Send(Sid, OwnedMessage),
    /// One message to sessions of the receiver.
    SendMany(Arc<[Sid]>, Encoded),
    Broadcast(Encoded),
    Disconnect(Sid),
    DisconnectAll,
    Transport(Sid, mpsc::SyncSender<Option<Transport>>),
    Shutdown,
}

/// A connection on its way to another shard: nothing is in flight on it, no response is owed but to `unread`.
pub(crate) struct Moved {
    pub(crate) fd: OwnedFd,
    /// Bytes received that no request has claimed: the head that names the session, and what follows.
    pub(crate) unread: Vec<u8>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) permit: Permit,
}

/// A place among [`max_connections`](crate::Config::max_connections); given back when dropped.
pub(crate) struct Permit(Arc<Mesh>);

impl Permit {
    pub(crate) fn take(mesh: &Arc<Mesh>, max: usize) -> Option<Self> {
        if mesh.connections.fetch_add(1, Ordering::Relaxed) < max {
            return Some(Self(mesh.clone()));
        }
        mesh.connections.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Mesh {
    /// Posts to one shard. A shard that has ended drops its mail unread.
    pub(crate) fn post(&self, shard: u16, mail: Mail) {
        if let Some(mailbox) = self.boxes.get(usize::from(shard)) {
            mailbox.send(mail);
        }
    }

    /// Posts to every shard but `except`.
    pub(crate) fn post_all(&self, except: Option<u16>, mail: impl Fn() -> Mail) {
        for shard in 0..self.boxes.len() as u16 {
            if Some(shard) != except {
                self.post(shard, mail());
            }
        }
    }

    /// Tells every shard to end, once.
    pub(crate) fn shut_down(&self) {
        if !self.shutting_down.swap(true, Ordering::AcqRel) {
            self.post_all(None, || Mail::Shutdown);
        }
    }
}
