//! How a client reaches a server: addresses, transports, refusals, retries and proxies.

use std::future::IntoFuture;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use eio_monoio::client::{Backoff, Client, ConnectError, Event, Fault};
use eio_monoio::{Driver, OwnedMessage, Server, Transport};

use crate::support::client::{
    TRANSPORTS, block_on, connect_over, expect_numbers, for_each_connect, for_each_transport,
    next_message, send_numbers, wait_for_transport,
};
use crate::support::configs::{drivers, epoll_config};
use crate::support::echo::Echo;
use crate::support::proxy;
use crate::support::skip::skip;
use crate::support::test_server::TestServer;

#[test]
fn connecting_without_a_runtime_fails() {
    let mut context = Context::from_waker(Waker::noop());
    let mut connecting = Box::pin(Client::connect("http://127.0.0.1:1").into_future());
    let Poll::Ready(Err(error)) = connecting.as_mut().poll(&mut context) else {
        panic!("connected without a runtime");
    };
    assert_eq!(error, ConnectError::NoRuntime);
}

#[test]
fn refusal_reports_its_status() {
    let server = TestServer::start(epoll_config());
    for_each_connect(&server.url(), |connect, _| async move {
        for (kind, status) in [("unauthorized", 401), ("forbidden", 403)] {
            let error = connect.clone().header("X-Refuse", kind).await.expect_err("refused");
            let fault = error.fault().expect("a fault");
            assert_eq!(fault.status(), Some(status), "{error}");
        }
    });
}

#[test]
fn next_transport_is_tried_when_the_first_is_refused() {
    let server = TestServer::start(epoll_config().transports([Transport::WebSocket]));
    let url = server.url();
    block_on(Driver::Epoll, async {
        let refused = Client::connect(&url).await.expect_err("polling is disabled");
        assert_eq!(refused.fault().and_then(|fault| fault.status()), Some(400), "{refused}");
        let client = Client::connect(&url).try_all_transports(true).await.expect("connects");
        assert_eq!(client.transport(), Transport::WebSocket);
    });
}

#[test]
fn remember_upgrade_reconnects_over_websocket() {
    let server = TestServer::start(epoll_config());
    block_on(Driver::Epoll, async {
        let connect = Client::connect(&server.url()).remember_upgrade(true);
        let client = connect.await.expect("connects");
        assert!(matches!(client.next().await, Some(Event::Upgraded)));
        client.disconnect().await;
        client.reconnect().await.expect("connects again");
        assert_eq!(client.transport(), Transport::WebSocket);
    });
}

#[test]
fn unreachable_server_fails_and_is_retried() {
    block_on(Driver::Epoll, async {
        let server = TestServer::start(epoll_config());
        let client = Client::connect(&server.url()).await.expect("connects");
        client.disconnect().await;
        let address = server.addr();
        drop(server);
        assert!(matches!(client.reconnect().await, Err(ConnectError::Failed(_))));
        let backoff = Backoff::new().first(Duration::from_millis(20)).attempts(2);
        assert!(matches!(client.reconnect_with(&backoff).await, Err(ConnectError::Failed(_))));
        let again = Server::new(Echo::<()>::new).config(epoll_config()).bind(address);
        let _again = again.expect("binds again");
        client.reconnect_with(&backoff).await.expect("connects again");
    });
}

#[test]
fn host_name_is_resolved_and_every_address_is_tried() {
    let server = TestServer::start(epoll_config());
    let port = server.addr().port();
    for driver in drivers() {
        block_on(driver, async {
            // On many machines the first address is ::1, on which the server does not listen.
            let client = Client::connect(&format!("http://localhost:{port}")).await;
            drop(client.expect("connects"));
            let unknown = Client::connect("http://no-such-host.invalid").await;
            let error = unknown.expect_err("an unknown host");
            assert!(matches!(error.fault(), Some(Fault::Resolve(_))), "{error}");
        });
    }
}

#[test]
fn every_transport_uses_the_proxy() {
    let server = TestServer::start(epoll_config());
    let url = server.url();
    let (proxy, heads) = proxy::start();
    let proxy = proxy.replace("http://", "http://user:p%40ss@");
    for driver in drivers() {
        for transport in TRANSPORTS {
            block_on(driver, async {
                let client = connect_over(&url, transport).proxy(&proxy).await.expect("connects");
                send_numbers(&client, 50).await;
                expect_numbers(&client, 50).await;
                wait_for_transport(&client, transport).await;
                client.disconnect().await;
            });
            let heads: Vec<_> = heads.try_iter().collect();
            // An upgrade needs another connection.
            assert!(heads.len() > usize::from(transport.is_none()), "{heads:?}");
            for head in heads {
                assert!(head.contains("\r\nProxy-Authorization: Basic dXNlcjpwQHNz\r\n"), "{head}");
            }
        }
    }
}

#[test]
fn ipv6_address_is_accepted_as_host() {
    let server = match Server::new(Echo::<()>::new).config(epoll_config()).bind("[::1]:0") {
        Ok(server) => server,
        Err(error) => return skip("ipv6_address_is_accepted_as_host", error),
    };
    let url = format!("http://{}", server.local_addr());
    for_each_transport(|driver, transport| {
        block_on(driver, async {
            let client = connect_over(&url, transport).await.expect("connects");
            client.send("hello").await.expect("queued");
            assert_eq!(next_message(&client).await, OwnedMessage::Text("hello".into()));
        });
    });
}
