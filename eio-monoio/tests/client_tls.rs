//! The client over TLS: our own server behind something that only does TLS.
#![cfg(feature = "tls")]

mod support;

use std::future::Future;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use eio_monoio::client::{Client, ConnectError, Fault};
use eio_monoio::{
    CloseReason, Config, ConnectRequest, Driver, Handler, Message, OwnedMessage, Refusal, Running,
    Server, Socket, Transport,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedKey, IsCa, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use support::client::{DRIVERS, WAYS, by, message, within};

struct Echo;

impl Handler for Echo {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        socket.try_send(message).ok();
        async {}
    }
}

/// An authority and what it has certified.
struct Pki {
    authority: CertifiedKey,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key_pair = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key_pair).unwrap();
        Self { authority: CertifiedKey { cert, key_pair } }
    }

    fn pem(&self) -> String {
        self.authority.cert.pem()
    }

    fn certify(&self, name: &str) -> CertifiedKey {
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let key_pair = KeyPair::generate().unwrap();
        let CertifiedKey { cert, key_pair: key } = &self.authority;
        let cert = params.signed_by(&key_pair, cert, key).unwrap();
        CertifiedKey { cert, key_pair }
    }

    /// A server certificate for 127.0.0.1; with `clients`, of them it wants one too.
    fn server(&self, name: &str, clients: bool) -> ServerConfig {
        let certified = self.certify(name);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if clients {
            let mut roots = RootCertStore::empty();
            roots.add(self.authority.cert.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let key = certified.key_pair.serialize_der().try_into().unwrap();
        builder.with_single_cert(vec![certified.cert.der().clone()], key).unwrap()
    }
}

/// Takes TLS off what comes and passes it on.
fn terminate(config: ServerConfig, behind: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for outside in listener.incoming().map_while(Result::ok) {
            let config = config.clone();
            std::thread::spawn(move || {
                // A client that goes away is none of the terminator's troubles.
                _ = pass_on(outside, TcpStream::connect(behind)?, config);
                std::io::Result::Ok(())
            });
        }
    });
    address
}

fn pass_on(
    mut outside: TcpStream,
    mut inside: TcpStream,
    config: Arc<ServerConfig>,
) -> std::io::Result<()> {
    let mut tls = ServerConnection::new(config).map_err(std::io::Error::other)?;
    tls.set_buffer_limit(None);
    outside.set_nodelay(true)?;
    outside.set_nonblocking(true)?;
    inside.set_nonblocking(true)?;
    let mut memory = [0; 32 * 1024];
    let would_block = |error: &std::io::Error| error.kind() == ErrorKind::WouldBlock;
    loop {
        let mut idle = true;
        while tls.wants_write() {
            match tls.write_tls(&mut outside) {
                Ok(_) => idle = false,
                Err(error) if would_block(&error) => break,
                Err(error) => return Err(error),
            }
        }
        match tls.read_tls(&mut outside) {
            Ok(0) => return Ok(()),
            Ok(_) => {
                idle = false;
                if let Err(error) = tls.process_new_packets() {
                    _ = tls.write_tls(&mut outside);
                    return Err(std::io::Error::other(error));
                }
            }
            Err(error) if would_block(&error) => {}
            Err(error) => return Err(error),
        }
        match tls.reader().read(&mut memory) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                inside.set_nonblocking(false)?;
                inside.write_all(&memory[..n])?;
                inside.set_nonblocking(true)?;
                idle = false;
            }
            Err(error) if would_block(&error) => {}
            Err(error) => return Err(error),
        }
        if !tls.is_handshaking() {
            match inside.read(&mut memory) {
                Ok(0) => {
                    tls.send_close_notify();
                    tls.write_tls(&mut outside)?;
                    return Ok(());
                }
                Ok(n) => {
                    tls.writer().write_all(&memory[..n])?;
                    idle = false;
                }
                Err(error) if would_block(&error) => {}
                Err(error) => return Err(error),
            }
        }
        if idle {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn serve(config: ServerConfig) -> (Running, String) {
    let plain = Config::new().workers(1).driver(Driver::Epoll);
    let running = Server::new(|| Echo).config(plain).bind("127.0.0.1:0").expect("binds");
    let address = terminate(config, running.local_addr());
    (running, format!("https://{address}"))
}

#[test]
fn what_is_sent_over_tls_comes_back() {
    let pki = Pki::new();
    let (_server, url) = serve(pki.server("127.0.0.1", false));
    for driver in DRIVERS {
        for way in WAYS {
            within(driver, async {
                let client = by(&url, way).certificate_authority(pki.pem()).await;
                let client = client.expect("connects");
                let large = "x".repeat(900_000);
                for sent in ["hello", "", &large, "again"] {
                    client.send(sent).await.expect("queued");
                    assert_eq!(message(&client).await, OwnedMessage::Text(sent.into()));
                }
                for n in 0..200 {
                    client.send(n.to_string().as_str()).await.expect("queued");
                }
                for n in 0..200 {
                    assert_eq!(message(&client).await, OwnedMessage::Text(n.to_string()));
                }
                assert_eq!(client.transport(), way.unwrap_or(Transport::WebSocket));
                client.disconnect().await;
                assert_eq!(client.wait().await.reason, CloseReason::ClientDisconnect);
            });
        }
    }
}

#[test]
fn tls_goes_through_a_proxy_to_the_server_and_not_to_the_proxy() {
    let pki = Pki::new();
    let (_server, url) = serve(pki.server("127.0.0.1", false));
    let (proxy, told) = support::client::proxy();
    for driver in DRIVERS {
        for way in WAYS {
            within(driver, async {
                let connect = by(&url, way).certificate_authority(pki.pem()).proxy(&proxy);
                let client = connect.header("X-Secret", "s").await.expect("connects");
                client.send("hello").await.expect("queued");
                assert_eq!(message(&client).await, OwnedMessage::Text("hello".into()));
                client.disconnect().await;
            });
            for head in told.try_iter() {
                assert!(head.starts_with("CONNECT 127.0.0.1:"), "{head}");
                assert!(!head.contains("Secret"), "told the proxy: {head}");
            }
        }
    }
}

#[test]
fn nobody_is_believed_without_a_certificate_of_a_known_authority() {
    let (pki, other) = (Pki::new(), Pki::new());
    let (_server, url) = serve(pki.server("127.0.0.1", false));
    let (_server, misnamed) = serve(pki.server("example.org", false));
    within(Driver::Epoll, async {
        for connect in [
            Client::connect(&url),
            Client::connect(&url).certificate_authority(other.pem()),
            Client::connect(&misnamed).certificate_authority(pki.pem()),
        ] {
            let error = connect.clone().await.expect_err("not believed");
            assert!(matches!(error.fault(), Some(Fault::Tls(_))), "{error}");
            let blind = connect.danger_accept_any_certificate(true).await;
            blind.expect("the switch does what its name says");
        }
        let nonsense = Client::connect(&url).certificate_authority("nonsense").await;
        assert!(matches!(nonsense, Err(ConnectError::Option(..))));
    });
}

#[test]
fn a_server_that_wants_to_know_us_is_told() {
    let pki = Pki::new();
    let (_server, url) = serve(pki.server("127.0.0.1", true));
    let own = pki.certify("client");
    within(Driver::Epoll, async {
        let connect = Client::connect(&url).certificate_authority(pki.pem());
        connect.clone().await.expect_err("we said nothing");
        let client = connect.identity(own.cert.pem(), own.key_pair.serialize_pem()).await;
        client.expect("connects").disconnect().await;
    });
}

#[test]
fn a_server_that_does_not_speak_tls_is_no_session() {
    let plain = Config::new().workers(1).driver(Driver::Epoll);
    let running = Server::new(|| Echo).config(plain).bind("127.0.0.1:0").expect("binds");
    within(Driver::Epoll, async {
        let url = format!("wss://{}", running.local_addr());
        let error = Client::connect(&url).await.expect_err("that is HTTP");
        assert!(matches!(error.fault(), Some(Fault::Tls(_))), "{error}");
    });
}
