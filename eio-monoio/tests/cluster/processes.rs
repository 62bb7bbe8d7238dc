//! Three nodes in processes of their own.

use std::net::SocketAddr;

use eio_monoio::Driver;

use crate::failures::command;
use crate::nats_server::NatsServer;
use crate::support::connection::Connection;
use crate::support::process::ServerProcess;
use crate::support::request::Request;
use crate::support::wait::eventually;

pub(crate) struct Processes {
    pub(crate) nodes: Vec<ServerProcess>,
    _engine: NatsServer,
}

impl Processes {
    /// Starts nodes with these tags and further arguments, and waits until they know each other. `None`, which is reported: there is no engine.
    pub(crate) fn start(
        test: &str,
        driver: Driver,
        tags: [&str; 3],
        more: &[&str],
    ) -> Option<Self> {
        let engine = NatsServer::start(test)?;
        let nodes = (1..).zip(tags).map(|(host, tag)| {
            let mut command = command(host, tag, &engine);
            command.args(["--driver", &driver.to_string(), "--workers", "2"]);
            command.args(more).args(["--heartbeat-ms", "100"]);
            // Only nodes that end are lost, also on a host that is slow.
            command.args(["--node-timeout-ms", "30000"]);
            ServerProcess::run(command)
        });
        let nodes: Vec<_> = nodes.collect();
        for node in &nodes {
            eventually("the nodes are up", || {
                get(node.addr(), "/nodes").matches(" up ").count() == 2
                    && get(node.addr(), "/readyz") == "ready"
            });
        }
        Some(Self { nodes, _engine: engine })
    }

    /// The sum of a metric of all nodes, over the labels that contain `label`.
    pub(crate) fn metric(&self, name: &str, label: &str) -> u64 {
        let values = self.nodes.iter().flat_map(|node| {
            let text = get(node.addr(), "/metrics");
            let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect::<Vec<u64>>()
        });
        values.sum()
    }
}

/// The body of a response, to its end.
pub(crate) fn get(addr: SocketAddr, target: &str) -> String {
    let request = Request::get(target).header("Connection", "close");
    let mut conn = Connection::open(addr);
    conn.send(&request);
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut conn.stream(), &mut bytes).expect("a response");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}
