//! Nodes in this process, on addresses of their own.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use eio_monoio::{Cluster, Config, Nats, Remote, Running, Server};

use crate::nats_server::NatsServer;
use crate::support::app::App;
use crate::support::configs::default_config;
use crate::support::log::Log;
use crate::support::wait::eventually;

/// A node; dropping it shuts it down.
pub(crate) struct Node {
    pub(crate) running: Running,
    pub(crate) log: Log,
}

impl Node {
    pub(crate) fn addr(&self) -> SocketAddr {
        self.running.local_addr()
    }

    pub(crate) fn remote(&self) -> Remote {
        self.running.remote()
    }

    pub(crate) fn tag(&self) -> String {
        self.cluster().tag().to_owned()
    }

    pub(crate) fn cluster(&self) -> eio_monoio::ClusterView {
        self.remote().cluster().expect("a node of a cluster")
    }

    /// The states of the other nodes, in the order of their tags.
    pub(crate) fn states(&self) -> Vec<(String, &'static str)> {
        let nodes = self.cluster().nodes();
        nodes.iter().map(|node| (node.tag().to_owned(), node.state())).collect()
    }

    pub(crate) fn state_of(&self, tag: &str) -> Option<&'static str> {
        self.states().into_iter().find(|(of, _)| of == tag).map(|(_, state)| state)
    }
}

/// Options with which a test does not wait long.
pub(crate) fn options(server: &NatsServer) -> Cluster {
    Cluster::new("test", Nats::new(server.url()))
        .heartbeat(Duration::from_millis(100))
        .node_timeout(Duration::from_millis(1000))
        .link_timeout(Duration::from_millis(300))
}

/// Starts a node on `127.0.0.<host>`, whose tag is `n<host>`.
pub(crate) fn start(host: u8, config: Config, cluster: Cluster) -> Node {
    let ip = IpAddr::from([127, 0, 0, host]);
    let log = Log::default();
    let shared = log.clone();
    let server = Server::new(move || App::new(&shared)).config(config.tag(format!("n{host}")));
    let cluster = cluster.link_address(SocketAddr::new(ip, 0));
    let running = server.cluster(cluster).bind(SocketAddr::new(ip, 0)).expect("the node starts");
    Node { running, log }
}

/// Starts `count` nodes, and waits until they know each other.
pub(crate) fn start_all(count: u8, server: &NatsServer) -> Vec<Node> {
    start_with(count, &default_config(), &options(server))
}

pub(crate) fn start_with(count: u8, config: &Config, cluster: &Cluster) -> Vec<Node> {
    let nodes: Vec<Node> =
        (1..=count).map(|host| start(host, config.clone(), cluster.clone())).collect();
    wait_until_up(&nodes);
    nodes
}

/// Waits until each node is ready and knows that the others are up.
pub(crate) fn wait_until_up(nodes: &[Node]) {
    for node in nodes {
        eventually("the nodes are up", || {
            let others = node.states();
            let up = others.iter().filter(|(_, state)| *state == "up").count();
            node.remote().is_ready() && up == nodes.len() - 1
        });
    }
}
