//! Clients of others, and many of ours, behind HAProxy round robin over three nodes, without stickiness.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use eio_monoio::client::{self, Client};
use eio_monoio::{Driver, OwnedMessage, Transport};

use crate::exchanges;
use crate::processes::{Processes, get};
use crate::support::client::{connect_over, next_message};
use crate::support::configs::drivers;
use crate::support::foreign;
use crate::support::parallel;
use crate::support::process::{ServerProcess, signal, wait};
use crate::support::skip::skip;
use crate::support::temp_dir::TempDir;
use crate::support::wait::eventually;

/// Ends a client whose own limits have failed.
const CLIENT_LIMIT: Duration = Duration::from_secs(120);

const HAPROXY: &str = "/usr/sbin/haproxy";

/// Three node processes behind HAProxy.
struct Cluster {
    haproxy: Child,
    addr: SocketAddr,
    processes: Processes,
    /// As `addr`, but with the page of the `latency` example.
    browsers: SocketAddr,
    _pages: ServerProcess,
    _directory: TempDir,
}

impl Cluster {
    /// `None`, which is reported: a program is missing.
    fn start(test: &str, driver: Driver, more: &[&str]) -> Option<Self> {
        if !Path::new(HAPROXY).is_file() {
            skip(test, format_args!("{HAPROXY} is not installed"));
            return None;
        }
        let processes = Processes::start(test, driver, ["n1", "n2", "n3"], more)?;
        let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let [addr, browsers] = free.map(|free| free.local_addr().expect("an address"));
        let directory = TempDir::new();
        let pages = ServerProcess::run(ServerProcess::command("latency"));
        let config =
            directory.write("haproxy.cfg", config(addr, &processes.nodes, browsers, pages.addr()));
        let mut command = Command::new(HAPROXY);
        command.arg("-db").arg("-f").arg(config);
        let haproxy = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let haproxy = haproxy.expect("HAProxy starts");
        eventually("HAProxy listens", || TcpStream::connect(addr).is_ok());
        Some(Self { haproxy, addr, processes, browsers, _pages: pages, _directory: directory })
    }

    fn url(&self) -> String {
        format!("http://{}/engine.io/", self.addr)
    }

    /// Requests of sessions that HAProxy has sent to the nodes.
    fn requests(&self) -> u64 {
        let table = get(self.addr, "/haproxy;csv");
        // Perhaps after the size of a chunk.
        let names = table.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or_default();
        let column = names.split(',').position(|name| name == "req_tot");
        let column = column.unwrap_or_else(|| panic!("no table of HAProxy: {table}"));
        let row = table.lines().find(|line| line.starts_with("sessions,BACKEND")).expect("a row");
        row.split(',').nth(column).and_then(|count| count.parse().ok()).expect("a number")
    }

    /// Fails unless `percent` of the requests were at a node that did not have the session, and each of them was
    /// answered. Two thirds are expected.
    #[track_caller]
    fn expect_forwarded(&self, percent: u64) {
        let forwarded = |label| self.processes.metric("eio_cluster_forwarded_total", label);
        let (all, requests) = (forwarded(""), self.requests());
        let (answered, gone) = (forwarded("answered"), forwarded("client_gone"));
        println!("{all} of {requests} requests were forwarded");
        assert!(all * 100 >= requests * percent, "{all} of {requests} were forwarded");
        assert_eq!(answered + gone, all);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        signal("-TERM", &self.haproxy.id().to_string());
        if wait(&mut self.haproxy, Duration::from_secs(2)).is_none() {
            _ = self.haproxy.kill();
            _ = self.haproxy.wait();
        }
    }
}

/// Round robin. Requests of sessions have a backend of their own only to be counted.
fn config(
    addr: SocketAddr,
    nodes: &[ServerProcess],
    browsers: SocketAddr,
    pages: SocketAddr,
) -> String {
    let servers: String =
        (1..).zip(nodes).map(|(n, node)| format!("    server n{n} {}\n", node.addr())).collect();
    format!(
        "defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout tunnel 1h
frontend clients
    bind {addr}
    maxconn 4000
    stats enable
    stats uri /haproxy
    use_backend sessions if {{ url_param(sid) -m found }}
    default_backend handshakes
frontend browsers
    bind {browsers}
    use_backend sessions if {{ url_param(sid) -m found }}
    use_backend handshakes if {{ path_beg /engine.io/ }}
    default_backend pages
backend pages
    server pages {pages}
backend handshakes
    balance roundrobin
{servers}backend sessions
    balance roundrobin
{servers}"
    )
}

fn for_each_driver(test: &str, more: &[&str], body: impl Fn(&Cluster) + Sync) {
    let cases = drivers().map(|driver| (driver.to_string(), driver));
    parallel::for_each(cases, |driver| {
        if let Some(cluster) = Cluster::start(test, driver, more) {
            body(&cluster);
        }
    });
}

#[test]
fn every_exchange_of_the_protocol_works_without_stickiness() {
    let test = "every_exchange_of_the_protocol_works_without_stickiness";
    for_each_driver(test, &exchanges::HEARTBEAT, |cluster| {
        exchanges::all(cluster.addr);
        cluster.expect_forwarded(60);
    });
}

#[test]
fn javascript_client_gets_every_echo_without_stickiness() {
    let test = "javascript_client_gets_every_echo_without_stickiness";
    let Some(client) = foreign::javascript(test) else { return };
    for_each_driver(test, &[], |cluster| {
        run(&mut client.client_command(&cluster.url(), &[]));
        cluster.expect_forwarded(60);
    });
}

#[test]
fn python_clients_get_every_echo_without_stickiness() {
    let test = "python_clients_get_every_echo_without_stickiness";
    let Some(client) = foreign::python(test) else { return };
    for_each_driver(test, &[], |cluster| {
        run(&mut client.client_command(&cluster.url(), &[]));
        cluster.expect_forwarded(60);
    });
}

#[test]
fn chromium_upgrades_and_gets_every_echo_without_stickiness() {
    let test = "chromium_upgrades_and_gets_every_echo_without_stickiness";
    let Some(browser) = foreign::browser(test) else { return };
    let Some(driver) = drivers().next() else { return };
    let Some(cluster) = Cluster::start(test, driver, &[]) else { return };
    let screenshots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots-cluster");
    let page = format!("http://{}", cluster.browsers);
    let script = browser.with_script("latency.mjs");
    run(&mut script.client_command(&page, &[&screenshots.to_string_lossy(), "polls-cross-closes"]));
    // Of some dozens.
    cluster.expect_forwarded(45);
}

pub(crate) fn run(command: &mut Command) {
    if let Err(error) = foreign::run(command, CLIENT_LIMIT, |_| {}) {
        panic!("{error}");
    }
}

/// `EIO_CLIENTS` and `EIO_SECONDS` make it longer: 600 and 60 for a minute of 600 clients.
#[test]
fn many_clients_exchange_messages_without_loss_or_disorder() {
    let test = "many_clients_exchange_messages_without_loss_or_disorder";
    let number = |name: &str, default: usize| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (clients, seconds) = (number("EIO_CLIENTS", 60), number("EIO_SECONDS", 3));
    // One after the other: many clients need the whole machine.
    for driver in drivers() {
        let Some(cluster) = Cluster::start(test, driver, &[]) else { return };
        exchange_with_many(&cluster, driver, clients, seconds);
        // Two of three requests on average. The clients send in step, so their order decides about some of them each time.
        cluster.expect_forwarded(45);
        assert_eq!(cluster.processes.metric("eio_refusals_total", ""), 0);
    }
}

fn exchange_with_many(cluster: &Cluster, driver: Driver, clients: usize, seconds: usize) {
    let url = cluster.url();
    client::block_on(driver, async {
        let until = Instant::now() + Duration::from_secs(seconds as u64);
        let tasks: Vec<_> = (0..clients)
            .map(|n| {
                let transport = (n % 2 == 0).then_some(Transport::Polling);
                let url = url.clone();
                eio_monoio::spawn(async move {
                    // Not all at the same time.
                    client::sleep(Duration::from_millis(5 * n as u64)).await;
                    let client = connect_over(&url, transport).await.expect("a session");
                    let exchanged = exchange(&client, until).await;
                    client.disconnect().await;
                    exchanged
                })
            })
            .collect();
        let mut exchanged = 0;
        for task in tasks {
            exchanged += task.await.expect("a client that succeeds");
        }
        println!("{driver}: {clients} clients exchanged {exchanged} messages");
        assert!(exchanged >= clients * seconds);
    })
    .expect("a runtime");
}

/// Sends two numbers a second, and expects each back before the next.
async fn exchange(client: &Client, until: Instant) -> usize {
    let mut sent = 0;
    while Instant::now() < until {
        client.send(sent.to_string()).await.expect("queued");
        assert_eq!(next_message(client).await, OwnedMessage::Text(sent.to_string()));
        sent += 1;
        client::sleep(Duration::from_millis(500)).await;
    }
    sent
}
