//! Servers that answer for each other: which of them are up, where a session's requests go, what they say to each other.
//!
//! Each server of a cluster, a *node*, has a [`Tag`](crate::sid::Tag) that begins the identifiers of its sessions. A
//! session stays at its node for its whole life; any other node forwards the requests of the session over one direct
//! connection, a *link*. Nodes learn of each other, and send messages to sessions of each other, over a messaging
//! system, the *bus* (NATS, for example). `docs/cluster.md` states the texts of the bus, so that any program can send.
//!
//! | module | contents |
//! |---|---|
//! | [`members`] | [`Members`]: the state machine of membership, routes of sids, accounts of lost messages |
//! | [`hello`] | the message by which a node says that it is there |
//! | [`bus`] | subjects and bodies of messages between nodes, and from other programs |
//! | [`link`] | the handshake of a link with its proof of a key, and the preamble of a request |
//!
//! As everywhere in this crate, the time and random numbers are arguments, and memory is lent: the driver carries bytes.

pub mod bus;
pub mod hello;
pub mod link;
pub mod members;
mod wire;

pub use members::Members;
