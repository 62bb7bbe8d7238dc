//! Clients that other threads use, and a client in the handler of a server.

use std::thread;
use std::time::{Duration, Instant};

use eio_monoio::client::{self, Client, Event, SendError};
use eio_monoio::{
    CloseReason, Config, ConnectRequest, Driver, Handler, Message, OwnedMessage, Refusal, Server,
    Socket, Transport,
};

use crate::support::client::{
    block_on, closed, connect_over, expect_numbers, for_each_connect, next_message,
};
use crate::support::configs::{drivers, epoll_config};
use crate::support::test_server::TestServer;

#[test]
fn remote_sends_in_order_until_the_end() {
    let server = TestServer::start(epoll_config());
    for_each_connect(&server.url(), |connect, _| async move {
        let client = connect.await.expect("connects");
        let remote = client.remote().expect("descriptors");
        let sending = remote.clone();
        let sender = thread::spawn(move || {
            for n in 0..100 {
                sending.send(n.to_string()).expect("connected");
            }
        });
        expect_numbers(&client, 100).await;
        sender.join().expect("no panic");
        remote.disconnect();
        assert_eq!(closed(&client).await.reason, CloseReason::ClientDisconnect);
        client.ended().await;
        client::sleep(Duration::from_millis(50)).await;
        assert_eq!(remote.send("late".to_owned()), Err(SendError::Closed));
    });
}

#[test]
fn remote_messages_that_cannot_be_sent_are_reported() {
    let server = TestServer::start(epoll_config().max_payload(1000));
    block_on(Driver::Epoll, async {
        let connect = connect_over(&server.url(), Some(Transport::WebSocket));
        let client = connect.await.expect("connects");
        let remote = client.remote().expect("descriptors");
        remote.send("x".repeat(1000)).expect("the mailbox has room");
        remote.send("fits".to_owned()).expect("the mailbox has room");
        let event = client.next().await;
        let error = SendError::TooLarge { len: 1001, max: 1000 };
        assert!(matches!(event, Some(Event::Unsent(reported)) if reported == error), "{event:?}");
        assert_eq!(next_message(&client).await, OwnedMessage::Text("fits".into()));
        // While the application takes no events, the number of reports is bounded; the end is reported all the same.
        for _ in 0..100 {
            remote.send("x".repeat(1000)).expect("the mailbox has room");
        }
        remote.disconnect();
        client.ended().await;
        for _ in 0..16 {
            assert!(matches!(client.next().await, Some(Event::Unsent(_))));
        }
        assert!(matches!(client.next().await, Some(Event::Closed(_))));
        assert!(client.next().await.is_none());
    });
}

#[test]
fn remote_sends_to_a_busy_client_are_bounded() {
    let server = TestServer::start(epoll_config());
    for_each_connect(&server.url(), |connect, _| async move {
        let client = connect.outbound_high_water(10_000).await.expect("connects");
        let remote = client.remote().expect("descriptors");
        let text = "x".repeat(1000);
        // The client's runtime is on this thread, which does not read the mailbox in this loop.
        let refused = (0..100).find(|_| remote.send(text.clone()) == Err(SendError::Full));
        assert_eq!(refused, Some(10));
        for _ in 0..10 {
            assert_eq!(next_message(&client).await, OwnedMessage::Text(text.clone()));
        }
        remote.send("room again".to_owned()).expect("the mailbox has room");
        assert_eq!(next_message(&client).await, OwnedMessage::Text("room again".to_owned()));
        remote.disconnect();
        assert_eq!(closed(&client).await.reason, CloseReason::ClientDisconnect);
    });
}

/// Requests each answer from another server.
struct Relay(String);

impl Handler for Relay {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        let (socket, message) = (socket.clone(), OwnedMessage::from(message));
        async move {
            let client = Client::connect(&self.0).await.expect("connects");
            client.send(&message).await.expect("queued");
            let answer = next_message(&client).await;
            socket.send(&answer).await.ok();
        }
    }
}

#[test]
fn server_handler_uses_a_client_on_its_worker() {
    let echo = TestServer::start(epoll_config());
    for driver in drivers() {
        let url = echo.url();
        let limit = Duration::from_secs(50);
        let config = Config::new().workers(2).driver(driver).shutdown_timeout(limit);
        let relay = Server::new(move || Relay(url.clone())).config(config).bind("127.0.0.1:0");
        let relay = relay.expect("binds");
        block_on(driver, async {
            let client = Client::connect(&format!("http://{}", relay.local_addr())).await;
            let client = client.expect("connects");
            for text in ["one", "two"] {
                client.send(text).await.expect("queued");
                assert_eq!(next_message(&client).await, OwnedMessage::Text(text.into()));
            }
        });
        let begun = Instant::now();
        drop(relay);
        assert!(begun.elapsed() < limit / 2, "a client delayed the shutdown of its server");
    }
}
