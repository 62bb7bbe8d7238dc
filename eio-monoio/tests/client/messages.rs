//! Messages between a client and our own server, on every transport.

use std::rc::Rc;
use std::time::Duration;

use eio_monoio::client::{self, SendError, State};
use eio_monoio::{CloseReason, Driver, Message, OwnedMessage, Transport};

use crate::support::client::{
    TRANSPORTS, block_on, connect_over, expect_numbers, for_each_connect, next_message,
    send_numbers, wait_for_transport,
};
use crate::support::configs::epoll_config;
use crate::support::test_server::TestServer;

#[test]
fn every_message_is_echoed_on_every_transport() {
    let server = TestServer::start(epoll_config());
    for_each_connect(&server.url(), |connect, transport| async move {
        let client = connect.await.expect("connects");
        assert_eq!(client.state(), State::Connected);
        let large = "x".repeat(900_000);
        // Less than the text: base64 makes it larger.
        let binary = vec![0xfe; 700_000];
        let messages = [
            Message::Text("hello"),
            Message::Text(""),
            Message::Text("gr\u{fc}\u{df} \u{1f600} \u{0}"),
            Message::Binary(b""),
            Message::Binary(&[0, 1, 0xff]),
            Message::Text(&large),
            Message::Binary(&binary),
        ];
        for sent in messages {
            client.send(sent).await.expect("queued");
            assert_eq!(next_message(&client).await.borrow(), sent);
        }
        wait_for_transport(&client, transport).await;
        client.disconnect().await;
        assert_eq!(client.ended().await.reason, CloseReason::ClientDisconnect);
        assert_eq!(client.try_send("late"), Err(SendError::Closed));
    });
}

#[test]
fn upgrade_keeps_all_messages_in_order() {
    let server = TestServer::start(epoll_config());
    for_each_connect(&server.url(), |connect, transport| async move {
        let client = connect.await.expect("connects");
        for n in 0..500 {
            client.send(n.to_string().as_str()).await.expect("queued");
            if n % 50 == 0 {
                client::sleep(Duration::from_millis(1)).await;
            }
        }
        expect_numbers(&client, 500).await;
        wait_for_transport(&client, transport).await;
    });
}

#[test]
fn oversized_message_is_rejected_before_sending() {
    let server = TestServer::start(epoll_config().max_payload(1000));
    let url = server.url();
    for transport in TRANSPORTS {
        block_on(Driver::Epoll, async {
            let client = connect_over(&url, transport).upgrade(false).await.expect("connects");
            let (fits, too_long) = ("x".repeat(999), "x".repeat(1000));
            let error = client.send(too_long.as_str()).await;
            assert_eq!(error, Err(SendError::TooLarge { len: 1001, max: 1000 }));
            client.send(fits.as_str()).await.expect("queued");
            assert_eq!(next_message(&client).await, OwnedMessage::Text(fits));
            assert_eq!(client.try_send("a\u{1e}b"), Err(SendError::Separator));
            let base64 = client.try_send([0; 1000]);
            match client.transport() {
                Transport::Polling => {
                    assert_eq!(base64, Err(SendError::TooLarge { len: 1337, max: 1000 }));
                }
                Transport::WebSocket => {
                    assert_eq!(base64, Ok(()));
                    assert_eq!(next_message(&client).await, OwnedMessage::Binary(vec![0; 1000]));
                }
            }
        });
    }
}

#[test]
fn text_with_a_separator_is_sent_over_a_websocket_if_that_is_configured() {
    let server = TestServer::start(epoll_config().separator_over_websocket(true));
    let url = server.url();
    for transport in TRANSPORTS {
        block_on(Driver::Epoll, async {
            let connect = connect_over(&url, transport).upgrade(false);
            let client = connect.separator_over_websocket(true).await.expect("connects");
            let sent = client.try_send("a\u{1e}4b");
            if client.transport() == Transport::Polling {
                assert_eq!(sent, Err(SendError::Separator));
            } else {
                assert_eq!(sent, Ok(()));
                assert_eq!(next_message(&client).await, OwnedMessage::from("a\u{1e}4b"));
            }
        });
    }
}

#[test]
fn posts_are_split_at_max_payload() {
    let server = TestServer::start(epoll_config().max_payload(1000));
    block_on(Driver::Epoll, async {
        let connect = connect_over(&server.url(), Some(Transport::Polling));
        let client = connect.await.expect("connects");
        let half = "x".repeat(600);
        for _ in 0..40 {
            client.send(half.as_str()).await.expect("queued");
        }
        send_numbers(&client, 40).await;
        for _ in 0..40 {
            assert_eq!(next_message(&client).await, OwnedMessage::Text(half.clone()));
        }
        expect_numbers(&client, 40).await;
    });
}

#[test]
fn slow_application_applies_backpressure_and_loses_nothing() {
    let server = TestServer::start(epoll_config());
    for_each_connect(&server.url(), |connect, _| async move {
        let connect = connect.inbound_high_water(10_000).outbound_high_water(10_000);
        let client = Rc::new(connect.await.expect("connects"));
        let sender = client.clone();
        client::spawn(async move {
            for n in 0..2_000 {
                let text = format!("{n:->100}");
                sender.send(text.as_str()).await.expect("queued");
            }
        });
        client::sleep(Duration::from_millis(300)).await;
        for n in 0..2_000 {
            assert_eq!(next_message(&client).await, OwnedMessage::Text(format!("{n:->100}")));
        }
    });
}

#[cfg(feature = "json")]
#[test]
fn json_values_are_sent_and_received() {
    use eio_monoio::client::Event;

    let server = TestServer::start(epoll_config());
    for_each_connect(&server.url(), |connect, _| async move {
        let client = connect.await.expect("connects");
        client.send_json(&("gr\u{fc}\u{df}", [1.5, 2.0], None::<u8>)).await.expect("queued");
        assert_eq!(
            next_message(&client).await,
            OwnedMessage::Text("[\"gr\u{fc}\u{df}\",[1.5,2.0],null]".into())
        );
        client.send_json(&[1, 2]).await.expect("queued");
        let received = loop {
            match client.next().await {
                Some(Event::Message(received)) => break received,
                Some(Event::Upgraded) => {}
                other => panic!("expected a message, got {other:?}"),
            }
        };
        assert_eq!(received.json::<[u8; 2]>().expect("two numbers"), [1, 2]);
        let keys = std::collections::HashMap::from([(vec![1], 2)]);
        assert_eq!(client.send_json(&keys).await, Err(SendError::NotJson));
    });
}
