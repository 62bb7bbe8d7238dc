//! Messages while a node drains: POSTs are handled, WebSockets through it close in order, closes are even.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use eio_monoio::{CloseReason, OwnedMessage, Sid};

use crate::nats_server::NatsServer;
use crate::nodes::{Node, options, start_with};
use crate::support::configs::default_config;
use crate::support::connection::Connection;
use crate::support::polling::Polling;
use crate::support::request::{Request, WEBSOCKET, target, upgrade_target};
use crate::support::websocket::{CLOSE, TEXT, WebSocket, frame};

/// Two nodes of which each drains within `time`.
fn two_nodes(server: &NatsServer, time: Duration) -> Vec<Node> {
    let config = default_config().drain_time(time).shutdown_grace(Duration::from_secs(2));
    let config = config.shutdown_timeout(Duration::from_secs(10));
    // A busy machine must not make a node lost.
    let cluster = options(server).node_timeout(Duration::from_secs(20));
    start_with(2, &config, &cluster.link_timeout(Duration::from_secs(5)))
}

/// A WebSocket of a session of `owner`, which passes through `relay`.
fn tunnel(owner: SocketAddr, relay: SocketAddr) -> (WebSocket, String) {
    let sid = Polling::open(owner).sid;
    let mut socket = WebSocket::attach(relay, &sid);
    socket.probe();
    socket.send("5");
    socket.assert_alive();
    (socket, sid)
}

/// POSTs numbers until the session ends; returns how many were answered 200. Two messages are in each body.
fn post_until_the_end(addr: SocketAddr, sid: &str) -> usize {
    let mut conn = Connection::open(addr);
    let mut number = 0;
    loop {
        let body = format!("4{number}\u{1e}4{}", number + 1);
        conn.send(&Request::post(&target(sid), body));
        match conn.try_response(Duration::from_secs(5)) {
            Ok(response) if response.status == 200 => number += 2,
            Ok(_) => return number,
            // A node that leaves closes connections after responses.
            Err(_) => return number,
        }
    }
}

#[test]
fn every_post_answered_200_while_a_node_drains_is_handled_once() {
    let test = "every_post_answered_200_while_a_node_drains_is_handled_once";
    let Some(server) = NatsServer::start(test) else { return };
    let nodes = two_nodes(&server, Duration::from_millis(800));
    let sessions: Vec<String> = (0..40).map(|_| Polling::open(nodes[0].addr()).sid).collect();
    let mut late = 0;
    thread::scope(|scope| {
        let clients: Vec<_> = sessions
            .iter()
            .enumerate()
            .map(|(n, sid)| {
                let addr = nodes[n % 2].addr();
                scope.spawn(move || post_until_the_end(addr, sid))
            })
            .collect();
        // Their GETs begin late: POSTs arrive while sessions close.
        let pollers: Vec<_> = sessions
            .iter()
            .map(|sid| {
                let addr = nodes[1].addr();
                scope.spawn(move || {
                    thread::sleep(Duration::from_millis(500));
                    let get = Request::get(&target(sid));
                    while Connection::open(addr).request(&get).status == 200 {}
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(200));
        nodes[0].running.drain();
        for poller in pollers {
            poller.join().expect("a poller");
        }
        for (sid, client) in sessions.iter().zip(clients) {
            let answered = client.join().expect("a client");
            let reason = nodes[0].log.close_reason(sid);
            assert_eq!(reason, CloseReason::ServerDisconnect);
            let texts: Vec<OwnedMessage> =
                (0..).map(|n: usize| n.to_string().into()).take(answered + 2).collect();
            let handled = nodes[0].log.messages(sid);
            assert!(handled.len() >= answered, "{answered} answered, {} handled", handled.len());
            assert!(texts.starts_with(&handled), "{answered} answered, {handled:?}");
            late += usize::from(handled.len() > answered);
        }
    });
    println!("{late} of {} sessions ended in a POST that was refused", sessions.len());
}

#[test]
fn websockets_through_a_node_that_leaves_close_after_their_messages() {
    let test = "websockets_through_a_node_that_leaves_close_after_their_messages";
    let Some(server) = NatsServer::start(test) else { return };
    let nodes = two_nodes(&server, Duration::from_millis(1000));
    let mut sockets: Vec<_> = (0..24).map(|_| tunnel(nodes[0].addr(), nodes[1].addr())).collect();
    // It stays where it is.
    let (mut own, _) = WebSocket::open(nodes[0].addr());
    let remote = nodes[0].remote();
    let stop = AtomicBool::new(false);
    let (sent, ends) = thread::scope(|scope| {
        let sids: Vec<Sid> = sockets.iter().map(|(_, sid)| Sid::new(sid).expect("a sid")).collect();
        let (remote, stopped) = (&remote, &stop);
        let sender = scope.spawn(move || {
            let mut sent = 0;
            while !stopped.load(Ordering::Relaxed) {
                for sid in &sids {
                    _ = remote.send(sid, format!("{sent}"));
                }
                sent += 1;
                thread::sleep(Duration::from_millis(2));
            }
            sent
        });
        thread::sleep(Duration::from_millis(100));
        let begun = Instant::now();
        nodes[1].running.drain();
        // Another one is refused while the node leaves: its session continues over polling.
        let mut waiting = Polling::open(nodes[0].addr());
        let response = Connection::open(nodes[1].addr())
            .request(&Request::upgrade(&upgrade_target(&waiting.sid)));
        assert_eq!(response.status, 503, "{response:?}");
        waiting.assert_alive();
        let readers: Vec<_> = sockets
            .iter_mut()
            .map(|(socket, sid)| {
                scope.spawn(move || {
                    let mut number = 0;
                    loop {
                        let frame = socket.frame();
                        assert_eq!(frame.first, TEXT, "{sid}: {frame:?}");
                        if frame.payload == b"1" {
                            break;
                        }
                        assert_eq!(frame.payload, format!("4{number}").into_bytes(), "{sid}");
                        number += 1;
                    }
                    let ended = begun.elapsed();
                    assert_eq!(socket.frame().first, CLOSE);
                    socket.conn.write(frame(CLOSE, &1000_u16.to_be_bytes()));
                    socket.conn.expect_closed();
                    ended
                })
            })
            .collect();
        let ends: Vec<Duration> =
            readers.into_iter().map(|reader| reader.join().expect("a reader")).collect();
        stop.store(true, Ordering::Relaxed);
        (sender.join().expect("the sender"), ends)
    });
    assert!(sent > 50, "{sent}");
    for (_, sid) in &sockets {
        assert_eq!(nodes[0].log.close_reason(sid), CloseReason::ServerDisconnect);
    }
    println!("closes: {:?}", histogram(&ends, Duration::from_millis(250)));
    own.assert_alive();
}

/// How many of `times` are in each interval.
fn histogram(times: &[Duration], interval: Duration) -> Vec<usize> {
    let mut counts: HashMap<usize, usize> = HashMap::new();
    for time in times {
        *counts.entry((time.as_millis() / interval.as_millis()) as usize).or_default() += 1;
    }
    let last = counts.keys().max().copied().unwrap_or(0);
    (0..=last).map(|place| counts.get(&place).copied().unwrap_or(0)).collect()
}

#[test]
fn own_sessions_and_those_that_pass_through_close_evenly() {
    let test = "own_sessions_and_those_that_pass_through_close_evenly";
    let Some(server) = NatsServer::start(test) else { return };
    let nodes = two_nodes(&server, Duration::from_millis(3000));
    let tunnels = (0..60).map(|_| tunnel(nodes[0].addr(), nodes[1].addr()).0);
    let own = (0..60).map(|_| WebSocket::open_at(nodes[1].addr(), WEBSOCKET).0);
    let sockets: Vec<WebSocket> = tunnels.chain(own).collect();
    let begun = Instant::now();
    nodes[1].running.drain();
    let times: Vec<Duration> = thread::scope(|scope| {
        let readers: Vec<_> = sockets
            .into_iter()
            .map(|mut socket| {
                scope.spawn(move || {
                    assert_eq!(socket.text(), "1");
                    begun.elapsed()
                })
            })
            .collect();
        readers.into_iter().map(|reader| reader.join().expect("a reader")).collect()
    });
    let seconds = histogram(&times, Duration::from_secs(1));
    println!("closes in each second: {seconds:?}");
    assert_eq!(seconds.iter().sum::<usize>(), 120);
    // An even share is 40.
    assert!(seconds.iter().all(|closes| *closes <= 60), "{seconds:?}");
}
