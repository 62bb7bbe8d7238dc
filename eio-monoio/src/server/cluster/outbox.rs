//! [`Outbox`]: messages that wait for the engine, in the order of the sender for each receiver.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use crate::server::cluster::engine::Publication;

/// The approximate memory of a queued message besides its payload.
const OVERHEAD: usize = 128;

/// Who receives a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To<N> {
    /// One node.
    Node(N),
    /// Every node.
    All,
}

/// Whether messages may be published to a receiver now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    /// Not yet: it has not said hello since the engine has returned.
    Closed,
    /// Never: the node is gone.
    Gone,
}

/// Queues by receiver. A message to all nodes follows everything that was queued before it, and precedes everything
/// that was queued after it.
pub(crate) struct Outbox<N> {
    all: VecDeque<(u64, Publication)>,
    nodes: HashMap<N, VecDeque<(u64, Publication)>>,
    /// The number of the last message.
    last: u64,
    bytes: usize,
}

impl<N> Default for Outbox<N> {
    fn default() -> Self {
        Self { all: VecDeque::new(), nodes: HashMap::new(), last: 0, bytes: 0 }
    }
}

impl<N: Copy + Eq + Hash> Outbox<N> {
    /// Queues a message, unless `limit` bytes wait already. One message may exceed the limit.
    pub(crate) fn push(&mut self, to: To<N>, publication: Publication, limit: usize) -> bool {
        if self.bytes >= limit {
            return false;
        }
        self.bytes += size(&publication);
        self.last += 1;
        let entry = (self.last, publication);
        match to {
            To::All => self.all.push_back(entry),
            To::Node(node) => self.nodes.entry(node).or_default().push_back(entry),
        }
        true
    }

    /// Takes the next message whose receiver's gate is open, and counts into `gone` those whose node is gone.
    pub(crate) fn take(
        &mut self,
        gate: impl Fn(To<N>) -> Gate,
        gone: &mut u64,
    ) -> Option<(To<N>, Publication)> {
        self.remove_gone(&gate, gone);
        let first_for_all = self.all.front().map(|(number, _)| *number);
        let heads = self
            .nodes
            .iter()
            .filter_map(|(node, queue)| queue.front().map(|(number, _)| (*number, *node)));
        let oldest = heads.clone().map(|(number, _)| number).min();
        if let Some(all) = first_for_all
            && oldest.is_none_or(|oldest| all < oldest)
            && gate(To::All) == Gate::Open
        {
            let (_, publication) = self.all.pop_front()?;
            self.bytes -= size(&publication);
            return Some((To::All, publication));
        }
        let may_go = |number: u64| first_for_all.is_none_or(|all| number < all);
        let next = heads
            .filter(|(number, node)| may_go(*number) && gate(To::Node(*node)) == Gate::Open)
            .min_by_key(|(number, _)| *number);
        let (_, node) = next?;
        let queue = self.nodes.get_mut(&node)?;
        let (_, publication) = queue.pop_front()?;
        if queue.is_empty() {
            self.nodes.remove(&node);
        }
        self.bytes -= size(&publication);
        Some((To::Node(node), publication))
    }

    /// Drops the queues of nodes that are gone.
    fn remove_gone(&mut self, gate: impl Fn(To<N>) -> Gate, gone: &mut u64) {
        let bytes = &mut self.bytes;
        self.nodes.retain(|node, queue| {
            let keep = gate(To::Node(*node)) != Gate::Gone;
            if !keep {
                *gone += queue.len() as u64;
                *bytes -= queue.iter().map(|(_, publication)| size(publication)).sum::<usize>();
            }
            keep
        });
    }

    /// The bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn size(publication: &Publication) -> usize {
    let headers = publication.headers.iter().map(|(_, value)| value.len()).sum::<usize>();
    OVERHEAD + publication.subject.len() + headers + publication.payload.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(subject: &str) -> Publication {
        Publication { subject: subject.into(), ..Publication::default() }
    }

    fn filled() -> Outbox<u8> {
        let mut outbox = Outbox::default();
        for (to, subject) in [
            (To::Node(1), "a"),
            (To::Node(2), "b"),
            (To::All, "c"),
            (To::Node(1), "d"),
            (To::All, "e"),
            (To::Node(2), "f"),
        ] {
            assert!(outbox.push(to, message(subject), usize::MAX));
        }
        outbox
    }

    fn take_all(outbox: &mut Outbox<u8>, gate: impl Fn(To<u8>) -> Gate) -> (String, u64) {
        let mut gone = 0;
        let taken = std::iter::from_fn(|| outbox.take(&gate, &mut gone));
        (taken.map(|(_, publication)| publication.subject).collect(), gone)
    }

    #[test]
    fn messages_leave_in_the_order_of_the_sender() {
        let mut outbox = filled();
        assert_eq!(take_all(&mut outbox, |_| Gate::Open), ("abcdef".into(), 0));
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn a_closed_gate_holds_back_what_would_overtake() {
        let mut outbox = filled();
        let without_2 = |to| if to == To::Node(2) { Gate::Closed } else { Gate::Open };
        assert_eq!(take_all(&mut outbox, without_2).0, "a", "`c` may not overtake `b`");
        let without_all = |to| if to == To::All { Gate::Closed } else { Gate::Open };
        assert_eq!(take_all(&mut outbox, without_all).0, "b");
        assert_eq!(take_all(&mut outbox, |_| Gate::Open).0, "cdef");
    }

    #[test]
    fn messages_to_a_node_that_is_gone_are_counted_and_hold_nothing_back() {
        let mut outbox = filled();
        let gone_2 = |to| if to == To::Node(2) { Gate::Gone } else { Gate::Open };
        assert_eq!(take_all(&mut outbox, gone_2), ("acde".into(), 2));
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn the_limit_is_of_bytes_and_one_message_may_exceed_it() {
        let mut outbox = Outbox::<u8>::default();
        let large = Publication { payload: vec![0; 1000], ..message("a") };
        assert!(outbox.push(To::All, large.clone(), 1));
        assert!(!outbox.push(To::All, large.clone(), outbox.bytes()));
        assert!(outbox.push(To::All, large, outbox.bytes() + 1));
    }
}
