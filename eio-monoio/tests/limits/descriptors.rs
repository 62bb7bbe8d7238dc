//! A server whose process has few descriptors, and clients that take them all.
//!
//! The limit is the whole process's, so the server is a process of its own: this binary once more, started by a shell
//! that sets the limit.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::app::{Host, eventually};
use crate::support::client::drivers;
use crate::support::wire::{POLLING, Polling, Request, WebSocket, Wire, sid_of};
use eio_monoio::{Config, Driver};

const LIMIT: usize = 160;
/// Says to the child which driver, and how many connections it lets in.
const ROLE: &str = "EIO_TEST_DESCRIPTORS";

/// What the child does: it serves until its standard input ends.
fn serve(role: &str) {
    let (driver, connections) = role.split_once(' ').expect("a driver and a number");
    let mut config = Config::new().driver(driver.parse::<Driver>().expect("a driver")).workers(2);
    if let Ok(connections) = connections.parse() {
        config = config.max_connections(connections);
    }
    let host = Host::start(config);
    println!("serving {}", host.addr());
    std::io::stdin().read_line(&mut String::new()).expect("an end");
}

/// A server with [`LIMIT`] descriptors.
struct Server {
    child: Child,
    addr: SocketAddr,
}

impl Server {
    fn start(test: &str, driver: Driver, connections: &str) -> Self {
        let me = std::env::current_exe().expect("a test knows its own path");
        let mut child = Command::new("sh")
            .args([
                "-c",
                &format!("ulimit -n {LIMIT}; exec \"$0\" --exact descriptors::{test} --nocapture"),
            ])
            .arg(me)
            .env(ROLE, format!("{driver} {connections}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let addr = lines.by_ref().map_while(Result::ok).find_map(|line| {
            // The harness has a word of its own before it.
            line.split("serving ").nth(1).map(|addr| addr.parse().expect("an address"))
        });
        // Whatever else it says has to go somewhere.
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
        // utime and stime, in ticks of which there are 100 in a second on every Linux of today.
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
fn the_default_never_lets_connections_use_up_the_descriptors() {
    let test = "the_default_never_lets_connections_use_up_the_descriptors";
    on_each_driver(test, "default", |server| {
        let mut bystander = Polling::open(server.addr);
        let mut crowd: Vec<_> = (0..2 * LIMIT).map(|_| Wire::connect(server.addr)).collect();
        // Those beyond what is left after the reserve are told so.
        let mut refused = crowd.pop().expect("one");
        assert_eq!(refused.response().status, 503);
        refused.expect_eof();
        assert!(server.descriptors() + 32 <= LIMIT, "nothing in reserve");
        bystander.assert_alive();
        drop(crowd);
        eventually("places for others", || server.descriptors() < LIMIT / 2);
        Polling::open(server.addr).assert_alive();
        WebSocket::open(server.addr).0.assert_alive();
        bystander.assert_alive();
    });
}

#[test]
fn a_server_without_descriptors_does_not_spin_and_recovers() {
    let test = "a_server_without_descriptors_does_not_spin_and_recovers";
    // More than there are: accept will fail.
    on_each_driver(test, "1000000", |server| {
        let mut bystander = Polling::open(server.addr);
        let crowd: Vec<_> = (0..2 * LIMIT).map(|_| Wire::connect(server.addr)).collect();
        // What is there is there; on io_uring a descriptor may also wait in the ring.
        eventually("the last descriptor", || server.descriptors() + 4 >= LIMIT);
        let before = server.busy();
        std::thread::sleep(Duration::from_secs(1));
        let spent = server.busy() - before;
        assert!(spent < 0.25, "it spins: {spent} s of processor time in a second of nothing");
        // Who is in is served.
        bystander.assert_alive();
        drop(crowd);
        let mut wire = Wire::connect(server.addr);
        let response = wire.request(&Request::get(POLLING));
        assert_eq!(response.status, 200, "{response:?}");
        sid_of(response.text());
        WebSocket::open(server.addr).0.assert_alive();
        bystander.assert_alive();
    });
}
