//! [`AccessEntry`]: one request and its response, for the application's access log.

use std::fmt;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One HTTP request and its response, which [`Server::access_log`](crate::Server::access_log) receives.
pub struct AccessEntry {
    peer: Option<SocketAddr>,
    method: String,
    target: String,
    status: Option<u16>,
    started: Instant,
    duration: Duration,
}

impl AccessEntry {
    /// The address of the client, as [`RequestInfo::peer_addr`](crate::RequestInfo::peer_addr) returns it.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The method; empty if the input was not a request.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The target with its query, as the client sent it; empty if the input was not a request. The query of Engine.IO has
    /// the sid, which gives access to the session: see [`path`](Self::path).
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The status of the response; `None` if the connection ended before there was one.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// The time from the complete head of the request to the end of the response. A poll is held until a packet is due;
    /// for a WebSocket it is the time to its 101.
    pub fn duration(&self) -> Duration {
        self.duration
    }
}

impl fmt::Debug for AccessEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessEntry")
            .field("peer", &self.peer)
            .field("method", &self.method)
            .field("path", &self.path())
            .field("status", &self.status)
            .field("duration", &self.duration)
            .finish_non_exhaustive()
    }
}

/// The application's function.
pub(crate) type OnAccess = dyn Fn(&AccessEntry) + Send + Sync;

/// The entry of the current request. It is passed to the application when it is dropped, which each way out of a request
/// does.
pub(crate) struct Access {
    entry: AccessEntry,
    log: Option<Arc<OnAccess>>,
}

impl Access {
    /// The entry of input that is not known to be a request yet.
    pub(crate) fn new(log: Arc<OnAccess>, peer: Option<SocketAddr>) -> Self {
        let (started, duration) = (Instant::now(), Duration::ZERO);
        let (method, target) = (String::new(), String::new());
        let entry = AccessEntry { peer, method, target, status: None, started, duration };
        Self { entry, log: Some(log) }
    }

    pub(crate) fn set_request(&mut self, peer: Option<SocketAddr>, method: &str, target: &str) {
        self.entry.peer = peer;
        method.clone_into(&mut self.entry.method);
        target.clone_into(&mut self.entry.target);
    }

    pub(crate) fn set_status(&mut self, status: u16) {
        self.entry.status = Some(status);
    }

    /// Another worker or server answers the request, and logs it.
    pub(crate) fn cancel(&mut self) {
        self.log = None;
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        let Some(log) = self.log.take() else { return };
        self.entry.duration = self.entry.started.elapsed();
        if catch_unwind(AssertUnwindSafe(|| log(&self.entry))).is_err() {
            crate::log::error!("the access_log hook panicked");
        }
    }
}
