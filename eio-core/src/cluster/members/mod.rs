//! [`Members`]: which nodes of a cluster are up, where the requests of a session go, and when to say hello.
//!
//! Two witnesses tell about another node: the bus (its hellos, and whether its subscriptions exist) and links (whether
//! it answers a ping). A node is *lost* if both are silent: its sessions are gone. It is *unreachable* if only the bus
//! has news of it: its sessions live, their requests cannot be forwarded at present. A node whose bus is down learns
//! nothing from silence: it keeps every node. No node takes over a session of another, so a wrong verdict costs at most
//! refused requests, and the next hello or ping corrects it.
//!
//! Inputs are the methods `handle_…`, each with the time. After each, [`Members::poll_action`] and
//! [`Members::poll_event`] are called until they return `None`, and [`Members::handle_timeout`] at
//! [`Members::poll_timeout`].

mod account;
mod inputs;
mod outputs;
mod peer;
#[cfg(test)]
mod tests;

pub use self::peer::Peer;
use self::peer::{Bus, Known, Link};
use super::bus::Stamp;
use super::hello::{Hello, Identity, Links, State};
use crate::buffer::{Overflow, Sink};
use crate::sid::{Sid, Tag};
use crate::time::Instant;

/// The maximum number of other nodes.
pub const NODES_MAX: usize = 1024;

/// Intervals and deadlines of [`Members`], in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two hellos. **Default:** 1,000.
    pub heartbeat_ms: u32,
    /// Without a hello, after which a node is pinged, and is lost if the ping fails. **Default:** 4,500.
    pub node_timeout_ms: u32,
    /// For the answer to a ping, or to a question on the bus. **Default:** 1,000.
    pub link_timeout_ms: u32,
    /// The longest delay of the answer to a newcomer's hello. **Default:** 100.
    pub answer_jitter_ms: u32,
    /// After a hello that announces more messages than have arrived, until they are lost. **Default:** 200.
    pub settle_ms: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat_ms: 1_000,
            node_timeout_ms: 4_500,
            link_timeout_ms: 1_000,
            answer_jitter_ms: 100,
            settle_ms: 200,
        }
    }
}

/// Another node: its slot and how many nodes had it before. That of a forgotten node finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    slot: u16,
    generation: u32,
}

/// A message for the driver to send.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// [`Members::write_hello`] to all nodes.
    Hello,
    /// [`Members::write_hello`] to one node.
    HelloTo(Tag),
    /// The question whether a node is alive, over the bus. The reply is a hello: [`Members::handle_reply`]. The bus itself
    /// may answer that no node receives it: [`Members::handle_no_responders`].
    Ask(NodeId),
    /// A ping over an idle link, or over a new one. The result within [`Timing::link_timeout_ms`] is
    /// [`Members::handle_link_alive`] or [`Members::handle_link_failed`]; none counts as failed.
    Ping(NodeId),
}

/// News for the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A node has come, or is up again.
    Up(NodeId),
    /// A node has come and waits for objections to its tag.
    Joining(NodeId),
    /// A node opens no more sessions. Those that it has live on.
    Leaving(NodeId),
    /// A node is alive, but no link to it works. Its requests are answered 503.
    Unreachable(NodeId),
    /// A node and its sessions are gone, or it has left. Links to it are closed and their requests end.
    Lost(NodeId),
    /// The bus lost messages of a node to this one, or to all.
    MessagesLost {
        /// The sender.
        node: NodeId,
        /// How many.
        count: u64,
    },
    /// Messages may be published to a node again.
    BusOpen(NodeId),
    /// Messages may be published to all nodes again.
    BusOpenAll,
    /// This node has joined.
    Ready,
    /// Another live node has this node's tag: this node must not open sessions in the cluster.
    TagTaken,
    /// There are more nodes than slots. The sessions of those without a slot are unknown.
    Full,
}

/// Where a request of a session goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// This node, or the sid has no tag.
    Here,
    /// Another node.
    Node(NodeId),
    /// Another node, to which no link works at present: 503.
    Unreachable(NodeId),
    /// A node that is lost: the session is gone.
    Lost,
    /// No node has this tag.
    Unknown,
}

/// The state of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It waits for objections to its tag.
    Joining,
    /// It opens sessions.
    Up,
    /// It opens no more sessions.
    Leaving,
    /// It is alive, but no link to it works.
    Unreachable,
    /// It gives no sign of life, or has left.
    Lost,
}

/// Which messages a [`Stamp`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Those to this node or its sessions.
    Direct,
    /// Those to all nodes.
    All,
}

/// A view of another node.
#[derive(Clone, Copy, Debug)]
pub struct Node<'m> {
    id: NodeId,
    known: &'m Known,
}

impl<'m> Node<'m> {
    /// Its id.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Its tag, incarnation, key and addresses.
    pub fn identity(&self) -> &'m Identity {
        &self.known.identity
    }

    /// Its tag.
    pub fn tag(&self) -> &'m Tag {
        self.known.tag()
    }

    /// The addresses at which it accepts links.
    pub fn links(&self) -> &'m Links {
        self.known.links()
    }

    /// Its state.
    pub fn state(&self) -> NodeState {
        self.known.state()
    }

    /// The number of its sessions, as of its last hello.
    pub fn sessions(&self) -> u32 {
        self.known.sessions
    }

    /// How many of its messages to this node or to all the bus lost.
    pub fn messages_lost(&self) -> u64 {
        self.known.direct.missing().saturating_add(self.known.all.missing())
    }
}

/// The nodes of a cluster, as one of them sees the others. `S` is the memory: an array, a boxed slice, or a borrowed one.
///
/// ```
/// use eio_core::cluster::hello::Identity;
/// use eio_core::cluster::members::{Action, Event, Members, Peer, Route, Timing};
/// use eio_core::sid::{Sid, Tag};
/// use eio_core::time::Instant;
///
/// let now = Instant::from_millis(0);
/// let tag = Tag::new("web-0").unwrap();
/// let me = Identity { tag, incarnation: 1, key: [7; 32], links: Default::default() };
/// let mut slots: [Peer; 8] = Default::default();
/// let mut members = Members::new(me, Timing::default(), &mut slots[..], now);
///
/// members.handle_bus(true, now);
/// assert_eq!(members.poll_action(now), Some(Action::Hello));
/// members.handle_timeout(now.after(1_000));
/// assert_eq!(members.poll_event(), Some(Event::Ready));
/// assert_eq!(members.route(&Sid::new("web-1.abc").unwrap()), Route::Unknown);
/// ```
#[derive(Debug)]
pub struct Members<S> {
    identity: Identity,
    timing: Timing,
    peers: S,
    bus: Bus,
    state: State,
    sessions: u32,
    sent_all: u64,
    /// The highest count of messages to a node that was forgotten: that of the next begins with it, so that the numbers
    /// that one receiver sees never go back.
    base: u64,
    next_hello: Instant,
    /// Says hello at once.
    wants_hello: bool,
    /// The next hello asks for answers.
    wants_answer: bool,
    /// When joining ends.
    joined_at: Option<Instant>,
    open_all: bool,
    flags: Flags,
    /// Whether [`Members::poll_action`] or [`Members::poll_event`] may return something of a peer.
    dirty: bool,
}

/// Events of this node that were not told yet.
#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    ready: bool,
    tag_taken: bool,
    full: bool,
    told_full: bool,
    open_all: bool,
}

impl<S: AsRef<[Peer]> + AsMut<[Peer]>> Members<S> {
    /// The members as `identity` sees them, before it has a connection to the bus. At most [`NODES_MAX`] slots of `peers`
    /// are used.
    pub fn new(identity: Identity, timing: Timing, peers: S, now: Instant) -> Self {
        Self {
            identity,
            timing,
            peers,
            bus: Bus { up_since: None },
            state: State::Joining,
            sessions: 0,
            sent_all: 0,
            base: 0,
            next_hello: now,
            wants_hello: false,
            wants_answer: false,
            joined_at: None,
            open_all: false,
            flags: Flags::default(),
            dirty: false,
        }
    }

    fn slots(&self) -> &[Peer] {
        let peers = self.peers.as_ref();
        &peers[..peers.len().min(NODES_MAX)]
    }

    fn slots_mut(&mut self) -> &mut [Peer] {
        let peers = self.peers.as_mut();
        let len = peers.len().min(NODES_MAX);
        &mut peers[..len]
    }

    fn known(&self, node: NodeId) -> Option<&Known> {
        let peer = self.slots().get(usize::from(node.slot))?;
        peer.known.as_ref().filter(|_| peer.generation == node.generation)
    }

    fn known_mut(&mut self, node: NodeId) -> Option<&mut Known> {
        let peer = self.slots_mut().get_mut(usize::from(node.slot))?;
        peer.known.as_mut().filter(|_| peer.generation == node.generation)
    }

    /// This node.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The state of this node.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether the bus is up.
    pub fn is_bus_up(&self) -> bool {
        self.bus.up_since.is_some()
    }

    /// Whether this node has joined and is not leaving. It stays ready while the bus is down.
    pub fn is_ready(&self) -> bool {
        self.state == State::Up
    }

    /// All known nodes, also those that are lost.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        self.slots().iter().enumerate().filter_map(|(slot, peer)| {
            let id = NodeId { slot: slot as u16, generation: peer.generation };
            peer.known.as_ref().map(|known| Node { id, known })
        })
    }

    /// A node by its id.
    pub fn node(&self, node: NodeId) -> Option<Node<'_>> {
        self.known(node).map(|known| Node { id: node, known })
    }

    /// The node with a tag.
    pub fn find(&self, tag: &str) -> Option<Node<'_>> {
        self.nodes().find(|node| node.tag().as_str() == tag)
    }

    /// Where a request of the session `sid` goes.
    pub fn route(&self, sid: &Sid) -> Route {
        match sid.tag() {
            None => Route::Here,
            Some(tag) if tag == self.identity.tag.as_str() => Route::Here,
            Some(tag) => match self.find(tag) {
                None => Route::Unknown,
                Some(node) => match node.state() {
                    NodeState::Joining | NodeState::Up | NodeState::Leaving => Route::Node(node.id),
                    NodeState::Unreachable => Route::Unreachable(node.id),
                    NodeState::Lost => Route::Lost,
                },
            },
        }
    }

    /// The node that opens a session for a client while this node is leaving: of two chosen by `random`, the one with
    /// fewer sessions.
    pub fn successor(&self, random: u32) -> Option<NodeId> {
        let able = || {
            self.nodes()
                .filter(|node| node.state() == NodeState::Up && node.known.link != Link::Failed)
        };
        let count = able().count() as u32;
        let pick = |random: u32| able().nth(random.checked_rem(count)? as usize);
        let (first, second) = (pick(random)?, pick(random >> 16)?);
        Some(if second.sessions() < first.sessions() { second.id } else { first.id })
    }

    /// Whether messages may be published to a node: after each start of the bus only when its hello has come, since
    /// its subscriptions may not exist before.
    pub fn may_publish_to(&self, node: NodeId) -> bool {
        self.is_bus_up() && self.known(node).is_some_and(|known| known.greeted && !known.lost)
    }

    /// Whether messages may be published to all nodes: after each start of the bus only when each known node has said
    /// hello, or [`Timing::node_timeout_ms`] later.
    pub fn may_publish_all(&self) -> bool {
        self.is_bus_up() && self.open_all
    }

    /// Numbers a message to a node or its sessions. Call it when the message is published. `None`: the node is forgotten.
    pub fn stamp_to(&mut self, node: NodeId) -> Option<Stamp> {
        let known = self.known_mut(node)?;
        known.sent += 1;
        let number = known.sent;
        Some(self.stamp(number))
    }

    /// Numbers a message to all sessions. Call it when the message is published.
    pub fn stamp_all(&mut self) -> Stamp {
        self.sent_all += 1;
        self.stamp(self.sent_all)
    }

    fn stamp(&self, number: u64) -> Stamp {
        Stamp { tag: self.identity.tag.clone(), incarnation: self.identity.incarnation, number }
    }

    /// Writes the hello of this node.
    ///
    /// # Errors
    /// [`Overflow`]; a part may have been written.
    pub fn write_hello(&self, out: &mut impl Sink) -> Result<(), Overflow> {
        let mut hello = Hello::new(self.identity.clone(), self.state);
        hello.wants_answer = self.wants_answer;
        (hello.sessions, hello.sent_all) = (self.sessions, self.sent_all);
        let counts = self.slots().iter().filter_map(|peer| peer.known.as_ref());
        hello.encode_with(counts.map(|known| (known.identity.incarnation, known.sent)), out)
    }
}
