//! Links over mutual TLS.

use eio_monoio::{Cluster, Tls};

use crate::nats_server::NatsServer;
use crate::nodes::{options, start, start_with};
use crate::support::configs::default_config;
use crate::support::connection::Connection;
use crate::support::polling::Polling;
use crate::support::request::{Request, target};
use crate::support::temp_dir::TempDir;
use crate::support::tls::{Pki, write_identity};
use crate::support::wait::eventually;
use crate::support::websocket::WebSocket;

/// A certificate of `pki` for `name` in files, and the options of a node with it.
fn identity(pki: &Pki, name: &str) -> (TempDir, Tls) {
    let directory = TempDir::new();
    let (certificate, key) = write_identity(&directory, &pki.certify(name));
    let authorities = directory.write("authority.pem", pki.pem());
    (directory, Tls::new(certificate, key).client_authorities(authorities))
}

#[test]
fn links_over_mutual_tls_carry_polls_and_websockets() {
    let test = "links_over_mutual_tls_carry_polls_and_websockets";
    let Some(server) = NatsServer::start(test) else { return };
    let pki = Pki::new();
    let (_files, tls) = identity(&pki, "node.example");
    let nodes = start_with(2, &default_config(), &options(&server).tls(tls, "node.example"));
    let mut polling = Polling::open(nodes[0].addr());
    (polling.get, polling.post) =
        (Connection::open(nodes[1].addr()), Connection::open(nodes[1].addr()));
    for n in 0..5 {
        polling.post_ok(format!("4{n}"));
        assert_eq!(polling.poll(), format!("4{n}"));
    }
    let mut socket = WebSocket::attach(nodes[1].addr(), &polling.sid);
    socket.probe();
    socket.send("5");
    let large = "a".repeat(300_000);
    for _ in 0..3 {
        socket.send(&format!("4{large}"));
        assert_eq!(socket.text(), format!("4{large}"));
    }
}

#[test]
fn a_node_with_a_certificate_of_another_authority_or_name_is_unreachable() {
    let test = "a_node_with_a_certificate_of_another_authority_or_name_is_unreachable";
    let Some(server) = NatsServer::start(test) else { return };
    let pki = Pki::new();
    for (authority, name) in [(&Pki::new(), "node.example"), (&pki, "other.example")] {
        let (_files, own) = identity(&pki, "node.example");
        let (_others, foreign) = identity(authority, name);
        let cluster = |tls| -> Cluster { options(&server).tls(tls, "node.example") };
        let nodes = [
            start(1, default_config(), cluster(own)),
            start(2, default_config(), cluster(foreign)),
        ];
        eventually("the nodes know each other", || {
            nodes.iter().all(|node| node.states().len() == 1 && node.remote().is_ready())
        });
        let polling = Polling::open(nodes[1].addr());
        let get = Request::get(&target(&polling.sid));
        assert_eq!(Connection::open(nodes[0].addr()).request(&get).status, 503);
        eventually("the node is unreachable", || nodes[0].state_of("n2") == Some("unreachable"));
    }
}

#[test]
fn links_need_authorities() {
    let pki = Pki::new();
    let directory = TempDir::new();
    let (certificate, key) = write_identity(&directory, &pki.certify("node.example"));
    let cluster = Cluster::new("test", eio_monoio::Nats::new("127.0.0.1"));
    let cluster = cluster.tls(Tls::new(certificate, key), "node.example");
    let server = eio_monoio::Server::on_message(async |_, _| {}).cluster(cluster);
    let error = server.bind("127.0.0.1:0").expect_err("no authorities");
    assert!(error.to_string().starts_with("configuration: cluster.tls"), "{error}");
}
