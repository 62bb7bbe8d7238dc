//! The inputs of [`Members`].

use super::peer::{Known, Link, Peer};
use super::{Channel, Members, NodeId, NodeState, State};
use crate::cluster::bus::Stamp;
use crate::cluster::hello::Hello;
use crate::time::Instant;

impl<S: AsRef<[Peer]> + AsMut<[Peer]>> Members<S> {
    /// The connection to the bus is up, with all subscriptions made, or it is down.
    pub fn handle_bus(&mut self, up: bool, now: Instant) {
        if up == self.is_bus_up() {
            return;
        }
        self.bus.up_since = up.then_some(now);
        (self.open_all, self.flags.open_all, self.dirty) = (false, false, true);
        let (bus, timing) = (self.bus, self.timing);
        for known in self.slots_mut().iter_mut().filter_map(|peer| peer.known.as_mut()) {
            (known.greeted, known.told_open, known.gone) = (false, false, false);
            (known.asking, known.wants_ask) = (None, false);
            if up && known.link == Link::Failed && !known.lost {
                known.ask(&bus, &timing, now);
            }
        }
        if up {
            (self.wants_hello, self.wants_answer) = (true, true);
            if self.state == State::Joining {
                self.joined_at = Some(now.after(self.timing.heartbeat_ms));
            }
        } else {
            (self.wants_hello, self.joined_at) = (false, None);
        }
    }

    /// A hello to all or to this node. `random` spreads the answers to a newcomer.
    pub fn handle_hello(&mut self, hello: &Hello<'_>, random: u32, now: Instant) {
        if !self.is_bus_up() {
            return;
        }
        if hello.identity.tag == self.identity.tag {
            self.handle_same_tag(hello);
            return;
        }
        let Some(slot) = self.slot_of(hello, now) else { return };
        let (timing, here) = (self.timing, self.identity.incarnation);
        let answer = now.after(random.checked_rem(timing.answer_jitter_ms).unwrap_or(0));
        self.dirty = true;
        let Some(known) = &mut self.slots_mut()[slot].known else { return };
        if hello.wants_answer && hello.state != State::Left && known.answer.is_none() {
            known.answer = Some(answer);
        }
        // A newcomer with the tag of a node that may be alive has no session yet.
        if known.identity.incarnation == hello.identity.incarnation {
            known.handle_hello(hello, here, &timing, now);
        }
        self.open_all(now);
    }

    /// Two nodes with one tag: one that has joined keeps it from one that has not, otherwise the lower incarnation.
    fn handle_same_tag(&mut self, hello: &Hello<'_>) {
        let (here, there) = (self.identity.incarnation, hello.identity.incarnation);
        if here == there || hello.state == State::Left || self.state == State::Left {
            return;
        }
        let joined = |state| state != State::Joining;
        let keeps = match (joined(self.state), joined(hello.state)) {
            (true, false) => true,
            (false, true) => false,
            _ => here < there,
        };
        if keeps {
            self.wants_hello = true;
        } else {
            self.flags.tag_taken = true;
        }
    }

    /// The slot of the node that says hello, which may take it from another incarnation.
    fn slot_of(&mut self, hello: &Hello<'_>, now: Instant) -> Option<usize> {
        let identity = &hello.identity;
        let mut slots = self.slots().iter();
        if let Some(slot) = slots
            .position(|peer| peer.known.as_ref().is_some_and(|known| *known.tag() == identity.tag))
        {
            let known = self.slots()[slot].known.as_ref()?;
            let same = known.identity.incarnation == identity.incarnation;
            let replaces = known.lost || matches!(hello.state, State::Up | State::Leaving);
            if !same && hello.state != State::Left && replaces {
                self.occupy(slot, hello, now);
            }
            return Some(slot);
        }
        if hello.state == State::Left {
            return None;
        }
        let free = self.slots().iter().position(|peer| peer.known.is_none());
        let Some(slot) = free.or_else(|| self.longest_lost()) else {
            self.flags.full = !self.flags.told_full;
            return None;
        };
        self.occupy(slot, hello, now);
        Some(slot)
    }

    fn longest_lost(&self) -> Option<usize> {
        let lost = self.slots().iter().enumerate().filter_map(|(slot, peer)| {
            peer.known.as_ref().filter(|known| known.lost).map(|known| (known.lost_at, slot))
        });
        lost.min().map(|(_, slot)| slot)
    }

    fn occupy(&mut self, slot: usize, hello: &Hello<'_>, now: Instant) {
        self.free(slot);
        let known = Known::new(hello.identity.clone(), self.base, now);
        self.slots_mut()[slot].known = Some(known);
    }

    /// Forgets the node in a slot.
    pub(super) fn free(&mut self, slot: usize) {
        let peer = &mut self.slots_mut()[slot];
        if let Some(known) = peer.known.take() {
            peer.replaced = known.told.is_some_and(|told| told != NodeState::Lost);
            peer.generation = peer.generation.wrapping_add(1);
            self.base = self.base.max(known.sent);
            self.flags.told_full = false;
        }
    }

    /// The reply of `node` to [`Action::Ask`](super::Action::Ask).
    pub fn handle_reply(&mut self, node: NodeId, hello: &Hello<'_>, now: Instant) {
        if let Some(known) = self.known_mut(node) {
            known.asking = None;
        }
        self.handle_hello(hello, 0, now);
    }

    /// The bus answered [`Action::Ask`](super::Action::Ask): no node receives messages to `node`.
    pub fn handle_no_responders(&mut self, node: NodeId, now: Instant) {
        let (bus, timing) = (self.bus, self.timing);
        if let Some(known) = self.known_mut(node) {
            known.handle_no_responders(&bus, &timing, now);
            self.dirty = true;
        }
    }

    /// A link from this node proved that `node` is alive: a handshake, the answer to a ping or to a request.
    pub fn handle_link_alive(&mut self, node: NodeId, now: Instant) {
        let timing = self.timing;
        let Some(known) = self.known_mut(node).filter(|known| !known.has_left()) else { return };
        known.handle_alive(&timing, now);
        self.dirty = true;
    }

    /// A link from `node` proved that it is alive, but not that links to it work.
    pub fn handle_link_incoming(&mut self, node: NodeId, now: Instant) {
        let Some(known) = self.known_mut(node).filter(|known| !known.has_left()) else { return };
        if known.lost {
            (known.lost, known.next_ping) = (false, now);
        }
        (known.heard, known.gone) = (now, false);
        self.dirty = true;
    }

    /// A link to `node` could not be opened, or a ping was not answered.
    pub fn handle_link_failed(&mut self, node: NodeId, now: Instant) {
        let (bus, timing) = (self.bus, self.timing);
        let Some(known) = self.known_mut(node) else { return };
        known.handle_failed(&bus, &timing, now);
        self.dirty = true;
    }

    /// An established link was reset, or ended without having been closed by this node.
    pub fn handle_link_broken(&mut self, node: NodeId, now: Instant) {
        let (bus, timing) = (self.bus, self.timing);
        let Some(known) = self.known_mut(node).filter(|known| !known.lost) else { return };
        known.handle_broken(&bus, &timing, now);
        self.dirty = true;
    }

    /// A message with a stamp arrived. Whether its sender is a known node; otherwise nothing is counted.
    pub fn handle_stamp(&mut self, channel: Channel, stamp: &Stamp) -> bool {
        let mut peers = self.slots_mut().iter_mut().filter_map(|peer| peer.known.as_mut());
        let sender = peers.find(|known| {
            known.identity.incarnation == stamp.incarnation && *known.tag() == stamp.tag
        });
        let Some(known) = sender else { return false };
        let account = match channel {
            Channel::Direct => &mut known.direct,
            Channel::All => &mut known.all,
        };
        account.handle_message(stamp.number);
        self.dirty |= account.has_news();
        true
    }

    /// The number of sessions that the next hello says.
    pub fn set_sessions(&mut self, sessions: u32) {
        self.sessions = sessions;
    }

    /// This node opens no more sessions.
    pub fn leave(&mut self) {
        if self.state != State::Left {
            self.state = State::Leaving;
            (self.wants_hello, self.joined_at) = (self.is_bus_up(), None);
        }
    }

    /// This node has no session left, and leaves.
    pub fn finish(&mut self) {
        self.state = State::Left;
        (self.wants_hello, self.joined_at) = (self.is_bus_up(), None);
    }
}
