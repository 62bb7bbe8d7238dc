//! [`find`] and [`successor`]: the node of the cluster to which a request is forwarded.

use std::rc::Rc;

use eio_core::request::Intent;
use eio_core::transport::Transport;

#[cfg(feature = "nats")]
use crate::metrics::cluster::Forwarded;
#[cfg(feature = "nats")]
use crate::server::cluster::table::Place;
#[cfg(feature = "nats")]
use crate::server::conn::relay::Away;
use crate::server::shard::ShardState;
use crate::server::via::Via;

/// The result of [`find`] and [`successor`].
pub(super) enum Found {
    /// No other node may have the session.
    Nowhere,
    #[cfg(feature = "nats")]
    Node(Away),
    /// The session is at a node that cannot be reached.
    #[cfg(feature = "nats")]
    Unreachable,
}

/// Finds the node of a request for a session that this node does not have. A request that another node has forwarded is
/// never forwarded again.
pub(super) fn find<T>(state: &Rc<ShardState<T>>, via: &Via, intent: &Intent) -> Found {
    #[cfg(feature = "nats")]
    if let Some(hub) = state.shared.cluster()
        && !via.is_link()
    {
        let (sid, kind) = match intent {
            Intent::Poll(sid) => (sid, Forwarded::Get),
            Intent::Push(sid) => (sid, Forwarded::Post),
            Intent::Upgrade(sid) => (sid, Forwarded::WebSocket),
            _ => return Found::Nowhere,
        };
        return match hub.place(sid) {
            Place::Here | Place::Gone => Found::Nowhere,
            Place::Unreachable(_) => Found::Unreachable,
            Place::Node(peer) => {
                let sid = (kind == Forwarded::WebSocket).then(|| sid.as_str().into());
                Found::Node(Away { peer, kind, sid })
            }
        };
    }
    let _ = (state, via, intent);
    Found::Nowhere
}

/// Finds a node that opens a session for a client of this one, which ends. Not for a WebSocket: it would pass through
/// this node for its whole life.
pub(super) fn successor<T>(state: &Rc<ShardState<T>>, via: &Via, transport: Transport) -> Found {
    #[cfg(feature = "nats")]
    if let Some(hub) = state.shared.cluster()
        && transport == Transport::Polling
        && !via.is_link()
    {
        let mut random = [0; 4];
        // Without a random number the first node is as good.
        let _ = getrandom::fill(&mut random);
        let peer = hub.successor(u32::from_le_bytes(random));
        let away = peer.map(|peer| Away { peer, kind: Forwarded::Handshake, sid: None });
        return away.map_or(Found::Nowhere, Found::Node);
    }
    let _ = (state, via, transport);
    Found::Nowhere
}
