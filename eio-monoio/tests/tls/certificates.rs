//! The TLS handshake of the server: certificates of both peers, ALPN, resumption and invalid options.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use eio_monoio::{Config, ConnectRequest, Running, ServeError, Server, Tls};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};

use crate::support::configs::default_config;
use crate::support::connection::Connection;
use crate::support::describing::Describing;
use crate::support::polling::sid_of;
use crate::support::process::signal;
use crate::support::request::{POLLING, Request, target};
use crate::support::temp_dir::TempDir;
use crate::support::tls::{Identity, Pki, originate, write_identity};
use crate::support::wait::{TIMEOUT, eventually};

/// Whether the connection has TLS, and the length of the client's certificate.
fn security(request: &ConnectRequest<'_>) -> String {
    let certificate = request.client_certificate().map_or(0, <[u8]>::len);
    format!("secure: {}, certificate: {certificate}", request.is_secure())
}

fn serve(config: Config, tls: Tls) -> Running {
    let config = config.shutdown_timeout(Duration::from_millis(100));
    Server::new(|| Describing(security))
        .config(config)
        .tls(tls)
        .bind("127.0.0.1:0")
        .expect("the server starts")
}

/// Performs a TLS handshake and sends a request.
fn ask(config: &Arc<ClientConfig>, address: SocketAddr) -> io::Result<(String, Agreed)> {
    let name = "127.0.0.1".try_into().expect("a name");
    let tls = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
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
fn reload_applies_a_valid_certificate_only() {
    let (old, new) = (Identity::new(), Pki::new());
    let running = serve(default_config().handle_signals(true), old.tls());
    let address = running.local_addr();
    let mut open = Connection::open(originate(old.pki.client(None), address));
    let sid = sid_of(open.request(&Request::get(POLLING)).text());

    let (trusts_old, trusts_new) = (Arc::new(old.pki.client(None)), Arc::new(new.client(None)));
    ask(&trusts_new, address).map(drop).expect_err("the old certificate");
    write_identity(&old.directory, &new.certify("127.0.0.1"));
    running.remote().reload_tls().expect("both files are valid");
    ask(&trusts_new, address).expect("the new certificate");
    ask(&trusts_old, address).map(drop).expect_err("the new certificate");
    // Connections that are open stay open.
    open.request(&Request::post(&target(&sid), "4still here")).assert(200, "ok");

    // SIGHUP reloads, too.
    write_identity(&old.directory, &old.pki.certify("127.0.0.1"));
    signal("-HUP", &std::process::id().to_string());
    eventually("the old certificate", || ask(&trusts_old, address).is_ok());

    write_identity(&old.directory, &new.certify("127.0.0.1"));
    running.remote().reload_tls().expect("both files are valid");
    fs::write(&old.certificate, "nonsense").expect("a file");
    let error = running.remote().reload_tls().expect_err("no certificate");
    assert_eq!(error.option(), "tls.certificate");
    assert!(error.to_string().contains("certificate.pem"), "{error}");
    ask(&trusts_new, address).expect("the certificate as before");
}

#[test]
fn client_certificates_are_verified() {
    let (identity, other) = (Identity::new(), Pki::new());
    let pki = &identity.pki;
    let authorities = identity.directory.write("authorities.pem", pki.pem());
    let tls = identity.tls().client_authorities(&authorities);
    let (own, forged) = (pki.certify("client"), other.certify("client"));

    let strict = serve(default_config(), tls.clone());
    let lenient = serve(default_config(), tls.allow_anonymous_clients(true));
    let (known, anonymous) = (Arc::new(pki.client(Some(&own))), Arc::new(pki.client(None)));
    let forged = Arc::new(pki.client(Some(&forged)));
    for running in [&strict, &lenient] {
        let address = originate((*known).clone(), running.local_addr());
        // The second connection resumes the TLS session of the first.
        for _ in 0..2 {
            let mut conn = Connection::open(address);
            let sid = sid_of(conn.request(&Request::get(POLLING)).text());
            let shown = format!("4secure: true, certificate: {}", own.cert.der().len());
            conn.request(&Request::get(&target(&sid))).assert(200, &shown);
        }
        ask(&forged, running.local_addr()).map(drop).expect_err("an unknown authority");
    }
    ask(&anonymous, strict.local_addr()).map(drop).expect_err("no certificate");
    let (answer, _) = ask(&anonymous, lenient.local_addr()).expect("allowed");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn alpn_selects_http1() {
    let identity = Identity::new();
    let running = serve(default_config(), identity.tls());
    let offering = |protocols: &[&str]| {
        let mut config = identity.pki.client(None);
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        ask(&Arc::new(config), running.local_addr())
    };
    let (_, agreed) = offering(&["h2", "http/1.1"]).expect("one protocol in common");
    assert_eq!(agreed.protocol.as_deref(), Some(&b"http/1.1"[..]));
    let (_, agreed) = offering(&[]).expect("no offer");
    assert_eq!(agreed.protocol, None);
    offering(&["h2"]).map(drop).expect_err("RFC 7301 3.2: no_application_protocol");
}

#[test]
fn returning_client_resumes_its_tls_session() {
    let identity = Identity::new();
    let running = serve(default_config(), identity.tls());
    let config = Arc::new(identity.pki.client(None));
    let kind = || ask(&config, running.local_addr()).expect("an answer").1.kind;
    assert_eq!(kind(), Some(HandshakeKind::Full));
    assert_eq!(kind(), Some(HandshakeKind::Resumed));
}

#[test]
fn invalid_tls_options_are_named() {
    let identity = Identity::new();
    let (certificate, key) = (&identity.certificate, &identity.key);
    let other = identity.pki.certify("other").signing_key.serialize_pem();
    let other = identity.directory.write("other.pem", other);
    let empty = identity.directory.write("empty.pem", "");
    let absent = empty.with_file_name("absent.pem");
    for (tls, option) in [
        (Tls::new(&absent, key), "tls.certificate"),
        (Tls::new(&empty, key), "tls.certificate"),
        (Tls::new(certificate, &absent), "tls.key"),
        (Tls::new(certificate, &empty), "tls.key"),
        (Tls::new(certificate, &other), "tls.key"),
        (identity.tls().client_authorities(&absent), "tls.client_authorities"),
        (identity.tls().client_authorities(&empty), "tls.client_authorities"),
        (identity.tls().handshake_timeout(Duration::ZERO), "tls.handshake_timeout"),
        (identity.tls().record_size(511), "tls.record_size"),
        (identity.tls().record_size(16_385), "tls.record_size"),
    ] {
        match Server::new(|| Describing(security))
            .config(default_config())
            .tls(tls)
            .bind("127.0.0.1:0")
        {
            Err(ServeError::Config(error)) => assert_eq!(error.option(), option, "{error}"),
            other => panic!("{option}: {other:?}"),
        }
    }
}

#[test]
fn certificate_outside_its_period_is_reported_at_the_start() {
    for (years, problem) in
        [((2000, 2001), "it has expired"), ((2200, 2201), "it is not valid yet")]
    {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        let signing_key = rcgen::KeyPair::generate().expect("a key");
        let cert = params.self_signed(&signing_key).expect("a certificate");
        let directory = TempDir::new();
        let (certificate, key) =
            write_identity(&directory, &rcgen::CertifiedKey { cert, signing_key });
        let log = directory.join("log");
        let file = Arc::new(fs::File::create(&log).expect("a file"));
        let subscriber = tracing_subscriber::fmt().with_writer(file).with_ansi(false);
        tracing::subscriber::with_default(subscriber.finish(), || {
            drop(serve(default_config(), Tls::new(certificate, key)));
        });
        let log = fs::read_to_string(log).expect("text");
        assert!(log.contains("WARN") && log.contains(problem), "{log}");
        assert!(log.contains("certificate.pem"), "{log}");
    }
}
