//! [`Node`]: starts and ends the membership of a server; [`ClusterNode`] and [`ClusterView`]: the others, for the
//! application.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use eio_core::cluster::hello::{Identity, LINKS_MAX, Links};
use eio_core::cluster::members::NodeState;
use eio_core::sid::Tag;

use crate::error::{ConfigError, ServeError};
use crate::metrics::cluster::ClusterMetrics;
use crate::server::cluster::engine::{Engine, Port};
use crate::server::cluster::hub::Hub;
use crate::server::cluster::local::LocalSessions;
use crate::server::cluster::options::Cluster;
use crate::server::cluster::table::Peer;
use crate::worker::net;

/// A node before its workers start: it listens for links.
pub(crate) struct Joining {
    pub(crate) hub: Arc<Hub>,
    engine: Arc<dyn Engine>,
    name: String,
    /// The listener of each worker, if it has one.
    pub(crate) listeners: Vec<Option<OwnedFd>>,
}

/// The threads of a node.
pub(crate) struct Node {
    hub: Arc<Hub>,
    threads: Vec<JoinHandle<()>>,
}

impl Joining {
    pub(crate) fn new(
        cluster: Cluster,
        tag: Tag,
        workers: usize,
        backlog: u32,
    ) -> Result<Self, ServeError> {
        cluster.check()?;
        let subjects = cluster.subjects()?;
        let Cluster { name, engine, mut options } = cluster;
        let half = usize::try_from(net::descriptor_limit() / 2).unwrap_or(usize::MAX).max(1);
        options.max_links.get_or_insert(half);
        options.max_forwarded.get_or_insert(half);
        let address = match options.link_address {
            Some(address) => address,
            None => SocketAddr::new(route_to(&*engine)?, 0),
        };
        if address.ip().is_unspecified() {
            let problem = "other nodes cannot connect to the unspecified address".into();
            return Err(ConfigError::new("cluster.link_address", problem).into());
        }
        let (listeners, mut links) = listen(address, backlog, workers)?;
        let accepting = links.to_vec();
        if let Some(announced) = options.announced_address {
            links.clear();
            // There is room for one.
            let _ = links.push(announced);
        }
        let mut random = [0; 40];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let (incarnation, key) = random.split_at(8);
        let mut identity = Identity { tag, incarnation: 0, key: [0; 32], links };
        identity.key.copy_from_slice(key);
        identity.incarnation =
            incarnation.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let hub = Hub::new(identity, options, subjects, accepting)?;
        Ok(Self { hub, engine, name, listeners })
    }

    /// Starts the threads, when the workers can take messages.
    pub(crate) fn start(self, local: Weak<dyn LocalSessions>) -> io::Result<Node> {
        let Self { hub, engine, name, .. } = self;
        hub.set_local(local);
        let tag = &hub.identity.tag;
        let subjects = [
            hub.subjects.subscribe_hello(),
            hub.subjects.subscribe_node(tag),
            hub.subjects.subscribe_all(),
        ];
        let subjects = subjects.iter().map(ToString::to_string).collect();
        let port = Port::new(format!("eio {name} {tag}"), subjects, hub.clone());
        let mut node = Node { hub: hub.clone(), threads: Vec::new() };
        let timing = hub.clone();
        node.spawn("eio-cluster", move || timing.keep_time())?;
        node.spawn("eio-engine", move || {
            if let Err(error) = engine.run(port) {
                crate::log::error!(%error, "the engine has ended; this node is alone");
            }
        })?;
        Ok(node)
    }
}

impl Node {
    fn spawn(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(std::thread::Builder::new().name(name.into()).spawn(run)?);
        Ok(())
    }
}

impl Drop for Node {
    /// Says that the node has left, and waits for the threads.
    fn drop(&mut self) {
        self.hub.finish();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                crate::log::error!("a thread of the cluster panicked");
            }
        }
    }
}

/// A tag of 4 random characters, for a node to which none was given.
pub(crate) fn random_tag() -> io::Result<Tag> {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let letters = random.map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    let text: String = letters.into_iter().collect();
    Tag::new(&text).map_err(|error| io::Error::other(error.to_string()))
}

/// The local address of the route to the engine. Connecting a socket of UDP sends nothing.
fn route_to(engine: &dyn Engine) -> io::Result<IpAddr> {
    let servers = engine.addresses()?;
    let mut failure = io::Error::new(io::ErrorKind::InvalidInput, "the engine has no address");
    for server in servers {
        let any: SocketAddr = match server {
            SocketAddr::V4(_) => (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let local = UdpSocket::bind(any).and_then(|socket| {
            socket.connect(server)?;
            socket.local_addr()
        });
        match local {
            Ok(local) => return Ok(local.ip()),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// A listener for each worker, and their addresses. With a free port each worker has its own, so that links are spread
/// over the workers by the node that opens them; a fixed port is shared.
fn listen(
    address: SocketAddr,
    backlog: u32,
    workers: usize,
) -> io::Result<(Vec<Option<OwnedFd>>, Links)> {
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("the address of links, {address}: {error}"))
    };
    let own_ports = address.port() == 0;
    let (mut listeners, mut links) = (Vec::new(), Links::new());
    for worker in 0..workers {
        if own_ports && worker >= LINKS_MAX {
            listeners.push(None);
            continue;
        }
        let shared = !own_ports && workers > 1;
        let listener = net::listen(address, backlog, shared).map_err(named)?;
        if own_ports || worker == 0 {
            // There is room for `LINKS_MAX`.
            let _ = links.push(listener.local_addr()?);
        }
        listeners.push(Some(listener.into()));
    }
    Ok((listeners, links))
}

/// The other nodes of a server's cluster, from [`Remote::cluster`](crate::Remote::cluster).
///
/// ```
/// # use eio_monoio::Remote;
/// fn print(remote: &Remote) {
///     for node in remote.cluster().iter().flat_map(|cluster| cluster.nodes()) {
///         println!("{} is {}, {} sessions", node.tag(), node.state(), node.sessions());
///     }
/// }
/// ```
#[derive(Clone)]
pub struct ClusterView(pub(crate) Arc<Hub>);

impl ClusterView {
    /// The tag of this node: the part before the first dot of its session ids.
    pub fn tag(&self) -> &str {
        self.0.identity.tag.as_str()
    }

    /// The addresses of links that this node tells the others.
    pub fn link_addresses(&self) -> &[SocketAddr] {
        &self.0.identity.links
    }

    /// The addresses on which this node accepts links. Those that it tells the others may
    /// [differ](crate::Cluster::announced_address).
    pub fn accepting_links(&self) -> &[SocketAddr] {
        &self.0.accepting
    }

    /// The other nodes that are known, in the order of their tags. A node that is lost is listed for a while.
    pub fn nodes(&self) -> Vec<ClusterNode> {
        self.0.peers().into_iter().map(ClusterNode).collect()
    }

    /// Whether this node has joined the cluster and is not leaving. It stays ready while the engine is away.
    /// [`Remote::is_ready`](crate::Remote::is_ready) includes it.
    pub fn is_ready(&self) -> bool {
        self.0.is_ready()
    }

    /// Why the engine is not connected, as its client says: for [`Nats`](crate::Nats) with the option that decides about
    /// it. `None` if it is connected, or was not tried yet.
    pub fn engine_error(&self) -> Option<String> {
        self.0.engine_error()
    }

    /// The numbers of this node about the cluster. [`Remote::metrics`](crate::Remote::metrics) has them, too.
    pub fn metrics(&self) -> ClusterMetrics {
        self.0.metrics()
    }
}

impl fmt::Debug for ClusterView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterView").field("tag", &self.tag()).finish_non_exhaustive()
    }
}

/// Another node, when [`ClusterView::nodes`] was called.
#[derive(Clone)]
pub struct ClusterNode(Arc<Peer>);

impl ClusterNode {
    /// The part before the first dot of its session ids.
    pub fn tag(&self) -> &str {
        self.0.identity.tag.as_str()
    }

    /// `joining`, `up`, `leaving`, `unreachable` (it is there, but no link to it can be opened) or `lost`.
    pub fn state(&self) -> &'static str {
        match self.0.state {
            NodeState::Joining => "joining",
            NodeState::Up => "up",
            NodeState::Leaving => "leaving",
            NodeState::Unreachable => "unreachable",
            NodeState::Lost => "lost",
        }
    }

    /// Its open sessions, as of its last hello.
    pub fn sessions(&self) -> u32 {
        self.0.sessions
    }

    /// The addresses on which it accepts links.
    pub fn link_addresses(&self) -> &[SocketAddr] {
        &self.0.identity.links
    }

    /// Messages that it has sent and that did not arrive here.
    pub fn lost(&self) -> u64 {
        self.0.lost
    }
}

impl fmt::Debug for ClusterNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterNode")
            .field("tag", &self.tag())
            .field("state", &self.state())
            .field("sessions", &self.sessions())
            .finish_non_exhaustive()
    }
}
