//! Requests at the wrong node.

use crate::nats_server::NatsServer;
use crate::nodes::start_all;
use crate::support::connection::Connection;
use crate::support::polling::Polling;
use crate::support::refusals::UNKNOWN_SID;
use crate::support::request::{Request, target};
use crate::support::wait::eventually;
use crate::support::websocket::WebSocket;

#[test]
fn any_node_answers_polls_of_any_session() {
    let Some(server) = NatsServer::start("any_node_answers_polls_of_any_session") else { return };
    let nodes = start_all(3, &server);
    let mut polling = Polling::open(nodes[0].addr());
    for round in 0..5 {
        for node in &nodes {
            (polling.get, polling.post) =
                (Connection::open(node.addr()), Connection::open(node.addr()));
            for n in 0..4 {
                let text = format!("4round {round} {n}");
                polling.post_ok(&text);
                assert_eq!(polling.poll(), text);
            }
        }
    }
    // Counted after the response is sent.
    eventually("the forwarded requests are counted", || {
        let metrics = nodes[1].cluster().metrics();
        (metrics.forwarded(), metrics.answered()) == (40, 40)
    });
    assert_eq!(nodes[0].cluster().metrics().forwarded(), 0);
}

#[test]
fn a_held_poll_is_answered_through_another_node() {
    let test = "a_held_poll_is_answered_through_another_node";
    let Some(server) = NatsServer::start(test) else { return };
    let nodes = start_all(2, &server);
    let mut polling = Polling::open(nodes[0].addr());
    polling.get = Connection::open(nodes[1].addr());
    polling.start_poll();
    polling.get.expect_silence(std::time::Duration::from_millis(100));
    polling.post_ok("4hello");
    assert_eq!(polling.poll_response(), "4hello");
}

#[test]
fn a_session_upgrades_through_another_node() {
    let Some(server) = NatsServer::start("a_session_upgrades_through_another_node") else { return };
    let nodes = start_all(3, &server);
    let mut polling = Polling::open(nodes[0].addr());
    polling.get = Connection::open(nodes[1].addr());
    polling.start_poll();
    let mut socket = WebSocket::attach(nodes[2].addr(), &polling.sid);
    socket.probe();
    assert_eq!(polling.poll_response(), "6");
    socket.send("5");
    for n in 0..100 {
        socket.send(&format!("4{n}"));
    }
    for n in 0..100 {
        assert_eq!(socket.text(), format!("4{n}"));
    }
    assert_eq!(nodes[2].cluster().metrics().tunnels(), 1);
    nodes[1].remote().disconnect(&polling.sid.parse().expect("a sid"));
    assert_eq!(socket.text(), "1");
}

#[test]
fn forged_sids_are_refused_after_one_hop_at_most() {
    let test = "forged_sids_are_refused_after_one_hop_at_most";
    let Some(server) = NatsServer::start(test) else { return };
    let nodes = start_all(3, &server);
    let rest = "A".repeat(24);
    for (sid, hops) in [(format!("n1.{rest}"), 1), (format!("n9.{rest}"), 0), (rest.clone(), 0)] {
        let before = nodes[1].cluster().metrics().forwarded();
        let mut conn = Connection::open(nodes[1].addr());
        conn.request(&Request::get(&target(&sid))).assert(400, UNKNOWN_SID);
        conn.request(&Request::post(&target(&sid), "4a")).assert(400, UNKNOWN_SID);
        // Counted after the response is sent.
        let forwarded = || nodes[1].cluster().metrics().forwarded() - before;
        eventually("the forwarded requests are counted", || forwarded() == 2 * hops);
    }
    assert_eq!(nodes[0].cluster().metrics().forwarded(), 0);
    assert_eq!(nodes[2].cluster().metrics().forwarded(), 0);
}
