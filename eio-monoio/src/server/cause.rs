//! [`CauseLog`]: log lines that say why a request was refused or a session ended, at most one a second for each [`Cause`].

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use eio_core::sid::Sid;

/// Declares the causes with their words.
macro_rules! causes {
    ($($(#[$attribute:meta])* $cause:ident: $words:literal,)*) => {
        /// Why a request was refused, or a session or connection ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Cause {
            $($(#[$attribute])* $cause,)*
        }

        impl Cause {
            const ALL: &[Self] = &[$($(#[$attribute])* Self::$cause,)*];

            /// The cause, and its remedy if the operator has one.
            const fn words(self) -> &'static str {
                match self {
                    $($(#[$attribute])* Self::$cause => $words,)*
                }
            }
        }
    };
}

causes! {
    InvalidOrigin: "request refused: the page is of an origin that Config::cors does not allow; add the origin there, \
        or let the proxy pass Host (or X-Forwarded-Host) and X-Forwarded-Proto",
    UnknownTransport: "request refused: the query has no transport that is enabled (Config::transports)",
    UnknownSid: "request refused: there is no session with this sid; it has ended, or another process has it (a \
        balancer must send all requests of a session to one process)",
    BadHandshakeMethod: "request refused: a handshake is a GET; a POST without a sid is a client of another protocol, \
        or its query was removed",
    NoUpgrade: "request refused: transport=websocket without Upgrade: websocket; a proxy that does not pass Upgrade and \
        Connection removes them",
    UnexpectedUpgrade: "request refused: transport=polling with Upgrade: websocket",
    UpgradeWithBody: "request refused: a WebSocket handshake with a body",
    UpgradesOff: "request refused: an upgrade to WebSocket, which Config::allow_upgrades disables",
    Jsonp: "request refused: JSONP (the query has j), which is not supported",
    ProtocolMismatch: "request refused: another protocol version (EIO) within a session of version 4",
    TransportMismatch: "request refused: polling for a session whose transport is WebSocket",
    WebSocketHandshake: "request refused: the opening handshake of the WebSocket is not that of RFC 6455",
    SidGeneration: "session refused: Server::generate_id returned no legal and unused sid",
    Middleware: "request refused: by Server::middleware",
    MiddlewareTimeout: "request refused: the middlewares did not end within Config::connect_timeout",
    Forbidden: "session refused: by Handler::connect",
    ConnectTimeout: "session refused: Handler::connect did not end within Config::connect_timeout",
    UnsupportedVersion: "session refused: the client does not speak Engine.IO 4 (EIO=4); a client of Socket.IO 2 \
        must be updated",
    MethodNotAllowed: "request refused: its method is neither GET nor POST",
    ShuttingDown: "session refused: the server is shutting down",
    TooManyHandshakes: "session refused: more handshakes than Config::max_handshakes_per_second",
    AddressHandshakes: "session refused: more handshakes of this address than Config::max_handshakes_per_address",
    AddressConnections: "connection refused: Config::max_connections_per_address connections of this address are open",
    MemoryBudget: "message refused: Config::memory_budget bytes are held for clients, which send or do not receive large \
        messages",
    RefusedNetwork: "connection refused: its address is in one of Config::refused_networks",
    TooManyConnections: "connection refused: Config::max_connections connections are open",
    TlsFailed: "connection closed: the TLS handshake failed",
    MalformedRequest: "connection closed: not an HTTP/1.1 request",
    TlsOnPlainPort: "connection closed: a TLS handshake on a port without TLS; give the client an http URL, or the \
        server Server::tls",
    ProxyProtocol: "connection closed: a header of the PROXY protocol, which Config::proxy_protocol enables for \
        Config::trusted_proxies",
    UntrustedProxy: "connection closed: Config::proxy_protocol requires that it comes from one of \
        Config::trusted_proxies",
    ProxyHeader: "connection closed: no header of the PROXY protocol, which Config::proxy_protocol requires; the proxy \
        must send it",
    HeadTooLarge: "connection closed: a request head larger than Config::max_head_size",
    TooManyHeaders: "connection closed: more header fields than Config::max_headers",
    HeadTimeout: "connection closed: no complete request head within Config::head_timeout",
    BodyTooLarge: "request refused: a body larger than Config::max_payload",
    BodyTimeout: "connection closed: no complete body within Config::body_timeout",
    MalformedBody: "connection closed: the framing of a body is malformed",
    RequestTimeout: "request refused: Handler::request did not end within Config::connect_timeout",
    OverlappingRequests: "session ended: two GETs or two POSTs at once; a proxy or client that repeats requests does so",
    InvalidPacket: "session ended: the client sent bytes that are not an Engine.IO packet",
    UnexpectedPacket: "session ended: the client sent a packet that a client may not send now",
    WebSocketViolation: "WebSocket closed: the client broke a rule of RFC 6455, or sent more than Config::max_payload",
    PingTimeout: "session ended: no pong within Config::ping_timeout; the client or its network has stopped, or its \
        timers are throttled",
    PollLost: "session ended: the connection of a held GET was closed; the client has left, or the read timeout of a \
        proxy is below ping_interval + ping_timeout",
    WebSocketLost: "session ended: the WebSocket was lost without a close frame; the client or its network has gone, \
        or the timeout of a proxy is below ping_interval + ping_timeout",
    ResponseNotReceived: "session ended: the client did not receive a response within Config::write_timeout, or closed \
        the connection before",
    UpgradeFailed: "upgrade to WebSocket failed; the session continues over polling",
    #[cfg(feature = "nats")]
    NodeUnreachable: "request refused: the node of its session is up, but no link to it can be opened; nodes must reach \
        each other (Cluster::link_address)",
    #[cfg(feature = "nats")]
    TagTaken: "session refused: another node of the cluster has the tag of this one; give each node its own \
        (Config::tag)",
    SlowClient: "message dropped: Config::outbound_high_water bytes wait for the client, which does not receive them",
}

impl Cause {
    /// Whether an operator can most likely do something about it.
    const fn is_warning(self) -> bool {
        matches!(
            self,
            Self::InvalidOrigin
                | Self::NoUpgrade
                | Self::TooManyHandshakes
                | Self::TooManyConnections
                | Self::MemoryBudget
                | Self::AddressHandshakes
                | Self::AddressConnections
                | Self::TooManyHeaders
                | Self::ProxyProtocol
                | Self::UntrustedProxy
                | Self::ProxyHeader
                | Self::MiddlewareTimeout
                | Self::ConnectTimeout
                | Self::RequestTimeout
        ) || self.is_of_cluster()
    }
}

impl Cause {
    const fn is_of_cluster(self) -> bool {
        #[cfg(feature = "nats")]
        return matches!(self, Self::NodeUnreachable | Self::TagTaken);
        #[cfg(not(feature = "nats"))]
        false
    }
}

/// The client that a line is about.
#[derive(Clone, Copy)]
pub(crate) enum Subject<'a> {
    /// `None` for a Unix-domain socket.
    Peer(Option<SocketAddr>),
    Session(&'a Sid, Option<SocketAddr>),
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(Some(peer)) => peer.fmt(f),
            Self::Peer(None) => f.write_str("unix socket"),
            Self::Session(sid, peer) => write!(f, "{} session {sid}", Self::Peer(*peer)),
        }
    }
}

/// When each cause was last logged. All workers share it.
pub(crate) struct CauseLog {
    started: Instant,
    lines: [Line; Cause::ALL.len()],
}

#[derive(Default)]
struct Line {
    /// From when on the next line may be written, in milliseconds since the start.
    due: AtomicU64,
    /// Occurrences since the last line.
    omitted: AtomicU64,
}

impl Default for CauseLog {
    fn default() -> Self {
        Self { started: Instant::now(), lines: std::array::from_fn(|_| Line::default()) }
    }
}

impl CauseLog {
    /// Logs a cause; at DEBUG only if it was logged within the last second. `detail` may be empty.
    pub(crate) fn write(&self, cause: Cause, client: Subject<'_>, detail: impl fmt::Display) {
        let (words, detail) = (cause.words(), Detail(detail));
        let Some(omitted) = self.admit(cause) else {
            return crate::log::debug!(%client, "{words}{detail}");
        };
        if cause.is_warning() {
            crate::log::warn!(%client, omitted, "{words}{detail}");
        } else {
            crate::log::info!(%client, omitted, "{words}{detail}");
        }
    }

    /// The number of occurrences since the last line if another line may be written; counts this one if not.
    fn admit(&self, cause: Cause) -> Option<u64> {
        const INTERVAL_MS: u64 = 1_000;
        let line = &self.lines[cause as usize];
        let now = self.started.elapsed().as_millis() as u64;
        let due = line.due.load(Ordering::Relaxed);
        let next = now + INTERVAL_MS;
        let ordering = Ordering::Relaxed;
        if now < due || line.due.compare_exchange(due, next, ordering, ordering).is_err() {
            line.omitted.fetch_add(1, ordering);
            return None;
        }
        Some(line.omitted.swap(0, ordering))
    }
}

/// A detail after the words, in parentheses.
struct Detail<D>(D);

impl<D: fmt::Display> fmt::Display for Detail<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detail = self.0.to_string();
        if detail.is_empty() { Ok(()) } else { write!(f, " ({detail})") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_for_each_cause() {
        let log = CauseLog::default();
        assert_eq!(log.admit(Cause::UnknownSid), Some(0));
        assert_eq!(log.admit(Cause::UnknownSid), None);
        assert_eq!(log.admit(Cause::UnknownSid), None);
        assert_eq!(log.admit(Cause::InvalidOrigin), Some(0));
        // The second is over.
        log.lines[Cause::UnknownSid as usize].due.store(0, Ordering::Relaxed);
        assert_eq!(log.admit(Cause::UnknownSid), Some(2));
        assert_eq!(log.admit(Cause::UnknownSid), None);
    }

    #[test]
    fn words_are_one_line_without_a_final_stop() {
        for cause in Cause::ALL {
            let words = cause.words();
            assert!(!words.contains(['\n', '\t']) && !words.contains("  "), "{words}");
            assert!(!words.ends_with('.'), "{words}");
        }
    }
}
