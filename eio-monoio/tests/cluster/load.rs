//! Many messages while the engine fails, nodes restart, or a client does not read.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use eio_monoio::{Cluster, Nats, Remote, Sid};

use crate::nats_server::NatsServer;
use crate::nodes::start_with;
use crate::support::configs::default_config;
use crate::support::connection::Connection;
use crate::support::log::Entry;
use crate::support::polling::{Polling, sid_of};
use crate::support::process::{ServerProcess, example_path};
use crate::support::request::{POLLING, Request, target, upgrade_target};
use crate::support::wait::eventually;
use crate::support::websocket::{CLOSE, TEXT, WebSocket, frame};

/// A session, and the numbers of the messages that it has received.
struct Reader {
    socket: WebSocket,
    direct: Vec<usize>,
    all: Vec<usize>,
    /// When each direct message arrived.
    times: Vec<Instant>,
}

impl Reader {
    fn open(addr: SocketAddr) -> (Self, Sid) {
        let (socket, sid) = WebSocket::open(addr);
        let reader = Self { socket, direct: Vec::new(), all: Vec::new(), times: Vec::new() };
        (reader, Sid::new(&sid).expect("a sid"))
    }

    /// Reads until the last broadcast.
    fn run(mut self) -> Self {
        loop {
            let text = self.socket.text();
            match (text.strip_prefix("4all "), text.strip_prefix('4')) {
                (Some("end"), _) => return self,
                (Some(number), _) => self.all.push(number.parse().expect("a number")),
                (None, Some(number)) => {
                    self.direct.push(number.parse().expect("a number"));
                    self.times.push(Instant::now());
                }
                _ => panic!("{text}"),
            }
        }
    }

    fn expect_in_order(&self) {
        for numbers in [&self.direct, &self.all] {
            assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "out of order or twice");
        }
    }
}

/// Sends to one session each millisecond, and to all every ten, until `stop`. Returns how many were accepted of both.
fn send_all(remote: &Remote, sid: &Sid, stop: &AtomicBool) -> (usize, usize) {
    let (mut direct, mut all) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        direct += usize::from(remote.send(sid, direct.to_string()).is_ok());
        if direct % 10 == 0 {
            all += usize::from(remote.broadcast(format!("all {all}")).is_ok());
        }
        thread::sleep(Duration::from_millis(1));
    }
    remote.broadcast("all end").expect("the engine is back");
    (direct, all)
}

/// Exchanges messages over a session at another node, until `stop`. Returns their number and the longest exchange.
fn exchange_forwarded(mut polling: Polling, stop: &AtomicBool) -> (usize, Duration) {
    let (mut count, mut longest) = (0, Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let message = format!("4forwarded {count}");
        polling.post_ok(&message);
        // Broadcasts reach it, too.
        while !polling.poll().split('\u{1e}').any(|packet| packet == message) {}
        longest = longest.max(begun.elapsed());
        count += 1;
        thread::sleep(Duration::from_millis(20));
    }
    (count, longest)
}

/// With the default options. `EIO_ABSENCE` is the time without the engine in seconds.
#[test]
fn messages_that_the_engine_loses_are_counted_to_the_last() {
    let test = "messages_that_the_engine_loses_are_counted_to_the_last";
    let Some(mut server) = NatsServer::start(test) else { return };
    let seconds = std::env::var("EIO_ABSENCE").ok().and_then(|text| text.parse().ok());
    let absence = Duration::from_secs(seconds.unwrap_or(10));
    let nodes = start_with(3, &default_config(), &Cluster::new("test", Nats::new(server.url())));
    // A heartbeat after which each node counts the messages of the others.
    thread::sleep(Duration::from_millis(1_500));
    let (reader, sid) = Reader::open(nodes[1].addr());
    let (other, _) = Reader::open(nodes[2].addr());
    let (own, _) = Reader::open(nodes[0].addr());
    let mut polling = Polling::open(nodes[2].addr());
    (polling.get, polling.post) =
        (Connection::open(nodes[1].addr()), Connection::open(nodes[1].addr()));
    let (remote, stop) = (nodes[0].remote(), AtomicBool::new(false));
    let mut returned = Instant::now();
    let (sent, readers, forwarded) = thread::scope(|scope| {
        let readers = [reader, other, own].map(|reader| scope.spawn(|| reader.run()));
        let sender = scope.spawn(|| send_all(&remote, &sid, &stop));
        let forwarder = scope.spawn(|| exchange_forwarded(polling, &stop));
        thread::sleep(Duration::from_millis(300));
        server.kill();
        thread::sleep(absence);
        returned = Instant::now();
        server.restart();
        thread::sleep(Duration::from_secs(3));
        stop.store(true, Ordering::Relaxed);
        let sent = sender.join().expect("the sender");
        let readers = readers.map(|reader| reader.join().expect("a reader"));
        (sent, readers, forwarder.join().expect("the forwarder"))
    });
    readers.iter().for_each(Reader::expect_in_order);
    let [reader, other, own] = &readers;
    assert_eq!(own.all.len(), sent.1, "broadcasts at their own node");
    let lost = [sent.0 - reader.direct.len() + sent.1 - reader.all.len(), sent.1 - other.all.len()];
    println!(
        "{sent:?} sent, {lost:?} lost; {} exchanges forwarded, {:?} at most",
        forwarded.0, forwarded.1
    );
    for (node, lost) in nodes[1..].iter().zip(lost) {
        eventually("every loss is counted", || node.cluster().metrics().lost() == lost as u64);
    }
    let works = reader.times.iter().find(|time| **time > returned).expect("messages after it");
    println!("the first message arrives {:?} after the return of the engine", *works - returned);
    assert!(*works - returned < Duration::from_secs(2));
    assert!(forwarded.1 < absence / 4, "requests wait for the engine");
    for node in &nodes {
        let ended = |(_, entry): &(String, Entry)| matches!(entry, Entry::Closed(_));
        assert!(!node.log.all().iter().any(ended), "a session has ended");
    }
}

/// Clients that send and never read, at another node than their sessions: over WebSockets, and over polling.
#[test]
fn a_client_behind_another_node_that_does_not_read_slows_its_owner() {
    const CLIENTS: usize = 8;
    /// The default of `outbound_high_water`, and the most that a buffer may have besides, in KiB.
    const HIGH_WATER: usize = 1024;
    const MORE: usize = 256;
    /// Resident memory besides the bytes of buffers, for each client in KiB: fragments of the allocator.
    const FRAGMENTS: usize = 128;
    let test = "a_client_behind_another_node_that_does_not_read_slows_its_owner";
    let Some(engine) = NatsServer::start(test) else { return };
    for over_polling in [false, true] {
        let nodes = [1, 2].map(|host| node(host, 0, &engine));
        wait_until_known(&nodes);
        // Pools and tables grow before the measurement.
        let clients: Vec<_> = (0..CLIENTS + 1).map(|_| slow(&nodes, over_polling)).collect();
        let before = nodes.each_ref().map(memory);
        let written: Vec<usize> = thread::scope(|scope| {
            let writers: Vec<_> = clients
                .iter()
                .skip(1)
                .map(|client| scope.spawn(|| write_until_slow(client)))
                .collect();
            writers.into_iter().map(|writer| writer.join().expect("a writer")).collect()
        });
        let after = nodes.each_ref().map(memory);
        let queued = queued(&nodes[0]);
        let each = [0, 1].map(|node| after[node].saturating_sub(before[node]) / CLIENTS);
        println!(
            "polling: {over_polling}; {} bytes written by a client, {queued} queued at the owner; memory \
             for each client {} KiB at the owner, {} KiB at the other node",
            written[0], each[0], each[1]
        );
        assert!(queued <= CLIENTS * (HIGH_WATER + MORE) * 1024, "{queued}");
        // The queue of the session; over polling also one response that is being sent.
        let response = if over_polling { HIGH_WATER } else { 0 };
        assert!(each[0] <= HIGH_WATER + response + MORE + FRAGMENTS, "{before:?} to {after:?} KiB");
        // Over polling there are two connections: a POST, and a GET.
        let connections = if over_polling { 2 } else { 1 };
        assert!(each[1] <= connections * MORE + FRAGMENTS, "{before:?} to {after:?} KiB");
        // Others are served all the time.
        for node in &nodes {
            let response = Connection::open(node.addr()).request(&Request::get(POLLING));
            assert_eq!(response.status, 200, "{response:?}");
        }
    }
}

/// A session of the first node whose client is at the second one and does not read.
struct Slow {
    sid: String,
    relay: SocketAddr,
    /// The WebSocket, or the connection of a GET whose response is not read.
    conn: Connection,
    over_polling: bool,
}

fn slow(nodes: &[ServerProcess; 2], over_polling: bool) -> Slow {
    let opened = Connection::open(nodes[0].addr()).request(&Request::get(POLLING));
    let (sid, relay) = (sid_of(opened.text()), nodes[1].addr());
    let conn = if over_polling {
        Connection::open(relay)
    } else {
        let mut socket = WebSocket::attach(relay, &sid);
        socket.probe();
        socket.send("5");
        socket.assert_alive();
        socket.conn
    };
    Slow { sid, relay, conn, over_polling }
}

/// Writes messages until the client is slowed; returns the number of bytes.
fn write_until_slow(client: &Slow) -> usize {
    const PAUSE: Duration = Duration::from_millis(1500);
    let started = Instant::now();
    let mut written = 0;
    let text = format!("4{}", "a".repeat(60_000));
    let post = Connection::open(client.relay);
    let (mut stream, message) = if client.over_polling {
        (post.stream(), Request::post(&target(&client.sid), text).bytes())
    } else {
        (client.conn.stream(), frame(0x81, text.as_bytes()))
    };
    stream.set_write_timeout(Some(PAUSE)).expect("an open socket");
    stream.set_read_timeout(Some(PAUSE)).expect("an open socket");
    loop {
        assert!(written < 64 << 20 && started.elapsed().as_secs() < 60, "nothing slows it");
        if stream.write_all(&message).is_err() {
            return written;
        }
        written += message.len();
        if client.over_polling {
            let mut answer = [0; 4096];
            if !matches!(stream.read(&mut answer), Ok(1..)) {
                return written;
            }
            if written == 10 * message.len() {
                // Its response is larger than the buffers of the kernel, and never read.
                let get = Request::get(&target(&client.sid)).bytes();
                client.conn.stream().write_all(&get).expect("sent");
            }
        }
    }
}

/// The bytes that wait in queues of sessions, as the node counts them.
fn queued(node: &ServerProcess) -> usize {
    let metrics = Connection::open(node.addr()).request(&Request::get("/metrics"));
    let lines = metrics.text().lines().filter(|line| line.starts_with("eio_queued_bytes"));
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
    values.sum()
}

/// The resident memory of a process, in KiB.
fn memory(process: &ServerProcess) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// A node in a process of its own; port 0: a free one.
fn node(host: u8, port: u16, engine: &NatsServer) -> ServerProcess {
    let mut command = Command::new(example_path("cluster"));
    command.args(["--listen", &format!("127.0.0.{host}:{port}"), "--tag", &format!("n{host}")]);
    command.args(["--link-address", &format!("127.0.0.{host}:0"), "--nats", &engine.url()]);
    command.args(["--name", "test", "--heartbeat-ms", "100", "--node-timeout-ms", "1000"]);
    command.args(["--workers", "2", "--drain-ms", "400"]);
    ServerProcess::run(command)
}

fn wait_until_known(nodes: &[ServerProcess]) {
    for node in nodes {
        eventually("the nodes are up", || {
            let states = Connection::open(node.addr()).request(&Request::get("/nodes"));
            states.text().matches(" up ").count() == nodes.len() - 1
        });
    }
}

/// The nodes as a balancer sees them: requests go to those that are ready, in turn.
struct Balancer {
    addresses: Vec<SocketAddr>,
    ready: Vec<AtomicBool>,
    turn: AtomicUsize,
}

impl Balancer {
    fn next(&self) -> SocketAddr {
        loop {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.addresses.len();
            if self.ready[turn].load(Ordering::Relaxed) {
                return self.addresses[turn];
            }
        }
    }

    fn request(&self, request: &Request) -> (u16, String) {
        let response = Connection::open(self.next()).request(request);
        (response.status, response.text().to_owned())
    }
}

/// How a session ended, and what its client had received.
#[derive(Debug)]
struct Ended {
    sid: String,
    /// Answered POSTs, each with one number.
    answered: usize,
    echoed: usize,
    /// By a close packet; otherwise the last status.
    status: Option<u16>,
}

/// Exchanges numbers over one session, one at a time, until it ends or `stop` is set.
fn exchange(balancer: &Balancer, stop: &AtomicBool) -> Option<Ended> {
    let (status, open) = balancer.request(&Request::get(POLLING));
    assert_eq!(status, 200, "{open}");
    let mut session = Ended { sid: sid_of(&open), answered: 0, echoed: 0, status: None };
    let target = target(&session.sid);
    while !stop.load(Ordering::Relaxed) {
        let number = session.answered;
        let (status, _) = balancer.request(&Request::post(&target, format!("4{number}")));
        if status != 200 {
            return Some(Ended { status: Some(status), ..session });
        }
        session.answered += 1;
        while session.echoed < session.answered {
            let (status, packets) = balancer.request(&Request::get(&target));
            if status != 200 {
                return Some(Ended { status: Some(status), ..session });
            }
            for packet in packets.split('\u{1e}') {
                match packet {
                    "1" => return Some(session),
                    "6" => {}
                    "2" => assert_eq!(balancer.request(&Request::post(&target, "3")).0, 200),
                    echo => {
                        assert_eq!(echo, format!("4{}", session.echoed), "{session:?}");
                        session.echoed += 1;
                    }
                }
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
    let (status, _) = balancer.request(&Request::post(&target, "1"));
    assert_eq!(status, 200);
    None
}

/// Exchanges numbers over a WebSocket, of which most pass through another node than that of their session, until the
/// session ends or `stop` is set. A session ends with a close packet and a close frame, after each echo that was due: a
/// WebSocket that is cut fails.
fn converse(balancer: &Balancer, stop: &AtomicBool) -> usize {
    let (status, open) = balancer.request(&Request::get(POLLING));
    assert_eq!(status, 200, "{open}");
    let sid = sid_of(&open);
    let mut conn = Connection::open(balancer.next());
    if conn.request(&Request::upgrade(&upgrade_target(&sid))).status != 101 {
        // The node leaves, or that of the session has just ended. The session continues over polling, if it lives.
        _ = balancer.request(&Request::post(&target(&sid), "1"));
        return 0;
    }
    let mut socket = WebSocket { conn };
    for packet in ["2probe", "5"] {
        _ = socket.conn.stream().write_all(&frame(TEXT, packet.as_bytes()));
    }
    let (mut sent, mut echoed) = (0, 0);
    let mut is_closed = false;
    loop {
        let frame = match socket.try_frame(Duration::from_secs(10)) {
            Ok(frame) => frame,
            // An upgrade that was not complete when the node left.
            Err(_) if sent == 0 => return 0,
            Err(error) => panic!("{sid}: cut after {echoed} of {sent} echoes: {error}"),
        };
        match &*frame.payload {
            b"3probe" => {}
            b"1" => {
                is_closed = true;
                continue;
            }
            _ if frame.first == CLOSE => {
                assert!(is_closed || sent == 0, "{sid}: a close frame without a close packet");
                return 1;
            }
            payload => {
                assert_eq!(payload, format!("4{echoed}").as_bytes(), "{sid}");
                echoed += 1;
            }
        }
        if stop.load(Ordering::Relaxed) && echoed == sent {
            return 0;
        }
        thread::sleep(Duration::from_millis(2));
        // The node may have closed it.
        _ = socket.conn.stream().write_all(&message(sent));
        sent += 1;
    }
}

fn message(number: usize) -> Vec<u8> {
    frame(TEXT, format!("4{number}").as_bytes())
}

#[test]
fn nodes_that_restart_in_turn_end_their_own_sessions_and_lose_no_message() {
    let test = "nodes_that_restart_in_turn_end_their_own_sessions_and_lose_no_message";
    let Some(engine) = NatsServer::start(test) else { return };
    let mut nodes: Vec<_> = (1..=3).map(|host| node(host, 0, &engine)).collect();
    wait_until_known(&nodes);
    let balancer = Balancer {
        addresses: nodes.iter().map(ServerProcess::addr).collect(),
        ready: nodes.iter().map(|_| AtomicBool::new(true)).collect(),
        turn: AtomicUsize::new(0),
    };
    let (stop, restarting) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut ended: Vec<(usize, Ended)> = Vec::new();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..24)
            .map(|_| {
                scope.spawn(|| {
                    let mut ended = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        if let Some(session) = exchange(&balancer, &stop) {
                            ended.push((restarting.load(Ordering::Relaxed), session));
                        }
                    }
                    ended
                })
            })
            .collect();
        let sockets: Vec<_> = (0..12)
            .map(|_| {
                scope.spawn(|| {
                    let mut closed = 0;
                    while !stop.load(Ordering::Relaxed) {
                        closed += converse(&balancer, &stop);
                    }
                    closed
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(500));
        for host in 1..=3 {
            let number = host - 1;
            restarting.store(host, Ordering::Relaxed);
            // A balancer notices that it is not ready before it ends.
            balancer.ready[number].store(false, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(200));
            nodes[number].terminate();
            let begun = Instant::now();
            assert!(nodes[number].wait(Duration::from_secs(20)).is_some(), "n{host} does not end");
            // Nothing of it waits for shutdown_timeout.
            assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", nodes[number].log());
            nodes[number] = node(host as u8, balancer.addresses[number].port(), &engine);
            wait_until_known(&nodes);
            balancer.ready[number].store(true, Ordering::Relaxed);
        }
        thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            ended.extend(client.join().expect("a client"));
        }
        let closed = sockets.into_iter().map(|socket| socket.join().expect("a WebSocket"));
        let closed: usize = closed.sum();
        println!("{closed} WebSockets closed in order");
        // Each restart ends those of its own sessions, and those that pass through it.
        assert!(closed >= 12, "{closed}");
    });
    let mut by_node: BTreeMap<usize, usize> = BTreeMap::new();
    for (host, session) in &ended {
        assert!(session.sid.starts_with(&format!("n{host}.")), "n{host} restarts: {session:?}");
        // A request that was on its way to the node when it ended is answered 503.
        assert!(matches!(session.status, None | Some(400 | 503)), "{session:?}");
        // A session that closes receives, and sends no more.
        assert!(session.echoed + 1 >= session.answered, "{session:?}");
        *by_node.entry(*host).or_default() += 1;
    }
    println!("sessions that ended by the restart of their node: {by_node:?}");
    assert_eq!(by_node.len(), 3, "each node had sessions");
}
