//! The client against foreign servers: npm engine.io, and python-engineio's AsyncServer on aiohttp.

use std::time::{Duration, Instant};

use eio_monoio::client::{self, Client, Fault, SendError};
use eio_monoio::{CloseReason, Driver, Message, OwnedMessage, PerMessageDeflate, Transport};

use crate::support::client::{
    TRANSPORTS, block_on, closed, connect_over, expect_numbers, for_each_transport, next_message,
    wait_for_transport,
};
use crate::support::counting_relay::CountingRelay;
use crate::support::foreign::{ForeignServer, JAVASCRIPT, PYTHON};
use crate::support::parallel;

macro_rules! for_each_server {
    ($($test:ident)+) => {
        mod javascript {
            $( #[test] fn $test() { super::$test(super::JAVASCRIPT, stringify!($test)) } )+
        }
        mod python {
            $( #[test] fn $test() { super::$test(super::PYTHON, stringify!($test)) } )+
        }
    };
}

for_each_server! {
    every_message_is_echoed
    compressed_messages_are_echoed_compressed
    upgrade_loses_no_message
    server_close_has_the_right_reason
    refusal_reports_its_status
    killed_server_is_noticed_at_once
    oversized_message_is_rejected_before_sending
}

/// Runs `test` with each of [`TRANSPORTS`] at the same time, on one driver.
#[track_caller]
fn on_every_transport(test: impl AsyncFn(Option<Transport>) + Sync) {
    parallel::for_each(TRANSPORTS.map(|case| (format!("{case:?}"), case)), |transport| {
        block_on(Driver::Epoll, test(transport));
    });
}

async fn wait_for_upgrade(client: &Client) {
    while client.transport() == Transport::Polling {
        client::sleep(Duration::from_millis(10)).await;
    }
}

fn every_message_is_echoed(kind: ForeignServer, test: &str) {
    // Over polling binary is base64: 900 KB become 1.2 MB.
    let Some(server) = kind.start(test, kind.default, "2000000") else { return };
    let (large, large_binary) = ("x".repeat(900_000), vec![0xfe; 900_000]);
    for_each_transport(|driver, transport| {
        block_on(driver, async {
            let client = connect_over(server.url(), transport).await.expect("connects");
            let mut messages = vec![
                Message::Text("hello"),
                Message::Text(""),
                Message::Text(
                    "P\u{159}\u{ed}li\u{161} \u{5e9}\u{5dc} e\u{301} \u{1f600}\u{10ffff}",
                ),
                Message::Text("a\u{0}b\u{2028}\n"),
                Message::Binary(b""),
                Message::Binary(&[0, 1, 0x1e, 0x80, 0xff]),
            ];
            if transport.is_none() {
                wait_for_upgrade(&client).await;
            }
            if kind.large_posts || transport != Some(Transport::Polling) {
                messages.extend([Message::Text(&large), Message::Binary(&large_binary)]);
            }
            for sent in messages {
                client.send(sent).await.expect("queued");
                assert_eq!(next_message(&client).await.borrow(), sent);
            }
            client.disconnect().await;
            assert_eq!(client.ended().await.reason, CloseReason::ClientDisconnect);
        });
    });
}

fn compressed_messages_are_echoed_compressed(kind: ForeignServer, test: &str) {
    let Some(server) = kind.start(test, kind.default, "1000000") else { return };
    let without_takeover = |without| {
        PerMessageDeflate::new()
            .threshold(10)
            .server_no_context_takeover(without)
            .client_no_context_takeover(without)
    };
    for offer in [
        without_takeover(true),
        without_takeover(false),
        without_takeover(true).server_max_window_bits(9).client_max_window_bits(9),
        without_takeover(false).server_max_window_bits(12).client_max_window_bits(12),
    ] {
        for transport in [None, Some(Transport::WebSocket)] {
            let relay = CountingRelay::start(server.addr());
            let exchange = exchange_compressed(&relay, transport, offer.clone());
            block_on(Driver::Auto, exchange);
        }
    }
}

/// Exchanges messages that compress well, and counts their bytes; then some that do not.
async fn exchange_compressed(
    relay: &CountingRelay,
    transport: Option<Transport>,
    offer: PerMessageDeflate,
) {
    let connect = connect_over(relay.url(), transport).per_message_deflate(offer);
    let client = connect.await.expect("connects");
    wait_for_upgrade(&client).await;
    let before = relay.bytes();
    let (text, binary) = ("hello \u{e9} ".repeat(2500), [1, 2, 3, 4].repeat(6000));
    for n in 0..10 {
        let text = format!("{n} {text}");
        for sent in [Message::Text(&text), Message::Binary(&binary)] {
            client.send(sent).await.expect("queued");
            assert_eq!(next_message(&client).await.borrow(), sent);
        }
    }
    let (sent, received) = relay.bytes();
    let (sent, received) = (sent - before.0, received - before.1);
    // Half a megabyte each without compression.
    assert!(sent < 100_000 && received < 100_000, "{sent} and {received} bytes");
    let mut noise = vec![0; 100_000];
    getrandom::fill(&mut noise).expect("random bytes");
    for sent in [Message::Text(""), Message::Text("short"), Message::Binary(&noise)] {
        client.send(sent).await.expect("queued");
        assert_eq!(next_message(&client).await.borrow(), sent);
    }
    client.disconnect().await;
    assert_eq!(client.ended().await.reason, CloseReason::ClientDisconnect);
}

fn upgrade_loses_no_message(kind: ForeignServer, test: &str) {
    let Some(server) = kind.start(test, kind.default, "1000000") else { return };
    for_each_transport(|driver, transport| {
        block_on(driver, async {
            let client = connect_over(server.url(), transport).await.expect("connects");
            for n in 0..500 {
                client.send(n.to_string().as_str()).await.expect("queued");
                if n % 25 == 0 {
                    client::sleep(Duration::from_millis(1)).await;
                }
            }
            expect_numbers(&client, 500).await;
            wait_for_transport(&client, transport).await;
        });
    });
}

fn server_close_has_the_right_reason(kind: ForeignServer, test: &str) {
    let Some(server) = kind.start(test, kind.default, "1000000") else { return };
    on_every_transport(async |transport| {
        let client = connect_over(server.url(), transport).await.expect("connects");
        client.send("first").await.expect("queued");
        assert_eq!(next_message(&client).await, OwnedMessage::Text("first".into()));
        if transport.is_none() {
            wait_for_upgrade(&client).await;
        }
        client.send("close").await.expect("queued");
        let closed = closed(&client).await;
        match client.transport() {
            Transport::Polling => assert_eq!(closed.reason, CloseReason::ServerDisconnect),
            Transport::WebSocket => assert_eq!(closed.reason, kind.close, "{closed}"),
        }
        client.reconnect().await.expect("connects again");
    });
}

fn refusal_reports_its_status(kind: ForeignServer, test: &str) {
    let Some(server) = kind.start(test, kind.default, "1000000") else { return };
    on_every_transport(async |transport| {
        let refused = connect_over(server.url(), transport).header("X-Refuse", "1").await;
        let error = refused.expect_err("refused");
        // Over a WebSocket engine.io answers 400 for any reason (`docs/protocol.md` 2.2).
        let javascript_websocket = kind.refusal == 403 && transport == Some(Transport::WebSocket);
        let expected = if javascript_websocket { 400 } else { kind.refusal };
        match error.fault() {
            Some(Fault::Status { status, body, .. }) => {
                assert_eq!(*status, expected);
                assert!(body.contains("refused"), "{body}");
            }
            _ => panic!("{error}"),
        }
    });
}

fn killed_server_is_noticed_at_once(kind: ForeignServer, test: &str) {
    on_every_transport(async |transport| {
        let Some(server) = kind.start(test, kind.default, "1000000") else { return };
        let client = connect_over(server.url(), transport).await.expect("connects");
        client::sleep(Duration::from_millis(200)).await;
        client.send("kill").await.expect("queued");
        let begun = Instant::now();
        let closed = closed(&client).await;
        let expected = match client.transport() {
            Transport::Polling => CloseReason::TransportError,
            Transport::WebSocket => CloseReason::TransportClose,
        };
        assert_eq!(closed.reason, expected, "{closed}");
        assert_eq!(closed.detail, Some(Fault::Lost));
        assert!(begun.elapsed() < Duration::from_secs(20));
    });
}

fn oversized_message_is_rejected_before_sending(kind: ForeignServer, test: &str) {
    let Some(server) = kind.start(test, kind.default, "10000") else { return };
    on_every_transport(async |transport| {
        let client = connect_over(server.url(), transport).await.expect("connects");
        // aiohttp refuses a WebSocket message of exactly its limit.
        let (fits, too_long) = ("x".repeat(9_998), "x".repeat(10_000));
        let error = client.send(too_long.as_str()).await;
        assert_eq!(error, Err(SendError::TooLarge { len: 10_001, max: 10_000 }));
        client.send(fits.as_str()).await.expect("queued");
        assert_eq!(next_message(&client).await, OwnedMessage::Text(fits));
    });
}
