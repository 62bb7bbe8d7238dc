//! A node of a cluster: echoes every message, and sends messages that begin with `all:` to the sessions of every node.
//! See `--help`. Three of them, and a NATS server on its usual port:
//!
//! ```sh
//! cargo build --example cluster --features nats
//! for n in 1 2 3; do target/debug/examples/cluster --tag n$n --listen 127.0.0.1:300$n & done
//! ```
//!
//! The page at <http://127.0.0.1:3001/> sends each request of its session to another node, and shows which one answered.

#[path = "../log/mod.rs"]
mod log;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use eio_monoio::{
    Cluster, Config, ConnectRequest, Cors, Driver, Handler, Message, Metrics, Nats, Refusal,
    Remote, Server, Socket,
};
use http::{Request, Response, header};

const PAGE: &str = include_str!("page.html");

#[derive(Parser)]
#[command(about = "A node of a cluster that echoes every message")]
struct Options {
    /// Address and port for clients
    #[arg(long, default_value = "127.0.0.1:3001")]
    listen: String,
    /// The name of this node in its session ids [default: four random characters]
    #[arg(long)]
    tag: Option<String>,
    /// The servers of NATS
    #[arg(long, default_value = "nats://127.0.0.1:4222")]
    nats: String,
    /// The name of the cluster
    #[arg(long, default_value = "example")]
    name: String,
    /// Address and port for other nodes [default: that of the route to NATS, and a free port]
    #[arg(long)]
    link_address: Option<SocketAddr>,
    #[arg(long, default_value_t = 1_000)]
    heartbeat_ms: u64,
    #[arg(long, default_value_t = 4_500)]
    node_timeout_ms: u64,
    /// Threads, each with its share of the sessions [default: the machine's cores]
    #[arg(long)]
    workers: Option<usize>,
    /// auto, io-uring or epoll
    #[arg(long, default_value = "auto")]
    driver: Driver,
    #[arg(long, default_value_t = 25_000)]
    ping_interval_ms: u64,
    #[arg(long, default_value_t = 20_000)]
    ping_timeout_ms: u64,
    /// The first SIGTERM closes sessions evenly over this time, before the shutdown
    #[arg(long, default_value_t = 0)]
    drain_ms: u64,
    /// error, warn, info, debug or trace; the log is standard error
    #[arg(long, default_value = "warn")]
    log_level: tracing::Level,
}

struct Echo;

impl Handler for Echo {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        match message {
            Message::Text(text) if text.starts_with("all:") => socket.server().broadcast(text),
            // Never full: the server does not read from a client that does not read its echoes.
            echo => drop(socket.try_send(echo)),
        }
        async {}
    }

    async fn request(&self, request: Request<Vec<u8>>) -> Response<Cow<'static, [u8]>> {
        let Some(remote) = Remote::current() else { return Response::default() };
        let (status, content_type, body) = match request.uri().path() {
            "/" => (200, "text/html; charset=utf-8", PAGE.to_owned()),
            "/metrics" => (200, Metrics::CONTENT_TYPE, remote.metrics().to_string()),
            "/readyz" if remote.is_ready() => (200, "text/plain", "ready".to_owned()),
            "/readyz" => (503, "text/plain", "not ready".to_owned()),
            "/nodes" => (200, "text/plain", nodes(&remote)),
            _ => (404, "text/plain", "Not Found".to_owned()),
        };
        let response =
            Response::builder().status(status).header(header::CONTENT_TYPE, content_type);
        let response = response.header(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        response.body(Cow::Owned(body.into_bytes())).unwrap_or_default()
    }
}

/// This node and the others, one in a line.
fn nodes(remote: &Remote) -> String {
    let Some(cluster) = remote.cluster() else { return String::new() };
    let mut lines = format!("{} here {}\n", cluster.tag(), remote.sessions());
    for node in cluster.nodes() {
        lines += &format!("{} {} {}\n", node.tag(), node.state(), node.sessions());
    }
    lines
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    log::start(options.log_level);
    let mut config = Config::new()
        .driver(options.driver)
        .cors(Cors::Any)
        .separator_over_websocket(true)
        .ping_interval(Duration::from_millis(options.ping_interval_ms))
        .ping_timeout(Duration::from_millis(options.ping_timeout_ms))
        .drain_time(Duration::from_millis(options.drain_ms))
        .drain_on_signal(options.drain_ms > 0)
        .handle_signals(true);
    if let Some(tag) = options.tag {
        config = config.tag(tag);
    }
    if let Some(workers) = options.workers {
        config = config.workers(workers);
    }
    let mut cluster = Cluster::new(options.name, Nats::new(options.nats))
        .heartbeat(Duration::from_millis(options.heartbeat_ms))
        .node_timeout(Duration::from_millis(options.node_timeout_ms));
    if let Some(address) = options.link_address {
        cluster = cluster.link_address(address);
    }
    let running = Server::new(|| Echo).config(config).cluster(cluster).bind(options.listen)?;
    let address = running.local_addr();
    println!("listening on http://{address}/engine.io/ driver={}", running.driver());
    running.join()?;
    Ok(())
}
