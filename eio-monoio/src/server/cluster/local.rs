//! [`LocalSessions`]: the sessions of this node, as messages from other nodes reach them.

use std::sync::Arc;

use eio_core::cluster::members::NodeId;
use eio_core::packet::Message;
use eio_core::sid::Sid;
use eio_core::transport::Transport;

use crate::error::SendError;
use crate::message::{Encoded, OwnedMessage};
use crate::server::cluster::table::Peer;

/// Called with the transport of a session, on the worker of the session.
pub(crate) type OnTransport = Box<dyn FnOnce(Option<Transport>) + Send>;

/// The sessions and workers of this node. No call waits.
pub(crate) trait LocalSessions: Send + Sync {
    /// Whether the options permit this message.
    fn check(&self, message: Message<'_>) -> Result<(), SendError>;
    fn send(&self, sid: Sid, message: OwnedMessage) -> Result<(), SendError>;
    fn send_many(&self, sids: Vec<Sid>, message: &Encoded) -> Result<(), SendError>;
    fn broadcast(&self, message: &Encoded, except: Vec<Sid>) -> Result<(), SendError>;
    fn disconnect(&self, sid: Sid);
    fn disconnect_all(&self);
    fn transport(&self, sid: Sid, reply: OnTransport);
    /// The number of open sessions.
    fn sessions(&self) -> usize;
    /// Asks a worker to find out whether a node answers on a link.
    fn ping(&self, peer: Arc<Peer>);
    /// A node leaves: polls that are held for clients at it end.
    fn node_leaving(&self, node: NodeId);
    /// A node is lost: requests that were forwarded to it end.
    fn node_ended(&self, node: NodeId);
}
