//! The engine is absent, goes and returns.

use std::time::{Duration, Instant};

use eio_monoio::{Cluster, Nats, SendError, Sid};

use crate::nats_server::NatsServer;
use crate::nodes::{options, start, start_all, start_with, wait_until_up};
use crate::support::configs::default_config;
use crate::support::connection::Connection;
use crate::support::polling::Polling;
use crate::support::wait::eventually;
use crate::support::websocket::WebSocket;

#[test]
fn sessions_and_forwarding_outlive_the_engine_and_messages_wait_for_it() {
    let test = "sessions_and_forwarding_outlive_the_engine_and_messages_wait_for_it";
    let Some(mut server) = NatsServer::start(test) else { return };
    let nodes = start_all(3, &server);
    let (mut socket, text) = WebSocket::open(nodes[1].addr());
    let sid = Sid::new(&text).expect("a sid");
    let mut polling = Polling::open(nodes[2].addr());
    polling.post = Connection::open(nodes[0].addr());
    polling.get = Connection::open(nodes[0].addr());
    polling.assert_alive();

    server.kill();
    eventually("the engine is gone", || !nodes[0].cluster().metrics().is_engine_up());
    // Longer than the time without a sign of life after which a node is lost.
    for n in 0..15 {
        polling.assert_alive();
        socket.assert_alive();
        nodes[0].remote().send(&sid, format!("{n}")).expect("it waits");
        nodes[0].remote().broadcast(format!("all {n}")).expect("it waits");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(nodes[0].state_of("n2"), Some("up"));
    server.restart();
    let mut lost = 0;
    for n in 0..15 {
        assert_eq!(socket.text(), format!("4{n}"));
        assert_eq!(socket.text(), format!("4all {n}"));
        lost += 1;
    }
    assert_eq!(lost, 15);
    wait_until_up(&nodes);
    nodes[2].remote().send(&sid, "again").expect("queued");
    assert_eq!(socket.text(), "4again");
    assert_eq!(nodes[1].cluster().metrics().lost(), 0);
}

#[test]
fn above_the_high_water_mark_messages_are_refused() {
    let test = "above_the_high_water_mark_messages_are_refused";
    let Some(mut server) = NatsServer::start(test) else { return };
    let cluster = options(&server).engine_high_water(10_000);
    let nodes = start_with(2, &default_config(), &cluster);
    let too_large = "a".repeat(2 << 20);
    let refused = nodes[0].remote().broadcast(too_large.as_str());
    assert!(matches!(refused, Err(SendError::TooLarge { .. })), "{refused:?}");
    server.kill();
    eventually("the engine is gone", || !nodes[0].cluster().metrics().is_engine_up());
    let text = "a".repeat(1_000);
    let sent = (0..100).take_while(|_| nodes[0].remote().broadcast(text.as_str()).is_ok()).count();
    assert!((8..12).contains(&sent), "{sent}");
    assert_eq!(nodes[0].remote().broadcast("a"), Err(SendError::Full));
    assert_eq!(nodes[0].cluster().metrics().dropped(), 2);
}

/// An engine that is there and takes nothing.
#[test]
fn a_slow_engine_holds_messages_within_its_limit_and_no_request_waits_for_it() {
    let test = "a_slow_engine_holds_messages_within_its_limit_and_no_request_waits_for_it";
    let Some(server) = NatsServer::start(test) else { return };
    let cluster = options(&server).engine_high_water(1 << 20);
    // The session has room for everything that waits on the way to it: only the engine may lose messages.
    let nodes = start_with(2, &default_config().outbound_high_water(64 << 20), &cluster);
    let (mut socket, text) = WebSocket::open(nodes[1].addr());
    let sid = Sid::new(&text).expect("a sid");
    let mut polling = Polling::open(nodes[1].addr());
    polling.get = Connection::open(nodes[0].addr());
    // Heartbeats after which each node counts the messages of the others.
    std::thread::sleep(Duration::from_secs(1));
    server.signal("-STOP");
    let message = |n: usize| format!("{n} {}", "a".repeat(10_000));
    let mut sent = 0;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match nodes[0].remote().send(&sid, message(sent)) {
            Ok(()) => sent += 1,
            // The engine's thread may be about to take some.
            Err(SendError::Full) if nodes[0].remote().send(&sid, message(sent)).is_err() => break,
            Err(SendError::Full) => sent += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(sent < 5_000 && Instant::now() < deadline, "{sent} messages of 10 KB");
    }
    assert!(nodes[0].cluster().metrics().bytes_waiting() <= (1 << 20) + 20_000);
    let mut received = Vec::new();
    for _ in 0..5 {
        polling.assert_alive();
        socket.send("4still here");
        // The engine may have taken the first messages before it stopped.
        read_numbers(&mut socket, &mut received, "4still here");
    }
    server.signal("-CONT");
    wait_until_up(&nodes);
    // Messages arrive in order, and lost ones are counted.
    eventually("there is room", || nodes[0].remote().send(&sid, "end").is_ok());
    read_numbers(&mut socket, &mut received, "4end");
    assert!(received.is_sorted() && received.windows(2).all(|pair| pair[0] != pair[1]));
    let lost = (sent - received.len()) as u64;
    println!("{sent} sent, {lost} lost");
    eventually("every loss is counted", || nodes[1].cluster().metrics().lost() == lost);
}

/// Reads messages that begin with a number, up to `end`.
fn read_numbers(socket: &mut WebSocket, numbers: &mut Vec<usize>, end: &str) {
    loop {
        let text = socket.text();
        if text == end {
            return;
        }
        let number = text[1..].split(' ').next().and_then(|n| n.parse().ok());
        numbers.push(number.unwrap_or_else(|| panic!("not a number: {text}")));
    }
}

#[test]
fn a_node_without_an_engine_serves_and_is_not_ready() {
    let test = "a_node_without_an_engine_serves_and_is_not_ready";
    let Some(mut server) = NatsServer::start(test) else { return };
    server.kill();
    let node = start(1, default_config(), options(&server));
    Polling::open(node.addr()).assert_alive();
    assert!(!node.remote().is_ready());
    server.restart();
    eventually("the node is ready", || node.remote().is_ready());
}

#[test]
fn an_engine_with_a_password_is_refused_without_it() {
    let test = "an_engine_with_a_password_is_refused_without_it";
    let args = ["--user", "node", "--pass", "secret+%/"];
    let Some(server) = NatsServer::start_with(test, &args) else { return };
    let node = |host, engine| {
        let cluster = Cluster::new("test", engine).heartbeat(Duration::from_millis(100));
        start(host, default_config(), cluster)
    };
    let stranger = node(1, Nats::new(server.url()).user("node", "guess"));
    let member = node(2, Nats::new(server.url()).user("node", "secret+%/"));
    // The same in the URL.
    let url = server.url().replace("nats://", "nats://node:secret+%25%2F@");
    let other = node(3, Nats::new(url));
    eventually("the nodes are ready", || member.remote().is_ready() && other.remote().is_ready());
    eventually("the nodes are up", || member.states().iter().map(|(_, state)| *state).eq(["up"]));
    assert!(!stranger.remote().is_ready() && stranger.states().is_empty());
    let error = stranger.cluster().engine_error().expect("it is refused");
    // The client may name the cause twice.
    assert!(error.starts_with("authorization violation"), "{error}");
    assert!(error.ends_with(": see `Nats::user`"), "{error}");
    assert_eq!(member.cluster().engine_error(), None);
}
