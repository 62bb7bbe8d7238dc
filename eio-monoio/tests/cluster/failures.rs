//! Nodes and links that fail.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use eio_monoio::{CloseReason, Cluster, Nats};

use crate::nats_server::NatsServer;
use crate::nodes::{Node, options, start, start_all, start_with};
use crate::support::configs::default_config;
use crate::support::connection::Connection;
use crate::support::polling::Polling;
use crate::support::process::{ServerProcess, example_path, signal};
use crate::support::refusals::UNKNOWN_SID;
use crate::support::request::{POLLING, Request, WEBSOCKET, target};
use crate::support::wait::eventually;
use crate::support::websocket::WebSocket;

/// A node in a process of its own, with the times of [`options`].
fn process(host: u8, server: &NatsServer) -> ServerProcess {
    process_with(host, server, &[])
}

pub(crate) fn process_with(host: u8, server: &NatsServer, more: &[&str]) -> ServerProcess {
    let mut command = command(host, &format!("n{host}"), server);
    command.args(["--heartbeat-ms", "100", "--node-timeout-ms", "1000"]).args(more);
    ServerProcess::run(command)
}

/// A node on `127.0.0.<host>` with the default options.
pub(crate) fn command(host: u8, tag: &str, server: &NatsServer) -> Command {
    let mut command = Command::new(example_path("cluster"));
    command.args(["--listen", &format!("127.0.0.{host}:0"), "--tag", tag]);
    command.args(["--link-address", &format!("127.0.0.{host}:0"), "--nats", &server.url()]);
    command.args(["--name", "test"]);
    command
}

/// Two nodes in this process, and a third in one of its own.
fn with_process(server: &NatsServer) -> (Vec<Node>, ServerProcess) {
    let nodes = start_all(2, server);
    let third = process(3, server);
    for node in &nodes {
        eventually("the process is up", || node.state_of("n3") == Some("up"));
    }
    (nodes, third)
}

#[test]
fn a_killed_node_is_lost_at_once_and_nobody_elses_sessions_end() {
    let test = "a_killed_node_is_lost_at_once_and_nobody_elses_sessions_end";
    let Some(server) = NatsServer::start(test) else { return };
    let (nodes, third) = with_process(&server);
    let mut held = Polling::open(third.addr());
    held.get = Connection::open(nodes[0].addr());
    held.start_poll();
    let (mut tunnel, polling) = (Polling::open(third.addr()), Polling::open(third.addr()));
    tunnel.get = Connection::open(nodes[0].addr());
    let mut socket = WebSocket::attach(nodes[1].addr(), &tunnel.sid);
    socket.probe();
    let mut own = Polling::open(nodes[0].addr());
    let (mut own_socket, _) = WebSocket::open(nodes[1].addr());

    signal("-KILL", &third.pid().to_string());
    let killed = Instant::now();
    let response = held.get.response();
    assert!(matches!(response.status, 400 | 503), "{response:?}");
    socket.conn.expect_closed();
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
    for node in &nodes {
        eventually("the node is lost", || node.state_of("n3") == Some("lost"));
    }
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
    println!("{:?} after the kill its clients know and the node is lost", killed.elapsed());
    let mut times: Vec<_> = (0..20)
        .map(|n| {
            let asked = Instant::now();
            let mut conn = Connection::open(nodes[n % 2].addr());
            conn.request(&Request::get(&target(&polling.sid))).assert(400, UNKNOWN_SID);
            asked.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("a later request takes {:?}, and {:?} at most", times[10], times[19]);
    // One may wait for the processor of a busy host.
    assert!(times[10] < Duration::from_millis(50), "{times:?}");
    own.assert_alive();
    own_socket.assert_alive();

    // The same tag again, in another process.
    let third = process(3, &server);
    for node in &nodes {
        eventually("the node is back", || node.state_of("n3") == Some("up"));
    }
    let mut again = Polling::open(third.addr());
    again.get = Connection::open(nodes[0].addr());
    again.assert_alive();
}

/// Two nodes and a process that do not lose a node because it is silent.
fn patient(server: &NatsServer) -> (Vec<Node>, ServerProcess) {
    let cluster = options(server).node_timeout(Duration::from_secs(600));
    let nodes = start_with(2, &default_config(), &cluster);
    let third = process(3, server);
    for node in &nodes {
        eventually("the process is up", || node.state_of("n3") == Some("up"));
    }
    (nodes, third)
}

#[test]
fn the_first_request_for_a_killed_node_is_answered_400() {
    let test = "the_first_request_for_a_killed_node_is_answered_400";
    let Some(server) = NatsServer::start(test) else { return };
    let (nodes, third) = patient(&server);
    let polling = Polling::open(third.addr());
    // The first node has an unused link, the second has none.
    let get = Request::get(&target(&polling.sid));
    let post = Request::post(&target(&polling.sid), "4a");
    assert_eq!(Connection::open(nodes[0].addr()).request(&post).status, 200);
    let mut conns = [&nodes[0], &nodes[1]].map(|node| Connection::open(node.addr()));
    signal("-KILL", &third.pid().to_string());
    for (conn, request) in conns.iter_mut().zip([&post, &get]) {
        let asked = Instant::now();
        conn.request(request).assert(400, UNKNOWN_SID);
        println!("answered after {:?}", asked.elapsed());
    }
}

#[test]
fn the_end_of_a_websocket_at_another_node_shows_that_its_node_was_killed() {
    let test = "the_end_of_a_websocket_at_another_node_shows_that_its_node_was_killed";
    let Some(server) = NatsServer::start(test) else { return };
    let (nodes, third) = patient(&server);
    let mut socket = WebSocket::attach(nodes[0].addr(), &Polling::open(third.addr()).sid);
    socket.probe();
    signal("-KILL", &third.pid().to_string());
    let killed = Instant::now();
    socket.conn.expect_closed();
    eventually("the node is lost", || nodes[0].state_of("n3") == Some("lost"));
    println!("lost after {:?}", killed.elapsed());
    // The other had no link: nothing tells it.
    assert_eq!(nodes[1].state_of("n3"), Some("up"));
}

/// Within 6 s, and up again within 2 s: the limits here have room for a slow host, and eio-core has the exact ones on a
/// virtual clock.
#[test]
fn by_default_a_stopped_node_is_lost_within_six_seconds_and_others_lose_nothing() {
    let test = "by_default_a_stopped_node_is_lost_within_six_seconds_and_others_lose_nothing";
    let Some(server) = NatsServer::start(test) else { return };
    let cluster = Cluster::new("test", Nats::new(server.url()));
    let nodes = start_with(2, &default_config(), &cluster);
    let third = ServerProcess::run(command(3, "n3", &server));
    for node in &nodes {
        eventually("the process is up", || node.state_of("n3") == Some("up"));
    }
    let mut polling = Polling::open(nodes[0].addr());
    (polling.get, polling.post) =
        (Connection::open(nodes[1].addr()), Connection::open(nodes[1].addr()));
    let (mut socket, sid) = WebSocket::open(nodes[0].addr());
    let (sid, remote) = (sid.parse().expect("a sid"), nodes[1].remote());
    let mut exchange_until = |state: &str| {
        let since = Instant::now();
        eventually("the state of the node", || {
            polling.assert_alive();
            remote.send(&sid, "by the engine").expect("queued");
            assert_eq!(socket.text(), "4by the engine");
            std::thread::sleep(Duration::from_millis(5));
            nodes.iter().all(|node| node.state_of("n3") == Some(state))
        });
        since.elapsed()
    };
    signal("-STOP", &third.pid().to_string());
    let lost = exchange_until("lost");
    signal("-CONT", &third.pid().to_string());
    let back = exchange_until("up");
    println!("lost {lost:?} after the stop, up {back:?} after it continued");
    assert!(lost > Duration::from_millis(3_000) && lost < Duration::from_secs(8), "{lost:?}");
    assert!(back < Duration::from_secs(4), "{back:?}");
    assert_eq!(nodes[0].cluster().metrics().lost(), 0);
}

#[test]
fn a_stopped_node_is_lost_after_its_timeout_and_up_when_it_continues() {
    let test = "a_stopped_node_is_lost_after_its_timeout_and_up_when_it_continues";
    let Some(server) = NatsServer::start(test) else { return };
    let (nodes, third) = with_process(&server);
    let mut held = Polling::open(third.addr());
    held.get = Connection::open(nodes[0].addr());
    held.start_poll();
    signal("-STOP", &third.pid().to_string());
    eventually("the node is lost", || nodes[0].state_of("n3") == Some("lost"));
    // A stopped process keeps its sockets: the loss of the node ends the request.
    assert!(matches!(held.get.response().status, 400 | 503));
    let mut conn = Connection::open(nodes[0].addr());
    conn.request(&Request::get(&target(&held.sid))).assert(400, UNKNOWN_SID);
    signal("-CONT", &third.pid().to_string());
    for node in &nodes {
        eventually("the node is up", || node.state_of("n3") == Some("up"));
    }
    let mut polling = Polling::open(third.addr());
    polling.get = Connection::open(nodes[1].addr());
    polling.assert_alive();
}

#[test]
fn a_node_that_ends_leaves_and_its_clients_open_sessions_elsewhere() {
    let test = "a_node_that_ends_leaves_and_its_clients_open_sessions_elsewhere";
    let Some(server) = NatsServer::start(test) else { return };
    let mut nodes = start_all(3, &server);
    let last = nodes.pop().expect("three nodes");
    let mut polling = Polling::open(last.addr());
    polling.get = Connection::open(nodes[0].addr());
    polling.start_poll();
    let drained = Connection::open(last.addr());
    last.running.drain();
    assert!(!last.remote().is_ready());
    for node in &nodes {
        eventually("the node leaves", || {
            matches!(node.state_of("n3"), Some("leaving" | "lost") | None)
        });
    }
    assert_eq!(polling.poll_response(), "1");
    drop(drained);
    drop(last);
    for node in &nodes {
        eventually("the node has left", || matches!(node.state_of("n3"), Some("lost") | None));
    }
    wait_until_up_without(&nodes);
}

#[test]
fn polls_through_a_node_that_leaves_end_and_their_sessions_continue() {
    let test = "polls_through_a_node_that_leaves_end_and_their_sessions_continue";
    let Some(server) = NatsServer::start(test) else { return };
    let config = default_config().drain_time(Duration::from_secs(5));
    let nodes = start_with(2, &config, &options(&server));
    // It leaves as long as it has a session.
    let _own = [Polling::open(nodes[1].addr()), Polling::open(nodes[1].addr())];
    let mut polling = Polling::open(nodes[0].addr());
    polling.get = Connection::open(nodes[1].addr());
    polling.start_poll();
    eventually("the poll is forwarded", || nodes[1].cluster().metrics().forwarding() == 1);
    polling.get.expect_silence(Duration::from_millis(50));
    nodes[1].running.drain();
    assert_eq!(polling.poll_response(), "6");
    polling.get = Connection::open(nodes[0].addr());
    polling.assert_alive();
    // A handshake of polling is passed on.
    let opened = Connection::open(nodes[1].addr()).request(&Request::get(POLLING));
    assert!(opened.status == 200 && opened.text().contains("\"sid\":\"n1."), "{opened:?}");
    let websocket = Connection::open(nodes[1].addr()).request(&Request::upgrade(WEBSOCKET));
    assert_eq!(websocket.status, 503);
}

/// The nodes that are left know each other.
fn wait_until_up_without(nodes: &[Node]) {
    for (node, other) in nodes.iter().zip(nodes.iter().rev()) {
        assert_eq!(node.state_of(&other.tag()), Some("up"));
    }
}

#[test]
fn a_node_whose_tag_is_taken_opens_no_sessions() {
    let test = "a_node_whose_tag_is_taken_opens_no_sessions";
    let Some(server) = NatsServer::start(test) else { return };
    let nodes = start_all(2, &server);
    let twin = start(2, default_config(), options(&server));
    let refused = || Connection::open(twin.addr()).request(&Request::get(POLLING)).status == 503;
    eventually("the twin refuses handshakes", refused);
    assert!(!twin.remote().is_ready() && nodes[1].remote().is_ready());
    let mut polling = Polling::open(nodes[1].addr());
    polling.get = Connection::open(nodes[0].addr());
    polling.assert_alive();
    assert_eq!(nodes[0].states(), [("n2".to_owned(), "up")]);
}

#[test]
fn a_node_that_cannot_be_dialled_is_unreachable_and_its_sessions_live() {
    let test = "a_node_that_cannot_be_dialled_is_unreachable_and_its_sessions_live";
    let Some(server) = NatsServer::start(test) else { return };
    // No program listens there.
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let first = start(1, default_config(), options(&server).announced_address(nowhere));
    let second = start(2, default_config(), options(&server));
    let nodes = [first, second];
    eventually("the nodes know each other", || {
        nodes.iter().all(|node| node.remote().is_ready() && node.states().len() == 1)
    });
    let mut polling = Polling::open(nodes[0].addr());
    let (get, post) =
        (Request::get(&target(&polling.sid)), Request::post(&target(&polling.sid), "4a"));
    for request in [get, post] {
        let response = Connection::open(nodes[1].addr()).request(&request);
        assert_eq!((response.status, response.header("Retry-After")), (503, Some("1")));
    }
    eventually("the node is unreachable", || nodes[1].state_of("n1") == Some("unreachable"));
    polling.assert_alive();
    // Messages need no link, nor do requests in the other direction.
    nodes[1].remote().send(&polling.sid.parse().expect("a sid"), "by the engine").expect("queued");
    assert_eq!(polling.poll(), "4by the engine");
    let mut other = Polling::open(nodes[1].addr());
    other.get = Connection::open(nodes[0].addr());
    other.assert_alive();
}

#[test]
fn too_many_forwarded_requests_and_links_are_refused() {
    let test = "too_many_forwarded_requests_and_links_are_refused";
    let Some(server) = NatsServer::start(test) else { return };
    for (cluster, outcome) in [
        (options(&server).max_forwarded(1), "too_many"),
        (options(&server).max_links(1), "unavailable"),
    ] {
        let nodes = start_with(2, &default_config(), &cluster);
        let mut held = Polling::open(nodes[0].addr());
        held.get = Connection::open(nodes[1].addr());
        held.start_poll();
        eventually("the poll is forwarded", || nodes[1].cluster().metrics().forwarding() == 1);
        let polling = Polling::open(nodes[0].addr());
        let mut conn = Connection::open(nodes[1].addr());
        let response = conn.request(&Request::post(&target(&polling.sid), "4a"));
        assert_eq!((response.status, response.header("Retry-After")), (503, Some("1")));
        let metrics = nodes[1].remote().metrics().to_string();
        let line = format!("eio_cluster_forwarded_total{{kind=\"post\",outcome=\"{outcome}\"}} 1");
        assert!(metrics.contains(&line), "{metrics}");
        held.post_ok("4a");
        assert_eq!(held.poll_response(), "4a");
    }
}

#[test]
fn a_response_that_does_not_reach_the_client_ends_the_session() {
    let test = "a_response_that_does_not_reach_the_client_ends_the_session";
    let Some(server) = NatsServer::start(test) else { return };
    let nodes = start_all(2, &server);
    let mut polling = Polling::open(nodes[0].addr());
    polling.get = Connection::open(nodes[1].addr());
    polling.start_poll();
    // The client leaves while its poll is held at the other node.
    polling.get.expect_silence(Duration::from_millis(50));
    polling.get.reset_on_close();
    polling.get = Connection::open(nodes[1].addr());
    assert_eq!(nodes[0].log.close_reason(&polling.sid), CloseReason::TransportError);
    polling.assert_unknown();
}

#[test]
fn connections_that_do_not_know_the_keys_open_no_link() {
    let test = "connections_that_do_not_know_the_keys_open_no_link";
    let Some(server) = NatsServer::start(test) else { return };
    let nodes = start_all(2, &server);
    let link: SocketAddr = nodes[0].cluster().link_addresses()[0];
    let incarnations = [[0; 8], [1; 8]];
    let mut greeting = b"EIOL\x01".to_vec();
    for (tag, incarnation) in ["n2", "n1"].iter().zip(incarnations) {
        let mut field = [0; 16];
        field[..2].copy_from_slice(tag.as_bytes());
        greeting.extend_from_slice(&field);
        greeting.extend_from_slice(&incarnation);
    }
    greeting.extend_from_slice(&[7; 16]);
    let other_version = [&b"EIOL\x02"[..], &greeting[5..]].concat();
    for bytes in
        [&greeting[..], &other_version, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", &greeting[..30]]
    {
        let mut stream = TcpStream::connect(link).expect("the node listens");
        stream.write_all(bytes).expect("sent");
        stream.write_all(&[0x55; 64]).ok();
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        let mut answer = Vec::new();
        std::io::Read::read_to_end(&mut stream, &mut answer).ok();
        assert!(
            answer.is_empty() || (answer.starts_with(b"EIOL\x01") && answer[5] != 0),
            "{answer:?}"
        );
    }
    // Links of real nodes still work.
    let mut polling = Polling::open(nodes[0].addr());
    polling.get = Connection::open(nodes[1].addr());
    polling.assert_alive();
}
