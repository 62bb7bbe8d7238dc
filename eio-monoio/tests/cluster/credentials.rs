//! How a node authenticates with NATS: tokens, files with a JWT, TLS on either side; and what a wrong option reports.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use base64_simd::URL_SAFE_NO_PAD;
use eio_monoio::{Cluster, Emitter, Nats, Server, Sid, Transport};
use nkeys::KeyPair;

use crate::nats_server::NatsServer;
use crate::nodes::{Node, start, wait_until_up};
use crate::support::configs::default_config;
use crate::support::temp_dir::TempDir;
use crate::support::tls::{Pki, write_identity};
use crate::support::wait::{TIMEOUT, eventually};
use crate::support::websocket::WebSocket;

fn node(host: u8, engine: Nats) -> Node {
    let cluster = Cluster::new("test", engine).heartbeat(Duration::from_millis(100));
    start(host, default_config(), cluster)
}

/// Waits until a node with `engine` is ready.
fn assert_joins(engine: Nats) {
    let node = node(1, engine);
    eventually("the node is ready", || node.remote().is_ready());
    assert_eq!(node.cluster().engine_error(), None);
}

/// Waits until a node with `engine` reports an error with all of `parts`, and fails if it joins.
#[track_caller]
fn assert_refused(engine: Nats, parts: &[&str]) {
    let node = node(2, engine.clone());
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let error = node.cluster().engine_error();
        assert!(!node.remote().is_ready());
        if error.as_ref().is_some_and(|error| parts.iter().all(|part| error.contains(part))) {
            break;
        }
        assert!(Instant::now() < deadline, "{error:?} instead of {parts:?}");
        thread::sleep(Duration::from_millis(10));
    }
    let emitter = Emitter::connect("test", engine).expect("an emitter");
    eventually("the emitter has the error", || {
        emitter.engine_error().is_some_and(|error| parts.iter().all(|part| error.contains(part)))
    });
}

#[test]
fn a_token_opens_the_engine_and_another_is_refused() {
    let test = "a_token_opens_the_engine_and_another_is_refused";
    let Some(server) = NatsServer::start_with(test, &["--auth", "s3cret"]) else { return };
    assert_joins(Nats::new(server.url()).token("s3cret"));
    let error = "authorization violation";
    assert_refused(Nats::new(server.url()).token("guess"), &[error, "`Nats::token`"]);
    assert_refused(Nats::new(server.url()), &[error, "none is set"]);
    let url = server.url().replace("nats://", "nats://a:b@");
    assert_refused(Nats::new(url), &[error, "of the URL"]);
}

/// A token that `issuer` signs.
fn jwt(issuer: &KeyPair, subject: &KeyPair, nats: &str) -> String {
    let header = r#"{"typ":"JWT","alg":"ed25519-nkey"}"#;
    let (issued_by, about) = (issuer.public_key(), subject.public_key());
    let claims = format!(
        r#"{{"jti":"a","iat":1700000000,"iss":"{issued_by}","name":"a","sub":"{about}","nats":{nats}}}"#
    );
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode_to_string(bytes);
    let signed = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
    let signature = issuer.sign(signed.as_bytes()).expect("a seed");
    format!("{signed}.{}", encode(&signature))
}

/// A user of `account`, as `nsc generate creds` writes it.
fn credentials(account: &KeyPair) -> String {
    let user = KeyPair::new_user();
    let token =
        jwt(account, &user, r#"{"type":"user","version":2,"subs":-1,"data":-1,"payload":-1}"#);
    let seed = user.seed().expect("a seed");
    format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

#[test]
fn a_file_with_credentials_opens_the_engine_and_another_is_refused() {
    let test = "a_file_with_credentials_opens_the_engine_and_another_is_refused";
    let (operator, account) = (KeyPair::new_operator(), KeyPair::new_account());
    let of_operator = jwt(&operator, &operator, r#"{"type":"operator","version":2}"#);
    let limits = r#""limits":{"subs":-1,"data":-1,"payload":-1,"imports":-1,"exports":-1,"wildcards":true,"conn":-1,"leaf":-1}"#;
    let of_account =
        jwt(&operator, &account, &format!(r#"{{"type":"account","version":2,{limits}}}"#));
    let files = TempDir::new();
    let config = files.write(
        "nats.conf",
        format!(
            "operator: {of_operator}\nresolver: MEMORY\nresolver_preload: {{ {}: {of_account} }}\n",
            account.public_key()
        ),
    );
    let Some(server) = NatsServer::start_with(test, &["-c", text(&config)]) else { return };
    let own = files.write("own.creds", credentials(&account));
    assert_joins(Nats::new(server.url()).credentials(own));
    let foreign = files.write("foreign.creds", credentials(&KeyPair::new_account()));
    let refused = ["authorization violation", "`Nats::credentials`"];
    assert_refused(Nats::new(server.url()).credentials(foreign), &refused);
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of ASCII")
}

#[test]
fn tls_of_the_engine_needs_its_authority_and_a_certificate_if_it_asks_for_one() {
    let test = "tls_of_the_engine_needs_its_authority_and_a_certificate_if_it_asks_for_one";
    let (pki, other) = (Pki::new(), Pki::new());
    let files = TempDir::new();
    let (certificate, key) = write_identity(&files, &pki.certify("127.0.0.1"));
    let authority = files.write("authority.pem", pki.pem());
    let foreign = files.write("foreign.pem", other.pem());
    let own = TempDir::new();
    let (client, client_key) = write_identity(&own, &pki.certify("node.example"));
    let tls = ["--tls", "--tlscert", text(&certificate), "--tlskey", text(&key)];

    let Some(server) = NatsServer::start_with(test, &tls) else { return };
    assert_joins(Nats::new(server.url()).authorities(&authority));
    assert_joins(Nats::new(server.url().replace("nats://", "tls://")).authorities(&authority));
    let unknown = ["invalid peer certificate", "`Nats::authorities`"];
    assert_refused(Nats::new(server.url()).authorities(&foreign), &unknown);
    // The authorities of the operating system do not know it.
    assert_refused(Nats::new(server.url()), &["`Nats::authorities`"]);

    let verify = [&tls[..], &["--tlsverify", "--tlscacert", text(&authority)]].concat();
    let Some(server) = NatsServer::start_with(test, &verify) else { return };
    let engine = Nats::new(server.url()).authorities(&authority);
    assert_joins(engine.clone().certificate(&client, &client_key));
    assert_refused(engine.clone(), &["`Nats::certificate`"]);
    let others = TempDir::new();
    let (certificate, key) = write_identity(&others, &other.certify("node.example"));
    assert_refused(engine.certificate(certificate, key), &["`Nats::certificate`"]);
}

#[test]
fn a_server_without_tls_is_refused_where_tls_is_required() {
    let test = "a_server_without_tls_is_refused_where_tls_is_required";
    let Some(server) = NatsServer::start(test) else { return };
    assert_joins(Nats::new(server.url()).require_tls(false));
    assert_refused(Nats::new(server.url()).require_tls(true), &["`Nats::require_tls`"]);
    let url = server.url().replace("nats://", "tls://");
    assert_refused(Nats::new(url), &["`tls://`"]);
}

#[test]
fn files_that_cannot_be_used_are_refused_at_the_start_with_their_option() {
    let files = TempDir::new();
    let pki = Pki::new();
    let (certificate, key) = write_identity(&files, &pki.certify("node.example"));
    let missing = Path::new("/nonexistent/file");
    let garbage = &files.write("garbage", "not what it should be");
    let nats = || Nats::new("127.0.0.1");
    for file in [missing, garbage] {
        for (option, engine) in [
            ("Nats::credentials", nats().credentials(file)),
            ("Nats::authorities", nats().authorities(file)),
            ("Nats::certificate", nats().certificate(file, &key)),
            ("Nats::certificate", nats().certificate(&certificate, file)),
        ] {
            let server =
                Server::on_message(async |_, _| {}).cluster(Cluster::new("test", engine.clone()));
            let error = server.bind("127.0.0.1:0").expect_err("an unusable file").to_string();
            let parts = ["cluster.engine", option, text(file)];
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
            let error = Emitter::connect("test", engine).expect_err("an unusable file");
            assert!(error.to_string().contains(option), "{error}");
        }
    }
}

/// The configuration in docs/cluster.md, "Trust".
fn documented_permissions() -> String {
    let text = include_str!("../../../docs/cluster.md");
    let (_, after) = text.split_once("```text\nauthorization {").expect("the block");
    let (block, _) = after.split_once("```").expect("its end");
    let block = block.replace("$NODE", "of-node").replace("$EMITTER", "of-emitter");
    format!("authorization {{{}", block.replace("eio.chat", "eio.test"))
}

#[test]
fn permissions_let_an_emitter_send_and_nothing_else() {
    let test = "permissions_let_an_emitter_send_and_nothing_else";
    let files = TempDir::new();
    let config = files.write("nats.conf", documented_permissions());
    let Some(server) = NatsServer::start_with(test, &["-c", text(&config)]) else { return };
    let engine = Nats::new(server.url()).user("node", "of-node");
    let nodes = [node(1, engine.clone()), node(2, engine)];
    wait_until_up(&nodes);
    let mut sockets = nodes.each_ref().map(|node| WebSocket::open(node.addr()));
    // A node uses every part of the engine.
    let sid: Sid = sockets[1].1.parse().expect("a sid");
    nodes[0].remote().send(&sid, "of a node").expect("queued");
    assert_eq!(sockets[1].0.text(), "4of a node");
    assert_eq!(nodes[0].remote().transport(&sid), Some(Transport::WebSocket));

    let engine = Nats::new(server.url()).user("emitter", "of-emitter");
    let emitter = Emitter::connect("test", engine).expect("an emitter");
    emitter.send(&sid, "to one").expect("queued");
    emitter.send_many([&sid], &[1, 2][..]).expect("queued");
    emitter.broadcast("to all").expect("queued");
    assert_eq!(sockets[1].0.text(), "4to one");
    assert_eq!(sockets[1].0.binary(), [1, 2]);
    for (socket, _) in &mut sockets {
        assert_eq!(socket.text(), "4to all");
    }

    let mut client = server.client_as("emitter", "of-emitter");
    for (command, error) in [
        ("SUB eio.> 1", "Permissions Violation for Subscription"),
        ("SUB eio.test.text.> 2", "Permissions Violation for Subscription"),
        ("PUB eio.test.hello 0\r\n", "Permissions Violation for Publish"),
        ("PUB eio.test.ask.n1.alive 0\r\n", "Permissions Violation for Publish"),
        ("PUB eio.other.all.text 0\r\n", "Permissions Violation for Publish"),
    ] {
        let refused = client.refused(command);
        assert!(refused.contains(error), "{command}: {refused}");
    }
    client.publish(&format!("eio.test.close.{sid}"), "");
    assert_eq!(sockets[1].0.text(), "1");
}
