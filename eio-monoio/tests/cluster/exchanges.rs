//! Every exchange of the protocol, through an address behind which any node may answer each request.
//!
//! They are those that the official test suite of the protocol asks for: handshakes, messages, heartbeats, closes and
//! upgrades, and the refusals of each. The suite itself is not on npm, and without a licence, so it is not here.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::connection::Connection;
use crate::support::parallel;
use crate::support::polling::Polling;
use crate::support::refusals::UNKNOWN_SID;
use crate::support::request::{POLLING, Request, WEBSOCKET, target};
use crate::support::websocket::{WebSocket, open_upgraded};

/// The heartbeat of the servers, as arguments: long enough for an exchange on a busy host, and short enough to wait for.
pub(crate) const HEARTBEAT: [&str; 4] = ["--ping-interval-ms", "2000", "--ping-timeout-ms", "2000"];

const INTERVAL: Duration = Duration::from_millis(2000);

type Exchange = fn(SocketAddr);

/// All of them at the same time.
pub(crate) fn all(addr: SocketAddr) {
    let cases: [(&str, Exchange); 12] = [
        ("handshakes", handshakes),
        ("refused handshakes", refused_handshakes),
        ("polled messages", polled_messages),
        ("messages one at a time", messages_one_at_a_time),
        ("an invalid packet", invalid_packets),
        ("two polls", two_polls),
        ("messages over WebSocket", websocket_messages),
        ("heartbeat over polling", polling_heartbeat),
        ("heartbeat over WebSocket", websocket_heartbeat),
        ("missed heartbeats", missed_heartbeats),
        ("closes", closes),
        ("upgrades", upgrades),
    ];
    parallel::for_each(cases.map(|(name, case)| (name.to_owned(), case)), |case| case(addr));
}

fn ask(addr: SocketAddr, request: &Request) -> (u16, String) {
    let response = Connection::open(addr).request(request);
    (response.status, response.text().to_owned())
}

fn expect_ended(addr: SocketAddr, sid: &str) {
    assert_eq!(ask(addr, &Request::get(&target(sid))), (400, UNKNOWN_SID.to_owned()));
}

fn expect_open_packet(open: &str, upgrades: &str) {
    let rest = format!(
        "\"upgrades\":[{upgrades}],\"pingInterval\":2000,\"pingTimeout\":2000,\"maxPayload\":1000000}}"
    );
    assert!(open.starts_with("0{\"sid\":\"") && open.ends_with(&rest), "{open}");
    assert_eq!(open.matches("\":").count(), 5, "{open}");
}

fn handshakes(addr: SocketAddr) {
    let (status, open) = ask(addr, &Request::get(POLLING));
    assert_eq!(status, 200);
    expect_open_packet(&open, "\"websocket\"");
    expect_open_packet(&WebSocket::connect(addr, WEBSOCKET).text(), "");
}

fn refused_handshakes(addr: SocketAddr) {
    let path = "/engine.io/";
    for transport in ["polling", "websocket"] {
        for query in [
            format!("transport={transport}"),
            format!("EIO=abc&transport={transport}"),
            "EIO=4".to_owned(),
            "EIO=4&transport=abc".to_owned(),
        ] {
            let target = format!("{path}?{query}");
            let request = match transport {
                "polling" => Request::get(&target),
                _ => Request::upgrade(&target),
            };
            assert_eq!(ask(addr, &request).0, 400, "{transport}: {query}");
        }
    }
    assert_eq!(ask(addr, &Request::post(POLLING, "")).0, 400);
    assert_eq!(ask(addr, &Request::new("PUT", POLLING)).0, 400);
}

fn polled_messages(addr: SocketAddr) {
    for payload in ["4hello", "4one\u{1e}4two\u{1e}4three", "4hello\u{1e}bAQIDBA=="] {
        let mut polling = Polling::open(addr);
        polling.post_ok(payload);
        assert_eq!(polling.poll(), payload);
    }
}

/// Enough requests for the share that each node receives to be that of round robin.
fn messages_one_at_a_time(addr: SocketAddr) {
    let mut polling = Polling::open(addr);
    for n in 0..100 {
        let message = format!("4{n}");
        polling.post_ok(&message);
        loop {
            let payload = polling.poll();
            if payload.split('\u{1e}').any(|packet| packet == "2") {
                polling.post_ok("3");
            }
            if payload.split('\u{1e}').any(|packet| packet == message) {
                break;
            }
        }
    }
}

fn invalid_packets(addr: SocketAddr) {
    let mut polling = Polling::open(addr);
    assert_eq!(polling.try_post("abc").status, 400);
    expect_ended(addr, &polling.sid);
    let (mut socket, _) = WebSocket::open(addr);
    socket.send("abc");
    socket.conn.expect_closed();
}

fn two_polls(addr: SocketAddr) {
    let mut polling = Polling::open(addr);
    polling.start_poll();
    polling.get.expect_silence(Duration::from_millis(100));
    assert_eq!(ask(addr, &Request::get(&target(&polling.sid))).0, 400);
    assert_eq!(polling.poll_response(), "1");
    expect_ended(addr, &polling.sid);
}

fn websocket_messages(addr: SocketAddr) {
    let (mut socket, _) = WebSocket::open(addr);
    socket.send("4hello");
    assert_eq!(socket.text(), "4hello");
    socket.send_binary(&[1, 2, 3, 4]);
    assert_eq!(socket.binary(), [1, 2, 3, 4]);
}

fn polling_heartbeat(addr: SocketAddr) {
    let mut polling = Polling::open(addr);
    for _ in 0..2 {
        assert_eq!(polling.poll(), "2");
        polling.post_ok("3");
    }
}

fn websocket_heartbeat(addr: SocketAddr) {
    let (polling, mut socket) = open_upgraded(addr);
    let (mut own, _) = WebSocket::open(addr);
    for _ in 0..2 {
        for socket in [&mut own, &mut socket] {
            assert_eq!(socket.text(), "2");
            socket.send("3");
        }
    }
    assert_eq!(ask(addr, &Request::get(&target(&polling.sid))).0, 400);
}

fn missed_heartbeats(addr: SocketAddr) {
    let polling = Polling::open(addr);
    let (_, mut upgraded) = open_upgraded(addr);
    let (mut socket, _) = WebSocket::open(addr);
    std::thread::sleep(INTERVAL * 2 + INTERVAL / 8);
    expect_ended(addr, &polling.sid);
    socket.conn.expect_closed();
    upgraded.conn.expect_closed();
}

fn closes(addr: SocketAddr) {
    let mut polling = Polling::open(addr);
    polling.start_poll();
    polling.get.expect_silence(Duration::from_millis(100));
    polling.post_ok("1");
    assert_eq!(polling.poll_response(), "6");
    expect_ended(addr, &polling.sid);
    let (mut socket, _) = WebSocket::open(addr);
    socket.send("1");
    socket.conn.expect_closed();
}

fn upgrades(addr: SocketAddr) {
    let mut polling = Polling::open(addr);
    let mut socket = WebSocket::attach(addr, &polling.sid);
    socket.probe();
    assert_eq!(polling.poll(), "6");
    socket.send("5");
    socket.assert_alive();
    // The session has left polling, and has its WebSocket.
    assert_eq!(ask(addr, &Request::get(&target(&polling.sid))).0, 400);
    WebSocket::attach(addr, &polling.sid).conn.expect_closed();
    socket.assert_alive();
}
