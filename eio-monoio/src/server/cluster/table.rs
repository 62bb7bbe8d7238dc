//! [`Table`]: the other nodes, as workers read them.

use std::collections::HashMap;
use std::sync::Arc;

use eio_core::cluster::hello::Identity;
use eio_core::cluster::members::{Members, NodeId, NodeState, Peer as Slot};
use eio_core::sid::{Sid, Tag};

/// Another node, when the table was made.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: NodeId,
    /// Its tag, incarnation, key and the addresses of its links.
    pub(crate) identity: Identity,
    pub(crate) state: NodeState,
    pub(crate) sessions: u32,
    /// Messages that it has sent and that did not arrive here.
    pub(crate) lost: u64,
}

/// A copy of the members, which is replaced when one of them changes.
#[derive(Debug, Default)]
pub(crate) struct Table(HashMap<String, Arc<Peer>>);

/// Where the requests of a session go.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// This node, or no node: the sid has its tag, or none.
    Here,
    Node(Arc<Peer>),
    /// The node is up, but cannot be reached from here.
    Unreachable(Arc<Peer>),
    /// The node is lost, or was never known.
    Gone,
}

impl Table {
    pub(crate) fn new(members: &Members<Box<[Slot]>>) -> Self {
        let peers = members.nodes().map(|node| Peer {
            id: node.id(),
            identity: node.identity().clone(),
            state: node.state(),
            sessions: node.sessions(),
            lost: node.messages_lost(),
        });
        let entry = |peer: Peer| (peer.identity.tag.as_str().to_owned(), Arc::new(peer));
        Self(peers.map(entry).collect())
    }

    pub(crate) fn find(&self, tag: &str) -> Option<&Arc<Peer>> {
        self.0.get(tag)
    }

    pub(crate) fn place(&self, sid: &Sid, own: &Tag) -> Place {
        let Some(tag) = sid.tag() else { return Place::Here };
        if tag == own.as_str() {
            return Place::Here;
        }
        match self.find(tag) {
            None => Place::Gone,
            Some(peer) => match peer.state {
                NodeState::Lost => Place::Gone,
                NodeState::Unreachable => Place::Unreachable(peer.clone()),
                NodeState::Joining | NodeState::Up | NodeState::Leaving => {
                    Place::Node(peer.clone())
                }
            },
        }
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = &Arc<Peer>> {
        self.0.values()
    }
}
