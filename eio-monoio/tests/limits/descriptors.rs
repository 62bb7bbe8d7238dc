//! A server whose process has few descriptors, and clients that use them all.
//!
//! The limit belongs to a process, so the server is a process of its own: this binary once more, started by a shell that
//! sets the limit.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use eio_monoio::{Config, Driver};

use crate::support::configs::drivers;
use crate::support::connection::Connection;
use crate::support::own_process;
use crate::support::polling::{Polling, sid_of};
use crate::support::request::{POLLING, Request};
use crate::support::test_server::TestServer;
use crate::support::wait::eventually;
use crate::support::websocket::WebSocket;

const LIMIT: usize = 256;
/// More workers than the reserve for other descriptors would be enough for.
const WORKERS: usize = 12;
/// The environment variable with the driver and the connection limit of the child.
const ROLE: &str = "EIO_TEST_DESCRIPTORS";

/// The child serves until its standard input ends.
fn serve(role: &str) {
    let (driver, connections) = role.split_once(' ').expect("a driver and a number");
    let mut config =
        Config::new().driver(driver.parse::<Driver>().expect("a driver")).workers(WORKERS);
    if let Ok(connections) = connections.parse() {
        config = config.max_connections(connections);
    }
    let server = TestServer::start(config);
    println!("serving {}", server.addr());
    std::io::stdin().read_line(&mut String::new()).expect("an end");
}

/// A server with [`LIMIT`] descriptors.
struct Server {
    child: Child,
    addr: SocketAddr,
}

impl Server {
    fn start(test: &str, driver: Driver, connections: &str) -> Self {
        let binary = std::env::current_exe().expect("the path of the test binary");
        let path = own_process::path(module_path!(), test);
        let mut child = Command::new("sh")
            .args(["-c", &format!("ulimit -n {LIMIT}; exec \"$0\" --exact {path} --nocapture")])
            .arg(binary)
            .env(ROLE, format!("{driver} {connections}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let addr = lines.by_ref().map_while(Result::ok).find_map(|line| {
            // The harness prints on the same line.
            line.split("serving ").nth(1).map(|addr| addr.parse().expect("an address"))
        });
        // The pipe must not fill up.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, addr: addr.expect("the child serves") }
    }

    /// Open descriptors.
    fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/fd", self.child.id());
        std::fs::read_dir(path).expect("the list of descriptors").count()
    }

    /// Seconds of processor time so far.
    fn busy(&self) -> f64 {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("stat");
        let fields: Vec<_> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
        // utime and stime in ticks, of which current Linux has 100 in a second.
        fields[11..13].iter().map(|ticks| ticks.parse::<f64>().expect("a number")).sum::<f64>()
            / 100.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut stdin) = self.child.stdin.take() {
            _ = stdin.write_all(b"\n");
        }
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn on_each_driver(test: &str, connections: &str, attack: impl Fn(&Server)) {
    if let Ok(role) = std::env::var(ROLE) {
        return serve(&role);
    }
    for driver in drivers() {
        attack(&Server::start(test, driver, connections));
    }
}

#[test]
fn default_limit_reserves_descriptors() {
    let test = "default_limit_reserves_descriptors";
    on_each_driver(test, "default", |server| {
        let mut bystander = Polling::open(server.addr);
        let mut crowd: Vec<_> = (0..2 * LIMIT).map(|_| Connection::open(server.addr)).collect();
        // Connections beyond the reserve are refused.
        let mut refused = crowd.pop().expect("one");
        assert_eq!(refused.response().status, 503);
        refused.expect_eof();
        assert!(server.descriptors() + 32 <= LIMIT, "no reserve");
        bystander.assert_alive();
        drop(crowd);
        eventually("free descriptors", || server.descriptors() < LIMIT / 2);
        Polling::open(server.addr).assert_alive();
        WebSocket::open(server.addr).0.assert_alive();
        bystander.assert_alive();
    });
}

#[test]
fn server_without_descriptors_does_not_spin_and_recovers() {
    let test = "server_without_descriptors_does_not_spin_and_recovers";
    // More connections than descriptors: accept fails.
    on_each_driver(test, "1000000", |server| {
        let mut bystander = Polling::open(server.addr);
        let crowd: Vec<_> = (0..2 * LIMIT).map(|_| Connection::open(server.addr)).collect();
        // On io_uring some descriptors may be in completions that are not read yet.
        eventually("the last descriptor", || server.descriptors() + 4 >= LIMIT);
        let before = server.busy();
        std::thread::sleep(Duration::from_secs(1));
        let spent = server.busy() - before;
        assert!(spent < 0.25, "the idle server used {spent} s of processor time in a second");
        // Open sessions are served.
        bystander.assert_alive();
        drop(crowd);
        let mut conn = Connection::open(server.addr);
        let response = conn.request(&Request::get(POLLING));
        assert_eq!(response.status, 200, "{response:?}");
        sid_of(response.text());
        WebSocket::open(server.addr).0.assert_alive();
        bystander.assert_alive();
    });
}
