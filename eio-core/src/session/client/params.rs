//! The times and parameters of a client session.

/// The deadlines of a client, in milliseconds. Those of the heartbeat come from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ClientTiming {
    /// From the creation of the session to the open packet.
    pub open_timeout_ms: u32,
    /// From the open packet to the end of an upgrade. Must not exceed the server's value, or the server can give
    /// up while the client switches.
    pub upgrade_timeout_ms: u32,
    /// From [`ClientSession::close`](super::ClientSession::close) to the end of the session, even if messages are
    /// still queued.
    pub close_timeout_ms: u32,
}

impl Default for ClientTiming {
    /// 20 s, the connection timeout of socket.io-client; 10 s, the upgrade timeout of servers; 30 s, the time a server
    /// takes to close.
    fn default() -> Self {
        Self { open_timeout_ms: 20_000, upgrade_timeout_ms: 10_000, close_timeout_ms: 30_000 }
    }
}

/// The parameters of the open packet that a session uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct OpenParams {
    /// `pingInterval`, in milliseconds.
    pub ping_interval_ms: u32,
    /// `pingTimeout`, in milliseconds.
    pub ping_timeout_ms: u32,
    /// Whether `upgrades` names `websocket`.
    pub offers_websocket: bool,
}
