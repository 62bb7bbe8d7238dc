//! Messages to and from the sessions of the other nodes of a cluster. Without the feature `nats` there are none.

use eio_core::packet::Message;
use eio_core::sid::Sid;
use eio_core::transport::Transport;

use crate::error::SendError;
use crate::server::shard::ShardState;
use crate::server::shard::shared::ServerShared;

/// Sessions of other nodes. A server that is not a node of a cluster has none: a sid that is not its own is unknown.
#[cfg(not(feature = "nats"))]
impl ServerShared {
    pub(crate) fn send_away(&self, _: &Sid, _: Message<'_>) -> Result<(), SendError> {
        Err(SendError::Closed)
    }

    pub(crate) fn send_many_away(&self, _: &mut Vec<Sid>, _: Message<'_>) -> Result<(), SendError> {
        Ok(())
    }

    pub(crate) fn broadcast_away(&self, _: Message<'_>, _: &[Sid]) -> Result<(), SendError> {
        Ok(())
    }

    pub(crate) fn disconnect_away(&self, _: &Sid) {}

    pub(crate) fn disconnect_all_away(&self) {}

    pub(crate) fn transport_away(&self, _: &Sid) -> Option<Transport> {
        None
    }
}

#[cfg(not(feature = "nats"))]
impl<T> ShardState<T> {
    pub(crate) fn tunnels(&self) -> Vec<Sid> {
        Vec::new()
    }
}

#[cfg(feature = "nats")]
mod with_cluster {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use std::sync::mpsc;
    use std::time::Duration;

    use eio_core::cluster::bus::MessageKind;
    use eio_core::cluster::members::NodeId;

    use super::*;
    use crate::message::{Encoded, OwnedMessage};
    use crate::server::cluster::emitter::{by_node, many_bodies};
    use crate::server::cluster::hub::{Content, Hub};
    use crate::server::cluster::local::{LocalSessions, OnTransport};
    use crate::server::cluster::outbox::To;
    use crate::server::cluster::table::{Peer, Place};
    use crate::server::conn::relay::pool::LinkPool;
    use crate::server::shard::shared::{Except, ShardMessage};

    /// Sessions of other nodes.
    impl ServerShared {
        /// The other nodes, if the server is one of a cluster.
        pub(crate) fn cluster(&self) -> Option<&Arc<Hub>> {
            self.cluster.as_ref()
        }

        /// The node of a session that this node does not have, unless it is known to be gone.
        fn node_of(&self, sid: &Sid) -> Option<(&Arc<Hub>, Arc<Peer>)> {
            let hub = self.cluster.as_ref()?;
            match hub.place(sid) {
                // Messages need no link.
                Place::Node(peer) | Place::Unreachable(peer) => Some((hub, peer)),
                Place::Here | Place::Gone => None,
            }
        }

        /// Sends to a session of another node.
        pub(crate) fn send_away(&self, sid: &Sid, message: Message<'_>) -> Result<(), SendError> {
            let (hub, peer) = self.node_of(sid).ok_or(SendError::Closed)?;
            hub.send(&peer, sid, message.into())
        }

        /// Sends to those of the sessions that other nodes have, by one message for each node, and removes their sids.
        pub(crate) fn send_many_away(
            &self,
            sids: &mut Vec<Sid>,
            message: Message<'_>,
        ) -> Result<(), SendError> {
            let Some(hub) = &self.cluster else { return Ok(()) };
            let away: Vec<Sid> = sids.extract_if(.., |sid| self.node_of(sid).is_some()).collect();
            let (kind, data) = match message {
                Message::Text(text) => (MessageKind::Text, text.as_bytes()),
                Message::Binary(bytes) => (MessageKind::Binary, bytes),
            };
            let mut result = Ok(());
            for (tag, sids) in by_node(&away) {
                let Some(first) = sids.first() else { continue };
                let Some((_, peer)) = self.node_of(first) else { continue };
                for body in many_bodies(kind, &sids, data, hub.max_publication()) {
                    let subject = hub.subjects.many(&tag).to_string();
                    let sent = hub.publish(To::Node(peer.id), subject, Vec::new(), body);
                    // After an error too: the other nodes receive it.
                    result = result.and(sent);
                }
            }
            result
        }

        /// Sends to every session of every other node, except to these.
        pub(crate) fn broadcast_away(
            &self,
            message: Message<'_>,
            except: &[Sid],
        ) -> Result<(), SendError> {
            self.cluster.as_ref().map_or(Ok(()), |hub| hub.send_all(message.into(), except))
        }

        /// Ends a session of another node.
        pub(crate) fn disconnect_away(&self, sid: &Sid) {
            if let Some((hub, peer)) = self.node_of(sid)
                && let Err(error) = hub.send(&peer, sid, Content::Close)
            {
                crate::log::warn!(%sid, %error, "a session of another node is not ended");
            }
        }

        /// Ends every session of every other node.
        pub(crate) fn disconnect_all_away(&self) {
            if let Some(hub) = &self.cluster
                && let Err(error) = hub.send_all(Content::Close, &[])
            {
                crate::log::warn!(%error, "the sessions of other nodes are not ended");
            }
        }

        /// The transport of a session of another node. Blocks, for at most one second.
        pub(crate) fn transport_away(&self, sid: &Sid) -> Option<Transport> {
            let (hub, peer) = self.node_of(sid)?;
            let (reply, answer) = mpsc::sync_channel(1);
            hub.ask_transport(&peer, sid, reply);
            answer.recv_timeout(Duration::from_secs(1)).ok().flatten()
        }
    }

    impl<T: 'static> ShardState<T> {
        /// The sessions of other nodes whose WebSockets pass through this worker.
        pub(crate) fn tunnels(&self) -> Vec<Sid> {
            self.per_worker::<LinkPool>().tunnels()
        }
    }

    impl<'m> From<Message<'m>> for Content<'m> {
        fn from(message: Message<'m>) -> Self {
            match message {
                Message::Text(text) => Self::Text(text),
                Message::Binary(bytes) => Self::Binary(bytes),
            }
        }
    }

    /// Messages of other nodes.
    impl LocalSessions for ServerShared {
        fn check(&self, message: Message<'_>) -> Result<(), SendError> {
            self.check_separator(message)
        }

        fn send(&self, sid: Sid, message: OwnedMessage) -> Result<(), SendError> {
            // A session that has ended is not an error: the other node could not know.
            let Some(route) = self.route(&sid) else { return Ok(()) };
            let len = message.borrow().len();
            self.offer(route.shard, len, |_| 1, ShardMessage::Send(sid, message))
        }

        fn send_many(&self, sids: Vec<Sid>, message: &Encoded) -> Result<(), SendError> {
            self.offer_many(None, sids, message).1
        }

        fn broadcast(&self, message: &Encoded, except: Vec<Sid>) -> Result<(), SendError> {
            self.offer_all(None, self.calls.next(), message, &Except::new(except))
        }

        fn disconnect(&self, sid: Sid) {
            if let Some(route) = self.route(&sid) {
                self.post(route.shard, ShardMessage::Disconnect(sid));
            }
        }

        fn disconnect_all(&self) {
            let call = self.calls.next();
            self.post_all(|| ShardMessage::DisconnectAll(call));
        }

        fn transport(&self, sid: Sid, reply: OnTransport) {
            match self.route(&sid) {
                Some(route) => self.post(route.shard, ShardMessage::Transport(sid, reply)),
                None => reply(None),
            }
        }

        fn sessions(&self) -> usize {
            self.sessions.load(Ordering::Relaxed)
        }

        fn ping(&self, peer: Arc<Peer>) {
            let shard = self.jobs.fetch_add(1, Ordering::Relaxed) % self.mailboxes.len();
            self.post(shard as u16, ShardMessage::PingNode(peer));
        }

        fn node_leaving(&self, node: NodeId) {
            self.post_all(|| ShardMessage::NodeLeaving(node));
        }

        fn node_ended(&self, node: NodeId) {
            self.post_all(|| ShardMessage::NodeEnded(node));
        }
    }
}
