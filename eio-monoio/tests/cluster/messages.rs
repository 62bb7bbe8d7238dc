//! Messages to the sessions of every node.

use std::collections::BTreeSet;
use std::path::Path;

use eio_monoio::{Emitter, Nats, SendError, Sid, Transport};

use crate::nats_server::NatsServer;
use crate::nodes::start_all;
use crate::support::polling::Polling;
use crate::support::wait::eventually;
use crate::support::websocket::WebSocket;

fn sid(text: &str) -> Sid {
    Sid::new(text).expect("a sid")
}

#[test]
fn a_remote_reaches_sessions_of_every_node() {
    let Some(server) = NatsServer::start("a_remote_reaches_sessions_of_every_node") else { return };
    let nodes = start_all(3, &server);
    let mut sessions: Vec<_> = nodes.iter().map(|node| WebSocket::open(node.addr())).collect();
    for (node, (_, sid)) in nodes.iter().zip(&sessions) {
        assert!(sid.starts_with(&format!("{}.", node.tag())), "{sid}");
        assert_eq!(sid.len(), node.tag().len() + 25);
    }
    let sids: Vec<Sid> = sessions.iter().map(|(_, text)| sid(text)).collect();
    let remote = nodes[0].remote();
    for sid in &sids {
        remote.send(sid, "one").expect("queued");
        assert_eq!(remote.transport(sid), Some(Transport::WebSocket));
    }
    remote.send_many(&sids, "many").expect("queued");
    remote.broadcast("all").expect("queued");
    remote.broadcast_except([&sids[1]], &[1, 2, 3][..]).expect("queued");
    remote.here().broadcast("here").expect("queued");
    for (n, (socket, _)) in sessions.iter_mut().enumerate() {
        // In the order of the calls, although they have different subjects.
        for expected in ["4one", "4many", "4all"] {
            assert_eq!(socket.text(), expected, "node {n}");
        }
        if n != 1 {
            assert_eq!(socket.binary(), [1, 2, 3]);
        }
        if n == 0 {
            assert_eq!(socket.text(), "4here");
        }
    }
    remote.disconnect(&sids[2]);
    assert_eq!(sessions[2].0.text(), "1");
}

#[test]
fn an_emitter_and_any_client_of_the_engine_reach_sessions() {
    let test = "an_emitter_and_any_client_of_the_engine_reach_sessions";
    let Some(server) = NatsServer::start(test) else { return };
    let nodes = start_all(2, &server);
    let mut sessions: Vec<_> = nodes.iter().map(|node| WebSocket::open(node.addr())).collect();
    let sids: Vec<Sid> = sessions.iter().map(|(_, text)| sid(text)).collect();

    let emitter = Emitter::connect("test", Nats::new(server.url())).expect("an emitter");
    for n in 0..100 {
        emitter.send(&sids[n % 2], n.to_string().as_str()).expect("queued");
    }
    emitter.send_many(&sids, "many").expect("queued");
    emitter.broadcast_except([&sids[0]], "all but the first").expect("queued");
    assert_eq!(emitter.send(&sid("untagged"), "a"), Err(SendError::Closed));
    assert_eq!(emitter.send(&sids[0], "\u{1e}"), Err(SendError::Separator));
    for (n, (socket, _)) in sessions.iter_mut().enumerate() {
        for number in (n..100).step_by(2) {
            assert_eq!(socket.text(), format!("4{number}"));
        }
        assert_eq!(socket.text(), "4many");
    }
    assert_eq!(sessions[1].0.text(), "4all but the first");
    drop(emitter);

    let mut client = server.client();
    client.publish(&format!("eio.test.text.{}", sids[0]), "from a shell");
    client.publish("eio.test.all.text", "to all");
    client.publish_with("eio.test.all.text", &format!("Eio-Except: {}", sids[0]), "to others");
    client.publish(&format!("eio.test.text.{}", sids[0]), "broken \u{1e} text");
    assert_eq!(sessions[0].0.text(), "4from a shell");
    assert_eq!(sessions[0].0.text(), "4to all");
    assert_eq!(sessions[1].0.text(), "4to all");
    assert_eq!(sessions[1].0.text(), "4to others");
    eventually("the malformed text is counted", || nodes[0].cluster().metrics().dropped() == 1);
    client.publish("eio.test.all.close", "");
    for (socket, _) in &mut sessions {
        assert_eq!(socket.text(), "1");
    }
}

/// The dashboard, the alerts and the documents name the metrics of a cluster, and no others.
#[test]
fn metrics_of_the_dashboard_the_alerts_and_the_documents_exist() {
    let test = "metrics_of_the_dashboard_the_alerts_and_the_documents_exist";
    let Some(server) = NatsServer::start(test) else { return };
    let nodes = start_all(1, &server);
    let text = nodes[0].remote().metrics().to_string();
    let names = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        words.filter(|word| word.starts_with("eio_cluster_")).map(str::to_owned).collect()
    };
    let published = names(&text);
    assert!(published.len() >= 12, "{published:?}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for file in [
        "docs/cluster.md",
        "deploy/grafana/dashboard.json",
        "deploy/prometheus/alerts_cluster.yml",
        "docs/operations.md",
    ] {
        let named = names(&std::fs::read_to_string(root.join(file)).expect("a document"));
        let unknown: Vec<_> = named.difference(&published).collect();
        assert!(!named.is_empty() && unknown.is_empty(), "{file} names {unknown:?}");
        if file == "docs/cluster.md" {
            assert_eq!(named, published, "{file}");
        }
    }
    let alerts = std::fs::read_to_string(root.join("deploy/prometheus/alerts_cluster.yml"));
    for label in ["state=\"unreachable\"", "state=\"lost\""] {
        assert!(alerts.as_ref().is_ok_and(|alerts| alerts.contains(label)), "{label}");
        assert!(text.contains(label), "no series has {label}");
    }
    for outcome in ["too_many", "unavailable", "broken"] {
        assert!(text.contains(&format!("outcome=\"{outcome}\"")), "no series has {outcome}");
    }
}

#[test]
fn handlers_broadcast_to_the_cluster() {
    let Some(server) = NatsServer::start("handlers_broadcast_to_the_cluster") else { return };
    let nodes = start_all(2, &server);
    let mut polling = Polling::open(nodes[1].addr());
    nodes[0].remote().send(&sid(&polling.sid), "to a poll").expect("queued");
    assert_eq!(polling.poll(), "4to a poll");
    let unknown = sid(&format!("n9.{}", "a".repeat(24)));
    assert_eq!(nodes[0].remote().send(&unknown, "a"), Err(SendError::Closed));
    assert_eq!(nodes[0].remote().transport(&unknown), None);
}
