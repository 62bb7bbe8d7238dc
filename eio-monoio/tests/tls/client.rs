//! The client over TLS: a relay terminates TLS for our own server.

use eio_monoio::client::{Client, ConnectError, Fault};
use eio_monoio::{CloseReason, Driver, OwnedMessage};
use rustls::ServerConfig;

use crate::support::client::{
    TRANSPORTS, block_on, connect_over, expect_numbers, next_message, send_numbers,
    wait_for_transport,
};
use crate::support::configs::{drivers, epoll_config};
use crate::support::proxy;
use crate::support::test_server::TestServer;
use crate::support::tls::{Pki, terminate};

fn serve(config: ServerConfig) -> (TestServer, String) {
    let server = TestServer::start(epoll_config());
    let address = terminate(config, server.addr());
    (server, format!("https://{address}"))
}

#[test]
fn every_message_is_echoed_over_tls() {
    let pki = Pki::new();
    let (_server, url) = serve(pki.server("127.0.0.1", false));
    for driver in drivers() {
        for transport in TRANSPORTS {
            block_on(driver, async {
                let client = connect_over(&url, transport).certificate_authority(pki.pem()).await;
                let client = client.expect("connects");
                let large = "x".repeat(900_000);
                for sent in ["hello", "", &large, "again"] {
                    client.send(sent).await.expect("queued");
                    assert_eq!(next_message(&client).await, OwnedMessage::Text(sent.into()));
                }
                send_numbers(&client, 200).await;
                expect_numbers(&client, 200).await;
                wait_for_transport(&client, transport).await;
                client.disconnect().await;
                assert_eq!(client.ended().await.reason, CloseReason::ClientDisconnect);
            });
        }
    }
}

#[test]
fn tls_passes_through_a_proxy() {
    let pki = Pki::new();
    let (_server, url) = serve(pki.server("127.0.0.1", false));
    let (proxy, heads) = proxy::start();
    for driver in drivers() {
        for transport in TRANSPORTS {
            block_on(driver, async {
                let connect =
                    connect_over(&url, transport).certificate_authority(pki.pem()).proxy(&proxy);
                let client = connect.header("X-Secret", "s").await.expect("connects");
                client.send("hello").await.expect("queued");
                assert_eq!(next_message(&client).await, OwnedMessage::Text("hello".into()));
                client.disconnect().await;
            });
            for head in heads.try_iter() {
                assert!(head.starts_with("CONNECT 127.0.0.1:"), "{head}");
                assert!(!head.contains("Secret"), "sent to the proxy: {head}");
            }
        }
    }
}

#[test]
fn untrusted_certificates_are_rejected() {
    let (pki, other) = (Pki::new(), Pki::new());
    let (_server, url) = serve(pki.server("127.0.0.1", false));
    let (_server, misnamed) = serve(pki.server("example.org", false));
    block_on(Driver::Epoll, async {
        for connect in [
            Client::connect(&url),
            Client::connect(&url).certificate_authority(other.pem()),
            Client::connect(&misnamed).certificate_authority(pki.pem()),
        ] {
            let error = connect.clone().await.expect_err("not trusted");
            assert!(matches!(error.fault(), Some(Fault::Tls(_))), "{error}");
            let unchecked = connect.danger_accept_any_certificate(true).await;
            unchecked.expect("connects without a check");
        }
        let nonsense = Client::connect(&url).certificate_authority("nonsense").await;
        assert!(matches!(nonsense, Err(ConnectError::Option(..))));
    });
}

#[test]
fn client_certificate_is_presented() {
    let pki = Pki::new();
    let (_server, url) = serve(pki.server("127.0.0.1", true));
    let own = pki.certify("client");
    block_on(Driver::Epoll, async {
        let connect = Client::connect(&url).certificate_authority(pki.pem());
        connect.clone().await.expect_err("no certificate");
        let client = connect.identity(own.cert.pem(), own.signing_key.serialize_pem()).await;
        client.expect("connects").disconnect().await;
    });
}

#[test]
fn plain_http_server_opens_no_session() {
    let server = TestServer::start(epoll_config());
    block_on(Driver::Epoll, async {
        let url = format!("wss://{}", server.addr());
        let error = Client::connect(&url).await.expect_err("plain HTTP");
        assert!(matches!(error.fault(), Some(Fault::Tls(_))), "{error}");
    });
}
