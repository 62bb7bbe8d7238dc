//! The outputs and timers of [`Members`].

use super::peer::{Known, Peer};
use super::{Action, Event, Members, NodeId, NodeState, State, Timing};
use crate::time::Instant;

impl<S: AsRef<[Peer]> + AsMut<[Peer]>> Members<S> {
    /// The next message to send. Call it until `None` after each input.
    pub fn poll_action(&mut self, now: Instant) -> Option<Action> {
        if self.wants_hello {
            self.wants_hello = false;
            self.next_hello = now.after(self.timing.heartbeat_ms);
            return Some(Action::Hello);
        }
        if self.wants_answer && self.is_bus_up() {
            // The hello that asks for answers was written.
            self.wants_answer = false;
        }
        if !self.dirty {
            return None;
        }
        let up = self.is_bus_up();
        self.slots_mut().iter_mut().enumerate().find_map(|(slot, peer)| {
            let id = NodeId { slot: slot as u16, generation: peer.generation };
            let known = peer.known.as_mut()?;
            if known.answer.is_some_and(|due| due <= now) {
                known.answer = None;
                if up {
                    return Some(Action::HelloTo(known.tag().clone()));
                }
            }
            if known.wants_ask {
                known.wants_ask = false;
                return Some(Action::Ask(id));
            }
            if known.wants_ping {
                known.wants_ping = false;
                return Some(Action::Ping(id));
            }
            None
        })
    }

    /// The next event. Call it until `None` after each input.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(event) = self.own_event() {
            return Some(event);
        }
        if !self.dirty {
            return None;
        }
        let up = self.is_bus_up();
        let event = self.slots_mut().iter_mut().enumerate().find_map(|(slot, peer)| {
            let slot = slot as u16;
            if peer.replaced {
                peer.replaced = false;
                return Some(Event::Lost(NodeId {
                    slot,
                    generation: peer.generation.wrapping_sub(1),
                }));
            }
            let id = NodeId { slot, generation: peer.generation };
            peer.known.as_mut().and_then(|known| news(known, id, up))
        });
        self.dirty = event.is_some() || self.has_actions();
        event
    }

    fn own_event(&mut self) -> Option<Event> {
        let flags = &mut self.flags;
        let told = |flag: &mut bool, event| core::mem::take(flag).then_some(event);
        if flags.full {
            flags.told_full = true;
        }
        told(&mut flags.tag_taken, Event::TagTaken)
            .or_else(|| told(&mut flags.ready, Event::Ready))
            .or_else(|| told(&mut flags.full, Event::Full))
            .or_else(|| told(&mut flags.open_all, Event::BusOpenAll))
    }

    fn has_actions(&self) -> bool {
        let mut known = self.slots().iter().filter_map(|peer| peer.known.as_ref());
        known.any(|known| known.wants_ask || known.wants_ping)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let up_since = self.bus.up_since;
        let hello = up_since.filter(|_| self.state != State::Left).map(|_| self.next_hello);
        let open = up_since.filter(|_| !self.open_all && self.state != State::Joining);
        let open = open.map(|since| since.after(self.timing.node_timeout_ms));
        let known = self.slots().iter().filter_map(|peer| peer.known.as_ref());
        let peers = known.filter_map(|known| self.deadline(known)).min();
        [hello, open, self.joined_at, peers].into_iter().flatten().min()
    }

    fn deadline(&self, known: &Known) -> Option<Instant> {
        let answer = known.answer.filter(|_| self.is_bus_up());
        let ping = known.ping_due(&self.bus, &self.timing);
        let settled = [known.direct.poll_timeout(), known.all.poll_timeout()];
        let forgotten = known.forgotten(&self.timing);
        [answer, known.asking, known.pinging, ping, forgotten]
            .into_iter()
            .chain(settled)
            .flatten()
            .min()
    }

    /// Handles the deadlines that have passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.joined_at.is_some_and(|joined| joined <= now) {
            self.joined_at = None;
            if self.state == State::Joining && !self.flags.tag_taken {
                (self.state, self.flags.ready, self.wants_hello) = (State::Up, true, true);
            }
        }
        if self.is_bus_up() && self.state != State::Left && self.next_hello <= now {
            self.wants_hello = true;
        }
        let (bus, timing) = (self.bus, self.timing);
        for slot in 0..self.slots().len() {
            let Some(known) = &mut self.slots_mut()[slot].known else { continue };
            if known.forgotten(&timing).is_some_and(|at| at <= now) {
                self.free(slot);
                continue;
            }
            known.direct.handle_timeout(timing.settle_ms, now);
            known.all.handle_timeout(timing.settle_ms, now);
            if known.pinging.is_some_and(|deadline| deadline <= now) {
                if known.wants_ping || deadline_is_old(known, &timing, now) {
                    // This node was stopped: the answer may wait to be read.
                    known.pinging = None;
                    known.ping(&timing, now);
                } else {
                    known.handle_failed(&bus, &timing, now);
                }
            }
            if known.asking.is_some_and(|deadline| deadline <= now) {
                (known.asking, known.wants_ask) = (None, false);
            }
            if known.ping_due(&bus, &timing).is_some_and(|due| due <= now) {
                known.ping(&timing, now);
            }
        }
        self.dirty = true;
        self.open_all(now);
    }

    /// Opens the way to all nodes if each known one has said hello since the bus is up, or had the time for it.
    pub(super) fn open_all(&mut self, now: Instant) {
        let Some(since) = self.bus.up_since else { return };
        if self.open_all || self.state == State::Joining {
            return;
        }
        let mut known = self.slots().iter().filter_map(|peer| peer.known.as_ref());
        if since.after(self.timing.node_timeout_ms) <= now
            || known.all(|known| known.greeted || known.lost)
        {
            (self.open_all, self.flags.open_all) = (true, true);
        }
    }
}

/// Whether a ping's deadline has passed by more than the timeout: this node itself was stopped.
fn deadline_is_old(known: &Known, timing: &Timing, now: Instant) -> bool {
    known.pinging.is_some_and(|deadline| deadline.after(timing.link_timeout_ms) <= now)
}

/// The next event of a node.
fn news(known: &mut Known, id: NodeId, up: bool) -> Option<Event> {
    let state = known.state();
    if known.told != Some(state) {
        known.told = Some(state);
        return Some(match state {
            NodeState::Joining => Event::Joining(id),
            NodeState::Up => Event::Up(id),
            NodeState::Leaving => Event::Leaving(id),
            NodeState::Unreachable => Event::Unreachable(id),
            NodeState::Lost => Event::Lost(id),
        });
    }
    if up && known.greeted && !known.lost && !known.told_open {
        known.told_open = true;
        return Some(Event::BusOpen(id));
    }
    let count = known.direct.take_lost().saturating_add(known.all.take_lost());
    (count > 0).then_some(Event::MessagesLost { node: id, count })
}
