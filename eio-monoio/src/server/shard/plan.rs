//! [`Plan`]: the parts of a shard, before its thread starts.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use crate::server::config::Config;
use crate::server::hooks::{Hooks, OnRawWebSocket};
use crate::server::listener::Listening;
use crate::server::shard::disk::Disk;
use crate::server::shard::shared::ServerShared;

/// The parts that a shard is made of on its own thread.
pub(crate) struct Plan {
    pub(crate) id: u16,
    pub(crate) config: Arc<Config>,
    pub(crate) shared: Arc<ServerShared>,
    pub(crate) wake_rx: UnixStream,
    pub(crate) listening: Vec<Listening>,
    pub(crate) max_connections: usize,
    pub(crate) on_raw_websocket: Option<OnRawWebSocket>,
    pub(crate) hooks: Hooks,
    pub(crate) disk: Option<Arc<Disk>>,
    /// The listener for links of other nodes.
    #[cfg(feature = "nats")]
    pub(crate) links: Option<std::os::fd::OwnedFd>,
}
