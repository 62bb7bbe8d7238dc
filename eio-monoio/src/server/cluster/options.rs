//! [`Cluster`]: the options of a server that is a node of a cluster.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use eio_core::cluster::bus::Subjects;
use eio_core::cluster::members::Timing;

use crate::error::ConfigError;
use crate::range::{self, SIZE, TIMEOUT};
use crate::server::cluster::engine::Engine;
use crate::worker::deadline::millis;

/// Makes a server a node of a cluster, for [`Server::cluster`](crate::Server::cluster): any node answers requests for
/// the sessions of every node, and messages reach the sessions of all.
///
/// Nodes learn of each other by an [`Engine`], such as [`Nats`](crate::Nats). Requests for a session of another node
/// travel over one direct connection between the two nodes, a *link*; the node that has the session decides about
/// everything. `docs/cluster.md` in the repository says what is guaranteed and how a node behaves when others, or the
/// engine, fail.
///
/// ```no_run
/// # use eio_monoio::{Cluster, Nats, Server};
/// # fn server<H: eio_monoio::Handler>(make: impl Fn() -> H + Send + Sync + 'static) -> Result<(), eio_monoio::ServeError> {
/// let cluster = Cluster::new("chat", Nats::new("nats://nats.example:4222"));
/// let running = Server::new(make).cluster(cluster).bind("0.0.0.0:3000")?;
/// // Reaches every session of every node.
/// running.remote().broadcast("hello").ok();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Cluster {
    pub(crate) name: String,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) options: Options,
}

/// Called with the tag of a node, and the number of its messages that did not arrive.
pub(crate) type OnLost = Arc<dyn Fn(&str, u64) + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) link_address: Option<SocketAddr>,
    pub(crate) announced_address: Option<SocketAddr>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<(crate::Tls, String)>,
    pub(crate) heartbeat: Duration,
    pub(crate) node_timeout: Duration,
    pub(crate) link_timeout: Duration,
    pub(crate) link_connect_timeout: Duration,
    pub(crate) link_idle_timeout: Duration,
    pub(crate) max_links: Option<usize>,
    pub(crate) max_forwarded: Option<usize>,
    pub(crate) max_nodes: usize,
    pub(crate) engine_high_water: usize,
    pub(crate) on_lost: Option<OnLost>,
}

impl Cluster {
    /// The node of the cluster `name`, whose nodes find each other by `engine`. Clusters with different names may use
    /// the same engine. A name has 1 to 32 letters, digits, hyphens and underscores.
    #[must_use]
    pub fn new(name: impl Into<String>, engine: impl Engine) -> Self {
        let options = Options {
            link_address: None,
            announced_address: None,
            #[cfg(feature = "tls")]
            tls: None,
            heartbeat: Duration::from_secs(1),
            node_timeout: Duration::from_millis(4_500),
            link_timeout: Duration::from_secs(1),
            link_connect_timeout: Duration::from_millis(500),
            link_idle_timeout: Duration::from_secs(30),
            max_links: None,
            max_forwarded: None,
            max_nodes: 128,
            engine_high_water: 16 << 20,
            on_lost: None,
        };
        Self { name: name.into(), engine: Arc::new(engine), options }
    }

    /// The address on which this node accepts links, and which it tells the other nodes. Port 0: a free port for each
    /// worker.
    ///
    /// **Default:** the local address of the route to the engine, and free ports. An address that is not of this host
    /// makes [`Server::bind`](crate::Server::bind) fail.
    #[must_use]
    pub fn link_address(mut self, address: SocketAddr) -> Self {
        self.options.link_address = Some(address);
        self
    }

    /// Requires TLS on links, in both directions: each node shows its certificate, which one of
    /// [`Tls::client_authorities`](crate::Tls::client_authorities) has signed for `name`. It is the same name for all
    /// nodes, since their addresses may change.
    ///
    /// **Default:** links without TLS. They prove that both ends know keys that are announced over the engine, but
    /// between networks that others can read or change they need TLS. Only with the feature `tls`. The files are read at
    /// the start.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: crate::Tls, name: impl Into<String>) -> Self {
        self.options.tls = Some((tls, name.into()));
        self
    }

    /// The address of this node's links as the other nodes see it, if that is not the one on which it accepts them: that
    /// of a forwarded port, for example.
    ///
    /// **Default:** [`link_address`](Self::link_address).
    #[must_use]
    pub fn announced_address(mut self, address: SocketAddr) -> Self {
        self.options.announced_address = Some(address);
        self
    }

    /// How often the node says that it is there.
    ///
    /// **Default:** 1 s. **Range:** 10 ms to 24 h, and at most half of [`node_timeout`](Self::node_timeout).
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.options.heartbeat = interval;
        self
    }

    /// The time without a sign of another node after which that node counts as lost: requests for its sessions are
    /// answered 400 (unknown session) then, and its clients connect again.
    ///
    /// **Default:** 4.5 s, so that a silent node is lost within 6 s: [`link_timeout`](Self::link_timeout) is added for a
    /// ping. **Range:** 10 ms to 24 h. A node whose process has ended is lost sooner: its links break, and the engine says
    /// that it is not there.
    #[must_use]
    pub fn node_timeout(mut self, timeout: Duration) -> Self {
        self.options.node_timeout = timeout;
        self
    }

    /// The time for an answer of another node on a link: to the handshake of a new one, and to a ping.
    ///
    /// **Default:** 1 s. **Range:** 10 ms to 24 h. After it the request is answered 503 with `Retry-After`.
    #[must_use]
    pub fn link_timeout(mut self, timeout: Duration) -> Self {
        self.options.link_timeout = timeout;
        self
    }

    /// The time for the connection of a new link.
    ///
    /// **Default:** 500 ms. **Range:** 10 ms to 24 h. After it the request is answered 503 with `Retry-After`.
    #[must_use]
    pub fn link_connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.link_connect_timeout = timeout;
        self
    }

    /// The time after which an unused link is closed.
    ///
    /// **Default:** 30 s. **Range:** 10 ms to 24 h. The node that accepted it waits three times as long. A worker keeps at most
    /// 256 unused links to each node, and closes others at once.
    #[must_use]
    pub fn link_idle_timeout(mut self, timeout: Duration) -> Self {
        self.options.link_idle_timeout = timeout;
        self
    }

    /// The most links that this node accepts from others, besides
    /// [`max_connections`](crate::Config::max_connections). A forwarded request, and a WebSocket of a client at another
    /// node, needs one.
    ///
    /// **Default:** half of the limit on open descriptors. **Range:** 1 to 2^31. A node that asks for one more answers its
    /// client 503 with `Retry-After`.
    #[must_use]
    pub fn max_links(mut self, max: usize) -> Self {
        self.options.max_links = Some(max);
        self
    }

    /// The most requests and WebSockets that this node forwards at a time.
    ///
    /// **Default:** half of the limit on open descriptors. **Range:** 1 to 2^31. One more is answered 503 with
    /// `Retry-After`.
    #[must_use]
    pub fn max_forwarded(mut self, max: usize) -> Self {
        self.options.max_forwarded = Some(max);
        self
    }

    /// The most other nodes that this node knows.
    ///
    /// **Default:** 128. **Range:** 1 to 1,024. Further ones are unknown here, which is logged: requests for their
    /// sessions are answered 400.
    #[must_use]
    pub fn max_nodes(mut self, max: usize) -> Self {
        self.options.max_nodes = max;
        self
    }

    /// The bytes of messages for other nodes that may wait for the engine, also while it is away.
    ///
    /// **Default:** 16 MiB. **Range:** 1 to 2^31. Above it a [`Remote`](crate::Remote) returns
    /// [`SendError::Full`](crate::SendError::Full), and messages of handlers are dropped, which is counted and logged.
    #[must_use]
    pub fn engine_high_water(mut self, bytes: usize) -> Self {
        self.options.engine_high_water = bytes;
        self
    }

    /// Calls `on_lost` with the tag of another node and the number of its messages that did not arrive here. They were
    /// lost by the engine, or dropped by its client; they are [counted](crate::ClusterMetrics::lost), too.
    ///
    /// It is called on a thread of the cluster, which must not be blocked.
    ///
    /// **Default:** the loss is logged and counted.
    #[must_use]
    pub fn on_lost(mut self, on_lost: impl Fn(&str, u64) + Send + Sync + 'static) -> Self {
        self.options.on_lost = Some(Arc::new(on_lost));
        self
    }

    /// Checks every value, as [`Server::bind`](crate::Server::bind) does.
    ///
    /// # Errors
    /// The first option that is outside its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let options = &self.options;
        for (option, value) in [
            ("cluster.heartbeat", options.heartbeat),
            ("cluster.node_timeout", options.node_timeout),
            ("cluster.link_timeout", options.link_timeout),
            ("cluster.link_connect_timeout", options.link_connect_timeout),
            ("cluster.link_idle_timeout", options.link_idle_timeout),
        ] {
            range::check(value, TIMEOUT).map_err(|problem| ConfigError::new(option, problem))?;
        }
        for (option, value, range) in [
            ("cluster.max_links", options.max_links.unwrap_or(1), SIZE),
            ("cluster.max_forwarded", options.max_forwarded.unwrap_or(1), SIZE),
            ("cluster.max_nodes", options.max_nodes, 1..=1024),
            ("cluster.engine_high_water", options.engine_high_water, SIZE),
        ] {
            range::check(value, range).map_err(|problem| ConfigError::new(option, problem))?;
        }
        if options.heartbeat > options.node_timeout / 2 {
            let problem = format!("{:?} is more than half of node_timeout", options.heartbeat);
            return Err(ConfigError::new("cluster.heartbeat", problem));
        }
        self.engine
            .check()
            .map_err(|error| ConfigError::new("cluster.engine", error.to_string()))?;
        self.subjects().map(|_| ())
    }

    pub(crate) fn subjects(&self) -> Result<Subjects, ConfigError> {
        Subjects::new(&self.name)
            .map_err(|error| ConfigError::new("cluster.name", error.to_string()))
    }
}

impl Options {
    pub(crate) fn timing(&self) -> Timing {
        Timing {
            heartbeat_ms: millis(self.heartbeat),
            node_timeout_ms: millis(self.node_timeout),
            link_timeout_ms: millis(self.link_timeout),
            ..Timing::default()
        }
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, engine, .. } = self;
        f.debug_struct("Cluster")
            .field("name", name)
            .field("engine", engine)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::cluster::nats::Nats;

    #[test]
    fn options_outside_their_ranges_are_named() {
        let cluster = || Cluster::new("chat", Nats::new("127.0.0.1"));
        assert_eq!(cluster().check(), Ok(()));
        let short = Duration::from_millis(9);
        for (cluster, option) in [
            (Cluster::new("a.b", Nats::new("127.0.0.1")), "cluster.name"),
            (Cluster::new("chat", Nats::new("")), "cluster.engine"),
            (Cluster::new("chat", Nats::new("a").credentials("/missing")), "cluster.engine"),
            (Cluster::new("chat", Nats::new("a").authorities("/missing")), "cluster.engine"),
            (cluster().heartbeat(short), "cluster.heartbeat"),
            (cluster().heartbeat(Duration::from_secs(3)), "cluster.heartbeat"),
            (cluster().node_timeout(short), "cluster.node_timeout"),
            (cluster().link_timeout(short), "cluster.link_timeout"),
            (cluster().link_connect_timeout(short), "cluster.link_connect_timeout"),
            (cluster().link_idle_timeout(short), "cluster.link_idle_timeout"),
            (cluster().max_links(0), "cluster.max_links"),
            (cluster().max_forwarded(0), "cluster.max_forwarded"),
            (cluster().max_nodes(0), "cluster.max_nodes"),
            (cluster().max_nodes(1025), "cluster.max_nodes"),
            (cluster().engine_high_water(0), "cluster.engine_high_water"),
        ] {
            assert_eq!(cluster.check().map_err(|error| error.option()), Err(option));
        }
    }

    #[test]
    fn neither_addresses_nor_secrets_of_the_engine_are_in_debug_output() {
        let nats = Nats::new("nats://user:secret@host").token("secret").user("node", "secret");
        let text = format!("{:?}", Cluster::new("chat", nats));
        assert!(
            text.contains("chat") && !text.contains("secret") && !text.contains("host"),
            "{text}"
        );
    }
}
