//! Several servers as one: membership over an engine, messages to the sessions of all, requests for each other's
//! sessions.
//!
//! The rules are those of `eio_core::cluster`. [`engine`] is the seam for the messaging system, [`nats`] the one for
//! NATS; [`hub`] is shared by all threads of a node; [`node`] starts and ends it. Links between nodes are connections of
//! workers: `server::conn::link` accepts them, `server::conn::relay` forwards over them.

pub(crate) mod emitter;
pub(crate) mod engine;
pub(crate) mod hub;
mod incoming;
#[cfg(feature = "tls")]
pub(crate) mod link_tls;
pub(crate) mod local;
pub(crate) mod nats;
pub(crate) mod node;
pub(crate) mod options;
pub(crate) mod outbox;
pub(crate) mod table;
