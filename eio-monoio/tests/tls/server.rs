//! The server over TLS: on the wire, and with the clients people use.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crate::support::foreign;
use crate::support::matrix::{everywhere, somewhere};
use crate::support::tls::{Files, Pki, originate};
use crate::support::wire::{PATIENCE, POLLING, Polling, Request, WebSocket, Wire, sid_of, target};
use eio_monoio::{
    Config, ConnectRequest, Driver, Handler, Message, Refusal, Running, ServeError, Server, Socket,
    Tls,
};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};

/// Echoes; the first message of a session says what the server knows of its client.
struct Echo;

impl Handler for Echo {
    type Session = String;

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<String, Refusal> {
        let certificate = request.client_certificate().map_or(0, <[u8]>::len);
        Ok(format!("secure: {}, certificate: {certificate}", request.is_secure()))
    }

    async fn open(&self, socket: &Socket<String>) {
        if socket.data() != "secure: true, certificate: 0" {
            socket.try_send(socket.data().as_str()).expect("room");
        }
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<String>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        // Never full: a client that does not read its echoes is not read from.
        socket.try_send(message).ok();
        async {}
    }
}

fn serve(config: Config, tls: Tls) -> Running {
    let config = config.shutdown_timeout(Duration::from_millis(100));
    Server::new(|| Echo).config(config).tls(tls).bind("127.0.0.1:0").expect("a server")
}

/// A server, and an address behind which it can be reached without TLS.
fn serve_and_originate(config: Config, test: &str) -> (Running, SocketAddr, Files) {
    let (pki, files) = (Pki::new(), Files::new(test));
    let (certificate, key) = files.write_identity(&pki.certify("127.0.0.1"));
    let running = serve(config, Tls::new(certificate, key));
    let address = originate(pki.client(None), running.local_addr());
    (running, address, files)
}

#[test]
fn a_connection_goes_on_whichever_core_its_requests_are_for() {
    everywhere(|config| {
        let (running, address, _files) = serve_and_originate(config, "moving");
        let sessions: Vec<_> = (0..6).map(|_| Polling::open(address)).collect();
        let mut wires: Vec<_> = (0..6).map(|_| Wire::connect(address)).collect();
        let large = "x".repeat(300_000);
        for (n, wire) in wires.iter_mut().enumerate() {
            // Each connection is asked for each session: with three cores it has to move.
            for Polling { sid, .. } in &sessions {
                let text = format!("message {n}");
                wire.request(&Request::post(&target(sid), format!("4{text}"))).assert(200, "ok");
                wire.request(&Request::get(&target(sid))).assert(200, &format!("4{text}"));
            }
        }
        let Polling { sid, .. } = &sessions[3];
        for wire in &mut wires {
            wire.request(&Request::post(&target(sid), format!("4{large}"))).assert(200, "ok");
            wire.request(&Request::get(&target(sid))).assert(200, &format!("4{large}"));
        }
        // What follows a request moves with it.
        let wire = &mut wires[0];
        let pipelined: Vec<u8> = sessions
            .iter()
            .flat_map(|Polling { sid, .. }| {
                let post = Request::post(&target(sid), "4pipelined").bytes();
                [post, Request::get(&target(sid)).bytes()].concat()
            })
            .collect();
        wire.write(pipelined);
        for _ in &sessions {
            wire.response().assert(200, "ok");
            wire.response().assert(200, "4pipelined");
        }
        assert_eq!(running.remote().sessions(), sessions.len());
    });
}

#[test]
fn a_session_is_upgraded_over_tls() {
    everywhere(|config| {
        let (running, address, _files) = serve_and_originate(config, "upgrade");
        for _ in 0..4 {
            let mut session = Polling::open(address);
            let mut socket = WebSocket::attach(address, &session.sid);
            socket.send("2probe");
            assert_eq!(socket.text(), "3probe");
            session.start_poll();
            session.get.response().assert(200, "6");
            socket.send("5");
            let large = format!("4{}", "x".repeat(200_000));
            for text in ["4hello", &large, "4again"] {
                socket.send(text);
                assert_eq!(socket.text(), text);
            }
        }
        running.shutdown();
        running.join().expect("an orderly end");
    });
}

#[test]
fn what_begins_no_handshake_is_closed_in_time() {
    everywhere(|config| {
        let (pki, files) = (Pki::new(), Files::new("deadline"));
        let (certificate, key) = files.write_identity(&pki.certify("127.0.0.1"));
        let tls = Tls::new(certificate, key).handshake_timeout(Duration::from_millis(200));
        let running = serve(config, tls);
        let mut silent = Wire::connect(running.local_addr());
        let mut begun = Wire::connect(running.local_addr());
        begun.write(b"\x16\x03\x01\x01\x00");
        let mut plain = Wire::connect(running.local_addr());
        plain.send(&Request::get(POLLING));
        for wire in [&mut silent, &mut begun, &mut plain] {
            wire.expect_gone();
        }
        // Nobody else is harmed.
        let mut wire = Wire::connect(originate(pki.client(None), running.local_addr()));
        sid_of(wire.request(&Request::get(POLLING)).text());
    });
}

#[test]
fn a_shutdown_does_not_wait_for_a_handshake_and_says_goodbye_over_tls() {
    everywhere(|config| {
        let (pki, files) = (Pki::new(), Files::new("shutdown"));
        let (certificate, key) = files.write_identity(&pki.certify("127.0.0.1"));
        let long = Duration::from_secs(3600);
        let server = Server::new(|| Echo).config(config.shutdown_timeout(long));
        let tls = Tls::new(certificate, key).handshake_timeout(long);
        let running = server.tls(tls).bind("127.0.0.1:0").expect("a server");
        let mut silent = Wire::connect(running.local_addr());
        let (mut socket, _) = WebSocket::open(originate(pki.client(None), running.local_addr()));
        socket.assert_alive();
        running.shutdown();
        silent.expect_gone();
        assert_eq!(socket.text(), "1");
        assert_eq!(socket.expect_close(), Some(1001));
        socket.wire.expect_eof();
        running.join().expect("an orderly end");
    });
}

#[test]
fn a_connection_too_many_is_closed_without_a_word_that_is_not_tls() {
    let (pki, files) = (Pki::new(), Files::new("too-many"));
    let (certificate, key) = files.write_identity(&pki.certify("127.0.0.1"));
    let running = serve(somewhere().max_connections(1), Tls::new(certificate, key));
    let mut first = Wire::connect(originate(pki.client(None), running.local_addr()));
    sid_of(first.request(&Request::get(POLLING)).text());
    let mut second = Wire::connect(running.local_addr());
    second.expect_eof();
}

/// One handshake, and a request over it.
fn ask(config: &Arc<ClientConfig>, address: SocketAddr) -> std::io::Result<(String, Agreed)> {
    let name = "127.0.0.1".try_into().expect("a name");
    let tls = ClientConnection::new(config.clone(), name).map_err(std::io::Error::other)?;
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut stream = StreamOwned::new(tls, stream);
    write!(stream, "GET {POLLING} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let agreed = Agreed {
        kind: stream.conn.handshake_kind(),
        protocol: stream.conn.alpn_protocol().map(<[u8]>::to_vec),
    };
    Ok((answer, agreed))
}

struct Agreed {
    kind: Option<HandshakeKind>,
    protocol: Option<Vec<u8>>,
}

#[test]
fn a_reload_shows_new_connections_the_new_certificate_and_a_bad_one_changes_nothing() {
    let (old, new) = (Pki::new(), Pki::new());
    let files = Files::new("reload");
    let (certificate, key) = files.write_identity(&old.certify("127.0.0.1"));
    let running = serve(somewhere(), Tls::new(&certificate, &key));
    let address = running.local_addr();
    let mut there = Wire::connect(originate(old.client(None), address));
    let sid = sid_of(there.request(&Request::get(POLLING)).text());

    let (believes_old, believes_new) = (Arc::new(old.client(None)), Arc::new(new.client(None)));
    ask(&believes_new, address).map(drop).expect_err("not yet");
    files.write_identity(&new.certify("127.0.0.1"));
    running.remote().reload_tls().expect("both files are right");
    ask(&believes_new, address).expect("the new one");
    ask(&believes_old, address).map(drop).expect_err("not any more");
    // Who was there goes on.
    there.request(&Request::post(&target(&sid), "4still here")).assert(200, "ok");

    fs::write(&certificate, "nonsense").expect("a file");
    let error = running.remote().reload_tls().expect_err("nonsense");
    assert_eq!(error.option(), "tls.certificate");
    assert!(error.to_string().contains("certificate.pem"), "{error}");
    ask(&believes_new, address).expect("as before");
}

#[test]
fn clients_show_a_certificate_if_they_are_asked_for_one() {
    let (pki, stranger) = (Pki::new(), Pki::new());
    let files = Files::new("clients");
    let (certificate, key) = files.write_identity(&pki.certify("127.0.0.1"));
    let authorities = files.write("authorities.pem", &pki.pem());
    let tls = Tls::new(&certificate, &key).client_authorities(&authorities);
    let (own, forged) = (pki.certify("client"), stranger.certify("client"));

    let strict = serve(somewhere(), tls.clone());
    let lenient = serve(somewhere(), tls.allow_anonymous_clients(true));
    let (known, unknown) = (Arc::new(pki.client(Some(&own))), Arc::new(pki.client(None)));
    let forged = Arc::new(pki.client(Some(&forged)));
    for running in [&strict, &lenient] {
        let address = originate((*known).clone(), running.local_addr());
        // The second resumes what the first agreed on.
        for _ in 0..2 {
            let mut wire = Wire::connect(address);
            let sid = sid_of(wire.request(&Request::get(POLLING)).text());
            let shown = format!("4secure: true, certificate: {}", own.cert.der().len());
            wire.request(&Request::get(&target(&sid))).assert(200, &shown);
        }
        ask(&forged, running.local_addr()).map(drop).expect_err("signed by a stranger");
    }
    ask(&unknown, strict.local_addr()).map(drop).expect_err("nothing shown");
    let (answer, _) = ask(&unknown, lenient.local_addr()).expect("that is allowed");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn http_1_is_what_is_spoken() {
    let (pki, files) = (Pki::new(), Files::new("alpn"));
    let (certificate, key) = files.write_identity(&pki.certify("127.0.0.1"));
    let running = serve(somewhere(), Tls::new(certificate, key));
    let offering = |protocols: &[&str]| {
        let mut config = pki.client(None);
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        ask(&Arc::new(config), running.local_addr())
    };
    let (_, agreed) = offering(&["h2", "http/1.1"]).expect("one in common");
    assert_eq!(agreed.protocol.as_deref(), Some(&b"http/1.1"[..]));
    let (_, agreed) = offering(&[]).expect("nothing to agree on");
    assert_eq!(agreed.protocol, None);
    offering(&["h2"]).map(drop).expect_err("RFC 7301 3.2: no_application_protocol");
}

#[test]
fn a_client_that_comes_back_resumes() {
    let (pki, files) = (Pki::new(), Files::new("resumption"));
    let (certificate, key) = files.write_identity(&pki.certify("127.0.0.1"));
    let running = serve(somewhere(), Tls::new(certificate, key));
    let config = Arc::new(pki.client(None));
    let kind = || ask(&config, running.local_addr()).expect("an answer").1.kind;
    assert_eq!(kind(), Some(HandshakeKind::Full));
    assert_eq!(kind(), Some(HandshakeKind::Resumed));
}

#[test]
fn what_is_wrong_with_the_options_is_named() {
    let (pki, files) = (Pki::new(), Files::new("options"));
    let (certificate, key) = files.write_identity(&pki.certify("127.0.0.1"));
    let other = files.write("other.pem", &pki.certify("other").key_pair.serialize_pem());
    let empty = files.write("empty.pem", "");
    let absent = empty.with_file_name("absent.pem");
    let right = || Tls::new(&certificate, &key);
    for (tls, option) in [
        (Tls::new(&absent, &key), "tls.certificate"),
        (Tls::new(&empty, &key), "tls.certificate"),
        (Tls::new(&certificate, &absent), "tls.key"),
        (Tls::new(&certificate, &empty), "tls.key"),
        (Tls::new(&certificate, &other), "tls.key"),
        (right().client_authorities(&absent), "tls.client_authorities"),
        (right().client_authorities(&empty), "tls.client_authorities"),
        (right().handshake_timeout(Duration::ZERO), "tls.handshake_timeout"),
    ] {
        match Server::new(|| Echo).config(somewhere()).tls(tls).bind("127.0.0.1:0") {
            Err(ServeError::Config(error)) => assert_eq!(error.option(), option, "{error}"),
            other => panic!("{option}: {other:?}"),
        }
    }
}

/// The time one client has for all of its scenarios.
const CLIENT_LIMIT: Duration = Duration::from_secs(180);

fn foreign_client_gets_back_what_it_sends(
    client: &foreign::Client,
    test: &str,
    scenarios: &[&str],
) {
    let combinations = [(Driver::IoUring, 3), (Driver::Epoll, 1)];
    for (driver, workers) in combinations {
        if driver == Driver::IoUring && !crate::support::matrix::has_io_uring() {
            continue;
        }
        let (pki, files) = (Pki::new(), Files::new(test));
        let (certificate, key) = files.write_identity(&pki.certify("127.0.0.1"));
        let authority = files.write("authority.pem", &pki.pem());
        let config = Config::new().driver(driver).workers(workers);
        let running = serve(config, Tls::new(certificate, key));
        let url = format!("https://{}/engine.io/", running.local_addr());
        let mut command = client.command(&url, scenarios);
        // Node, OpenSSL, requests and websocket-client, in this order.
        for variable in [
            "NODE_EXTRA_CA_CERTS",
            "SSL_CERT_FILE",
            "REQUESTS_CA_BUNDLE",
            "WEBSOCKET_CLIENT_CA_BUNDLE",
        ] {
            command.env(variable, &authority);
        }
        if let Err(error) = foreign::run(&mut command, CLIENT_LIMIT, |_| {}) {
            panic!("{driver}, workers: {workers}: {error}");
        }
    }
}

#[test]
fn the_javascript_client_gets_back_what_it_sends() {
    if let Some(client) = foreign::javascript("the_javascript_client_gets_back_what_it_sends") {
        // Without what opens thousands of connections: Node reads all its authorities for each.
        let scenarios =
            ["polling-keep-alive", "websocket", "upgrade", "large-across-upgrade", "close"];
        foreign_client_gets_back_what_it_sends(client, "javascript", &scenarios);
    }
}

#[test]
fn the_python_clients_get_back_what_they_send() {
    if let Some(client) = foreign::python("the_python_clients_get_back_what_they_send") {
        foreign_client_gets_back_what_it_sends(client, "python", &[]);
    }
}
