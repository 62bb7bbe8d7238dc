//! [`ClusterCounters`] and [`ClusterMetrics`]: what a node forwards and exchanges, for monitoring.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use eio_core::cluster::members::NodeState;

/// The kind of a forwarded request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forwarded {
    Get,
    Post,
    WebSocket,
    Handshake,
}

/// How a forwarded request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The answer of the owner is in the client's socket; of a WebSocket, the tunnel was open.
    Answered,
    /// No link could be opened: 503, or 400 if the node is lost.
    Unavailable,
    /// The link ended before the answer was complete.
    Broken,
    /// The client left before.
    ClientGone,
    /// Too many requests are forwarded already: 503.
    TooMany,
}

const KINDS: [&str; 4] = ["get", "post", "websocket", "handshake"];
const OUTCOMES: [&str; 5] = ["answered", "unavailable", "broken", "client_gone", "too_many"];
const STATES: [&str; 5] = ["joining", "up", "leaving", "unreachable", "lost"];

/// Numbers of one node, which any thread writes.
#[derive(Debug, Default)]
pub(crate) struct ClusterCounters {
    forwarded: [[AtomicU64; OUTCOMES.len()]; KINDS.len()],
    /// Requests being forwarded, with tunnels.
    pub(crate) forwarding: Arc<AtomicUsize>,
    pub(crate) tunnels: Arc<AtomicUsize>,
    /// Links that other nodes have opened to this one.
    pub(crate) links_accepted: Arc<AtomicUsize>,
    /// Links that this node has opened, in use or idle.
    pub(crate) links_opened: Arc<AtomicUsize>,
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) lost: AtomicU64,
}

impl ClusterCounters {
    pub(crate) fn forwarded(&self, kind: Forwarded, outcome: Outcome) {
        self.forwarded[kind as usize][outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add(number: &AtomicU64, n: u64) {
        number.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, engine_up: bool, waiting: usize, states: [u64; 5]) -> ClusterMetrics {
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let count = |number: &Arc<AtomicUsize>| number.load(Ordering::Relaxed) as u64;
        ClusterMetrics {
            nodes: states,
            engine_up,
            forwarded: self.forwarded.each_ref().map(|kind| kind.each_ref().map(load)),
            forwarding: count(&self.forwarding),
            tunnels: count(&self.tunnels),
            links_accepted: count(&self.links_accepted),
            links_opened: count(&self.links_opened),
            sent: load(&self.sent),
            received: load(&self.received),
            dropped: load(&self.dropped),
            lost: load(&self.lost),
            waiting: waiting as u64,
        }
    }
}

/// The index of a state's number.
pub(crate) fn by_state(state: NodeState) -> usize {
    match state {
        NodeState::Joining => 0,
        NodeState::Up => 1,
        NodeState::Leaving => 2,
        NodeState::Unreachable => 3,
        NodeState::Lost => 4,
    }
}

/// The numbers of a node about its cluster, in [`Metrics::cluster`](crate::Metrics::cluster).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterMetrics {
    nodes: [u64; STATES.len()],
    engine_up: bool,
    forwarded: [[u64; OUTCOMES.len()]; KINDS.len()],
    forwarding: u64,
    tunnels: u64,
    links_accepted: u64,
    links_opened: u64,
    sent: u64,
    received: u64,
    dropped: u64,
    lost: u64,
    waiting: u64,
}

impl ClusterMetrics {
    /// The other nodes that are up. A gauge.
    pub fn nodes_up(&self) -> u64 {
        self.nodes[by_state(NodeState::Up)]
    }

    /// Whether the engine is connected.
    pub fn is_engine_up(&self) -> bool {
        self.engine_up
    }

    /// Requests for sessions of other nodes that were forwarded, of every kind and with every outcome.
    pub fn forwarded(&self) -> u64 {
        self.forwarded.iter().flatten().sum()
    }

    /// [`forwarded`](Self::forwarded) requests whose answer reached the client.
    pub fn answered(&self) -> u64 {
        self.forwarded.iter().map(|kind| kind[Outcome::Answered as usize]).sum()
    }

    /// Requests that are being forwarded now, and tunnels of WebSockets. A gauge.
    pub fn forwarding(&self) -> u64 {
        self.forwarding
    }

    /// Tunnels of WebSockets through this node. A gauge.
    pub fn tunnels(&self) -> u64 {
        self.tunnels
    }

    /// Links that other nodes have opened to this one. A gauge.
    pub fn links_accepted(&self) -> u64 {
        self.links_accepted
    }

    /// Links that this node has opened. A gauge.
    pub fn links_opened(&self) -> u64 {
        self.links_opened
    }

    /// Messages given to the engine.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Messages from the engine for sessions of this node.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Messages that this node dropped: a mailbox was full, the body was malformed, the receiver is gone, or the engine's
    /// client did not keep up.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Messages that other nodes gave to the engine and that did not arrive here.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Bytes of messages that wait for the engine. A gauge.
    pub fn bytes_waiting(&self) -> u64 {
        self.waiting
    }

    pub(crate) fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = |f: &mut fmt::Formatter<'_>, name: &str, help: &str| {
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            writeln!(f, "# HELP {name} {help}\n# TYPE {name} {kind}")
        };
        head(f, "eio_cluster_nodes", "Other nodes of the cluster.")?;
        for (state, count) in STATES.iter().zip(self.nodes) {
            writeln!(f, "eio_cluster_nodes{{state=\"{state}\"}} {count}")?;
        }
        head(f, "eio_cluster_forwarded_total", "Requests for sessions of other nodes.")?;
        for (kind, outcomes) in KINDS.iter().zip(self.forwarded) {
            for (outcome, count) in OUTCOMES.iter().zip(outcomes) {
                let labels = format_args!("kind=\"{kind}\",outcome=\"{outcome}\"");
                writeln!(f, "eio_cluster_forwarded_total{{{labels}}} {count}")?;
            }
        }
        for (name, help, value) in [
            ("eio_cluster_engine_up", "Whether the engine is connected.", self.engine_up.into()),
            ("eio_cluster_forwarding", "Requests being forwarded, with tunnels.", self.forwarding),
            ("eio_cluster_tunnels", "Tunnels of WebSockets.", self.tunnels),
            ("eio_cluster_links_accepted", "Links from other nodes.", self.links_accepted),
            ("eio_cluster_links_opened", "Links to other nodes.", self.links_opened),
            ("eio_cluster_sent_total", "Messages given to the engine.", self.sent),
            ("eio_cluster_received_total", "Messages from the engine.", self.received),
            ("eio_cluster_dropped_total", "Messages dropped by this node.", self.dropped),
            ("eio_cluster_lost_total", "Messages that did not arrive here.", self.lost),
            ("eio_cluster_waiting_bytes", "Bytes waiting for the engine.", self.waiting),
        ] {
            head(f, name, help)?;
            writeln!(f, "{name} {value}")?;
        }
        Ok(())
    }
}
