//! How the foreign servers are started, and how they differ.

use std::time::Duration;

use eio_monoio::CloseReason;

use super::Program;
use crate::support::process::ServerProcess;

/// A server, and where its behaviour differs.
#[derive(Clone, Copy)]
pub(crate) struct ForeignServer {
    install: fn(&str) -> Option<&'static Program>,
    /// pingInterval and pingTimeout, in the units of the server.
    pub(crate) default: [&'static str; 2],
    pub(crate) brief: [&'static str; 2],
    /// The sum of `brief`.
    pub(crate) brief_sum: Duration,
    /// The status of a refusal.
    pub(crate) refusal: u16,
    /// Whether a large POST arrives complete.
    pub(crate) large_posts: bool,
    /// The reason of a session over WebSocket that the server closes.
    pub(crate) close: CloseReason,
}

pub(crate) const JAVASCRIPT: ForeignServer = ForeignServer {
    install: super::javascript_server,
    default: ["25000", "20000"],
    brief: ["400", "300"],
    brief_sum: Duration::from_millis(700),
    refusal: 403,
    large_posts: true,
    // `docs/protocol.md` 2.6.6: only a close frame.
    close: CloseReason::TransportClose,
};

pub(crate) const PYTHON: ForeignServer = ForeignServer {
    install: super::python_server,
    default: ["25", "20"],
    // It announces whole seconds.
    brief: ["1", "1"],
    brief_sum: Duration::from_secs(2),
    refusal: 401,
    // `docs/protocol.md` 2.3.12.
    large_posts: false,
    close: CloseReason::ServerDisconnect,
};

impl ForeignServer {
    /// Starts the server; `None` means that the test is skipped.
    pub(crate) fn start(
        &self,
        test: &str,
        settings: [&str; 2],
        max_payload: &str,
    ) -> Option<ServerProcess> {
        let installed = (self.install)(test)?;
        let [interval, timeout] = settings;
        Some(ServerProcess::run(installed.server_command(&[interval, timeout, max_payload])))
    }
}
