//! The client over TLS: our own server behind something that only does TLS.
#![cfg(feature = "tls")]

mod support;

use std::future::Future;

use eio_monoio::client::{Client, ConnectError, Fault};
use eio_monoio::{
    CloseReason, Config, ConnectRequest, Driver, Handler, Message, OwnedMessage, Refusal, Running,
    Server, Socket,
};
use rustls::ServerConfig;
use support::client::{WAYS, arrives, by, drivers, message, within};
use support::tls::{Pki, terminate};

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
    for driver in drivers() {
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
                arrives(&client, way).await;
                client.disconnect().await;
                assert_eq!(client.ended().await.reason, CloseReason::ClientDisconnect);
            });
        }
    }
}

#[test]
fn tls_goes_through_a_proxy_to_the_server_and_not_to_the_proxy() {
    let pki = Pki::new();
    let (_server, url) = serve(pki.server("127.0.0.1", false));
    let (proxy, told) = support::client::proxy();
    for driver in drivers() {
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
