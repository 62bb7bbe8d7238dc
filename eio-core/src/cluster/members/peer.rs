//! [`Peer`]: another node, as this one knows it.

use super::account::Account;
use super::{NodeState, Timing};
use crate::cluster::hello::{Hello, Identity, Links, State};
use crate::sid::Tag;
use crate::time::Instant;

/// The memory of one other node in [`Members`](super::Members): about 600 bytes.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    pub(super) known: Option<Known>,
    /// Counts the nodes that had this slot, so that an old [`NodeId`](super::NodeId) finds nothing.
    pub(super) generation: u32,
    /// The node that had this slot before was lost, which was not told yet.
    pub(super) replaced: bool,
}

/// The proof of life that links give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Untried,
    Alive,
    Failed,
}

/// A node that has said hello.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) identity: Identity,
    pub(super) said: State,
    pub(super) sessions: u32,
    /// The last sign of life: a hello, or anything over a link.
    pub(super) heard: Instant,
    /// It has said hello since the bus is up.
    pub(super) greeted: bool,
    /// The bus reported that no node receives messages to this one.
    pub(super) gone: bool,
    pub(super) link: Link,
    /// When the last link failed.
    failed_at: Instant,
    /// No sign of life from the bus, and none from a link.
    pub(super) lost: bool,
    pub(super) lost_at: Instant,
    /// The last state that an event reported.
    pub(super) told: Option<NodeState>,
    /// Whether an event reported that messages can be published to it.
    pub(super) told_open: bool,
    pub(super) wants_ask: bool,
    pub(super) wants_ping: bool,
    /// When the question on the bus is given up.
    pub(super) asking: Option<Instant>,
    /// When the ping has failed.
    pub(super) pinging: Option<Instant>,
    /// No ping before.
    pub(super) next_ping: Instant,
    /// When its hello is answered.
    pub(super) answer: Option<Instant>,
    /// The number of messages that this node has published to it.
    pub(super) sent: u64,
    pub(super) direct: Account,
    pub(super) all: Account,
}

impl Known {
    pub(super) fn new(identity: Identity, sent: u64, now: Instant) -> Self {
        Self {
            identity,
            said: State::Joining,
            sessions: 0,
            heard: now,
            greeted: false,
            gone: false,
            link: Link::Untried,
            failed_at: now,
            lost: false,
            lost_at: now,
            told: None,
            told_open: false,
            wants_ask: false,
            wants_ping: false,
            asking: None,
            pinging: None,
            next_ping: now,
            answer: None,
            sent,
            direct: Account::default(),
            all: Account::default(),
        }
    }

    /// A hello of the same incarnation.
    pub(super) fn handle_hello(
        &mut self,
        hello: &Hello<'_>,
        here: u64,
        timing: &Timing,
        now: Instant,
    ) {
        self.identity = hello.identity.clone();
        (self.said, self.sessions) = (hello.state, hello.sessions);
        (self.heard, self.greeted) = (now, true);
        self.gone = false;
        if let Some(sent) = hello.sent_to(here) {
            self.direct.handle_count(sent, timing.settle_ms, now);
        }
        self.all.handle_count(hello.sent_all, timing.settle_ms, now);
        if hello.state == State::Left {
            self.lose(now);
        } else if self.lost {
            // It is back, or this hello was late and a ping shows that it is not.
            (self.lost, self.link, self.pinging) = (false, Link::Untried, None);
            self.ping(timing, now);
        }
    }

    /// A dial or a ping failed.
    pub(super) fn handle_failed(&mut self, bus: &Bus, timing: &Timing, now: Instant) {
        (self.link, self.failed_at) = (Link::Failed, now);
        if self.wants_ping {
            // This was an older attempt. The ping decides.
            return;
        }
        self.pinging = None;
        let pause = if self.lost { timing.node_timeout_ms } else { timing.heartbeat_ms };
        self.next_ping = now.after(pause);
        if bus.is_dead(self, timing, now) {
            self.lose(now);
        } else if !self.lost {
            self.ask(bus, timing, now);
        }
    }

    pub(super) fn handle_alive(&mut self, timing: &Timing, now: Instant) {
        // The answer of a node that is lost may have been late: another ping shows whether it is back.
        let was_lost = core::mem::take(&mut self.lost);
        self.link = Link::Alive;
        (self.heard, self.gone) = (now, false);
        if !self.wants_ping {
            self.pinging = None;
            self.next_ping = now.after(timing.heartbeat_ms);
        }
        if was_lost {
            self.ping(timing, now);
        }
    }

    pub(super) fn handle_broken(&mut self, bus: &Bus, timing: &Timing, now: Instant) {
        // The answers to an earlier question or ping may be of the time before. Many links break at once: one question
        // and one ping in each millisecond are enough.
        let fresh = Some(now.after(timing.link_timeout_ms));
        if self.asking != fresh {
            self.asking = None;
            self.ask(bus, timing, now);
        }
        if self.pinging != fresh {
            self.pinging = None;
            self.ping(timing, now);
        }
    }

    pub(super) fn handle_no_responders(&mut self, bus: &Bus, timing: &Timing, now: Instant) {
        let Some(deadline) = self.asking.take().filter(|_| bus.up_since.is_some()) else { return };
        self.gone = true;
        if self.pinging.is_some() {
            return;
        }
        // A link that failed after the question was asked counts. Another result may be older than the break.
        let failed_since = self.failed_at.after(timing.link_timeout_ms) >= deadline;
        if self.link == Link::Failed && failed_since {
            self.lose(now);
        } else {
            self.ping(timing, now);
        }
    }

    /// Asks over the bus whether the node is there, unless a question is open.
    pub(super) fn ask(&mut self, bus: &Bus, timing: &Timing, now: Instant) {
        if bus.up_since.is_some() && self.asking.is_none() {
            self.asking = Some(now.after(timing.link_timeout_ms));
            self.wants_ask = true;
        }
    }

    pub(super) fn ping(&mut self, timing: &Timing, now: Instant) {
        if self.pinging.is_none() {
            self.pinging = Some(now.after(timing.link_timeout_ms));
            self.wants_ping = true;
        }
    }

    pub(super) fn lose(&mut self, now: Instant) {
        if !self.lost {
            (self.lost, self.lost_at) = (true, now);
        }
        (self.asking, self.wants_ask, self.answer) = (None, false, None);
        (self.pinging, self.wants_ping) = (None, false);
    }

    pub(super) fn state(&self) -> NodeState {
        if self.lost {
            return NodeState::Lost;
        }
        match (self.link, self.told) {
            // The bus may say at once that the node is gone: until then the state stays.
            (Link::Failed, Some(told)) if self.asking.is_some() && told != NodeState::Lost => told,
            (Link::Failed, _) => NodeState::Unreachable,
            _ => match self.said {
                State::Joining => NodeState::Joining,
                State::Up => NodeState::Up,
                State::Leaving | State::Left => NodeState::Leaving,
            },
        }
    }

    pub(super) fn has_left(&self) -> bool {
        self.said == State::Left
    }

    /// Whether a ping is due, and from when on.
    pub(super) fn ping_due(&self, bus: &Bus, timing: &Timing) -> Option<Instant> {
        if self.pinging.is_some() || self.has_left() {
            return None;
        }
        let deadline = bus.deadline(self, timing);
        match self.link {
            _ if self.lost || self.gone => Some(self.next_ping),
            // The first ping after the deadline decides, so it does not wait.
            Link::Failed => {
                Some(deadline.map_or(self.next_ping, |deadline| deadline.min(self.next_ping)))
            }
            _ => deadline.map(|deadline| deadline.max(self.next_ping)),
        }
    }

    /// When the slot of a lost node is free.
    pub(super) fn forgotten(&self, timing: &Timing) -> Option<Instant> {
        self.lost.then(|| self.lost_at.after(timing.node_timeout_ms.saturating_mul(FORGET_AFTER)))
    }

    pub(super) fn tag(&self) -> &Tag {
        &self.identity.tag
    }

    pub(super) fn links(&self) -> &Links {
        &self.identity.links
    }
}

/// A lost node is pinged for this many times `node_timeout_ms`, then forgotten.
const FORGET_AFTER: u32 = 12;

/// The connection to the bus.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bus {
    pub(super) up_since: Option<Instant>,
}

impl Bus {
    /// When a node that says no hello is suspected. `None` while the bus is down: its silence proves nothing.
    pub(super) fn deadline(&self, peer: &Known, timing: &Timing) -> Option<Instant> {
        let from = self.up_since?.max(peer.heard);
        Some(from.after(timing.node_timeout_ms))
    }

    /// Whether the bus gives no sign of life of a node.
    pub(super) fn is_dead(&self, peer: &Known, timing: &Timing, now: Instant) -> bool {
        let Some(deadline) = self.deadline(peer, timing) else { return false };
        peer.gone || deadline <= now
    }
}
