//! The client over TLS: a relay terminates TLS for our own server.

use std::sync::Arc;

use eio_monoio::client::{Client, ConnectError, Fault};
use eio_monoio::{CloseReason, Driver, OwnedMessage, Transport};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
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
            drop(unchecked.expect("connects without a check"));
        }
        let nonsense = Client::connect(&url).certificate_authority("nonsense").await;
        assert!(matches!(nonsense, Err(ConnectError::Option(..))));
    });
}

/// A certificate as `openssl req -x509` makes it: its own authority.
fn self_signed(name: &str, adjust: impl FnOnce(&mut CertificateParams)) -> (String, ServerConfig) {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    adjust(&mut params);
    let key_pair = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key_pair).unwrap();
    let key = key_pair.serialize_der().try_into().unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (certificate.pem(), config)
}

#[test]
fn a_given_self_signed_certificate_is_trusted_if_name_and_dates_fit() {
    let (pem, config) = self_signed("127.0.0.1", |_| {});
    let (_server, url) = serve(config);
    let (other, _) = self_signed("127.0.0.1", |_| {});
    let leaf = |params: &mut CertificateParams| params.is_ca = IsCa::NoCa;
    let (leaf_pem, leaf) = self_signed("127.0.0.1", leaf);
    let (_leaf_server, leaf_url) = serve(leaf);
    block_on(Driver::Epoll, async {
        let client = Client::connect(&url).certificate_authority(&*pem).await.expect("connects");
        client.disconnect().await;
        let client = Client::connect(&leaf_url).certificate_authority(&*leaf_pem).await;
        client.expect("connects").disconnect().await;
        for connect in [Client::connect(&url), Client::connect(&url).certificate_authority(other)] {
            let error = connect.await.expect_err("another certificate");
            assert!(matches!(error.fault(), Some(Fault::Tls(_))), "{error}");
        }
    });
    type Adjust = fn(&mut CertificateParams);
    let expired: Adjust = |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let future: Adjust = |params| params.not_before = rcgen::date_time_ymd(4000, 1, 1);
    for (name, adjust, why) in [
        ("example.org", (|_| {}) as Adjust, "not valid for name"),
        ("127.0.0.1", expired, "expired"),
        ("127.0.0.1", future, "not valid yet"),
    ] {
        let (pem, config) = self_signed(name, adjust);
        let (_server, url) = serve(config);
        block_on(Driver::Epoll, async {
            let error = Client::connect(&url).certificate_authority(pem).await.expect_err(why);
            assert!(error.to_string().contains(why), "{error}");
            assert!(error.fault().is_some_and(|fault| !fault.is_temporary()));
        });
    }
}

#[test]
fn alert_after_the_handshake_is_named() {
    let pki = Pki::new();
    let (_server, url) = serve(pki.server("127.0.0.1", true));
    for driver in drivers() {
        for transport in [Transport::Polling, Transport::WebSocket] {
            block_on(driver, async {
                let connect = connect_over(&url, Some(transport));
                let error =
                    connect.certificate_authority(pki.pem()).await.expect_err("no certificate");
                // In TLS 1.3 the client has completed its handshake when the server refuses it.
                assert!(matches!(error.fault(), Some(Fault::Tls(_))), "{error}");
                assert!(error.to_string().contains("ertificate"), "{error}");
            });
        }
    }
}

#[test]
fn tls_port_is_named_to_a_client_without_tls() {
    let pki = Pki::new();
    let (_server, url) = serve(pki.server("127.0.0.1", false));
    let plain = url.replace("https", "http");
    for transport in [Transport::Polling, Transport::WebSocket] {
        block_on(Driver::Epoll, async {
            let error = connect_over(&plain, Some(transport)).await.expect_err("no TLS");
            assert_eq!(error.fault(), Some(&Fault::TlsPort));
        });
    }
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
        assert_eq!(error.fault(), Some(&Fault::PlainPort));
    });
}
